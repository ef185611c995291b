"""Whether sequences leave something behind in a native target's process, and which (X10, X11).

Now and then a batch that was screened is screened over and over: what rises each time is left behind by some of
its sequences, and those are found by screening each of them alone, over and over.  This only raises suspicion, as
screening does; triage plays them repeatedly (replayer.endurance).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from statistics import median

from replayer.endurance import GAUGES, Gauge, handles_left
from replayer.screening import Screening
from replayer.shared import SharedList

__all__ = ["Growth", "due"]

_PASSES = 5  # most of which have to rise
_TIMES = 8  # for a sequence alone
_TRIED = 100  # sequences alone, at most
_MOST_BYTES = 16 << 20  # of sequences at once: they are there three times over
_USED = 16  # handles that looking at a sequence may use up, where each leaks one


def due(number: int) -> bool:
    """Whether a batch of this number is looked at: the first ones, then one in sixteen."""
    return number < 4 or number % 16 == 0


class Growth:
    """Looks at sequences through a screening."""

    def __init__(self, screening: Screening, gauges: Sequence[Gauge] = GAUGES):
        self._screening = screening
        self._gauges = gauges

    def culprits(self, sequences: Sequence[bytes], oracles: Collection[str]) -> list[tuple[int, str]]:
        """Of packed sequences the places of some that leave something behind, with the oracle that will say so."""
        left = handles_left()
        if left is not None:
            sequences = sequences[: left // _USED]
        sequences = sequences[: sum(size <= _MOST_BYTES for size in accumulate(map(len, sequences)))]
        found: list[tuple[int, str]] = []
        with closing(SharedList()) as given, closing(SharedList()) as results:

            def rising(sequences: Sequence[bytes], times: int) -> list[Gauge]:
                given.clear()
                given.extend(sequences)
                return self._rising(given, results, times)

            left_behind = [gauge for gauge in rising(sequences, 1) if gauge.oracle in oracles]
            for place, sequence in enumerate(sequences[:_TRIED]):
                if not left_behind:
                    break
                for gauge in rising([sequence], _TIMES):
                    if gauge in left_behind:
                        found.append((place, gauge.oracle))
                        left_behind.remove(gauge)
        return found

    def _rising(self, given: SharedList, results: SharedList, times: int) -> list[Gauge]:
        """What rises each time that the sequences are played so many times."""
        levels = []
        for _ in range(_PASSES + 2):  # the first one warms up
            for _ in range(times):
                results.clear()
                self._screening.play(given, results)
            levels.append([gauge.read() for gauge in self._gauges])
        return [gauge for at, gauge in enumerate(self._gauges) if _rises([row[at] for row in levels[1:]], gauge)]


def _rises(levels: Sequence[int | None], gauge: Gauge) -> bool:
    """Whether it rises most times: what the interpreter takes and gives back meanwhile may hide it once."""
    known = [level for level in levels if level is not None]
    return len(known) == len(levels) and median(b - a for a, b in pairwise(known)) >= max(gauge.least, 1)
