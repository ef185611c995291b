"""A recorded order of enters and leaves as a schedule, as near as one comes to the other.

A replay in recorded order (replayer.ordered_schedule) says where it handed over; there the schedule gets its
change points.  What came inside another call on its thread gets an occasion.  Whether that shows the same is for a
play to tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fuzz.scheduled import Scheduled
from recorder.calls import Call, Trace
from replayer.isolation import Player
from replayer.oracles import Finding, Judge
from replayer.order import Order, Planned
from replayer.player import Run
from replayer.scheduler import HandOver

__all__ = ["as_schedule", "of_bucket", "without_order"]


def without_order(
    player: Player, judge: Judge, finding: Finding, trace: Trace, run: Run
) -> tuple[Run, bool] | None:
    """A play of a trace's calls that shows what `run` in recorded order did, which others can be made of.

    That is one call after the other, or else scheduled, which is the other answer; None if neither shows it.
    """
    for calls, scheduled in ((trace.calls, False), (as_schedule(trace, run.schedule), True)):
        played = (Scheduled(player) if scheduled else player).play(calls)
        if of_bucket(finding.bucket, judge.findings(played)):
            return played, scheduled
    return None


def of_bucket(bucket: object, findings: Iterable[Finding]) -> Finding | None:
    """The finding of this bucket, if there is one."""
    return next((finding for finding in findings if finding.bucket == bucket), None)


def as_schedule(trace: Trace, schedule: Iterable[HandOver]) -> list[Call]:
    """The trace's calls with switches; its threads are numbered in the order of their first calls.

    `schedule`: where the replay of the trace handed over.  Raises OrderError where no thread can make the calls.
    """
    order = Order.of(trace.events)
    switches: defaultdict[int, set[int]] = defaultdict(set)
    for handed in schedule:
        if handed.call >= 0 and handed.step > 0 and handed.why == "woken":
            switches[handed.call].add(handed.step)
    for thread, program in order.programs.items():
        for later in program[1:]:
            before = order.borders[order.enters[later.number] - 1].number
            if order.threads[before] != thread:
                switches[later.number].add(0)  # it lets others go first
        for outer in _all(program):
            switches[outer.number] |= {-(place + 1) for place in range(len(outer.inside))}
    ranks = list(dict.fromkeys(call.thread for call in trace.calls))
    return [
        call._replace(thread=ranks.index(call.thread), switches=tuple(sorted(switches[number])))
        for number, call in enumerate(trace.calls)
    ]


def _all(program: Iterable[Planned]) -> Iterable[Planned]:
    for planned in program:
        yield planned
        yield from _all(planned.inside)
