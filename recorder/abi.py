"""How values cross the COM border: ctypes types, texts, IIDs, and what Python gives for each parameter.

What `recorder.com` needs in both directions; the table of types is in its docstring.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import uuid
from array import array
from codecs import utf_16_le_decode
from collections.abc import Callable
from typing import Any, Final

from recorder.errors import InterfaceError
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN

__all__ = ["MAX_TEXT_UNITS", "RANGES", "SCALARS", "check", "encoder", "iid_at", "prototype", "reader", "text_at"]

MAX_TEXT_UNITS = 16 * 1024 * 1024
"""Text without a NUL in so many UTF-16 code units is cut there (interface.md, 4, asks for a bound)."""

_PAGE: Final = 4096  # bytes; every larger page size is a multiple of it
_FIRST_BLOCK: Final = 256  # bytes: most progress texts end within it
_MEMOISED_UNITS: Final = 256  # a longer text is encoded anew at each call

if sys.platform == "win32":
    _FUNCTION = ctypes.WINFUNCTYPE
else:
    _FUNCTION = ctypes.CFUNCTYPE

SCALARS: dict[Type, Any] = {
    Type.BOOL: ctypes.c_int32,
    Type.I32: ctypes.c_int32,
    Type.U32: ctypes.c_uint32,
    Type.I64: ctypes.c_int64,
    Type.U64: ctypes.c_uint64,
    Type.HRESULT: ctypes.c_int32,  # never ctypes.HRESULT, which raises on failure codes
    Type.HANDLE: ctypes.c_void_p,
    Type.POINTER: ctypes.c_void_p,
}

_ADDRESSES = (-sys.maxsize - 1, 2 * sys.maxsize + 1)  # negative: pseudo-handles, interface.md, 4
RANGES = {t: t.range if t.is_integer else _ADDRESSES for t in SCALARS} | {Type.HRESULT: (-(2**31), 2**32 - 1)}


def check(interface: Interface) -> None:
    """Raise InterfaceError for a description that this module cannot express."""
    if [m.name for m in interface.slots[:3]] != [m.name for m in IUNKNOWN.slots]:
        raise InterfaceError(f"interface {interface.name} does not derive from IUnknown")
    for method in interface.slots:
        if method.returns is not Type.VOID and method.returns not in SCALARS:
            raise InterfaceError(f"{interface.name}.{method.name} cannot return {method.returns.value}")
        for p in method.parameters:
            if p.type not in SCALARS and (p.is_out or p.pointer or p.type is Type.VOID):
                where = f"{interface.name}.{method.name}.{p.name}"
                raise InterfaceError(f"{where}: {p.type.value} cannot be an output or go by address")


def prototype(method: Method) -> Callable[..., Any]:
    """The ctypes function type; integers by value keep their width: the rest of a register is undefined."""
    arguments = (
        ctypes.c_void_p if p.is_out or p.pointer else SCALARS.get(p.type, ctypes.c_void_p)
        for p in method.parameters
    )
    return _FUNCTION(SCALARS.get(method.returns), ctypes.c_void_p, *arguments)


def text_at(address: int) -> str:
    """The UTF-16 text at `address`, up to its NUL or `MAX_TEXT_UNITS`.  Raises ValueError for NULL.

    No page is touched before all of the one before was found free of NUL, so text may end flush against
    inaccessible memory.
    """
    if not address:
        raise ValueError("NULL is no text")
    limit = 2 * MAX_TEXT_UNITS
    blocks: list[bytes] = []
    size, done = _FIRST_BLOCK, 0
    while done < limit:
        room = _PAGE - address % _PAGE
        if size > room:
            size = room & ~1 or 2  # 2: a unit at an odd address, on two pages
        data = ctypes.string_at(address, size)
        end = data.find(b"\0\0")
        if end > 0 and end & 1:  # halves of two units, mostly a Latin letter and the NUL
            if data[end + 2 : end + 3] == b"\0":
                end += 1
            else:
                units = array("H", data)
                end = 2 * units.index(0) if 0 in units else -1
        if end >= 0:
            data = data[:end]
        blocks.append(data)
        if end >= 0:
            break
        done, address, size = done + size, address + size, _PAGE
    return utf_16_le_decode(b"".join(blocks)[:limit], "surrogatepass", True)[0]


@functools.lru_cache(256)
def _iid_text(data: bytes) -> str:
    return f"{{{uuid.UUID(bytes_le=data)}}}"


def iid_at(address: int) -> str:
    return _iid_text(ctypes.string_at(address, 16))


def reader(p: Parameter) -> Callable[[int], Any] | None:
    """What reads an input behind its address; None where ctypes gives its value."""
    if p.pointer:
        scalar = SCALARS[p.type]
        return lambda address: scalar.from_address(address).value
    return {Type.TEXT: text_at, Type.IID: iid_at}.get(p.type)


@functools.lru_cache(1024)
def _short_text(text: str) -> bytes:
    return _long_text(text)


def _long_text(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"


def encoder(where: str, type_: Type, *, by_address: bool = False) -> Callable[[Any], Any]:
    """What makes a Python value one that ctypes takes for this type; its exceptions begin with `where`."""

    def text(value: Any) -> Any:
        if isinstance(value, str):
            return _short_text(value) if len(value) <= _MEMOISED_UNITS else _long_text(value)
        if value is None or isinstance(value, ctypes.c_void_p):
            return value
        raise TypeError(f"{where}: expected str or None, got {value!r:.60}")

    def iid(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            raise TypeError(f"{where}: expected an IID's text or None, got {value!r:.60}")
        try:
            return uuid.UUID(value).bytes_le
        except ValueError:
            raise ValueError(f"{where}: {value!r:.60} is not an IID") from None

    low, high = RANGES.get(type_, (0, 0))

    def integer(value: Any) -> Any:
        if isinstance(value, int):
            if low <= value <= high:
                return value
            raise OverflowError(f"{where}: {value} is outside {type_.value}, {low} to {high}")
        raise TypeError(f"{where}: expected int, got {value!r:.60}")

    def address(value: Any) -> Any:
        return None if value is None else integer(value)

    def reference(value: Any) -> Any:
        return None if value is None else ctypes.byref(SCALARS[type_](integer(value)))

    if by_address:
        return reference
    others = {Type.TEXT: text, Type.IID: iid, Type.HANDLE: address, Type.POINTER: address}
    return others.get(type_, integer)
