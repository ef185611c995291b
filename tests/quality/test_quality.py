"""Does the fuzzer find what is planted, within a fixed number of runs, whatever the seed?  And nothing else."""

from __future__ import annotations

import pytest

from corpora import folder
from fuzz.campaign import Campaign, CampaignOptions, Summary
from replayer.corpus import find_traces, load

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)
RUNS = {
    "tests.targets.deep_counter:Host": 20_000,
    "tests.targets.raises_after_done:Host": 3_000,
    "tests.targets.divides_by_max:Host": 3_000,
    "tests.targets.invariant_breaks:Host": 3_000,
    "tests.targets.fails_conforming:Host": 3_000,
    "replayer.samples.send_receive:HastySendReceiveDialog": 30_000,
}


def search(spec: str, seed: int, runs: int, *, first: bool) -> Summary:
    spec = spec.removeprefix("tests.")
    seeds = [(path.name, load(path)) for path in find_traces([folder() / "captured"])[::6]]
    options = CampaignOptions(seed=seed, max_time=None, max_runs=runs, exit_first=first)
    return Campaign(spec, seeds, options).run()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spec", RUNS)
def test_a_planted_bug_is_found(spec: str, seed: int) -> None:
    assert search(spec, seed, RUNS[spec], first=True).found


@pytest.mark.parametrize("spec", ["targets.clean:Host", "replayer.samples.send_receive:SendReceiveDialog"])
def test_nothing_is_found_in_a_correct_host(spec: str) -> None:
    summary = search(spec, 1, 50_000, first=False)
    assert summary.found == [] and summary.progress.unconfirmed == 0
