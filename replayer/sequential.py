"""Calls made one after the other on a fresh Python instance, each on its own thread, to its end.

That is what calls that run at the same time are judged by (replayer.judgement).  The thread that plays is a thread
of the schedule, too, and ranks below all others: so it goes on when the call has ended and what the target's own
threads had to do is done.  A call that cannot end then waits for what never comes.
"""

from __future__ import annotations

import contextlib
import enum
import functools
from collections.abc import Callable, Hashable, Sequence

from replayer.cooperative import Sleep, in_force
from replayer.judgement import Calls
from replayer.linear import Game, Look, Stuck
from replayer.scheduler import LEFT, Scheduler, prepare
from replayer.visible import Changing, look_at

__all__ = ["Sequential", "Way"]

_LONGEST = 60.0  # virtual seconds that a call may wait for a limit of its own
_SETTLES = 100  # times that threads which the target starts may start others
_HURRY = 1.37  # virtual seconds from one look at the clock to the next
_BETWEEN = 3  # limits that come between two calls, where time passes


class Way(enum.Enum):
    """How the target's own threads keep up, and its clock.  No correct host depends on it."""

    EAGER = "what a call sets going is done before the next one"
    HURRIED = "the clock goes on at each look at it"
    LAZY = "the target's threads go on when calls wait for them, or at the end"
    SLOW = "time passes between the calls"


class Sequential:
    """Plays calls of a Python target."""

    def __init__(self, calls: Calls):
        self._calls = calls
        self._threads = False  # whether the target starts threads of its own
        self._last: object = None  # so that no object has the address of the one before

    @property
    def ways(self) -> Sequence[Way]:
        """The ways in which equal calls may be played, as far as they differ; the first is the usual one."""
        return tuple(Way) if self._threads else (Way.EAGER, Way.HURRIED)

    def begin(self, mask: tuple[Changing, Changing] = (None, None), way: Way = Way.EAGER) -> Game:
        """A game.  Raises TargetError if the target gives no instance."""
        self._calls.note()
        game = _Game(self._calls, mask, way, self._started)
        game.before, self._last = self._last, game.played
        return game

    def _started(self) -> None:
        self._threads = True


class _Hurried(Scheduler):
    """A schedule whose clock goes on each time that somebody looks at it."""

    _now = 0.0

    @property
    def now(self) -> float:
        self._now += _HURRY
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now


class _Turn:
    """Whose turn it is, and to do what."""

    number: int | None = None

    def __str__(self) -> str:
        return "its turn"


class _Game:
    doubtful = False
    before: object = None  # is not given up as long as this one is played

    def __init__(
        self,
        calls: Calls,
        mask: tuple[Changing, Changing],
        way: Way,
        started: Callable[[], object],
    ):
        self._calls = calls
        self._mask = mask
        self._way = way
        self._started = started
        self._scheduler = (_Hurried if way is Way.HURRIED else Scheduler)(calls.target.owns)
        self._turns = {thread: _Turn() for thread in sorted({call.thread for call in calls.calls})}
        self._answers: dict[int, Hashable] = {}
        programs = {thread: functools.partial(self._program, turn) for thread, turn in self._turns.items()}
        prepare(programs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(in_force(calls.target))
            stack.enter_context(self._scheduler.beside(programs))
            self._instance = calls.target.instance()
            stack.callback(self._release)
            self._settle()
            self._stack = stack.pop_all()

    @property
    def played(self) -> object:
        return self._instance.object

    def make(self, number: int) -> Hashable:
        thread = self._calls.calls[number].thread
        turn = self._turns[thread]
        turn.number = number
        self._scheduler.wake(turn)
        self._settle()
        if number not in self._answers:
            self.doubtful |= not isinstance(self._scheduler.waits_for(thread), Sleep | None)
            if not self._scheduler.wait(self, _LONGEST) and number not in self._answers:
                raise Stuck
            self._settle()
        return self._answers[number]

    def look(self) -> Look:
        return look_at(self._instance.object, self._mask)

    def end(self) -> Look:
        for _ in range(LEFT):
            self._have_all_go_on()
            if not self._scheduler.pass_time():
                break
        self._have_all_go_on()
        if self._scheduler.threads > len(self._turns) + 1:
            self._started()
        return self.look()

    def close(self) -> None:
        self._stack.close()

    def _program(self, turn: _Turn) -> None:
        """What each thread does: the calls that are its turn."""
        while True:
            while turn.number is None:
                self._scheduler.wait(turn)
            number, turn.number = turn.number, None
            before = self._scheduler.begin(number)
            answer = self._calls.made(self._instance, number)
            self._scheduler.end(before)
            self._answers[number] = answer
            self._scheduler.wake(self)

    def _settle(self) -> None:
        if self._way is Way.LAZY:
            return
        self._have_all_go_on()
        for _ in range(_BETWEEN if self._way is Way.SLOW else 0):
            if self._scheduler.pass_time():
                self._have_all_go_on()

    def _have_all_go_on(self) -> None:
        """Have all others go on until they wait, also those that are started meanwhile."""
        for _ in range(_SETTLES):
            threads = self._scheduler.threads
            self._scheduler.give_way()
            if self._scheduler.threads == threads:
                break

    def _release(self) -> None:
        self._instance.close()
        self._instance.handles.release()
        self._instance.methods.clear()
