"""A sync's calls as most libraries see them: three plain things to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Adapter"]


class Adapter:
    """What each host here is: it can `show` a text and how far a sync is, `tell` of an error, and `end`."""

    show: Callable[[str, int, int], object]
    tell: Callable[[str], object]
    end: Callable[[], object]

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.show(text or "", index, index_max)

    def Error(self, result: int, text: str | None) -> None:
        self.tell(text or f"{result & 0xFFFFFFFF:#010x}")

    def Done(self, event: Any, result: int) -> None:
        self.end()
