"""Names of native functions from the files that hold them: ELF's symbol tables, and COFF's in a DLL of mingw's.

A backtrace that is made in a dying process knows exported functions only; the files know the static ones, too.
"""

from __future__ import annotations

import bisect
import functools
import re
import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["Symbols", "demangled", "symbols_of"]

_FUNCTION = 2  # STT_FUNC
_LONGEST = 1 << 16  # bytes into a function without a size


class _Symbol(NamedTuple):
    start: int
    end: int
    name: str


class Symbols:
    """The functions of one file, by their addresses in it."""

    def __init__(self, symbols: list[_Symbol]):
        self._symbols = sorted(symbols)
        self._starts = [symbol.start for symbol in self._symbols]

    def name(self, offset: int) -> str:
        """The function that an address belongs to, "" if none is known."""
        for symbol in reversed(self._symbols[: bisect.bisect_right(self._starts, offset)][-8:]):
            if offset < symbol.end:
                return demangled(symbol.name)
        return ""


@functools.lru_cache(maxsize=32)
def symbols_of(path: str) -> Symbols:
    """The functions of a library; of a file that is none, or cannot be read, there are none."""
    try:
        data = Path(path).read_bytes() if path and path != "?" else b""
        if data.startswith(b"\x7fELF\x02\x01"):
            return Symbols(_elf(data))
        if data.startswith(b"MZ"):
            return Symbols(_pe(data))
    except (OSError, ValueError, OverflowError, struct.error, IndexError):
        pass
    return Symbols([])


def _elf(data: bytes) -> list[_Symbol]:
    """64-bit, little-endian: the functions of .symtab, or of .dynsym in a stripped one."""
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + size * i) for i in range(count)]
    found: dict[int, list[_Symbol]] = {}
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind not in (2, 11) or not entry:  # SHT_SYMTAB, SHT_DYNSYM
            continue
        names = sections[link][4]
        symbols = []
        for at in range(start, start + length, entry):
            name, info, _, section, value, extent = struct.unpack_from("<IBBHQQ", data, at)
            if info & 15 == _FUNCTION and section:
                symbols.append(_Symbol(value, value + (extent or _LONGEST), _text(data, names + name)))
        found[kind] = symbols
    return found.get(2) or found.get(11) or []


def _pe(data: bytes) -> list[_Symbol]:
    """The functions of a COFF symbol table; addresses count from the image's base."""
    (start,) = struct.unpack_from("<I", data, 0x3C)
    sections, _, table, count, optional = struct.unpack_from("<HIIIH", data, start + 6)
    headers = start + 24 + optional
    bases = [struct.unpack_from("<I", data, headers + 40 * i + 12)[0] for i in range(sections)]
    strings = table + 18 * count
    symbols, at = [], 0
    while at < count:
        raw, value, section, kind, _, auxiliary = struct.unpack_from("<8sIhHBB", data, table + 18 * at)
        if kind == 0x20 and 0 < section <= sections:  # a function
            name = _text(data, strings + struct.unpack_from("<I", raw, 4)[0]) if raw[:4] == bytes(4) else ""
            start = bases[section - 1] + value
            symbols.append(_Symbol(start, 0, name or raw.rstrip(b"\0").decode("ascii", "replace")))
        at += 1 + auxiliary
    symbols.sort()
    ends = [symbol.start for symbol in symbols[1:]] + [symbols[-1].start + _LONGEST] if symbols else []
    return [symbol._replace(end=end) for symbol, end in zip(symbols, ends, strict=True)]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii", "replace")


_NESTED = re.compile(r"_ZN[VKRO]*")


def demangled(name: str) -> str:
    """A C++ name as people write it where it is made of plain names (Host::Progress), else as it is."""
    nested = _NESTED.match(name)
    if nested:
        at, parts = nested.end(), []
        while (length := re.compile(r"\d+").match(name, at)) is not None:
            at = length.end() + int(length[0])
            parts.append(name[length.end() : at])
        tail = name[at : at + 2]
        if tail[:1] == "E" and parts:
            return "::".join(parts)
        if tail in ("C1", "C2") and parts:
            return "::".join([*parts, parts[-1]])
        if tail in ("D0", "D1", "D2") and parts:
            return "::".join([*parts, "~" + parts[-1]])
        return name
    plain = re.match(r"_Z(\d+)", name)
    if plain:
        return name[plain.end() : plain.end() + int(plain[1])]
    return name
