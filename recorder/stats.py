"""Figures of a trace: calls, rates, gaps, slow answers, texts, progressions.  What they break, `check` tells."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import Argument, Call, Enter, Event, Leave, Outcome, OutcomeKind, TraceDamage, pair
from recorder.contract import contract_of
from recorder.interface import Method, Type
from recorder.progressions import Progressions
from recorder.selection import Selection
from recorder.short import counted, rounded, thread_name
from recorder.text import escape, outcome_text
from recorder.trace_input import Source, TraceInput

__all__ = ["Statistics", "statistics"]

_TOP = 5
_SECOND = 10**9
_SECONDS_KEPT = 256  # threads write a little out of order; calls are counted for so many seconds at once


@dataclass
class Statistics:
    """Figures of one trace.  Times in seconds; `gaps` are between the beginnings of two calls.

    `texts` counts for each text parameter how often it was given and how often it was NULL.  `answers` counts
    all but S_OK (a Python callback's None is one).  `slowest` and `gaps` are pairs of a call number and seconds.
    `busiest` is the second since the start in which most calls began, and how many.  `of` is the number of all
    calls, where only some were asked for.
    """

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    busiest: tuple[int, int] | None = None
    methods: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    distinct_texts: int = 0
    slowest: list[tuple[int, float]] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    progressions: Progressions = field(default_factory=Progressions)
    of: int | None = None
    damage: TraceDamage | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second; None for a trace that takes no time."""
        return self.calls / self.seconds if self.seconds else None

    def as_json(self) -> dict[str, Any]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        runs = self.progressions
        return {
            **fields,
            "texts": {name: {"calls": calls, "null": null} for name, (calls, null) in self.texts.items()},
            "progressions": {
                "count": runs.count,
                "complete": runs.complete,
                "longest": [run.as_json() for run in runs.longest],
            },
            "rate": self.rate,
            "damage": dataclasses.asdict(self.damage) if self.damage else None,
        }

    def rows(self) -> list[tuple[str, str]]:
        """For people: pairs of a word and its value."""
        of = "" if self.of is None else f" of {self.of}"
        rate = f", {self.rate:.1f} a second" if self.rate else ""
        running = f", {self.unfinished} still running at its end" if self.unfinished else ""
        rows = [
            ("calls", f"{self.calls}{of} in {self.seconds:.3f} s{rate}{running}"),
            ("methods", counted(self.methods)),
            ("threads", counted(self.threads)),
            ("answers", f"other than S_OK: {counted(self.answers)}" if self.answers else "all S_OK"),
            ("texts", f"{self.distinct_texts} distinct"),
        ]
        for name, (calls, null) in self.texts.items():
            rows.append(("", f"{name} is NULL in {null} of {calls} calls ({null / calls:.0%})"))
        if self.busiest:
            rows.append(("busiest", f"{self.busiest[1]} calls in the second from {self.busiest[0]} s on"))
        rows += [
            ("slowest", ", ".join(f"call {n} {_short(s)}" for n, s in self.slowest)),
            ("gaps", ", ".join(f"{_short(s)} before call {n}" for n, s in self.gaps)),
        ]
        if runs := self.progressions.count:
            complete = self.progressions.complete
            rows.append(("progress", f"{runs} runs, {complete if complete < runs else 'all'} to their end"))
        for run in self.progressions.longest:
            where = f"calls {run.first} to {run.last}" if run.calls > 1 else f"call {run.first}"
            rows.append(("", f"{where}: {run.start} to {run.end} of {run.limit} in {_short(run.seconds)}"))
        if self.damage:
            rows.append(("damage", escape(str(self.damage))))
        return [(name, value or "none") for name, value in rows]


def _short(seconds: float) -> str:
    return rounded(round(seconds * _SECOND))


def statistics(trace: TraceInput, selection: Selection | None = None) -> Statistics:
    """Go through the trace once and count, all calls or those of a selection."""
    with trace.source() as source:
        count = _Count(source)
        if selection:
            count.events(_selected(source, selection, count.found))
        else:
            count.events(source.events())
        return count.finish()


def _selected(source: Source, selection: Selection, found: Statistics) -> Iterator[Event]:
    """The events of selected calls, call by call."""
    taken = selection.test(source.header.interface, source.threads)
    found.of = 0
    for played in pair(source.events()):
        found.of += 1
        if taken(played):
            yield Enter(played.number, played.call)
            if played.outcome is not None:
                yield Leave(played.number, played.outcome)


class _Count:
    """One pass through a trace."""

    def __init__(self, source: Source):
        self.source = source
        self.found = Statistics()
        self.interface = source.header.interface
        self.contract = contract_of(self.interface)
        self.series = self.contract.series
        self.threads: Counter[int] = Counter()
        self.texts: set[int] = set()  # hashes
        self.running: dict[int, tuple[str, int]] = {}
        self.seconds: Counter[int] = Counter()
        self.slowest: list[tuple[int, int]] = []
        self.gaps: list[tuple[int, int]] = []
        self.first = self.last = self.end = 0
        self.places = {
            method.name: [
                (position, f"{method.name}.{parameter.name}")
                for position, parameter in enumerate(method.inputs)
                if parameter.type is Type.TEXT
            ]
            for method in self.interface.slots
        }

    def events(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, Enter):
                self.enter(*event)
            else:
                self.leave(*event)

    def finish(self) -> Statistics:
        found, source = self.found, self.source
        self.busiest()
        found.progressions.finish()
        found.unfinished = len(self.running)
        found.seconds = (self.end - self.first) / 1e9
        found.threads = Counter({thread_name(n, source.threads[n]): c for n, c in self.threads.items()})
        found.distinct_texts = len(self.texts)
        found.slowest, found.gaps = _best(self.slowest), _best(self.gaps)
        found.damage = source.damage
        return found

    def enter(self, number: int, call: Call) -> None:
        found, time_ns = self.found, call.time_ns
        if found.calls == 0:
            self.first = self.last = self.end = time_ns
        found.calls += 1
        found.methods[call.method] += 1
        self.threads[call.thread] += 1
        self.running[number] = call.method, time_ns
        _keep(self.gaps, time_ns - self.last, number)
        self.last = max(self.last, time_ns)
        self.end = max(self.end, time_ns)
        self.seconds[time_ns // _SECOND] += 1
        if len(self.seconds) > _SECONDS_KEPT:
            self.busiest()
        for position, name in self.places[call.method]:
            if position < len(call.args):
                self.text(name, call.args[position])
        if self.series and call.method == self.series.method:
            _, index, limit = self.contract.shape(call)
            if isinstance(index, int) and isinstance(limit, int):
                found.progressions.report(number, time_ns, index, limit)

    def text(self, where: str, value: Argument) -> None:
        calls, null = self.found.texts.get(where, (0, 0))
        self.found.texts[where] = calls + 1, null + (value is None)
        if isinstance(value, str):
            self.texts.add(hash(value))

    def leave(self, number: int, outcome: Outcome) -> None:
        name, start = self.running.pop(number)
        method = self.interface.method(name)
        self.end = max(self.end, start + outcome.elapsed_ns)
        _keep(self.slowest, outcome.elapsed_ns, number)
        if not _is_plain(method, outcome):
            self.found.answers[f"{name} {outcome_text(outcome, method)}"] += 1

    def busiest(self) -> None:
        """Take over what was counted for seconds that are well past."""
        best = max(((count, -second) for second, count in self.seconds.items()), default=None)
        if best and (self.found.busiest is None or best > (self.found.busiest[1], -self.found.busiest[0])):
            self.found.busiest = -best[1], best[0]
        self.seconds = Counter(
            {s: c for s, c in self.seconds.items() if s > self.last // _SECOND - _SECONDS_KEPT // 2}
        )


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
