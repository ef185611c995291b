"""A list of byte strings that two processes map: what is in it outlives the process that put it there.

    0       8 bytes   how many there are
    8       8 bytes   where the next one goes
    16      4 bytes   the length of the first, then its bytes, then the next one; all numbers little-endian

The length of the list is written last, so what a process that dies leaves half done is not in it.  The file grows
as needed, whichever side appends.  On Linux it is anonymous memory, which no death can leave behind, reached
through the maker's descriptor; elsewhere it is a temporary file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator

__all__ = ["HEAD", "LENGTH", "SharedList"]

HEAD = struct.Struct("<QQ")
LENGTH = struct.Struct("<I")
_FIRST_SIZE = 1 << 16  # bytes


class SharedList:
    """One side's view.  `path` is what the other side opens; only one side may append at a time."""

    def __init__(self, path: str | None = None):
        """A new list, or the one at `path`.  Raises OSError if there is none or the system gives no memory."""
        self._made = path is None
        if path is None:
            path, descriptor = _new_file()
        else:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self.path = path
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115
        if self._made:
            self._file.truncate(_FIRST_SIZE)
        self._map = mmap.mmap(self._file.fileno(), 0)
        if self._made:
            self.clear()

    def clear(self) -> None:
        """Empty it; the room stays."""
        HEAD.pack_into(self._map, 0, 0, HEAD.size)

    def append(self, blob: bytes) -> None:
        self.extend((blob,))

    def extend(self, blobs: Iterable[bytes]) -> None:
        """Append; a reader sees all of them or none.  Raises OSError if the file cannot grow."""
        count, end = HEAD.unpack_from(self._map)
        parts: list[bytes] = []
        for blob in blobs:
            parts += (LENGTH.pack(len(blob)), blob)
            count += 1
        added = b"".join(parts)
        self.make_room(end + len(added))
        self._map[end : end + len(added)] = added
        HEAD.pack_into(self._map, 0, count, end + len(added))

    def extend_packed(self, count: int, packed: bytes) -> None:
        """Append so many that lie behind each other as they do in the file, each behind its length."""
        there, end = HEAD.unpack_from(self._map)
        self.make_room(end + len(packed))
        self._map[end : end + len(packed)] = packed
        HEAD.pack_into(self._map, 0, there + count, end + len(packed))

    def __len__(self) -> int:
        return min(int(HEAD.unpack_from(self._map)[0]), len(self._map) // LENGTH.size)

    def __iter__(self) -> Iterator[bytes]:
        """Each one in turn.  Where a target has written over the list, it ends with what is still sound."""
        for view in self._views():
            yield bytes(view)

    def pick(self, numbers: Collection[int]) -> dict[int, bytes]:
        """Those of these numbers, by their numbers; the others are not copied."""
        return {number: bytes(view) for number, view in enumerate(self._views()) if number in numbers}

    def _views(self) -> Iterator[memoryview]:
        count, end = HEAD.unpack_from(self._map)
        with self.buffer() as view:
            at, end = HEAD.size, min(end, len(view))
            for _ in range(count):
                if at + LENGTH.size > end:
                    return
                (length,) = LENGTH.unpack_from(view, at)
                at += LENGTH.size + length
                if at > end:
                    return
                with view[at - length : at] as found:
                    yield found

    def buffer(self) -> memoryview:
        """The file's bytes as they are now; to be released before the list grows or is closed."""
        self.make_room(0)
        return memoryview(self._map)

    def make_room(self, size: int) -> None:
        """Have at least `size` bytes, and map what the other side added."""
        there = os.fstat(self._file.fileno()).st_size
        if there < size:
            there = max(size, 2 * there)
            self._file.truncate(there)
        if there > len(self._map):
            self._map.close()
            self._map = mmap.mmap(self._file.fileno(), 0)

    def close(self) -> None:
        """End this side's view; the maker's end is the list's."""
        self._map.close()
        self._file.close()
        if self._made:
            with contextlib.suppress(OSError):  # Linux: it has no name; Windows: the other side has it still open
                os.unlink(self.path)


def _new_file() -> tuple[str, int]:
    """Where a new file can be opened, and its descriptor."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("synctape", os.MFD_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        if os.path.exists(path):
            return path, descriptor
        os.close(descriptor)
    descriptor, path = tempfile.mkstemp(prefix="synctape-")
    return path, descriptor
