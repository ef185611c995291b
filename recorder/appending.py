"""A file that grows by whole records, from any thread, and keeps them however its process ends.

The file is mapped in windows, allocated ahead (so that a full disk is an error when a window is opened, never a
fault in the middle of a call) and zero-filled.  A record is appended by one `mmap.write`: one C call, no system
call, and atomic under the GIL, so that appending takes no lock.  What was written is in the page cache and
outlives the process.  Power loss is another matter: `flush`.  Nobody else may cut the file while it is mapped:
on POSIX that makes the next write to it fatal.

Anything may happen between any two steps: another thread writes, a signal handler or a finaliser appends from
this very thread, KeyboardInterrupt is raised.  So a window is taken out of use by filling its rest, which fails
if anybody was faster, and a new one is put in place only if nobody has done so meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import sys
import threading
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["GIL", "AppendFile"]

_T = TypeVar("_T")

GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

_FIRST_WINDOW = 1 << 18  # bytes; each window is twice as large as the one before
_LARGEST_WINDOW = 1 << 24
_SHORT = 64  # bytes; longer than any record that a fast path writes
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_ALLOCATE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # musl and some file systems


class AppendFile:
    """A new file.  Raises FileExistsError, or another OSError if it cannot be made or has no room.

    `write` appends a record, or raises ValueError if the window has no room for it or the file is closed.  It
    changes with the window, so it is looked up for each record.  `append` does all that may be needed.

    `limit` is a size in bytes from which on the file is `due` to be followed by another; it can still grow.
    `relief` is asked when the disk is full: true if it made room.
    """

    def __init__(self, path: str, *, limit: int | None = None, relief: Callable[[], bool] | None = None):
        self.lock = threading.RLock()  # for everything but `write`
        self.closed = False
        self.limit = limit
        self._relief = relief
        self._path = path
        self._ended = (0, 0)  # offset of the end record, and the CRC-32 of what is before it
        self._store_lock = threading.RLock()
        self._pid = os.getpid()
        self._size = _FIRST_WINDOW // 2
        self._window = mmap.mmap(-1, 1)  # a full one, before the file's first byte
        self._window.seek(1)
        self._base = -1  # file offset of the window
        self._claim = 1  # position in the window where `_seal` measured the rest
        self.write: Callable[[bytes], object] = self._window.write
        self._told: list[dict[str, Any]] = []  # namespaces that know `write` too
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._fd = self._with_relief(lambda: os.open(path, flags, 0o666))
        try:
            self._with_relief(lambda: self._grow(0))
        except BaseException:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def tell(self, namespace: dict[str, Any]) -> None:
        """Keep `write` in a function's namespace up to date: it is found there sooner than here."""
        self._told.append(namespace)
        self._tell()

    def append(self, record: bytes) -> bool:
        """Append a record, in a new window if need be; false if the file is closed.  OSError: no room."""
        try:
            self.write(record)
            return True
        except ValueError:
            pass
        with self.lock:
            while not self.closed:
                try:
                    self.write(record)
                    return True
                except ValueError:
                    self._with_relief(functools.partial(self._grow, len(record)))
        return False

    @property
    def due(self) -> bool:
        """Whether the limit is reached: no short record fits before it."""
        if self.limit is None or self.closed:
            return False
        try:
            return self._base + self._window.tell() + _SHORT > self.limit
        except ValueError:  # another thread puts a new window in place
            return False

    def retire(self) -> None:
        """Refuse what comes through `tell`'s namespaces from now on; `append` goes on."""
        with self.lock:
            for namespace in self._told:
                namespace["write"] = _refuse
            self._told.clear()

    def flush(self) -> None:
        """Hand what was written to the disk, and wait until it is there, while others go on writing.

        All of it: what stands in windows that are closed, too.  `mmap.flush` would keep the GIL while it waits.
        """
        with self.lock:
            if self.closed:
                return
            if sys.platform != "linux":  # does not come at mapped pages by the descriptor
                self._window.flush()
            fd = os.dup(self._fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def amend(self, record: bytes, last: Callable[[int], bytes]) -> None:
        """Put a record before the end record of a closed file, in one write.  OSError if that fails."""
        with self.lock:
            end, crc = self._ended
            if not end or os.getpid() != self._pid:
                return
            crc = zlib.crc32(record, crc)
            fd = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                os.lseek(fd, end, os.SEEK_SET)
                os.write(fd, record + last(crc))
            finally:
                os.close(fd)
            self._ended = end + len(record), crc

    def close(self, last: Callable[[int], bytes], *, sync: bool = False) -> bool:
        """End the file with the record `last(crc)`, where `crc` is the CRC-32 of all before it.

        With `sync` it is on the disk then.
        False if it was closed before.  Raises OSError if the end could not be written; the records are there.
        """
        with self.lock:
            if self.closed or os.getpid() != self._pid:
                return False
            self.closed = True
            self.write = _refuse
            self._tell()
            self._told.clear()
            try:
                end = self._seal(self._window, self._base)
                with self._store_lock:
                    self._window.close()
                with contextlib.suppress(OSError):  # Windows, while a reader maps the file: zeros stay behind
                    os.ftruncate(self._fd, end)
                crc = self._crc(end)
                record = last(crc)
                os.lseek(self._fd, end, os.SEEK_SET)
                while record:
                    record = record[os.write(self._fd, record) :]
                self._ended = end, crc
                if sync:
                    os.fsync(self._fd)
            finally:
                os.close(self._fd)
        return True

    def abandon(self) -> None:
        """In a forked child: the parent goes on writing the file, this process does not."""
        self.lock = threading.RLock()  # a thread that is not here may have held it
        self.closed = True
        self.write = _refuse
        self._tell()

    def _with_relief(self, action: Callable[[], _T]) -> _T:
        """What the action gives; on a full disk it is tried again as long as there is relief."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in _FULL or self._relief is None or not self._relief():
                    raise

    def _grow(self, needed: int) -> None:
        """Map the next window; the present one has no room for `needed` bytes."""
        full, base = self._window, self._base
        try:
            end = self._seal(full, base)
        except ValueError:  # closed: a signal handler has grown the file, or closed it, in the middle of this
            return
        base = end - end % mmap.ALLOCATIONGRANULARITY
        self._size = min(self._size * 2, _LARGEST_WINDOW)
        wanted = self._size if self.limit is None else min(self._size, max(self.limit - base, 0))
        step = 0xFFFF if self.limit is None else 0xFFF  # past a limit the next call is to ask whether it is due
        size = max(wanted, (end - base + needed + step) & ~step)
        try:
            self._allocate(full, base + size)
            window = mmap.mmap(self._fd, size, offset=base)
        except (OSError, ValueError):
            if self._window is not full or self.closed:  # likewise
                return
            raise
        window.seek(end - base)
        write = self._writer(window)
        if self._window is full and not self.closed:  # nothing can come in between from here on
            self._claim = size
            self._window = window
            self._base = base
            self.write = write
            self._tell()
        with self._store_lock:
            full.close()

    def _tell(self) -> None:
        for namespace in self._told:
            namespace["write"] = self.write  # read anew each time: a signal handler may have changed it

    def _seal(self, window: mmap.mmap, base: int) -> int:
        """Take the rest of the window away from every writer; gives the file offset where records end.

        Filling the rest is one atomic write that only succeeds if nobody wrote since the rest was measured.
        A window without rest was filled by this, and ends where that began, if there are zeros now: no record
        begins with one.
        """
        while (position := window.tell()) < len(window):
            self._claim = position
            with contextlib.suppress(ValueError):
                self._store(window, bytes(len(window) - position))
        return base + (self._claim if self._claim < position and window[self._claim] == 0 else position)

    def _allocate(self, full: mmap.mmap, size: int) -> None:
        """Make the file `size` bytes long with room on the disk, so that storing to a mapping of it cannot fail.

        Nothing that is there is touched, not even by a zero: while `full` is the window nobody writes behind it.
        Raises OSError if there is no room.
        """
        start = os.fstat(self._fd).st_size
        if start < size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, start, size - start)
                return
            except OSError as error:
                if error.errno not in _CANNOT_ALLOCATE:
                    raise
        if sys.platform == "win32" or not hasattr(os, "pwrite"):
            if start < size and self._window is full:
                os.ftruncate(self._fd, size)  # allocates
            return
        while start < size:
            zeros = bytes(min(size - start, 1 << 20))
            if self._window is not full:
                return
            start += os.pwrite(self._fd, zeros, start)

    def _writer(self, window: mmap.mmap) -> Callable[[bytes], object]:
        return window.write if GIL else functools.partial(self._store, window)

    def _store(self, window: mmap.mmap, record: bytes) -> object:
        """One write, atomic even where no GIL makes it so."""
        if GIL:
            return window.write(record)
        with self._store_lock:
            return window.write(record)

    def _crc(self, end: int) -> int:
        os.lseek(self._fd, 0, os.SEEK_SET)
        crc = 0
        while end > 0 and (chunk := os.read(self._fd, min(end, 1 << 20))):
            crc = zlib.crc32(chunk, crc)
            end -= len(chunk)
        return crc


def _refuse(record: bytes) -> object:
    raise ValueError("the file is closed")
