"""A correct host: nothing may be found in it.

It shows what Outlook's dialog shows, and keeps every H rule.
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.text = ""
        self.percent = 0
        self.problems = 0
        self.result: int | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.result is None:
            self.text = self.text if text is None else text[:100]
            self.percent = min(index, maximum) * 100 // maximum if maximum else 0
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if self.result is None:
            self.problems = min(self.problems + 1, 1000)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.result is None:
            self.result = result
            if hasattr(handle, "close"):
                handle.close()
        return 0

    def invariant(self) -> None:
        assert 0 <= self.percent <= 100
