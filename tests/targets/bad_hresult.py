"""The bug: Done answers a failed sync with something that is no HRESULT (H6).

The shortest sequence that shows it:

    Done(NULL, E_FAIL)      returns "failed"
    Done(handle, E_FAIL)    returns 2**40
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> Any:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        if result >= 0:
            return 0
        return "failed" if handle is None else 2**40
