"""The bug: Done looks whether the handle was closed, and notes only then that it is, without a lock (H14, H17).

Two of them at once close it twice.  The shortest schedule that shows it, with a column for each thread:

    Done(handle, S_OK)
      if not self.closed
                                      Done(handle, S_OK)
      self.closed = True
      handle.close()
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self.index = 0

    def state(self) -> dict[str, Any]:
        return {"closed": self.closed, "index": self.index}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            if not self.closed:
                self.index = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.closed:
            self.closed = True
            if hasattr(handle, "close"):
                handle.close()
        return 0
