"""A dialog written as a generator: it waits at a yield for what comes next, so its state is nobody's attribute.

Bug: it has room for two retries of a step; a third one that is announced without a total finds none.
Depth: 4
Code: X3

    Progress(NULL, 0, 1)
    Error(E_FAIL, "")
    Progress(NULL, 0, 1)
    Error(E_FAIL, "")
    Progress(NULL, 0, 0)
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


class Host:
    def __init__(self) -> None:
        self._retries = [""] * 2
        self._dialog = self._run()
        next(self._dialog)

    def _run(self) -> Generator[None, str, None]:
        while True:
            if (yield) != "begins":
                continue
            if (yield) != "fails":
                continue
            self._retries[0] = "once"
            if (yield) != "begins":
                continue
            if (yield) != "fails":
                continue
            self._retries[1] = "twice"
            if (yield) == "waits":
                self._retries[2] = "three times"

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self._dialog.send("waits" if not maximum else "goes on" if index else "begins")
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self._dialog.send("fails" if result < 0 else "warns")
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self._dialog.send("ends")
        return 0
