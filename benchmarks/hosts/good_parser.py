"""A correct host: reads addresses, packed reports and "3 of 20" in texts, and takes what is none of them as it is.

Bug: none
"""

from __future__ import annotations

import re
from typing import Any

COUNT = re.compile(r"(\d{1,9}) of (\d{1,9})", re.ASCII)
KINDS = {"m": "Mail", "c": "Calendar", "t": "Tasks"}


class Host:
    def __init__(self) -> None:
        self.step = ""
        self.server = ""
        self.part = 0.0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        text = (text or "")[:260]
        if text.startswith("sync://"):
            self.server, _, port = text[7:].partition(":")
            if not (port.isascii() and port.isdigit()):
                self.server = ""
        elif text.startswith("#2;k"):
            self.step = KINDS.get(text[4:5], "Other")
        elif match := COUNT.search(text):
            at, of = int(match[1]), int(match[2])
            self.part = min(at, of) / of if of else 0.0
        else:
            self.step = text.encode("utf-8", "replace").decode("utf-8")
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
