"""A log of what was reported, written as UTF-8 when all is over.

Bug: WCHAR text may hold half a surrogate pair, which UTF-8 cannot say.
Depth: 2
Code: X3

    Error(E_FAIL, "\\ud800")
    Done(NULL, E_FAIL)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = b""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if len(self.lines) < 100:
            self.lines.append((text or "")[:260])
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.log = "\n".join(self.lines).encode("utf-8")
        return 0
