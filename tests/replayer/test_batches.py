"""Sequences and outcomes as bytes: everything comes back as it was, and a call is the same bytes anywhere."""

from __future__ import annotations

from random import Random

import pytest
from sequences import CALLBACK, GOOD, calls

from fuzz.generate import sequence
from recorder.calls import SYNC_EVENT, Argument, Call, Handle, Opaque, Outcome, OutcomeKind
from recorder.contract import Level, contract_of
from recorder.decoding import DECODE_ERRORS
from recorder.encoding import Kind, checked
from recorder.errors import InterfaceError
from replayer.batches import Fragments, pack_outcomes, unpack_calls, unpack_outcomes
from replayer.player import Observation

ODD: list[Argument] = [True, 1.5, b"\x00", "\ud800", -(2**70), Opaque("set", "{1}"), Handle(-1), "x" * 70_000]


def test_calls_come_back() -> None:
    fragments = Fragments(CALLBACK)
    random = Random(1)
    for level in Level:
        for _ in range(200):
            made = sequence(contract_of(CALLBACK), random, level, 12)
            assert unpack_calls(fragments.sequence(made), CALLBACK) == made
            assert fragments.any_sequence(made) == fragments.sequence(made)
    assert unpack_calls(fragments.sequence([]), CALLBACK) == []


def test_odd_values_times_and_threads_come_back() -> None:
    made = [
        Call("Progress", (value, 1, value), number % 3, 7 * number + 10**9) for number, value in enumerate(ODD)
    ]
    made += [Call("Done", (SYNC_EVENT,), 1, 5), Call("Release")]
    assert unpack_calls(Fragments(CALLBACK).any_sequence(made), CALLBACK) == made


def test_a_call_is_the_same_bytes_wherever_it_stands() -> None:
    """So that it need not be packed again: the bytes of a trace, with the text in its place."""
    one = checked(b"\x96\x13\x00\x00\xa5Inbox\x01\x02")
    fragments = Fragments(CALLBACK)
    for lines in (['Progress("Inbox", 1, 2)'], [*GOOD, 'Progress("Inbox", 1, 2)', *GOOD]):
        assert one in fragments.sequence(calls(*lines))
    assert fragments[calls('Progress("Inbox", 1, 2)')[0]] == one


def test_fragments_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.batches._KEPT", 10)
    fragments = Fragments(CALLBACK)
    made = [Call("Progress", ("x" * length, 0, 1)) for length in (*range(50), 5000)]
    assert unpack_calls(fragments.sequence(made), CALLBACK) == made
    assert 0 < len(fragments) <= 10


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (Call("Nothing"), InterfaceError),
        (Call("Progress", (None,) * 5000), ValueError),
        (Call("Done", (), -1), ValueError),
        (Call("Done", (), 1 << 16), ValueError),
    ],
)
def test_a_call_that_no_trace_holds(call: Call, error: type[Exception]) -> None:
    with pytest.raises(error):
        Fragments(CALLBACK).any_sequence([call])


OUTCOMES = [
    Outcome(value=-2147467259, elapsed_ns=2**40),
    Outcome(value=None, outputs=(1, None, "text")),
    Outcome(OutcomeKind.RAISED, None, 5, "ValueError: \ud800", "host.py:1 in Done"),
    Outcome(OutcomeKind.NOT_RUN, None, detail="the target was gone"),
    *[Outcome(value=value) for value in ODD],
]


def test_outcomes_come_back() -> None:
    seen = [Observation("handle", 3, "handle 0 was never closed"), Observation("x", 0, "\ud800", "a.py:1 in b")]
    packed = pack_outcomes(OUTCOMES, seen)
    assert unpack_outcomes(packed, len(OUTCOMES), CALLBACK) == (OUTCOMES, seen)
    assert unpack_outcomes(pack_outcomes([]), 0, CALLBACK) == ([], [])


def test_damaged_outcomes_are_refused() -> None:
    packed = pack_outcomes(OUTCOMES[:2])
    for damaged in (b"", b"\xc1", packed[:-1], b"\xc0", pack_outcomes(OUTCOMES[:3]), pack_outcomes(OUTCOMES[:1])):
        with pytest.raises(DECODE_ERRORS):
            unpack_outcomes(damaged, 2, CALLBACK)
    enter = checked(bytes((0x93, Kind.ENTER + 3, 0, 0)))
    with pytest.raises(DECODE_ERRORS):
        unpack_calls(enter, CALLBACK)  # its thread is not known
