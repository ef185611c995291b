"""Events to bytes: the one place that knows how trace format 1 spells a record (docs/trace-format.md).

A record is a msgpack array followed by its check, a msgpack integer: for an array of up to 30 bytes CC and one
more than the sum of its bytes modulo 256 (Adler-32's low byte), so that any change of one byte shows; for a
longer one CE and its CRC-32.  No record starts with a zero byte, so one torn in mid-copy in a zero-filled file
shows too: memory of up to 32 bytes is copied in at most two pieces, of which the first or the last is missing,
and longer copies can leave holes anywhere, which the CRC finds.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgpack

from recorder.calls import Argument, Handle, Opaque, Outcome, OutcomeKind
from recorder.interface import Parameter, Type

__all__ = [
    "CHECKS",
    "GOES_ON",
    "MAGIC",
    "MAX_FIELDS",
    "MAX_INTERNED_UNITS",
    "MAX_RECORD",
    "MAX_TEXTS",
    "MAX_THREADS",
    "SHORT_RECORD",
    "VERSION",
    "Encoder",
    "Kind",
    "checked",
    "end_record",
]

MAGIC = "synctape"
VERSION = 1

GOES_ON = "goes on in the next file"  # reason of the end record of a file that others of its session follow

MAX_TEXTS = 0xFFFF  # interned texts are numbered 1 to this; 0 is NULL
MAX_INTERNED_UNITS = 1024  # UTF-16 units; longer texts stand in the event itself
MAX_THREADS = 1 << 16
MAX_FIELDS = 1 << 12  # elements of a record, or of an array in it
MAX_RECORD = 1 << 27  # bytes; a text of 16 Mi units is at most 48 MiB of UTF-8
MAX_HEX_DIGITS = 3000  # of an integer over 64 bits; Python prints no number of over 4300 decimals

SHORT_RECORD = 30  # bytes, without the check
CHECKS = tuple(bytes((0xCC, low)) for low in range(256))


class Kind:
    """First element of a record.  A call's enter is ENTER + its vtable slot."""

    END = 0
    TEXT = 1
    THREAD = 2
    LEAVE = 3
    FAIL = 4
    SWITCHES = 5
    ENTER = 16


def check_of(record: bytes) -> bytes:
    """The check that follows a packed array."""
    if len(record) <= SHORT_RECORD:
        return CHECKS[zlib.adler32(record) & 0xFF]
    return b"\xce" + zlib.crc32(record).to_bytes(4, "big")


def checked(record: bytes) -> bytes:
    """A packed array with its check.  Raises ValueError where no reader would take it."""
    if len(record) > MAX_RECORD:
        raise ValueError(f"a record of {len(record)} bytes is more than a trace holds")
    return record + check_of(record)


def end_record(crc: int, reason: str | None) -> bytes:
    """The last record: the trace is whole.

    `crc` is the CRC-32 of every byte before it; `reason` tells why recording stopped early, None if it did not.
    """
    return checked(b"\x93\x00\xce" + crc.to_bytes(4, "big") + msgpack.packb(reason and spell_text(reason)))


def spell_text(text: str) -> str | bytes:
    """A text as msgpack can hold it: str, or UTF-16-LE bytes where a lone surrogate forbids UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass")
    return text


class Encoder:
    """Writes records through `sink`, keeping the table of interned texts.

    `texts` maps a text to its number (None, NULL: 0).  Texts and threads carry their numbers in the file and
    enter a table only after their record is written, so that any thread may define one at any time, even in
    the middle of another's.  `lock` guards the counting where no GIL does.
    """

    def __init__(self, sink: Callable[[bytes], object], lock: AbstractContextManager[Any] | None = None):
        self._sink = sink
        self._lock = lock or contextlib.nullcontext()
        self._text_numbers = itertools.count(1)
        self._thread_numbers = itertools.count()
        self.texts: dict[str | None, int] = {None: 0}

    def onto(self, sink: Callable[[bytes], object]) -> Encoder:
        """An encoder with the same tables that writes through another sink."""
        other = copy.copy(self)
        other._sink = sink
        return other

    def record(self, *fields: Any) -> None:
        """One record of plain values."""
        if len(fields) > MAX_FIELDS:
            raise ValueError(f"a record of {len(fields)} fields is more than a trace holds")
        self._sink(checked(msgpack.packb(fields)))

    def other(self, record: bytes) -> None:
        """A packed record of a kind that this version does not know."""
        self._sink(checked(record))

    def header(self, description: dict[str, Any]) -> None:
        self.record(MAGIC, VERSION, description)

    def thread(self, ticks: int, native_id: int, name: str) -> int:
        """A new thread, whose clock starts at `ticks`; gives its number."""
        with self._lock:
            number = next(self._thread_numbers)
        if number >= MAX_THREADS:
            raise ValueError(f"over {MAX_THREADS} threads are more than a trace holds")
        self.record(Kind.THREAD, number, ticks, native_id, spell_text(name))
        return number

    def text(self, text: str | None) -> int | str | bytes:
        """How an event spells a text: its number, or the text itself where the table is full or it is long."""
        number = self.texts.get(text)
        if number is not None:
            return number
        assert text is not None
        spelled = spell_text(text)
        if len(self.texts) > MAX_TEXTS or _units(text) > MAX_INTERNED_UNITS:
            return spelled
        with self._lock:
            number = next(self._text_numbers)
        if number > MAX_TEXTS:
            return spelled
        self.record(Kind.TEXT, number, spelled)
        self.texts[text] = number
        return number

    def arguments(self, parameters: Sequence[Parameter], args: Sequence[Argument]) -> list[Any]:
        """How an enter event spells arguments; those past the last parameter have no type."""
        spelled = [self._argument(p.type, value) for p, value in zip(parameters, args, strict=False)]
        return spelled + [self._value(value) for value in args[len(parameters) :]]

    def enter(self, slot: int, ticks: int, thread: int, spelled: Sequence[Any]) -> None:
        """A call begins, `ticks` after the last call that began on its thread."""
        self.record(Kind.ENTER + slot, ticks, thread, *spelled)

    def switches(self, thread: int, switches: Sequence[int]) -> None:
        """The change points of the call that the thread's next enter begins."""
        self.record(Kind.SWITCHES, thread, list(switches))

    def leave(self, ticks: int, thread: int, outcome: Outcome, back: int = 0) -> None:
        """A call ends, `ticks` after it began; of its thread's open calls `back` began later."""
        if outcome.kind is not OutcomeKind.RETURNED:
            detail, place = self.text(outcome.detail), self.text(outcome.place)
            self.record(Kind.FAIL, ticks, thread, outcome.kind.value, detail, place, back)
            return
        result, outputs = self._value(outcome.value), [self._value(v) for v in outcome.outputs]
        if len(outputs) > MAX_FIELDS:
            raise ValueError(f"{len(outputs)} outputs are more than a trace holds")
        if outputs:
            self.record(Kind.LEAVE, ticks, thread, result, back, outputs)
        elif back:
            self.record(Kind.LEAVE, ticks, thread, result, back)
        elif result != 0:
            self.record(Kind.LEAVE, ticks, thread, result)
        else:
            self.record(Kind.LEAVE, ticks, thread)

    def _argument(self, kind: Type, value: Argument) -> Any:
        if kind in (Type.TEXT, Type.IID):
            return self.text(value) if value is None or type(value) is str else self._odd(value)
        if value is None:
            return None
        if kind in (Type.HANDLE, Type.POINTER):
            return value.token if type(value) is Handle else self._odd(value)
        return self._value(value)

    def _value(self, value: Argument) -> Any:
        """A value whose place has no type, as a result's: integers and NULL plain."""
        if value is None or (type(value) is int and -(2**63) <= value < 2**64):
            return value
        return self._odd(value)

    def _odd(self, value: Argument) -> Any:
        """A value of another kind than its place asks for: a map of one key."""
        if isinstance(value, str):
            return {"t": self.text(value)}
        if isinstance(value, Handle):
            return {"h": value.token}
        if isinstance(value, Opaque):
            return {"o": [self.text(value.type), self.text(value.repr)]}
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return {"i": hex(value)}
        return {"v": value}


def _units(text: str) -> int:
    """UTF-16 code units of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
