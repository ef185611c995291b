"""A campaign over time: snapshots of its progress, close together where much happened, and few in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["History"]

_NEWS = ("traces", "new", "covered", "states", "failures")  # what of a snapshot is worth another one
_FIRST_GAP, _GAP = 0.2, 0.01  # seconds; share of the time that has passed
_QUIET_GAP, _QUIET = 5.0, 0.1  # the same where nothing is new
_MOST = 400


class History:
    """Takes snapshots (`Progress.snapshot`) as often as they come and keeps those that show how it went.

    One is kept when something was new, but no sooner than a hundredth of the time that has passed, so that days
    need hardly more of them than minutes; now and then, too, where nothing was.  Beyond `most` every other one is
    given up.
    """

    def __init__(self, most: int = _MOST):
        self._most = max(most, 4)
        self._coarser = 1
        self.snapshots: list[dict[str, Any]] = []

    def note(self, snapshot: Mapping[str, Any]) -> None:
        """Keep the snapshot if it is worth it.  They come in the order of their `seconds`."""
        if self.snapshots and not self._worth(snapshot):
            return
        self.snapshots.append(dict(snapshot))
        if len(self.snapshots) > self._most:
            self._coarser *= 2
            self.snapshots[1:-1] = self.snapshots[2:-1:2]

    def until(self, last: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The snapshots kept, and the last one whatever it shows."""
        if self.snapshots and self.snapshots[-1] == last:
            return list(self.snapshots)
        return [*self.snapshots, dict(last)]

    def _worth(self, snapshot: Mapping[str, Any]) -> bool:
        before, now = self.snapshots[-1], snapshot["seconds"]
        passed = now - before["seconds"]
        if passed >= max(_QUIET_GAP, now * _QUIET) * self._coarser:
            return True
        news = any(snapshot.get(key) != before.get(key) for key in _NEWS)
        return news and passed >= max(_FIRST_GAP, now * _GAP) * self._coarser
