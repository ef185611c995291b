"""Sequences from the contract alone: a conforming one breaks no rule, any call fits its types."""

from __future__ import annotations

import functools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz import generate
from recorder.calls import Call, Header, Trace
from recorder.contract import Level, contract_of, fits, free_contract, level_of, lint
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.interfaces import IUNKNOWN

EVERY_TYPE = Interface(
    "IEveryType",
    "{7d3bd6a0-0000-4000-8000-000000000001}",
    (
        *(Method(f"Take{t.name.title()}", (Parameter("value", t),)) for t in Type if t is not Type.VOID),
        Method("Give", (Parameter("result", Type.U32, direction=Direction.OUT),)),
    ),
    base=IUNKNOWN,
)

steady = functools.partial(settings, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)


def assert_fits(interface: Interface, call: Call) -> None:
    inputs = interface.method(call.method).inputs
    assert len(call.args) == len(inputs)
    for parameter, value in zip(inputs, call.args, strict=True):
        assert fits(parameter, value) or (value is None and parameter.nullable), (call.method, parameter, value)


@steady()
@given(seeds, st.integers(1, 60))
def test_conforming_breaks_no_rule_its_end_included(seed: int, length: int) -> None:
    contract = contract_of(CALLBACK)
    calls = generate.conforming(contract, Random(seed), length)
    assert level_of(contract, calls) is Level.CONFORMING
    assert lint(Trace.from_calls(calls, Header(interface=CALLBACK))) == []
    assert calls[-1].method == "Done"
    assert [c.method for c in calls].count("Done") == 1


@pytest.mark.parametrize("length", [200, 400])
def test_a_long_session_conforms_too(length: int) -> None:
    contract = contract_of(CALLBACK)
    for seed in range(20):
        calls = generate.conforming(contract, Random(seed), length)
        assert level_of(contract, calls) is Level.CONFORMING
        assert length - 2 <= len(calls) <= length + 1


def test_the_length_is_about_what_was_asked_for() -> None:
    contract = contract_of(CALLBACK)
    for length in range(1, 40):
        assert abs(len(generate.conforming(contract, Random(length), length)) - length) <= 2


def test_a_conforming_sync_reports_steps_problems_and_an_end_that_agrees() -> None:
    contract = contract_of(CALLBACK)
    calls = [call for seed in range(300) for call in generate.conforming(contract, Random(seed), 20)]
    assert {call.method for call in calls} == {"Progress", "Error", "Done"}
    results = {call.args[1] for call in calls if call.method == "Done"}
    assert 0 in results and any(isinstance(r, int) and r < 0 for r in results)
    limits = {call.args[2] for call in calls if call.method == "Progress"}
    assert {1, 2**32 - 1} <= limits
    assert {call.args[0] is None for call in calls if call.method == "Progress"} == {True, False}


@steady()
@given(seeds, st.integers(0, 30))
def test_without_a_protocol_every_sequence_conforms(seed: int, length: int) -> None:
    contract = contract_of(IMAPI_PROGRESS)
    calls = generate.conforming(contract, Random(seed), length)
    assert len(calls) == length
    assert not calls or level_of(contract, calls) is Level.CONFORMING
    for call in calls:
        assert_fits(IMAPI_PROGRESS, call)


@steady()
@given(seeds, st.sampled_from([CALLBACK, IMAPI_PROGRESS, EVERY_TYPE]))
def test_any_call_fits_its_types(seed: int, interface: Interface) -> None:
    random = Random(seed)
    for method in interface.calls:
        assert_fits(interface, generate.any_call(method, random))


def test_out_parameters_are_not_among_the_arguments() -> None:
    assert generate.any_call(EVERY_TYPE.method("Give"), Random(1)).args == ()


@steady()
@given(seeds, st.sampled_from(list(Level)), st.integers(0, 20))
def test_sequence_is_conforming_or_hostile(seed: int, level: Level, length: int) -> None:
    contract = contract_of(CALLBACK)
    calls = generate.sequence(contract, Random(seed), level, length)
    assert calls
    for call in calls:
        assert_fits(CALLBACK, call)
    if level is not Level.HOSTILE:
        assert level_of(contract, calls) is Level.CONFORMING


def test_a_seed_gives_a_sequence() -> None:
    for contract in (contract_of(CALLBACK), free_contract(EVERY_TYPE)):
        one = generate.conforming(contract, Random(5), 30)
        assert one == generate.conforming(contract, Random(5), 30) != generate.conforming(contract, Random(6), 30)
