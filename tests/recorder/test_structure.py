"""C structures as data: MAPISIB is laid out as the documentation's header has it, on both sizes of pointers."""

from __future__ import annotations

import ctypes

import pytest

from recorder.errors import InterfaceError
from recorder.interface import Parameter, Type
from recorder.interfaces import MAPISIB
from recorder.structure import POINTER_SIZE, Structure


@pytest.mark.parametrize(("pointer", "size", "offsets"), [(4, 20, [0, 4, 8, 12, 16]), (8, 32, [0, 4, 8, 16, 24])])
def test_mapisib_is_laid_out_as_documented(pointer: int, size: int, offsets: list[int]) -> None:
    """interface.md, 1.4."""
    assert MAPISIB.size(pointer) == size
    assert [*MAPISIB.offsets(pointer).values()] == offsets


def test_mapisib_reads_back_through_ctypes() -> None:
    class Native(ctypes.Structure):
        _fields_ = (
            ("ulSize", ctypes.c_uint32),
            ("ulFlags", ctypes.c_uint32),
            ("psesSync", ctypes.c_void_p),
            ("punkCallBack", ctypes.c_void_p),
            ("phSyncDoneEvent", ctypes.c_void_p),
        )

    packed = MAPISIB.pack({"ulSize": MAPISIB.size(), "ulFlags": 0x20000082, "punkCallBack": 4096})
    native = Native.from_buffer_copy(packed)
    assert (native.ulSize, native.ulFlags) == (ctypes.sizeof(Native), 0x20000082)
    assert (native.psesSync, native.punkCallBack, native.phSyncDoneEvent) == (None, 4096, None)


def test_the_end_is_padded_to_the_largest_field() -> None:
    mixed = Structure("MIXED", (Parameter("a", Type.BOOL), Parameter("b", Type.U64), Parameter("c", Type.I32)))
    assert mixed.offsets() == {"a": 0, "b": 8, "c": 16}
    assert mixed.size() == 24
    assert (
        mixed.pack({"a": -1, "b": 2**64 - 1, "c": -2}).hex() == "f" * 8 + "0" * 8 + "f" * 16 + "feffffff" + "0" * 8
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ulFlag": 1}, "MAPISIB has no field ulFlag"),
        ({"ulFlags": 2**32}, "MAPISIB.ulFlags cannot hold 4294967296"),
        ({"punkCallBack": -1}, "MAPISIB.punkCallBack cannot hold -1"),
        ({"punkCallBack": 1 << 8 * POINTER_SIZE}, "MAPISIB.punkCallBack cannot hold "),
    ],
)
def test_what_does_not_fit(values: dict[str, int], message: str) -> None:
    with pytest.raises(InterfaceError, match=message):
        MAPISIB.pack(values)


@pytest.mark.parametrize("pointer", [4, 8])
def test_what_was_packed_is_unpacked(pointer: int) -> None:
    values = {"ulSize": 20, "ulFlags": 0x82, "psesSync": 0, "punkCallBack": 2**31, "phSyncDoneEvent": 7}
    data = MAPISIB.pack(values, pointer)
    assert MAPISIB.unpack(data + b"more", pointer) == values
    with pytest.raises(InterfaceError, match=f"MAPISIB has {len(data)} bytes, not {len(data) - 1}"):
        MAPISIB.unpack(data[:-1], pointer)
