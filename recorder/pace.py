"""Rates and gaps: what a contract's Pace asks of the times at which calls were made.

A flood is more than so many reports of progress within one second.  A gap is a time in which the sync was going
on, no call was running, and none began: the time that a host takes to answer is not the provider's.  A flood and a
gap are told once each, however long they last.

Only a recording has times of its own; the calls of a campaign carry those of other traces, or none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recorder.calls import Call, Outcome
from recorder.contract import Contract, Violation
from recorder.short import rounded
from recorder.trim import has_holes

__all__ = ["PaceBreach", "PaceLimits", "PaceMonitor", "has_own_times"]

_SECOND = 10**9
_RECORDED = ("captured", "imported")  # kinds of provenance


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """Limits that somebody asked for; None: the contract's own, which no page of the documentation states."""

    rate: int | None = None
    gap_ns: int | None = None

    def __bool__(self) -> bool:
        return self != PaceLimits()


class PaceBreach(NamedTuple):
    """A rule that is broken, and whether by a limit that was asked for."""

    violation: Violation
    asked: bool


class PaceMonitor:
    """Follows the calls of one trace; `breaches` is what they broke.  Nothing, for a contract without a Pace."""

    def __init__(self, contract: Contract, limits: PaceLimits = PaceLimits()):
        self.breaches: list[PaceBreach] = []
        self._contract = contract
        self._pace = pace = contract.pace
        self._rate = limits.rate or (pace.rate if pace else 0)
        self._gap_ns = limits.gap_ns or (pace.gap_ns if pace else 0)
        self._limits = limits
        self._reports: deque[int] = deque(maxlen=self._rate + 1)  # when the last ones began
        self._flood = False
        self._open: dict[int, int] = {}  # when calls that are running began
        self._heard = 0  # when a call last began or ended
        self._started = False

    def enter(self, number: int, call: Call, state: str) -> None:
        """A call begins, in this state of the contract."""
        pace, now = self._pace, call.time_ns
        if pace is None:
            return
        going_on = self._started and state not in self._contract.ended and state != self._contract.released
        if going_on and not self._open and now - self._heard > self._gap_ns:
            asked = self._limits.gap_ns is not None
            self._break(number, f"no call for {rounded(now - self._heard)} before {call.method}", asked)
        self._heard = max(self._heard, now)
        self._open[number] = now
        self._started = self._started or call.method not in self._contract.interface.unknown
        if call.method == pace.method:
            self._reports.append(now)
            span = now - self._reports[0]
            flood = len(self._reports) > self._rate and 0 < span < _SECOND
            if flood and not self._flood:
                told = f"{len(self._reports)} calls of {call.method} within {rounded(span)}"
                self._break(number, told, self._limits.rate is not None)
            self._flood = flood

    def leave(self, number: int, outcome: Outcome) -> None:
        """A call ends."""
        if self._pace is not None:
            self._heard = max(self._heard, self._open.pop(number) + outcome.elapsed_ns)

    def _break(self, number: int, message: str, asked: bool) -> None:
        assert self._pace is not None
        rule = self._contract.rules[self._pace.rule]
        self.breaches.append(PaceBreach(Violation(rule, number, message), asked))


def has_own_times(provenance: Mapping[str, Any]) -> bool:
    """Whether a trace's times are those of its calls, and no calls between them were left out."""
    kind = provenance.get("kind")
    if kind == "merged":
        kind = provenance.get("was")
    return kind in (None, "", *_RECORDED) and not has_holes(provenance)
