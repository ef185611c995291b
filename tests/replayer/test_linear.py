"""Linearizability: a search among sequential orders finds a witness where brute force does, and only there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.calls import NOT_RUN, Call, Enter, Event, Leave, Outcome
from replayer.linear import ANY, History, Look, Stuck, Verdict, lost, search

Operation = tuple[str, int]


class Model:
    """A small object: a number that can be set, added to or taken from, and a log that few see."""

    def __init__(
        self, operations: Sequence[Operation], whole: bool = True, shown: Sequence[str] = ("value", "log")
    ):
        self.operations = operations
        self.whole = whole
        self.shows = shown
        self.value = 0
        self.log: tuple[int, ...] = ()

    def make(self, number: int) -> Hashable:
        kind, operand = self.operations[number]
        if kind == "set":
            self.value = operand
        elif kind == "add":
            self.value += operand
            self.log = (*self.log[-1:], operand)
        elif kind == "get":
            return self.value
        elif kind == "wait" and self.value < operand:
            raise Stuck
        return 0

    def look(self) -> Look:
        seen = {"value": self.value, "log": self.log}
        shown = tuple(seen[name] for name in self.shows)
        return Look(shown, (self.value, self.log) if self.whole else None, self.whole)

    end = look
    doubtful = False

    def close(self) -> None:
        pass


def history(intervals: Sequence[tuple[int, int]], answers: Sequence[Hashable], shown: Hashable) -> History:
    """Call n begins at intervals[n][0] and ends at intervals[n][1], which are all different."""
    moments = sorted((at, number, end) for number, both in enumerate(intervals) for end, at in enumerate(both))
    events: list[Event] = []
    for _, number, end in moments:
        events.append(Leave(number, Outcome(value=number)) if end else Enter(number, Call("Move")))
    return History.of(events, lambda outcome: answers[outcome.value], shown)  # type: ignore[index]


def brute_force(run: History, begin: Callable[[], Any]) -> set[tuple[int, ...]]:
    witnesses = set()
    for order in itertools.permutations(run.numbers):
        game = begin()
        try:
            fits = all(run.answers[n] in (ANY, game.make(n)) for n in order if run.allows(order))
        except Stuck:
            continue
        if fits and run.allows(order) and game.look().shown == run.shown:
            witnesses.add(order)
    return witnesses


OPERATIONS = st.one_of(
    st.tuples(st.just("set"), st.integers(1, 3)),
    st.tuples(st.just("add"), st.integers(1, 2)),
    st.tuples(st.just("get"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 2)),
)


@st.composite
def runs(draw: st.DrawFn, most: int = 5) -> tuple[list[Operation], History, Callable[[], Model]]:
    """Calls with their intervals; what they answer and show is that of some order, or nearly."""
    operations = draw(st.lists(OPERATIONS, min_size=0, max_size=most))
    count = len(operations)
    moments = iter(draw(st.permutations(range(2 * count))))
    intervals = []
    for first in moments:
        second = next(moments)
        intervals.append((min(first, second), max(first, second)))
    shows = draw(st.sampled_from([("value",), ("value", "log"), ()]))
    whole = draw(st.booleans())

    def begin() -> Model:
        return Model(operations, whole, shows)

    game = begin()
    answers: list[Hashable] = [0] * count
    for number in draw(st.permutations(range(count))):
        try:
            answers[number] = game.make(number)
        except Stuck:
            answers[number] = 0
    if count and draw(st.booleans()):
        answers[draw(st.integers(0, count - 1))] = draw(st.sampled_from([0, 1, 2, ANY]))
    return operations, history(intervals, answers, game.look().shown), begin


@settings(max_examples=150)
@given(runs())
def test_a_witness_is_found_exactly_where_there_is_one(
    run: tuple[list[Operation], History, Callable[[], Model]],
) -> None:
    _, calls, begin = run
    witnesses = brute_force(calls, begin)
    verdict = search(calls, begin)
    assert (verdict.order in witnesses) if witnesses else verdict.order is None
    assert verdict.exact or not (witnesses or verdict.ends or verdict.unanswered)


@settings(max_examples=50)
@given(runs(4))
def test_orders_are_counted_as_they_are(run: tuple[list[Operation], History, Callable[[], Model]]) -> None:
    calls = run[1]
    allowed = sum(map(calls.allows, itertools.permutations(calls.numbers)))
    assert calls.orders(10**6) == allowed


@settings(max_examples=50)
@given(runs(4))
def test_calls_that_are_lost_are_as_few_as_can_be(
    run: tuple[list[Operation], History, Callable[[], Model]],
) -> None:
    _, calls, begin = run
    overlapping = [n for group in calls.groups if len(group) > 1 for n in group]
    sizes = [
        size
        for size in range(1, len(overlapping))
        if any(brute_force(calls.without(gone), begin) for gone in itertools.combinations(overlapping, size))
    ]
    gone = lost(calls, begin)
    assert len(gone) == (sizes[0] if sizes and sizes[0] <= 4 else 0)
    assert not gone or brute_force(calls.without(gone), begin)


# ------------------------------------------------------------------------------------------------- by example

TOGETHER = [(0, 2), (1, 3)]
BEHIND = [(0, 1), (2, 3)]


def judged(intervals: Sequence[tuple[int, int]], operations: Sequence[Operation], value: int) -> Verdict:
    run = history(intervals, [0] * len(operations), (value,))
    return search(run, lambda: Model(operations, shown=("value",)))


def test_what_was_over_before_another_call_began_stays_before_it() -> None:
    assert judged(TOGETHER, [("set", 1), ("set", 2)], 1).order == (1, 0)
    behind = judged(BEHIND, [("set", 1), ("set", 2)], 1)
    assert not behind and behind.exact and behind.ends == (((0, 1), (2,)),)


def test_a_lost_update_is_told_from_another_violation() -> None:
    operations = [("add", 1), ("add", 1), ("add", 5)]
    run = history([(0, 2), (1, 3), (4, 5)], [0, 0, 0], (6,))

    def begin() -> Model:
        return Model(operations, shown=("value",))

    assert not search(run, begin)
    assert lost(run, begin) == (0,)
    torn = history([(0, 2), (1, 3), (4, 5)], [0, 0, 0], (4,))
    assert not search(torn, begin)
    assert lost(torn, begin) == ()


def test_a_good_run_takes_one_play_and_hardly_more_where_calls_end_out_of_turn() -> None:
    twelve = [(n, 100 + n) for n in range(12)]
    operations = [("add", n + 1) for n in range(12)]
    assert judged(twelve, operations, 78).plays == 1
    operations[3] = ("set", 9)  # took effect before all others, though it ended fourth
    verdict = judged(twelve, operations, 9 + 78 - 4)
    assert verdict.order is not None and verdict.plays <= 1 + 12 * 2


def in_turns(threads: int, each: int) -> list[tuple[int, int]]:
    """Calls of threads, each of which begins the next one as soon as its last one has ended, in turns."""
    return [(10 * n + thread, 10 * (n + 1) + thread - 1) for n in range(each) for thread in range(threads)]


@pytest.mark.parametrize(("threads", "each"), [(2, 6), (3, 4)])
def test_twelve_calls_that_overlap_are_judged_exactly(threads: int, each: int) -> None:
    intervals = [(2 * a, 2 * b + 1) for a, b in in_turns(threads, each)]
    operations = [("add", 1 << n) for n in range(12)]
    run = history(intervals, [0] * 12, ((1 << 12) - 2,))
    assert run.overlapping == 12
    for whole in (False, True):
        verdict = search(run, lambda whole=whole: Model(operations, whole, ("value",)))  # type: ignore[misc]
        assert not verdict and verdict.exact


def test_with_too_many_calls_it_gives_up_and_says_so() -> None:
    count = 16
    run = history([(n, 100 + n) for n in range(count)], [0] * count, (1,))
    verdict = search(run, lambda: Model([("add", 1 << n) for n in range(count)], whole=False), plays=300)
    assert verdict and verdict.order is None and not verdict.exact
    assert verdict.why == "gave up after 300 orders of 16 overlapping calls" and verdict.plays == 300


class Hides:
    """Shows how many calls were made, and at last whether that was in a certain order."""

    def __init__(self, order: Sequence[int]):
        self.order = tuple(order)
        self.made: tuple[int, ...] = ()

    def make(self, number: int) -> Hashable:
        self.made += (number,)
        return 0

    def look(self) -> Look:
        done = len(self.made) == len(self.order)
        return Look((len(self.made), done and self.made == self.order))

    end = look
    doubtful = False

    def close(self) -> None:
        pass


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_picture_that_hides_something_deceives_nobody(order: tuple[int, ...]) -> None:
    run = history([(n, 10 + n) for n in range(4)], [0] * 4, (4, True))
    assert search(run, lambda: Hides(order)).order == order


def test_orders_that_block_are_no_witnesses_and_alone_no_evidence() -> None:
    operations = [("wait", 1), ("set", 1)]
    assert judged(TOGETHER, operations, 1).order == (1, 0)
    both = judged(TOGETHER, [("wait", 1), ("wait", 1)], 1)
    assert both and both.order is None and "block" in both.why
    assert not judged(TOGETHER, operations, 2)


def test_calls_that_were_not_made_are_left_out_and_one_without_an_end_may_come_late() -> None:
    events: list[Event] = [
        Enter(0, Call("Move")),
        Enter(1, Call("Move")),
        Leave(1, NOT_RUN),
        Enter(2, Call("Move")),
        Leave(2, Outcome(value=7)),
        Enter(3, Call("Move")),
        Leave(3, Outcome(value=8)),
    ]
    run = History.of(events, lambda outcome: outcome.value)
    assert run.numbers == (0, 2, 3) and run.ended == (2, 3, 0)
    assert run.before == {0: frozenset(), 2: frozenset(), 3: frozenset({2})}
    assert run.answers[0] is ANY and run.answers[3] == 8
    assert run.overlapping == 3 and run.overlap(0, 3) and not run.overlap(2, 3)


def test_a_target_that_answers_differently_each_time_is_not_judged() -> None:
    ticks: Iterator[int] = itertools.count()

    class Ticks(Model):
        def make(self, number: int) -> Hashable:
            return number if number == 0 and next(ticks) == 0 else super().make(number)

    run = history([(0, 4), (1, 5), (2, 6)], [0, 0, 0], (9,))
    verdict = search(run, lambda: Ticks([("add", 1)] * 3))
    assert verdict.order is None


def test_without_calls_a_fresh_instance_is_what_counts() -> None:
    assert search(history([], [], ()), lambda: Model([], shown=())).order == ()
