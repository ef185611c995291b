"""A bar that slows down towards its end.

Bug: the way that is left is negative when the index is beyond the maximum, and has no square root.
Depth: 1
Code: X3

    Progress(NULL, 2, 1)
"""

from __future__ import annotations

import math
from typing import Any


class Host:
    def __init__(self) -> None:
        self.left = 1.0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if maximum:
            self.left = math.sqrt((maximum - index) / maximum)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
