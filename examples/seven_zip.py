"""7-Zip as the caller: record what it says to an extract callback, in a trace.

    python examples/seven_zip.py archive.7z -o run.tape
    synctape show run.tape

7-Zip's library speaks COM on every system: IInArchive.Extract takes a callback that it tells of its progress
(SetTotal, SetCompleted) and asks for a stream for each item.  Here the callback and all streams are Python
objects behind `recorder.com.expose`; the interfaces are descriptions, with no other code for them anywhere.

Each item is read to its end and counted, nothing is written but the trace.  `--cancel-after N` answers E_ABORT to
every SetCompleted from the one on that reports N bytes.  Exit code: 0 all items are good, 1 some are not or it was
cancelled, 2 it cannot be opened.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from recorder import com, hresult
from recorder.callback import RecordingCallback
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN

__all__ = ["Extraction", "Interfaces", "SevenZip", "main"]

_PLACES = ("/usr/lib/p7zip/7z.so", "/usr/lib/7zip/7z.so")  # of Debian's packages p7zip-full and 7zip
LIBRARY = "7z.dll" if sys.platform == "win32" else next(filter(os.path.exists, _PLACES), _PLACES[0])

S_OK = 0
E_ABORT = hresult.parse("E_ABORT")
E_INVALIDARG = hresult.parse("E_INVALIDARG")
ALL_ITEMS = 0xFFFFFFFF

INTERFACE_KIND = 0  # what to ask GetModuleProp for: which slots an interface begins with
VERSION = 1
VT_UI4 = 19

ANSWERS = ("ok", "unsupported method", "data error", "CRC error", "unavailable", "unexpected end")
"""What SetOperationResult says of an item; later numbers are rarer errors."""

FORMATS = {
    b"PK\x03\x04": 0x01,
    b"7z\xbc\xaf\x27\x1c": 0x07,
    b"\xfd7zXZ\0": 0x0C,
    b"\x1f\x8b": 0xEF,
    b"ustar": 0xEE,
}
"""Number of the handler of each format, by how its files begin (of tar: at byte 257)."""


def interface_id(group: int, number: int) -> str:
    return f"{{23170f69-40c1-278a-0000-00{group:02x}00{number:02x}0000}}"


def handler_id(number: int) -> str:
    return f"{{23170f69-40c1-278a-1000-000110{number:02x}0000}}"


def _in(name: str, kind: Type, *, pointer: bool = False) -> Parameter:
    return Parameter(name, kind, nullable=pointer or kind is Type.POINTER, pointer=pointer)


def _out(name: str, kind: Type) -> Parameter:
    return Parameter(name, kind, direction=Direction.OUT)


class Interfaces:
    """7-Zip's interfaces, as far as extracting needs them.

    A library whose interfaces have virtual destructors has two slots more after IUnknown's three.
    """

    def __init__(self, *, virtual_destructors: bool = False):
        destructors = (Method("Destroy", returns=Type.VOID), Method("Delete", returns=Type.VOID))
        unknown = Interface("IUnknown2", IUNKNOWN.iid, destructors, IUNKNOWN) if virtual_destructors else IUNKNOWN
        self.sequential_in = Interface(
            "ISequentialInStream",
            interface_id(3, 1),
            (Method("Read", (_in("data", Type.POINTER), _in("size", Type.U32), _out("processed", Type.U32))),),
            unknown,
        )
        self.in_stream = Interface(
            "IInStream",
            interface_id(3, 3),
            (Method("Seek", (_in("offset", Type.I64), _in("origin", Type.U32), _out("position", Type.U64))),),
            self.sequential_in,
        )
        self.sequential_out = Interface(
            "ISequentialOutStream",
            interface_id(3, 2),
            (Method("Write", (_in("data", Type.POINTER), _in("size", Type.U32), _out("processed", Type.U32))),),
            unknown,
        )
        self.progress = Interface(
            "IProgress",
            interface_id(0, 5),
            (
                Method("SetTotal", (_in("total", Type.U64),)),
                Method("SetCompleted", (_in("completeValue", Type.U64, pointer=True),)),
            ),
            unknown,
        )
        self.extract_callback = Interface(
            "IArchiveExtractCallback",
            interface_id(6, 0x20),
            (
                Method(
                    "GetStream",
                    (_in("index", Type.U32), _out("outStream", Type.POINTER), _in("askExtractMode", Type.I32)),
                ),
                Method("PrepareOperation", (_in("askExtractMode", Type.I32),)),
                Method("SetOperationResult", (_in("opRes", Type.I32),)),
            ),
            self.progress,
        )
        self.in_archive = Interface(
            "IInArchive",
            interface_id(6, 0x60),
            (
                Method(
                    "Open",
                    (
                        _in("stream", Type.POINTER),
                        _in("maxCheckStartPosition", Type.U64, pointer=True),
                        _in("openCallback", Type.POINTER),
                    ),
                ),
                Method("Close"),
                Method("GetNumberOfItems", (_out("numItems", Type.U32),)),
                Method(
                    "GetProperty", (_in("index", Type.U32), _in("propID", Type.U32), _in("value", Type.POINTER))
                ),
                Method(
                    "Extract",
                    (
                        _in("indices", Type.POINTER),
                        _in("numItems", Type.U32),
                        _in("testMode", Type.I32),
                        _in("extractCallback", Type.POINTER),
                    ),
                ),
            ),
            unknown,
        )


class InStream:
    """A file as 7-Zip reads it."""

    def __init__(self, file: BinaryIO):
        self.file = file

    def Read(self, data: int | None, size: int) -> tuple[int, int]:
        block = self.file.read(size)
        if data is not None:
            ctypes.memmove(data, block, len(block))
        return S_OK, len(block)

    def Seek(self, offset: int, origin: int) -> tuple[int, int]:
        try:
            return S_OK, self.file.seek(offset, origin)
        except (OSError, ValueError):  # before the beginning
            return E_INVALIDARG, 0


@dataclass
class Item:
    """What came of an item: its size and checksum as far as they were written, and 7-Zip's word on it."""

    size: int = 0
    crc: int = 0
    answer: int | None = None

    def Write(self, data: int | None, size: int) -> tuple[int, int]:
        if data is not None:
            self.crc = zlib.crc32(ctypes.string_at(data, size), self.crc)
        self.size += size
        return S_OK, size

    @property
    def verdict(self) -> str:
        if self.answer is None:
            return "not finished"
        return ANSWERS[self.answer] if 0 <= self.answer < len(ANSWERS) else f"error {self.answer}"


@dataclass
class Extraction:
    """The extract callback, and what came of it.  `exposed` are the streams that were handed out."""

    interfaces: Interfaces
    cancel_after: int | None = None
    items: dict[int, Item] = field(default_factory=dict)
    exposed: list[com.ExposedObject] = field(default_factory=list)
    total: int | None = None
    completed: int = 0
    result: int = S_OK
    _current: int | None = None

    def SetTotal(self, total: int) -> int:
        self.total = total
        return S_OK

    def SetCompleted(self, completed: int | None) -> int:
        self.completed = max(self.completed, completed or 0)
        cancelled = self.cancel_after is not None and self.completed >= self.cancel_after
        return E_ABORT if cancelled else S_OK

    def GetStream(self, index: int, mode: int) -> tuple[int, int | None]:
        self._current = index
        item = self.items[index] = Item()
        if mode != 0:  # it only tests, or skips
            return S_OK, None
        stream = com.expose(item, self.interfaces.sequential_out)
        self.exposed.append(stream)
        return S_OK, stream.pointer  # with the one reference that there is

    def PrepareOperation(self, mode: int) -> int:
        return S_OK

    def SetOperationResult(self, answer: int) -> int:
        if self._current is not None:
            self.items[self._current].answer = answer
        return S_OK


class SevenZip:
    """7-Zip's library.  Raises OSError if it cannot be loaded."""

    def __init__(self, path: str = LIBRARY):
        self._library = ctypes.CDLL(path)
        kind = self._property(INTERFACE_KIND)
        self.interfaces = Interfaces(virtual_destructors=bool(kind))
        version = self._property(VERSION)
        self.version = f"{version >> 16}.{version & 0xFFFF:02d}"

    def _property(self, number: int) -> int:
        """A number of GetModuleProp, 0 where the library does not have it."""
        value = (ctypes.c_uint64 * 4)()  # a PROPVARIANT: its type in the first 16 bits, a number at byte 8
        if self._library.GetModuleProp(number, value) < 0 or value[0] & 0xFFFF != VT_UI4:
            return 0
        return value[1] & 0xFFFFFFFF

    def archive(self, head: bytes) -> Any:
        """A handler for a file that begins so, with one reference.  Raises ValueError for no known format."""
        number = next(
            (n for magic, n in FORMATS.items() if head.startswith(magic) or head[257:262] == magic), None
        )
        if number is None:
            raise ValueError("no format that is known here")
        pointer = ctypes.c_void_p()
        clsid, iid = (_guid(text) for text in (handler_id(number), self.interfaces.in_archive.iid))
        answer = self._library.CreateObject(clsid, iid, ctypes.byref(pointer))
        if answer < 0 or not pointer.value:
            raise ValueError(f"no handler: CreateObject answered {hresult.describe(answer)}")
        return com.wrap(pointer.value, self.interfaces.in_archive)

    def extract(self, path: Path, trace: Path | None = None, cancel_after: int | None = None) -> Extraction:
        """Extract a file into a callback, recorded in `trace`.  Raises ValueError if it cannot be opened."""
        extraction = Extraction(self.interfaces, cancel_after)
        interface = self.interfaces.extract_callback
        with path.open("rb") as file, com.expose(InStream(file), self.interfaces.in_stream) as stream:
            archive = self.archive(file.read(512))
            file.seek(0)
            try:
                opened = archive.Open(stream.pointer, 1 << 16, None)
                if opened != S_OK:
                    raise ValueError(f"Open answered {hresult.describe(opened)}")
                callback = RecordingCallback(extraction, trace, interface=interface) if trace else None
                exposed = callback.expose() if callback else com.expose(extraction, interface)
                with exposed:
                    extraction.result = archive.Extract(None, ALL_ITEMS, 0, exposed.pointer)
                extraction.exposed.append(exposed)
                if callback:
                    callback.close()
                archive.Close()
            finally:
                archive.Release()
        extraction.exposed.append(stream)
        return extraction


def _guid(text: str) -> Any:
    return uuid.UUID(text).bytes_le


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Record what 7-Zip says to an extract callback.")
    parser.add_argument("archive", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="TRACE", required=True)
    parser.add_argument("--library", default=LIBRARY, help="7-Zip's library [default: %(default)s]")
    parser.add_argument("--cancel-after", type=int, metavar="BYTES")
    options = parser.parse_args(arguments)
    if os.path.lexists(options.output):
        parser.error(f"{options.output} exists already")
    try:
        seven_zip = SevenZip(options.library)
        extraction = seven_zip.extract(options.archive, options.output, options.cancel_after)
    except (OSError, ValueError) as error:
        print(f"{options.archive}: {error}", file=sys.stderr)
        return 2
    print(f"7-Zip {seven_zip.version}: Extract answered {hresult.describe(extraction.result)}")
    for index, item in extraction.items.items():
        answer = (
            "not finished" if item.answer is None else (*ANSWERS, "other error")[min(item.answer, len(ANSWERS))]
        )
        print(f"item {index}: {item.size} bytes, CRC {item.crc:08X}, {answer}")
    good = extraction.result == S_OK and all(item.answer == 0 for item in extraction.items.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
