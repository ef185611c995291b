"""How records are spelled: checks, texts, limits.  What a whole file looks like is in test_trace_format.py."""

from __future__ import annotations

import zlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import encoding
from recorder.calls import Handle, Opaque, Outcome, OutcomeKind
from recorder.encoding import CHECKS, MAX_TEXTS, SHORT_RECORD, Encoder, Kind, checked, end_record
from recorder.interface import Parameter, Type

TEXT, NUMBER, HANDLE = Parameter("a", Type.TEXT), Parameter("b", Type.U32), Parameter("c", Type.HANDLE)


def spelled(parameter: Parameter, value: object) -> object:
    encoder = Encoder(lambda record: None)
    return encoder.arguments((parameter,), (value,))[0]  # type: ignore[arg-type]


def test_the_check_of_a_short_record_is_one_more_than_the_sum_of_its_bytes() -> None:
    record = msgpack.packb([3, 200, 0])
    assert checked(record) == record + bytes((0xCC, (1 + sum(record)) % 256))
    assert CHECKS[7] == b"\xcc\x07"


def test_the_check_of_a_long_record_is_its_crc() -> None:
    short, long = bytes(SHORT_RECORD), bytes(SHORT_RECORD + 1)
    assert len(checked(short)) == len(short) + 2
    assert checked(long) == long + b"\xce" + zlib.crc32(long).to_bytes(4, "big")


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 255))
def test_any_other_value_of_one_byte_changes_the_check(record: bytes, position: int, change: int) -> None:
    position %= len(record)
    other = record[:position] + bytes((record[position] ^ change,)) + record[position + 1 :]
    assert checked(record)[len(record) :] != checked(other)[len(other) :]


@pytest.mark.parametrize("crc", [0, 1, 0xFFFF, 0xFFFFFFFF])
def test_an_end_record_has_always_the_same_size(crc: int) -> None:
    assert len(end_record(crc, None)) == 10
    assert msgpack.unpackb(end_record(crc, None)[:-2]) == [Kind.END, crc, None]


def test_texts_are_written_once_and_numbered_from_one() -> None:
    records: list[bytes] = []
    encoder = Encoder(records.append)
    assert [encoder.text(text) for text in ("a", "b", "a", None)] == [1, 2, 1, 0]
    assert [msgpack.unpackb(record[:-2]) for record in records] == [[Kind.TEXT, 1, "a"], [Kind.TEXT, 2, "b"]]


@pytest.mark.parametrize(
    ("text", "interned"),
    [("x" * 1024, True), ("x" * 1025, False), ("\U0001f600" * 512, True), ("\U0001f600" * 513, False)],
)
def test_long_texts_stand_in_the_event(text: str, interned: bool) -> None:
    assert Encoder(lambda record: None).text(text) == (1 if interned else text)


def test_a_full_table_takes_no_more_texts() -> None:
    records: list[bytes] = []
    encoder = Encoder(records.append)
    numbers = [encoder.text(str(number)) for number in range(MAX_TEXTS + 2)]
    assert numbers[MAX_TEXTS - 1 :] == [MAX_TEXTS, str(MAX_TEXTS), str(MAX_TEXTS + 1)]
    assert encoder.text("0") == 1
    assert len(records) == MAX_TEXTS


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (TEXT, None, 0),
        (TEXT, "x", 1),
        (TEXT, 5, {"v": 5}),
        (TEXT, Opaque("T", "r"), {"o": [1, 2]}),
        (NUMBER, None, None),
        (NUMBER, -1, -1),
        (NUMBER, 2**64 - 1, 2**64 - 1),
        (NUMBER, 2**64, {"i": "0x10000000000000000"}),
        (NUMBER, -(2**63) - 1, {"i": "-0x8000000000000001"}),
        (NUMBER, True, {"v": True}),
        (NUMBER, 1.5, {"v": 1.5}),
        (NUMBER, "x", {"t": 1}),
        (HANDLE, None, None),
        (HANDLE, Handle(3), 3),
        (NUMBER, Handle(3), {"h": 3}),
        (HANDLE, 3, {"v": 3}),
        (HANDLE, b"x", {"v": b"x"}),
    ],
)
def test_arguments(parameter: Parameter, value: object, expected: object) -> None:
    result = spelled(parameter, value)
    assert result == expected
    assert type(result) is type(expected)


def test_a_lone_surrogate_makes_a_text_utf_16() -> None:
    assert encoding.spell_text("a\ud800") == b"a\x00\x00\xd8"
    assert encoding.spell_text("a\U0001f600") == "a\U0001f600"


def test_leaves_have_no_more_fields_than_they_need() -> None:
    records: list[bytes] = []
    encoder = Encoder(records.append)
    encoder.leave(5, 0, Outcome())
    encoder.leave(5, 0, Outcome(value=None))
    encoder.leave(5, 0, Outcome(), back=2)
    encoder.leave(5, 0, Outcome(value=1, outputs=(0,)))
    assert [msgpack.unpackb(record[:-2]) for record in records] == [
        [3, 5, 0],
        [3, 5, 0, None],
        [3, 5, 0, 0, 2],
        [3, 5, 0, 1, 0, [0]],
    ]


def test_what_no_reader_would_take_is_not_written() -> None:
    encoder = Encoder(lambda record: None)
    with pytest.raises(ValueError, match="4100 fields"):
        encoder.record(*range(4100))
    with pytest.raises(ValueError, match="5000 outputs"):
        encoder.leave(0, 0, Outcome(OutcomeKind.RETURNED, outputs=(0,) * 5000))
    with pytest.raises(ValueError, match="a record of"):
        checked(bytes(encoding.MAX_RECORD + 1))
