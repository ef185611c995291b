"""A thread that calls COM objects for others: initialised once, and left behind if a call does not return."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Apartment"]

_T = TypeVar("_T")
_COINIT_MULTITHREADED = 0


class Apartment:
    """Runs what it is given, one after the other, on a thread of the multithreaded apartment.

    MAPI's objects are free-threaded (interface.md, 1.1).  On other systems than Windows it is merely a thread.
    `name` is what the thread is called in traces.
    """

    def __init__(self, name: str = "host") -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], _T]) -> Future[_T]:
        """Have it called; the future has its result or exception."""
        future: Future[_T] = Future()

        def work() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self._work.put(work)
        return future

    def close(self, seconds: float) -> None:
        """End the thread; wait so long for what it is doing."""
        self._work.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        if sys.platform == "win32":
            import ctypes

            ole = ctypes.WinDLL("ole32")
            initialised = ole.CoInitializeEx(None, _COINIT_MULTITHREADED) >= 0
            try:
                self._serve()
            finally:
                if initialised:
                    ole.CoUninitialize()
        else:
            self._serve()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
