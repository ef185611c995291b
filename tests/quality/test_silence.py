"""No oracle says anything of a correct native host, whatever conforming sequence it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from sequences import CALLBACK

from fuzz import generate
from fuzz.native import SAMPLE
from recorder.calls import Call
from recorder.contract import Level, contract_of
from replayer.batches import Fragments
from replayer.isolation import Isolated, Limits
from replayer.oracles import Judge
from replayer.screening import Screened

pytestmark = [pytest.mark.slow, pytest.mark.native]

SEQUENCES = 100_000


def conforming(seed: int) -> Iterator[list[Call]]:
    """Sequences of all lengths, few of them long."""
    random, contract = Random(seed), contract_of(CALLBACK)
    for _ in range(SEQUENCES):
        yield generate.conforming(contract, random, min(int(random.expovariate(0.1)) + 1, 200))


@pytest.mark.parametrize("made_of", ["C", "C++"])
def test_a_correct_host_over_100_000_conforming_sequences(
    library: Callable[[str], Path], example: Callable[[str], Path], made_of: str
) -> None:
    host = library("good_host") if made_of == "C" else example("good_host")
    contract, pack = contract_of(CALLBACK), Fragments(CALLBACK).sequence
    judge = Judge(contract, slow=5)  # a busy machine is not the host's fault
    seen: Counter[str] = Counter()
    sample: list[list[Call]] = []

    def packed() -> Iterator[bytes]:
        for number, calls in enumerate(conforming(seed=len(made_of))):
            if number % SAMPLE == 0:
                sample.append(calls)
            yield pack(calls)

    with Isolated(f"{host}:create", limits=Limits(30), screening=True) as player:
        for end in player.screen_many(packed(), batch=250):
            assert isinstance(end, Screened) and not end.odd, end
            seen["screened"] += 1
            seen["calls"] += len(end.values)
        for run in player.play_many(sample):
            assert judge.findings(run) == []
            assert judge.level(run.trace.calls, len(run.trace.calls) - 1)[0] is Level.CONFORMING
            seen["strict"] += 1
    assert seen["screened"] == SEQUENCES and seen["strict"] == -(-SEQUENCES // SAMPLE)
    assert seen["calls"] > 9 * SEQUENCES
