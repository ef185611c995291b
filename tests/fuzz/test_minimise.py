"""Minimising: nothing can go any more and nothing can be simpler, and one bug is never traded for another."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, calls, recorded, regression, trace
from targets import deep_counter, two_bugs

from fuzz import generate
from fuzz.minimise import minimise, minimise_finding, minimise_trace, simpler
from recorder.calls import Argument, Call, Handle, Opaque
from recorder.contract import Level, contract_of, fits
from recorder.interface import Parameter, Type
from recorder.text import call_text
from replayer.isolation import Here
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions, Run
from replayer.target import TargetError, object_target

CONTRACT = contract_of(CALLBACK)
E_FAIL = -2147467259

steady = functools.partial(settings, deadline=None, derandomize=True, database=None)
Fails = Callable[[list[Call]], bool]


class Counted:
    """A predicate that counts its evaluations."""

    def __init__(self, fails: Fails):
        self.fails = fails
        self.tries = 0

    def __call__(self, sequence: list[Call]) -> bool:
        self.tries += 1
        return self.fails(sequence)


def lines(sequence: list[Call]) -> list[str]:
    return [call_text(call, CALLBACK) for call in sequence]


def hostile(seed: int, length: int) -> list[Call]:
    return generate.sequence(CONTRACT, Random(seed), Level.HOSTILE, length)


def assert_minimal(sequence: list[Call], fails: Fails) -> None:
    """No call can go, and no argument can be simpler: by the definition, not by the shrinker's code."""
    assert fails(sequence)
    for number in range(len(sequence)):
        rest = sequence[:number] + sequence[number + 1 :]
        assert not rest or not fails(rest), f"call {number} can go"
    for number, call in enumerate(sequence):
        for position, parameter in enumerate(CALLBACK.method(call.method).inputs):
            for value in simpler(call.args[position], parameter):
                args = (*call.args[:position], value, *call.args[position + 1 :])
                changed = [*sequence[:number], call._replace(args=args), *sequence[number + 1 :]]
                assert not fits(parameter, value) or not fails(changed), f"{call} with {value!r}"


# --- predicates -----------------------------------------------------------------------------------------------


def values(sequence: list[Call]) -> list[Argument]:
    return [value for call in sequence for value in call.args]


def contains(*methods: str) -> Fails:
    """The methods are called in this order, with anything in between."""

    def fails(sequence: list[Call]) -> bool:
        names = iter(call.method for call in sequence)
        return all(method in names for method in methods)

    return fails


def index_from(least: int) -> Fails:
    return lambda s: any(c.method == "Progress" and isinstance(c.args[1], int) and c.args[1] >= least for c in s)


def text_with(part: str) -> Fails:
    return lambda s: any(isinstance(value, str) and part in value for value in values(s))


def equal_texts(s: list[Call]) -> bool:
    texts = [value for value in values(s) if isinstance(value, str)]
    return len(texts) > len(set(texts))


def failure_reported(s: list[Call]) -> bool:
    return any(c.method == "Error" and isinstance(c.args[0], int) and c.args[0] < 0 for c in s)


def same_limit(times: int) -> Fails:
    def fails(s: list[Call]) -> bool:
        limits = [c.args[2] for c in s if c.method == "Progress"]
        return any(limits.count(limit) >= times for limit in limits)

    return fails


def handle_after_error(s: list[Call]) -> bool:
    names = [c.method for c in s]
    return any(
        "Error" in names[:n] for n, c in enumerate(s) if c.method == "Done" and isinstance(c.args[0], Handle)
    )


methods = st.sampled_from(["Progress", "Error", "Done"])
predicates: st.SearchStrategy[Fails] = st.one_of(
    st.lists(methods, min_size=1, max_size=3).map(lambda names: contains(*names)),
    st.integers(0, 2**31).map(index_from),
    st.sampled_from(["a", "%", "\ud800", "e\u0301"]).map(text_with),
    st.sampled_from([equal_texts, failure_reported, handle_after_error, same_limit(2), same_limit(4)]),
)
both = st.builds(lambda one, other: lambda s: one(s) and other(s), predicates, predicates)


@steady(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.one_of(predicates, both), st.integers(1, 40))
def test_the_result_is_minimal(seed: int, fails: Fails, length: int) -> None:
    sequence = next((s for n in range(20) if fails(s := hostile(seed + n, length))), [])
    assume(sequence)
    before = list(sequence)
    made = minimise(sequence, fails, interface=CALLBACK)
    assert sequence == before
    assert_minimal(made, fails)
    assert minimise(made, fails, interface=CALLBACK) == made


@pytest.mark.parametrize(
    ("fails", "minimal"),
    [
        (contains("Progress", "Done"), ["Progress(NULL, 0, 0)", "Done(NULL, S_OK)"]),
        (index_from(1000), ["Progress(NULL, 1000, 0)"]),
        (text_with("%"), ['Progress("%", 0, 0)']),
        (failure_reported, ['Error(0x80004005 E_FAIL, "")']),
        (same_limit(4), ["Progress(NULL, 0, 0)"] * 4),
        (handle_after_error, ['Error(S_OK, "")', "Done(sync-event, S_OK)"]),
        (lambda s: any(c.method == "Error" and c.args[0] == 7 for c in s), ['Error(0x00000007, "")']),
        (
            lambda s: any(c.method == "Progress" and c.args[1] == c.args[2] > 1 for c in s),
            ["Progress(NULL, 2, 2)"],
        ),
    ],
    ids=["order", "index", "text", "failure", "limits", "handle", "odd code", "equal numbers"],
)
def test_known_minima(fails: Fails, minimal: list[str]) -> None:
    start = calls(
        *('Progress("Inbox", 7, 4000)', 'Error(MAPI_E_NETWORK_ERROR, "gone")', 'Progress("100%", 123456, 4000)'),
        *("Progress(NULL, 4000, 4000)", 'Error(7, "seven")', "Progress(NULL, 1, 4000)", "Progress(NULL, 2, 4000)"),
        "Done(handle(2), MAPI_E_NETWORK_ERROR)",
    )
    made = minimise(start, fails, interface=CALLBACK)
    assert lines(made) == minimal
    assert_minimal(made, fails)


def test_the_last_call_is_never_taken() -> None:
    assert minimise(calls("Done(NULL, S_OK)"), lambda s: True) == calls("Done(NULL, S_OK)")


def test_without_an_interface_any_value_may_become_simpler_but_not_null() -> None:
    made = minimise(calls('Progress("Inbox", 5, 9)', "Done(sync-event, S_OK)"), lambda s: len(s) > 0)
    assert lines(made) in (['Progress("", 0, 0)'], ["Done(NULL, S_OK)"])


# --- long sequences, threads, budgets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "size", "most"),
    [
        (contains("Error", "Done"), 2, 150),
        (lambda s: sum(c.method == "Progress" for c in s) >= 100, 100, 400),
        (same_limit(50), 50, 400),
        (lambda s: any(c.args[-1] == 299 for c in s), 1, 150),
    ],
    ids=["two", "hundred", "fifty of one limit", "needle"],
)
def test_three_hundred_calls_take_a_few_hundred_tries(fails: Fails, size: int, most: int) -> None:
    sequence = [Call("Progress", (f"message {n} of 300", n % 100, 300 if n % 2 else n)) for n in range(298)]
    sequence += calls('Error(E_FAIL, "gone")', "Done(sync-event, E_FAIL)")
    sequence[200] = Call("Progress", ("here", 1, 299))
    counted = Counted(fails)
    made = minimise(sequence, counted, interface=CALLBACK)
    assert len(made) == size
    assert counted.tries <= most


def test_threads_and_times_that_do_not_matter_go() -> None:
    start = [Call("Progress", ("a", 1, 2), thread=n % 3, time_ns=n * 1000) for n in range(6)]
    made = minimise(start, lambda s: len(s) >= 2, interface=CALLBACK)
    assert made == [Call("Progress", (None, 0, 0))] * 2


def test_threads_that_matter_are_as_few_as_can_be_and_numbered_from_0() -> None:
    start = [Call("Progress", ("a", 1, 2), thread=n, time_ns=n) for n in (4, 4, 7, 9, 2)]

    def fails(sequence: list[Call]) -> bool:
        return len(sequence) >= 3 and len({call.thread for call in sequence}) >= 2

    made = minimise(start, fails, interface=CALLBACK)
    assert sorted({call.thread for call in made}) == [0, 1]
    assert made[0].thread == 0 and len(made) == 3
    assert not any(call.time_ns for call in made)


def test_tries_are_bounded_and_the_best_so_far_is_given() -> None:
    sequence = hostile(3, 100)
    counted = Counted(contains("Progress"))
    made = minimise(sequence, counted, interface=CALLBACK, max_tries=5)
    assert counted.tries == 5
    assert 0 < len(made) < len(sequence) and contains("Progress")(made)


def test_a_deadline_that_is_over_gives_the_sequence_back() -> None:
    counted = Counted(lambda s: True)
    sequence = hostile(3, 10)
    assert minimise(sequence, counted, deadline=time.monotonic()) == sequence
    assert counted.tries == 0


def test_no_sequence_is_tried_twice() -> None:
    seen: set[tuple[Call, ...]] = set()

    def fails(sequence: list[Call]) -> bool:
        assert tuple(sequence) not in seen
        seen.add(tuple(sequence))
        return contains("Error", "Progress")(sequence)

    minimise(hostile(11, 60), fails, interface=CALLBACK)


# --- what is simpler ------------------------------------------------------------------------------------------

PARAMETERS = [
    None,
    Parameter("number", Type.U32),
    Parameter("number", Type.I64, nullable=True, pointer=True),
    Parameter("result", Type.HRESULT),
    Parameter("text", Type.TEXT),
    Parameter("text", Type.TEXT, nullable=True),
    Parameter("handle", Type.HANDLE, nullable=True),
]
arguments: st.SearchStrategy[Argument] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**33), 2**33),
    st.text(max_size=12),
    st.builds(Handle, st.integers(-2, 5)),
    st.floats(allow_nan=False),
    st.builds(Opaque, st.just("datetime"), st.just("now")),
)


@steady(max_examples=300)
@given(arguments, st.sampled_from(PARAMETERS), st.randoms(use_true_random=False))
def test_going_to_simpler_values_ends(value: Argument, parameter: Parameter | None, random: Random) -> None:
    for _ in range(200):
        steps = list(simpler(value, parameter))
        assert value not in [step for step in steps if type(step) is type(value)]
        if not steps:
            return
        value = random.choice(steps)
    pytest.fail(f"still going at {value!r}")


def test_null_comes_first_where_it_may() -> None:
    nullable, other = Parameter("text", Type.TEXT, nullable=True), Parameter("text", Type.TEXT)
    assert next(simpler("Inbox", nullable)) is None
    assert None not in list(simpler("Inbox", other))
    assert next(simpler("Inbox", other)) == ""
    assert list(simpler("", other)) == []


def test_a_named_hresult_is_simpler_than_a_number() -> None:
    result = Parameter("result", Type.HRESULT)
    assert list(simpler(0, result)) == []
    assert list(simpler(E_FAIL, result)) == [0]
    assert list(simpler(-2147221233, result)) == [0, E_FAIL, 1]
    assert list(simpler(-7, result))[:5] == [0, E_FAIL, 1, 2, -1]


# --- findings -------------------------------------------------------------------------------------------------


def two_bugs_player() -> Here:
    return Here(object_target(two_bugs.Host), PlayOptions(main_thread=True, join_seconds=0))


def found(player: Here, sequence: list[Call]) -> list[Finding]:
    return Judge(CONTRACT).findings(player.play(sequence))


def test_one_bug_is_never_traded_for_another_and_the_other_is_told_of() -> None:
    """Removing calls turns the KeyError into the IndexError, whose calls are fewer."""
    player = two_bugs_player()
    start = calls(
        *('Progress("Inbox", 1, 4)', "Progress(NULL, 2, 4)", 'Error(E_FAIL, "gone")', 'Progress("Sent", 4, 4)'),
        "Progress(NULL, 9, 4)",
    )
    first = next(f for f in found(player, start) if "KeyError" in f.message)
    met: list[Finding] = []
    took: list[list[Call]] = []

    def tell(other: Finding, sequence: list[Call], run: Run) -> None:
        assert other in found(player, sequence)
        met.append(other)

    made = minimise_finding(
        player,
        Judge(CONTRACT),
        first,
        start,
        took=lambda finding, sequence, run: took.append(sequence),
        met=tell,
    )
    assert lines(made) == ['Error(0x80004005 E_FAIL, "")', 'Progress("a", 0, 1)']
    (same,) = found(player, made)
    assert (same.bucket, same.level) == (first.bucket, first.level)
    assert took[-1] == made
    assert all((other.bucket, other.level) != (first.bucket, first.level) for other in met)


def test_what_shows_on_the_way_is_told_of() -> None:
    player = two_bugs_player()
    start = calls("Progress(NULL, 9, 4)", 'Error(E_FAIL, "gone")', 'Progress("Sent", 3, 4)')
    first = next(f for f in found(player, start) if "KeyError" in f.message)
    met: list[Finding] = []
    minimise_finding(player, Judge(CONTRACT), first, start, met=lambda other, sequence, run: met.append(other))
    assert "IndexError" in {other.message.partition(":")[0] for other in met}
    assert all(other.bucket != first.bucket or other.level != first.level for other in met)


def test_the_level_stays() -> None:
    """Without Done the sequence is shorter, and lenient: it says something else of the host."""
    player = two_bugs_player()
    start = calls("Done(NULL, S_OK)", 'Error(E_FAIL, "")', 'Progress("a", 0, 0)')
    (first,) = found(player, start)
    assert first.level is Level.HOSTILE
    seen: list[Level] = []
    made = minimise_finding(
        player, Judge(CONTRACT), first, start, met=lambda other, sequence, run: seen.append(other.level)
    )
    assert lines(made) == ["Done(NULL, S_OK)", 'Error(S_OK, "")', 'Progress("a", 0, 0)']
    assert Level.LENIENT in seen


def test_a_sequence_is_cut_behind_the_failing_call_first() -> None:
    player = Here(object_target(deep_counter.Host), PlayOptions(main_thread=True, join_seconds=0))
    start = [Call("Progress", (None, n, 500)) for n in range(300)]
    (first,) = found(player, start)
    assert first.number == 99
    tried: list[int] = []
    made = minimise_finding(
        player, Judge(CONTRACT), first, start, took=lambda finding, sequence, run: tried.append(len(sequence))
    )
    assert tried[0] == 100
    assert lines(made) == ["Progress(NULL, 0, 1)"] * 100


def test_minimise_trace_takes_the_finding_that_the_trace_was_kept_for() -> None:
    spec = "targets.two_bugs:Host"
    sequence = ('Error(E_ABORT, "gone")', 'Progress("Inbox", 3, 1)', 'Error(S_OK, "a")')
    plain = minimise_trace(trace(*sequence), spec, origin="run.tape")
    assert lines(plain.found.calls) == ['Error(0x80004004 E_ABORT, "")']
    assert plain.found.original == calls(*sequence) and not plain.found.flaky
    (other,) = plain.others
    assert "IndexError" in other.finding.message and "run.tape" in other.origin
    with pytest.raises(
        TargetError, match=r"^run\.tape: does not fail on targets\.clean:Host; nothing to minimise$"
    ):
        minimise_trace(trace(*sequence), "targets.clean:Host", origin="run.tape")


def test_minimise_trace_of_a_regression() -> None:
    kept = regression("X3", "Progress(NULL, 9, 1)", "Done(NULL, E_FAIL)")
    made = minimise_trace(kept, "targets.bad_hresult:Host")
    assert made.found.finding.code == "H6"
    kept = regression("H6", 'Error(E_FAIL, "x")', "Done(NULL, E_FAIL)")
    assert (
        lines(minimise_trace(kept, "targets.bad_hresult:Host").found.calls)[-1] == "Done(NULL, 0x80004005 E_FAIL)"
    )


def test_a_trace_whose_order_cannot_be_kept_is_told_apart_from_one_that_does_not_fail() -> None:
    with pytest.raises(TargetError, match=r"its order cannot be kept on .*: call 1 "):
        minimise_trace(recorded("0( 1( 1) 0)", threads="00"), "targets.clean:Host")


def test_what_fails_in_a_recorded_order_only_is_minimised_as_a_schedule() -> None:
    boxed = recorded("0( 0) 1( 2( 2) 1) 3( 3)", {1: "Error(E_FAIL, NULL)"}, threads="1111")
    minimised = minimise_trace(boxed, "targets.threads.callback_under_lock:Host")
    assert minimised.found.finding.code == "X14" and minimised.found.scheduled and not minimised.found.flaky
    assert [(call.method, call.switches) for call in minimised.found.calls] == [("Error", (-1,)), ("Progress", ())]
    assert not minimised.others
