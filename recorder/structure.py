"""A C structure as data: its fields in order, laid out as a compiler does it for a size of pointers.

SIB = Structure("SIB", (Parameter("ulSize", Type.U32), Parameter("pv", Type.POINTER)))
SIB.size(8)                         16
SIB.pack({"ulSize": 16, "pv": 0})   the bytes for this machine
SIB.unpack(data)                    {"ulSize": 16, "pv": 0} again
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from recorder.errors import InterfaceError
from recorder.interface import Parameter, Type

__all__ = ["POINTER_SIZE", "Structure"]

POINTER_SIZE = struct.calcsize("P")
"""Bytes of a pointer on this machine."""

_SCALARS = {  # little-endian, as every machine that Windows runs on
    Type.BOOL: ("i", 4),
    Type.I32: ("i", 4),
    Type.U32: ("I", 4),
    Type.I64: ("q", 8),
    Type.U64: ("Q", 8),
    Type.HRESULT: ("i", 4),
}


@dataclass(frozen=True, slots=True)
class Structure:
    """Fields in the order of the header file; each stands at a multiple of its own size, as by default in C."""

    name: str
    fields: tuple[Parameter, ...]

    def offsets(self, pointer_size: int = POINTER_SIZE) -> dict[str, int]:
        """Where each field begins, in bytes."""
        offsets, end = {}, 0
        for field in self.fields:
            _, size = _scalar(field, pointer_size)
            offsets[field.name] = end = -(-end // size) * size
            end += size
        return offsets

    def size(self, pointer_size: int = POINTER_SIZE) -> int:
        """Bytes of the whole, with what pads it to a multiple of its largest field."""
        sizes = [_scalar(field, pointer_size)[1] for field in self.fields]
        end = [*self.offsets(pointer_size).values()][-1] + sizes[-1]
        return -(-end // max(sizes)) * max(sizes)

    def pack(self, values: Mapping[str, int], pointer_size: int = POINTER_SIZE) -> bytes:
        """The structure's bytes; a field that is not given is 0.

        Raises InterfaceError for a field that there is not, and for a value that its field does not hold.
        """
        data = bytearray(self.size(pointer_size))
        offsets = self.offsets(pointer_size)
        if unknown := values.keys() - offsets.keys():
            raise InterfaceError(f"{self.name} has no field {', '.join(sorted(unknown))}")
        for field in self.fields:
            code, _ = _scalar(field, pointer_size)
            value = values.get(field.name, 0)
            try:
                struct.pack_into(f"<{code}", data, offsets[field.name], value)
            except struct.error:
                raise InterfaceError(f"{self.name}.{field.name} cannot hold {value!r:.60}") from None
        return bytes(data)

    def unpack(self, data: bytes, pointer_size: int = POINTER_SIZE) -> dict[str, int]:
        """The value of each field.  Raises InterfaceError if there are too few bytes; more are left alone."""
        if len(data) < self.size(pointer_size):
            raise InterfaceError(f"{self.name} has {self.size(pointer_size)} bytes, not {len(data)}")
        offsets = self.offsets(pointer_size)
        codes = {field.name: _scalar(field, pointer_size)[0] for field in self.fields}
        return {name: struct.unpack_from(f"<{code}", data, offsets[name])[0] for name, code in codes.items()}


def _scalar(field: Parameter, pointer_size: int) -> tuple[str, int]:
    """The struct code of a field and its size in bytes; whatever is no number is a pointer."""
    return _SCALARS.get(field.type) or ("I" if pointer_size == 4 else "Q", pointer_size)
