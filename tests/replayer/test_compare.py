"""Recorded against replayed answers."""

from __future__ import annotations

from typing import Any

import pytest
from sequences import CALLBACK, calls

from recorder.calls import Call, Handle, Outcome, OutcomeKind, Trace
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.compare import differences


def answer(value: Any, *outputs: Any) -> Outcome:
    return Outcome(value=value, outputs=outputs)


RAISED = Outcome(OutcomeKind.RAISED, None, detail="ValueError: bad")
NOT_RUN = Outcome(OutcomeKind.NOT_RUN, None)
LOST = Outcome(OutcomeKind.RETURNED, None, detail="the answer was lost with the process")
E_FAIL = -0x7FFFBFFB


def compare(recorded: Outcome, replayed: Outcome) -> list[str]:
    first, second = (Trace.from_calls(calls("Done(NULL, S_OK)"), outcomes=[o]) for o in (recorded, replayed))
    return [message for _, message in differences(first, second)]


@pytest.mark.parametrize(
    ("recorded", "replayed"),
    [
        (answer(0), answer(0)),
        (answer(0), answer(None)),
        (answer(None), answer(0)),
        (answer(E_FAIL), answer(E_FAIL + 2**32)),
        (answer(1), NOT_RUN),
        (NOT_RUN, answer(1)),
        (answer(E_FAIL), LOST),
        (LOST, answer(E_FAIL)),
        (answer(0)._replace(elapsed_ns=5), answer(0)._replace(elapsed_ns=10**9)),
    ],
)
def test_the_same_answer(recorded: Outcome, replayed: Outcome) -> None:
    assert compare(recorded, replayed) == []


@pytest.mark.parametrize(
    ("recorded", "replayed", "message"),
    [
        (answer(0), answer(E_FAIL), "Done returned 0x80004005 E_FAIL, recorded 0x00000000 S_OK"),
        (answer(0), RAISED, "Done raised ValueError: bad, recorded 0x00000000 S_OK"),
        (RAISED, answer(None), "Done returned 0x00000000 S_OK, recorded raised ValueError: bad"),
        (answer("yes"), answer("no"), "Done returned 'no', recorded 'yes'"),
    ],
)
def test_another_answer(recorded: Outcome, replayed: Outcome, message: str) -> None:
    assert compare(recorded, replayed) == [message]


def test_a_call_in_whose_middle_the_process_died_says_nothing() -> None:
    torn = Trace.from_calls(calls("Done(NULL, S_OK)"), outcomes=[answer(0)])
    assert [*differences(Trace(torn.header, torn.events[:1]), torn)] == []


def test_out_parameters_count() -> None:
    out = Method("GetMax", (Parameter("max", Type.U32, direction=Direction.OUT),))
    interface = Interface("ILimits", "{0002031f-0000-0000-c000-0000000000aa}", (out,), base=IUNKNOWN)
    header = Trace().header.__class__(interface=interface)
    first, second = (Trace.from_calls([Call("GetMax")], header, [answer(0, limit)]) for limit in (1000, 500))
    assert [*differences(first, second)] == [
        (0, "GetMax returned 0x00000000 S_OK (500), recorded 0x00000000 S_OK (1000)")
    ]


def test_of_iunknown_only_an_hresult_is_compared() -> None:
    sequence = [Call("AddRef"), Call("QueryInterface", (CALLBACK.iid,)), Call("Release")]
    recorded = Trace.from_calls(sequence, outcomes=[answer(2), answer(0, Handle(1)), answer(1)])
    replayed = Trace.from_calls(sequence, outcomes=[answer(9), answer(0), answer(8)])
    refused = Trace.from_calls(sequence, outcomes=[answer(9), answer(-2147467262), answer(8)])
    assert list(differences(recorded, replayed)) == []
    ((number, message),) = differences(recorded, refused)
    assert number == 1 and message.startswith("QueryInterface returned 0x80004002 E_NOINTERFACE")
