"""Figures of a trace: calls, rates, gaps, slow answers, texts, broken rules."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import Argument, Call, Enter, Outcome, OutcomeKind, TraceDamage
from recorder.contract import Level, Monitor, contract_of
from recorder.interface import Method, Type
from recorder.short import counted, rounded, thread_name
from recorder.text import escape, outcome_text
from recorder.trace_input import Source, TraceInput

__all__ = ["Statistics", "statistics"]

_TOP = 5


@dataclass
class Statistics:
    """Figures of one trace.  Times in seconds; `gaps` are between the beginnings of two calls.

    `texts` counts for each text parameter how often it was given and how often it was NULL.  `answers` counts
    all but S_OK (a Python callback's None is one).  `slowest` and `gaps` are pairs of a call number and seconds.
    """

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    methods: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    distinct_texts: int = 0
    slowest: list[tuple[int, float]] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    level: Level = Level.CONFORMING
    damage: TraceDamage | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second; None for a trace that takes no time."""
        return self.calls / self.seconds if self.seconds else None

    def as_json(self) -> dict[str, Any]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        damage = dataclasses.asdict(self.damage) if self.damage else None
        texts = {name: {"calls": calls, "null": null} for name, (calls, null) in self.texts.items()}
        return {**fields, "texts": texts, "rate": self.rate, "level": str(self.level), "damage": damage}

    def rows(self) -> list[tuple[str, str]]:
        """For people: pairs of a word and its value."""
        rate = f", {self.rate:.1f} a second" if self.rate else ""
        running = f", {self.unfinished} still running at its end" if self.unfinished else ""
        rows = [
            ("calls", f"{self.calls} in {self.seconds:.3f} s{rate}{running}"),
            ("methods", counted(self.methods)),
            ("threads", counted(self.threads)),
            ("answers", f"other than S_OK: {counted(self.answers)}" if self.answers else "all S_OK"),
            ("texts", f"{self.distinct_texts} distinct"),
        ]
        for name, (calls, null) in self.texts.items():
            rows.append(("", f"{name} is NULL in {null} of {calls} calls ({null / calls:.0%})"))
        rows += [
            ("slowest", ", ".join(f"call {n} {rounded(round(s * 1e9))}" for n, s in self.slowest)),
            ("gaps", ", ".join(f"{rounded(round(s * 1e9))} before call {n}" for n, s in self.gaps)),
            ("rules", f"{counted(self.rules)} ({self.level})" if self.rules else "none broken"),
        ]
        if self.damage:
            rows.append(("damage", escape(str(self.damage))))
        return [(name, value or "none") for name, value in rows]


def statistics(trace: TraceInput) -> Statistics:
    """Go through the trace once and count."""
    with trace.source() as source:
        return _Count(source).found


class _Count:
    """One pass through a trace."""

    def __init__(self, source: Source):
        self.found = found = Statistics()
        self.interface = source.header.interface
        self.monitor = Monitor(contract_of(self.interface))
        self.threads: Counter[int] = Counter()
        self.texts: set[int] = set()  # hashes
        self.running: dict[int, tuple[str, int]] = {}
        self.slowest: list[tuple[int, int]] = []
        self.gaps: list[tuple[int, int]] = []
        self.first = self.last = self.end = 0
        for event in source.events():
            if isinstance(event, Enter):
                self.enter(*event)
            else:
                self.leave(*event)
            self.drain()
        self.monitor.finish(found.calls, cut=source.damage is not None)
        self.drain()
        found.unfinished = len(self.running)
        found.seconds = (self.end - self.first) / 1e9
        found.threads = Counter({thread_name(n, source.threads[n]): c for n, c in self.threads.items()})
        found.distinct_texts = len(self.texts)
        found.slowest, found.gaps = _best(self.slowest), _best(self.gaps)
        found.damage = source.damage

    def enter(self, number: int, call: Call) -> None:
        self.monitor.enter(number, call)
        self.found.calls += 1
        self.found.methods[call.method] += 1
        self.threads[call.thread] += 1
        self.running[number] = call.method, call.time_ns
        if self.found.calls == 1:
            self.first = self.last = call.time_ns
        _keep(self.gaps, call.time_ns - self.last, number)
        self.last = max(self.last, call.time_ns)
        self.end = max(self.end, self.last)
        for parameter, value in zip(self.interface.method(call.method).inputs, call.args, strict=False):
            if parameter.type is Type.TEXT:
                self.text(f"{call.method}.{parameter.name}", value)

    def text(self, where: str, value: Argument) -> None:
        calls, null = self.found.texts.get(where, (0, 0))
        self.found.texts[where] = calls + 1, null + (value is None)
        if isinstance(value, str):
            self.texts.add(hash(value))

    def leave(self, number: int, outcome: Outcome) -> None:
        self.monitor.leave(number, outcome)
        name, start = self.running.pop(number)
        method = self.interface.method(name)
        self.end = max(self.end, start + outcome.elapsed_ns)
        _keep(self.slowest, outcome.elapsed_ns, number)
        if not _is_plain(method, outcome):
            self.found.answers[f"{name} {outcome_text(outcome, method)}"] += 1

    def drain(self) -> None:
        """Take over what the monitor found, so that it does not pile up."""
        for violation in self.monitor.violations:
            self.found.rules[violation.rule.id] += 1
            self.found.level = max(self.found.level, violation.level)
        self.monitor.violations.clear()


def _is_plain(method: Method, outcome: Outcome) -> bool:
    """Whether an answer is S_OK, or a value of a method that returns no HRESULT."""
    if outcome.kind is not OutcomeKind.RETURNED:
        return False
    if method.returns is not Type.HRESULT:
        return True
    return outcome.value is None or (outcome.value == 0 and type(outcome.value) is int)


def _keep(best: list[tuple[int, int]], value: int, number: int) -> None:
    """Keep the largest values, the earliest of equal ones."""
    entry = value, -number
    if len(best) < _TOP:
        heapq.heappush(best, entry)
    elif entry > best[0]:
        heapq.heapreplace(best, entry)


def _best(best: list[tuple[int, int]]) -> list[tuple[int, float]]:
    return [(-number, value / 1e9) for value, number in sorted(best, reverse=True) if value > 0]
