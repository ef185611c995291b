"""The bug: a fixed-size history overflows at the 100th Progress of one maximum since the last Error.

The shortest sequence that shows it:

    Progress(NULL, 0, 1) 100 times
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.maximum = -1
        self.history = [0] * 99
        self.length = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if maximum != self.maximum:
            self.maximum, self.length = maximum, 0
        self.history[self.length] = index
        self.length += 1
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.length = 0
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
