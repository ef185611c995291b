"""The bug: Progress queues its report after it has looked whether the sync has ended, without a lock (H17).

What is queued after Done has drained the queue waits there for ever.  The shortest schedule that shows it, with a
column for each thread:

    Progress(NULL, 0, 1)
      if not self.ended
                                      Done(NULL, S_OK)
      self.waiting.append(index)
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended = False
        self.waiting: deque[int] = deque()
        self.shown: list[int] = []

    def state(self) -> dict[str, Any]:
        return {"ended": self.ended, "waiting": list(self.waiting), "shown": list(self.shown)}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if not self.ended:
            self.waiting.append(index)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.ended:
                return 0
            self.ended = True
        while self.waiting:
            self.shown.append(self.waiting.popleft())
        if hasattr(handle, "close"):
            handle.close()
        return 0
