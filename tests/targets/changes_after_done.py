"""The bug: a Progress that comes after Done still moves the bar, which state() shows (H15).

The shortest sequence that shows it:

    Done(NULL, S_OK)
    Progress(NULL, 1, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.index = 0

    def state(self) -> dict[str, Any]:
        return {"index": self.index}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.index = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if hasattr(handle, "close"):
            handle.close()
        return 0
