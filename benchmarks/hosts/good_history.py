"""A correct host: counts whatever can be counted, without an end, and keeps the last few reports.

Bug: none
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any


class Host:
    def __init__(self) -> None:
        self.calls = 0
        self.units = 0
        self.sum = 0
        self.failures: Counter[int] = Counter()
        self.last: deque[tuple[int, int]] = deque(maxlen=64)
        self.rate = 0.0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.calls += 1
        self.units += len(text or "")
        self.sum += index
        self.last.append((index, maximum))
        advance = self.last[-1][0] - self.last[0][0]
        self.rate = advance / (len(self.last) - 1) if len(self.last) > 1 else 0.0
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.calls += 1
        if len(self.failures) < 1000:
            self.failures[result] += 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.calls += 1
        return 0
