"""Recorded orders on Python targets: under the scheduler, which has whoever comes next in the order go first.

So a call that is not to end yet is held at its first step inside the target, or goes on as far as others need it
to, and the same trace gives the same interleaving each time.  That nothing can go on is seen at once.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from recorder.calls import Call, Outcome
from replayer.concurrent import Maker, points_for
from replayer.cooperative import in_force
from replayer.order import Border, Order
from replayer.ordered import InOrder, Making
from replayer.scheduler import HandOver, Scheduler, Stuck, closing, prepare
from replayer.target import Instance, Target

__all__ = ["OnInstance", "Ordered", "play_ordered"]


class OnInstance(Making[Any], Protocol):
    """Calls that are made on this instance, from when there is one."""

    instance: Instance


@dataclass
class Ordered:
    """How calls went.  `reason` says why they could not be made in their order, "" if they were; `steps` are those
    of each call, by number, `held` says whether a thread could not be ended."""

    instance: Instance
    reason: str
    steps: list[int]
    hand_overs: list[HandOver]
    deadlock: list[Stuck]
    held: bool


def play_ordered(
    target: Target,
    calls: Sequence[Call],
    order: Order,
    making: OnInstance,
    quiet: Callable[[Instance], object] = lambda instance: None,
) -> Ordered:
    """Make calls in this order on a fresh instance of a Python target.

    `quiet` is called when nothing goes on any more, before threads of the target are ended.  Raises
    NoPythonObjectError for one that gives an interface pointer, TargetError if it gives no instance.
    """
    points = points_for(target)
    scheduler = Scheduler(target.owns, points.on_this_thread)
    counted = _Counted(making, scheduler, [0] * len(calls))
    ordered = InOrder(calls, order, counted, _Room(scheduler, order))
    scheduler.idle = ordered.let_one_go
    maker = Maker(target, scheduler, ordered.called_out)

    def program(thread: int) -> None:
        maker.wait()
        making.instance = maker.instance
        ordered.program(thread)

    prepare([Maker.THREAD, *order.programs])
    programs = {thread: functools.partial(program, thread) for thread in order.programs}
    with in_force(target), closing(scheduler):
        with points.calling(scheduler.step):
            scheduler.run({Maker.THREAD: maker.make, **programs})
        quiet(maker.instance)
    return Ordered(
        maker.instance,
        ordered.reason,
        counted.steps,
        scheduler.hand_overs,
        scheduler.deadlock,
        scheduler.is_held,
    )


@dataclass
class _Counted:
    """Calls whose steps are counted."""

    making: OnInstance
    scheduler: Scheduler
    steps: list[int]
    before: dict[int, object] = field(default_factory=dict)

    def begin(self, number: int) -> Any:
        ready = self.making.begin(number)
        if not isinstance(ready, Outcome):
            self.before[number] = self.scheduler.begin(number)
        return ready

    def make(self, number: int, ready: Any) -> Outcome:
        outcome = self.making.make(number, ready)
        self.steps[number] = self.scheduler.end(self.before.pop(number))
        return outcome._replace(elapsed_ns=0)  # it may have waited for its turn

    def end(self, number: int, outcome: Outcome, *, alone: bool) -> None:
        self.making.end(number, outcome, alone=alone)

    def note(self, passed: int, number: int) -> None:
        self.making.note(passed, number)


class _Room:
    """Where threads of a scheduler wait."""

    together = False

    def __init__(self, scheduler: Scheduler, order: Order):
        self._scheduler = scheduler
        self._turns = [_Turn(border) for border in order.borders]

    def alone(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()  # only one runs

    def wait(self, at: int, *, hurry: bool) -> bool:
        self._scheduler.wait(self._turns[at])
        return True

    def wake(self, waiting: Collection[int], thread: int) -> None:
        for at in waiting:
            self._scheduler.wake(self._turns[at])
        self._scheduler.prefer(thread)


@dataclass(eq=False)
class _Turn:
    border: Border

    def __str__(self) -> str:
        return f"the turn of call {self.border.number} to {'end' if self.border.leaves else 'begin'}"
