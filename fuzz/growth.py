"""Whether sequences leave something behind in a target's process, and which (X10, X11).

A campaign's process plays thousands of sequences.  Now and then some of a batch are played over and over: what
rises each time is left behind by some of them, and those are found by playing each of them alone, over and over.
This only raises suspicion, as screening does; triage plays them repeatedly (replayer.endurance).
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Generic, TypeVar

from fuzz.screen import Screen
from recorder.calls import Call
from replayer.endurance import GAUGES, Gauge, handles_left

__all__ = ["SOME", "Growth", "due", "left_in_python"]

SOME = 32
"""Sequences of a batch that are looked at, of a Python target."""

_PASSES = 5  # most of which have to rise
_TIMES = 8  # for a sequence alone
_TRIED = 100  # sequences alone, at most
_SECONDS = 0.1  # that playing them once may take
_USED = 16  # handles that looking at a sequence may use up, where each leaks one

Sequence_ = TypeVar("Sequence_")


def due(number: int) -> bool:
    """Whether a batch of this number is looked at: the first ones, then one in sixteen."""
    return number < 4 or number % 16 == 0


class Growth(Generic[Sequence_]):
    """Looks at sequences by what `play` does: it plays them, so many times each."""

    def __init__(self, play: Callable[[Sequence[Sequence_], int], object], gauges: Sequence[Gauge] = GAUGES):
        self._play = play
        self._gauges = gauges

    def culprits(self, sequences: Sequence[Sequence_], oracles: Collection[str]) -> list[tuple[int, str]]:
        """The places of some sequences that leave something behind, with the oracle that will say so."""
        left = handles_left()
        if left is not None:
            sequences = sequences[: left // _USED]
        found: list[tuple[int, str]] = []
        left_behind = [gauge for gauge in self._rising(sequences, 1) if gauge.oracle in oracles]
        for place, sequence in enumerate(sequences[:_TRIED]):
            if not left_behind:
                break
            for gauge in self._rising([sequence], _TIMES):
                if gauge in left_behind:
                    found.append((place, gauge.oracle))
                    left_behind.remove(gauge)
        return found

    def _rising(self, sequences: Sequence[Sequence_], times: int) -> list[Gauge]:
        """What rises each time that the sequences are played so many times."""
        levels = [array("q", bytes(8 * (_PASSES + 2))) for _ in self._gauges]  # what is noted takes no more room
        known = [True] * len(levels)
        for number in range(_PASSES + 2):  # the first one warms up
            self._play(sequences, times)
            for at, gauge in enumerate(self._gauges):
                level = gauge.read()
                known[at] &= level is not None
                levels[at][number] = level or 0
        return [gauge for at, gauge in enumerate(self._gauges) if known[at] and _rises(levels[at][1:], gauge)]


def left_in_python(
    screen: Screen, sequences: Iterable[list[Call]], oracles: Collection[str], note: Callable[[list[Call]], object]
) -> list[tuple[list[Call], str]]:
    """Of the sequences of a batch some that leave something behind in a Python target's process, and the oracles.

    As many are looked at as take but a moment, and none that shows other trouble.  `note` is called before each
    play.
    """

    def play(sequences: Sequence[list[Call]], times: int) -> None:
        for _ in range(times):
            for calls in sequences:
                note(calls)
                screen.play(calls)
        gc.collect()

    some: list[list[Call]] = []
    with screen.watching():
        until = time.monotonic() + _SECONDS
        for calls in sequences:
            note(calls)
            if not screen.play(calls):
                some.append(calls)
            if len(some) == SOME or time.monotonic() > until:
                break
        gc.freeze()  # what is there now need not be looked through each time
        try:
            found = Growth(play).culprits(some, oracles)
        finally:
            gc.unfreeze()
    return [(some[place], oracle) for place, oracle in found]


def _rises(levels: array[int], gauge: Gauge) -> bool:
    """Whether it rises most times: what the interpreter takes and gives back meanwhile may hide it once."""
    return median(b - a for a, b in pairwise(levels)) >= max(gauge.least, 1)
