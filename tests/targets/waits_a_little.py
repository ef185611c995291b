"""No bug: each call takes a little while, so that a corpus takes long."""

from __future__ import annotations

import time
from typing import Any


class Host:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        time.sleep(0.05)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
