"""The bug: each sync that failed is kept in a list of the class, which nobody empties (X10).

The shortest sequence that shows it, over and over:

    Done(NULL, E_FAIL)
"""

from __future__ import annotations

from typing import Any


class Host:
    failed: list[Host] = []  # noqa: RUF012 - that is the bug

    def __init__(self) -> None:
        self.done = False
        self.results: list[int] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        if result < 0:
            self.results.append(result)
            self.failed.append(self)
        return 0
