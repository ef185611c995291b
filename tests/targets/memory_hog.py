"""The bug: Progress wraps a text of over 1000 characters into a cache that it never stops filling (H19).

The shortest sequence that shows it:

    Progress("x" * 1001, 0, 1)

Under a memory limit this ends in MemoryError or a killed process.  Without one it stops at 4 GiB, so that a
forgotten limit does not take the machine down.
"""

from __future__ import annotations

from typing import Any

CHUNK = 16 * 2**20  # bytes
FUSE = 256  # chunks


class Host:
    def __init__(self) -> None:
        self.done = False
        self.cache: list[bytes] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        while text is not None and len(text) > 1000 and len(self.cache) < FUSE:
            self.cache.append(b"\xff" * CHUNK)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if not self.done and hasattr(handle, "close"):
            handle.close()
        self.done = True
        return 0
