"""A correct host without locks: a chain of immutable snapshots, of which the last is what is shown.

Each snapshot has room for one successor.  `dict.setdefault` puts it there in one step, for one thread alone; who
comes second goes on from what the first has put there.  `latest` only saves the way along the chain: where a slow
thread has set it back, the way is longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    text: str = ""
    position: tuple[int, int] = (0, 0)
    problems: int = 0
    result: int | None = None
    successor: dict[str, Snapshot] = field(default_factory=dict)

    def but(self, **changes: Any) -> Snapshot:
        return replace(self, successor={}, **changes)


class Host:
    def __init__(self) -> None:
        self.latest = Snapshot()

    def state(self) -> dict[str, Any]:
        now = self._now()
        return {"text": now.text, "position": now.position, "problems": now.problems, "result": now.result}

    def pump(self) -> None:
        """Where a message box lets messages through."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        def shown(before: Snapshot) -> Snapshot:
            return before.but(text=before.text if text is None else text[:100], position=(index, maximum))

        self._follow(shown)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if self._follow(lambda before: before.but(problems=before.problems + 1)):
            self.pump()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self._follow(lambda before: before.but(result=result)) and hasattr(handle, "close"):
            handle.close()
        return 0

    def _now(self) -> Snapshot:
        now = self.latest
        while now.successor:
            now = now.successor["next"]
        return now

    def _follow(self, change: Callable[[Snapshot], Snapshot]) -> bool:
        """Put what comes next behind what is shown now; False once the sync has ended."""
        while True:
            before = self._now()
            if before.result is not None:
                return False
            after = change(before)
            if before.successor.setdefault("next", after) is after:
                self.latest = after
                return True
