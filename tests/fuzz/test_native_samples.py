"""Each sample host of examples/native has one bug: a campaign finds it, and nothing in the correct ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import GOOD, trace

from fuzz.campaign import Campaign, CampaignOptions
from recorder.contract import Level
from replayer.oracles import Finding

pytestmark = [pytest.mark.slow, pytest.mark.native]

SEEDS = [
    ("good", trace(*GOOD)),
    (
        "problem",
        trace(
            'Progress("Downloading mail", 0, 1)',
            'Error(MAPI_E_CORRUPT_STORE, "the folder is damaged")',
            "Progress(NULL, 1, 1)",
            "Done(sync-event, MAPI_W_PARTIAL_COMPLETION)",
        ),
    ),
]

SAMPLES = {
    "reads_past_end": ("X9", "string-bounds", Level.CONFORMING),
    "writes_text": ("X9", "string-bounds", Level.CONFORMING),
    "keeps_pointer": ("H11", "string-lifetime", Level.CONFORMING),
    "reads_later": ("H11", "string-lifetime", Level.CONFORMING),
    "leaks_reference": ("H5", "references", Level.CONFORMING),
    "never_freed": ("H5", "references", Level.CONFORMING),
    "releases_too_often": ("H5", "references", Level.CONFORMING),
    "two_identities": ("H2", "identity", Level.CONFORMING),
    "answers_any_iid": ("H1", "identity", Level.CONFORMING),
    "dangling_ppv": ("H1", "identity", Level.CONFORMING),
    "null_ppv": ("H1", "identity", Level.CONFORMING),
    "not_symmetric": ("H4", "identity", Level.CONFORMING),
    "changes_answer": ("H3", "identity", Level.CONFORMING),
    "never_closes": ("H14", "handle", Level.LENIENT),  # a failed end without a reported failure: P18
    "closes_twice": ("H14", "handle", Level.CONFORMING),
    "uses_closed_handle": ("H14", "handle", Level.CONFORMING),
    "leaks_handle": ("X11", "handle-leak", Level.CONFORMING),
    "leaks_memory": ("X10", "memory-growth", Level.CONFORMING),
    "endless_recursion": ("X12", "stack-overflow", Level.CONFORMING),
    "late_call_crashes": ("H5", "retained", Level.HOSTILE),
    "thread_affine": ("X1", "crash", Level.CONFORMING),
}


def first_finding(library: Path, *, retained: bool = False, seconds: float = 60) -> Finding:
    options = CampaignOptions(max_time=seconds, seed=1, exit_first=True, retained=retained)
    (found, *_) = Campaign(f"{library}:create", SEEDS, options).run().found
    return found.finding


@pytest.mark.parametrize("name", SAMPLES)
def test_a_campaign_finds_the_bug(example: Callable[[str], Path], name: str) -> None:
    code, oracle, level = SAMPLES[name]
    finding = first_finding(example(name), retained=oracle == "retained")
    assert (finding.code, finding.oracle) == (code, oracle)
    assert finding.level <= level or oracle == "handle"


@pytest.mark.parametrize(("name", "retained"), [("good_host", False), ("tolerates_late_calls", True)])
def test_nothing_is_found_in_a_correct_host(example: Callable[[str], Path], name: str, retained: bool) -> None:
    options = CampaignOptions(max_runs=20_000, max_time=None, seed=1, retained=retained)
    summary = Campaign(f"{example(name)}:create", SEEDS, options).run()
    assert [found.finding for found in summary.found] == []
    assert summary.progress.deaths == 0


def test_late_calls_are_only_made_where_they_are_asked_for(example: Callable[[str], Path]) -> None:
    options = CampaignOptions(max_runs=5_000, max_time=None, seed=1)
    assert Campaign(f"{example('late_call_crashes')}:create", SEEDS, options).run().found == []
