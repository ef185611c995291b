"""The bug: Error ends the whole process when it does not know the code (H13).

The shortest sequence that shows it:

    Error(0x8000DEAD, "")

Any failure that is not in the table does it.
"""

from __future__ import annotations

import os
from typing import Any

KNOWN = {
    0x80004004,
    0x80004005,
    0x80070005,
    0x8004010D,
    0x8004010F,
    0x80040111,
    0x80040113,
    0x80040115,
    0x80040401,
}


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if result < 0 and result & 0xFFFFFFFF not in KNOWN:
            os._exit(3)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
