"""Schedules: what is drawn is spread over threads, bounded and the same for a seed; what is minimal has nothing
left that it could do without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from sequences import CALLBACK, GOOD, calls

from fuzz.environment import Environment
from fuzz.minimise_schedule import Tried, minimise_schedule
from fuzz.schedule_mutators import SCHEDULE
from fuzz.schedules import (
    changes,
    draw_schedule,
    in_order,
    is_scheduled,
    spread,
    threads_of,
    with_change,
    without_changes,
)
from recorder.calls import Call
from recorder.contract import contract_of

ALONE = calls(*GOOD)


def made(method: str, thread: int = 0, *switches: int) -> Call:
    return Call(method, (), thread, 0, switches)


# --- drawing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_calls_are_spread_over_two_threads_or_more(threads: int) -> None:
    random = Random(threads)
    used = Counter[int]()
    for _ in range(300):
        program = spread(ALONE, threads, random)
        used[len(threads_of(program))] += 1

        assert threads_of(program) == [*range(len(threads_of(program)))]
        assert {call._replace(thread=0) for call in program} <= set(ALONE)
    assert sorted(used) == [*range(2, threads + 1)]


def test_one_call_is_made_on_several_threads() -> None:
    assert {call[:3] for call in spread(ALONE[:1], 2, Random(1))} == {
        (ALONE[0].method, ALONE[0].args, thread) for thread in (0, 1)
    }


def test_change_points_are_drawn_from_the_steps_that_there_are() -> None:
    program, steps, random = [made("A"), made("B"), made("C", 1)], (3, 0, 5), Random(1)
    drawn = [draw_schedule(program, steps, random) for _ in range(400)]

    places = Counter(
        (number, switch) for s in drawn for number, call in enumerate(s) for switch in call.switches if switch >= 0
    )
    nests = Counter(number for s in drawn for number, call in enumerate(s) if min(call.switches, default=0) < 0)
    assert sorted(places) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), *((2, step) for step in range(6))]
    assert max(places.values()) < 2 * min(places.values())
    assert {sum(s >= 0 for call in schedule for s in call.switches) for schedule in drawn} == {1, 2, 3}
    assert set(nests) == {0} and 40 < nests[0] < 120
    assert {tuple(call.thread for call in schedule) for schedule in drawn} == {(0, 0, 1), (1, 1, 0)}


def test_what_makes_no_step_has_no_change_point() -> None:
    assert changes(draw_schedule([made("A"), made("B", 1)], (0, 0), Random(1))) == 0


def test_change_points_go_and_what_is_nested_stays() -> None:
    assert without_changes([made("A", 0, 2, 7, -1), made("B", 1, 3)]) == [made("A", 0, -1), made("B", 1)]
    assert with_change([made("A", 0, 7, -1)], 0, 0) == [made("A", 0, 0, 7, -1)]
    assert in_order([made("A", 5), made("B", 2)]) == [made("A", 1), made("B", 0)]
    assert [is_scheduled([call]) for call in (made("A"), made("A", 1), made("A", 0, 1))] == [False, True, True]


# --- mutators -------------------------------------------------------------------------------------------------


PROGRAM = [made("Progress", 0, 4), made("Error", 1), made("Done", 0)]

DOES: dict[str, Callable[[list[Call]], bool]] = {
    "to-another-thread": lambda after: Counter(c.thread for c in after) != Counter(c.thread for c in PROGRAM),
    "to-each-thread": lambda after: len(after) == 4,
    "swap-ranks": lambda after: [call.thread for call in after] == [1, 0, 1],
    "add-change": lambda after: changes(after) == 2,
    "drop-change": lambda after: changes(after) == 0,
    "move-change": lambda after: changes(after) == 1 and after != PROGRAM,
    "nest": lambda after: min(after[0].switches) in (-1, -2),
}


def environment(seed: int) -> Environment:
    return Environment(contract_of(CALLBACK), [ALONE], Random(seed))


@pytest.mark.parametrize("name", sorted(SCHEDULE))
def test_a_mutator_changes_a_schedule_as_its_name_says(name: str) -> None:
    done = 0
    for seed in range(40):
        after = [*PROGRAM]
        if SCHEDULE[name].apply(after, environment(seed)):
            done += 1
            assert DOES[name](after), (seed, after)
            assert threads_of(after) == [*range(len(threads_of(after)))]
        else:
            assert after == PROGRAM
    assert done > 20


@pytest.mark.parametrize("name", sorted(SCHEDULE))
def test_a_mutator_leaves_what_it_cannot_change(name: str) -> None:
    for alone in ([], [made("Progress")]):
        after = [*alone]
        changed = SCHEDULE[name].apply(after, environment(1))
        assert changed is (after != alone)
        assert changed is (name == "add-change" and alone != [])


# --- minimising -----------------------------------------------------------------------------------------------


STEPS = {"A": 6, "B": 4, "C": 3, "D": 2}


def run(program: Sequence[Call]) -> list[tuple[str, int, int]]:
    """(method, step, number) in the order in which the rules of docs/threads.md let them happen."""
    lanes = {
        thread: [
            (n, step) for n, c in enumerate(program) if c.thread == thread for step in range(STEPS[c.method] + 1)
        ]
        for thread in threads_of(program)
    }
    priority = {thread: -thread for thread in lanes}
    happened = []
    dropped = set()
    while any(lanes.values()):
        thread = max((t for t in lanes if lanes[t]), key=priority.__getitem__)
        number, step = lanes[thread][0]
        if step in program[number].switches and (number, step) not in dropped:
            dropped.add((number, step))
            priority[thread] = min(priority.values()) - 1
            continue
        lanes[thread].pop(0)
        if step:  # 0 is before the call is entered
            happened.append((program[number].method, step, number))
    return happened


def trial(fails: Callable[[list[tuple[str, int]]], bool]) -> Callable[[list[Call]], Tried]:
    return lambda program: Tried(
        fails([(method, step) for method, step, _ in run(program)]), [STEPS[call.method] for call in program]
    )


def within(happened: list[tuple[str, int]], inner: str, outer: str, after: int) -> bool:
    """Whether one call as a whole lies between two steps of another."""
    where = {what: at for at, what in enumerate(happened)}
    if (inner, 1) not in where or (outer, 1) not in where:
        return False
    before, behind = where[outer, after], where[outer, after + 1]
    return before < where[inner, 1] and where[inner, STEPS[inner]] < behind


def test_a_race_of_two_calls_is_left_with_one_switch() -> None:
    found = [made("C", 1), made("A", 2, 2, 4, 6), made("D", 0, 1), made("B", 3, 2), made("C", 0)]
    fails = trial(lambda happened: within(happened, "B", "A", 3))
    first = next(
        p for p in (draw_schedule(found, (3, 6, 2, 4, 3), Random(seed)) for seed in range(999)) if fails(p).fails
    )

    assert minimise_schedule(first, fails) == [made("A", 0, 4), made("B", 1)]


def test_switches_that_need_each_other_are_kept_at_the_first_steps_that_do() -> None:
    """B between two steps of A, and what is left of A between two steps of C."""

    def both(happened: list[tuple[str, int]]) -> bool:
        where = {what: at for at, what in enumerate(happened)}
        if not {("A", 1), ("B", 1), ("C", 1)} <= set(where):
            return False
        return within(happened, "B", "A", 3) and where["C", 1] < where["A", 4] < where["A", 6] < where["C", 2]

    found = [made("A", 0, 4), made("B", 1, 2), made("C", 2, 2), made("D", 1)]
    start = next(
        p
        for p in (draw_schedule(found, (6, 4, 3, 2), Random(seed)) for seed in range(9999))
        if trial(both)(p).fails
    )
    minimal = minimise_schedule(start, trial(both))

    assert trial(both)(minimal).fails
    assert (len(minimal), changes(minimal)) == (3, 2)


def test_calls_that_fail_on_one_thread_need_no_schedule() -> None:
    fails = trial(lambda happened: ("B", 4) in happened)

    assert minimise_schedule([made("A", 1, 2), made("B", 2, 3), made("A", 0)], fails) == [made("B")]


def test_the_order_of_threads_alone_may_do() -> None:
    fails = trial(
        lambda happened: happened.index(("B", 1)) < happened.index(("A", 1)) if len(happened) == 10 else False
    )

    assert minimise_schedule([made("A", 0, 1), made("B", 1)], fails) == [made("A", 1), made("B", 0)]


def test_tries_are_bounded_and_the_best_is_given_back() -> None:
    race = trial(lambda happened: within(happened, "B", "A", 3))
    tried: list[list[Call]] = []

    def counted(program: list[Call]) -> Tried:
        tried.append(program)
        return race(program)

    start = [made("A", 0, 4, 6), made("D", 0), made("B", 1), made("C", 1, 2)]
    minimal = minimise_schedule(start, counted, max_tries=6)

    assert len(tried) == 6 and race(minimal).fails and len(minimal) < 4
    assert minimise_schedule(start, counted, deadline=0.0) == start
