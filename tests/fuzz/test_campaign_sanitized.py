"""Campaigns on native targets built with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.campaign import Campaign, CampaignOptions
from fuzz.progress import Summary
from recorder.text import call_text
from replayer.isolation import Isolated
from replayer.verdict import Status, replay_file

TESTS = Path(__file__).parent.parent
EXAMPLES = TESTS.parent / "examples" / "native"

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(sys.platform != "linux", reason="sanitizers of ELF libraries"),
]
compilers = pytest.mark.parametrize("compiler", ["g++", "clang++"])


def built(source: Path, compiler: str, folder: Path) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    library = folder / f"{source.stem}.so"
    command = [compiler, "-std=c++17", "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
    subprocess.run([*command, f"-I{EXAMPLES}", "-fPIC", "-shared", "-o", library, source], check=True)
    return library


def search(library: Path, folder: Path, runs: int) -> Summary:
    options = CampaignOptions(seed=1, max_time=120, max_runs=runs, memory=600)
    return Campaign(f"{library}:create", options=options, folder=folder).run()


@compilers
@pytest.mark.slow
def test_two_mistakes_with_memory_are_two_findings_each_minimal(compiler: str, tmp_path: Path) -> None:
    library = built(TESTS / "targets" / "native" / "two_heap_bugs.cpp", compiler, tmp_path)
    summary = search(library, tmp_path / "findings", 120)
    found = {one.finding.method: one for one in summary.found}
    assert sorted(found) == ["Error", "Progress"]
    assert len(summary.found) == 2
    for one in summary.found:
        assert (one.finding.code, one.finding.oracle, len(one.calls), one.flaky) == ("X13", "sanitizer", 1, False)
        assert one.finding.place.startswith("two_heap_bugs.cpp:")
        text = (tmp_path / "findings" / f"{one.name}.txt").read_text(encoding="utf-8")
        assert "ERROR: AddressSanitizer: heap-" in text
        assert "allocated by thread" in text
    assert "heap-buffer-overflow" in found["Error"].finding.message
    assert "heap-use-after-free" in found["Progress"].finding.message
    assert call_text(found["Progress"].calls[0], Campaign(f"{library}:create").interface) == "Progress(NULL, 0, 0)"


@pytest.mark.slow
def test_a_kept_finding_fails_until_it_is_mended(tmp_path: Path) -> None:
    library = built(TESTS / "targets" / "native" / "two_heap_bugs.cpp", "g++", tmp_path)
    summary = search(library, tmp_path / "findings", 120)
    kept = next(one for one in summary.found if one.finding.method == "Progress")
    path = tmp_path / "findings" / f"{kept.name}.tape"
    with Isolated(f"{library}:create") as player:
        verdict = replay_file(path, player)
    assert verdict.status is Status.FAILED
    assert [finding.fingerprint for finding in verdict.findings] == [kept.finding.fingerprint]
    with Isolated(f"{built(EXAMPLES / 'good_host.cpp', 'g++', tmp_path)}:create") as player:
        assert replay_file(path, player).status is Status.FIXED


@compilers
@pytest.mark.slow
def test_a_correct_host_gives_nothing(compiler: str, tmp_path: Path) -> None:
    summary = search(built(EXAMPLES / "good_host.cpp", compiler, tmp_path), tmp_path / "findings", 20_000)
    assert (summary.found, summary.progress.unconfirmed, summary.progress.deaths) == ([], 0, 0)
    assert summary.progress.runs == 20_000
