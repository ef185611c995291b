"""The bug: Error shows its box, which lets messages through, while it holds the lock (H17, P21).

A call that comes in with the messages, on the same thread, waits for that lock for ever.  The shortest schedule
that shows it, one call nested in the other:

    Error(E_FAIL, "")
      self.pump()
        Progress(NULL, 0, 1)
          with self.lock
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.index = self.problems = 0
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        return {"index": self.index, "problems": self.problems, "result": self.result}

    def pump(self) -> None:
        """Where a message box lets messages through."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            if self.result is None:
                self.index = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with self.lock:
            if self.result is None:
                self.problems += 1
                self.pump()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.result is not None:
                return 0
            self.result = result
        if hasattr(handle, "close"):
            handle.close()
        return 0
