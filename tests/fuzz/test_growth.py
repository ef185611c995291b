"""Campaigns notice what sequences leave behind in a target's process, and which do, and what grows with a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sequences import CALLBACK, GOOD, calls, counts_output, trace

from fuzz.campaign import Campaign, CampaignOptions
from fuzz.growth import due, left_in_python
from fuzz.native import culprits
from fuzz.screen import Screen
from recorder.calls import Call
from replayer.batches import Fragments
from replayer.cli import replay
from replayer.endurance import GAUGES, counted_by_page
from replayer.screening import Screening
from replayer.target import NativeTarget, load_target

PROBLEM = ('Error(MAPI_E_CORRUPT_STORE, "damaged")', "Done(NULL, MAPI_W_PARTIAL_COMPLETION)")
ORACLES = tuple(gauge.oracle for gauge in GAUGES)


def screening(library: Path) -> Screening:
    target = load_target(f"{library}:create")
    assert isinstance(target, NativeTarget)
    return Screening(target)


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
    looked = screening(example("leaks_memory"))
    sequences = packed(*[GOOD] * 20, *[PROBLEM] * 10, *[GOOD] * 20)
    assert culprits(looked, sequences, ORACLES) == [(20, "memory-growth")]
    assert culprits(looked, sequences, ["handle-leak"]) == culprits(looked, packed(GOOD), ORACLES) == []


@pytest.mark.native
def test_each_gauge_names_one(example: Callable[[str], Path]) -> None:
    assert culprits(screening(example("leaks_handle")), packed(GOOD, GOOD), ORACLES) == [(0, "handle-leak")]


@pytest.mark.native
@pytest.mark.parametrize("name", ["good_host", "tolerates_late_calls"])
def test_a_correct_host_leaks_nothing(example: Callable[[str], Path], name: str) -> None:
    assert culprits(screening(example(name)), packed(*[GOOD, PROBLEM] * 50), ORACLES) == []


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


# ------------------------------------------------------------------------------------------- Python targets

FAILS, ERRS = ("Done(NULL, E_FAIL)",), ('Error(E_FAIL, "")',)


def left(name: str, *sequences: tuple[str, ...], oracles: Sequence[str] = ORACLES) -> list[tuple[list[Call], str]]:
    screen = Screen(load_target(f"targets.{name}:Host"), slow=1.0)
    return left_in_python(screen, [calls(*lines) for lines in sequences], oracles, lambda calls: None)


@pytest.mark.skipif(
    counted_by_page(), reason="pages do not tell of one sequence: a campaign does not name it there"
)
def test_the_python_sequence_that_keeps_memory_is_named() -> None:
    mixed = [*[GOOD] * 5, FAILS, *[GOOD] * 5]
    assert left("remembers_failures", *mixed) == [(calls(*FAILS), "memory-growth")]
    assert left("remembers_failures", *mixed, oracles=["handle-leak"]) == left("remembers_failures", GOOD) == []


def test_the_python_sequence_that_leaves_a_handle_is_named() -> None:
    assert left("leaves_log_open", GOOD, ERRS) == [(calls(*ERRS), "handle-leak")]


@pytest.mark.parametrize("name", ["clean", "thread_exception"])
def test_a_correct_python_host_leaves_nothing(name: str) -> None:
    assert left(name, *[GOOD, FAILS, ERRS] * 3) == []


@pytest.mark.slow
@counts_output
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("remembers_failures", "X10"),
        ("leaves_log_open", "X11"),
        ("copies_text", "X18"),
        ("writes_beginnings", "X19"),
    ],
)
def test_a_campaign_on_a_python_target_finds_and_keeps_it(tmp_path: Path, name: str, code: str, seed: int) -> None:
    from click.testing import CliRunner

    options = CampaignOptions(max_runs=4000, max_time=None, seed=seed, slow=4, timeout=20, exit_first=True)
    summary = Campaign(f"targets.{name}:Host", [], options, folder=tmp_path).run()
    (found,) = summary.found
    assert (found.finding.code, found.flaky) == (code, False) and len(found.calls) <= 2
    (file,) = tmp_path.glob("*.tape")
    often = ["--repeat", "1000"] if code in ("X10", "X11") else []
    again = CliRunner().invoke(replay, [str(file), "--target", f"targets.{name}:Host", *often])
    assert again.exit_code == 1 and f"{code} is still there" in again.output
    fixed = CliRunner().invoke(replay, [str(file), "--target", "targets.clean:Host", *often])
    assert fixed.exit_code == 0 and f"{code} is gone" in fixed.output


@pytest.mark.slow
def test_a_campaign_finds_none_of_it_in_a_correct_python_host() -> None:
    options = CampaignOptions(max_runs=40_000, max_time=None, seed=1)
    summary = Campaign("targets.clean:Host", [], options).run()
    assert summary.found == [] and summary.progress.unconfirmed == 0
