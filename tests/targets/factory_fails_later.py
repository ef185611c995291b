"""The bug: only two hundred hosts can be made in a process; then the factory raises."""

from __future__ import annotations

import itertools
from typing import Any

made = itertools.count(1)


class Host:
    def __init__(self) -> None:
        if next(made) > 200:
            raise RuntimeError("no more windows")

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
