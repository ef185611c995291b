"""The bug: Progress stores an index and its maximum one after the other without a lock (H17).

A Progress in between leaves its index beside the other's maximum.  The shortest schedule that shows it, with a
column for each thread:

    Progress(NULL, 0, 1)
      self.index = index
                                      Progress(NULL, 1, 2)
      self.maximum = maximum
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.index: int | None = None
        self.maximum: int | None = None
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        return {"index": self.index, "maximum": self.maximum, "result": self.result}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.result is None:
            self.index = index
            self.maximum = maximum
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.result is not None:
                return 0
            self.result = result
        if hasattr(handle, "close"):
            handle.close()
        return 0
