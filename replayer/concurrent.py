"""Plays scheduled calls: those of several threads at the same time, as threads and switches say."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from recorder.calls import NOT_RUN, Call, Enter, Event, Leave, Outcome
from replayer.cooperative import in_force
from replayer.occasions import occasions
from replayer.scheduler import HandOver, Scheduler, Stuck, closing, prepare
from replayer.switch_points import SwitchPoints
from replayer.target import Instance, Target, TargetError

__all__ = ["Concurrent", "Maker", "NoPythonObjectError", "play_concurrently", "points_for"]

Made = Callable[[Instance, Call, int], Outcome]
"""Makes a call that has this number, and gives its outcome."""

_latest: list[tuple[Target, SwitchPoints]] = []  # of the target that was played last: finding them takes long


@dataclass
class Concurrent:
    """What came of scheduled calls.

    `events`: enters and leaves as they happened; a call's number is its turn of entry, a call that was never
    entered comes last, as not run.  `steps`: how many each call made, by number.  `given`: for each number the
    place of the call in the sequence as it was given.  `held`: a lock of the deadlock is held even now.
    """

    events: list[Event] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    hand_overs: list[HandOver] = field(default_factory=list)
    deadlock: list[Stuck] = field(default_factory=list)
    held: bool = False
    instance: Instance | None = None

    @property
    def calls(self) -> list[Call]:
        return [event.call for event in self.events if isinstance(event, Enter)]


def play_concurrently(
    target: Target,
    calls: Sequence[Call],
    make: Made,
    *,
    over: Callable[[Instance, int, bool], object] = lambda instance, number, alone: None,
    note: Callable[[int], object] = lambda given: None,
    quiet: Callable[[Instance], object] = lambda instance: None,
) -> Concurrent:
    """Make the calls on a fresh instance of a Python target, each thread's in the order in which they are given.

    `make` makes each, `over` is told of each that has ended (`alone`: no other is in its middle), `note` of the
    place of the call that is made next, `quiet` when nothing goes on any more, before threads of the target are
    ended.  Raises TargetError if the target gives no instance.
    """
    points = points_for(target)
    scheduler = Scheduler(target.owns, points.on_this_thread)
    played = Concurrent(hand_overs=scheduler.hand_overs)
    maker = Maker(target, scheduler)
    left: dict[int, deque[int]] = {}
    for place, call in enumerate(calls):
        left.setdefault(call.thread, deque()).append(place)
    running: set[int] = set()

    def next_of(thread: int) -> None:
        def nested() -> None:
            if left[thread]:
                next_of(thread)

        place = left[thread].popleft()
        call = calls[place]
        if 0 in call.switches:
            scheduler.give_way()
        note(place)
        number = len(played.given)
        played.given.append(place)
        played.steps.append(0)
        played.events.append(Enter(number, call))
        running.add(number)
        before = scheduler.begin(number, call.switches, nested)
        instance = maker.instance
        outcome = make(instance, call, number)
        played.steps[number] = scheduler.end(before)
        running.discard(number)
        outcome = outcome._replace(elapsed_ns=0)  # it may have waited for its turn
        played.events.append(Leave(number, outcome))
        over(instance, number, not running)

    def program(thread: int) -> None:
        maker.wait()
        while left[thread]:
            next_of(thread)

    programs = {thread: functools.partial(program, thread) for thread in left}
    prepare([Maker.THREAD, *programs])
    with in_force(target), closing(scheduler):
        with points.calling(scheduler.step):
            scheduler.run({Maker.THREAD: maker.make, **programs})
        quiet(maker.instance)
    played.instance = maker.instance
    played.deadlock, played.held = scheduler.deadlock, scheduler.is_held
    for place in sorted(place for places in left.values() for place in places):
        number = len(played.given)
        played.given.append(place)
        played.steps.append(0)
        played.events += (Enter(number, calls[place]), Leave(number, NOT_RUN))
    return played


class NoPythonObjectError(TargetError):
    """A Python target's factory gives an interface pointer: what is behind it cannot be scheduled."""


class Maker:
    """Makes the instance, on a thread of the schedule, so that threads which that starts are scheduled, too.

    `called_out`: what is told of its occasions, in place of the scheduler.
    """

    THREAD = -1
    instance: Instance

    def __init__(self, target: Target, scheduler: Scheduler, called_out: Callable[[], None] | None = None):
        self._target = target
        self._scheduler = scheduler
        self._called_out = called_out or scheduler.occasion
        self._made = False
        self._stack = ExitStack()

    def make(self) -> None:
        instance = self._target.instance()
        if instance.native:
            instance.close()
            raise NoPythonObjectError(
                f"target {self._target.spec}: it gives an interface pointer, not a Python object"
            )
        self._stack.enter_context(occasions(instance, self._called_out))
        self.instance, self._made = instance, True
        self._scheduler.wake(self)

    def wait(self) -> None:
        while not self._made:
            self._scheduler.wait(self)

    def __str__(self) -> str:
        return "the instance"


def points_for(target: Target) -> SwitchPoints:
    if not _latest or _latest[0][0] is not target:
        _latest.clear()
        _latest.append((target, SwitchPoints(target.owns)))
    return _latest[0][1]
