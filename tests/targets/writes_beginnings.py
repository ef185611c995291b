"""The bug: Progress writes the text as if it were typed, the whole of it again with each letter (X19).

The shortest sequence that shows it:

    Progress("x" * 1000, 0, 1)
"""

from __future__ import annotations

import atexit
import os
from typing import Any

SCREEN = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - as long as the process
atexit.register(SCREEN.close)


class Host:
    def __init__(self) -> None:
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        for typed in range(len(text or "")):
            SCREEN.write(f"\r{text[: typed + 1] if text else ''}")
        SCREEN.flush()
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
