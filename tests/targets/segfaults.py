"""The bug: Progress reads beyond a table when the index is above the maximum (H10); the process dies.

The shortest sequence that shows it:

    Progress(NULL, 1, 0)
"""

from __future__ import annotations

import ctypes
from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index > maximum:
            ctypes.string_at(0)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
