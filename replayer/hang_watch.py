"""The stack of a request that hangs, where no signal can ask for it (Windows).

A thread looks now and then how far the request is, and writes all stacks when it has stood still for half its
time.  It holds the interpreter meanwhile, so nothing moves under it.

Native code that hangs may hold the interpreter itself.  Then faulthandler's timer writes, which needs nothing of
it; as long as the thread comes to its turn it puts the timer off.  By itself the timer would not do: it reads the
frames of threads that go on running, and now and then the process dies of that.
"""

from __future__ import annotations

import _thread
import faulthandler
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["HEADING", "HangWatch"]

HEADING = "Timeout ("  # of a stack that was written because time went by, also of faulthandler's own

_LOOKS = 8  # in the time that a request has
_LEAST_SECONDS = 0.01  # between two


class HangWatch:
    """Writes to `stack` when a request under way hangs; `position` says how far it is.

    It lives as long as the process, on a thread that is none of `threading`'s: a target does not see it there.
    """

    def __init__(self, stack: BinaryIO, position: Callable[[], tuple[int, int]]):
        self._stack = stack
        self._position = position
        self._lock = _thread.allocate_lock()
        self._changed = threading.Event()
        self._seconds = 0.0  # of the request under way, 0: none is
        self._put_off = 0.0  # by how much the timer was put off, 0: it does not run; and when
        self._put_off_at = 0.0
        self._seen = (0, 0)
        self._since = 0.0
        self._written = False
        _thread.start_new_thread(self._watch, ())

    @contextmanager
    def request(self, seconds: float) -> Iterator[None]:
        """A request is under way, which has `seconds` for each step."""
        with self._lock:
            self._seconds = seconds
            self._seen, self._since, self._written = self._position(), time.monotonic(), False
            if self._put_off != seconds:
                self._restart(seconds)
                self._changed.set()
        try:
            yield
        finally:
            self._seconds = 0.0  # the timer goes on: most often the next request is soon there

    def _watch(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            while seconds := self._look():
                self._changed.wait(max(seconds / _LOOKS, _LEAST_SECONDS))

    def _look(self) -> float:
        """How long the request may take; 0 when there is none, and the timer has stopped."""
        with self._lock:
            seconds, now = self._seconds, time.monotonic()
            if not seconds or now - self._put_off_at >= seconds / 4:  # each time costs a thread
                self._restart(seconds)
            if seconds:
                position = self._position()
                if position != self._seen:
                    self._seen, self._since, self._written = position, now, False
                elif not self._written and now - self._since >= seconds / 2:
                    self._written = True
                    with suppress(OSError):  # the disk is full
                        self._stack.write(f"{HEADING}no progress for {seconds / 2:g} s)!\n".encode())
                        faulthandler.dump_traceback(self._stack, all_threads=True)
            return seconds

    def _restart(self, seconds: float) -> None:
        self._put_off, self._put_off_at = seconds, time.monotonic()
        if seconds:
            with suppress(RuntimeError):  # the system gives no thread
                faulthandler.dump_traceback_later(seconds, file=self._stack)
        else:
            faulthandler.cancel_dump_traceback_later()
