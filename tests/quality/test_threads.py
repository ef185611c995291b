"""Does a search on threads find what is planted in the samples, whatever the seed?  And nothing else.

`benchmarks/threads.py` asks the same by the clock: within a minute for each bug, ten minutes for each correct one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpora import folder
from fuzz.campaign import Campaign, CampaignOptions, Summary
from recorder.calls import Call
from replayer.corpus import find_traces, load
from replayer.native_threads import can_step

pytestmark = pytest.mark.slow
needs_steps = pytest.mark.skipif(sys.platform == "win32" or not can_step(), reason="no steps of native code")

SEEDS = (1, 2, 3, 4, 5)
RUNS = 20_000  # by far less than a minute's

PLANTED = {  # code, threads and switches of the smallest schedule
    "callback_under_lock": ("X14", 1, 1),
    "checks_then_acts": ("X16", 2, 1),
    "closes_in_a_race": ("H14", 2, 1),
    "drained_after_done": ("X16", 2, 1),
    "lazy_list": ("X15", 2, 1),
    "lock_order": ("X14", 2, 1),
    "unlocked_pair": ("X16", 2, 1),
}
CORRECT = (
    "replayer.samples.send_receive:SendReceiveDialog",
    *(f"targets.threads.{name}:Host" for name in ("one_consumer", "one_lock", "refuses_late", "snapshots")),
)


def search(spec: str, seed: int, runs: int, *, threads: int = 2, **others: Any) -> Summary:
    """A campaign on threads, from the captured traces, without a bound in time."""
    traces = [(path.name, load(path)) for path in find_traces([folder() / "captured"])]
    options = CampaignOptions(seed=seed, max_time=None, max_runs=runs, threads=threads, slow=5, **others)
    return Campaign(spec, traces, options).run()


def size(calls: list[Call]) -> tuple[int, int]:
    """Threads and switches."""
    return len({call.thread for call in calls}), sum(len(call.switches) for call in calls)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_and_its_schedule_is_as_small_as_can_be(name: str, seed: int) -> None:
    code, threads, switches = PLANTED[name]
    summary = search(f"targets.threads.{name}:Host", seed, RUNS, exit_first=True)
    assert summary.found, f"not found in {RUNS} runs"
    (found,) = summary.found
    assert (found.finding.code, found.flaky) == (code, False)
    assert (len(found.calls), *size(found.calls)) == (2, threads, switches)


@pytest.mark.native
@needs_steps
@pytest.mark.parametrize("seed", SEEDS)
def test_a_count_in_two_steps_is_found_in_native_code(library: Callable[[str], Path], seed: int) -> None:
    (found,) = search(f"{library('counts_in_two_steps')}:create", seed, RUNS, exit_first=True).found
    assert (found.finding.code, found.flaky) == ("H5", False)
    assert (len(found.calls), *size(found.calls)) == (2, 2, 1)


@pytest.mark.native
@needs_steps
def test_nothing_is_found_in_a_correct_native_host(library: Callable[[str], Path]) -> None:
    summary = search(f"{library('good_host')}:create", 1, 300)
    assert summary.found == [] and summary.progress.deaths == 0


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("spec", CORRECT)
def test_nothing_is_found_in_a_correct_host(spec: str, threads: int) -> None:
    summary = search(spec, threads, 3_000, threads=threads)
    assert summary.found == [] and summary.progress.unconfirmed == 0
    assert summary.progress.runs == 3_000 and summary.progress.deaths == 0
