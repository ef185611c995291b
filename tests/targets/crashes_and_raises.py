"""Two bugs: nearly every sequence kills the process, and one that does not may raise.

The shortest sequences that show them:

    Progress(NULL, 0, 0)                            SIGSEGV, unless a problem was reported before
    Error(E_FAIL, ""), Progress(NULL, 77, 1)        raises IndexError
"""

from __future__ import annotations

import ctypes
from typing import Any


class Host:
    def __init__(self) -> None:
        self.problems = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if not self.problems:
            ctypes.string_at(0)
        if index > maximum + 50:
            raise IndexError("beyond the end")
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.problems += 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
