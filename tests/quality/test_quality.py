"""Does the fuzzer find what is planted, within a fixed number of runs, whatever the seed?  And nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sequences import ABORT_CODE

from corpora import folder
from fuzz.campaign import Campaign, CampaignOptions, Summary
from replayer.corpus import find_traces, load

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)
HASTY = "replayer.samples.send_receive:HastySendReceiveDialog"

PLANTED = {  # code, calls of the shortest sequence, runs within which it is found from nothing
    "bad_hresult": ("H6", 2, 1_000),
    "deep_counter": ("X3", 100, 10_000),
    "del_exception": ("X4", 1, 1_000),
    "divides_by_max": ("X3", 1, 1_000),
    "double_close": ("H14", 1, 1_000),
    "exits": ("X7", 1, 1_000),
    "fails_conforming": ("H6", 1, 1_000),
    "hangs_on_text": ("X2", 1, 5_000),
    "invariant_breaks": ("X5", 2, 1_000),
    "leaks_handle": ("H14", 1, 1_000),
    "memory_hog": ("X6", 1, 3_000),
    "raises_after_done": ("X3", 2, 1_000),
    "raises_on_null_text": ("X3", 1, 1_000),
    "segfaults": ("X1", 1, 100),
    "slow": ("H18", 1, 1_000),
    "thread_exception": ("X4", 1, 1_000),
}
NATIVE = {"abort": ABORT_CODE, "hang": "X2", "leaky_handle": "H14", "null_text": "X1"}


def search(
    spec: str, seed: int, runs: int, *, corpus: bool = False, timeout: float = 0.5, **options: Any
) -> Summary:
    """A campaign without a bound in time."""
    paths = find_traces([folder() / "captured"]) if corpus else []
    fixed = CampaignOptions(
        seed=seed, max_time=None, max_runs=runs, timeout=timeout, slow=0.2, memory=300, **options
    )
    return Campaign(spec, [(path.name, load(path)) for path in paths], fixed).run()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_from_nothing(name: str, seed: int) -> None:
    code, size, runs = PLANTED[name]
    patience = 5.0 if code == "X6" else 0.5  # to fill the memory takes a busy machine a while
    summary = search(f"targets.{name}:Host", seed, runs, exit_first=True, timeout=patience)
    assert summary.found, f"not found in {runs} runs"
    (found,) = summary.found
    assert found.finding.code == code or name == "fails_conforming"
    assert len(found.calls) <= size and not found.flaky


@pytest.mark.parametrize("seed", SEEDS)
def test_the_state_bug_of_the_sample_is_found_from_the_captures_that_do_not_show_it(seed: int) -> None:
    summary = search(HASTY, seed, 10_000, corpus=True, exit_first=True)
    (found,) = summary.found
    assert found.origin.startswith("batch") and len(found.calls) == 3
    assert "ZeroDivisionError" in found.finding.message


@pytest.mark.native
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NATIVE)
def test_a_native_bug_is_found_from_nothing(library: Callable[[str], Path], name: str, seed: int) -> None:
    summary = search(f"{library(name)}:create", seed, 300, exit_first=True)
    assert [(found.finding.code, len(found.calls)) for found in summary.found] == [(NATIVE[name], 1)]


@pytest.mark.parametrize("corpus", [True, False], ids=["captures", "nothing"])
@pytest.mark.parametrize("spec", ["targets.clean:Host", "replayer.samples.send_receive:SendReceiveDialog"])
def test_nothing_is_found_in_a_correct_host(spec: str, corpus: bool) -> None:
    summary = search(spec, 1, 50_000, corpus=corpus)
    assert summary.found == [] and summary.progress.unconfirmed == 0
    assert summary.progress.runs == 50_000 and summary.progress.deaths == 0
