"""A trace as a timeline on a terminal: a line for each thread, time from left to right.

A mark stands for a piece of the time: how many calls began in it, from the fewest to the most; that one of them
failed; or that a call which began earlier went on through it.  Where the interface has a method that reports a
position, one more line shows how far it had come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from recorder.calls import PlayedCall, Thread, pair
from recorder.contract import contract_of
from recorder.selection import Selection
from recorder.short import Parts, cells, failure_style, rounded, thread_name
from recorder.trace_input import Source, TraceInput

__all__ = ["timeline"]

_LANES = 16  # the busiest threads; the others share one line
_NAMES = 24  # columns
_SMALLEST = 20  # columns of time


@dataclass(frozen=True)
class _Marks:
    rising: str
    failure: str
    running: str


_BLOCKS = _Marks("▁▂▃▄▅▆▇█", "✗", "─")
_ASCII = _Marks(".:-=+*#@", "X", "_")


@dataclass
class _Lane:
    """What a thread did, piece by piece."""

    name: str
    calls: int = 0
    failures: int = 0
    begun: Counter[int] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)


@dataclass
class _Extent:
    """What is shown: from when to when, and how many calls on each thread."""

    first: int | None = None
    end: int = 0
    counts: Counter[int] = field(default_factory=Counter)

    def add(self, played: PlayedCall) -> None:
        start = played.call.time_ns
        self.counts[played.call.thread] += 1
        self.first = start if self.first is None else min(self.first, start)
        self.end = max(self.end, start, start + (played.outcome.elapsed_ns if played.outcome else 0))


def timeline(
    trace: TraceInput, width: int = 80, selection: Selection | None = None, *, blocks: bool = True
) -> Iterator[Parts]:
    """The lines, each of up to `width` columns; `blocks` where the output can show more than ASCII.

    Goes through the trace twice: for the time that it takes, and for what happened when.
    """
    extent = _Extent()
    with trace.source() as source:
        for played in _calls(source, selection):
            extent.add(played)
        threads = list(source.threads)
    if extent.first is None:
        yield [("no call", "dim")]
        return
    lanes = _Lanes(extent, threads, width, _BLOCKS if blocks else _ASCII)
    with trace.source() as source:
        contract = contract_of(source.header.interface)
        series = contract.series
        for played in _calls(source, selection):
            lanes.add(played)
            if series and played.call.method == series.method:
                _, index, limit = contract.shape(played.call)
                if isinstance(index, int) and isinstance(limit, int) and limit > 0:
                    lanes.position(played.call.time_ns, index / limit)
    yield from lanes.lines(series.method if series else "")


def _calls(source: Source, selection: Selection | None) -> Iterator[PlayedCall]:
    calls = pair(source.events())
    yield from filter(selection.test(source.header.interface, source.threads), calls) if selection else calls


class _Lanes:
    """The lines of a timeline, filled call by call."""

    def __init__(self, extent: _Extent, threads: Sequence[Thread], width: int, marks: _Marks):
        assert extent.first is not None
        self._first, self._span = extent.first, max(extent.end - extent.first, 1)
        self._marks = marks
        ranked = [thread for thread, _ in extent.counts.most_common()]
        alone = ranked if len(ranked) <= _LANES else ranked[: _LANES - 1]
        self._lanes = {thread: _Lane(_name(thread, threads)) for thread in sorted(alone)}
        self._others = _Lane(f"{len(ranked) - len(alone)} others")
        self._positions: dict[int, float] = {}
        names = [lane.name for lane in self._lanes.values()]
        self._names = min(max(map(cells, [*names, "others 000"])), _NAMES)
        self._columns = max(_SMALLEST, width - self._names - 4 - len("1000000 calls, 1000000 failed"))

    def add(self, played: PlayedCall) -> None:
        call, outcome = played.call, played.outcome
        lane = self._lanes.get(call.thread, self._others)
        begun = self._column(call.time_ns)
        lane.calls += 1
        lane.begun[begun] += 1
        if failure_style(outcome) == "failure":
            lane.failures += 1
            lane.failed.add(begun)
        until = self._columns - 1 if outcome is None else self._column(call.time_ns + outcome.elapsed_ns)
        lane.running.update(range(begun + 1, until + 1))

    def position(self, time_ns: int, share: float) -> None:
        """How far the reported position had come."""
        self._positions[self._column(time_ns)] = min(max(share, 0.0), 1.0)

    def lines(self, series: str) -> Iterator[Parts]:
        """`series` names the method that reports positions, where there is one."""
        lanes = [*self._lanes.values(), *([self._others] if self._others.calls else [])]
        most = max(max(lane.begun.values()) for lane in lanes)
        for lane in lanes:
            failed = f", {lane.failures} failed" if lane.failures else ""
            calls = f"{lane.calls} call{'' if lane.calls == 1 else 's'}{failed}"
            yield [(self._named(lane.name), "dim"), *self._drawn(lane, most), (f"  {calls}", "dim")]
        if self._positions:
            drawn = "".join(self._height(self._positions.get(column)) for column in range(self._columns))
            yield [(self._named(series), "dim"), (drawn, "cyan"), ("  position, 0 to 100 %", "dim")]
        left, right = f"{self._first / 1e9:.3f} s", f"{(self._first + self._span) / 1e9:.3f} s"
        yield [(self._named(""), ""), (left + right.rjust(self._columns - len(left)), "dim")]
        marks = self._marks
        calls = f"{most} call{'' if most == 1 else 's'}"
        piece = rounded(self._span // self._columns)
        begun = f"{marks.rising[0]} to {marks.rising[-1]} up to {calls} begin in {piece}"
        yield [(f"{self._named('')}{begun}, {marks.failure} one fails, {marks.running} one goes on", "dim")]

    def _drawn(self, lane: _Lane, most: int) -> Parts:
        rising, parts = self._marks.rising, []
        for column in range(self._columns):
            if column in lane.failed:
                parts.append((self._marks.failure, "bold red"))
            elif count := lane.begun[column]:
                parts.append((rising[(count * len(rising) - 1) // max(most, 1)], "green"))
            elif column in lane.running:
                parts.append((self._marks.running, "yellow"))
            else:
                parts.append((" ", ""))
        return [
            ("".join(text for text, _ in run), style) for style, run in groupby(parts, key=lambda part: part[1])
        ]

    def _height(self, share: float | None) -> str:
        rising = self._marks.rising
        return " " if share is None else rising[min(int(share * len(rising)), len(rising) - 1)]

    def _named(self, name: str) -> str:
        from rich.cells import set_cell_size

        return set_cell_size(name, self._names) + "  "

    def _column(self, time_ns: int) -> int:
        return min(max((time_ns - self._first) * self._columns // self._span, 0), self._columns - 1)


def _name(thread: int, threads: Sequence[Thread]) -> str:
    return thread_name(thread, threads[thread])
