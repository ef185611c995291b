"""Playing sequences as scheduled ones: threads run at the same time, as the calls' threads and switches say."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from recorder.calls import Call, Header, Trace
from recorder.interface import Interface
from replayer.isolation import Player
from replayer.player import Run

__all__ = ["Scheduled", "scheduled_trace"]


def scheduled_trace(calls: Iterable[Call], interface: Interface) -> Trace:
    """Calls as a trace that is scheduled."""
    return Trace.from_calls(calls, Header(interface=interface, scheduled=True))


class Scheduled:
    """Plays each sequence of calls as a scheduled one, on another player; a trace says itself what it is."""

    def __init__(self, player: Player):
        self.spec = player.spec
        self.interface = player.interface
        self._player = player

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        if not isinstance(trace, Trace):
            trace = scheduled_trace(trace, self.interface)
        return self._player.play(trace, timeout=timeout)

    def close(self) -> None:
        """The other player's is whose it was."""

    def __enter__(self) -> Scheduled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
