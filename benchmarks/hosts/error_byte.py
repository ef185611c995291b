"""A dialog that tells another process how many failures there were, in a byte.

Bug: a long session has more than 255 failures.
Depth: 5
Code: X3

    256 x Error(E_FAIL, "")
"""

from __future__ import annotations

import struct
from typing import Any


class Host:
    def __init__(self) -> None:
        self.failures = 0
        self.sent = b""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if result < 0:
            self.failures += 1
            self.sent = struct.pack("B", self.failures)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
