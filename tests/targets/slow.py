"""The bug: Progress keeps its caller waiting for about 0.3 s when the index is 7 (H18).

The shortest sequence that shows it:

    Progress(NULL, 7, 7)
"""

from __future__ import annotations

import time
from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        end = time.perf_counter() + 0.3
        while index == 7 and time.perf_counter() < end:
            pass
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
