"""A dialog that says at the end how often the problem came back that the sync has ended with.

Bug: the number of other problems in between, less one, is divided by.
Depth: 4
Code: X3

    Error(E_FAIL, "")
    Error(E_ABORT, "")
    Error(E_FAIL, "")
    Done(NULL, E_FAIL)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.codes: list[int] = []
        self.summary = ""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if len(self.codes) < 100 and result not in self.codes[-1:]:
            self.codes.append(result)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        places = [place for place, code in enumerate(self.codes) if code == result]
        if len(places) > 1:
            between = places[1] - places[0] - 1
            self.summary = f"about {len(self.codes) // (between - 1)} times"
        return 0
