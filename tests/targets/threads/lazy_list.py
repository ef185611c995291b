"""The bug: the list of problems is made by the first Error, which may be two of them at once (H17).

The second list takes the place of the first one, and of the problem in it.  The shortest schedule that shows it,
with a column for each thread:

    Error(E_FAIL, "")
      if self.problems is None
                                      Error(E_FAIL, "")
      self.problems = []
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.problems: list[int] | None = None
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        return {"problems": list(self.problems or ()), "result": self.result}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if self.result is None:
            if self.problems is None:
                self.problems = []
            self.problems.append(result)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.result is not None:
                return 0
            self.result = result
        if hasattr(handle, "close"):
            handle.close()
        return 0
