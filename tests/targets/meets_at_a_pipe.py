"""No bug: a call of index 0 waits until one of index 1 is made on another thread, at a pipe of the system."""

from __future__ import annotations

import os
from typing import Any


class Host:
    def __init__(self) -> None:
        self.there, self.here = os.pipe()

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index == 0:
            os.read(self.there, 1)
        elif index == 1:
            os.write(self.here, b"1")
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if hasattr(handle, "close") and not handle.closed:
            handle.close()
        return 0

    def __del__(self) -> None:
        os.close(self.there)
        os.close(self.here)
