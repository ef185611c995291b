"""Sequences and what came of them as bytes, for the hand-over of many at once (replayer.shared).

Both are spelled in the records of a trace (docs/trace-format.md), without header and end:

    a sequence      the threads, then an enter for each call; texts stand in the enters themselves
    what came of it the leave or fail of each call, one after the other; then what else was observed

As texts are not numbered, a call is the same bytes wherever it stands: `Fragments` keeps them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack

from recorder.calls import Call, Enter, Header, Leave, Outcome
from recorder.decoding import Decoder
from recorder.encoding import Encoder, Kind, checked, spell_text
from recorder.interface import Interface, Method, Type
from replayer.player import Journal, Observation
from replayer.sandbox_child import pack, unpack

__all__ = ["Fragments", "Numbered", "pack_outcomes", "position", "unpack_calls", "unpack_outcomes"]

_KEPT = 1 << 16  # fragments of calls
_LONGEST = 1 << 10  # bytes of a fragment that is kept
_thread = operator.attrgetter("thread")


class Fragments(dict[Call, bytes]):
    """Sequences of calls to bytes, by the call: what was packed once is not packed again.

    A key is a call of thread 0 at time 0 whose arguments fit their types: True would be found as 1.
    """

    def __init__(self, interface: Interface):
        super().__init__()
        self._interface = interface
        self._out: list[bytes] = []
        self._encoder = _Inline(self._out.append)
        self._one_thread = self._thread_records(1)
        self._pack: Callable[[Any], bytes] = msgpack.Packer().pack
        self._spell = {method.name: _speller(method) for method in interface.slots}
        self._kinds = {name: Kind.ENTER + slot for name, slot in interface.slot.items()}

    def __missing__(self, call: Call) -> bytes:
        name = call.method
        try:
            packed = checked(self._pack((self._kinds[name], 0, 0, *self._spell[name](call.args))))
        except UnicodeEncodeError:  # a lone surrogate
            packed = self._enter(call, 0)
        if len(packed) <= _LONGEST:
            if len(self) >= _KEPT:
                self.clear()
            self[call] = packed
        return packed

    def sequence(self, calls: Sequence[Call]) -> bytes:
        """Calls without time, all of thread 0, with arguments that fit their types."""
        return self._one_thread + b"".join(map(self.__getitem__, calls))

    def any_sequence(self, calls: Sequence[Call]) -> bytes:
        """Any calls.  Raises ValueError or OverflowError for a call that no trace holds, whose method is unknown
        or whose thread is negative."""
        clocks = [0] * (max(map(_thread, calls), default=0) + 1)
        parts = [self._thread_records(len(clocks))]
        for call in calls:
            if call.thread < 0:
                raise ValueError("a negative thread")
            parts.append(self._enter(call, call.time_ns - clocks[call.thread]))
            clocks[call.thread] = call.time_ns
        return b"".join(parts)

    def _enter(self, call: Call, ticks: int) -> bytes:
        method = self._interface.method(call.method)
        spelled = self._encoder.arguments(method.inputs, call.args)
        self._encoder.enter(self._interface.slot[method.name], ticks, call.thread, spelled)
        return self._out.pop()

    def _thread_records(self, count: int) -> bytes:
        encoder = _Inline(self._out.append)
        for _ in range(count):
            encoder.thread(0, 0, "")
        records = b"".join(self._out)
        self._out.clear()
        return records


def _speller(method: Method) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What spells arguments that fit a method's types, all but texts with lone surrogates."""
    texts = [n for n, p in enumerate(method.inputs) if p.type in (Type.TEXT, Type.IID)]
    symbols = [n for n, p in enumerate(method.inputs) if p.type in (Type.HANDLE, Type.POINTER)]
    if not texts and not symbols:
        return lambda args: args

    def spell(args: Sequence[Any]) -> list[Any]:
        spelled = [*args]
        for n in texts:
            if spelled[n] is None:
                spelled[n] = 0
        for n in symbols:
            if spelled[n] is not None:
                spelled[n] = spelled[n].token
        return spelled

    return spell


class Numbered:
    """A journal for one sequence of a batch: notes its number with the call's.

    Native code notes by itself: in `cells`, as second number, `base` and the call's number.
    """

    def __init__(self, journal: Journal, sequence: int):
        self._note = journal.note
        self._sequence = self.base = sequence << 32
        self.cells = getattr(journal, "cells", None)

    def note(self, a: int, b: int) -> None:
        self._note(a, self._sequence | b)


def position(noted: tuple[int, int]) -> tuple[int, int, int]:
    """A journal's position as phase, number of the sequence (0 outside of batches) and number of the call."""
    return noted[0], noted[1] >> 32, noted[1] & 0xFFFFFFFF


class _Inline(Encoder):
    """Spells texts where they stand."""

    def text(self, text: str | None) -> int | str | bytes:
        return 0 if text is None else spell_text(text)


def unpack_calls(blob: bytes, interface: Interface) -> list[Call]:
    """The calls of a packed sequence.  Raises one of recorder.decoding.DECODE_ERRORS where it is damaged."""
    decoder = Decoder(_header(interface), [])
    return [event.call for event in decoder.events(_records(blob)) if isinstance(event, Enter)]


def pack_outcomes(outcomes: Iterable[Outcome], observations: Iterable[Observation] = ()) -> bytes:
    """What came of a sequence's calls, in their order."""
    out: list[bytes] = []
    encoder = _Inline(out.append)
    for outcome in outcomes:
        encoder.leave(outcome.elapsed_ns, 0, outcome)
    seen = [[s.kind, s.number, s.message, s.place, s.code] for s in observations]
    return pack([b"".join(out), seen])


def unpack_outcomes(blob: bytes, count: int, interface: Interface) -> tuple[list[Outcome], list[Observation]]:
    """What came of a sequence of `count` calls.  Raises one of DECODE_ERRORS where it is damaged."""
    packed, seen = unpack(blob)
    leaves = list(_records(packed))
    if len(leaves) != count:
        raise ValueError(f"{len(leaves)} outcomes for {count} calls")
    decoder = Decoder(_header(interface), [])
    enter = (16, 0, 0)
    records = [_THREAD, *(record for leave in leaves for record in (enter, leave))]
    outcomes = [event.outcome for event in decoder.events(records) if isinstance(event, Leave)]
    if len(outcomes) != count:
        raise ValueError(f"{len(outcomes)} outcomes for {count} calls")
    return outcomes, [Observation(*fields) for fields in seen]


_THREAD = (2, 0, 0, 0, "")


def _header(interface: Interface) -> Header:
    return Header(interface, tick_ns=1)


def _records(blob: bytes) -> Iterable[Any]:
    """The records of a blob that this module packed, each with its check behind it."""
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=True, max_buffer_size=len(blob) or 1)
    unpacker.feed(blob)
    return list(unpacker)[::2]
