"""Campaigns notice what sequences leave behind in a native target's process, and which do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import CALLBACK, GOOD, calls, trace

from fuzz.campaign import Campaign, CampaignOptions
from fuzz.growth import Growth, due
from replayer.batches import Fragments
from replayer.cli import replay
from replayer.endurance import GAUGES, counted_by_page
from replayer.screening import Screening
from replayer.target import NativeTarget, load_target

PROBLEM = ('Error(MAPI_E_CORRUPT_STORE, "damaged")', "Done(NULL, MAPI_W_PARTIAL_COMPLETION)")
ORACLES = tuple(gauge.oracle for gauge in GAUGES)


def growth(library: Path) -> Growth:
    target = load_target(f"{library}:create")
    assert isinstance(target, NativeTarget)
    return Growth(Screening(target))


def packed(*sequences: tuple[str, ...]) -> list[bytes]:
    fragments = Fragments(CALLBACK)
    return [fragments.sequence(calls(*lines)) for lines in sequences]


def test_batches_are_looked_at_now_and_then() -> None:
    assert [number for number in range(30) if due(number)] == [0, 1, 2, 3, 16]


@pytest.mark.native
@pytest.mark.skipif(
    counted_by_page(), reason="pages do not tell of one sequence: a campaign does not name it there"
)
def test_the_sequence_that_leaks_is_named(example: Callable[[str], Path]) -> None:
    looked = growth(example("leaks_memory"))
    sequences = packed(*[GOOD] * 20, *[PROBLEM] * 10, *[GOOD] * 20)
    assert looked.culprits(sequences, ORACLES) == [(20, "memory-growth")]
    assert looked.culprits(sequences, ["handle-leak"]) == looked.culprits(packed(GOOD), ORACLES) == []


@pytest.mark.native
def test_each_gauge_names_one(example: Callable[[str], Path]) -> None:
    assert growth(example("leaks_handle")).culprits(packed(GOOD, GOOD), ORACLES) == [(0, "handle-leak")]


@pytest.mark.native
@pytest.mark.parametrize("name", ["good_host", "tolerates_late_calls"])
def test_a_correct_host_leaks_nothing(example: Callable[[str], Path], name: str) -> None:
    assert growth(example(name)).culprits(packed(*[GOOD, PROBLEM] * 50), ORACLES) == []


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.parametrize(("name", "code"), [("leaks_memory", "X10"), ("leaks_handle", "X11")])
def test_a_campaign_finds_and_keeps_it(
    example: Callable[[str], Path], tmp_path: Path, name: str, code: str
) -> None:
    from click.testing import CliRunner

    spec = f"{example(name)}:create"
    options = CampaignOptions(max_runs=600, max_time=None, seed=1)
    summary = Campaign(spec, [("good", trace(*GOOD))], options, folder=tmp_path).run()
    (found,) = summary.found
    assert (found.finding.code, found.flaky, len(found.calls)) == (code, False, 1)
    (file,) = tmp_path.glob("*.tape")
    again = CliRunner().invoke(replay, [str(file), "--target", spec, "--repeat", "1000"])
    assert again.exit_code == 1 and f"{code} is still there" in again.output
    fixed = CliRunner().invoke(
        replay, [str(file), "--target", f"{example('good_host')}:create", "--repeat", "200"]
    )
    assert fixed.exit_code == 0 and f"{code} is gone" in fixed.output
