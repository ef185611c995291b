"""The bug: Done starts a thread that raises, so the exception never comes out of a call.

The shortest sequence that shows it:

    Done(NULL, S_OK)

Done waits for the thread, so the exception is there when it returns.
"""

from __future__ import annotations

import threading
from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        thread = threading.Thread(target=self._store)
        thread.start()
        thread.join()
        return 0

    def _store(self) -> None:
        raise LookupError("the result is not where it was put")
