"""A correct host: a bar, a step, a list of problems, and a handle that is closed once.

Bug: none
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Host:
    synctape_promises = ("closes-handle",)

    def __init__(self) -> None:
        self.step = ""
        self.percent = 0
        self.problems: deque[tuple[int, str]] = deque(maxlen=100)
        self.result: int | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.result is None:
            self.step = self.step if text is None else text[:260]
            self.percent = min(index, maximum) * 100 // maximum if maximum else 0
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if self.result is None:
            self.problems.append((result, (text or "")[:260]))
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.result is None:
            self.result = result
            if handle is not None:
                handle.close()
        return 0

    def invariant(self) -> None:
        assert 0 <= self.percent <= 100
