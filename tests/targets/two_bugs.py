"""Two bugs in one method, so that one may be traded for the other; and a third behind the first.

The shortest sequences that show them:

    Error(E_FAIL, ""), Progress("x", 0, 1)      raises KeyError
    Progress(NULL, 3, 1)                        raises IndexError
    Error(E_ABORT, "")                          raises ValueError
"""

from __future__ import annotations

from typing import Any

E_ABORT = -0x7FFFBFFC


class Host:
    def __init__(self) -> None:
        self.errors: dict[str, int] = {"": 0}
        self.failed = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index > maximum + 1:
            raise IndexError("beyond the end")
        if self.failed and text:
            return self.errors[text]
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if result == E_ABORT:
            raise ValueError("no abort")
        self.failed = True
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
