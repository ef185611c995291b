"""Calls made in a recorded order (replayer.order), on threads of their own: each waits at its calls' borders.

At a border one thread acts at a time, in its turn; what runs between borders is up to the room that they wait in
(real threads: whoever is inside a call).  So what is forced is the order of enters and leaves: a call that returns
before its turn to end is held there.

A target may not go along: one call waits for another which is to be made, or to end, only later.  Then nothing
moves any more.  So who waits at a border is let go before his turn, one after the other, until what should have
come first does come: that tells which call waited for which, and the rest goes on without an order.  If it does
not come even so, the target hangs by itself, as it may in any sequence.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol, TypeVar

from recorder.calls import Call, Outcome
from replayer.order import Border, Order, Planned

__all__ = ["InOrder", "Making", "Room", "Threads"]

_GRACE_SECONDS = 0.2  # after each that was let go

_Ready = TypeVar("_Ready")


class Making(Protocol[_Ready]):
    """How a call is made.  `begin` and `end` are called in its turns, `make` between them; a call that `begin`
    gives an outcome for is not made."""

    def begin(self, number: int) -> _Ready | Outcome: ...

    def make(self, number: int, ready: _Ready) -> Outcome: ...

    def end(self, number: int, outcome: Outcome, *, alone: bool) -> None:
        """`alone`: no other call is under way."""

    def note(self, passed: int, number: int) -> None:
        """So many borders have been passed, and this call is the last one inside the target, or the next."""


class Room(Protocol):
    """Where threads wait for their turn.

    `together`: calls that begin one right after the other start at once, so that they do run at the same time.
    """

    together: bool

    def alone(self) -> AbstractContextManager[object]:
        """What one thread does inside it, no other does at the same time; `wait` lets others in meanwhile."""

    def wait(self, at: int, *, hurry: bool) -> bool:
        """Wait at this border until it is woken; False if nothing has moved for too long.  `hurry`: that is soon,
        since somebody was let go."""

    def wake(self, waiting: Collection[int], thread: int) -> None:
        """Have those who wait at these borders look again; what comes next is the business of this thread."""


class Threads:
    """Real threads.  `patience`: seconds without a move until calls are taken to wait for each other."""

    def __init__(self, patience: float, *, together: bool = True):
        self.together = together
        self._patience = patience
        self._changed = threading.Condition()

    def alone(self) -> AbstractContextManager[object]:
        return self._changed

    def wait(self, at: int, *, hurry: bool) -> bool:
        return self._changed.wait(min(self._patience, _GRACE_SECONDS) if hurry else self._patience)

    def wake(self, waiting: Collection[int], thread: int) -> None:
        self._changed.notify_all()


class _Abandoned(BaseException):
    """Nobody waits for these calls any more."""


class InOrder:
    """Calls in their order.  `program` is what each thread does, `called_out` what it does at an occasion.

    `reason` says why the order could not be kept, "" if it was.
    """

    def __init__(self, calls: Sequence[Call], order: Order, making: Making[_Ready], room: Room):
        self._order = order
        self._making = making
        self._gates = _Gates(calls, order, making.note, room)
        self._own = threading.local()

    @property
    def reason(self) -> str:
        return self._gates.reason

    def abandon(self) -> None:
        """Have everyone who waits give up."""
        self._gates.abandon()

    def let_one_go(self) -> bool:
        """Nothing moves: the first of those who wait need not wait any longer.  False if nobody waits."""
        return self._gates.let_one_go()

    def program(self, thread: int) -> None:
        """Make a thread's calls, on it."""
        self._own.pending = []
        with suppress(_Abandoned):
            for planned in self._order.programs[thread]:
                self._call(planned)

    def called_out(self) -> None:
        """The target calls out: if its thread has calls to make inside the one that it is in, now is the time."""
        pending: list[deque[Planned]] = getattr(self._own, "pending", [])
        with suppress(_Abandoned):
            while pending and pending[-1]:
                self._call(pending[-1].popleft())

    def _call(self, planned: Planned) -> None:
        number, gates, pending = planned.number, self._gates, deque(planned.inside)
        with gates.turn(self._order.enters[number]):
            ready = self._making.begin(number)
            gates.inside.append(number)
        gates.start(self._order.enters[number])
        self._own.pending.append(pending)
        if isinstance(ready, Outcome):
            outcome = ready
            self.called_out()
        else:
            outcome = self._making.make(number, ready)
        self._own.pending.pop()
        gates.returned(number, pending[0].number if pending else None)
        with gates.turn(self._order.leaves[number]):
            gates.under_way -= 1
            self._making.end(number, outcome, alone=not gates.under_way)


class _Gates:
    """The borders, and whose turn it is."""

    def __init__(self, calls: Sequence[Call], order: Order, note: Callable[[int, int], None], room: Room):
        self.inside: list[int] = []  # calls that are inside the target
        self.under_way = 0
        self.reason = ""
        self._calls = calls
        self._order = order
        self._note = note
        self._room = room
        self._starts = order.starts() if room.together else {}
        self._turn = 0
        self._moves = 0
        self._passed: set[int] = set()
        self._waiting: set[int] = set()
        self._let_go: list[int] = []
        self._abandoned = False

    @contextmanager
    def turn(self, at: int) -> Iterator[None]:
        """Inside it is this border's turn."""
        with self._room.alone():
            self._wait(at)
            if not self._order.borders[at].leaves:
                self.under_way += 1
            yield
            self._pass(at)

    def start(self, at: int) -> None:
        """Wait, behind the border at which a call begins, for those that start together with it."""
        with self._room.alone():
            while self._turn < self._starts.get(at, 0) and not (self.reason or self._let_go or self._abandoned):
                self._room.wait(at, hurry=False)

    def returned(self, number: int, not_made: int | None) -> None:
        """The target has returned from a call.  `not_made`: one that it gave no occasion to make inside it."""
        with self._room.alone():
            self.inside.remove(number)
            if not_made is not None:
                inner, outer = self._named(not_made), self._named(number)
                self.reason = (
                    self.reason or f"{inner} was made inside {outer}, in which the target does not call out"
                )
            self._moved()

    def abandon(self) -> None:
        with self._room.alone():
            self._abandoned = True
            self._moved()

    def let_one_go(self) -> bool:
        if not (waiting := self._waiting.difference(self._let_go)):
            return False
        self._let_go.append(min(waiting))
        self._moved()
        return True

    def _wait(self, at: int) -> None:
        self._waiting.add(at)
        self._moves += 1
        while not self._may_pass(at):
            moves = self._moves
            woken = self._room.wait(at, hurry=bool(self._let_go))
            if not woken and moves == self._moves and not self._may_pass(at):
                self.let_one_go()
        self._waiting.remove(at)
        if self._abandoned:
            raise _Abandoned

    def _may_pass(self, at: int) -> bool:
        return at == self._turn or at in self._let_go or bool(self.reason) or self._abandoned

    def _pass(self, at: int) -> None:
        if self._let_go and at == self._turn and not self.reason:
            self.reason = self._why(self._order.borders[at], self._order.borders[self._let_go[-1]])
        self._passed.add(at)
        while self._turn in self._passed:
            self._turn += 1
        self._moved()

    def _moved(self) -> None:
        """Tell how far it is, and have those look who wait."""
        self._moves += 1
        following = self._order.borders[min(self._turn, len(self._order.borders) - 1)].number
        self._note(self._turn, self.inside[-1] if self.inside else following)
        able = [at for at in sorted(self._waiting) if self._may_pass(at)]
        self._room.wake(able, self._order.threads[following])

    def _why(self, late: Border, early: Border) -> str:
        what = "did not return" if late.leaves else "could not be made"
        then = "had returned" if early.leaves else "was made"
        return f"{self._named(late.number)} {what} until {self._named(early.number)} {then}, which comes later"

    def _named(self, number: int) -> str:
        call = self._calls[number]
        return f"call {number} ({call.method} on thread {call.thread})"
