"""The bug: Error takes the locks of the model and of the view in the other order than Progress does (H17, H18).

Each waits for what the other has.  The shortest schedule that shows it, with a column for each thread:

    Progress(NULL, 0, 1)
      takes self.view
                                      Error(E_FAIL, "")
                                        takes self.model
                                        waits for self.view
      waits for self.model
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.view = threading.Lock()
        self.model = threading.Lock()
        self.index = self.drawn = self.problems = 0
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        return {"index": self.index, "drawn": self.drawn, "problems": self.problems, "result": self.result}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.view, self.model:
            if self.result is None:
                self.index = self.drawn = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with self.model:
            if self.result is None:
                self.problems += 1
                with self.view:
                    self.drawn = 0
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.model:
            if self.result is not None:
                return 0
            self.result = result
        if hasattr(handle, "close"):
            handle.close()
        return 0
