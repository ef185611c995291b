"""The values of a campaign: what it is asked for, how far it is, what it gives back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.buckets import Found
from fuzz.history import History
from recorder.contract import Level

__all__ = ["CampaignOptions", "Progress", "Summary"]

_FIRST_BATCH = 32  # sequences


@dataclass(frozen=True)
class CampaignOptions:
    """`max_time` seconds and `max_runs` sequences bound the search (None: no bound).

    `level` is the highest one that is searched and reported.  `timeout`: seconds without progress that count
    as a hang; `memory`: MiB.  `batch` is how many sequences are made from one state of the corpus, fewer at first:
    `size_of` a batch.  `jobs`: how many searching processes there are at once; with one the same seed gives the
    same run.  `corpus_share` of `max_time` is the most that replaying the corpus may take.  Is that all of it, the
    corpus takes turns with the search, which finds at once what is near; else it comes first.  `tries`: how often
    a sequence is played that does not fail each time.  `cluster`: the address of the Dask scheduler on whose
    workers it searches (None: here).  `cover`: modules and packages whose code counts beside the target's own.
    `threads`: of more than one, up to so many call at once, and their schedules are searched.
    """

    seed: int = 0
    max_time: float | None = 60.0
    max_runs: int | None = None
    level: Level = Level.HOSTILE
    exit_first: bool = False
    slow: float = 1.0
    timeout: float = 5.0
    memory: int | None = None
    disabled: frozenset[str] = frozenset()
    retained: bool = False
    batch: int = 250
    minimise_tries: int = 4000
    jobs: int = 1
    cluster: str | None = None
    corpus_share: float = 1.0
    tries: int = 10
    cover: tuple[str, ...] = ()
    threads: int = 1

    @property
    def corpus_first(self) -> bool:
        """Whether the corpus is replayed before the search begins."""
        return self.corpus_share < 1

    def size_of(self, number: int) -> int:
        """How many sequences a batch has: the first ones are small, since what they find the next builds on."""
        return min(self.batch, _FIRST_BATCH << min(number, 16))


@dataclass
class Progress:
    """How far a campaign is.

    `kept` counts sequences that brought something new, `ended` those that reach the call that ends the protocol,
    `deaths` those at which the searching process died, `unconfirmed` those that failed once and not again,
    `unplayed` traces of the corpus for which there was no time.
    `covered` of `sites` places of the target's code were reached, and `states` shapes of its visible state seen.
    `transitions` counts calls by the contract's state before them and their method.
    `history` is how it came here, as far as `note` was called on the way.
    """

    runs: int = 0
    calls: int = 0
    ended: int = 0
    kept: int = 0
    covered: int = 0
    sites: int = 0
    states: int = 0
    seconds: float = 0.0
    corpus: int = 0
    deaths: int = 0
    unconfirmed: int = 0
    unplayed: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    earned: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: int = 0
    last_new: float = 0.0
    history: History = field(default_factory=History, compare=False, repr=False)

    def snapshot(self) -> dict[str, Any]:
        """The counts as plain values, under the names that `synctape fuzz --json` gives them."""
        return {
            "seconds": round(self.seconds, 3),
            "traces": self.corpus,
            "runs": self.runs,
            "calls": self.calls,
            "ended": self.ended,
            "new": self.kept,
            "covered": self.covered,
            "sites": self.sites,
            "states": self.states,
            "transitions": len(self.transitions),
            "deaths": self.deaths,
            "unconfirmed": self.unconfirmed,
            "failures": self.failures,
            "last_new": round(self.last_new, 3),
        }

    def note(self) -> None:
        """Remember how far it is now."""
        self.history.note(self.snapshot())


@dataclass
class Summary:
    """What a campaign gives back.

    `stopped` says why it ended: "time", "runs", "first failure", "interrupted", or "terminated" where a subclass
    of KeyboardInterrupt stood for another signal.  `gone` are failures of before that do not fail any more.
    """

    progress: Progress
    found: list[Found]
    stopped: str
    files: dict[str, Path] = field(default_factory=dict)
    gone: list[Found] = field(default_factory=list)

    @property
    def new(self) -> list[Found]:
        """The failures that were not known from before."""
        return [found for found in self.found if not found.known]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The campaign over time: snapshots, the last one of its end."""
        return self.progress.history.until(self.progress.snapshot())
