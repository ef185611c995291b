"""The bug: once the index has fallen, the dialog shows less than it had; no call fails, only invariant() does.

The shortest sequence that shows it:

    Progress(NULL, 1, 1)
    Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.highest = 0
        self.index = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.highest = max(self.highest, index)
        self.index = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0

    def invariant(self) -> None:
        assert self.index == self.highest, f"shows {self.index} after {self.highest}"
