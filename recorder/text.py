"""The text form of a trace: one call a line, to read, to compare, to write by hand.  Prints and parses.

    synctape 1
    interface: "IMAPISyncProgressCallback"
    sync_flags: 130
    thread t0 4711 "MainThread"

    0.000557056 t0 Progress("Folder [", 2, 15) -> S_OK 12.288us
    0.001048576 t0 #1 Progress(NULL, 3, 15) ...
    0.001052672 t0 Error(0x80004005 E_FAIL, "bad") -> raised "ValueError: bad" at "host.py:7 in Error" 5ns
    #1 -> S_OK 1.000448ms
    0.002097152 t0 #3 Done(sync-event, S_OK) ...
    # damaged: ends without an end record at byte 219, after 7 events

The grammar, where [x] may be left out, x* may be repeated and | separates choices:

    text     = "synctape 1" (header | thread)* (call | leave)*
    header   = key ": " JSON                    a field of `Header`; any other key is an extra field, and so is
                                                every key in quotes
    thread   = "thread t" digits native_id name | "thread none"         one for each thread, or for none at all
    call     = [time] ["t" thread] ["#" number] method "(" arguments ")" [switches] (" ..." | [" -> " outcome])
    leave    = "#" number " -> " outcome
    switches = "@" integer ("," integer)*       the change points of a scheduled call: 3 is before its third step,
                                                -1 at its first occasion (docs/threads.md)
    time     = seconds since the trace's start, up to nine decimals
    outcome  = value [outputs] ["detail" string] ["at" place] [elapsed]
             | ("raised" | "crashed" | "hung" | "not run") [detail] ["at" place] ["with" value [outputs]] [elapsed]
    outputs  = "(" values ")"
    elapsed  = number ("ns" | "us" | "ms" | "s")
    value    = "NULL" | "None" | "true" | "false" | integer | float | string
             | HRESULT                          a name, 0x and up to eight digits, or both
             | "sync-event" | "handle(" integer ")" | "bytes(" hex ")" | "opaque(" string "," string ")"

A call that ends in " ..." goes on; a leave line ends it, and without one the process died in it.  Its number
is its place in the order of entry, from 0.  A call with neither has not been run.  Left out, a time is 0, a
thread t0, an elapsed time 0.  A method whose name is no identifier stands in quotes.

An integer in an HRESULT's place that fits 32 bits is spelled in hexadecimal, and hexadecimal there is those
32 bits; a decimal number is that number, whatever its place.  A string is a JSON string in which every
character that does not print (controls, lone surrogates, bidi and zero-width characters ...) is escaped.  As
in JSON, a high and a low surrogate side by side are the one character that they encode: such a text comes
back as it does from a trace file.  What JSON cannot say stands in a header as `recorder.tagged_json` spells it.

Blank lines are ignored, and "# ..." at a line's start or after a call; damage is shown as such a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recorder import hresult
from recorder.calls import (
    NOT_RUN,
    SYNC_EVENT,
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
    Trace,
)
from recorder.errors import InterfaceError, SynctapeError, TextError
from recorder.interface import Interface, Method, Type
from recorder.interfaces import INTERFACES
from recorder.tagged_json import escape, parse, quote, spell

__all__ = [
    "TEXT_VERSION",
    "argument_text",
    "call_text",
    "duration_text",
    "escape",
    "from_text",
    "is_text",
    "outcome_text",
    "parse_call",
    "quote",
    "switches_text",
    "text_lines",
    "to_text",
]

TEXT_VERSION = 1

_MAGIC = "synctape"
_MAX_THREADS = 1 << 20
_DEFAULTS = Header()
_FIELDS = (
    "created_ns",
    "tick_ns",
    "pointer_size",
    "sync_flags",
    "redaction",
    "scheduled",
    "process",
    "target",
    "provenance",
)


# --- printing ------------------------------------------------------------------------------------------------


def to_text(trace: Trace) -> str:
    """The whole trace, ending in a line break.  Raises SynctapeError where a call ends that never began."""
    lines = [*text_lines(trace.header, trace.threads, trace.events)]
    if trace.damage is not None:
        lines.append(f"# damaged: {escape(str(trace.damage))}")
    return "\n".join(lines) + "\n"


def text_lines(header: Header, threads: Iterable[Thread], events: Iterable[Event]) -> Iterator[str]:
    """The lines of the text form one by one, for a trace of any size."""
    yield f"{_MAGIC} {TEXT_VERSION}"
    yield from _header_lines(header)
    threads = tuple(threads)
    if threads != (Thread(),):
        yield from (f"thread t{n} {thread.native_id} {quote(thread.name)}" for n, thread in enumerate(threads))
    if not threads:
        yield "thread none"
    yield ""
    yield from _event_lines(header.interface, events)


def call_text(call: Call, interface: Interface) -> str:
    """`Progress("Folder", 2, 15)`: the method and its arguments, by the types that the interface declares."""
    method = _method_of(interface, call.method)
    types = [p.type for p in method.inputs] if method else []
    name = call.method if _IDENTIFIER.fullmatch(call.method) else quote(call.method)
    return f"{name}({_values(call.args, types)})"


def switches_text(call: Call) -> str:
    """`@3,-1`: the change points of a scheduled call; "" for one without any."""
    return f"@{','.join(map(str, call.switches))}" if call.switches else ""


def outcome_text(outcome: Outcome, method: Method | None) -> str:
    """What came of a call of `method` (None: an unknown one), without the time it took."""
    types = [p.type for p in method.outputs] if method else []
    value = argument_text(outcome.value, method.returns if method else None, null="None")
    if outcome.outputs:
        value += f" ({_values(outcome.outputs, types)})"
    place = f" at {quote(outcome.place)}" if outcome.place else ""
    if outcome.kind is OutcomeKind.RETURNED:
        return value + (f" detail {quote(outcome.detail)}" if outcome.detail else "") + place
    detail = f" {quote(outcome.detail)}" if outcome.detail else ""
    returned = f" with {value}" if value != "None" else ""
    return outcome.kind.value + detail + place + returned


def argument_text(value: Argument, kind: Type | None = None, *, null: str = "NULL") -> str:
    """One value in the place of an argument of type `kind` (None: of no declared type)."""
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer_text(value, kind)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Handle):
        return "sync-event" if value == SYNC_EVENT else f"handle({value.token})"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bytes):
        return f"bytes({value.hex()})"
    return f"opaque({quote(value.type)}, {quote(value.repr)})"


def duration_text(ns: int) -> str:
    """Nanoseconds exactly, in the unit that reads best: `5ns`, `12.288us`, `1.5s`."""
    for unit, digits in (("s", 9), ("ms", 6), ("us", 3)):
        if abs(ns) >= 10**digits:
            whole, rest = divmod(abs(ns), 10**digits)
            decimals = f".{rest:0{digits}d}".rstrip("0").rstrip(".")
            return f"{'-' if ns < 0 else ''}{whole}{decimals}{unit}"
    return f"{ns}ns"


def _values(values: Iterable[Argument], types: list[Type]) -> str:
    return ", ".join(
        argument_text(value, types[position] if position < len(types) else None)
        for position, value in enumerate(values)
    )


def _integer_text(value: int, kind: Type | None) -> str:
    if kind is Type.HRESULT and -(2**31) <= value < 2**31:
        return hresult.describe(value) if value else "S_OK"
    return str(int(value)) if abs(value) < 2**64 else hex(value)  # Python bounds the size of decimal numbers


def _time_text(ns: int) -> str:
    whole, rest = divmod(abs(ns), 10**9)
    return f"{'-' if ns < 0 else ''}{whole}.{rest:09d}"


def _method_of(interface: Interface, name: str) -> Method | None:
    slot = interface.slot.get(name)
    return None if slot is None else interface.slots[slot]


def _header_lines(header: Header) -> Iterator[str]:
    interface = header.interface
    known = INTERFACES.get(interface.name) == interface
    yield f"interface: {spell(interface.name if known else interface.describe())}"
    for field in _FIELDS:
        value = getattr(header, field)
        if value != getattr(_DEFAULTS, field):
            yield f"{field}: {spell(value)}"
    for key, value in header.extra.items():
        plain = _IDENTIFIER.fullmatch(key) and key not in (*_FIELDS, "interface")
        yield f"{key if plain else quote(key)}: {spell(value)}"


def _event_lines(interface: Interface, events: Iterable[Event]) -> Iterator[str]:
    running: dict[int, str] = {}
    count = 0
    entered: Enter | None = None  # the last event, if it is an enter: its line may take the leave in
    for event in events:
        if isinstance(event, Leave):
            if event.number not in running:
                raise SynctapeError(f"trace: call {event.number} ends, but none of that number is running")
            method = _method_of(interface, running.pop(event.number))
            start = f"#{event.number}"
            if entered is not None and entered.number == event.number:
                start = _call_line(interface, entered, numbered=event.number != count - 1)
            elif entered is not None:
                yield _call_line(interface, entered, numbered=True) + " ..."
            elapsed = f" {duration_text(event.outcome.elapsed_ns)}" if event.outcome.elapsed_ns else ""
            yield f"{start} -> {outcome_text(event.outcome, method)}{elapsed}"
            entered = None
        else:
            if entered is not None:
                yield _call_line(interface, entered, numbered=True) + " ..."
            running[event.number] = event.call.method
            entered = event
            count += 1
    if entered is not None:
        yield _call_line(interface, entered, numbered=True) + " ..."


def _call_line(interface: Interface, enter: Enter, *, numbered: bool) -> str:
    number, call = enter
    shown = f"#{number} " if numbered else ""
    switches = f" {switches_text(call)}" if call.switches else ""
    return f"{_time_text(call.time_ns)} t{call.thread} {shown}{call_text(call, interface)}{switches}"


# --- parsing -------------------------------------------------------------------------------------------------


def is_text(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a trace in text form."""
    return head.removeprefix(b"\xef\xbb\xbf").startswith(_MAGIC.encode() + b" ")


def from_text(text: str) -> Trace:
    """Read the text form.  Raises TextError, whose `line` tells where, for anything that does not fit it."""
    reader = _Reader()
    lines = text.removeprefix("\ufeff").split("\n")
    _check_magic(lines[0])
    for number, line in enumerate(lines[1:], 2):
        scanner = _Scanner(line, number)
        try:
            reader.line(scanner)
        except (ValueError, InterfaceError, RecursionError) as error:
            raise TextError(str(error), number) from None
    return reader.trace()


def parse_call(text: str, interface: Interface) -> Call:
    """One call as `call_text` prints it; a time and a thread may stand before it, switches after it.

    Raises TextError.
    """
    scanner = _Scanner(text, 1)
    try:
        _, call = _parse_call(scanner, interface, 0)
        scanner.end()
    except (ValueError, InterfaceError) as error:
        raise TextError(str(error), 1) from None
    return call


def _check_magic(line: str) -> None:
    word, _, version = line.strip().partition(" ")
    if word != _MAGIC or not re.fullmatch("[0-9]{1,9}", version):
        raise TextError(f"expected '{_MAGIC} {TEXT_VERSION}', got {line.strip()!r:.60}", 1)
    if int(version) != TEXT_VERSION:
        raise TextError(f"text form {version}, this synctape reads {TEXT_VERSION}; upgrade synctape", 1)


class _Scanner:
    """One line, read from left to right; blanks between the parts do not count."""

    def __init__(self, line: str, number: int):
        self.line = line.rstrip()
        self.number = number
        self.position = 0
        self.skip()

    def skip(self) -> None:
        while self.line.startswith((" ", "\t"), self.position):
            self.position += 1

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What the pattern matches here, and the blanks after it; None if it does not match."""
        found = pattern.match(self.line, self.position)
        if found:
            self.position = found.end()
            self.skip()
        return found

    def word(self, word: str) -> bool:
        """Take this very text, if it is what stands here."""
        found = self.line.startswith(word, self.position)
        if found:
            self.position += len(word)
            self.skip()
        return found

    def expect(self, word: str) -> None:
        if not self.word(word):
            raise self.error(f"expected {word!r}")

    @property
    def ended(self) -> bool:
        """Whether nothing but a comment follows."""
        rest = self.line[self.position : self.position + 2]
        return not rest or (rest[0] == "#" and not rest[1:].isdigit())

    def end(self) -> None:
        if not self.ended:
            raise self.error("expected the end of the line")

    @property
    def at_string(self) -> bool:
        return self.line.startswith('"', self.position)

    def string(self) -> str:
        found = self.take(_STRING)
        if not found:
            raise self.error("expected a string in double quotes")
        text: str = json.loads(found[0])
        return text

    def error(self, message: str) -> TextError:
        rest = self.line[self.position : self.position + 40]
        found = f"at {escape(rest)}" if rest else "at the end of the line"
        return TextError(f"column {self.position + 1}: {message} {found}", self.number)


_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_KEY = re.compile(r'(?:([A-Za-z_][A-Za-z0-9_]*)|"(?:[^"\\]|\\.)*"):[ \t]')
_THREAD = re.compile(r"thread[ \t]+(?:t([0-9]{1,9})[ \t]+(-?[0-9]+)(?=[ \t])|none$)")
_LEAVE = re.compile(r"#([0-9]+)[ \t]*->")
_TIME = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,9}))?(?=[ \t])")
_ON_THREAD = re.compile(r"t([0-9]{1,9})(?=[ \t])")
_NUMBER = re.compile(r"#([0-9]+)(?=[ \t])")
_SWITCHES = re.compile(r"@(-?[0-9]{1,20}(?:,-?[0-9]{1,20})*)(?=[ \t]|$)")
_ELAPSED = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,9}))?(ns|us|ms|s)(?![A-Za-z0-9_.])")
_FAILURE = re.compile(r"(raised|crashed|hung|not run)(?![A-Za-z0-9_])")
_HRESULT_HEX = re.compile(r"0x([0-9A-Fa-f]{1,8})(?![0-9A-Za-z_.])")
_HRESULT_NAME = re.compile(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+(?:\([0-9]{1,5}\))?(?![A-Za-z0-9_])")
_HEX = re.compile(r"-?0x[0-9A-Fa-f]+(?![0-9A-Za-z_.])")
_FLOAT = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|nan|inf)(?![A-Za-z0-9_.])")
_DECIMAL = re.compile(r"-?[0-9]+(?![A-Za-z0-9_.])")
_WORD = re.compile(r"(NULL|None|true|false|sync-event)(?![A-Za-z0-9_])")
_HANDLE = re.compile(r"handle\((-?[0-9]+)\)")
_BYTES = re.compile(r"bytes\(((?:[0-9A-Fa-f]{2})*)\)")
_OPAQUE = re.compile(r"opaque\(")

_WORDS: Mapping[str, Argument] = {
    "NULL": None,
    "None": None,
    "true": True,
    "false": False,
    "sync-event": SYNC_EVENT,
}
_UNIT_DIGITS = {"ns": 0, "us": 3, "ms": 6, "s": 9}


class _Reader:
    """Collects what the lines say, one after the other."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}
        self._threads: list[Thread] | None = None
        self._used_threads = 1
        self._events: list[Event] = []
        self._methods: dict[int, Method] = {}  # of every call so far, by its number
        self._running: set[int] = set()

    def line(self, scanner: _Scanner) -> None:
        if scanner.ended:
            return
        if found := scanner.take(_LEAVE):
            self._leave(int(found[1]), scanner)
        elif found := scanner.take(_THREAD):
            self._head_only("a thread line")
            self._thread(found, scanner)
        elif found := scanner.take(_KEY):
            self._head_only("a header line")
            self._header(found, scanner)
        else:
            self._call(scanner)

    def trace(self) -> Trace:
        header = Header(**self._fields, extra=self._extra)
        threads = [Thread()] * self._used_threads if self._threads is None else self._threads
        return Trace(header, tuple(self._events), tuple(threads))

    def _head_only(self, what: str) -> None:
        if self._events:
            raise ValueError(f"{what} comes after the first call")

    def _header(self, found: re.Match[str], scanner: _Scanner) -> None:
        key, value = found[1], parse(scanner.line[scanner.position :])
        fields = self._fields if key == "interface" or key in _FIELDS else self._extra
        name = key or json.loads(found[0].rstrip()[:-1])
        if name in fields:
            raise ValueError(f"{escape(name):.60} is given twice")
        fields[name] = _checked(key, value) if fields is self._fields else value

    def _thread(self, found: re.Match[str], scanner: _Scanner) -> None:
        if found[1] is None:
            if self._threads is not None:
                raise ValueError("'thread none' beside other threads")
            self._threads = []
            return
        self._threads = threads = [] if self._threads is None else self._threads
        if int(found[1]) != len(threads):
            raise ValueError(f"expected thread t{len(threads)}, got t{found[1]}")
        threads.append(Thread(int(found[2]), scanner.string()))
        scanner.end()

    def _call(self, scanner: _Scanner) -> None:
        interface = self._fields.get("interface", _DEFAULTS.interface)
        number, call = _parse_call(scanner, interface, len(self._methods))
        threads = _MAX_THREADS if self._threads is None else len(self._threads)
        if call.thread >= threads:
            raise ValueError(f"there is no thread t{call.thread}")
        if number in self._methods:
            raise ValueError(f"call {number} is there already")
        method = interface.method(call.method)
        self._used_threads = max(self._used_threads, call.thread + 1)
        self._methods[number] = method
        self._events.append(Enter(number, call))
        if scanner.word("..."):
            self._running.add(number)
        elif scanner.word("->"):
            self._events.append(Leave(number, _parse_outcome(scanner, method)))
        else:
            self._events.append(Leave(number, NOT_RUN))
        scanner.end()

    def _leave(self, number: int, scanner: _Scanner) -> None:
        if number not in self._running:
            raise ValueError(f"no call {number} is running")
        self._running.remove(number)
        self._events.append(Leave(number, _parse_outcome(scanner, self._methods[number])))
        scanner.end()


def _checked(field: str, value: Any) -> Any:
    """A header field's value, if it is one that the field can have."""
    if field == "interface":
        if not isinstance(value, str):
            return Interface.from_description(value)
        if value not in INTERFACES:
            raise ValueError(f"unknown interface {value!r:.60}; give its whole description")
        return INTERFACES[value]
    default = getattr(_DEFAULTS, field)
    expected: Any = {"sync_flags": int, "redaction": str}.get(field, type(default))
    if type(value) is not expected and not (value is None and default is None):
        raise ValueError(f"{field} cannot be {spell(value):.60}")
    if field == "tick_ns" and not 0 < value <= 10**9:
        raise ValueError("tick_ns is out of range")
    return value


def _parse_call(scanner: _Scanner, interface: Interface, count: int) -> tuple[int, Call]:
    """A call line up to its outcome; `count` calls came before it."""
    time = scanner.take(_TIME)
    thread = scanner.take(_ON_THREAD)
    number = scanner.take(_NUMBER)
    name = scanner.take(_IDENTIFIER)
    if not name and not scanner.at_string:
        raise scanner.error("expected a call")
    method = interface.method(name[0] if name else scanner.string())
    scanner.expect("(")
    args = _parse_values(scanner, [p.type for p in method.inputs])
    switches = scanner.take(_SWITCHES)
    call = Call(
        method.name,
        args,
        int(thread[1]) if thread else 0,
        _nanoseconds(time, 9) if time else 0,
        tuple(map(int, switches[1].split(","))) if switches else (),
    )
    return int(number[1]) if number else count, call


def _parse_values(scanner: _Scanner, types: list[Type]) -> tuple[Argument, ...]:
    """Values up to the closing parenthesis, the opening one already taken."""
    values: list[Argument] = []
    while not scanner.word(")"):
        if values:
            scanner.expect(",")
        values.append(_parse_value(scanner, types[len(values)] if len(values) < len(types) else None))
    return tuple(values)


def _parse_value(scanner: _Scanner, kind: Type | None) -> Argument:
    if scanner.at_string:
        return scanner.string()
    if found := scanner.take(_WORD):
        return _WORDS[found[1]]
    if kind is Type.HRESULT and (value := _parse_hresult(scanner)) is not None:
        return value
    if found := scanner.take(_HEX):
        return int(found[0], 16)
    if found := scanner.take(_FLOAT):
        return float(found[0])
    if found := scanner.take(_DECIMAL):
        return int(found[0])
    if found := scanner.take(_HANDLE):
        return Handle(int(found[1]))
    if found := scanner.take(_BYTES):
        return bytes.fromhex(found[1])
    if scanner.take(_OPAQUE):
        type_name = scanner.string()
        scanner.expect(",")
        shown = scanner.string()
        scanner.expect(")")
        return Opaque(type_name, shown)
    raise scanner.error("expected a value")


def _parse_hresult(scanner: _Scanner) -> int | None:
    """A name, 32 bits in hexadecimal, or both; None if neither stands here."""
    digits, named = scanner.take(_HRESULT_HEX), scanner.take(_HRESULT_NAME)
    if digits:
        value = hresult.signed(int(digits[1], 16))
        name = hresult.name(value)
        if named and name is not None and named[0] != name:
            raise ValueError(f"{digits[0]} is {name}, not {named[0]}")
        return value
    if named is None:
        return None
    try:
        return hresult.parse(named[0])
    except ValueError:
        raise ValueError(f"unknown HRESULT name {named[0]}") from None


def _parse_outcome(scanner: _Scanner, method: Method) -> Outcome:
    value: Argument = None
    outputs: tuple[Argument, ...] = ()
    kind, detail, place = OutcomeKind.RETURNED, "", ""
    if failure := scanner.take(_FAILURE):
        kind = OutcomeKind(failure[1])
        if scanner.at_string:
            detail = scanner.string()
    else:
        value, outputs = _parse_result(scanner, method)
        if scanner.word("detail"):
            detail = scanner.string()
    if scanner.word("at"):
        place = scanner.string()
    if failure and scanner.word("with"):
        value, outputs = _parse_result(scanner, method)
    elapsed = scanner.take(_ELAPSED)
    elapsed_ns = _nanoseconds(elapsed, _UNIT_DIGITS[elapsed[4]]) if elapsed else 0
    return Outcome(kind, value, elapsed_ns, detail, place, outputs)


def _parse_result(scanner: _Scanner, method: Method) -> tuple[Argument, tuple[Argument, ...]]:
    value = _parse_value(scanner, method.returns)
    types = [p.type for p in method.outputs]
    return value, _parse_values(scanner, types) if scanner.word("(") else ()


def _nanoseconds(found: re.Match[str], digits: int) -> int:
    """A matched decimal number in units of 10**digits ns, exactly."""
    decimals = found[3] or ""
    if len(decimals) > digits:
        raise ValueError(f"{found[0]} is not a whole number of nanoseconds")
    value = int(found[2] + decimals.ljust(digits, "0"))
    return -value if found[1] else value
