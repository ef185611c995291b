"""What came of calls that ran at the same time, judged: it must be what comes of some order of them, one by one.

`judged` finds the order (replayer.linear) among plays of the same calls on fresh instances.  What equal plays show
differently is not judged: their clocks differ, so that times and durations do, and the threads that the target has
started keep up or lag behind.  A run that no order explains has lost an update if it is explained without a few of
its calls (X15), and is not linearizable (X16) otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from recorder.calls import Call, Event, Leave, Outcome
from replayer.linear import ANY, Game, History, Look, Stuck, Verdict, lost, search
from replayer.order import overlaps
from replayer.target import Instance, Target
from replayer.visible import Changing, changing, differences, merged, without

__all__ = ["Calls", "Judgement", "Player", "UnjudgedError", "judged"]

_MOST = 500  # calls of a run
_LIKELY = 2  # orders that are played at first, those in which the calls ended and began
_LOOKS = 3  # times that equal plays are compared
_NAMED = 3  # values that a message names


class UnjudgedError(Exception):
    """Calls cannot be made one after the other; the message says why."""


@dataclass(frozen=True)
class Calls:
    """Calls of one target, to be made one after the other.

    `make` makes one and gives its outcome; `note` is called each time that a game begins.
    """

    target: Target
    calls: Sequence[Call]
    make: Callable[[Instance, Call], Outcome]
    note: Callable[[], object] = lambda: None

    def made(self, instance: Instance, number: int) -> Hashable:
        """Make a call; what it answered."""
        return _answer_of(self.make(instance, self.calls[number]))


class Player(Protocol):
    """Gives games: fresh instances, on which calls are made one after the other."""

    @property
    def ways(self) -> Sequence[Any]:
        """In which ways the same calls can be played one after the other; the first is the usual one."""

    def begin(self, mask: tuple[Changing, Changing] = ..., way: Any = ...) -> Game:
        """`mask` is left out of what the game shows and hides."""


class Judgement(NamedTuple):
    """`kind` names the oracle, `number` is the last call; of a run that could not be judged `kind` is ""."""

    kind: str
    number: int
    message: str


@dataclass(frozen=True)
class _Steady:
    """What is the same in each play of the same calls in the same order."""

    mask: tuple[Changing, Changing] = (None, None)
    unanswered: frozenset[int] = frozenset()

    def of(self, history: History) -> History:
        """The history as far as it is to be judged."""
        answers = {n: ANY if n in self.unanswered else answer for n, answer in history.answers.items()}
        return replace(history, answers=answers, shown=without(history.shown, self.mask[0]))

    def both(self, other: _Steady) -> _Steady:
        masks = zip(self.mask, other.mask, strict=True)
        shown, inner = (merged(one, another) for one, another in masks)
        return _Steady((shown, inner), self.unanswered | other.unanswered)


def _answer_of(outcome: Outcome) -> Hashable:
    """What of an outcome is the target's own."""
    return outcome.kind, outcome.value, outcome.outputs


def judged(events: Sequence[Event], shown: Hashable, player: Player) -> Judgement | None:
    """What is wrong with a run, by its events and by what was to be seen at its end; None if nothing is."""
    if not overlaps(events):
        return None
    last = next((event.number for event in reversed(events) if isinstance(event, Leave)), 0)
    if len(events) > 2 * _MOST:
        return Judgement("", last, f"gave up: there are more than {_MOST} calls")
    try:
        return _judged(History.of(events, _answer_of, shown), last, player)
    except UnjudgedError as error:
        return Judgement("", last, str(error))


def _judged(history: History, last: int, player: Player) -> Judgement | None:
    if history.overlapping < 2 or search(history, player.begin, plays=_LIKELY).order is not None:
        return None
    steady, verdict = _Steady(), Verdict(None, True, 0)
    for _ in range(_LOOKS):
        seen = steady.both(_steady(history.ended, player))
        if seen == steady and verdict.plays:
            break
        steady = seen
        verdict = search(steady.of(history), lambda mask=steady.mask: player.begin(mask))  # type: ignore[misc]
        if verdict:
            break
    if verdict:
        return Judgement("", last, verdict.why) if verdict.order is None else None
    return _told(steady.of(history), verdict, last, lambda: player.begin(steady.mask))


def _told(history: History, verdict: Verdict, last: int, begin: Callable[[], Game]) -> Judgement:
    wrong = _wrong(history, verdict)
    names = ", ".join(name or "what is shown" for name, _, _ in wrong) or "the answers"
    values = "; ".join(f"{name or 'it'} is {here}, not {there}" for name, here, there in wrong[:_NAMED])
    if not wrong:
        values = f"no order lets these calls answer as they did: {', '.join(map(str, verdict.unanswered))}"
    if gone := lost(history, begin):
        calls = " and ".join(f"call {number}" for number in gone)
        was = "had" if len(gone) == 1 else "had both"
        return Judgement("lost-update", last, f"{names}: as if {calls} {was} not been made ({values})")
    return Judgement("linearizability", last, f"{names}: as after no order of the same calls ({values})")


def _wrong(history: History, verdict: Verdict) -> list[tuple[str, str, str]]:
    """Where what was to be seen differs from what the nearest order leaves."""
    found = [differences(history.shown, shown) for _, shown in verdict.ends]
    return min(found, key=lambda wrong: (len(wrong), [name for name, _, _ in wrong]), default=[])


def _steady(order: Sequence[int], player: Player) -> _Steady:
    """What plays of one order have in common, in all ways."""
    usual = _played(order, player)
    steady = _Steady()
    for way in player.ways[1:]:
        other = _played(order, player, way)
        unanswered = {n for n in order if usual.answers.get(n) != other.answers.get(n)}
        mask = changing(usual.look.shown, other.look.shown), changing(usual.look.inner, other.look.inner)
        steady = steady.both(_Steady(mask, frozenset(unanswered)))
    return steady


class _Play(NamedTuple):
    answers: Mapping[int, Hashable]
    look: Look


def _played(order: Sequence[int], player: Player, *way: Any) -> _Play:
    """One play, as far as it goes: up to the call that would wait for a later one."""
    answers: dict[int, Hashable] = {}
    with contextlib.closing(player.begin((None, None), *way)) as game:
        try:
            for number in order:
                answers[number] = game.make(number)
            return _Play(answers, game.end())
        except Stuck:
            pass
    return _played(order[: len(answers)], player, *way)
