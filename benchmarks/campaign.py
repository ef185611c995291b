"""What the campaign's inner loop costs, as ratios in one run.

    python benchmarks/campaign.py

The reference is the bare loop that makes the same calls on a fresh instance of the same trivial host, ten calls
a sequence.  Times are the processor's, so that a busy machine hardly changes them; cases take turns within a
round, and each figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, settings

from fuzz import generate
from fuzz.engine import Engine
from fuzz.environment import Environment
from fuzz.mutators import Drawing
from fuzz.strategies import call_sequences
from recorder.calls import Call
from recorder.contract import Level, contract_of
from replayer.target import object_target

ROUNDS, BATCH, LENGTH = 15, 500, 10
WARM = 60  # batches, after which little that is new comes and few sequences are watched closely


class Host:
    """A trivial host: keeps what it was told."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.index = self.limit = self.problems = 0
        self.result: int | None = None

    def Progress(self, text: str | None, index: int, limit: int) -> int:
        if text is not None:
            self.text = text
        self.index, self.limit = index, limit
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.problems += 1
        return 0

    def Done(self, handle: object, result: int) -> int:
        self.result = result
        return 0


def bare(sequences: list[list[Call]]) -> None:
    for calls in sequences:
        host = Host()
        for method, args, _, _, _ in calls:
            getattr(host, method)(*args)


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    target = object_target(Host)
    contract = contract_of(target.interface)
    random = Random(7)
    seeds = [generate.conforming(contract, random, LENGTH + 1)[:LENGTH] for _ in range(40)]
    bases = [s for s in seeds if len(s) == LENGTH]
    engine = Engine(target, bases, seed=1)
    environment, mutate = Environment(contract, bases, Random(2)), Drawing().mutate
    for number in range(WARM):
        engine.restore(engine.run(number, Level.HOSTILE, BATCH).fresh)
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for number in range(WARM, WARM + ROUNDS):
        for level in Level:
            sequences = [calls[:] for _, calls in engine.sequences(number, level, BATCH)]
            reference = seconds(partial(bare, sequences))
            loop = seconds(partial(engine.run, number, level, BATCH))
            note(f"mutate + play + judge, {level}", loop / reference)
        picks = [bases[random.randrange(len(bases))] for _ in range(BATCH)]

        def mutations(picks: list[list[Call]] = picks) -> None:
            for base in picks:
                environment.used.clear()
                mutate(base, environment, Level.HOSTILE)

        note("one mutation / playing the sequence bare", seconds(mutations) / seconds(partial(bare, picks)))

    ours = statistics.median(figures["mutate + play + judge, hostile"])
    sequences = [calls[:] for _, calls in engine.sequences(0, Level.HOSTILE, BATCH)]
    per_call = seconds(lambda: bare(sequences)) / sum(map(len, sequences))
    note("Hypothesis generating and playing / ours, per call", hypothesis_per_call() / (ours * per_call))
    for name, values in figures.items():
        print(f"{name:55s} {statistics.median(values):8.2f}")


def hypothesis_per_call(examples: int = 300) -> float:
    """Seconds a call when Hypothesis makes and plays sequences of the same kind and size."""
    calls_made = 0

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(call_sequences(min_size=LENGTH, max_size=LENGTH))
    def run(calls: list[Call]) -> None:
        nonlocal calls_made
        calls_made += len(calls)
        bare([calls])

    return seconds(run) / max(calls_made, 1)


if __name__ == "__main__":
    main()
