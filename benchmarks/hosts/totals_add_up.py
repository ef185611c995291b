"""A dialog that is told a total first and then sees steps end, and tells how much of the total is left for each.

Bug: when the steps that have ended make up just the total, nothing is left, and is divided by.
Depth: 4
Code: X3

    Progress("all", 0, 100)
    Progress("a", 60, 60)
    Progress("b", 40, 40)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.total = 0
        self.ended: list[int] = []
        self.shares: list[int] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if not self.total and index == 0 and maximum >= 100:
            self.total = maximum
        elif self.total and index == maximum > 0 and len(self.ended) < 100:
            self.ended.append(maximum)
            left = self.total - sum(self.ended)
            if len(set(self.ended)) > 1:
                self.shares = [size * 100 // left for size in self.ended]
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
