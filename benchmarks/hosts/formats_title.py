"""A window title made of the step's text and its percentage.

Bug: the text becomes a part of the format, so a "%" in it is read as one.
Depth: 1
Code: X3

    Progress("100%", 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.title = ""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        percent = min(index, maximum) * 100 // maximum if maximum else 0
        if text is not None:
            self.title = f"{text[:260]}: %d" % percent
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
