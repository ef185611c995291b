"""The values worth trying: all of interface.md's boundaries, each of a type that can carry it."""

from __future__ import annotations

import pytest

from fuzz import dictionary
from recorder import hresult
from recorder.calls import Handle
from recorder.contract import fits
from recorder.interface import Parameter, Type

INTEGER_TYPES = [kind for kind in Type if kind.is_integer]


@pytest.mark.parametrize("kind", INTEGER_TYPES)
def test_integers_are_within_their_type_and_reach_its_ends(kind: Type) -> None:
    low, high = kind.range
    values = dictionary.integers(kind)
    assert len(set(values)) == len(values) > 10
    assert all(low <= value <= high for value in values)
    assert {low, high} <= set(values)


def test_the_boundaries_of_the_interface_are_there() -> None:
    """interface.md, 4: ULONGs, the first failing indexes of index * K / max, the pairs."""
    assert {0, 99, 100, 101, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1} <= set(dictionary.INTEGERS)
    assert {21474837, 42949673, 2147484, 4294968, 32769, 65538, 65536} <= set(dictionary.INTEGERS)
    assert {(0, 0), (1, 0), (2**32 - 1, 0), (2**32 - 1, 1), (0, 2**32 - 1)} <= set(dictionary.PAIRS)
    for index, limit in dictionary.PAIRS:
        assert 0 <= index < 2**32 and 0 <= limit < 2**32


def test_every_named_hresult_is_tried_and_some_without_a_name() -> None:
    assert set(hresult.NAMES) <= set(dictionary.HRESULTS)
    assert dictionary.integers(Type.HRESULT) == dictionary.HRESULTS
    assert all(-(2**31) <= value < 2**31 for value in dictionary.HRESULTS)
    assert any(hresult.name(value) is None for value in dictionary.HRESULTS)


def test_one_code_is_there_as_success_and_as_failure() -> None:
    assert {0x00040203, hresult.signed(0x80040203)} <= set(dictionary.HRESULTS)


def test_texts_have_no_nul_and_cover_the_families() -> None:
    texts = dictionary.TEXTS
    assert all("\0" not in text for text in texts)
    assert {"", "%s", "%n", "{0}", "\ud800", "\udc00\ud800", "\u202e evil", "\r", "\x1b[31m"} <= set(texts)
    assert all(fits(Parameter("text", Type.TEXT), text) for text in texts)


def test_lengths_end_where_buffers_end() -> None:
    assert {255, 256, 259, 260, 261, 1023, 1024, 4095, 4096, 32767, 65536} <= set(dictionary.LENGTHS)


def test_handles_are_symbolic() -> None:
    assert None in dictionary.HANDLES
    assert {h.token for h in dictionary.HANDLES if isinstance(h, Handle)} == {0, 1, 2, -1, -2}
