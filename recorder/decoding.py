"""Records to events: what `recorder.encoding` spells, read back with nothing believed.

The header is checked when it is read; a record that no writer writes raises one of DECODE_ERRORS, and the
events before it stand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

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
    Thread,
)
from recorder.encoding import MAX_HEX_DIGITS, MAX_INTERNED_UNITS, MAX_TEXTS, MAX_THREADS, Kind
from recorder.interface import Interface, Type

__all__ = ["DECODE_ERRORS", "HEADER_FIELDS", "Decoder", "decode_header", "spelled_text"]

DECODE_ERRORS = (
    ValueError,  # with msgpack's FormatError, StackError and UnicodeDecodeError
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)

HEADER_FIELDS: dict[str, tuple[type, ...]] = {
    "created_ns": (int,),
    "tick_ns": (int,),
    "pointer_size": (int,),
    "sync_flags": (int, type(None)),
    "redaction": (str, type(None)),
    "scheduled": (bool,),
    "process": (dict,),
    "target": (dict,),
    "provenance": (dict,),
}
"""The header's fields beside the interface, with the types that they may have."""

_CACHED_TICKS = 1 << 12


def decode_header(fields: Any) -> Header:
    """The header of a trace; fields that this version does not know are kept in `extra`.

    Raises InterfaceError or one of DECODE_ERRORS.
    """
    fields = _lists(fields)
    interface = Interface.from_description(fields["interface"])
    known = {name: fields[name] for name in HEADER_FIELDS if name in fields}
    for name, value in known.items():
        if type(value) not in HEADER_FIELDS[name]:
            raise ValueError(f"{name} is a {type(value).__name__}")
    if not 0 < known.get("tick_ns", 1) <= 10**9:
        raise ValueError("tick_ns is out of range")
    extra = {name: value for name, value in fields.items() if name != "interface" and name not in known}
    if not all(type(name) is str for name in extra):
        raise ValueError("a field's name is no text")
    return Header(interface=interface, **known, extra=extra)


def _lists(value: Any) -> Any:
    """A value with lists for tuples."""
    if type(value) is tuple:
        return [_lists(part) for part in value]
    if type(value) is dict:
        return {key: _lists(part) for key, part in value.items()}
    return value


class Decoder:
    """Turns the records after the header into events; `threads` fills as threads appear.

    `ended` becomes true at the end record, whose CRC-32 is then in `crc`, and `stopped` tells why recording
    stopped early, if it did.  `skipped` is given each record of a kind that this version does not know.
    """

    def __init__(self, header: Header, threads: list[Thread], skipped: Callable[[Any], object] | None = None):
        self._skipped = skipped
        self._methods = header.interface.slots
        self._quick: dict[int, tuple[str, int, _Arguments]] = {}
        self._tick = header.tick_ns
        self._threads = threads
        self._texts: dict[int, str | None] = {0: None}
        self._clocks: dict[int, int] = {}  # thread -> ticks at its last enter
        self._open: dict[int, list[int]] = {}  # thread -> numbers of its open calls
        self._number = 0  # of the next call
        self._returns: dict[int, Outcome] = {}  # ticks -> a plain S_OK
        self._switches: dict[int, tuple[int, ...]] = {}  # thread -> those of its next call
        self.ended = False
        self.crc = 0
        self.stopped: str | None = None
        for slot, method in enumerate(self._methods):
            if (quick := _quick(tuple(p.type for p in method.inputs))) is not None:
                self._quick[Kind.ENTER + slot] = (method.name, 3 + len(method.inputs), quick(self._texts))

    @property
    def count(self) -> int:
        """Events so far."""
        return 2 * self._number - sum(map(len, self._open.values()))

    def events(self, records: Iterable[Any]) -> Iterator[Event]:
        """The events of these records, up to the end record.  Raises one of DECODE_ERRORS at an unsound one."""
        quick, clocks, open_calls, returns = self._quick, self._clocks, self._open, self._returns
        tick, plain = self._tick, Kind.LEAVE
        new = tuple.__new__  # a NamedTuple's own constructor takes three times as long
        for record in records:
            kind = record[0]
            if kind == plain:
                if len(record) == 3 and record[1] in returns:
                    yield new(Leave, (open_calls[record[2]].pop(), returns[record[1]]))
                else:
                    yield self._leave(record)
            elif kind in quick:
                name, length, arguments = quick[kind]
                try:
                    args = arguments(record) if len(record) == length else None
                except DECODE_ERRORS:
                    args = None
                if args is None or self._switches or type(ticks := record[1]) is not int:
                    yield self._enter(record)
                else:
                    thread = record[2]
                    now = clocks[thread] = clocks[thread] + ticks
                    number = self._number
                    self._number = number + 1
                    open_calls[thread].append(number)
                    yield new(Enter, (number, new(Call, (name, args, thread, now * tick, ()))))
            elif (event := self._other(record)) is not None:
                yield event
            elif self.ended:
                return

    def _other(self, record: Any) -> Event | None:
        if type(record) is not list and type(record) is not tuple:
            raise ValueError("not a record")
        kind = _integer(record[0])
        if kind >= Kind.ENTER:
            return self._enter(record)
        if kind == Kind.FAIL:
            return self._fail(record)
        if kind == Kind.TEXT:
            self._text(record)
        elif kind == Kind.THREAD:
            self._thread(record)
        elif kind == Kind.SWITCHES:
            self._switch(record)
        elif kind == Kind.END:
            self.crc = _integer(record[1])
            self.stopped = None if record[2] is None else spelled_text(record[2])
            self.ended = True
        elif kind < 0:
            raise ValueError("not a kind of record")
        elif self._skipped is not None:  # kinds of newer versions
            self._skipped(record)
        return None

    def _text(self, record: Any) -> None:
        number, text = _integer(record[1]), spelled_text(record[2])
        if not 0 < number <= MAX_TEXTS or number in self._texts:
            raise ValueError("text number out of range or taken")
        if len(text) > MAX_INTERNED_UNITS:
            raise ValueError("text too long for the table")
        self._texts[number] = text

    def _thread(self, record: Any) -> None:
        number, ticks = _integer(record[1]), _integer(record[2])
        thread = Thread(_integer(record[3]), spelled_text(record[4]))
        if not 0 <= number < MAX_THREADS or number in self._clocks:
            raise ValueError("thread number out of range or taken")
        while number >= len(self._threads):  # numbers may come in another order than they were given out
            self._threads.append(Thread())
        self._threads[number] = thread
        self._clocks[number] = ticks
        self._open[number] = []

    def _switch(self, record: Any) -> None:
        thread = _integer(record[1])
        if thread not in self._clocks:
            raise ValueError("no such thread")
        self._switches[thread] = tuple([_integer(switch) for switch in record[2]])

    def _enter(self, record: Any) -> Enter:
        method = self._methods[record[0] - Kind.ENTER]
        ticks, thread = _integer(record[1]), _integer(record[2])
        now = self._clocks[thread] + ticks
        inputs = method.inputs
        args = tuple(
            [
                self._argument(inputs[position].type if position < len(inputs) else None, value)
                for position, value in enumerate(record[3:])
            ]
        )
        self._clocks[thread] = now
        number = self._number
        self._number = number + 1
        self._open[thread].append(number)
        switches = self._switches.pop(thread, ())
        return Enter(number, Call(method.name, args, thread, now * self._tick, switches))

    def _leave(self, record: Any) -> Leave:
        outcome = self.outcome(record)
        if len(record) == 3 and len(self._returns) < _CACHED_TICKS:
            self._returns[record[1]] = outcome
        return Leave(self._close(record[2], record[4] if len(record) > 4 else 0), outcome)

    def _fail(self, record: Any) -> Leave:
        outcome = self.outcome(record)
        return Leave(self._close(record[2], record[6]), outcome)

    def outcome(self, record: Any) -> Outcome:
        """What a record says that ends a call, whichever call that is.  Raises one of DECODE_ERRORS."""
        ticks = _integer(record[1]) * self._tick
        if record[0] == Kind.FAIL:
            kind, detail, place, _ = record[3:7]
            outcome = Outcome(OutcomeKind(kind), None, ticks, self._spelled(detail), self._spelled(place))
            if outcome.kind is OutcomeKind.RETURNED:
                raise ValueError("a return among the failures")
            return outcome
        value = self._value(record[3]) if len(record) > 3 else 0
        outputs = tuple([self._value(v) for v in record[5]]) if len(record) > 5 else ()
        return Outcome(OutcomeKind.RETURNED, value, ticks, outputs=outputs)

    def define(self, record: Any) -> None:
        """A record that is no event: a text, a thread, one to be skipped.  Raises one of DECODE_ERRORS."""
        if self._other(record) is not None or self.ended:
            raise ValueError("an event, or the end")

    def text(self, number: int) -> str | None:
        """A text by its number.  Raises KeyError."""
        return self._texts[number]

    def _close(self, thread: Any, back: Any) -> int:
        if _integer(back) < 0:
            raise ValueError("no such call")
        return self._open[_integer(thread)].pop(-1 - back)

    def _argument(self, kind: Type | None, value: Any) -> Argument:
        if type(value) is dict or value is None:
            return self._value(value)
        if kind is Type.TEXT or kind is Type.IID:
            return self._texts[value] if type(value) is int else spelled_text(value)
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
        if key == "i" and len(content) <= MAX_HEX_DIGITS + 3:
            return int(content, 16)
        raise ValueError("an argument of unknown kind")

    def _spelled(self, value: Any) -> str:
        text = self._texts[value] if type(value) is int else spelled_text(value)
        if text is None:
            raise ValueError("a text is missing")
        return text


_Arguments = Callable[[Any], tuple[Argument, ...] | None]


@functools.lru_cache(maxsize=256)
def _quick(types: tuple[Type, ...]) -> Callable[[dict[int, str | None]], _Arguments] | None:
    """Given the table of texts, a function that decodes the usual arguments: interned texts and integers.

    It gives None, or raises one of DECODE_ERRORS, for any others; there is none for a method that takes others.
    """
    places = [(f"r[{3 + position}]", kind.is_integer) for position, kind in enumerate(types)]
    if not all(kind.is_integer or kind in (Type.TEXT, Type.IID) for kind in types):
        return None
    given = "".join(f"{place}, " if integer else f"texts[{place}], " for place, integer in places)
    checks = "".join(f"type({place}) is " for place, integer in places if integer)
    source = f"lambda texts: lambda r: ({given})" + (f" if {checks}int else None" if checks else "")
    quick: Callable[[dict[int, str | None]], _Arguments] = eval(source)
    return quick


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def spelled_text(value: Any) -> str:
    """A text that stands in a record itself, as msgpack holds it."""
    if type(value) is str:
        return value
    if type(value) is bytes and len(value) % 2 == 0:
        return value.decode("utf-16-le", "surrogatepass")
    raise ValueError("not a text")
