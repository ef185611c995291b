"""What a 64-bit ELF file says of itself: what it needs, what it wants to be given, who compiled it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["Elf", "read_constants", "read_elf"]

_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")

_SHT_DYNAMIC, _SHT_DYNSYM, _PT_INTERP, _DT_NEEDED = 6, 11, 3, 1
_MOST_DYNAMIC, _MOST_SYMBOLS = 1 << 16, 1 << 22  # entries; more is damage


@dataclass(frozen=True)
class Elf:
    """`needed` are the libraries to load first, `wanted` the symbols that others must define, `interpreter` the
    program's loader ("" of a library), `compilers` what they wrote of themselves."""

    needed: tuple[str, ...] = ()
    wanted: frozenset[str] = frozenset()
    interpreter: str = ""
    compilers: str = ""


def read_elf(path: Path) -> Elf | None:
    """None for what is no ELF file of 64 bits, little endian, or a damaged one."""
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x7fELF\x02\x01":
                return None
            return _Reader(file).read()
    except (OSError, struct.error, ValueError, IndexError):
        return None


def read_constants(path: Path) -> bytes:
    """What an ELF file of that kind has in its read-only data; b"" for any other."""
    try:
        with path.open("rb") as file:
            return _Reader(file).constants() if file.read(6) == b"\x7fELF\x02\x01" else b""
    except (OSError, struct.error, ValueError, IndexError):
        return b""


class _Reader:
    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = file.seek(0, 2)

    def constants(self) -> bytes:
        header = _HEADER.unpack(self._at(0, _HEADER.size))
        sections, size, count, names = header[5], header[10], header[11], header[12]
        table = [_SECTION.unpack(self._at(sections + n * size, _SECTION.size)) for n in range(count)]
        name_table = self._section(table[names]) if count else b""
        found = (section for section in table if _string(name_table, section[0]).startswith(".rodata"))
        return b"".join(map(self._section, found))

    def read(self) -> Elf:
        _, _, _, _, programs, sections, _, _, program_size, programs_count, size, count, names = _HEADER.unpack(
            self._at(0, _HEADER.size)
        )
        table = [_SECTION.unpack(self._at(sections + n * size, _SECTION.size)) for n in range(count)]
        name_table = self._section(table[names]) if count else b""
        needed: list[str] = []
        wanted: set[str] = set()
        compilers = ""
        for section in table:
            kind = section[1]
            if kind == _SHT_DYNAMIC:
                strings, entries = self._section(table[section[6]]), self._section(section)
                for tag, value in _DYNAMIC.iter_unpack(entries[: _MOST_DYNAMIC * _DYNAMIC.size]):
                    if tag == _DT_NEEDED:
                        needed.append(_string(strings, value))
            elif kind == _SHT_DYNSYM:
                strings, entries = self._section(table[section[6]]), self._section(section)
                for symbol in _SYMBOL.iter_unpack(entries[: _MOST_SYMBOLS * _SYMBOL.size]):
                    if symbol[3] == 0:  # defined in no section of this file
                        wanted.add(_string(strings, symbol[0]))
            elif _string(name_table, section[0]) == ".comment":
                compilers = self._section(section).decode("utf-8", "replace").replace("\0", "\n")
        interpreter = ""
        for number in range(programs_count):
            kind, _, offset, _, _, length, _, _ = _PROGRAM.unpack(
                self._at(programs + number * program_size, _PROGRAM.size)
            )
            if kind == _PT_INTERP:
                interpreter = _string(self._at(offset, length), 0)
        return Elf(tuple(needed), frozenset(wanted - {""}), interpreter, compilers)

    def _section(self, header: tuple[int, ...]) -> bytes:
        return self._at(header[4], header[5])

    def _at(self, offset: int, size: int) -> bytes:
        """ValueError if the file ends before that."""
        if offset + size > self._size:
            raise ValueError("the file ends early")
        self._file.seek(offset)
        return self._file.read(size)


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode("utf-8", "replace")
