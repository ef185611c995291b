"""Minimising ends at the shortest sequence with the simplest arguments, and never at another failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import QuietHost, calls

from fuzz.minimise import minimise, minimise_finding
from fuzz.strategies import call_sequences
from recorder.calls import Call
from recorder.contract import contract_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.target import object_target

Fails = Callable[[list[Call]], bool]

NOISE = calls(*(f'Progress("Message {n} of 40", {n}, 40)' for n in range(1, 41)))
FULL = [
    *NOISE,
    *calls('Error(0x80040111, "wrong password")', 'Progress("Folder", 5, 5)', "Done(sync-event, S_OK)"),
]


def has(*wanted: Callable[[Call], bool]) -> Fails:
    """Fails on calls that satisfy the conditions in this order."""

    def fails(sequence: list[Call]) -> bool:
        left = iter(sequence)
        return all(any(condition(call) for call in left) for condition in wanted)

    return fails


def method(name: str) -> Callable[[Call], bool]:
    return lambda call: call.method == name


def index(call: Call) -> int:
    value = call.args[1] if call.method == "Progress" else 0
    assert isinstance(value, int)
    return value


CASES: dict[str, tuple[Fails, tuple[str, ...]]] = {
    "one call": (has(method("Error")), ('Error(S_OK, "")',)),
    "two in order": (has(method("Error"), method("Progress")), ('Error(S_OK, "")', 'Progress("", 0, 0)')),
    "a threshold": (has(lambda c: index(c) >= 17), ('Progress("", 17, 0)',)),
    "a text": (has(lambda c: "of" in str(c.args[0])), ('Progress("of", 0, 0)',)),
    "two equal values": (
        has(lambda c: c.method == "Progress" and c.args[1] == c.args[2] and index(c) >= 3),
        ('Progress("", 3, 3)',),
    ),
    "many": (
        lambda s: sum(c.method == "Progress" for c in s) >= 12,
        ('Progress("", 0, 0)',) * 12,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_known_shortest_sequence_is_reached(case: str) -> None:
    fails, expected = CASES[case]
    assert minimise(FULL, fails) == calls(*expected)


def test_threads_go_where_they_do_not_matter() -> None:
    spread = [call._replace(thread=n % 3, time_ns=n) for n, call in enumerate(FULL)]
    assert minimise(spread, has(method("Error"))) == calls('Error(S_OK, "")')
    kept = minimise(spread, lambda s: any(c.thread for c in s))
    assert len(kept) == 1 and kept[0].thread


def test_a_long_session_takes_a_bounded_number_of_tries() -> None:
    session = NOISE * 10 + FULL
    tries = 0

    def fails(sequence: list[Call]) -> bool:
        nonlocal tries
        tries += 1
        return has(method("Error"), method("Done"))(sequence)

    assert len(minimise(session, fails)) == 2
    assert tries < 300


def test_it_stops_after_max_tries_with_the_best_so_far() -> None:
    best = minimise(FULL, has(lambda c: index(c) >= 17), max_tries=8)
    assert has(lambda c: index(c) >= 17)(best) and len(best) < len(FULL)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(call_sequences(max_size=12), st.integers(0, 11), st.integers(0, 11))
def test_the_result_fails_and_no_single_call_of_it_can_go(sequence: list[Call], one: int, other: int) -> None:
    wanted = [sequence[n % len(sequence)].method for n in {one % len(sequence), other % len(sequence)}]

    def fails(candidate: list[Call]) -> bool:
        names = [c.method for c in candidate]
        return all(names.count(n) >= wanted.count(n) for n in wanted)

    result = minimise(sequence, fails)
    assert fails(result)
    assert not any(fails(result[:n] + result[n + 1 :]) for n in range(len(result)))


class TwoBugs(QuietHost):
    """Raises on a NULL text, and elsewhere on a maximum of 0."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if maximum == 0:
            raise ZeroDivisionError("maximum")
        return len(text) * 0 if text is not None else len(None)  # type: ignore[arg-type]


def test_one_bug_is_never_traded_for_another_and_the_other_is_told_of() -> None:
    target = object_target(TwoBugs)
    judge = Judge(contract_of(IMAPI_SYNC_PROGRESS_CALLBACK))
    recorded = calls('Progress("a", 1, 2)', "Progress(NULL, 2, 2)", "Done(NULL, S_OK)")
    with Here(target) as player:
        (finding,) = judge.findings(player.play(recorded))
        met: set[str] = set()
        minimal = minimise_finding(
            player, judge, finding, recorded, met=lambda other, sequence, run: met.add(other.message)
        )
        (again,) = judge.findings(player.play(minimal))
    assert again.bucket == finding.bucket and again.level == finding.level
    assert "len()" in again.message
    assert minimal == calls("Progress(NULL, 0, 1)")
    assert met == {"ZeroDivisionError: maximum"}
