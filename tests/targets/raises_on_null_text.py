"""The bug: Progress takes the length of a NULL text (H7).

The shortest sequence that shows it:

    Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.width = 0

    def Progress(self, text: str, index: int, maximum: int) -> int:
        self.width = max(self.width, len(text))
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
