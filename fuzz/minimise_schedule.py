"""Minimising a schedule: fewer calls, fewer threads, then the fewest switches, at the earliest steps, that fail.

`minimise_schedule` only sees what came of a try.  It does not only take away: without a call, or on fewer threads,
other switches may be needed, so the schedules of what is left are looked through, those with the fewest switches
first.  With one switch these are all that there are: a run is the same up to its next change point, so where it
can be put is known.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from fuzz.environment import Calls
from fuzz.schedules import changes, in_order, orders, switched, threads_of, with_change, without_changes
from recorder.calls import Call

__all__ = ["Tried", "minimise_schedule"]

_LONG = 8  # calls, of more only what is there is taken away
_ALLOWED = 150  # tries for the schedules of calls that are fewer or on fewer threads
_DEEP = 500  # tries for those of what is left in the end


class Tried(NamedTuple):
    """What came of a try: whether it fails, and how many steps each call made, as far as that is known."""

    fails: bool
    steps: Sequence[int] = ()


def minimise_schedule(
    calls: Calls, trial: Callable[[Calls], Tried], *, max_tries: int = 5000, deadline: float | None = None
) -> Calls:
    """Shrink scheduled calls that fail; stops after `max_tries`, or at `deadline` (time.monotonic seconds), with
    the best found so far."""
    search = _Search(calls, trial, max_tries, deadline)
    with contextlib.suppress(_OutOfTries):
        search.run()
    return search.calls


class _OutOfTries(Exception):
    pass


class _Search:
    def __init__(self, calls: Calls, trial: Callable[[Calls], Tried], max_tries: int, deadline: float | None):
        self.calls = calls
        self._trial = trial
        self._left = max_tries
        self._deadline = deadline
        self._tried: dict[tuple[Call, ...], Tried] = {}

    def run(self) -> None:
        self._take(in_order(self.calls))
        while True:
            before = self.calls
            self._drop_switches()
            self._fewer_calls()
            self._fewer_threads()
            self._fewest_switches()
            self._earlier()
            if self.calls == before:
                return

    def _try(self, calls: Calls) -> Tried:
        key = tuple(calls)
        if key not in self._tried:
            if self._left <= 0 or (self._deadline is not None and time.monotonic() >= self._deadline):
                raise _OutOfTries
            self._left -= 1
            self._tried[key] = self._trial(calls)
        return self._tried[key]

    def _take(self, calls: Calls) -> bool:
        """Go on with these calls if they fail."""
        if not calls or not self._try(calls).fails:
            return False
        self.calls = calls
        return True

    # --- taking away --------------------------------------------------------------------------------------------

    def _drop_switches(self) -> None:
        """All switches go that nothing depends on."""
        for number, call in enumerate(self.calls):
            if call.switches:
                self._put(number, call._replace(switches=()))
        for number, call in enumerate(self.calls):
            for switch in call.switches:
                self._put(number, _without(self.calls[number], switch))

    def _fewer_calls(self) -> None:
        for number in reversed(range(len(self.calls))):
            if len(self.calls) > 1:
                self._look_through([in_order(self.calls[:number] + self.calls[number + 1 :])])

    def _fewer_threads(self) -> None:
        """The calls of one thread go to another."""
        merged = True
        while merged:
            threads = threads_of(self.calls)
            merged = self._look_through(
                in_order([call._replace(thread=one) if call.thread == other else call for call in self.calls])
                for one in threads
                for other in reversed(threads)
                if one != other
            )

    def _fewest_switches(self) -> None:
        """The first of all schedules, by the number of switches and their steps."""
        if len(self.calls) > _LONG:
            return
        most = changes(self.calls)
        for program in self._with_less_nested():
            if found := self._find(program, most - changes(program), _DEEP):
                self.calls = found
                return

    def _with_less_nested(self) -> Iterator[Calls]:
        """The calls without change points: with nothing nested, then with what is."""
        nested = without_changes(self.calls)
        if any(call.switches for call in nested):
            yield [call._replace(switches=()) for call in nested]
        yield nested

    def _earlier(self) -> None:
        """Each switch to the first step, or occasion, at which it does."""
        for number in range(len(self.calls)):
            for switch in self.calls[number].switches:
                rest = _without(self.calls[number], switch).switches
                for earlier in range(switch) if switch > 0 else range(-1, switch, -1):
                    if earlier not in rest and self._put(number, switched(self.calls[number], *rest, earlier)):
                        break

    def _put(self, number: int, call: Call) -> bool:
        return self._take([*self.calls[:number], call, *self.calls[number + 1 :]])

    # --- looking through schedules ------------------------------------------------------------------------------

    def _look_through(self, candidates: Iterable[Calls]) -> bool:
        """Go on with the first of these that fails, as it is or with other switches, but no more of them."""
        most = changes(self.calls)
        for calls in candidates:
            if self._take(calls):
                return True
            program = without_changes(calls)
            allowed = _ALLOWED if len(calls) <= _LONG else 0
            if allowed and (found := self._find(program, max(0, most - changes(program)), allowed)):
                self.calls = found
                return True
        return False

    def _find(self, program: Calls, most: int, allowed: int) -> Calls | None:
        """The first schedule of the calls that fails, of those with up to `most` change points."""
        ends = self._left - allowed
        level = list(orders(program))
        if len(threads_of(program)) < 2:
            most = 0  # there is nobody to change to
        for count in range(most + 1):
            following: list[Calls] = []
            for calls in level:
                if self._left <= ends:
                    return None
                tried = self._try(calls)
                if tried.fails:
                    return calls
                if count < most:
                    following += _with_one_more(calls, tried.steps)
            level = following
        return None


def _with_one_more(calls: Calls, steps: Sequence[int]) -> Iterator[Calls]:
    """The calls with one more change point, behind those that they have; the steps that are made are known."""
    last = max(((n, switch) for n, c in enumerate(calls) for switch in c.switches if switch >= 0), default=(-1, 0))
    for number, made in enumerate(steps[: len(calls)]):
        for step in range(made + 1):
            if (number, step) > last:
                yield with_change(calls, number, step)


def _without(call: Call, switch: int) -> Call:
    return call._replace(switches=tuple(other for other in call.switches if other != switch))
