"""A dialog that shows the server of a step that is named by its address.

Bug: an address without a port cannot be split.
Depth: 3
Code: X3

    Progress("sync://", 0, 1)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.step = ""
        self.server = ("", "")

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is None:
            return 0
        self.step = text[:260]
        if text.startswith("sync://"):
            host, port = text[7:].split(":", 1)
            self.server = (host[:60], port[:5])
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
