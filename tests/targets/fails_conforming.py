"""The bug: Progress answers E_FAIL when a step is complete (H6), which every good sync reports.

The shortest sequence that shows it:

    Progress(NULL, 1, 1)
"""

from __future__ import annotations

from typing import Any

E_FAIL = -0x7FFFBFFB


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return E_FAIL if index == maximum else 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
