"""The bug: Done throws the dialog away, and a late Progress still writes to it (H15).

The shortest sequence that shows it:

    Done(NULL, S_OK)
    Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.dialog: Any = {}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.dialog["index"] = index
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.dialog is not None and hasattr(handle, "close"):
            handle.close()
        self.dialog = None
        return 0
