"""Rounds: a second's worth of batches, played in another process that keeps its searching child between them.

What such a process has been told stays with it, by campaign and slot (it may search in several at once), so that a
round only says what is new.  A process that has just started knows nothing, and says so; then it is told all.  The
children end with their campaign, when nothing was asked of them for a while, and with the process.

Nothing here knows how a round comes to its process: fuzz.cluster sends them through Dask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fuzz.search import Fresh, Known, Played, Searcher, SearchPlan
from recorder.contract import Level
from recorder.errors import SynctapeError
from replayer.target import TargetError

__all__ = ["Answer", "Round", "end_campaign", "play_round"]

_IDLE_SECONDS = 60.0  # after which a child that is asked nothing is ended: whoever asked is gone
_DEATHS = 8  # in a round, after which whoever asked may know better


@dataclass(frozen=True, slots=True)
class Round:
    """Batches to play, for `seconds` and no more than `most` sequences (None: no bound); those left over are not.

    `known` holds of the sequences that were new those from number `first` on; the others the process has been
    told.  `plan` is None if it has been told that, too.
    """

    campaign: str
    slot: int
    batches: Sequence[tuple[int, Level]]
    most: int | None
    seconds: float
    known: Known
    first: int = 0
    plan: SearchPlan | None = None


@dataclass(slots=True)
class Answer:
    """What came of a round.

    `knows`: how many sequences that were new the process has been told, None if it does not even have the plan; in
    both cases nothing was played, and it is to be asked again.  `refused`: why the target gives no instance there;
    `failed`: why there is no child.
    """

    played: list[Played] = field(default_factory=list)
    again: bool = False
    knows: int | None = None
    refused: str = ""
    failed: str = ""


class _Slot:
    """One searcher, and what it has been told."""

    def __init__(self, plan: SearchPlan):
        self.searcher = Searcher(plan)
        self.fresh: list[Fresh] = []
        self.busy = threading.Lock()
        self.used = time.monotonic()

    def end(self) -> None:
        self.searcher.abandon()
        with self.busy:
            self.searcher.close()


_Key = tuple[str, int]
_slots: dict[_Key, _Slot] = {}
_changing = threading.Lock()  # of the above
_watching = threading.Event()  # whether there is a thread that ends what is idle


def play_round(asked: Round) -> Answer:
    """Play a round in this process."""
    key = (asked.campaign, asked.slot)
    with _changing:
        slot = _slots.get(key)
        if slot is None:
            if asked.plan is None:
                return Answer(again=True)
            slot = _slots[key] = _Slot(asked.plan)
            if not _watching.is_set():
                _watching.set()
                threading.Thread(target=_end_idle, name="synctape-idle", daemon=True).start()
    with slot.busy:
        if asked.first > len(slot.fresh):
            return Answer(again=True, knows=len(slot.fresh))
        slot.fresh[asked.first :] = asked.known.fresh
        answer = Answer(knows=len(slot.fresh))
        try:
            _play(asked, slot, answer)
        except TargetError as error:
            answer.refused = str(error)
        except SynctapeError as error:
            answer.failed = str(error)
        slot.used = time.monotonic()
    if answer.refused or answer.failed:
        _end([key])
    return answer


def _play(asked: Round, slot: _Slot, answer: Answer) -> None:
    ends = time.monotonic() + asked.seconds
    known = Known(slot.fresh, asked.known.deadly, asked.known.hangs, asked.known.growth)
    runs = 0
    for number, level in asked.batches:
        start, size = 0, slot.searcher.plan.options.size_of(number)
        while start < size:
            left = ends - time.monotonic()
            until = size if asked.most is None else min(size, start + asked.most - runs)
            if left <= 0 or until <= start:
                return
            played = slot.searcher.play(number, level, start, until, known, seconds=left)
            answer.played.append(played)
            runs += played.sequences
            start = played.next
            deaths = [death for part in answer.played for death in part.deaths]
            if len(deaths) >= _DEATHS or any(death.hung for death in deaths):
                return


def end_campaign(campaign: str) -> None:
    """End the children that this process keeps for a campaign."""
    _end([key for key in list(_slots) if key[0] == campaign])


def _end(keys: list[_Key]) -> None:
    for key in keys:
        with _changing:
            slot = _slots.pop(key, None)
        if slot is not None:
            slot.end()


def _end_idle() -> None:
    """Ends children of which nothing was asked for long; goes when there are none."""
    while True:
        time.sleep(min(1.0, _IDLE_SECONDS / 4))
        latest = time.monotonic() - _IDLE_SECONDS
        _end([key for key, slot in list(_slots.items()) if slot.used < latest and not slot.busy.locked()])
        with _changing:
            if not _slots:
                _watching.clear()
                return
