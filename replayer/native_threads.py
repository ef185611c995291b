"""Calls of several threads on a native object at the same time, through the compiled core (`_native/threads.h`).

The core plays them in one of two ways.

    by steps    one thread at a time, as priorities and change points say (docs/threads.md).  A step is an access
                to memory in the target's own library; the processor stops the thread before each.  The same calls
                give the same interleaving, as far as no thread waits for another.
    freely      the threads' n-th calls begin together, each after a pause that a seed says.  What comes of it is
                chance: a sequence is played many times.

Steps need x86-64 and Linux, and a library without ThreadSanitizer: that sees races without them, and what it adds
to each access would be steps, too.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recorder.calls import NOT_RUN, Call, Enter, Event, Handle, Leave, Outcome, OutcomeKind
from recorder.interface import Interface
from recorder.native import core_of
from replayer.compiled import WORDS, Compiled, open_compiled
from replayer.concurrent import Concurrent
from replayer.faults import NativeFrame, frames_of
from replayer.guards import Guard
from replayer.handles import NativeHandles
from replayer.sanitizers import has_runtime
from replayer.scheduler import HandOver, Stuck
from replayer.symbols import symbols_of
from replayer.target import Instance

__all__ = [
    "MOST_THREADS",
    "Border",
    "HandedOver",
    "NativePlay",
    "Stepping",
    "Waiting",
    "can_step",
    "play_natively",
]

MOST_THREADS = 16  # SYN_MAX_LANES

_PLAYED, _DEADLOCK, _NO_THREADS = range(3)  # SynPlayed
_HAND_OVER = struct.Struct("=QQQII")
_MOST_HAND_OVERS = 4096
_WHY = ("change", "blocked", "ended", "spin")  # SynWhy
_CHANGED, _ENDED = 0, 2
_PLAYS = 40
_PLAYS_WATCHED = 4  # ThreadSanitizer sees most races in the first one, and is slow
_UNFIT = "the compiled core cannot express it"
_PLANTED = -2

_left_behind: list[object] = []  # what threads in a deadlock may still use


class Stepping(enum.IntEnum):
    """FREELY: without steps.  CHANGES: only calls with change points are made step by step, up to the last of
    them.  ALL: each call is, and counted; that takes ten to a hundred times as long."""

    FREELY = 0
    CHANGES = 1
    ALL = 2


class Border(NamedTuple):
    """Call `number` began, or ended."""

    number: int
    leaves: bool


class HandedOver(NamedTuple):
    """A thread stopped before step `step` of call `number` (-1: between calls), and thread `to` went on.

    `why` is "change", "blocked", "spin" or "ended".
    """

    number: int
    step: int
    place: str
    to: int
    why: str


class Waiting(NamedTuple):
    """A thread of a deadlock: in which call it waits, where, for what, and its stack, innermost frame first."""

    thread: int
    number: int
    place: str
    waits_for: str
    stack: str


@dataclass
class NativePlay:
    """What came of the calls, each by its number in the sequence: outcomes, and steps where they were counted.

    `borders` are in the order in which they were passed; `deadlock` has the threads that never came back.
    """

    outcomes: list[Outcome]
    steps: list[int]
    borders: list[Border] = field(default_factory=list)
    hand_overs: list[HandedOver] = field(default_factory=list)
    deadlock: list[Waiting] = field(default_factory=list)

    def as_concurrent(self, calls: Sequence[Call]) -> Concurrent:
        """The same as of a Python target: calls have the number of their turn of entry."""
        given = [border.number for border in self.borders if not border.leaves]
        given += sorted(set(range(len(calls))) - set(given))
        turn = {number: at for at, number in enumerate(given)}
        events: list[Event] = []
        for number, leaves in self.borders:
            if leaves:
                events.append(Leave(turn[number], self.outcomes[number]))
            else:
                events.append(Enter(turn[number], calls[number]))
        entered = {border.number for border in self.borders}
        for number in given:
            if number not in entered:
                events += (Enter(turn[number], calls[number]), Leave(turn[number], self.outcomes[number]))
        return Concurrent(
            events,
            [self.steps[number] for number in given],
            given,
            [HandOver(turn.get(h.number, -1), h.step, h.place, h.to, h.why) for h in self.hand_overs],
            [Stuck(w.thread, turn[w.number], w.place, w.waits_for, w.stack) for w in self.deadlock],
        )


def can_step() -> bool:
    """Whether native code can be stopped step by step on this machine."""
    core = core_of("replayer").module
    return core is not None and bool(core.can_step())


def stepping_here() -> Stepping:
    """How this process plays: freely where there are no steps, and where ThreadSanitizer looks."""
    return Stepping.ALL if can_step() and not has_runtime("tsan") else Stepping.FREELY


def plays_needed() -> int:
    """How often to play calls: more than once where what runs when is left to chance."""
    if stepping_here() is not Stepping.FREELY:
        return 1
    return _PLAYS_WATCHED if has_runtime("tsan") else _PLAYS


def can_overlap(instance: Instance, interface: Interface) -> bool:
    """Whether calls on an object can be made at the same time.

    Not without the compiled core, and not where the object's apartment says which thread may call.
    """
    if core_of("replayer").module is None or instance.holding is None or instance.apartment is not None:
        return False
    with open_compiled(interface, Guard.RING) as compiled:
        return compiled is not None


def play_natively(
    instance: Instance,
    interface: Interface,
    calls: Sequence[Call],
    *,
    stepping: Stepping = Stepping.ALL,
    seed: int = 0,
    guard: Guard = Guard.RING,
    journal: Any = None,
    refused: Mapping[int, Outcome] | None = None,
) -> NativePlay:
    """Make the calls, each thread's in their order.  `refused`: outcomes of calls that are not to be made.

    `seed` says how long the pauses are where threads run freely.  Raises RuntimeError without the compiled core,
    OSError if the system has no more threads.
    """
    outcomes: dict[int, Outcome] = dict(refused or {})
    programs: dict[int, list[int]] = {}
    for number, call in enumerate(calls):
        if number not in outcomes:
            programs.setdefault(call.thread, []).append(number)
    with ExitStack() as opened:
        return _Play(instance, interface, calls, programs, outcomes, opened).make(
            stepping, seed, guard, journal if hasattr(journal, "cells") else None
        )


class _Lane(NamedTuple):
    """A thread's calls as the core takes them."""

    player: Any
    stream: bytes
    numbers: array[int]
    changes: array[int]
    values: array[int]
    outputs: array[int] | None


class _Play:
    """One sequence on one object."""

    def __init__(
        self,
        instance: Instance,
        interface: Interface,
        calls: Sequence[Call],
        programs: dict[int, list[int]],
        outcomes: dict[int, Outcome],
        opened: ExitStack,
    ):
        self._instance = instance
        self._interface = interface
        self._calls = calls
        self._programs = programs
        self._outcomes = outcomes
        self._opened = opened
        self._threads = sorted(programs)

    def make(self, stepping: Stepping, seed: int, guard: Guard, journal: Any) -> NativePlay:
        core = core_of("replayer").module
        if core is None:
            raise RuntimeError("no compiled core")
        count = len(self._calls)
        players = [self._player(guard) for _ in self._threads]
        lanes = [self._lane(player, self._programs[t]) for t, player in zip(self._threads, players, strict=True)]
        entered, left, steps = (
            array("Q", bytes(8 * count)),
            array("Q", bytes(8 * count)),
            array("I", bytes(4 * count)),
        )
        handed_over = bytearray(_HAND_OVER.size * _MOST_HAND_OVERS)
        handles, tokens = self._handles()
        strangers = self._strangers(tokens)
        played, _, handed, ended, stuck = core.play_threads(
            lanes,
            self._instance.pointer,
            handles,
            strangers,
            entered,
            left,
            steps,
            handed_over,
            getattr(journal, "cells", None),
            getattr(journal, "base", 0),
            seed,
            int(stepping),
        )
        if played == _DEADLOCK:  # the threads are still there, with all that they were given
            _left_behind.append((lanes, self._opened.pop_all()))
        elif played == _NO_THREADS:
            raise OSError("the system has no more threads")
        self._take_strangers(tokens, strangers)
        for at, (status, made, references) in enumerate(ended):
            self._came(at, players[at], lanes[at], made, status, entered, left)
            if self._instance.holding is not None:
                self._instance.holding.count = max(self._instance.holding.count + references, 0)
        borders = sorted(
            [(tick, Border(n, False)) for n, tick in enumerate(entered) if tick]
            + [(tick, Border(n, True)) for n, tick in enumerate(left) if tick]
        )
        return NativePlay(
            [self._outcomes[number] for number in range(count)],
            list(steps),
            [border for _, border in borders],
            [self._handed_over(handed_over, at) for at in range(handed)],
            self._waiting(stuck, entered, left) if played == _DEADLOCK else [],
        )

    def _player(self, guard: Guard) -> Compiled:
        compiled = self._opened.enter_context(open_compiled(self._interface, guard))
        if compiled is None:
            raise RuntimeError("the compiled core cannot express the interface")
        return compiled

    def _lane(self, compiled: Compiled, numbers: Sequence[int]) -> _Lane:
        stream = compiled.encode([self._calls[number] for number in numbers])
        changes = array("I")
        for at, number in enumerate(numbers):
            for step in sorted(s for s in self._calls[number].switches if s >= 0):
                changes.extend((at, min(step, 2**32 - 1)))
        values = array("q", bytes(8 * len(numbers)))
        outputs = array("Q", bytes(8 * WORDS * len(numbers))) if compiled.with_outputs else None
        return _Lane(compiled.player, stream, array("Q", numbers), changes, values, outputs)

    def _handles(self) -> tuple[array[int], list[int]]:
        """Pairs of symbol and value, and the symbols."""
        tokens = sorted(
            {
                value.token
                for numbers in self._programs.values()
                for number in numbers
                for value in self._calls[number].args
                if isinstance(value, Handle) and value.token >= 0
            }
        )
        pairs = array("q")
        for token in tokens:
            pairs.extend((token, self._instance.handles.live(Handle(token))))
        return pairs, tokens

    def _strangers(self, tokens: Sequence[int]) -> array[int] | None:
        handles = self._instance.handles
        if not tokens or not isinstance(handles, NativeHandles):
            return None
        return array("q", [handles.stranger(token) for token in tokens])

    def _take_strangers(self, tokens: Sequence[int], strangers: array[int] | None) -> None:
        handles = self._instance.handles
        if strangers is not None and isinstance(handles, NativeHandles):
            handles.planted([t for t, mark in zip(tokens, strangers, strict=True) if mark == _PLANTED])

    def _came(
        self,
        at: int,
        player: Compiled,
        lane: _Lane,
        made: int,
        status: int,
        entered: array[int],
        left: array[int],
    ) -> None:
        for place, number in enumerate(self._programs[self._threads[at]]):
            call = self._calls[number]
            if left[number]:
                self._outcomes[number] = player.outcome(call.method, lane.values[place], 0, lane.outputs, place)
            elif status and place >= made:
                self._outcomes[number] = Outcome(OutcomeKind.NOT_RUN, None, detail=_UNFIT)
            elif entered[number]:
                self._outcomes[number] = Outcome(OutcomeKind.HUNG, None, detail="deadlock")
            else:
                self._outcomes[number] = NOT_RUN

    def _handed_over(self, records: bytearray, at: int) -> HandedOver:
        call, step, pc, to, why = _HAND_OVER.unpack_from(records, at * _HAND_OVER.size)
        between = why == _ENDED or (why == _CHANGED and step == 0)
        return HandedOver(-1 if between else call, step, _place(pc), self._threads[to], _WHY[why])

    def _waiting(self, stuck: Sequence[tuple[int, bytes]], entered: array[int], left: array[int]) -> list[Waiting]:
        waiting = []
        for at, (holder, stack) in enumerate(stuck):
            thread = self._threads[at]
            inside = [number for number in self._programs[thread] if entered[number] and not left[number]]
            if not inside:
                continue
            frames = frames_of(stack.decode("utf-8", "replace"))
            own = [frame for frame in frames if frame.path != "?" and not frame.is_system]
            what = "for ever"
            if holder >= 0:
                what = (
                    "a lock that it holds itself"
                    if holder == at
                    else f"a lock that thread {self._threads[holder]} holds"
                )
            waiting.append(
                Waiting(
                    thread,
                    inside[-1],
                    own[0].place if own else "",
                    what,
                    "".join(f"  {frame}\n" for frame in frames),
                )
            )
        return waiting


class _Module(ctypes.Structure):  # Dl_info
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _place(pc: int) -> str:
    """An instruction as `host.so+0x12ab in progress`; "" for none."""
    if not pc:
        return ""
    module = _Module()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(pc), ctypes.byref(module)) or not module.file:
        return ""
    path, offset = module.file.decode("utf-8", "replace"), pc - (module.base or 0)
    frame = NativeFrame(path, offset, symbols_of(path).name(offset))
    where = f"{frame.library}+0x{offset:x}"
    return f"{where} in {frame.function}" if frame.function else where
