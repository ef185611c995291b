"""Campaigns on native targets with coverage find what lies behind numbers, texts and an order of calls."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.campaign import Campaign, CampaignOptions
from fuzz.progress import Summary
from fuzz.words import words_in

HERE = Path(__file__).parent.parent / "targets" / "native"

pytestmark = pytest.mark.native

COMMANDS = {
    "gcc": "gcc -fsanitize-coverage=trace-pc,trace-cmp",
    "clang guards": "clang -fsanitize-coverage=trace-pc-guard,trace-cmp",
    "clang counters": "clang -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp",
    "gcc, ASan": "gcc -fsanitize=address -fsanitize-coverage=trace-pc,trace-cmp",
    "clang, ASan": "clang -fsanitize=address -shared-libasan -fsanitize-coverage=trace-pc-guard,trace-cmp",
}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="coverage of ELF libraries")


def covered(command: str, folder: Path, name: str) -> Path:
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {command.split(maxsplit=1)[0]}")
    library = folder / f"{name}.so"
    options = ["-std=c99", "-g", "-O1", "-fPIC", "-shared", f"-I{HERE}"]
    subprocess.run([*command.split(), *options, "-o", library, HERE / f"{name}.c"], check=True)
    return library


def search(library: Path, runs: int, **options: object) -> Summary:
    chosen = CampaignOptions(seed=1, max_runs=runs, max_time=120, **options)  # type: ignore[arg-type]
    return Campaign(f"{library}:create", options=chosen).run()


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_deep_bug_is_found(command: str, tmp_path: Path) -> None:
    summary = search(covered(command, tmp_path, "deep"), 300_000, exit_first=True)
    (found,) = summary.found
    assert found.finding.code == ("X13" if "address" in command else "X1")
    *opening, last = found.calls
    assert {call.method for call in opening} == {"Progress"} and len(opening) <= 2
    assert opening[0].args[1] == 48879
    assert str(opening[-1].args[0]).startswith("FIND")
    assert (last.method, last.args[0]) == ("Error", 0x0BADF00D)
    progress = summary.progress
    assert progress.kept > 10 and 15 <= progress.covered <= progress.sites


@pytest.mark.slow
def test_and_not_without_coverage(library: Callable[[str], Path]) -> None:
    summary = search(library("deep"), 60_000)
    assert (summary.found, summary.progress.covered, summary.progress.sites) == ([], 0, 0)


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("host", ["deep", "null_text"])
def test_a_seed_gives_a_run(host: str, tmp_path: Path) -> None:
    """Whatever dies on the way: a new process is told what was found, and finds it no more."""
    library = covered(COMMANDS["gcc"], tmp_path, host)
    one, other = (search(library, 400, batch=100).progress for _ in range(2))
    assert (one.runs, one.calls, one.kept, one.covered, one.applied, one.earned, one.deaths) == (
        *(other.runs, other.calls, other.kept, other.covered, other.applied, other.earned, other.deaths),
    )
    assert one.kept > 5 and (one.deaths > 0) == (host == "null_text")


def test_words_of_a_library(library: Callable[[str | Path], Path], tmp_path: Path) -> None:
    source = tmp_path / "words.c"
    source.write_text("""
#include "callback.h"
EXPORT const uint16_t wide[] = {'W', 'i', 'd', 'e', '!', 0, 0};
EXPORT const char narrow[] = "Folder %u of %u", other[] = "\\x01Inbox";
""")
    words = words_in(library(source))
    assert {"Folder %u of %u", "Inbox", "nbox", "Wide!"} <= set(words)
    assert words.index("Wide!") < words.index("Inbox")
    assert words_in(source) == [] and words_in(tmp_path / "nothing.so") == []
