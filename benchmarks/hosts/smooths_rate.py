"""A dialog that tells how many reports a long step will still take, from the last three of them.

Bug: it tells a step that stands still by its last two reports being equal.  One that went up and came back has
advanced by nothing, too.
Depth: 3
Code: X3

    Progress(NULL, 0, 1000)
    Progress(NULL, 1, 1000)
    Progress(NULL, 0, 1000)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.step = ""
        self.maximum = 0
        self.last: list[int] = []
        self.left: int | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if (text is not None and text != self.step) or maximum != self.maximum:
            self.step = self.step if text is None else text
            self.maximum = maximum
            self.last.clear()
        self.last = [*self.last[-2:], index]
        self.left = None
        if maximum >= 1000 and len(self.last) == 3 and index <= maximum:
            first, second, third = self.last
            if second != third:
                self.left = (maximum - third) * 2 // (third - first)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.last.clear()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
