"""A dialog with a row for each step that it has seen begin.

Bug: there are 48 rows, and no look at how many are taken.
Depth: 5
Code: X3

    49 x Progress("step {n}", 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.rows: list[str] = [""] * 48
        self.row_of: dict[str, int] = {}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        name = (text or "")[:60]
        if name and index == 0:
            row = self.row_of.setdefault(name, len(self.row_of))
            self.rows[row] = f"{name}: {maximum}"
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
