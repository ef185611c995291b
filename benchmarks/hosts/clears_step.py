"""A dialog that names the step which is under way.

Bug: an error ends its step, and then a report without a text, of the same step, finds none.
Depth: 2
Code: X3

    Error(E_FAIL, "")
    Progress(NULL, 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.step: str | None = ""
        self.caption = ""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is not None:
            self.step = text
        self.caption = f"{self.step[:60]} ({index}/{maximum})"  # type: ignore[index]
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.step = None
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
