"""Linearizability: whether what came of calls that overlapped could have come of them one after the other.

A `History` holds the calls of a run: which was over before which began, what each answered, and what was to be
seen at the end.  An order is a *witness* if it keeps every call behind those that were over before it began, and
if the calls, made one after the other in this order on a fresh instance, answer the same and leave the same to be
seen.  Nothing is known of the target beyond that: it is its own model (Wing and Gong 1993).

`search` tries likely orders first (that in which the calls ended, that in which they began, and those with one
call elsewhere), so that a good run costs one or two sequential plays.  Then it goes through all of them, depth
first; where the same calls have led to the same picture before, what follows is known (Lowe 2017).  A picture that
hides something may deceive it there: so before it says no, it goes through the orders again without that memory.

The answer is exact where at most `EXACT` calls overlap; with more of them the search may use up its plays, and
says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from recorder.calls import Enter, Event, Outcome, OutcomeKind

__all__ = ["ANY", "EXACT", "Game", "History", "Look", "Stuck", "Verdict", "lost", "search"]

EXACT = 12  # calls that overlap, directly or through others
_PLAYS = 600_000  # enough for 12 calls that overlap on four threads: 12! / (3!)^4 = 369,600 orders
_PLAYS_BEYOND = 5_000  # where more of them overlap
_CONFIRMED = 1_000  # orders up to which pictures are never believed to show all
_PLAYS_LEFT_OUT = 1_000  # to find out whether an update was lost
_LEFT_OUT = 4  # updates that are lost at once
_FINALS = 64  # different ends of orders that are remembered, to tell what is wrong

ANY = object()
"""The answer of a call that is not judged, since equal plays give different ones."""


class Stuck(Exception):
    """The call does not come back unless another one is made."""


@dataclass(frozen=True, slots=True)
class Look:
    """An instance as it looks between two calls.

    `shown` is judged; `inner` is all else that can be seen of it, and `whole` says that nothing hides.
    """

    shown: Hashable
    inner: Hashable = None
    whole: bool = False


class Game(Protocol):
    """A fresh instance, on which calls are made one after the other."""

    def make(self, number: int) -> Hashable:
        """Make call `number`, to its end; what it answered.  Raises Stuck."""

    def look(self) -> Look:
        """As the instance looks now."""

    def end(self) -> Look:
        """As it looks when nothing goes on any more; no call is made after that."""

    @property
    def doubtful(self) -> bool:
        """Whether a call waited for something until its own limit came: what it says then is no evidence."""

    def close(self) -> None:
        """The instance is not needed any more."""


@dataclass(frozen=True)
class History:
    """Calls of a run by number, in the order in which they began.

    `before` holds of each call those that were over when it began, `ended` all in the order in which they ended.
    `answers` may be ANY; `shown` is what was to be seen at the end.
    """

    numbers: tuple[int, ...]
    ended: tuple[int, ...]
    before: Mapping[int, frozenset[int]]
    answers: Mapping[int, Hashable]
    shown: Hashable = None

    @classmethod
    def of(cls, events: Iterable[Event], answer: Callable[[Outcome], Hashable], shown: Hashable = None) -> History:
        """The calls of `events` that were made.  One that has not ended may answer what it will."""
        began: list[int] = []
        ended: list[int] = []
        before: dict[int, frozenset[int]] = {}
        answers: dict[int, Hashable] = {}
        unmade: set[int] = set()
        for event in events:
            if isinstance(event, Enter):
                began.append(event.number)
                before[event.number] = frozenset(ended)
            else:
                ended.append(event.number)
                answers[event.number] = answer(event.outcome)
                if event.outcome.kind is OutcomeKind.NOT_RUN:
                    unmade.add(event.number)
        open_calls = [number for number in began if number not in answers]
        answers.update(dict.fromkeys(open_calls, ANY))
        whole = cls(tuple(began), (*ended, *open_calls), before, answers, shown)
        return whole.without(unmade) if unmade else whole

    def without(self, numbers: Iterable[int]) -> History:
        """The same run as if these calls had not been made."""
        gone = frozenset(numbers)
        return replace(
            self,
            numbers=tuple(n for n in self.numbers if n not in gone),
            ended=tuple(n for n in self.ended if n not in gone),
            before={n: self.before[n] - gone for n in self.numbers if n not in gone},
        )

    def overlap(self, one: int, other: int) -> bool:
        """Whether neither call was over when the other one began."""
        return one not in self.before[other] and other not in self.before[one]

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Calls that overlap, directly or through others; between two groups no call was going on."""
        groups: list[tuple[int, ...]] = []
        group: list[int] = []
        for number in self.numbers:
            if group and self.before[number].issuperset(group):
                groups.append(tuple(group))
                group = []
            group.append(number)
        return (*groups, tuple(group)) if group else tuple(groups)

    @cached_property
    def overlapping(self) -> int:
        """How many calls overlap, directly or through others, where most do."""
        return max(map(len, self.groups), default=0)

    def allows(self, order: Sequence[int]) -> bool:
        """Whether an order keeps each call behind those that were over when it began."""
        made: set[int] = set()
        for number in order:
            if not self.before[number] <= made:
                return False
            made.add(number)
        return True

    def orders(self, most: int) -> int:
        """How many orders it allows; `most`, or a little more, if they are at least so many."""
        total = 1
        for group in self.groups:
            total *= _count(group, self.before, most)
            if total >= most:
                break
        return total


def _count(group: Sequence[int], before: Mapping[int, frozenset[int]], most: int) -> int:
    """How many orders of a group there are: of each set of calls made first, in how many ways it is reached."""
    places = {number: place for place, number in enumerate(group)}
    needs = [sum(1 << places[n] for n in before[number] if n in places) for number in group]
    ways = {0: 1}
    for _ in group:
        following: dict[int, int] = {}
        for made, count in ways.items():
            for place, need in enumerate(needs):
                if not made >> place & 1 and need & ~made == 0:
                    now = made | 1 << place
                    following[now] = following.get(now, 0) + count
        ways = following
        if min(ways.values()) >= most or len(ways) >= most:
            return most
    return sum(ways.values())


@dataclass(frozen=True)
class Verdict:
    """What a search came to.

    `order` is a witness, or None.  Without one, `exact` says that there is none; else the search gave up, and
    `why` tells for what reason.  `plays` is how many sequential plays it took.  `ends` holds orders that could be
    made whole and what they left to be seen, `unanswered` the calls that answered otherwise than in the run.
    """

    order: tuple[int, ...] | None
    exact: bool
    plays: int
    why: str = ""
    ends: tuple[tuple[tuple[int, ...], Hashable], ...] = ()
    unanswered: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether the run is, or may be, that of calls made one after the other."""
        return self.order is not None or not self.exact


def search(history: History, begin: Callable[[], Game], *, plays: int | None = None) -> Verdict:
    """Look for a witness.  `begin` gives a game with a fresh instance; at most `plays` are played.

    A history without calls has the empty order as its witness, if a fresh instance shows what the run's did.
    """
    if plays is None:
        plays = _PLAYS if history.overlapping <= EXACT else _PLAYS_BEYOND
    return _Search(history, begin, plays).run()


def lost(history: History, begin: Callable[[], Game], *, plays: int = _PLAYS_LEFT_OUT) -> tuple[int, ...]:
    """The calls without which the run would have a witness: as few as that takes, () if no few calls do.

    Only calls that overlap others can be missing.  For a run that has no witness itself.
    """
    candidates = [number for group in history.groups if len(group) > 1 for number in group]
    for size in range(1, min(_LEFT_OUT, len(candidates) - 1) + 1):
        for gone in itertools.combinations(candidates, size):
            verdict = search(history.without(gone), begin, plays=plays)
            if verdict.order is not None:
                return gone
            plays -= verdict.plays
            if plays <= 0:
                return ()
    return ()


class _SpentError(Exception):
    """No plays are left."""


@dataclass(slots=True)
class _Branch:
    """A point of the search: calls made so far and those that may be made next and were not tried."""

    made: int
    left: list[int]
    key: Hashable = None


@dataclass
class _Search:
    history: History
    begin: Callable[[], Game]
    most: int
    plays: int = 0
    stuck: bool = False  # some order could not be made whole
    unsteady: bool = False  # a call answered otherwise when its order was played again
    recalled: bool = False  # the memory has saved a play
    whole: bool = True  # every picture showed all
    witness: tuple[int, ...] | None = None
    ends: dict[Hashable, tuple[int, ...]] = field(default_factory=dict)
    unanswered: dict[int, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # places in the order in which the calls ended: the lower one is tried first
        self._numbers = self.history.ended
        places = {number: place for place, number in enumerate(self._numbers)}
        self._needs = [sum(1 << places[n] for n in self.history.before[number]) for number in self._numbers]
        self._all = (1 << len(self._numbers)) - 1

    def run(self) -> Verdict:
        try:
            for order in self._guesses():
                if self._follow(order):
                    return self._verdict(order)
            if self._explore(remember=True):
                return self._found()
            if self.recalled and not self._is_confirmed() and self._explore(remember=False):
                return self._found()
        except _SpentError:
            overlapping = self.history.overlapping
            return self._verdict(None, f"gave up after {self.plays} orders of {overlapping} overlapping calls")
        if self.unsteady:
            return self._verdict(None, "gave up: the same calls in the same order answer differently")
        if self.stuck and not self.ends and not self.unanswered:
            return self._verdict(None, "gave up: the calls cannot be made one after the other, since they block")
        return self._verdict(None)

    def _is_confirmed(self) -> bool:
        """Whether what the memory says is to be believed: there is too much to go through, and nothing hides."""
        return self.whole and self.history.orders(_CONFIRMED + 1) > _CONFIRMED

    def _verdict(self, order: tuple[int, ...] | None, why: str = "") -> Verdict:
        ends = tuple((order, shown) for shown, order in self.ends.items())
        return Verdict(order, order is not None or not why, self.plays, why, ends, tuple(self.unanswered))

    def _found(self) -> Verdict:
        return self._verdict(self.witness)

    # --- likely orders

    def _guesses(self) -> Iterator[tuple[int, ...]]:
        history = self.history
        likely = [history.ended]
        if history.allows(history.numbers):
            likely.append(history.numbers)
        seen: set[tuple[int, ...]] = set()
        for order in itertools.chain(likely, self._moved(history.ended)):
            if order not in seen:
                seen.add(order)
                yield order

    def _moved(self, order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Orders with one call earlier, past as many as overlap with it; the nearest first."""
        for distance in range(1, self.history.overlapping):
            for place in range(distance, len(order)):
                if self.history.overlap(order[place], order[place - distance]):
                    start = place - distance
                    moved = (*order[:start], order[place], *order[start:place], *order[place + 1 :])
                    if self.history.allows(moved):
                        yield moved

    def _follow(self, order: tuple[int, ...]) -> bool:
        game = self._begin()
        try:
            return all(self._make(game, number) for number in order) and self._ends_well(game, order)
        finally:
            game.close()

    # --- all orders

    def _explore(self, *, remember: bool) -> bool:
        """Go through all orders, each played as far as it can be a witness; whether there is one."""
        dead: set[Hashable] = set()
        path: list[int] = []
        branches = [_Branch(0, self._next(0))]
        while branches:
            game = self._begin()
            try:
                if not self._again(game, path):
                    return False
                if self._descend(game, path, branches, dead, remember):
                    self.witness = tuple(path)
                    return True
            finally:
                game.close()
            while branches and not branches[-1].left:
                if remember and branches[-1].key is not None:
                    dead.add(branches[-1].key)
                branches.pop()
                if path:
                    path.pop()
        return False

    def _again(self, game: Game, path: Sequence[int]) -> bool:
        """Make the calls that led here; whether they answer as they did."""
        for number in path:
            if not self._make(game, number):
                self.unsteady = True
                return False
        return True

    def _descend(
        self, game: Game, path: list[int], branches: list[_Branch], dead: set[Hashable], remember: bool
    ) -> bool:
        """Make the next calls until one cannot be; whether all could be made and this is a witness.

        What remains to be tried is left in `branches`: one for each call of the path, and one for its end.
        """
        while True:
            branch = branches[-1]
            if branch.made == self._all:
                return self._ends_well(game, tuple(path))
            if remember and branch.key is None:
                look = game.look()
                self.whole &= look.whole
                branch.key = (branch.made, look.shown, look.inner)
                if branch.key in dead:
                    self.recalled = True
                    branch.left.clear()
                    return False
            place = branch.left.pop(0)
            number = self._numbers[place]
            if not self._make(game, number):
                return False
            made = branch.made | 1 << place
            path.append(number)
            branches.append(_Branch(made, self._next(made)))

    def _next(self, made: int) -> list[int]:
        """The places of the calls that may come next."""
        return [p for p, need in enumerate(self._needs) if not made >> p & 1 and need & ~made == 0]

    # --- playing

    def _begin(self) -> Game:
        if self.plays >= self.most:
            raise _SpentError
        self.plays += 1
        return self.begin()

    def _make(self, game: Game, number: int) -> bool:
        """Make a call; whether it answers as it did in the run."""
        try:
            answer = game.make(number)
        except Stuck:
            self.stuck = True
            return False
        expected = self.history.answers[number]
        if expected is ANY or answer == expected:
            return True
        if game.doubtful:
            self.stuck = True
        else:
            self.unanswered.setdefault(number)
        return False

    def _ends_well(self, game: Game, order: tuple[int, ...]) -> bool:
        shown = game.end().shown
        if game.doubtful:
            self.stuck = True
        elif len(self.ends) < _FINALS:
            self.ends.setdefault(shown, order)
        return shown == self.history.shown
