"""Events to bytes: the one place that knows how trace format 1 spells a record (docs/trace-format.md).

A record is a msgpack array followed by its check, a msgpack uint8 (always the two bytes CC xx) holding the
low byte of the Adler-32 of the array's bytes.  Adler's low byte is the sum of the bytes plus one, so any
change of a single byte shows.  As no record starts with a zero byte and the check's first byte is CC, a
record torn in mid-copy in a zero-filled file shows too.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import Any

import msgpack

from recorder.calls import Handle, Opaque, Outcome, OutcomeKind
from recorder.interface import Parameter, Type

__all__ = ["CHECKS", "MAGIC", "VERSION", "Encoder", "Kind", "checked"]

MAGIC = "synctape"
VERSION = 1

MAX_TEXTS = 0xFFFF  # interned texts are numbered 1 to this; 0 is NULL
MAX_INTERNED_UNITS = 1024  # longer texts stand in the event itself

CHECKS = tuple(bytes((0xCC, low)) for low in range(256))


class Kind:
    """First element of a record.  A call's enter is ENTER + its vtable slot."""

    END = 0
    TEXT = 1
    THREAD = 2
    LEAVE = 3
    FAIL = 4
    ENTER = 16


def checked(record: bytes) -> bytes:
    """A packed array with its check."""
    return record + CHECKS[zlib.adler32(record) & 0xFF]


def spell_text(text: str) -> str | bytes:
    """A text as msgpack can hold it: str, or UTF-16-LE bytes where a lone surrogate forbids UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass")
    return text


class Encoder:
    """Writes records through `sink`, keeping the table of interned texts.

    `texts` maps a text (None: NULL) to the three bytes of its reference, as the fast path of the recording
    callback splices them in.  Texts and threads carry their numbers and enter a table only after their record
    is written, so that any thread may define one at any time, without a lock, even in the middle of another's.
    """

    def __init__(self, sink: Callable[[bytes], object]):
        self._sink = sink
        self._text_numbers = itertools.count(1)
        self._thread_numbers = itertools.count()
        self.texts: dict[str | None, bytes] = {None: b"\xcd\0\0"}

    def record(self, *fields: Any) -> None:
        """One record of plain values."""
        self._sink(checked(msgpack.packb(fields)))

    def header(self, description: dict[str, Any]) -> None:
        self.record(MAGIC, VERSION, description)

    def thread(self, ticks: int, native_id: int, name: str) -> int:
        """A new thread, first seen at `ticks`; gives its number."""
        number = next(self._thread_numbers)
        self.record(Kind.THREAD, number, ticks, native_id, spell_text(name))
        return number

    def text(self, text: str | None) -> int | str | bytes:
        """How an event spells a text: its number, or the text itself where the table is full or it is long."""
        reference = self.texts.get(text)
        if reference is not None:
            return int.from_bytes(reference[1:], "big")
        assert text is not None
        spelled = spell_text(text)
        if len(self.texts) > MAX_TEXTS or len(text) > MAX_INTERNED_UNITS:
            return spelled
        number = next(self._text_numbers)
        if number > MAX_TEXTS:
            return spelled
        self.record(Kind.TEXT, number, spelled)
        self.texts[text] = b"\xcd" + number.to_bytes(2, "big")
        return number

    def enter(self, slot: int, ticks: int, thread: int, parameters: tuple[Parameter, ...], args: Any) -> None:
        """A call begins, `ticks` after the last call that began on its thread."""
        spelled = [self._argument(p, value) for p, value in zip(parameters, args, strict=False)]
        spelled += [self._odd(value) for value in args[len(parameters) :]]
        self.record(Kind.ENTER + slot, ticks, thread, *spelled)

    def leave(self, ticks: int, thread: int, outcome: Outcome, back: int = 0) -> None:
        """A call ends, `ticks` after it began; `back` calls began on its thread since."""
        if outcome.kind is OutcomeKind.RETURNED:
            fields: list[Any] = [self._result(outcome.value), back, [self._result(v) for v in outcome.outputs]]
            while fields and fields[-1] in (0, []) and fields[-1] is not False:
                fields.pop()
            self.record(Kind.LEAVE, ticks, thread, *fields)
        else:
            detail, place = self.text(outcome.detail), self.text(outcome.place)
            self.record(Kind.FAIL, ticks, thread, outcome.kind.value, detail, place, back)

    def end(self, calls: int, crc: int, reason: str | None) -> None:
        """The trace is whole: `crc` is the CRC-32 of every byte before this record."""
        self.record(Kind.END, calls, crc, reason)

    def _argument(self, parameter: Parameter, value: Any) -> Any:
        kind = type(value)
        if parameter.type in (Type.TEXT, Type.IID):
            return self.text(value) if value is None or kind is str else self._odd(value)
        if value is None:
            return None
        if parameter.type in (Type.HANDLE, Type.POINTER):
            return value.token if kind is Handle else self._odd(value)
        return value if kind is int and -(2**63) <= value < 2**64 else self._odd(value)

    def _result(self, value: Any) -> Any:
        return value if value is None or (type(value) is int and -(2**63) <= value < 2**64) else self._odd(value)

    def _odd(self, value: Any) -> Any:
        """A value of another kind than its place asks for: a map of one key."""
        if isinstance(value, str):
            return {"t": self.text(str(value))}
        if isinstance(value, Handle):
            return {"h": value.token}
        if isinstance(value, Opaque):
            return {"o": [self.text(value.type), self.text(value.repr)]}
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return {"i": hex(value)}
        return {"v": value}
