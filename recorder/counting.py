"""Figures of a trace, counted event by event."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recorder.calls import Call, Enter, Event, Outcome, OutcomeKind, Thread
from recorder.contract import contract_of
from recorder.figures import TEXTS, Statistics
from recorder.interface import Interface, Method, Type
from recorder.short import thread_name
from recorder.text import outcome_text
from recorder.trace_input import Source

__all__ = ["ANSWERS", "SECONDS", "Count", "best_of", "is_plain", "named", "text_names"]

SECONDS = 256
"""So many seconds are looked at together for the busiest one: threads may write that much out of order."""

ANSWERS = 1000
"""So many kinds of answers are told apart, for the same reason as texts."""

_TOP = 5
_SECOND = 10**9


class Count:
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
        self.busiest = _Busiest()
        self.slowest: list[tuple[int, int]] = []
        self.gaps: list[tuple[int, int]] = []
        self.first = self.last = self.end = 0
        self.given = {name: [0, 0] for name in text_names(self.interface)}  # how often, and how often NULL
        self.places = {
            method.name: [
                (position, self.given[f"{method.name}.{parameter.name}"])
                for position, parameter in enumerate(method.inputs)
                if parameter.type is Type.TEXT
            ]
            for method in self.interface.slots
        }
        self.methods = {method.name: method for method in self.interface.slots}

    def events(self, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, Enter):
                self.enter(*event)
            else:
                self.leave(*event)

    def finish(self) -> Statistics:
        found, source = self.found, self.source
        found.busiest = self.busiest.best
        found.progressions.finish()
        found.unfinished = len(self.running)
        found.seconds = (self.end - self.first) / 1e9
        found.methods = Counter({m.name: n for m in self.interface.slots if (n := found.methods[m.name])})
        found.threads = named(self.threads, source.threads)
        found.answers = Counter(dict(sorted(found.answers.items())))
        found.texts = {name: (calls, nulls) for name, (calls, nulls) in self.given.items() if calls}
        found.distinct_texts = len(self.texts)
        found.slowest, found.gaps = best_of(self.slowest), best_of(self.gaps)
        found.damage = source.damage
        return found

    def enter(self, number: int, call: Call) -> None:
        found = self.found
        name, args, thread, time_ns, _ = call
        if found.calls == 0:
            self.first = self.last = self.end = time_ns
        found.calls += 1
        found.methods[name] += 1
        self.threads[thread] += 1
        self.running[number] = name, time_ns
        gap = time_ns - self.last
        if len(self.gaps) < _TOP or gap >= self.gaps[0][0]:
            _keep(self.gaps, gap, number)
        if gap > 0:
            self.last = time_ns
            self.end = max(self.end, time_ns)
        self.busiest.begin(time_ns)
        for position, given in self.places[name]:
            if position < len(args):
                given[0] += 1
                if (value := args[position]) is None:
                    given[1] += 1
                elif isinstance(value, str) and len(self.texts) < TEXTS:
                    self.texts.add(hash(value))
        if self.series and name == self.series.method:
            _, index, limit = self.contract.shape(call)
            if isinstance(index, int) and isinstance(limit, int):
                found.progressions.report(number, time_ns, index, limit)

    def leave(self, number: int, outcome: Outcome) -> None:
        name, start = self.running.pop(number)
        method, elapsed_ns = self.methods[name], outcome.elapsed_ns
        self.end = max(self.end, start + elapsed_ns)
        if len(self.slowest) < _TOP or elapsed_ns >= self.slowest[0][0]:
            _keep(self.slowest, elapsed_ns, number)
        if not is_plain(method, outcome):
            answer = f"{name} {outcome_text(outcome, method)}"
            if answer in self.found.answers or len(self.found.answers) < ANSWERS:
                self.found.answers[answer] += 1
            else:
                self.found.other_answers += 1


def is_plain(method: Method, outcome: Outcome) -> bool:
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


class _Busiest:
    """The second in which most calls began; threads may write a little out of order."""

    def __init__(self) -> None:
        self.best: tuple[int, int] | None = None
        self._seconds = [0] * SECONDS
        self._counts = [0] * SECONDS

    def begin(self, time_ns: int) -> None:
        second = time_ns // _SECOND
        place = second % SECONDS
        if self._seconds[place] != second:
            self._seconds[place], self._counts[place] = second, 0
        count = self._counts[place] = self._counts[place] + 1
        if self.best is None or (count, -second) > (self.best[1], -self.best[0]):
            self.best = second, count


def text_names(interface: Interface) -> list[str]:
    """The names of all text parameters, `Method.parameter`."""
    return [f"{m.name}.{p.name}" for m in interface.slots for p in m.inputs if p.type is Type.TEXT]


def named(counts: Mapping[int, int], threads: Sequence[Thread]) -> Counter[str]:
    """Counts by thread number as counts by a thread's name."""
    return Counter({thread_name(n, threads[n]): counts[n] for n in sorted(counts) if counts[n]})


def best_of(best: Iterable[tuple[int, int]]) -> list[tuple[int, float]]:
    """Numbers of calls and seconds, from pairs of ns and the negative of a number."""
    return [(-number, value / 1e9) for value, number in sorted(best, reverse=True) if value > 0]
