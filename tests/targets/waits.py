"""The bug: Done waits for a lock that Error has taken and keeps (H18); no Python code runs meanwhile.

The shortest sequence that shows it:

    Error(S_OK, "")
    Done(NULL, S_OK)
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.lock.acquire(blocking=False)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            return 0
