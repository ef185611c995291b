"""Minimising: the shortest sequence with the simplest arguments that still fails in the same way.

`minimise` only sees a predicate; `minimise_finding` plays, and takes code, method, place and level for the same
way.  The result is 1-minimal: no single call of it can go and no argument can become simpler by any step known
here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from recorder.calls import Argument, Call, Handle
from replayer.isolation import Player
from replayer.oracles import Finding, Judge
from replayer.player import Run

__all__ = ["minimise", "minimise_finding", "simpler"]

Fails = Callable[[list[Call]], bool]


def minimise(calls: list[Call], fails: Fails, *, max_tries: int = 5000) -> list[Call]:
    """Shrink a failing sequence; stops after `max_tries` evaluations with the best found so far."""
    shrinker = _Shrinker(calls, fails, max_tries)
    with contextlib.suppress(_OutOfTries):
        shrinker.run()
    return shrinker.calls


def minimise_finding(
    player: Player,
    judge: Judge,
    finding: Finding,
    calls: list[Call],
    *,
    timeout: float | None = None,
    max_tries: int = 5000,
    met: Callable[[Finding, list[Call], Run], None] = lambda finding, calls, run: None,
) -> list[Call]:
    """The shortest sequence on which the same finding shows: its bucket and its level stay.

    `timeout` seconds are given to each try (None: as the player has it).  `met` is told of every other finding
    that shows on the way.
    """

    def fails(candidate: list[Call]) -> bool:
        run = player.play(candidate, timeout=timeout)
        same = False
        for other in judge.findings(run):
            if other.bucket == finding.bucket and other.level == finding.level:
                same = True
            else:
                met(other, candidate, run)
        return same

    cut = calls[: finding.number + 1]
    return minimise(cut if len(cut) < len(calls) and fails(cut) else calls, fails, max_tries=max_tries)


class _OutOfTries(Exception):
    pass


class _Shrinker:
    def __init__(self, calls: list[Call], fails: Fails, max_tries: int):
        self.calls = calls
        self._fails = fails
        self._left = max_tries
        self._tried: set[tuple[Call, ...]] = set()

    def run(self) -> None:
        while True:
            before = self.calls
            self._remove_runs()
            self._plain_threads()
            self._simplify_columns()
            self._simplify_together()
            self._simplify_each()
            if self.calls == before:
                return

    def _try(self, candidate: list[Call]) -> bool:
        """Take a candidate over if it still fails."""
        if not candidate:
            return False
        key = tuple(candidate)
        try:
            if key in self._tried:
                return False
            self._tried.add(key)
        except TypeError:  # an unhashable argument cannot be remembered
            pass
        if self._left <= 0:
            raise _OutOfTries
        self._left -= 1
        if self._fails(candidate):
            self.calls = candidate
            return True
        return False

    def _remove_runs(self) -> None:
        """Drop runs of calls, large ones first, from the end; with single calls until none can go."""
        size = len(self.calls)
        while size >= 1:
            removed = False
            start = len(self.calls) - size
            while start >= 0 or (start > -size and size > 1):
                at = max(start, 0)
                if self._try(self.calls[:at] + self.calls[start + size :]):
                    removed = True
                    start = min(start, len(self.calls) - size)
                else:
                    start -= size
            if not (removed and size == 1):
                size //= 2

    def _plain_threads(self) -> None:
        if any(call.thread or call.time_ns for call in self.calls):
            self._try([call._replace(thread=0, time_ns=0) for call in self.calls])
            for number in range(len(self.calls)):
                call = self.calls[number]
                if call.thread:
                    self._put(number, call._replace(thread=0))

    def _put(self, number: int, call: Call) -> bool:
        return self._try([*self.calls[:number], call, *self.calls[number + 1 :]])

    def _simplify_columns(self) -> None:
        """In a long sequence most arguments do not matter: give a parameter one simple value in all calls."""
        for method, size in {call.method: len(call.args) for call in self.calls}.items():
            for position in range(size):
                values = {c.args[position] for c in self.calls if c.method == method and len(c.args) == size}
                if len(values) < 2 and sum(c.method == method for c in self.calls) < 2:
                    continue
                for simple in _SIMPLEST:
                    if not any(type(simple) is type(value) for value in values):
                        continue
                    candidate = [_with(c, position, simple) if c.method == method else c for c in self.calls]
                    if candidate == self.calls or self._try(candidate):
                        break

    def _simplify_together(self) -> None:
        """A value that stands in several places is one value to a host that compares: change all at once."""
        values = [value for call in self.calls for value in call.args]
        for value in dict.fromkeys(v for v in values if isinstance(v, int | str) and values.count(v) > 1):
            self._shrink_value(value, lambda old, new: self._try(_replaced(self.calls, old, new)))

    def _simplify_each(self) -> None:
        for number in range(len(self.calls)):
            for position in range(len(self.calls[number].args)):

                def put(old: Argument, new: Argument, number: int = number, position: int = position) -> bool:
                    call = self.calls[number]
                    args = (*call.args[:position], new, *call.args[position + 1 :])
                    return self._put(number, call._replace(args=args))

                self._shrink_value(self.calls[number].args[position], put)

    def _shrink_value(self, value: Argument, put: Callable[[Argument, Argument], bool]) -> None:
        """Replace a value by simpler ones as long as one is accepted."""
        progress = True
        while progress:
            progress = False
            for candidate in simpler(value):
                if put(value, candidate):
                    value = candidate
                    progress = True
                    break
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2:
            self._bisect(value, put)

    def _bisect(self, value: int, put: Callable[[Argument, Argument], bool]) -> None:
        """The threshold between a small value that passes and this one that fails."""
        sign = 1 if value > 0 else -1
        passes, failing = 0, abs(value)
        while failing - passes > 1:
            middle = (passes + failing) // 2
            if put(sign * failing, sign * middle):
                failing = middle
            else:
                passes = middle


_SIMPLEST: tuple[Argument, ...] = ("", 0, 1, "a")


def _with(call: Call, position: int, value: Argument) -> Call:
    if position >= len(call.args):
        return call
    return call._replace(args=(*call.args[:position], value, *call.args[position + 1 :]))


def _replaced(calls: list[Call], old: Argument, new: Argument) -> list[Call]:
    return [
        call._replace(args=tuple(new if type(a) is type(old) and a == old else a for a in call.args))
        if old in call.args
        else call
        for call in calls
    ]


def simpler(value: Argument) -> Iterator[Argument]:
    """Simpler values to try, the simplest first; each is strictly simpler, so that shrinking ends."""
    if value is None:
        return
    if isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int):
        half = abs(value) // 2 * (1 if value > 0 else -1)
        yield from (v for v in (0, 1, 2, -1, abs(value), half) if _below(v, value))
        if abs(value) > 3:
            yield value - 1 if value > 0 else value + 1
    elif isinstance(value, str):
        yield from _simpler_texts(value)
    elif isinstance(value, Handle):
        yield None
        if value.token > 0:
            yield Handle(0)
    else:
        yield None


def _below(candidate: int, value: int) -> bool:
    """Simpler: nearer to 0, and positive before negative."""
    return (abs(candidate), candidate < 0) < (abs(value), value < 0)


def _simpler_texts(text: str) -> Iterator[Argument]:
    if text == "":
        return
    yield ""
    if len(text) > 1 or text != "a":
        if text not in ("a", "0"):
            yield "a"
        size = len(text) // 2
        while size:
            for start in range(0, len(text), size):
                if len(text) - size > 0:
                    yield text[:start] + text[start + size :]
            size //= 2
        if len(text) <= 200:
            for n, character in enumerate(text):
                if character not in "a0" and ord(character) > ord("a"):
                    yield text[:n] + "a" + text[n + 1 :]
