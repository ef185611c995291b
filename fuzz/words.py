"""Texts that stand in a native library, as a compiler put them there: what it may compare arguments with."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from replayer.elf import read_constants

__all__ = ["words_in"]

_MOST = 200  # of each kind
_SHORT = 16  # characters
_WIDE = re.compile(rb"(?:[\x20-\x7e]\0){2,60}(?=\0\0)")
_NARROW = re.compile(rb"(?<![\x20-\x7e])[\x20-\x7e]{2,60}(?=\0)")
_PE_SECTION = struct.Struct("<8sIIII16x")


def words_in(library: Path) -> list[str]:
    """Its ASCII texts, UTF-16 ones first, each once, in their order; [] for a file of another kind.

    What lies before a text may look like a character of it: short ones are there without their first, too.
    """
    data = read_constants(library) or _pe_constants(library)
    wide = dict.fromkeys(text.decode("utf-16-le") for text in _WIDE.findall(data))
    narrow = dict.fromkeys(text.decode("ascii") for text in _NARROW.findall(data))
    found = [*list(wide)[:_MOST], *list(narrow)[:_MOST]]
    return list(dict.fromkeys([*found, *(text[1:] for text in found if 2 < len(text) <= _SHORT)]))


def _pe_constants(library: Path) -> bytes:
    """The sections of a Windows library that hold constants; b"" for what is none."""
    try:
        data = library.read_bytes()
        if data[:2] != b"MZ":
            return b""
        (header,) = struct.unpack_from("<I", data, 0x3C)
        count, optional = struct.unpack_from("<2xH12xH", data, header + 4)
        found = []
        for number in range(count):
            at = header + 24 + optional + number * 40
            name, _, _, size, offset = _PE_SECTION.unpack_from(data, at)
            if name.rstrip(b"\0") == b".rdata":
                found.append(data[offset : offset + size])
        return b"".join(found)
    except (OSError, struct.error):
        return b""
