"""The bug: Progress takes the text apart from its front, one character after the other, and copies all the rest
each time (X18).

The shortest sequence that shows it:

    Progress("x" * 8000, 0, 1)

Twice as long a text takes four times as long.
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.width = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.width, left = 0, list(text or "")
        while left:
            self.width += 1 + (ord(left[0]) > 0x2E7F)
            left = left[1:]
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
