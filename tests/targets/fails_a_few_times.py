"""The bug is gone after a while, whatever is done: Error raises only as long as the file `unlucky` has bytes left.

Nothing shows it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Host:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        file = Path("unlucky")
        if file.exists() and (left := file.read_bytes()):
            file.write_bytes(left[1:])
            raise RuntimeError("not each time")
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
