"""Calls made one after the other on a fresh native object: what calls at the same time on one are judged by.

What is to be seen of it is the number that its library exports for it (docs/targets.md), if it does.  A call that
does not come back cannot be ended: nothing more is played then, since its thread stays where it is.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from recorder.calls import Call, Outcome
from replayer.judgement import Calls, UnjudgedError
from replayer.linear import Game, Look
from replayer.target import Instance, Target

__all__ = ["NativeSequential", "state_of"]

_CALL_SECONDS = 1.0  # until a call is taken to wait for another one
_ALL_SECONDS = 20.0  # for all plays of a run
_State = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)


def state_of(target: Target, instance: Instance) -> int | None:
    """The state that the target's library says an object is in, None if it says nothing."""
    address = getattr(target, "state", 0)
    return int(_State(address)(instance.pointer)) if address else None


class NativeSequential:
    """Plays calls of a native target, on one other thread.

    `held`: a call has not come back, so that another process should play what comes next.
    """

    ways = ("one play", "another")

    def __init__(self, calls: Calls):
        self.held = False
        self._calls = calls
        self._ends = time.monotonic() + _ALL_SECONDS
        self._work: queue.SimpleQueue[tuple[Instance, Call] | None] = queue.SimpleQueue()
        self._made: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="synctape-one-by-one", daemon=True)

    def begin(self, mask: Any = None, way: Any = None) -> Game:
        """A game.  Raises TargetError if the target gives no instance, UnjudgedError if this takes too long."""
        if time.monotonic() > self._ends:
            raise UnjudgedError(f"gave up after {_ALL_SECONDS:.0f} s")
        self._calls.note()
        return _Game(replace(self._calls, make=self._call))

    def close(self) -> None:
        """End the thread, if it can be ended."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._made.put(self._calls.make(*work))

    def _call(self, instance: Instance, call: Call) -> Outcome:
        if not self._thread.ident:
            self._thread.start()
        self._work.put((instance, call))
        try:
            return self._made.get(timeout=_CALL_SECONDS)
        except queue.Empty:
            self.held = True
            raise UnjudgedError(
                "gave up: the calls cannot be made one after the other, since they block"
            ) from None


class _Game:
    doubtful = False

    def __init__(self, calls: Calls):
        self._calls = calls
        self._instance = calls.target.instance()

    def make(self, number: int) -> Hashable:
        return self._calls.made(self._instance, number)

    def look(self) -> Look:
        return Look(state_of(self._calls.target, self._instance))

    end = look

    def close(self) -> None:
        self._instance.close()
        self._instance.handles.release()
