"""A dialog that draws the course of a step as a curve.

Bug: the curve has 300 points; a step that goes on for longer, without a problem, has more.
Depth: 5
Code: X3

    301 x Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.step = ""
        self.curve = [0] * 300
        self.points = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is not None and text != self.step:
            self.step, self.points = text, 0
        self.curve[self.points] = index
        self.points += 1
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.points = 0
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.points = 0
        return 0
