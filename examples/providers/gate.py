"""A gate for calls of several threads, after the last of which none may come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Gate"]


class Gate:
    """Lets calls through until it is shut; whoever shuts it waits for those that are under way.

    No lock is held while a call is made: a host may take its time, or call back.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._open = True

    @contextmanager
    def passing(self) -> Iterator[bool]:
        """Whether the call may be made."""
        with self._changed:
            passes = self._open
            self._under_way += passes
        try:
            yield passes
        finally:
            with self._changed:
                self._under_way -= passes
                self._changed.notify_all()

    def shut(self) -> None:
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: not self._under_way)
