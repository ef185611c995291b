"""A table that learns from the order of the reports which of its providers is speaking.

Bug: the last provider of the table has no name.
Depth: 5
Code: X3

    Progress(NULL, 0, 2)
    Progress(NULL, 1, 2)
    Error(S_OK, "")
    Progress(NULL, 1, 2)
    Progress(NULL, 0, 0)
    Progress(NULL, 0, 2)
    Error(E_FAIL, "")
    Progress(NULL, 2, 2)
"""

from __future__ import annotations

from typing import Any

BEGINS, GOES_ON, ENDS, WAITS, WARNS, FAILS, IS_OVER = range(7)

NEXT = {  # (state, what is reported): the next state; anything else leads to 0
    (0, BEGINS): 1,
    (1, BEGINS): 1,
    (1, GOES_ON): 2,
    (2, WARNS): 3,
    (3, GOES_ON): 4,
    (4, WAITS): 5,
    (5, BEGINS): 6,
    (6, FAILS): 7,
    (7, ENDS): 8,
}
NAMES = ("?", "?", "?", "old", "old", "gateway", "gateway", "relay")


class Host:
    def __init__(self) -> None:
        self.state = 0
        self.provider = "?"

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self._take(WAITS if not maximum else BEGINS if not index else GOES_ON if index < maximum else ENDS)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self._take(FAILS if result < 0 else WARNS)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self._take(IS_OVER)
        return 0

    def _take(self, reported: int) -> None:
        self.state = NEXT.get((self.state, reported), 0)
        self.provider = NAMES[self.state]
