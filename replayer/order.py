"""The order in which calls began and ended: what had happened before what, where they overlap or nest.

A trace's events are in that order, whichever thread each is of.  So are the borders of an `Order`: each may be
passed when all before it have been.  What a thread does between two of its borders is its own business, and calls
whose borders lie inside those of another run while it runs.

A call that begins on a thread which is in a call already is nested: it is made by what the outer call calls out
to, and returns before that goes on.  One that had not ended when the trace did ends last.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from recorder.calls import NOT_RUN, Enter, Event, Leave, Outcome, Trace
from recorder.errors import SynctapeError

__all__ = ["Border", "Order", "OrderError", "Planned", "is_ordered", "overlaps", "with_outcomes"]


class OrderError(SynctapeError):
    """No thread can make calls in this order, whatever the target is."""


class Border(NamedTuple):
    """Where a call begins, or where it ends."""

    number: int
    leaves: bool = False


class Planned(NamedTuple):
    """A call, and what its thread calls before it has returned."""

    number: int
    inside: tuple[Planned, ...] = ()


@dataclass(frozen=True)
class Order:
    """Calls to be made in this order.

    `borders` has two for each call.  `programs` are the calls of each thread, by its number; `threads` has each
    call's thread, `enters` and `leaves` say where its borders stand among all.
    """

    borders: tuple[Border, ...]
    programs: Mapping[int, tuple[Planned, ...]]
    threads: Mapping[int, int]
    enters: Mapping[int, int]
    leaves: Mapping[int, int]

    @classmethod
    def of(cls, events: Iterable[Event]) -> Order:
        """The order of a trace's events.  Raises OrderError for calls that cross each other on one thread."""
        borders: list[Border] = []
        running: dict[int, list[_Running]] = {}  # by thread: the calls that it is in, the innermost last
        threads: dict[int, int] = {}
        programs: dict[int, list[Planned]] = {}
        for event in (*(events := tuple(events)), *_missing(events)):
            if isinstance(event, Enter):
                number, thread = event.number, event.call.thread
                threads[number] = thread
                programs.setdefault(thread, [])
                running.setdefault(thread, []).append(_Running(number, []))
                borders.append(Border(number))
                continue
            thread = threads[event.number]
            *outer, innermost = running[thread]
            if innermost.number != event.number:
                raise OrderError(
                    f"call {event.number} ended before call {innermost.number}, which began inside it on the same "
                    "thread"
                )
            running[thread].pop()
            planned = Planned(event.number, tuple(innermost.inside))
            (outer[-1].inside if outer else programs[thread]).append(planned)
            borders.append(Border(event.number, leaves=True))
        return cls(
            tuple(borders),
            {thread: tuple(program) for thread, program in programs.items()},
            threads,
            {border.number: at for at, border in enumerate(borders) if not border.leaves},
            {border.number: at for at, border in enumerate(borders) if border.leaves},
        )

    def starts(self) -> dict[int, int]:
        """How many borders have been passed when a call starts to run, by the border at which it begins.

        Calls that begin one right after the other on different threads start together, so that they do overlap.
        """
        starts: dict[int, int] = {}
        busy: Counter[int] = Counter()  # calls that a thread is in
        together: list[int] = []
        for at, border in enumerate(self.borders):
            thread = self.threads[border.number]
            if border.leaves or busy[thread]:
                starts.update(dict.fromkeys(together, at))
                together = []
            busy[thread] += -1 if border.leaves else 1
            if not border.leaves:
                together.append(at)
        starts.update(dict.fromkeys(together, len(self.borders)))
        return starts

    def ended(self, count: int) -> set[int]:
        """The calls that have ended once the first `count` borders have been passed."""
        return {border.number for border in self.borders[:count] if border.leaves}

    def under_way(self, count: int) -> list[int]:
        """The calls that have begun by then, and not ended, in the order in which they began."""
        ended = self.ended(count)
        return [b.number for b in self.borders[:count] if not b.leaves and b.number not in ended]

    def awaited(self, count: int) -> int:
        """The call that has to do something for the next border to be passed: to return, or to call out for one
        inside it, or to be made."""
        border = self.borders[min(count, len(self.borders) - 1)]
        if border.leaves:
            return border.number
        thread = self.threads[border.number]
        outer = [number for number in self.under_way(count) if self.threads[number] == thread]
        return outer[-1] if outer else border.number


class _Running(NamedTuple):
    number: int
    inside: list[Planned]


def overlaps(events: Sequence[Event]) -> bool:
    """Whether a call begins before the one before it has ended."""
    return any(
        isinstance(event, Enter) and isinstance(before, Enter) for before, event in itertools.pairwise(events)
    )


def is_ordered(trace: Trace) -> bool:
    """Whether a trace's calls are to be made in the order of its events, not one after the other.

    It is so where calls overlap and no schedule says how.
    """
    return not trace.header.scheduled and overlaps(trace.events)


def with_outcomes(trace: Trace, outcomes: Sequence[Outcome | None]) -> Trace:
    """A trace's own calls, to the nanosecond, with what came of them.

    Where calls overlap, or may, their events stay in order, and one without an outcome has no end.
    """
    if not trace.header.scheduled and not overlaps(trace.events):
        played = Trace.from_calls(trace.calls, trace.header, [outcome or NOT_RUN for outcome in outcomes])
        return replace(played, threads=trace.threads)
    events: list[Event] = []
    for event in (*trace.events, *_missing(trace.events)):
        if isinstance(event, Enter):
            events.append(event)
        elif (outcome := outcomes[event.number]) is not None:
            events.append(Leave(event.number, outcome))
    return Trace(trace.header, tuple(events), trace.threads)


def _missing(events: Iterable[Event]) -> list[Leave]:
    """Ends for the calls that have none, the last begun first: what is inside another ends before it."""
    open_calls: dict[int, None] = {}
    for event in events:
        if isinstance(event, Enter):
            open_calls[event.number] = None
        else:
            del open_calls[event.number]
    return [Leave(number, Outcome()) for number in reversed(open_calls)]
