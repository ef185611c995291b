"""A trace as JSON lines, for changing a call by hand, and back: what nobody changed comes back as it was.

    {"kind": "header", ...}     the fields of `Header`, and `threads`: [{"native_id": 4711, "name": "MainThread"}]
    {"kind": "call", "number": 0, "thread": 0, "time_ns": 557056, "method": "Progress",
     "args": ["Folder", 2, 15], "outcome": {"kind": "returned", "value": 0, "elapsed_ns": 12288}}
                                and `switches`: [3, -1], where the call has change points
    {"kind": "return", "number": 1, "outcome": {...}}    ends a call whose `outcome` was null: it went on
    {"kind": "record", "msgpack": hex}                   a record of a kind that this version does not know
    {"kind": "end", "damage": null}                      damage: why the trace is not whole; such a one is written
                                                         without an end record

Values that JSON has no words for are spelled as `recorder.tagged_json` spells them.  Calls are numbered anew by
their lines' order; a `number` only ties a return to its call.  A call may leave out its thread (0), its time (that
of the call before), its arguments (none) and its outcome (it was not run).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

from recorder.calls import (
    NOT_RUN,
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
    TraceDamage,
)
from recorder.decoding import HEADER_FIELDS
from recorder.encoding import MAX_FIELDS, MAX_THREADS, Kind
from recorder.errors import InterfaceError, TextError
from recorder.interface import Interface
from recorder.interfaces import INTERFACES
from recorder.survey import survey
from recorder.tagged_json import parse, spell
from recorder.trace_input import TraceInput

__all__ = ["Edited", "edit_lines", "from_edit_lines"]


class Edited(NamedTuple):
    """A trace, and its records of unknown kinds, packed, each with how many events stand before it."""

    trace: Trace
    others: tuple[tuple[int, bytes], ...] = ()


# --- out -----------------------------------------------------------------------------------------------------


def edit_lines(trace: TraceInput) -> Iterator[str]:
    """The trace as lines of JSON."""
    with trace.source() as source:
        found = survey(source)
        yield spell(_header(source.header, found.threads))
    entered: Enter | None = None  # the last event, if it is an enter: its line may take the outcome in
    for item in _items(trace):
        if entered is not None:
            ends = isinstance(item, Leave) and item.number == entered.number
            yield spell(_call(entered, item.outcome if ends and isinstance(item, Leave) else None))
            entered = None
            if ends:
                continue
        if isinstance(item, Enter):
            entered = item
        elif isinstance(item, Leave):
            yield spell({"kind": "return", "number": item.number, "outcome": _outcome(item.outcome)})
        else:
            yield spell({"kind": "record", "msgpack": item.hex()})
    if entered is not None:
        yield spell(_call(entered, None))
    yield spell({"kind": "end", "damage": str(found.damage) if found.damage else None})


def _items(trace: TraceInput) -> Iterator[Event | bytes]:
    """The events, and between them the packed records of unknown kinds."""
    skipped: list[Any] = []
    with trace.source(skipped.append) as source:
        for event in source.events():
            yield from map(msgpack.packb, skipped)
            skipped.clear()
            yield event
        yield from map(msgpack.packb, skipped)


def _header(header: Header, threads: Iterable[Thread]) -> dict[str, Any]:
    known = INTERFACES.get(header.interface.name) == header.interface
    interface = header.interface.name if known else header.interface.describe()
    fields = {name: getattr(header, name) for name in HEADER_FIELDS}
    told = [{"native_id": thread.native_id, "name": thread.name} for thread in threads]
    return {"kind": "header", "interface": interface, **fields, "extra": header.extra, "threads": told}


def _call(enter: Enter, outcome: Outcome | None) -> dict[str, Any]:
    number, call = enter
    return {
        "kind": "call",
        "number": number,
        "thread": call.thread,
        "time_ns": call.time_ns,
        "method": call.method,
        "args": list(call.args),
        **({"switches": list(call.switches)} if call.switches else {}),
        "outcome": None if outcome is None else _outcome(outcome),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    """Its fields, without those that say nothing."""
    shown: dict[str, Any] = {"kind": outcome.kind.value, "value": outcome.value, "elapsed_ns": outcome.elapsed_ns}
    rest = {"detail": outcome.detail, "place": outcome.place, "outputs": list(outcome.outputs)}
    return shown | {name: value for name, value in rest.items() if value}


# --- back in -------------------------------------------------------------------------------------------------


def from_edit_lines(lines: Iterable[str]) -> Edited:
    """What the lines say.  Raises TextError, whose `line` tells where, for anything else."""
    reader = _Reader()
    number = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                reader.line(parse(line.removeprefix("\ufeff")))
            except (ValueError, TypeError, OverflowError, InterfaceError, RecursionError) as error:
                raise TextError(str(error), number) from None
    if not reader.ended:
        raise TextError('there is no {"kind": "end"} line; the file is cut off', number + 1)
    return reader.edited()


class _Reader:
    """Collects what the lines say, one after the other."""

    def __init__(self) -> None:
        self.ended = False
        self._header: Header | None = None
        self._threads: list[Thread] = []
        self._events: list[Event] = []
        self._others: list[tuple[int, bytes]] = []
        self._calls = 0
        self._time_ns = 0
        self._open: dict[int, int] = {}  # number in the lines -> number in the trace
        self._damage: TraceDamage | None = None
        self._kinds: dict[str, Callable[[dict[str, Any]], None]] = {
            "call": self._call,
            "return": self._return,
            "record": self._record,
            "end": self._end,
        }

    def edited(self) -> Edited:
        assert self._header is not None
        trace = Trace(self._header, tuple(self._events), tuple(self._threads), self._damage)
        return Edited(trace, tuple(self._others))

    def line(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise ValueError("expected an object, {...}")
        kind = value.pop("kind", None)
        if self.ended:
            raise ValueError("there is a line after the end")
        if self._header is None:
            if kind != "header":
                raise ValueError('expected {"kind": "header", ...}, as `synctape edit` writes it')
            self._read_header(value)
            return
        if not isinstance(kind, str) or kind not in self._kinds:
            raise ValueError(f"unknown kind {kind!r:.40}; there are {', '.join(self._kinds)}")
        self._kinds[kind](value)

    def _read_header(self, value: dict[str, Any]) -> None:
        interface = _take(value, "interface", (str, dict))
        if isinstance(interface, dict):
            interface = Interface.from_description(interface)
        elif interface not in INTERFACES:
            raise ValueError(f"unknown interface {interface!r:.60}; give its whole description")
        else:
            interface = INTERFACES[interface]
        known = {n: _take(value, n, kinds) for n, kinds in HEADER_FIELDS.items() if n in value}
        if not 0 < known.get("tick_ns", 1) <= 10**9:
            raise ValueError("tick_ns is out of range, 1 to 1000000000")
        extra = _take(value, "extra", (dict,), {})
        for thread in _take(value, "threads", (list,), [{"native_id": 0, "name": ""}]):
            if not isinstance(thread, dict):
                raise ValueError("a thread is no object, {...}")
            self._threads.append(Thread(_take(thread, "native_id", (int,), 0), _take(thread, "name", (str,), "")))
            _nothing_left(thread, "a thread")
        if len(self._threads) > MAX_THREADS:
            raise ValueError(f"over {MAX_THREADS} threads are more than a trace holds")
        _nothing_left(value, "a header")
        self._header = Header(interface=interface, **known, extra=extra)

    def _call(self, value: dict[str, Any]) -> None:
        assert self._header is not None
        label = _take(value, "number", (int,), self._calls)
        method = self._header.interface.method(_take(value, "method", (str,)))
        thread = _take(value, "thread", (int,), 0)
        if not 0 <= thread < len(self._threads):
            raise ValueError(f"there is no thread {thread}; the header names {len(self._threads)} of them")
        self._time_ns = _take(value, "time_ns", (int,), self._time_ns)
        args = _values(_take(value, "args", (list,), []), "an argument")
        switches = _take(value, "switches", (list,), [])
        if not all(type(switch) is int for switch in switches):
            raise ValueError(f"switches are {spell(switches):.60}; expected integers")
        outcome = _take(value, "outcome", (dict, type(None)), NOT_RUN)
        _nothing_left(value, "a call")
        self._events.append(Enter(self._calls, Call(method.name, args, thread, self._time_ns, tuple(switches))))
        if outcome is None:
            if label in self._open:
                raise ValueError(f"a call with number {label} is running already")
            self._open[label] = self._calls
        else:
            ended = outcome if isinstance(outcome, Outcome) else _parsed_outcome(outcome)
            self._events.append(Leave(self._calls, ended))
        self._calls += 1

    def _return(self, value: dict[str, Any]) -> None:
        label, outcome = _take(value, "number", (int,)), _take(value, "outcome", (dict,))
        _nothing_left(value, "a return")
        if label not in self._open:
            raise ValueError(f"no call with number {label} is running")
        self._events.append(Leave(self._open.pop(label), _parsed_outcome(outcome)))

    def _record(self, value: dict[str, Any]) -> None:
        packed = bytes.fromhex(_take(value, "msgpack", (str,)))
        _nothing_left(value, "a record")
        try:
            record = msgpack.unpackb(packed, use_list=False, strict_map_key=False, max_array_len=MAX_FIELDS)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"not a record in msgpack ({error or type(error).__name__})") from None
        kind = record[0] if type(record) is tuple and record else None
        if type(kind) is not int or not Kind.SWITCHES < kind < Kind.ENTER:
            raise ValueError("not a record of a kind that this version does not know (6 to 15)")
        self._others.append((len(self._events), packed))

    def _end(self, value: dict[str, Any]) -> None:
        damage = _take(value, "damage", (str, type(None)), None)
        _nothing_left(value, "the end")
        self._damage = None if damage is None else TraceDamage(0, damage, len(self._events))
        self.ended = True


_MISSING = object()
_WORDS = {
    int: "an integer",
    str: "a text",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def _take(value: dict[str, Any], name: str, kinds: tuple[type, ...], default: Any = _MISSING) -> Any:
    """A field out of an object.  Raises ValueError if it is not there, or of another type."""
    taken = value.pop(name, default)
    if taken is _MISSING:
        raise ValueError(f"there is no {name!r}")
    if taken is not default and type(taken) not in kinds:
        expected = " or ".join(_WORDS[kind] for kind in kinds)
        raise ValueError(f"{name} is {spell(taken):.60}; expected {expected}")
    return taken


def _nothing_left(value: dict[str, Any], what: str) -> None:
    if value:
        raise ValueError(f"{what} has no {', '.join(map(repr, value)):.80}")


def _values(values: list[Any], what: str) -> tuple[Any, ...]:
    for value in values:
        if not isinstance(value, int | float | str | bytes | Handle | Opaque | None):
            raise ValueError(f"{what} cannot be {spell(value):.60}")
    return tuple(values)


_OUTCOMES = {kind.value: kind for kind in OutcomeKind}


def _parsed_outcome(value: dict[str, Any]) -> Outcome:
    kind = _take(value, "kind", (str,), "returned")
    if kind not in _OUTCOMES:
        raise ValueError(f"unknown outcome {kind!r:.40}; there are {', '.join(_OUTCOMES)}")
    (answer,) = _values([value.pop("value", None)], "an answer")
    outcome = Outcome(
        _OUTCOMES[kind],
        answer,
        _take(value, "elapsed_ns", (int,), 0),
        _take(value, "detail", (str,), ""),
        _take(value, "place", (str,), ""),
        _values(_take(value, "outputs", (list,), []), "an output"),
    )
    _nothing_left(value, "an outcome")
    return outcome
