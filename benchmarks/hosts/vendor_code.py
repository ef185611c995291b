"""A list of problems that knows the code of one vendor's quota.

Bug: its text is taken to be "used/total"; any other one cannot be split.
Depth: 3
Code: X3

    Error(0x8004E1A7, NULL)
"""

from __future__ import annotations

from typing import Any

QUOTA = 0x8004E1A7


class Host:
    def __init__(self) -> None:
        self.problems = 0
        self.quota = ("", "")

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.problems = min(self.problems + 1, 100)
        if result & 0xFFFFFFFF == QUOTA:
            used, total = (text or "").split("/")
            self.quota = (used[:20], total[:20])
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
