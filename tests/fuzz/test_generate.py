"""Sequences from the contract alone."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.generate import any_call, conforming
from recorder.contract import Level, contract_of, fits, level_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK

CONTRACT = contract_of(IMAPI_SYNC_PROGRESS_CALLBACK)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_what_is_generated_breaks_no_rule_of_the_contract(seed: int, length: int) -> None:
    calls = conforming(CONTRACT, Random(seed), length)
    assert level_of(CONTRACT, calls) is Level.CONFORMING
    assert calls[-1].method in CONTRACT.terminal


@pytest.mark.parametrize("interface", [IMAPI_SYNC_PROGRESS_CALLBACK, IMAPI_PROGRESS], ids=lambda i: i.name)
def test_arguments_fit_their_types(interface: object) -> None:
    random = Random(1)
    for method in interface.calls:  # type: ignore[attr-defined]
        for _ in range(200):
            call = any_call(method, random)
            assert len(call.args) == len(method.inputs)
            assert all(fits(p, v) for p, v in zip(method.inputs, call.args, strict=True)), call


def test_an_interface_without_a_contract_gets_legal_calls() -> None:
    calls = conforming(contract_of(IMAPI_PROGRESS), Random(2), 30)
    assert len(calls) == 30
    assert {c.method for c in calls} <= {m.name for m in IMAPI_PROGRESS.calls}
