"""A dialog that reads the packed reports of an old gateway, "#2;k" and a letter for the kind, unit by unit.

Bug: the letter may be missing.
Depth: 3
Code: X3

    Progress("#2;k", 0, 1)
"""

from __future__ import annotations

from typing import Any

KINDS = {"m": "Mail", "c": "Calendar", "t": "Tasks"}


class Host:
    def __init__(self) -> None:
        self.step = ""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text:
            self.step = self._kind(text) or text[:260]
        return 0

    def _kind(self, text: str) -> str | None:
        if len(text) < 4 or text[0] != "#":
            return None
        if text[1] != "2":
            return None
        if text[2] != ";":
            return None
        if text[3] != "k":
            return None
        return KINDS.get(text[4], "Other")

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
