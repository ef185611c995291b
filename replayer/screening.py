"""Screening: plays lists of sequences on a native target as fast as it can be done.

Each sequence is played on an instance of its own, and what came of it is appended to another list before the next
begins; the journal has the `Phase`, and the numbers of the sequence and the call as one (replayer.batches).  So a
parent that maps all three knows after a death what was played, and what was under way.

The compiled core does it without Python (replayer/_native/screen.h); without the core ctypes does, with the same
results.  Only what a call answers, how long it all took, the last Release and the handles are looked at: what
looks wrong is to be played again with every oracle looking.
"""

from __future__ import annotations

import contextlib
import operator
import struct
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from recorder import native
from recorder.calls import Call, Handle
from recorder.contract import contract_of, fits
from recorder.endings import give_in
from replayer.batches import unpack_calls
from replayer.compiled import describe
from replayer.guards import Guard
from replayer.player import Phase
from replayer.sandbox_child import Journal
from replayer.shared import SharedList
from replayer.target import NativeTarget, TargetError

__all__ = ["SYMBOLS", "Screened", "Screening", "is_fresh", "is_odd", "screened"]

SYMBOLS = 8
"""Handles from 0 up that a screened sequence may have; negative ones are their own values."""

_RESULT = struct.Struct("=IIqQIIIHHII")  # SynScreened
_OPERANDS = struct.Struct("=QQQ")
_ODD, _FRESH = operator.itemgetter(slice(32, 33)), operator.itemgetter(slice(36, 38))  # of a result
_DONE = 0
_SCREENED, _NO_ROOM, _REFUSED, _NO_LIST = range(4)  # SynScreenStatus
_UNFIT, _NO_HANDLE = 4, 5  # SynStatus


class Screened(NamedTuple):
    """What came of a sequence.

    `values`: what the calls returned, signed where their type is.  `complete`: all could be made.  `released`:
    what the last Release answered.  `left_open`, `closed_twice`: bit n stands for handle n; one that is given when
    the protocol has ended is nobody's to close.  `odd`: something is out of the ordinary: an answer is negative, a
    handle is left open, it took long, and so on.  `fresh`: how much it showed for the first time: code of the
    target, what calls answer in a row, states; 0 without the compiled core.  `places`: how much of this is more
    than the same as before another number of times.  `compared`: pairs of numbers of so many bytes that the target
    compared in a sequence that is fresh.  `needed`: numbers of the calls that show the same places, empty if that
    takes all.
    """

    values: tuple[int, ...]
    complete: bool
    released: int
    elapsed_ns: int
    left_open: int
    closed_twice: int
    odd: bool
    fresh: int = 0
    places: int = 0
    compared: tuple[tuple[int, int, int], ...] = ()
    needed: tuple[int, ...] = ()


def screened(blob: bytes) -> Screened:
    """A result of the list.  Raises struct.error where the target has written over it."""
    head = _RESULT.unpack_from(blob)
    made, status, released, elapsed, left_open, closed_twice, odd, fresh, places, compared, needed = head
    complete, start = status == _DONE, _RESULT.size + 8 * made
    values = struct.unpack_from(f"={made}q", blob, _RESULT.size)
    pairs = tuple(_OPERANDS.unpack_from(blob, start + at * _OPERANDS.size) for at in range(compared))
    calls = struct.unpack_from(f"={needed}H", blob, start + compared * _OPERANDS.size)
    news = fresh, places, pairs, calls
    return Screened(values, complete, released, elapsed, left_open, closed_twice, bool(odd), *news)


def is_odd(blob: bytes) -> bool:
    """Whether a result is worth a look; quicker than `screened`."""
    return bool(_ODD(blob) != b"\0")


def is_fresh(blob: bytes) -> bool:
    """Whether a result shows something for the first time."""
    return bool(_FRESH(blob) != b"\0\0")


class Screening:
    """Screens one native target.

    `journal`: where to note what is under way.  `slow`: seconds from which a sequence is odd, 0 for never.
    """

    def __init__(self, target: NativeTarget, journal: Journal | None = None, slow: float = 0):
        self._target = target
        self._slow_ns = int(slow * 1e9)
        self._cells: Any = journal.cells if journal is not None else bytearray(16)
        self._core = native.core_of("replayer").module
        self._players: dict[Guard, Any] = {}
        if self._core is not None:
            with contextlib.suppress(ValueError):  # an interface that the core does not take
                self._player(Guard.RING)
                iid = uuid.UUID(target.interface.iid).bytes_le
                cover = target.cover.functions if target.cover else (0, 0, 0, 0)
                if target.cover:
                    target.cover.forget()  # what loading it and looking for an instance has reached
                terminal = contract_of(target.interface).terminal
                ending = bytes(method.name in terminal for method in target.interface.slots)
                self._screen = self._core.screen(target.entry, iid, ending, *cover, target.state)
        self._by_ctypes = _ByCtypes(target, self._cells, self._slow_ns)

    @property
    def compiled(self) -> bool:
        """Whether the compiled core is in use."""
        return bool(self._players)

    def play(
        self,
        sequences: SharedList,
        results: SharedList,
        start: int = 0,
        stop: int | None = None,
        *,
        guard: Guard = Guard.RING,
        noting: bool = True,
    ) -> None:
        """Play the sequences from number `start` up to `stop`, appending to the results.

        None has calls of IUnknown, or of several threads.  A sequence ends early at a call that cannot be made.
        `guard`: how closely texts are watched; without `noting` the journal stays as it is; both with the compiled
        core.  Raises TargetError if the target gives no instance.
        """
        if stop is None:
            stop = len(sequences)
        if not self.compiled:
            self._by_ctypes.play(sequences, results, start, stop)
            return
        number, player, cells = start, self._player(guard), self._cells if noting else bytearray(16)
        while True:
            with sequences.buffer() as given, results.buffer() as out:
                status, number, needed, answer = self._core.play_list(
                    self._screen, player, given, out, cells, number, stop, self._slow_ns
                )
            if status == _NO_ROOM:
                results.make_room(needed)
            elif status == _SCREENED:
                return
            elif status == _REFUSED:
                raise _refusal(self._target, answer)
            elif status == _NO_LIST:
                raise ValueError("a list of sequences is damaged")
            else:
                raise MemoryError

    def _player(self, guard: Guard) -> Any:
        if guard not in self._players:
            self._players[guard] = self._core.player(describe(self._target.interface), int(guard), 0, 0)
        return self._players[guard]


def _refusal(target: NativeTarget, answer: int) -> TargetError:
    from recorder import hresult

    what = (
        f"the factory gave no {target.interface.name} ({hresult.describe(answer)}), having given instances before"
    )
    return TargetError(f"target {target.spec}: {what}")


class _ByCtypes:
    """The same through ctypes."""

    def __init__(self, target: NativeTarget, cells: Any, slow_ns: int):
        self._target = target
        self._slow_ns = slow_ns
        self._methods = {method.name: method for method in target.interface.slots}
        self._terminal = contract_of(target.interface).terminal
        self._note: Callable[[int, int], None] = lambda a, b: struct.pack_into("=QQ", cells, 0, a, b)

    def play(self, sequences: SharedList, results: SharedList, start: int, stop: int) -> None:
        for number, blob in enumerate(sequences):
            if start <= number < stop:
                calls = unpack_calls(blob, self._target.interface)
                try:
                    results.append(self._played(number << 32, calls))
                except OSError as error:
                    give_in(error)  # a fault ends the process, also where ctypes has caught it
                    raise

    def _played(self, number: int, calls: list[Call]) -> bytes:
        note = self._note
        note(Phase.MAKING, number)
        started = time.perf_counter_ns()
        instance = self._target.instance()
        handles = instance.handles
        values: list[int] = []
        given = 0
        ended = False
        status = _DONE
        for at, call in enumerate(calls):
            status = self._unmakeable(call)
            if status != _DONE:
                break
            args = [handles.live(a) if isinstance(a, Handle) else a for a in call.args]
            for argument in call.args:
                if isinstance(argument, Handle) and argument.token >= 0 and not ended:
                    given |= 1 << argument.token
            ended = ended or call.method in self._terminal
            note(Phase.CALLS, number | at)
            answer: Any = instance.methods[call.method](*args)
            answer = (answer[0] if isinstance(answer, tuple) else answer) or 0
            values.append(answer if answer < 1 << 63 else answer - (1 << 64))
            handles.after_call()
        note(Phase.ENDING, number | max(len(values) - 1, 0))
        released = instance.methods["Release"]()
        handles.after_call()
        twice = _bits(handles.closed_twice())
        left = _bits(handles.left_open()) & given
        handles.release()
        elapsed = time.perf_counter_ns() - started
        odd = status != _DONE or released != 0 or bool(left or twice) or min(values, default=0) < 0
        odd = odd or 0 < self._slow_ns <= elapsed
        head = _RESULT.pack(len(values), status, released, elapsed, left, twice, odd, 0, 0, 0, 0)
        return head + struct.pack(f"={len(values)}q", *values)

    def _unmakeable(self, call: Call) -> int:
        """Why a call cannot be made, _DONE if it can."""
        inputs = self._methods[call.method].inputs
        if len(call.args) != len(inputs) or not all(map(fits, inputs, call.args)):
            return _UNFIT
        tokens = [a.token for a in call.args if isinstance(a, Handle)]
        return _NO_HANDLE if any(token >= SYMBOLS for token in tokens) else _DONE


def _bits(tokens: Iterable[int]) -> int:
    bits = 0
    for token in tokens:
        bits |= 1 << token if token >= 0 else 0
    return bits
