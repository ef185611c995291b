"""Live recording: a trace file that survives its process.

The file is mapped in windows, allocated ahead (so that a full disk is an error when a window is opened, never
a fault in the middle of a call) and zero-filled.  A record is appended by one `mmap.write`: one C call, no
system call, and atomic under the GIL, so that recording takes no lock.  What was written is in the page cache
and outlives the process, however it dies.

Each thread keeps its own clock and count (a `Stream`), so events of different threads share no state.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import logging
import mmap
import os
import sys
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from recorder.calls import SYNC_EVENT, Argument, Handle, Header, Opaque, Outcome
from recorder.encoding import Encoder, Kind
from recorder.errors import TraceError
from recorder.interface import Type
from recorder.trace import describe_header

__all__ = [
    "RecordingWarning",
    "Stream",
    "Ticket",
    "TraceWriter",
    "live_header",
    "process_facts",
    "storable",
    "warn_once",
]

TICK_BITS = 10  # a tick is 2**10 ns: a shift is cheaper than a division
NULL_BYTE = 0xC0 - 0x100  # msgpack's nil as the signed byte that the fast path packs
PSEUDO_HANDLES = (-1, -2)  # current process, current thread
_FIRST_WINDOW = 1 << 18
_LARGEST_WINDOW = 1 << 24
_CACHED_DURATIONS = 4096

_log = logging.getLogger("synctape")


class RecordingWarning(RuntimeWarning):
    """Recording stopped; calls are still forwarded."""


class Leaves(dict[int, bytes]):
    """duration in ticks -> the whole record of a call of one thread that returned S_OK."""

    def __init__(self, encode: Callable[[int], bytes]):
        super().__init__()
        self._encode = encode

    def __missing__(self, ticks: int) -> bytes:
        record = self._encode(ticks)
        if 0 <= ticks < _CACHED_DURATIONS:
            self[ticks] = record
        return record


class Stream:
    """One thread's part of a recording: number, tick of its last enter, count of enters."""

    __slots__ = ("count", "last", "leaves", "number")

    def __init__(self, number: int, last: int, leaves: Leaves):
        self.number = number
        self.last = last
        self.count = 0
        self.leaves = leaves


class Ticket:
    """What `enter` gives and `leave` takes back: which call, and when it began."""

    __slots__ = ("count", "start", "stream")

    def __init__(self, stream: Stream, start: int, count: int):
        self.stream = stream
        self.start = start
        self.count = count


class TraceWriter:
    """Appends calls to a new trace file, from any thread.

    `enter` writes that a call begins and gives a ticket, `leave` writes how it ended.  Neither ever raises or
    blocks: when the disk is full or the file fails, recording stops with one warning and the file stays
    readable up to there.  Constructing raises TraceError if the file exists or cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sync_event: int | None = None,
    ):
        self.path = os.fspath(path)
        self.clock = clock
        self.header = header or live_header()
        self.interface = self.header.interface
        self.closed = False
        self.local = threading.local()
        self.handles: dict[Any, int] = {None: NULL_BYTE, 0: NULL_BYTE}
        if sync_event:
            self.handles[sync_event] = SYNC_EVENT.token
        self._tokens = itertools.count(1)
        self._lock = threading.RLock()  # only for changing the window
        self._store_lock = threading.Lock()
        self._streams: list[Stream] = []
        self._pid = os.getpid()
        self._start = clock() >> TICK_BITS
        self._size = _FIRST_WINDOW
        self.write: Callable[[bytes], object] = _refuse
        self._encoder = Encoder(self.append)
        self.texts = self._encoder.texts
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        except FileExistsError:
            raise TraceError("exists already; it is left as it is", path=path) from None
        except OSError as error:
            raise TraceError(f"cannot be written: {error.strerror or error}", path=path) from None
        try:
            self._open_window(0, 0)
        except OSError as error:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            raise TraceError(f"cannot be written: {error.strerror or error}", path=path) from None
        self._encoder.header(describe_header(self.header))
        _live.add(self)

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- recording a call -------------------------------------------------------------------------------------

    def enter(self, slot: int, args: Sequence[Any]) -> Ticket | None:
        """A call of vtable slot `slot` begins.  Arguments may be anything; None if nothing is recorded."""
        try:
            stream = self.stream()
            now = self.clock() >> TICK_BITS
            inputs = self.interface.slots[slot].inputs
            spelled = [
                self.token(value)
                if position < len(inputs) and inputs[position].type in (Type.HANDLE, Type.POINTER)
                else storable(value)
                for position, value in enumerate(args)
            ]
            self._encoder.enter(slot, now - stream.last, stream.number, inputs, spelled)
            stream.last = now
            stream.count += 1
            return Ticket(stream, now, stream.count)
        except Exception as error:  # whatever it is, the call goes on
            self.stop(error)
            return None

    def leave(self, ticket: Ticket | None, outcome: Outcome) -> None:
        """The ticket's call ended; `outcome.elapsed_ns` is filled in from the clock."""
        if ticket is None:
            return
        try:
            self.leave_at(ticket, self.clock() >> TICK_BITS, outcome)
        except Exception as error:
            self.stop(error)

    def leave_at(self, ticket: Ticket, now: int, outcome: Outcome) -> None:
        stream = ticket.stream
        value, outputs = storable(outcome.value), tuple(storable(v) for v in outcome.outputs)
        outcome = outcome._replace(value=value, outputs=outputs)
        self._encoder.leave(now - ticket.start, stream.number, outcome, stream.count - ticket.count)

    def stream(self) -> Stream:
        """The calling thread's stream; a thread seen for the first time is written down."""
        try:
            return self.local.stream  # type: ignore[no-any-return]
        except AttributeError:
            pass
        now = self.clock() >> TICK_BITS
        number = self._encoder.thread(now - self._start, threading.get_native_id(), _thread_name())
        stream = Stream(number, now, Leaves(lambda ticks: _returned(ticks, number)))
        self._streams.append(stream)
        self.local.stream = stream
        return stream

    def intern(self, text: str) -> None:
        """Put a text into the table, if there is room."""
        self._encoder.text(text)

    def token(self, value: Any) -> Argument:
        """A live handle's symbol: the same value gives the same one (interface.md, 4)."""
        if isinstance(value, Handle) or value is None:
            return value
        try:
            value = int(value)
        except Exception:  # no handle at all
            return storable(value)
        if value in PSEUDO_HANDLES:
            return Handle(value)
        token = self.handles.get(value)
        if token is None:
            token = self.handles.setdefault(value, next(self._tokens))
        return None if token == NULL_BYTE else Handle(token)

    # --- the file ---------------------------------------------------------------------------------------------

    def append(self, record: bytes) -> None:
        """Append a record; opens the next window where it does not fit.  Raises OSError when there is none."""
        try:
            self.write(record)
        except ValueError:
            with self._lock:
                while not self.closed:
                    try:
                        self.write(record)
                    except ValueError:
                        self._grow(len(record))
                    else:
                        break

    def flush(self) -> None:
        """Hand the current window's pages to the disk (power loss; a killed process needs none of it)."""
        with self._lock:
            if not self.closed:
                self._window.flush()

    def close(self) -> None:
        """End the trace: end record, file cut to its length.  Calls that come later are not recorded."""
        self._finish(None)

    def stop(self, error: BaseException) -> None:
        """Recording cannot go on: warn once, keep what is there."""
        with self._lock:
            if self.closed:
                return
        self._finish(str(getattr(error, "strerror", None) or error) or type(error).__name__)
        warn_once(f"{self.path}: recording stopped ({error}); calls are still forwarded")

    def _finish(self, reason: str | None) -> None:
        with self._lock:
            if self.closed or os.getpid() != self._pid:
                return
            self.closed = True
            self.write = _refuse
            position = self._seal()
            self._window.close()
            try:
                os.ftruncate(self._fd, position)
                record = _record(Kind.END, sum(s.count for s in self._streams), self._crc(), reason)
                os.lseek(self._fd, position, os.SEEK_SET)
                os.write(self._fd, record)
            except OSError as error:
                if reason is None:
                    warn_once(f"{self.path}: could not be ended ({error}); it reads as cut off")
            finally:
                os.close(self._fd)

    def _crc(self) -> int:
        os.lseek(self._fd, 0, os.SEEK_SET)
        crc = 0
        while chunk := os.read(self._fd, 1 << 20):
            crc = zlib.crc32(chunk, crc)
        return crc

    def _grow(self, needed: int) -> None:
        """The window is full: map the next one."""
        self._size = min(self._size * 2, _LARGEST_WINDOW)
        full = self._window
        self._open_window(self._seal(), needed)
        full.close()

    def _seal(self) -> int:
        """Take the rest of the window away from every writer; gives the file position where records end.

        Filling the rest is one atomic write that only succeeds if nobody wrote since the rest was measured.
        """
        window = self._window
        while True:
            position = window.tell()
            try:
                self._store(window, bytes(len(window) - position))
            except ValueError:
                continue
            return self._base + position

    def _open_window(self, position: int, needed: int) -> None:
        base = position - position % mmap.ALLOCATIONGRANULARITY
        size = max(self._size, (position - base + needed + 0xFFFF) & ~0xFFFF)
        _allocate(self._fd, base, size)
        window = mmap.mmap(self._fd, size, offset=base)
        window.seek(position - base)
        self._window, self._base = window, base
        self.write = window.write if _GIL else functools.partial(self._store, window)

    def _store(self, window: mmap.mmap, record: bytes) -> object:
        """One write, atomic even where no GIL makes it so."""
        if _GIL:
            return window.write(record)
        with self._store_lock:
            return window.write(record)

    def abandon(self) -> None:
        """In a forked child: the parent goes on writing the file, this process does not."""
        self.closed = True
        self.write = _refuse


_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
_live: weakref.WeakSet[TraceWriter] = weakref.WeakSet()


def _close_all() -> None:
    for writer in list(_live):
        writer.close()


def _abandon_all() -> None:
    for writer in list(_live):
        writer.abandon()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)


def _refuse(record: bytes) -> object:
    raise ValueError("the trace is closed")


def _allocate(fd: int, offset: int, size: int) -> None:
    """Reserve blocks, so that storing to the mapping cannot fail later.  Raises OSError if there is no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
    else:
        os.ftruncate(fd, offset + size)


def _record(*fields: Any) -> bytes:
    out: list[bytes] = []
    Encoder(out.append).record(*fields)
    return out[0]


def _returned(ticks: int, thread: int) -> bytes:
    return _record(Kind.LEAVE, ticks, thread)


def storable(value: Any) -> Argument:
    """A value as a trace can hold it."""
    if value is None or isinstance(value, Handle | Opaque):
        return value
    if isinstance(value, bool | int):
        return value if isinstance(value, bool) else int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(value)
    try:
        shown = repr(value)[:1000]
    except Exception as error:  # a repr may do anything
        shown = f"<repr raised {type(error).__name__}>"
    return Opaque(type(value).__qualname__, shown)


def _thread_name() -> str:
    """The calling thread's name; asking `current_thread` would make a dummy object for a foreign thread."""
    known = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    return known.name if known is not None else ""


def warn_once(message: str) -> None:
    """Tell of trouble without letting it reach the provider, whatever the warnings filter says."""
    try:
        warnings.warn(message, RecordingWarning, stacklevel=3)
    except RecordingWarning:  # warnings are errors here, but not the provider's
        _log.warning(message)


def process_facts() -> dict[str, Any]:
    """What helps to understand a trace later, and names nobody: platform, interpreter, terminal, encodings."""
    import locale
    import platform

    streams = {name: getattr(sys, name, None) for name in ("stdin", "stdout", "stderr")}
    return {
        "pid": os.getpid(),
        "program": os.path.basename(sys.argv[0]) if sys.argv else "",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": sys.platform,
        "machine": os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", ""),
        "tty": [name for name, stream in streams.items() if _is_tty(stream)],
        "encodings": {
            "filesystem": sys.getfilesystemencoding(),
            "locale": locale.getpreferredencoding(False),
            "stdout": getattr(streams["stdout"], "encoding", None),
        },
    }


def _is_tty(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # a closed or replaced stream
        return False


def live_header(**fields: Any) -> Header:
    """A header for a recording that starts now; `fields` override."""
    import struct

    facts: dict[str, Any] = {
        "created_ns": time.time_ns(),
        "tick_ns": 1 << TICK_BITS,
        "pointer_size": struct.calcsize("P"),
        "process": process_facts(),
    }
    return Header(**{**facts, **fields})
