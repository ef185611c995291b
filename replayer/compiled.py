"""Calls on a native object through the compiled core: a sequence at once, with guarded texts.

`open_compiled` gives None where there is no core, or where it cannot express the interface; calls then go through
`recorder.com`, with equal outcomes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from recorder.calls import Call, Handle, Outcome
from recorder.encoding import Encoder
from recorder.interface import Interface, Method, Type
from recorder.interfaces import IUNKNOWN
from recorder.native import core_of
from replayer.guards import Guard
from replayer.handles import Handles
from replayer.holding import Holding

__all__ = ["WORDS", "Compiled", "describe", "open_compiled"]

_CODES = {kind: number for number, kind in enumerate(Type)}  # as player.h counts them
_UNSUPPORTED = 0xFF
_BY_ADDRESS, _OUT = 0x40, 0x80
WORDS = 12
"""Arguments of a method, at most."""

_DONE, _STOPPED, _FULL = range(3)  # SynStatus
_ROOM = 4096  # calls for which there is room at once
_UNSIGNED = {Type.U64: 2**64, Type.HANDLE: 2**64, Type.POINTER: 2**64}


def describe(interface: Interface) -> bytes:
    """An interface as player.h has it described."""
    return b"".join(map(_description, interface.slots))


def _description(method: Method) -> bytes:
    if len(method.parameters) > WORDS:
        return bytes((_UNSUPPORTED, 0))
    parameters = [
        _CODES[p.type] | (_BY_ADDRESS if p.pointer else 0) | (_OUT if p.is_out else 0) for p in method.parameters
    ]
    return bytes((_CODES[method.returns], len(parameters), *parameters))


_idle: dict[tuple[Interface, Guard, int], list[Any]] = {}  # players not in use: making one takes ms


@contextmanager
def open_compiled(interface: Interface, guard: Guard, seed: int = 0) -> Iterator[Compiled | None]:
    """A player for one sequence, or None.  `seed`: with it, some texts stand at the start of their page."""
    core = core_of("replayer").module
    if core is None or interface.root != IUNKNOWN:
        yield None
        return
    idle = _idle.setdefault((interface, guard, seed), [])
    try:
        player = idle.pop() if idle else core.player(describe(interface), int(guard), 0, seed)
    except ValueError:  # a description that the core does not take
        yield None
        return
    yield Compiled(core, player, interface)
    idle.append(player)


class Compiled:
    """Plays one sequence in one or several pieces.

    `player` is the core's; `with_outputs` says whether some method has output parameters.
    """

    def __init__(self, core: Any, player: Any, interface: Interface):
        self._core = core
        self.player = player
        self._methods = {m.name: (slot, m) for slot, m in enumerate(interface.slots)}
        self.with_outputs = any(method.outputs for method in interface.calls)
        self._handles = array("q")  # pairs of symbol and value
        self._given: set[int] = set()
        self._forget()

    def _forget(self) -> None:
        """Texts are defined anew from here on."""
        self._core.forget(self.player)
        self._records: list[bytes] = []
        self._encoder = Encoder(self._records.append)

    def play(
        self,
        calls: Sequence[Call],
        first: int,
        holding: Holding,
        handles: Handles,
        journal: Any,
        came: Callable[[list[Outcome]], None],
    ) -> int:
        """Make calls that fit their types, the first of which is number `first` of its sequence; gives how many.

        The others cannot be expressed here.  `came` is told of outcomes as they come: at the end, and from the
        first call that was given a handle on after each, so that it can look what became of the handle.
        """
        stream = memoryview(self.encode(calls))
        self._give_handles(calls, handles)
        done, status, room = 0, _FULL, _ROOM
        while status in (_FULL, _STOPPED):
            piece = calls[done : done + room]
            status, outcomes, read = self._play_on(piece, first + done, stream, holding, journal)
            done, stream = done + len(outcomes), stream[read:]
            if status == _STOPPED:  # and so it goes on, call by call
                room = 1
            came(outcomes)
        if status != _DONE:
            self._forget()  # what was defined after this is not known there
        return done

    def _play_on(
        self, calls: Sequence[Call], first: int, stream: memoryview, holding: Holding, journal: Any
    ) -> tuple[int, list[Outcome], int]:
        """Make as many calls as these at most."""
        values, elapsed = array("q", bytes(8 * len(calls))), array("Q", bytes(8 * len(calls)))
        outputs = array("Q", bytes(8 * WORDS * len(calls))) if self.with_outputs else None
        status, made, read, holding.count, _ = self._core.play(
            self.player,
            holding.pointer,
            holding.count,
            stream,
            first,
            self._handles,
            values,
            elapsed,
            outputs,
            getattr(journal, "cells", None),
            getattr(journal, "base", 0),
            True,
        )
        outcomes = [
            self.outcome(call.method, values[i], elapsed[i], outputs, i) for i, call in enumerate(calls[:made])
        ]
        return status, outcomes, read

    def encode(self, calls: Sequence[Call]) -> bytes:
        """The calls as the core reads them; texts that were encoded before are referred to."""
        encoder, records = self._encoder, self._records
        for call in calls:
            slot, method = self._methods[call.method]
            encoder.enter(slot, 0, 0, encoder.arguments(method.inputs, call.args))
        stream = b"".join(records)
        records.clear()
        return stream

    def _give_handles(self, calls: Sequence[Call], handles: Handles) -> None:
        for call in calls:
            for value in call.args:
                if isinstance(value, Handle) and value.token >= 0 and value.token not in self._given:
                    self._given.add(value.token)
                    self._handles.extend((value.token, handles.live(value)))

    def outcome(self, name: str, value: int, elapsed: int, outputs: Any, number: int) -> Outcome:
        """What the core gave for call `number` of a piece."""
        slot, method = self._methods[name]
        answer = _typed(method.returns, value)
        if slot < len(IUNKNOWN.slots) or not method.outputs:
            return Outcome(value=answer, elapsed_ns=elapsed)
        given = outputs[WORDS * number : WORDS * number + len(method.outputs)]
        filled = tuple(_typed(p.type, word) for p, word in zip(method.outputs, given, strict=True))
        return Outcome(value=answer, elapsed_ns=elapsed, outputs=filled)


def _typed(kind: Type, word: int) -> int | None:
    """A word as recorder.com gives it."""
    if kind is Type.VOID:
        return None
    if kind in _UNSIGNED:
        word %= _UNSIGNED[kind]
        return None if word == 0 and kind is not Type.U64 else word
    return word - 2**64 if word >= 2**63 else word
