"""The bug: the host raises while it is being freed, once Done was called.

The shortest sequence that shows it:

    Done(NULL, S_OK)
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
        self.done = True
        return 0

    def __del__(self) -> None:
        if self.done:
            raise RuntimeError("freed after Done")
