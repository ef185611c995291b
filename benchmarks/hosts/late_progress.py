"""A dialog that takes its bar away when all is over.

Bug: a worker that reports late, after Done, finds no bar.
Depth: 2
Code: X3

    Done(NULL, S_OK)
    Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Bar:
    def __init__(self) -> None:
        self.position = 0


class Host:
    def __init__(self) -> None:
        self.bar: Bar | None = Bar()

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if maximum:
            self.bar.position = min(index, maximum) * 100 // maximum  # type: ignore[union-attr]
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.bar = None
        return 0
