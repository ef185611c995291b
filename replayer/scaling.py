"""Scaling: what a call costs, as its text grows (X18, X19).

A run that took long, or wrote much, is looked at again: the calls up to the one with the longest text are played
with the whole text, a half, a quarter and nothing of it, each on a fresh instance.  What is above the play without
the text is the text's.  That twice as long a text costs twice as much is fair; what costs nearly three times as
much with each doubling grows faster than the text, and a longer one will stop the host.

    time      of the processor, in the whole process: waiting does not count, nor does what others do meanwhile
    output    bytes that the process wrote, to files, pipes and terminals, as the system counts them
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from recorder.calls import Call, OutcomeKind, Trace
from replayer.order import is_ordered
from replayer.player import Journal, Observation, PlayOptions, Run, play
from replayer.target import Target

__all__ = ["LONG", "SCALING", "Cost", "longest_text", "play_and_weigh", "too_much", "written"]

SCALING = ("time-growth", "output")
"""The oracles that take what is seen here."""

LONG = 1000  # units that a text has at least, to be made shorter
_STEEP = 2.8  # times as much for twice the text, twice on end: a power of 1.5 and no less
_TIME_NS = 20_000_000  # less than that in a whole run is no matter
_OUTPUT = 1 << 16  # bytes
_PLAYS = 3  # of which the cheapest counts
_QUICK_NS = 200_000_000  # what takes longer is played once
_MOST, _OF_A_CALL, _OF_A_UNIT = (
    1 << 20,
    1 << 12,
    1 << 8,
)  # bytes that a run may write: in all, for each call and unit


class Cost(NamedTuple):
    time_ns: int
    output: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.time_ns - other.time_ns, self.output - other.output)


@dataclass(frozen=True, slots=True)
class _Growing:
    """Something that is looked at: `least` is what it comes to with the whole text to be worth a word."""

    oracle: str
    of: Callable[[Cost], int]
    least: int
    what: str


_GROWING = (
    _Growing("time-growth", lambda cost: cost.time_ns, _TIME_NS, "takes"),
    _Growing("output", lambda cost: cost.output, _OUTPUT, "writes"),
)


def play_and_weigh(
    trace: Trace | Iterable[Call],
    target: Target,
    options: PlayOptions | None = None,
    journal: Journal | None = None,
    *,
    clock: Callable[[], int] | None = None,
) -> Run:
    """What `play` gives, and what is seen of how it scales, if it was expensive enough to look.

    `clock` tells the time that the processor was used, in ns.  Raises what `play` raises.
    """
    options = options or PlayOptions()
    if not isinstance(trace, Trace):
        trace = Trace.from_calls(trace)
    scale = _Scale(trace, target, options, journal, clock or _processor())
    run, cost = scale.whole()
    looked = [g for g in _GROWING if g.oracle not in options.skip and g.of(cost) >= g.least]
    if not looked or trace.header.scheduled or is_ordered(trace) or not _went_well(run):
        return run
    seen = list(scale.excess(cost)) if looked[-1].oracle == "output" else []
    seen = seen or list(scale.growth(looked))
    return replace(run, observations=(*run.observations, *seen)) if seen else run


def longest_text(calls: Iterable[Call]) -> int:
    """Units of the longest text among the calls' arguments."""
    return max((len(value) for call in calls for value in call.args if isinstance(value, str)), default=0)


def too_much(calls: Iterable[Call], output: int) -> bool:
    """Whether these calls have written far more than what they were given to show."""
    allowed = _MOST
    for call in calls:
        allowed += _OF_A_CALL + _OF_A_UNIT * sum(len(value) for value in call.args if isinstance(value, str))
    return output > allowed


class _Scale:
    """Plays a trace's calls, and shorter forms of them, and tells what that costs."""

    def __init__(
        self, trace: Trace, target: Target, options: PlayOptions, journal: Journal | None, clock: Callable[[], int]
    ):
        self._trace = trace
        self._target = target
        self._options = options
        self._again = replace(options, join_seconds=0.0, collect=0, pace=None)
        self._journal = journal
        self._clock = clock

    def whole(self) -> tuple[Run, Cost]:
        """The trace as it is."""
        return self._weighed(self._trace, self._options)

    def cost(self, calls: tuple[Call, ...]) -> Cost:
        """What these calls cost."""
        return self._weighed(Trace.from_calls(calls, self._trace.header), self._again)[1]

    def _weighed(self, trace: Trace, options: PlayOptions) -> tuple[Run, Cost]:
        output, started = written(), self._clock()
        run = play(trace, self._target, options, self._journal)
        return run, Cost(self._clock() - started, written() - output)

    def excess(self, cost: Cost) -> Iterable[Observation]:
        """The first call after which too much had been written, if it is so."""
        calls = self._trace.calls
        if not too_much(calls, cost.output):
            return
        without, much = 0, len(calls)  # so many calls are not too much, and so many are
        while much - without > 1:
            middle = (without + much) // 2
            if too_much(calls[:middle], self.cost(calls[:middle]).output):
                much = middle
            else:
                without = middle
        yield Observation("output", much - 1, f"{calls[much - 1].method} wrote far more than it was given to show")

    def growth(self, looked: list[_Growing]) -> Iterable[Observation]:
        """Of these what grows faster than the longest text."""
        calls = self._trace.calls
        units, number, place = max(
            (
                (len(value), -number, -place)
                for number, call in enumerate(calls)
                for place, value in enumerate(call.args)
                if isinstance(value, str)
            ),
            default=(0, 0, 0),
        )
        if units < LONG or not looked:
            return
        number, place = -number, -place
        text = str(calls[number].args[place])

        def cost_of(length: int) -> Cost:
            args = list(calls[number].args)
            args[place] = text[:length]
            return self._cheapest((*calls[:number], calls[number]._replace(args=tuple(args))))

        nothing = cost_of(0)
        costs = [cost_of(units // 4) - nothing]  # a short one first: of most hosts no more is needed
        costs.append(cost_of(units // 2) - nothing)
        looked = [growing for growing in looked if _is_steep(costs, growing)]
        if not looked:
            return
        costs.append(cost_of(units) - nothing)
        for growing in looked:
            if _is_steep(costs, growing) and growing.of(costs[-1]) >= growing.least:
                method = calls[number].method
                message = (
                    f"{method} {growing.what} about {_times(costs, growing)} times as much for twice the text"
                )
                yield Observation(growing.oracle, number, f"{message}, at {units} units")

    def _cheapest(self, calls: tuple[Call, ...]) -> Cost:
        costs = []
        for _ in range(_PLAYS):
            costs.append(self.cost(calls))
            if costs[-1].time_ns > _QUICK_NS:
                break
        return Cost(min(cost.time_ns for cost in costs), min(cost.output for cost in costs))


def _is_steep(costs: list[Cost], growing: _Growing) -> bool:
    levels = [max(growing.of(cost), 1) for cost in costs]
    return all(later >= _STEEP * earlier for earlier, later in itertools.pairwise(levels))


def _times(costs: list[Cost], growing: _Growing) -> int:
    return round(growing.of(costs[-1]) / max(growing.of(costs[-2]), 1))


def _went_well(run: Run) -> bool:
    """Whether nothing happened that is told anyway; a call that could not be made is no matter."""
    ends = (OutcomeKind.RETURNED, OutcomeKind.NOT_RUN)
    return all(played.outcome and played.outcome.kind in ends for played in run.trace.played)


@functools.cache
def _processor() -> Callable[[], int]:
    """Processor time of this process in ns, where it is told finely; else the time."""
    fine = time.get_clock_info("process_time").resolution < 1e-4
    return time.process_time_ns if fine and sys.platform != "win32" else time.perf_counter_ns


if sys.platform == "win32":

    class _Counters(ctypes.Structure):
        """IO_COUNTERS."""

        _fields_ = [
            (name, ctypes.c_uint64)
            for name in (
                *("ReadOperationCount", "WriteOperationCount", "OtherOperationCount"),
                *("ReadTransferCount", "WriteTransferCount", "OtherTransferCount"),
            )
        ]

    def written() -> int:
        """Bytes that this process has written so far; 0 where the system does not tell."""
        counters = _Counters()
        own = ctypes.c_void_p(-1)
        return (
            int(counters.WriteTransferCount) if _kernel().GetProcessIoCounters(own, ctypes.byref(counters)) else 0
        )

    @functools.cache
    def _kernel() -> ctypes.WinDLL:
        return ctypes.WinDLL("kernel32")

else:

    def written() -> int:
        """Bytes that this process has written so far; 0 where the system does not tell."""
        descriptor = _counters(os.getpid())
        if descriptor is None:
            return 0
        try:
            return int(os.pread(descriptor, 512, 0).partition(b"wchar: ")[2].split(None, 1)[0])
        except (OSError, IndexError, ValueError):
            return 0

    @functools.cache
    def _counters(process: int) -> int | None:
        try:
            return os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
