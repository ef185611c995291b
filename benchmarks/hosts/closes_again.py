"""A dialog that shows a box when a sync has failed, and closes the handle when the box is gone.

Bug: a Done that comes while the box of the first is still open closes its handle and then the one that the first
has kept: the same one, twice.
Depth: 3
Code: H14

    Error(E_FAIL, "")
    Done(sync-event, E_FAIL)
    Done(sync-event, E_FAIL)
"""

from __future__ import annotations

from typing import Any


class Host:
    def __init__(self) -> None:
        self.failures = 0
        self.box = False
        self.finished = False
        self.kept: Any = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if result < 0 and not self.finished:
            self.failures += 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.box:  # it is open and lets messages through
            self._close(handle)
            self._dismiss()
        elif not self.finished:
            self.finished = True
            if result < 0 and self.failures:
                self.box, self.kept = True, handle
            else:
                self._close(handle)
        return 0

    def _dismiss(self) -> None:
        self.box = False
        self._close(self.kept)

    def _close(self, handle: Any) -> None:
        if hasattr(handle, "close"):
            handle.close()
