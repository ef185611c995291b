"""The bug: Error opens a log and never closes it (X11).

The shortest sequence that shows it, over and over:

    Error(E_FAIL, "")
"""

from __future__ import annotations

import os
from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        log = os.open(os.devnull, os.O_WRONLY)
        os.write(log, b"an error\n")
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
