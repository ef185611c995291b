"""The records of a trace file, one after the other, each verified against its check.

What they mean is not known here.

A file is read in chunks.  Objects are made only of bytes that were read, and the arrays and maps in a large record
are counted, so that no input takes more memory than a small multiple of its longest record.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

import msgpack

from recorder.encoding import CHECKS, MAX_FIELDS, MAX_RECORD, SHORT_RECORD, check_of

__all__ = ["UNSOUND", "Cut", "Records"]

UNSOUND = (ValueError, TypeError, msgpack.UnpackException)

_CHUNK = 1 << 17  # bytes read at a time
_LARGE_RECORD = 1 << 17  # bytes; in a larger record containers are counted
_MAX_CONTAINERS = 2 * MAX_FIELDS + 8  # in a large record: an array and a map for each field
_END = re.compile(rb"\x93\x00\xce(.{4})\xc0\xcc.", re.DOTALL)  # of a trace that ended as it should
_END_SIZE = 10


class Cut(Exception):
    """The written part ends here: the file does, or zeros follow."""


class Records:
    """Iterates over the records of a file.

    `offset` is where the record given last begins, or the unsound one, `sound` where the record given last ends
    (of those that `checked` gave).  Iterating raises Cut at the end of what
    was written, one of UNSOUND where a record is unsound, and OSError where the file cannot be read.
    """

    def __init__(self, file: IO[bytes]):
        self.offset = self.sound = 0
        self._next: int  # offset of the next record
        self._chunk: bytes  # what is read and not yet given out, from offset `_base` on
        self._base: int
        self._file = file
        self._origin = file.tell() if file.seekable() else 0
        self._size: int | None = None  # of the file, once its checksum was found right
        self._containers = 0  # in the present record
        self._start_at(0)

    @property
    def head(self) -> bytes:
        """What is read and not yet given out."""
        return self._chunk

    def checked(self, limit: int | None = None) -> Iterator[Any]:
        """The next `limit` records (None: all), each verified."""
        count = 0
        while count != limit:
            start = self.offset = self._next
            if start - self._base >= len(self._chunk):
                self._fill(start)
            if self._chunk[start - self._base] == 0:
                raise Cut
            self._containers = 0
            try:
                record = self._unpacker.unpack()
            except msgpack.OutOfData:
                record = self._object(start)
            middle = self._unpacker_base + self._unpacker.tell()
            raw = self._chunk[start - self._base : middle - self._base]
            check = CHECKS[zlib.adler32(raw) & 0xFF] if middle - start <= SHORT_RECORD else check_of(raw)
            if self._chunk.startswith(check, middle - self._base):
                self._unpacker.skip()
                self._next = middle + len(check)
            else:
                self._compare(start, middle, check)
            count += 1
            self.sound = self._next
            yield record

    def whole(self) -> bool:
        """Whether the file ends with an end record whose checksum is right; False where one cannot look ahead."""
        if not self._file.seekable():
            return False
        position = self._file.tell()
        size = self._file.seek(0, os.SEEK_END) - self._origin
        self._file.seek(self._origin + max(size - _END_SIZE, 0))
        end = _END.fullmatch(self._file.read(_END_SIZE))
        if end and int.from_bytes(end[1], "big") == self._crc_to(size - _END_SIZE):
            self._size = size
        self._file.seek(position)
        return self._size is not None

    def trusted(self) -> Iterator[Any]:
        """The records that follow in a file that is `whole`, not verified one by one."""
        self._file.seek(self._origin + self._next)
        self._unpacker = msgpack.Unpacker(self._file, max_buffer_size=_LARGE_RECORD, **_LIMITS)
        self._unpacker_base = self._next
        return islice(self._unpacker, None, None, 2)

    def distrust(self) -> None:
        """Go on with `checked` at the record that could not be read by `trusted`, or that made no sense."""
        trouble = self._tell()
        self._start_at(self._unpacker_base)
        try:
            for _ in self.checked():
                if self._next > trouble:
                    break
        except (Cut, *UNSOUND):
            pass  # it will be met again
        self._start_at(self.offset)

    def again(self, file: IO[bytes]) -> None:
        """Go on with `checked` at `sound`, in the same file, opened anew: more of it may be written by now."""
        self._file = file
        self._start_at(self.sound, zlib.crc32(self._chunk[: self.sound - self._base], self._crc))

    def crc(self) -> int:
        """CRC-32 of every byte before `offset`."""
        if self._size is not None:
            return self._crc_to(self._size - _END_SIZE)
        return zlib.crc32(self._chunk[: self.offset - self._base], self._crc)

    def more(self) -> bool:
        """Whether anything but zero fill follows."""
        if self._size is not None:
            return self._tell() < self._size - 2  # not at the check of the last record
        rest = self._chunk[self._next - self._base :]
        while rest:
            if rest.strip(b"\0"):
                return True
            rest = self._file.read(_CHUNK)
        return False

    def _start_at(self, offset: int, crc: int | None = None) -> None:
        """Forget what was read; the next record begins at `offset`, with this CRC-32 of all before, if known."""
        self._crc = crc if crc is not None else self._crc_to(offset) if offset else 0  # of all before `_base`
        if self._file.seekable():
            self._file.seek(self._origin + offset)
        self._next = offset
        self._chunk, self._base = b"", offset
        self._size = None
        self._unpacker = msgpack.Unpacker(max_buffer_size=4 * _LARGE_RECORD, **_LIMITS)
        self._unpacker_base = offset
        self._counting = False

    def _tell(self) -> int:
        return self._unpacker_base + self._unpacker.tell()  # type: ignore[no-any-return]

    def _object(self, start: int, *, counted: bool = True) -> Any:
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                self._fill(start, counted=counted)

    def _compare(self, start: int, middle: int, check: bytes) -> None:
        """Verify a check that is not yet there, or is wrong."""
        self._object(start, counted=False)
        self._next = self._tell()
        found = self._chunk[middle - self._base : self._next - self._base]
        if found != check:
            torn = check.startswith(found.rstrip(b"\0"))  # between two pages, perhaps in the check itself
            raise ValueError("not written to its end" if torn else "check does not match")

    def _fill(self, keep: int, *, counted: bool = False) -> None:
        """Read on, keeping the bytes from offset `keep`."""
        pending = self._chunk[keep - self._base :]
        data = self._file.read(max(_CHUNK, len(pending)))
        if not data:
            raise Cut
        if len(pending) > MAX_RECORD:
            raise ValueError("a record longer than any")
        self._crc = zlib.crc32(self._chunk[: keep - self._base], self._crc)
        self._chunk, self._base = pending + data, keep
        if len(pending) < _LARGE_RECORD or self._counting or not counted:
            self._unpacker.feed(data)
            return
        self._counting = True
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=4 * MAX_RECORD, list_hook=self._count, object_hook=self._count, **_LIMITS
        )
        self._unpacker_base = keep
        self._unpacker.feed(self._chunk)

    def _count(self, container: Any) -> Any:
        self._containers += 1
        if self._containers > _MAX_CONTAINERS:
            raise ValueError("a record with too many parts")
        return container

    def _crc_to(self, end: int) -> int:
        """CRC-32 of the file's first `end` bytes."""
        self._file.seek(self._origin)
        crc = 0
        while end > 0 and (data := self._file.read(min(end, _CHUNK))):
            crc = zlib.crc32(data, crc)
            end -= len(data)
        return crc


_LIMITS: dict[str, Any] = {
    "use_list": False,
    "strict_map_key": False,
    "max_array_len": MAX_FIELDS,
    "max_map_len": MAX_FIELDS,
}
