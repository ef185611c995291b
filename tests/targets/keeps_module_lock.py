"""A lock of the module's own, which Progress does not release where it is ended in its middle, as Error does.

Both let messages through while they hold it.
"""

from __future__ import annotations

import threading
from typing import Any

LOCK = threading.Lock()


class Host:
    def pump(self) -> None:
        """Where messages are let through."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        LOCK.acquire()
        self.pump()
        LOCK.release()
        return 0

    def Error(self, result: int, text: str | None) -> int:
        with LOCK:
            self.pump()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
