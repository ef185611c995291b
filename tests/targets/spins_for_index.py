"""The bug: Progress counts up to its index, which takes for ever if that is large (H18).

The shortest sequence that shows it is one Progress; from which index on depends on the time that it is given.
"""

from __future__ import annotations

from typing import Any


class Host:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        count = 0
        while count < index:
            count += 1
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
