"""The bug: Done keeps its handle for ever and never closes it (H14).

The shortest sequence that shows it:

    Done(handle, S_OK)
"""

from __future__ import annotations

from typing import Any

kept: list[Any] = []


class Host:
    synctape_promises = ("closes-handle",)

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        kept.append(handle)
        return 0
