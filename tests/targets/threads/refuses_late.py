"""A correct host: one lock, and whatever comes once Done has taken it is refused."""

from __future__ import annotations

import threading
from typing import Any

E_UNEXPECTED = -2147418113


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reports = self.problems = 0
        self.result: int | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            if self.result is not None:
                return E_UNEXPECTED
            self.reports += 1
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with self.lock:
            if self.result is not None:
                return E_UNEXPECTED
            self.problems += 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            if self.result is not None:
                return E_UNEXPECTED
            self.result = result
        if hasattr(handle, "close"):
            handle.close()
        return 0
