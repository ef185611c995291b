"""A correct host: one lock for all that it knows, and none held while it calls out."""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.text = ""
        self.index = self.maximum = self.problems = 0
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        with self.lock:
            return {
                "text": self.text,
                "position": (self.index, self.maximum),
                "problems": self.problems,
                "result": self.result,
            }

    def pump(self) -> None:
        """Where a message box lets messages through."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            if self.result is None:
                if text is not None:
                    self.text = text[:100]
                self.index, self.maximum = index, maximum
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with self.lock:
            if self.result is not None:
                return 0
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
