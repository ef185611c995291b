"""What a campaign is for, and the defaults that follow from it.

    (none)     at a desk: a minute, another seed each time
    pr         for a pull request: replays the corpus, then searches briefly; the same seed each time, so that a
               run that is started again does the same; ten minutes
    batch      for the night: a long search with another seed each time, which keeps what it learns; an hour
    prune      makes the corpus smaller; never fails for a finding
    coverage   replays the corpus and says what of the target it reaches; never fails for a finding

In pr and batch a finding that does not show again within ten tries does not count.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Mode", "Plan", "plan_for"]


class Mode(enum.StrEnum):
    PR = "pr"
    BATCH = "batch"
    PRUNE = "prune"
    COVERAGE = "coverage"


@dataclass(frozen=True)
class Plan:
    """`max_time`: seconds by default.  `seed`: the default, None for another one each time.

    `corpus_share`: how much of the time replaying the corpus may take, so that there is a search, too;
    `again_share`: how much is kept for playing flaky findings again; `verify`: whether they are.
    """

    max_time: float = 60.0
    seed: int | None = None
    corpus_share: float = 1.0
    again_share: float = 0.0
    verify: bool = False


_PLANS = {
    Mode.PR: Plan(max_time=600.0, seed=1, corpus_share=0.6, again_share=0.1, verify=True),
    Mode.BATCH: Plan(max_time=3600.0, corpus_share=0.5, again_share=0.02, verify=True),
}


def plan_for(mode: Mode | None) -> Plan:
    """The plan of a mode in which there is a campaign."""
    return _PLANS.get(mode, Plan()) if mode else Plan()
