"""The values of a campaign: what it is asked for, how far it is, what it gives back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.buckets import Found
from recorder.contract import Level

__all__ = ["CampaignOptions", "Progress", "Summary"]


@dataclass(frozen=True)
class CampaignOptions:
    """`max_time` seconds and `max_runs` sequences bound the search (None: no bound).

    `level` is the highest one that is searched and reported.  `timeout`: seconds without progress that count
    as a hang; `memory`: MiB.  `batch` is how many sequences are made from one state of the corpus.
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


@dataclass
class Progress:
    """How far a campaign is.

    `kept` counts sequences that brought something new, `ended` those that reach the call that ends the protocol,
    `deaths` those at which the searching process died, `unconfirmed` those that failed once and not again.
    """

    runs: int = 0
    calls: int = 0
    ended: int = 0
    kept: int = 0
    covered: int = 0
    sites: int = 0
    seconds: float = 0.0
    corpus: int = 0
    deaths: int = 0
    unconfirmed: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    earned: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    last_new: float = 0.0


@dataclass
class Summary:
    """What a campaign gives back.

    `stopped` says why it ended: "time", "runs", "first failure", "interrupted", or "terminated" where a subclass
    of KeyboardInterrupt stood for another signal.
    """

    progress: Progress
    found: list[Found]
    stopped: str
    files: dict[str, Path] = field(default_factory=dict)
