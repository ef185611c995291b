"""The bug: Done looks whether there were problems, lets go of the lock, and says later what it saw (H17).

An Error in between is counted, and the dialog still says that there was none.  The shortest schedule that shows
it, with a column for each thread:

    Done(NULL, S_OK)
      clean = not self.problems
                                      Error(E_FAIL, "")
      self.summary = "Finished"
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ending = False
        self.problems = 0
        self.summary = ""

    def state(self) -> dict[str, Any]:
        return {"problems": self.problems, "summary": self.summary}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with self.lock:
            if not self.summary:
                self.problems += 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.ending:
                return 0
            self.ending = True
            clean = not self.problems
        with self.lock:
            self.summary = "Finished" if clean else "Finished with problems"
        if hasattr(handle, "close"):
            handle.close()
        return 0
