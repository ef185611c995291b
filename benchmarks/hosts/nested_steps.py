"""A dialog that indents a step which begins before the one around it has ended.

Bug: there are indents for eight steps, one within the other.
Depth: 4
Code: X3

    9 x Progress("step {n}", 0, 1)
"""

from __future__ import annotations

from typing import Any

INDENTS = tuple("  " * depth for depth in range(8))


class Host:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.line = ""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index == 0 < maximum and text and text not in self.steps:
            self.line = INDENTS[len(self.steps)] + text[:60]
            self.steps.append(text)
        elif index >= maximum and self.steps:
            self.steps.pop()
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.steps.clear()
        return 0
