"""The bug: Done closes its handle twice (H14).

The shortest sequence that shows it:

    Done(handle, S_OK)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
            handle.close()
        self.done = True
        return 0
