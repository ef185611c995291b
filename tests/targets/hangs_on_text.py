"""The bug: Progress takes its text for a format, and counts the first "%s" for ever (H12, H18).

The shortest sequence that shows it:

    Progress("%s", 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False
        self.fields = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        at = -1 if text is None else text.find("%s")
        while text is not None and at >= 0:
            self.fields += 1
            at = text.find("%s", at)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
