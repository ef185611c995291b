"""Schedules of native targets are searched: what only shows between a load and a store is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fuzz.campaign import Campaign
from fuzz.cli import fuzz
from fuzz.progress import CampaignOptions
from fuzz.schedules import changes, held, threads_of
from fuzz.thread_engine import ThreadEngine
from recorder.calls import Call
from recorder.contract import Level
from replayer.native_threads import can_step
from replayer.target import load_target

TARGETS = Path(__file__).parent.parent / "targets" / "native"
needs_steps = pytest.mark.skipif(sys.platform == "win32" or not can_step(), reason="no steps of native code")

FAR, NEAR = Call("Progress", (None, 1, 100)), Call("Progress", (None, 5, 6))


def test_references_are_taken_before_they_are_given_back() -> None:
    program = [FAR, NEAR, FAR._replace(thread=1), NEAR._replace(thread=1), FAR._replace(thread=2)]
    seen = set()
    for seed in range(60):
        made = held(program, Random(seed))
        assert [call for call in made if call.args] == program
        for thread in threads_of(made):
            own = [call.method for call in made if call.thread == thread and not call.args]
            assert own in ([], ["AddRef", "Release"])
            seen.add(tuple(own))
    assert len(seen) == 2


@pytest.mark.native
@needs_steps
def test_batches_of_a_native_target_are_schedules_of_its_code(library: Callable[[str], Path]) -> None:
    target = load_target(f"{library('stores_a_pair')}:create")
    engine = ThreadEngine(target, [[FAR, NEAR, FAR]], threads=2, seed=3)
    made = [calls for _, calls in engine.sequences(0, Level.LENIENT, 48)]
    assert any(switch > 0 for calls in made for call in calls for switch in call.switches)
    assert all(switch >= 0 for calls in made for call in calls for switch in call.switches)
    batch = engine.run(0, Level.LENIENT, 48)
    assert batch.done == 48
    assert any("change" in feature for kept in batch.fresh for feature in kept.features)
    assert ThreadEngine(target, [[FAR, NEAR, FAR]], threads=2, seed=3).sequence(0, Level.LENIENT, 48, 7) == made[7]


@pytest.mark.native
@pytest.mark.slow
@needs_steps
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("counts_in_two_steps", "H5"),
        ("locks_crosswise", "X14"),
        ("closes_in_a_race", "H14"),
        ("stores_a_pair", "X16"),
    ],
)
def test_a_bug_is_found_and_minimised_to_two_threads_and_one_change(
    library: Callable[[str], Path], tmp_path: Path, name: str, code: str, seed: int
) -> None:
    options = CampaignOptions(seed=seed, threads=2, max_time=60, exit_first=True)
    (found,) = Campaign(f"{library(name)}:create", options=options, folder=tmp_path).run().found
    assert (found.finding.code, found.scheduled) == (code, True)
    assert (len(found.calls), threads_of(found.calls), changes(found.calls)) == (2, [0, 1], 1)


@pytest.mark.native
@pytest.mark.slow
@needs_steps
def test_nothing_is_found_on_a_correct_host(library: Callable[[str], Path], tmp_path: Path) -> None:
    options = CampaignOptions(seed=1, threads=3, max_time=15)
    assert Campaign(f"{library('good_host')}:create", options=options, folder=tmp_path).run().found == []


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers of ELF libraries")
def test_a_data_race_is_found_in_a_build_with_thread_sanitizer(tmp_path: Path) -> None:
    source, built = TARGETS / "stores_a_pair.c", tmp_path / "stores_a_pair.so"
    command = ["gcc", "-std=c99", "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=thread", "-fPIC", "-shared"]
    subprocess.run([*command, "-o", built, source], check=True)
    options = CampaignOptions(seed=1, threads=2, max_time=60, exit_first=True)
    (found,) = Campaign(f"{built}:create", options=options, folder=tmp_path / "findings").run().found
    assert found.finding.code == "X17"
    assert {call.method for call in found.calls} >= {"Progress"}


def test_without_the_compiled_core_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fuzz.cli.core_of", lambda floor: SimpleNamespace(module=None))
    command = ["--target", "x/y.so:create", "--threads", "2", "--findings", str(tmp_path / "f")]
    result = CliRunner().invoke(fuzz, command)
    assert result.exit_code == 2
    assert "--threads on a native target takes the compiled core" in result.output
    assert not (tmp_path / "f").exists()
