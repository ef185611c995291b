"""The bug: Progress divides by the maximum, which may be 0 (H10).

The shortest sequence that shows it:

    Progress(NULL, 0, 0)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.percent = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.percent = min(100, index * 100 // maximum)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
