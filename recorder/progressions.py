"""Progressions: runs of calls that report a position, while its end stays the same and it does not fall back."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

__all__ = ["Progression", "Progressions"]

_TOP = 5


@dataclass(slots=True)
class Progression:
    """From call `first` to call `last`, `calls` of them, the position goes from `start` to `end`, of `limit`."""

    first: int
    last: int
    calls: int
    start: int
    end: int
    limit: int
    begun_ns: int
    ended_ns: int

    @property
    def complete(self) -> bool:
        """Whether the position has come to its end."""
        return self.limit > 0 and self.end == self.limit

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.begun_ns) / 1e9

    def as_json(self) -> dict[str, int | float]:
        fields = ("first", "last", "calls", "start", "end", "limit")
        return {**{name: getattr(self, name) for name in fields}, "seconds": self.seconds}


@dataclass
class Progressions:
    """The progressions of a trace: how many there are, how many are complete, and the longest (most calls)."""

    count: int = 0
    complete: int = 0
    longest: list[Progression] = field(default_factory=list)
    _best: list[tuple[int, int, Progression]] = field(default_factory=list)
    _now: Progression | None = None

    def report(self, number: int, time_ns: int, index: int, limit: int) -> None:
        """Call `number` reports a position."""
        now = self._now
        if now is not None and limit == now.limit and index >= now.end:
            now.last, now.end, now.ended_ns = number, index, time_ns
            now.calls += 1
            return
        self._close()
        self._now = Progression(number, number, 1, index, index, limit, time_ns, time_ns)

    def finish(self) -> None:
        """The trace has ended."""
        self._close()
        self._now = None
        self.longest = [progression for _, _, progression in sorted(self._best, reverse=True)]
        self._best = []

    def _close(self) -> None:
        if (now := self._now) is None:
            return
        self.count += 1
        self.complete += now.complete
        entry = now.calls, -now.first, now
        if len(self._best) < _TOP:
            heapq.heappush(self._best, entry)
        elif entry > self._best[0]:
            heapq.heapreplace(self._best, entry)
