"""A correct host: a table of states with a name for each, and an end that nothing leads out of.

Bug: none
"""

from __future__ import annotations

from typing import Any

BEGINS, GOES_ON, ENDS, WAITS, WARNS, FAILS, IS_OVER = range(7)

NEXT = {
    ("idle", BEGINS): "running",
    ("running", BEGINS): "running",
    ("running", GOES_ON): "running",
    ("running", WAITS): "waiting",
    ("waiting", WAITS): "waiting",
    ("waiting", GOES_ON): "running",
    ("running", FAILS): "failing",
    ("failing", BEGINS): "retrying",
    ("retrying", GOES_ON): "running",
    ("retrying", FAILS): "failing",
    ("running", ENDS): "idle",
}
NAMES = {
    "idle": "Idle",
    "running": "Running",
    "waiting": "Waiting",
    "failing": "Failing",
    "retrying": "Retrying",
    "over": "Over",
}


class Host:
    def __init__(self) -> None:
        self.state = "idle"
        self.name = "Idle"

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
        if reported == IS_OVER:
            self.state = "over"
        elif self.state != "over":
            self.state = NEXT.get((self.state, reported), "idle")
        self.name = NAMES[self.state]
