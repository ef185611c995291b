"""Trace files: write a whole one, read one as far as it is sound.

`write_trace` and `read_trace` convert between files and `Trace` values; `TraceReader` streams a file of any
size in constant memory.  Live recording, where a file must survive its process, is in `recorder.writer`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from recorder.calls import Enter, Event, Header, PlayedCall, Thread, Trace, TraceDamage, pair
from recorder.decoding import DECODE_ERRORS, HEADER_FIELDS, Decoder, decode_header
from recorder.encoding import GOES_ON, MAGIC, MAX_FIELDS, VERSION, Encoder, end_record
from recorder.errors import InterfaceError, TraceError
from recorder.records import Cut, Records

__all__ = [
    "TraceReader",
    "describe_header",
    "dump_trace",
    "load_trace",
    "read_header",
    "read_trace",
    "write_events",
    "write_trace",
]

_MAX_DEPTH = 100  # of values in a header
_CHECKED_RECORDS = 1 << 12  # of a whole file, before its checksum is believed


# --- writing -------------------------------------------------------------------------------------------------


def describe_header(header: Header) -> dict[str, Any]:
    """The header as the map that a file carries; text that UTF-8 cannot hold is escaped.

    Raises TraceError for what would not be read back: more than a trace holds, a number over 64 bits, a field of a
    known name among the unknown ones.
    """
    fields = {name: getattr(header, name) for name in HEADER_FIELDS if name != "scheduled" or header.scheduled}
    described: dict[str, Any]
    for name, value in fields.items():
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise TraceError(f"header: {name} is a number over 64 bits")
    for name in ("interface", *HEADER_FIELDS):
        if name in header.extra:
            raise TraceError(f"header: {name!r} is no field of another version; take it out of extra")
    try:
        described = _plain({"interface": header.interface.describe(), **fields, **header.extra})
    except ValueError as error:
        raise TraceError(f"header: {error}") from None
    return described


def dump_trace(trace: Trace, others: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A whole trace as bytes.  Times are cut to multiples of the header's `tick_ns`.

    A trace that is damaged gets no end record.  `others` are packed records of kinds that this version does not
    know, each with how many events stand before it, in order.  Raises TraceError for events that no trace can
    have: a leave without its enter, a negative thread, a number over 64 bits where the format has none.
    """
    out = bytearray()
    count = max([len(trace.threads), *(e.call.thread + 1 for e in trace.events if isinstance(e, Enter))])
    threads = (*trace.threads, *(Thread(),) * (count - len(trace.threads)))
    _spell(out.extend, trace.header, threads, trace.events, others)
    if trace.damage is None:
        out += end_record(zlib.crc32(out), None)
    return bytes(out)


def _spell(
    sink: Callable[[bytes], object],
    header: Header,
    threads: Sequence[Thread],
    events: Iterable[Event],
    others: Iterable[tuple[int, bytes]] = (),
) -> None:
    """All records of a trace but its end."""
    encoder = Encoder(sink)
    where = "header"
    try:
        encoder.header(describe_header(header))
        where = "threads"
        for thread in threads:
            encoder.thread(0, thread.native_id, thread.name)
        clocks = [0] * len(threads)
        open_calls: list[list[int]] = [[] for _ in threads]
        thread_of: dict[int, int] = {}
        interface, tick = header.interface, header.tick_ns
        waiting = deque(others)
        for position, event in enumerate(events):
            while waiting and waiting[0][0] <= position:
                encoder.other(waiting.popleft()[1])
            where = f"call {event.number}"
            if isinstance(event, Enter):
                call, method = event.call, interface.method(event.call.method)
                if call.thread < 0:
                    raise ValueError("a negative thread")
                now = call.time_ns // tick
                spelled = encoder.arguments(method.inputs, call.args)
                if call.switches:
                    encoder.switches(call.thread, call.switches)
                encoder.enter(interface.slot[method.name], now - clocks[call.thread], call.thread, spelled)
                clocks[call.thread] = now
                open_calls[call.thread].append(event.number)
                thread_of[event.number] = call.thread
            elif event.number not in thread_of:
                raise ValueError("it ends but is not open")
            else:
                calls = open_calls[thread_of[event.number]]
                back = len(calls) - 1 - calls.index(event.number)
                calls.remove(event.number)
                elapsed = event.outcome.elapsed_ns // tick
                encoder.leave(elapsed, thread_of.pop(event.number), event.outcome, back)
        for _, record in waiting:
            encoder.other(record)
    except (OverflowError, ValueError) as error:
        raise TraceError(f"{where}: {error}") from None


def write_trace(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    others: Iterable[tuple[int, bytes]] = (),
) -> Path:
    """Write a whole trace; the file appears complete or not at all.  `others`: as `dump_trace` takes them.

    Raises TraceError if it cannot be written, or exists and `overwrite` is false.
    """
    data = dump_trace(trace, others)
    with _new_file(path, overwrite=overwrite) as file:
        file.write(data)
    return Path(path)


def write_events(
    path: str | os.PathLike[str],
    header: Header,
    threads: Sequence[Thread],
    events: Iterable[Event],
    damage: Callable[[], TraceDamage | None],
    *,
    overwrite: bool = False,
) -> Path:
    """`write_trace` for a trace of any size, in constant memory.

    `threads` are all of them; `damage` is asked for after the last event: a trace that has some gets no end
    record, unless it only goes on in the next file.
    """
    with _new_file(path, overwrite=overwrite) as file:
        crc = 0

        def sink(record: bytes) -> None:
            nonlocal crc
            crc = zlib.crc32(record, crc)
            file.write(record)

        _spell(sink, header, threads, events)
        found = damage()
        if found is None or found.reason == GOES_ON:
            file.write(end_record(crc, None if found is None else GOES_ON))
    return Path(path)


@contextlib.contextmanager
def _new_file(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file that appears at `path` when all was well, and not at all otherwise."""
    path = Path(path)
    temporary = path.with_name(f".synctape-{secrets.token_hex(8)}") if path.name else path
    try:
        try:
            with open(temporary, "xb") as file:
                yield file
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_to_new(temporary, path)
        finally:
            if temporary != path:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
    except FileExistsError:
        raise TraceError("exists already; it is left as it is", path=path) from None
    except OSError as error:
        raise TraceError(f"cannot be written: {error.strerror or error}", path=path) from None


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename; raises FileExistsError where the target exists."""
    if os.name == "nt":
        os.rename(source, target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError from None
        os.rename(source, target)


def _plain(value: Any, depth: int = 0) -> Any:
    """Values that every msgpack reader can take: no lone surrogates, no exotic types."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool | float | bytes) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if depth > _MAX_DEPTH:
        raise ValueError(f"over {_MAX_DEPTH} values in each other are more than a trace holds")
    if hasattr(value, "items"):
        value = dict(value.items())
    if isinstance(value, dict | list | tuple) and len(value) > MAX_FIELDS:
        raise ValueError(f"{len(value)} values in one place are more than a trace holds")
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, depth + 1) for part in value]
    return _plain(str(value))


# --- reading -------------------------------------------------------------------------------------------------


def load_trace(data: bytes, *, name: str = "trace") -> Trace:
    """Read a whole trace from bytes; `damage` tells where it stopped being sound."""
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


class TraceReader:
    """Streams a trace file in constant memory.

    `header` is there at once; `events()` or `calls()` then go through the file one time.  Afterwards `damage`
    is None for a whole file, else it says where and why reading stopped: everything given out before is sound.
    Raises TraceError when the file is not a trace at all.

    Each record's check is verified before the record is believed.  Only in a long file whose checksum (in the
    end record, over every byte) holds are the checks of all but the first records passed over.

    `skipped` is given, in their places between the events, the records whose kinds this version does not know.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        name: str | None = None,
        skipped: Callable[[Any], object] | None = None,
    ):
        self.name = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else "trace")
        self.threads: list[Thread] = []
        self.damage: TraceDamage | None = None
        self._begun = False
        try:
            self._file = open(source, "rb") if isinstance(source, str | os.PathLike) else source  # noqa: SIM115
        except OSError as error:
            raise TraceError(f"cannot be read: {error.strerror or error}", path=self.name) from None
        try:
            self._records = Records(self._file)
            self.header = read_header(self._records, self.name)
        except OSError as error:
            self.close()
            raise TraceError(f"cannot be read: {error.strerror or error}", path=self.name) from None
        except BaseException:
            self.close()
            raise
        self._decoder = Decoder(self.header, self.threads, skipped)

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def events(self) -> Iterator[Event]:
        """The events in file order, as far as they are sound; nothing when asked again."""
        if self._begun:
            return
        self._begun = True
        records, decoder = self._records, self._decoder
        try:
            yield from decoder.events(records.checked(_CHECKED_RECORDS))
            if not decoder.ended and records.whole():
                with contextlib.suppress(*DECODE_ERRORS):
                    yield from decoder.events(records.trusted())
                if not decoder.ended:
                    records.distrust()
            if not decoder.ended:
                yield from decoder.events(records.checked())
        except Cut:
            self._damaged("ends without an end record")
        except DECODE_ERRORS as error:
            if self._file.closed:
                self._damaged("cannot be read further (the file was closed)")
                return
            self._damaged(f"damaged record ({_reason(error)})")
        except OSError as error:
            self._damaged(f"cannot be read further ({error.strerror or error})")
        else:
            if decoder.crc != records.crc():
                self._damaged("checksum of the whole file does not match")
            elif decoder.stopped == GOES_ON:
                self._damaged(GOES_ON)
            elif decoder.stopped is not None:
                self._damaged(f"recording stopped: {decoder.stopped}")
            elif records.more():
                self._damaged("data after the end record")

    def calls(self) -> Iterator[PlayedCall]:
        """Each call with its outcome, in order of entry; unfinished ones last, with None."""
        return pair(self.events())

    def _damaged(self, reason: str) -> None:
        self.damage = TraceDamage(self._records.offset, reason, self._decoder.count)


def read_header(records: Records, name: str) -> Header:
    """The first record of a file, which must be a trace's header.  Raises TraceError if it is none."""
    try:
        record = next(records.checked(1))
        if not isinstance(record, tuple) or record[0] != MAGIC:
            problem = "is not a synctape trace"
        elif type(record[1]) is not int or record[1] < 1:
            problem = f"has a header that does not read: version {record[1]!r:.40}"
        elif record[1] > VERSION:
            problem = _newer(record[1])
        else:
            return decode_header(record[2])
    except (Cut, InterfaceError, *DECODE_ERRORS) as error:
        problem = _no_header(records.head, error)
    raise TraceError(problem, path=name, offset=0)


def _no_header(head: bytes, error: Exception) -> str:
    """Why a file is no trace, told from its first bytes."""
    magic = MAGIC.encode()
    found, version = head[2 : 2 + len(magic)], head[2 + len(magic) : 3 + len(magic)]
    if head.strip(b"\0") and not magic.startswith(found):
        looks = " (it looks like JSON)" if head.lstrip()[:1] in (b"{", b"[") else ""
        return f"is not a synctape trace{looks}"
    if version and VERSION < version[0] < 0x80:  # a newer version may check its records in another way
        return _newer(version[0])
    if isinstance(error, Cut):
        return "is empty or ends inside its header; not a trace"
    return f"has a header that does not read: {_reason(error)}"


def _newer(version: int) -> str:
    return f"format {version}, this synctape reads up to {VERSION}; upgrade synctape"


def _reason(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error))[:120]
    return text or type(error).__name__
