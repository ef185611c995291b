"""Who gets the next turn: sequences by what they showed, mutators by what they earned.

Both are functions of the sequences that were kept, in their order, and of nothing else: a process that is told of
these draws as any other does.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fuzz.comparisons import Operands
from fuzz.feedback import Feature
from recorder.calls import Call

__all__ = ["Kept", "Seeds", "Shares"]

_MOST = 4000  # sequences kept
_LONG = 25  # calls from which on a sequence is drawn the less often the longer it is
_RECENT = 40  # sequences, the latest ones
_AGE = 12  # batches in which a sequence comes to half its weight
_DECAY = 0.98  # of what mutators earned, with each sequence kept
_FLOOR = 0.5  # of all turns are those that mutators have to begin with
_TABLE = 240  # turns in a table


class Kept(NamedTuple):
    """A sequence that brought something new, and the mutators that made it.

    `batch` is when; `features` all that it showed; `operands` what the target compared in it, what it has not
    compared for long first; `place` the call that showed what was new, -1 if nobody knows.  `parents` are the
    digests of the sequences that it was made from, as far as they are known, `number` is its own in its batch.
    """

    calls: list[Call]
    mutators: list[str]
    batch: int = 0
    features: list[Feature] = []  # noqa: RUF012 - never changed
    operands: list[Operands] = []  # noqa: RUF012
    place: int = -1
    parents: list[str] = []  # noqa: RUF012
    number: int = -1


class Seeds:
    """Sequences to draw from: the rarer what they showed, the newer, and the shorter, the more often."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self._shown: Counter[Feature] = Counter()
        self._sums: list[float] = []

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self.kept)

    def add(self, kept: Kept) -> bool:
        """Take a sequence in, unless there are too many."""
        if len(self.kept) >= _MOST:
            return False
        self.kept.append(kept)
        self._shown.update(kept.features)
        return True

    @property
    def latest(self) -> int:
        """The batch that last brought something, -1 if none did."""
        return self.kept[-1].batch if self.kept else -1

    def since(self, batch: int) -> int:
        """How many of the latest came in this batch or later; no more than some are counted."""
        return sum(kept.batch >= batch for kept in self.kept[-_RECENT:])

    def recent(self, batch: int) -> list[Kept]:
        """Some of those that came in this batch or later, and have operands."""
        return [kept for kept in self.kept[-_RECENT:] if kept.batch >= batch and kept.operands]

    def weigh(self) -> None:
        """Let what was added take effect."""
        latest = max((kept.batch for kept in self.kept[-50:]), default=0)
        self._sums = [*itertools.accumulate(self._weight(kept, latest) for kept in self.kept)]

    def _weight(self, kept: Kept, latest: int) -> float:
        shown = self._shown
        rare = 0.1 + sum([1 / shown[feature] for feature in kept.features])
        age = max(0, latest - kept.batch)
        length = len(kept.calls)
        return min(rare, 5.0) * (0.1 + 1 / (1 + age / _AGE)) / (1 + max(0, length - _LONG) / 60)

    def draw(self, chance: float) -> Kept:
        """One of them; there is at least one, and they were weighed."""
        sums = self._sums
        return self.kept[min(bisect(sums, chance * sums[-1]), len(sums) - 1)]


class Shares:
    """How often each mutator is drawn: a bandit's arms, by what they earned of late for each of their turns.

    `base` are the shares to begin with.  Half of the turns stay with these, so that none is ever given up.
    """

    def __init__(self, base: Mapping[str, int]):
        self.base = dict(base)
        self._earned = dict.fromkeys(base, 0.0)
        self._turns = dict.fromkeys(base, 0.0)
        self._present = self._normal(self.base)

    def earned(self, mutators: Iterable[str]) -> None:
        """A sequence was kept that these have made."""
        for name in self.base:
            self._earned[name] *= _DECAY
            self._turns[name] = self._turns[name] * _DECAY + self._present[name]
        names = [name for name in dict.fromkeys(mutators) if name in self._earned]
        for name in names:
            self._earned[name] += 1 / len(names)

    def weigh(self) -> None:
        """Let what was earned take effect."""
        base = self._normal(self.base)
        total = sum(self._earned.values())
        if total < 1:
            self._present = base
            return
        rates = {
            name: base[name] * (self._earned[name] + base[name]) / (self._turns[name] + 1e-9 + base[name])
            for name in base
        }
        best = self._normal(rates)
        trust = (1 - _FLOOR) * min(1.0, total / 20)
        self._present = {name: (1 - trust) * base[name] + trust * best[name] for name in base}

    def table(self, names: Sequence[str]) -> list[str]:
        """Turns for some of the mutators; each that has a share at all has at least one."""
        whole = sum(self._present[name] for name in names) or 1.0
        turns: list[str] = []
        for name in names:
            if self.base[name]:
                turns += [name] * max(1, round(_TABLE * self._present[name] / whole))
        return turns

    @staticmethod
    def _normal(shares: Mapping[str, float]) -> dict[str, float]:
        whole = sum(shares.values()) or 1.0
        return {name: share / whole for name, share in shares.items()}
