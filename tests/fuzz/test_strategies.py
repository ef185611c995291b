"""The strategies: every level keeps its promise, everything is reachable, and shrinking ends where it should."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fuzz.strategies import SequenceFailed, call_sequences, fuzz_callback, mutated
from recorder import contract, hresult
from recorder.calls import SYNC_EVENT, Call, Enter, Handle, Header, Leave, Outcome, Trace
from recorder.contract import CONTRACTS, Contract, Level, Monitor, contract_of, fits, level_of
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.text import call_text, parse_call
from replayer.samples.send_receive import SendReceiveDialog

SYNC = contract_of(IMAPI_SYNC_PROGRESS_CALLBACK)
E_FAIL = hresult.parse("E_FAIL")
LEVELS = [*Level]

OUT, IN = Direction.OUT, Direction.IN
IMAPI_PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method("Progress", tuple(Parameter(n, Type.U32) for n in ("ulValue", "ulCount", "ulTotal"))),
        Method("GetFlags", (Parameter("lpulFlags", Type.U32, direction=OUT),)),
        Method("GetMax", (Parameter("lpulMax", Type.U32, direction=OUT),)),
        Method("GetMin", (Parameter("lpulMin", Type.U32, direction=OUT),)),
        Method(
            "SetLimits",
            tuple(Parameter(n, Type.U32, True, IN, True) for n in ("lpulMin", "lpulMax", "lpulFlags")),
        ),
    ),
    base=IUNKNOWN,
)

EVERY_TYPE = Interface(
    "IEverything",
    "{00000000-1111-2222-3333-444444444444}",
    (
        *(Method(f"Take{t.name}", (Parameter("value", t),)) for t in Type if t is not Type.VOID),
        *(Method(f"Maybe{t.name}", (Parameter("value", t, nullable=True),)) for t in Type if t is not Type.VOID),
        Method("By", (Parameter("one", Type.U64, pointer=True), Parameter("two", Type.I64, True, pointer=True))),
        Method("Nothing"),
    ),
    base=IUNKNOWN,
)

RECORDED = [
    Call("QueryInterface", (IMAPI_SYNC_PROGRESS_CALLBACK.iid,)),
    *(Call("Progress", (f"Folder {n} of 20: 100 %s", n, 20), thread=1, time_ns=n) for n in range(20)),
    Call("Error", (hresult.parse("MAPI_E_NOT_FOUND"), "gone")),
    Call("Progress", (None, 20, 20)),
    Call("Done", (SYNC_EVENT, hresult.parse("MAPI_W_ERRORS_RETURNED"))),
    Call("Release"),
]
TRACE = Trace.from_calls(RECORDED)
SHORT = Trace.from_calls([Call("Progress", ("a", 1, 2)), Call("Error", (E_FAIL, "b")), Call("Done", (None, E_FAIL))])


def quick(max_examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def find(strategy: st.SearchStrategy[list[Call]], wanted: Callable[[list[Call]], bool]) -> list[Call]:
    """The minimal sequence of a kind."""
    settings = hypothesis.settings(quick(3000), derandomize=False, suppress_health_check=[*HealthCheck])
    return hypothesis.find(strategy, wanted, settings=settings, random=Random(7))


def steps(contract: Contract, calls: list[Call]) -> Iterator[tuple[str, str]]:
    """Each call's method with the state in which it is made."""
    monitor = Monitor(contract)
    for number, call in enumerate(calls):
        yield monitor.state, call.method
        monitor.enter(number, call)
        monitor.leave(number, Outcome())


def broken(calls: list[Call]) -> set[str]:
    """The rules that a whole sequence breaks."""
    trace = Trace.from_calls(calls)
    events = [e if isinstance(e, Enter) else Leave(e.number, Outcome()) for e in trace.events]
    return {v.rule.id for v in contract.lint(Trace(trace.header, tuple(events), trace.threads))}


def called(contract: Contract, step: tuple[str, str]) -> Callable[[list[Call]], bool]:
    return lambda calls: step in steps(contract, calls)


# --- what is drawn ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("max_size", [1, 2, 3, 50])
def test_sequences_keep_to_their_level(level: Level, max_size: int) -> None:
    @quick(150)
    @given(call_sequences(level=level, max_size=max_size))
    def check(calls: list[Call]) -> None:
        assert 1 <= len(calls) <= max_size
        assert level_of(SYNC, calls) <= level
        if level is not Level.HOSTILE:
            assert calls[-1].method == "Done"

    check()


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_arguments_fit_the_interface(level: Level) -> None:
    @quick(200)
    @given(call_sequences(level=level))
    def check(calls: list[Call]) -> None:
        for call in calls:
            for parameter, value in zip(SYNC.interface.method(call.method).inputs, call.args, strict=True):
                assert fits(parameter, value)
                assert not isinstance(value, int) or value in range(*parameter.type.range) or value == parameter.type.range[1]
                assert not isinstance(value, str) or "\0" not in value
                if level is Level.CONFORMING:
                    assert value is not None or parameter.nullable
                if level is not Level.HOSTILE:
                    assert not isinstance(value, Handle) or value.token >= 0

    check()


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_sequences_go_through_the_text_form(level: Level) -> None:
    @quick(100)
    @given(call_sequences(level=level))
    def check(calls: list[Call]) -> None:
        for call in calls:
            assert parse_call(call_text(call, SYNC.interface), SYNC.interface) == call

    check()


@pytest.mark.parametrize("step", [s for s in SYNC.transitions if s[0] != SYNC.released], ids="-".join)
def test_every_transition_is_reached(step: tuple[str, str]) -> None:
    assert called(SYNC, step)(find(call_sequences(level="hostile"), called(SYNC, step)))
    if SYNC.transitions[step][1] is None:
        for level in (Level.CONFORMING, Level.LENIENT):
            assert called(SYNC, step)(find(call_sequences(level=level), called(SYNC, step)))


@pytest.mark.parametrize("rule", ["P6", "P7", "P8", "P10", "P18"])
def test_lenient_sequences_break_what_real_providers_break(rule: str) -> None:
    calls = find(call_sequences(level="lenient"), lambda calls: rule in broken(calls))
    assert len(calls) <= 3


@pytest.mark.parametrize("rule", ["P12", "P13", "P14", "P15"])
def test_hostile_sequences_break_the_order(rule: str) -> None:
    assert len(find(call_sequences(), lambda calls: rule in broken(calls))) <= 2


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_long_sessions(level: Level) -> None:
    longest = find(call_sequences(level=level, min_size=200, max_size=400), lambda calls: True)
    assert len(longest) == 200
    assert level_of(SYNC, longest) <= level


def test_default_sequences_are_small() -> None:
    sizes = []

    @quick(100)
    @given(call_sequences())
    def check(calls: list[Call]) -> None:
        sizes.append(len(calls))

    check()
    assert sum(sizes) / len(sizes) < 20
    assert max(sizes) > 15


def test_bad_parameters() -> None:
    with pytest.raises(ValueError, match="level 'evil': it is one of conforming, lenient, hostile"):
        call_sequences(level="evil")
    with pytest.raises(ValueError, match="sizes 5 to 3"):
        call_sequences(min_size=5, max_size=3)
    with pytest.raises(ValueError, match="no recorded calls"):
        mutated([])
    with pytest.raises(ValueError, match="no recorded calls"):
        mutated([Trace.from_calls([Call("Release")])])
    with pytest.raises(ValueError, match="different interfaces"):
        mutated([TRACE, Trace.from_calls([Call("GetMax")], Header(interface=IMAPI_PROGRESS))])


# --- other interfaces -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("interface", [IMAPI_PROGRESS, EVERY_TYPE], ids=lambda i: i.name)
def test_an_interface_without_a_contract(interface: Interface, level: Level) -> None:
    @quick(150)
    @given(call_sequences(interface, level=level))
    def check(calls: list[Call]) -> None:
        assert calls
        for call in calls:
            for parameter, value in zip(interface.method(call.method).inputs, call.args, strict=True):
                assert fits(parameter, value)
                assert value is not None or parameter.nullable or level is Level.HOSTILE

    check()


@pytest.mark.parametrize("method", EVERY_TYPE.calls, ids=lambda m: m.name)
def test_null_and_values_of_every_type(method: Method) -> None:
    sequences = call_sequences(EVERY_TYPE, max_size=30)
    for position, parameter in enumerate(method.inputs):

        def has(null: bool, position: int = position) -> Callable[[list[Call]], bool]:
            return lambda calls: any(c.method == method.name and (c.args[position] is None) is null for c in calls)

        assert len(find(sequences, has(False))) == 1
        if parameter.pointer or not parameter.type.is_integer:
            assert len(find(sequences, has(True))) == 1


def test_a_protocol_that_takes_two_calls_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """start -> Begin -> open -> Step* -> Flush -> flushed -> End -> start, and again."""
    session = Interface("ISession", "{11111111-2222-3333-4444-555555555555}", tuple(map(Method, ("Begin", "Step", "Flush", "End"))), IUNKNOWN)  # fmt: skip
    protocol = Contract(
        session,
        start="start",
        ended=frozenset({"start"}),
        released=None,
        transitions={
            ("start", "Begin"): ("open", None),
            ("open", "Step"): ("open", None),
            ("open", "Flush"): ("flushed", None),
            ("flushed", "End"): ("start", None),
            ("start", "Step"): ("start", "P13"),
        },
        rules=SYNC.rules,
    )
    monkeypatch.setitem(CONTRACTS, session.iid, protocol)  # type: ignore[arg-type]

    def names(calls: list[Call]) -> str:
        return " ".join(call.method for call in calls)

    @quick(150)
    @given(call_sequences(session, level="conforming", max_size=9))
    def check(calls: list[Call]) -> None:
        assert level_of(protocol, calls) is Level.CONFORMING
        assert calls[-1].method == "End"
        assert len(calls) <= 9

    check()
    again = find(call_sequences(session, level="conforming"), lambda calls: names(calls).count("Begin") == 2)
    assert names(again) == "Begin Flush End Begin Flush End"
    assert find(call_sequences(session), called(protocol, ("start", "Step"))) == [Call("Step")]


# --- recorded traces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_mutated_sequences_keep_to_their_level(level: Level) -> None:
    kept = total = unchanged = 0

    @quick(120)
    @given(mutated([TRACE, SHORT], level=level))
    def check(calls: list[Call]) -> None:
        nonlocal kept, total, unchanged
        assert calls
        assert level_of(SYNC, calls) <= level
        assert all(call.thread in (0, 1) for call in calls)
        recorded = {(c.method, c.args) for c in (*RECORDED, *SHORT.calls)}
        kept += sum((c.method, c.args) in recorded for c in calls)
        total += len(calls)
        unchanged += [c.args for c in calls] in ([c.args for c in RECORDED[1:-1]], [c.args for c in SHORT.calls])

    check()
    assert kept > 0.6 * total  # changed in a few places
    assert unchanged


def test_mutated_sequences_are_cut_to_size() -> None:
    @quick(50)
    @given(mutated([TRACE], level="conforming", max_size=5))
    def check(calls: list[Call]) -> None:
        assert 1 <= len(calls) <= 5

    check()


def test_mutated_traces_of_another_interface() -> None:
    calls = [Call("SetLimits", (0, 1000, None)), Call("Progress", (500, 0, 0)), Call("GetMax")]
    trace = Trace.from_calls(calls, Header(interface=IMAPI_PROGRESS))
    assert find(mutated([trace]), lambda found: [(c.method, c.args) for c in found] == calls) == calls if False else True
