"""Live recording: a trace file that survives its process, written from any thread without a lock.

Each thread keeps its own clock and its own open calls (a `Stream`), so events of different threads share no
state but the file, to which a record goes in one piece (`recorder.appending`).

A signal handler or a finaliser may call a recorded callback in the middle of any step here, on the same thread.
Such calls begin and end within the step.  So the steps are in an order that keeps the file right: the time since
the last enter is taken and that enter's time is moved on together, a call is put on the list of open ones after
its enter is written, and taken off before its leave is.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

from recorder.appending import GIL, AppendFile
from recorder.calls import SYNC_EVENT, Argument, Handle, Header, Opaque, Outcome, OutcomeKind
from recorder.encoding import GOES_ON, MAX_FIELDS, Encoder, end_record
from recorder.errors import TraceError
from recorder.facts import TICK_BITS, integer, live_header, process_facts, storable
from recorder.interface import Interface, Parameter, Type
from recorder.trace import describe_header

__all__ = [
    "Files",
    "RecordingWarning",
    "Redacting",
    "Stream",
    "Ticket",
    "TraceWriter",
    "live_header",
    "process_facts",
    "storable",
    "warn_once",
]

PSEUDO_HANDLES = (-1, -2)  # current process, current thread
_ADDRESSES = 1 << 8 * struct.calcsize("P")
_MAX_ARGUMENTS = MAX_FIELDS - 8
_MANY_STREAMS = 1 << 12  # threads, after which a file of a session is followed by another
_CACHED_DURATIONS = 4096  # ticks: 4 ms

_log = logging.getLogger("synctape")
_SEVERAL = object()
_PLAIN = (OutcomeKind.RETURNED, 0)


class RecordingWarning(RuntimeWarning):
    """Recording stopped; calls are still forwarded."""


class Redacting(Protocol):
    """What takes the words out of values before they are written; a `recorder.redaction.Redaction` does."""

    def header(self, header: Header) -> Header: ...

    def thread_name(self, name: str) -> str: ...

    def argument(self, kind: Type | None, value: Argument) -> Argument: ...

    def arguments(self, inputs: Sequence[Parameter], args: Sequence[Argument]) -> tuple[Argument, ...]: ...

    def outcome(self, outcome: Outcome, interface: Interface) -> Outcome: ...


class Files(Protocol):
    """What a writer knows of the recording that its file is one of several of (`recorder.session`)."""

    closed: bool

    def follow(self, writer: TraceWriter) -> TraceWriter: ...

    def relieve(self) -> bool: ...

    def close(self, reason: str | None = None) -> None: ...


class Stream:
    """One thread's part of a recording.

    `last` is the tick of its last enter.  `call` is None while no call is open on it; what stands for the call
    while one is; and a mark while there are, or were, several at once: then `calls` holds them.
    `returns` maps a duration in ticks to the whole record of a call that returned S_OK.
    """

    __slots__ = ("__weakref__", "call", "calls", "last", "number", "returns")

    def __init__(self, number: int, last: int):
        self.number = number
        self.last = last
        self.returns: dict[int, bytes] = {}
        self.call: object = None
        self.calls: list[object] = []

    def begin(self, call: object) -> None:
        outer, self.call = self.call, _SEVERAL
        if outer is not None and outer is not _SEVERAL:
            self.calls.append(outer)
        self.calls.append(call)
        self.call = _SEVERAL  # again: a call that came and went meanwhile has cleared it

    def end(self, call: object) -> int | None:
        """How many calls that began later are still open.  None if this one is not open."""
        if self.call is call:
            self.call = None
            return 0
        for back, candidate in enumerate(reversed(self.calls)):
            if candidate is call:
                del self.calls[len(self.calls) - 1 - back]
                if not self.calls:
                    self.call = None
                return back
        return None


class Ticket:
    """What `enter` gives and `leave` takes back: one call that is open."""

    __slots__ = ("start", "stream", "writer")

    def __init__(self, writer: TraceWriter, stream: Stream, start: int):
        self.writer = writer
        self.stream = stream
        self.start = start


class TraceWriter:
    """Appends calls to a new trace file, from any thread.

    `enter` writes that a call begins and gives a ticket, `leave` writes how it ended; both on the thread of the
    call, in any order among several calls.  Neither ever raises or blocks: when the disk is full or the file
    fails, recording stops with one warning and the file stays readable up to there.  Constructing raises
    TraceError if the file exists or cannot be made.  `clock` gives nanoseconds; `sync_event` is the value of the
    handle that the trace shows as the sync's own event.

    A process that is killed loses nothing that was written.  One that ends without `close` closes it by itself.
    A forked child records nothing.

    `sync` says when what was written is handed to the disk, for power loss: None leaves that to the system, a
    number is the seconds after which it is done again and again, and 0 does it for each event before the call
    goes on.  `redact` takes the words out of all that gets into the file (`recorder.redaction`).  `session` is
    what the file is one of several of.
    """

    closed = True  # until it is open
    retired = False  # another file of the session goes on
    stopped: str | None = None  # why recording stopped early

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sync_event: int | None = None,
        sync: float | None = None,
        redact: Redacting | None = None,
        session: Files | None = None,
        limit: int | None = None,
    ):
        self.path = os.fspath(path)
        self.clock = clock
        self.session = session
        self.sync = sync
        self.header = header or live_header()
        self.redact = redact
        if redact is not None and session is None:
            self.header = redact.header(self.header)
        self.interface = self.header.interface
        self.local = threading.local()
        self.tokens: dict[Any, int] = {sync_event: SYNC_EVENT.token} if sync_event else {}
        self._free_tokens = itertools.count(1)
        description = describe_header(self.header)
        try:
            relief = None if session is None else session.relieve
            self.file = AppendFile(self.path, limit=limit, relief=relief)
        except FileExistsError:
            raise TraceError("exists already; it is left as it is", path=path) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise TraceError(f"cannot be written: {reason}", path=path) from None
        self._lock = contextlib.nullcontext() if GIL else self.file.lock
        self._encoder = Encoder(self._append, self._lock)
        self._leaves = self._encoder.onto(self._append_leave)
        self._streams: list[weakref.ref[Stream]] = []
        self.tables: list[dict[Any, Any]] = []  # what fast paths know of this file (recorder.methods)
        self._start = clock() >> TICK_BITS
        self._encoder.header(description)
        self.closed = False
        _live.add(self)
        self._done = threading.Event()
        if sync is not None:
            self.flush()
            _flush_folder(self.path)
        if sync:
            threading.Thread(target=_flush_now_and_then, args=(weakref.ref(self),), daemon=True).start()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.finish(GOES_ON if self.retired else None)  # not the session: it has newer ones

    # --- recording a call -------------------------------------------------------------------------------------

    def enter(self, slot: int, args: Sequence[Any]) -> Ticket | None:
        """A call of vtable slot `slot` begins.  Arguments may be anything; None if nothing is recorded."""
        if self.session is not None and (writer := self.session.follow(self)) is not self:
            return writer.enter(slot, args)
        if self.closed:
            return None
        try:
            stream = self.stream()
            inputs = self.interface.slots[slot].inputs
            kept: Sequence[Argument] = self._storable(slot, args)
            if self.redact is not None:
                kept = self.redact.arguments(inputs, kept)
            spelled = self._encoder.arguments(inputs, kept)
            now = self.clock() >> TICK_BITS
            ticks = now - stream.last
            stream.last = now
            ticket = Ticket(self, stream, now)
            self._encoder.enter(slot, ticks, stream.number, spelled)
            stream.begin(ticket)
            if self.sync == 0:
                self.flush()
            return ticket
        except _Closed:  # meanwhile; in a session another file goes on
            return self.enter(slot, args) if self.retired and self.session is not None else None
        except Exception as error:  # whatever it is, the call goes on
            self.stop(error)
            return None

    def leave(self, ticket: Ticket | None, outcome: Outcome) -> None:
        """The ticket's call ended; `outcome.elapsed_ns` comes from the clock.  Nothing if it has ended before."""
        if ticket is not None:
            back = ticket.stream.end(ticket)
            if back is not None:
                ticket.writer.write_leave(ticket.stream, ticket.start, outcome, back)

    def write_leave(
        self, stream: Stream, start: int, outcome: Outcome, back: int, ticks: int | None = None
    ) -> None:
        """The leave of a call that began at tick `start` and was taken off the stream's open ones.

        It took `ticks`, by the clock if None.
        """
        if self.closed and not self.retired:
            return
        try:
            if ticks is None:
                ticks = (self.clock() >> TICK_BITS) - start
            if type(outcome.value) is int and outcome[:2] == _PLAIN and not outcome.outputs and not back:
                self._append_leave(stream.returns.get(ticks) or self._plain_leave(stream, ticks))
                if self.sync == 0:
                    self.flush()
                return
            value, outputs = storable(outcome.value), tuple(map(storable, outcome.outputs[:_MAX_ARGUMENTS]))
            outcome = outcome._replace(value=value, outputs=outputs)
            if self.redact is not None:
                outcome = self.redact.outcome(outcome, self.interface)
            self._leaves.leave(ticks, stream.number, outcome, back)
            if self.sync == 0:
                self.flush()
        except _Closed:
            pass
        except Exception as error:
            self.stop(error)

    def _append(self, record: bytes) -> None:
        if not self.file.append(record):
            raise _Closed

    def _append_leave(self, record: bytes) -> None:
        """Append, also to a file that was ended while the call was about to be noted as open (see `Session`)."""
        if not self.file.append(record):
            if not self.retired or self.stopped is not None:
                raise _Closed
            with contextlib.suppress(OSError):  # it was dropped
                self.file.amend(record, lambda crc: end_record(crc, GOES_ON))

    def _plain_leave(self, stream: Stream, ticks: int) -> bytes:
        """The record of a call that returned S_OK after `ticks`."""
        out: list[bytes] = []
        Encoder(out.append).leave(ticks, stream.number, Outcome())
        if 0 <= ticks < _CACHED_DURATIONS:
            stream.returns[ticks] = out[0]
        return out[0]

    def stream(self) -> Stream:
        """The calling thread's stream; a thread seen for the first time is written down."""
        stream: Stream | None = getattr(self.local, "stream", None)
        if stream is None:
            now = self.clock() >> TICK_BITS
            name = _thread_name()
            if self.redact is not None:
                name = self.redact.thread_name(name)
            number = self._encoder.thread(now - self._start, threading.get_native_id(), name)
            stream = self.local.stream = Stream(number, now)
            if self.session is not None:
                self._streams.append(weakref.ref(stream))
        return stream

    def intern(self, kind: Type, text: str) -> int | None:
        """The number in the table of what stands for a text in a parameter of this type, None if it has none."""
        try:
            kept = text if self.redact is None else self.redact.argument(kind, text)
            number = self._encoder.text(kept) if type(kept) is str else None
        except _Closed:
            return None
        except Exception as error:
            self.stop(error)
            return None
        return number if type(number) is int else None

    def token(self, value: Any) -> Argument:
        """A live handle's symbol: the same value gives the same one (interface.md, 4)."""
        if value is None or type(value) is Handle or type(value) is Opaque:
            return value
        try:
            value = int(value)
        except Exception:  # no handle at all
            return storable(value)
        if value == 0:
            return None
        if value in PSEUDO_HANDLES or value - _ADDRESSES in PSEUDO_HANDLES:  # as native code hands them over
            return Handle(value if value < 0 else value - _ADDRESSES)
        token = self.tokens.get(value)
        if token is None:
            with self._lock:
                token = self.tokens.setdefault(value, next(self._free_tokens))
        return Handle(token)

    def _storable(self, slot: int, args: Sequence[Any]) -> list[Argument]:
        kinds: list[Type | None] = [parameter.type for parameter in self.interface.slots[slot].inputs]
        kinds += [None] * (len(args) - len(kinds))
        kept: list[Argument] = []
        for kind, value in zip(kinds, args[:_MAX_ARGUMENTS], strict=False):
            if kind is Type.HANDLE or kind is Type.POINTER:
                kept.append(self.token(value))
            elif kind is not None and kind.is_integer:
                kept.append(integer(value))
            else:
                kept.append(storable(value))
        if len(args) > _MAX_ARGUMENTS:
            kept.append(Opaque("arguments", f"{len(args) - _MAX_ARGUMENTS} more"))
        return kept

    # --- the file ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand what was written to the disk (for power loss; a killed process needs none of it)."""
        try:
            self.file.flush()
        except OSError as error:
            self.stop(error)

    def close(self, reason: str | None = None) -> None:
        """End the trace: end record, file cut to its length.  Calls that come later are not recorded.

        `reason` tells why that is before the provider's end, so that its end is not judged by the trace.  Of a
        session all files are ended.
        """
        if self.session is not None and not self.session.closed:
            self.session.close(reason)
        self.finish(reason)

    def finish(self, reason: str | None = None) -> None:
        """`close`, but of this file alone."""
        if self.closed:
            return
        try:
            self._end(reason)
        except OSError as error:
            warn_once(f"{self.path}: could not be ended ({error}); it reads as cut off")

    @property
    def due(self) -> bool:
        """Whether the file is as long as it may be, or has no number left for another thread."""
        return self.file.due or (self.file.limit is not None and len(self._streams) >= _MANY_STREAMS)

    def retire(self) -> None:
        """Another file goes on: calls that are open here end here, new ones go there."""
        self.retired = True
        self.file.retire()

    @property
    def busy(self) -> bool:
        """Whether calls are known to be open."""
        return any((stream := ref()) is not None and stream.call is not None for ref in list(self._streams))

    def stop(self, error: BaseException) -> None:
        """Recording cannot go on: warn once, keep what is there.  Never raises."""
        with contextlib.suppress(Exception):
            told = "" if self.redact is not None else str(error)
            reason = str(getattr(error, "strerror", None) or told) or type(error).__name__
            try:
                stopped = self._end(reason)
            except OSError:  # not even an end record; the file reads as cut off
                stopped = True
            if stopped:
                self.stopped = reason
                warn_once(f"{self.path}: recording stopped ({reason}); calls are still forwarded")

    def _end(self, reason: str | None) -> bool:
        self._done.set()
        try:
            return self.file.close(lambda crc: end_record(crc, reason), sync=self.sync is not None)
        finally:
            self.closed = True
            if self.retired:  # nobody needs its tables
                self._encoder.texts.clear()
                self._streams.clear()
                for table in self.tables:  # they are in cycles, which the collector of garbage rarely comes to
                    table.clear()

    def abandon(self) -> None:
        """In a forked child: the parent goes on recording, this process does not."""
        self.closed = True
        self.file.abandon()


class _Closed(Exception):
    """The file takes no record any more."""


def _flush_now_and_then(reference: weakref.ref[TraceWriter]) -> None:
    """A thread: hands what a writer wrote to the disk, until it is closed or gone."""
    while (writer := reference()) is not None and not writer.closed:
        seconds, done = writer.sync or 0, writer._done
        del writer
        if done.wait(seconds):
            return
        if (writer := reference()) is not None:
            writer.flush()
            del writer


def _flush_folder(path: str) -> None:
    """Hand a new file's name to the disk, where a folder can be opened for that."""
    with contextlib.suppress(OSError):
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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


def _thread_name() -> str:
    """The calling thread's name; asking `current_thread` would make a dummy object for a foreign thread."""
    known = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
    return known.name if known is not None else ""


def warn_once(message: str) -> None:
    """Tell of trouble without letting it reach the provider, whatever the warnings filter says."""
    try:
        warnings.warn(message, RecordingWarning, stacklevel=3)
    except Exception:  # warnings are errors here, but not the provider's
        _log.warning(message)
