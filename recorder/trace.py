"""Trace files: write a whole one, read one as far as it is sound.

`write_trace` and `read_trace` convert between files and `Trace` values; `TraceReader` streams a file of any
size in constant memory.  Live recording, where a file must survive its process, is in `recorder.writer`.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgpack

from recorder.calls import (
    Argument,
    Call,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    PlayedCall,
    Thread,
    Trace,
    TraceDamage,
    pair,
)
from recorder.encoding import CHECKS, MAGIC, MAX_TEXTS, VERSION, Encoder, Kind
from recorder.errors import InterfaceError, TraceError
from recorder.interface import Interface, Type

__all__ = ["TraceReader", "describe_header", "dump_trace", "load_trace", "read_trace", "write_trace"]

_CHUNK = 1 << 18
_MAX_RECORD = 1 << 27  # bytes; a text of 16 Mi units is at most 48 MiB of UTF-8
_MAX_FIELDS = 1 << 12
MAX_THREADS = 1 << 20

_HEADER_FIELDS = (
    "created_ns",
    "tick_ns",
    "pointer_size",
    "sync_flags",
    "redaction",
    "process",
    "target",
    "provenance",
)


# --- writing -------------------------------------------------------------------------------------------------


def describe_header(header: Header) -> dict[str, Any]:
    """The header as the map that a file carries; text that UTF-8 cannot hold is escaped."""
    fields = {name: getattr(header, name) for name in _HEADER_FIELDS}
    described: dict[str, Any] = _plain({"interface": header.interface.describe(), **fields, **header.extra})
    return described


def dump_trace(trace: Trace) -> bytes:
    """A whole trace as bytes.  Times are cut to multiples of the header's `tick_ns`."""
    out = bytearray()
    encoder = Encoder(out.extend)
    encoder.header(describe_header(trace.header))
    tick = trace.header.tick_ns
    slots, methods = trace.interface.slot, trace.interface.slots
    for thread in trace.threads:
        encoder.thread(0, thread.native_id, thread.name)
    last = [0] * len(trace.threads)
    entered = [0] * len(trace.threads)
    open_calls: dict[int, tuple[int, int]] = {}
    for event in trace.events:
        if isinstance(event, Enter):
            call = event.call
            slot, now = slots[trace.interface.method(call.method).name], call.time_ns // tick
            encoder.enter(slot, now - last[call.thread], call.thread, methods[slot].inputs, call.args)
            last[call.thread] = now
            entered[call.thread] += 1
            open_calls[event.number] = (call.thread, entered[call.thread])
        else:
            thread_number, order = open_calls.pop(event.number)
            back = entered[thread_number] - order
            encoder.leave(event.outcome.elapsed_ns // tick, thread_number, event.outcome, back)
    if trace.damage is None:
        encoder.end(sum(entered), zlib.crc32(out), None)
    return bytes(out)


def write_trace(trace: Trace, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a whole trace; the file appears complete or not at all.

    Raises TraceError if it cannot be written, or exists and `overwrite` is false.
    """
    path = Path(path)
    data = dump_trace(trace)
    try:
        if path.exists() and not overwrite:
            raise TraceError("exists already; it is left as it is", path=path)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise TraceError(f"cannot be written: {error.strerror or error}", path=path) from None
    return path


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def _plain(value: Any) -> Any:
    """Values that every msgpack reader can take: no lone surrogates, no exotic types."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool | float | bytes) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return {_plain(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _plain(str(value))


# --- reading -------------------------------------------------------------------------------------------------


def load_trace(data: bytes, *, name: str = "trace") -> Trace:
    """Read a whole trace from bytes; `damage` tells where it stopped being sound."""
    import io

    with TraceReader(io.BytesIO(data), name=name) as reader:
        events = tuple(reader.events())
        return Trace(reader.header, events, tuple(reader.threads), reader.damage)


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a whole file into a Trace; `damage` tells where it stopped being sound.

    Raises TraceError if the file is not a trace at all: missing, empty, of another format or a newer version.
    """
    with TraceReader(path) as reader:
        events = tuple(reader.events())
        return Trace(reader.header, events, tuple(reader.threads), reader.damage)


class _Cut(Exception):
    """The written part ends here."""


class TraceReader:
    """Streams a trace file in constant memory.

    `header` is there at once; `events()` or `calls()` then go through the file one time.  Afterwards `damage`
    is None for a whole file, else it says where and why reading stopped: everything given out before is sound.
    Raises TraceError when the file is not a trace at all.
    """

    def __init__(self, source: str | os.PathLike[str] | IO[bytes], *, name: str | None = None):
        self.name = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else "trace")
        self.threads: list[Thread] = []
        self.damage: TraceDamage | None = None
        self._events = 0
        self._crc = 0
        self._chunk = b""
        self._base = 0  # file offset of the chunk's first byte
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=_MAX_RECORD, strict_map_key=False, max_array_len=_MAX_FIELDS, max_map_len=_MAX_FIELDS
        )
        try:
            self._file = open(source, "rb") if isinstance(source, str | os.PathLike) else source  # noqa: SIM115
        except OSError as error:
            raise TraceError(f"cannot be read: {error.strerror or error}", path=self.name) from None
        try:
            self.header = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def events(self) -> Iterator[Event]:
        """The events in file order, as far as they are sound."""
        decoder = _Decoder(self.header, self.threads)
        offset = self._unpacker.tell()
        try:
            while not decoder.ended:
                offset = self._unpacker.tell()
                crc = self._crc
                event = decoder.decode(self._record(), crc)
                if event is not None:
                    self._events += 1
                    yield event
        except _Cut:
            self._damaged(offset, "ends without an end record")
        except _DECODE_ERRORS as error:
            self._damaged(offset, f"damaged record ({_reason(error)})")
        else:
            if decoder.stopped:
                self._damaged(offset, f"recording stopped: {decoder.stopped}")
            elif not decoder.intact:
                self._damaged(offset, "checksum of the whole file does not match")
            elif self._more():
                self._damaged(self._unpacker.tell(), "data after the end record")

    def calls(self) -> Iterator[PlayedCall]:
        """Each call with its outcome, in order of entry; unfinished ones last, with None."""
        return pair(self.events())

    def _damaged(self, offset: int, reason: str) -> None:
        self.damage = TraceDamage(offset, reason, self._events)

    def _more(self) -> bool:
        """Whether anything but zero fill follows."""
        position = self._unpacker.tell() - self._base
        rest = self._chunk[position:]
        while rest:
            if rest.strip(b"\0"):
                return True
            rest = self._file.read(_CHUNK)
        return False

    def _read_header(self) -> Header:
        try:
            record = self._record()
        except _Cut:
            raise TraceError("is empty or ends inside its header; not a trace", path=self.name, offset=0) from None
        except _DECODE_ERRORS as error:
            head = self._chunk.lstrip()[:1]
            looks = " (it looks like JSON)" if head in (b"{", b"[") else ""
            message = f"is not a synctape trace{looks}"
            if MAGIC.encode() in self._chunk[:16]:
                message = f"has a damaged header ({_reason(error)})"
            raise TraceError(message, path=self.name, offset=0) from None
        if not isinstance(record, list) or len(record) < 2 or record[0] != MAGIC:
            raise TraceError("is not a synctape trace", path=self.name, offset=0)
        version = record[1]
        if type(version) is int and version > VERSION:
            message = f"format {version}, this synctape reads up to {VERSION}; upgrade synctape"
            raise TraceError(message, path=self.name, offset=0)
        try:
            if version != VERSION:
                raise ValueError(f"version {version!r:.40}")
            return _header(record[2])
        except (InterfaceError, *_DECODE_ERRORS) as error:
            message = f"has a header that does not read: {_reason(error)}"
            raise TraceError(message, path=self.name, offset=0) from None

    def _record(self) -> Any:
        """The next checked object.  Raises _Cut at the end of what was written, ValueError where it is unsound."""
        unpacker = self._unpacker
        start = unpacker.tell()
        if start - self._base >= len(self._chunk):
            self._fill(start)
        if self._chunk[start - self._base] == 0:
            raise _Cut
        record = self._object(start)
        middle = unpacker.tell()
        check = self._object(start)
        raw = self._chunk[start - self._base : middle - self._base]
        whole = self._chunk[start - self._base : unpacker.tell() - self._base]
        if type(check) is not int or whole[len(raw) :] != CHECKS[zlib.adler32(raw) & 0xFF]:
            raise ValueError("check does not match")
        self._crc = zlib.crc32(whole, self._crc)
        return record

    def _object(self, start: int) -> Any:
        while True:
            try:
                return self._unpacker.unpack()
            except msgpack.OutOfData:
                self._fill(start)

    def _fill(self, keep: int) -> None:
        """Read on, keeping the bytes from file offset `keep`."""
        data = self._file.read(_CHUNK)
        if not data:
            raise _Cut
        self._unpacker.feed(data)
        self._chunk = self._chunk[keep - self._base :] + data
        self._base = keep


_DECODE_ERRORS = (
    ValueError,  # with msgpack's FormatError, StackError, BufferFull and UnicodeDecodeError
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)


def _reason(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error))[:120]
    return text or type(error).__name__


def _header(fields: Any) -> Header:
    interface = Interface.from_description(fields["interface"])
    known = {name: fields[name] for name in _HEADER_FIELDS if name in fields}
    extra = {name: value for name, value in fields.items() if name != "interface" and name not in known}
    header = Header(interface=interface, **known, extra=extra)
    for name in ("created_ns", "tick_ns", "pointer_size"):
        if type(getattr(header, name)) is not int:
            raise ValueError(f"{name} is not a number")
    if not 0 < header.tick_ns <= 10**9:
        raise ValueError("tick_ns is out of range")
    for name in ("process", "target", "provenance"):
        if not isinstance(getattr(header, name), dict):
            raise ValueError(f"{name} is not a map")
    return header


class _Decoder:
    """Turns records into events; refuses, with one of `_DECODE_ERRORS`, what no writer writes."""

    def __init__(self, header: Header, threads: list[Thread]):
        self._slots = header.interface.slots
        self._tick = header.tick_ns
        self._threads = threads
        self._clock: list[int] = []  # ticks at the last enter of each thread
        self._texts: dict[int, str | None] = {0: None}
        self._counts: list[int] = []  # per thread: enters so far
        self._open: list[dict[int, int]] = []  # per thread: order on the thread -> call number
        self._number = 0
        self.ended = False
        self.intact = True
        self.stopped: str | None = None

    def decode(self, record: Any, crc: int) -> Event | None:
        if type(record) is not list:
            raise ValueError("not a record")
        kind = record[0]
        if type(kind) is not int or kind < 0:
            raise ValueError("no kind")
        if kind >= Kind.ENTER:
            return self._enter(kind - Kind.ENTER, record)
        if kind == Kind.LEAVE:
            return self._leave(record)
        if kind == Kind.TEXT:
            number = _index(record[1])
            if not 0 < number <= MAX_TEXTS:
                raise ValueError("text number out of range")
            self._texts[number] = _text(record[2])
        elif kind == Kind.FAIL:
            return self._fail(record)
        elif kind == Kind.THREAD:
            self._thread(record)
        elif kind == Kind.END:
            self._end(record, crc)
        return None  # kinds of newer versions are skipped

    def _thread(self, record: list[Any]) -> None:
        _, number, ticks, native_id, name = record[:5]
        thread = Thread(_integer(native_id), _text(name))
        if not 0 <= _integer(number) < MAX_THREADS:
            raise ValueError("thread number out of range")
        while number >= len(self._threads):  # numbers may come in another order than they were given out
            self._threads.append(Thread())
            self._clock.append(0)
            self._counts.append(0)
            self._open.append({})
        if self._counts[number]:
            raise ValueError("a thread begins twice")
        self._threads[number] = thread
        self._clock[number] = _integer(ticks)

    def _enter(self, slot: int, record: list[Any]) -> Enter:
        method = self._slots[slot]
        _, ticks, thread, *spelled = record
        if type(thread) is not int or thread < 0:
            raise ValueError("no thread")
        now = self._clock[thread] + _integer(ticks)
        self._clock[thread] = now
        inputs = method.inputs
        args = tuple(
            [
                self._argument(inputs[position].type if position < len(inputs) else None, value)
                for position, value in enumerate(spelled)
            ]
        )
        number = self._number
        self._number = number + 1
        order = self._counts[thread]
        self._counts[thread] = order + 1
        self._open[thread][order] = number
        return Enter(number, Call(method.name, args, thread, now * self._tick))

    def _close(self, thread: Any, back: Any) -> int:
        if type(thread) is not int or type(back) is not int or thread < 0 or back < 0:
            raise ValueError("no thread")
        return self._open[thread].pop(self._counts[thread] - 1 - back)

    def _leave(self, record: list[Any]) -> Leave:
        ticks, thread = record[1], record[2]
        value = self._value(record[3]) if len(record) > 3 else 0
        outputs = tuple([self._value(v) for v in record[5]]) if len(record) > 5 else ()
        number = self._close(thread, record[4] if len(record) > 4 else 0)
        return Leave(number, Outcome(OutcomeKind.RETURNED, value, _integer(ticks) * self._tick, outputs=outputs))

    def _fail(self, record: list[Any]) -> Leave:
        _, ticks, thread, kind, detail, place, back = record[:7]
        outcome = Outcome(
            OutcomeKind(kind), None, _integer(ticks) * self._tick, self._spelled(detail), self._spelled(place)
        )
        if outcome.kind is OutcomeKind.RETURNED:
            raise ValueError("a return among the failures")
        return Leave(self._close(thread, back), outcome)

    def _end(self, record: list[Any], crc: int) -> None:
        self.ended = True
        self.intact = _integer(record[1]) >= 0 and record[2] == crc
        self.stopped = None if record[3] is None else _text(record[3])

    def _argument(self, kind: Type | None, value: Any) -> Argument:
        if type(value) is dict or value is None:
            return self._value(value)
        if kind is Type.TEXT or kind is Type.IID:
            return self._texts[value] if type(value) is int else _text(value)
        if kind is Type.HANDLE or kind is Type.POINTER:
            return Handle(_integer(value))
        return _integer(value)

    def _value(self, value: Any) -> Argument:
        if value is None or type(value) is int:
            return value
        ((key, content),) = value.items()
        if key == "v" and isinstance(content, bool | float | bytes | int):
            return content
        if key == "t":
            return self._spelled(content)
        if key == "h":
            return Handle(_integer(content))
        if key == "o":
            return Opaque(self._spelled(content[0]), self._spelled(content[1]))
        if key == "i" and len(content) < 10_000:
            return int(content, 16)
        raise ValueError("an argument of unknown kind")

    def _spelled(self, value: Any) -> str:
        text = self._texts[value] if type(value) is int else _text(value)
        if text is None:
            raise ValueError("a text is missing")
        return text


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def _index(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a text number")
    return value


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bytes and len(value) % 2 == 0:
        return value.decode("utf-16-le", "surrogatepass")
    raise ValueError("not a text")
