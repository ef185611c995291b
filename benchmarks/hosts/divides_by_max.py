"""A bar that shows a share of any maximum.

Bug: a maximum of 0, "not known yet", is divided by.
Depth: 1
Code: X3

    Progress(NULL, 0, 0)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.step = ""
        self.percent = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is not None:
            self.step = text[:260]
        self.percent = min(index, maximum) * 100 // maximum
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
