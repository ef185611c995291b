"""A gauge on libnewt's scale widget as a native target: the campaign finds what its host does wrong."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from corpora import folder
from recorder.trace import read_trace
from replayer.corpus import find_traces
from synctape import main

ROOT = Path(__file__).parents[2]
KEPT = {  # what is kept in corpora/found, and what it shows
    "newt_gauge_done_first": ("Done",),
    "newt_gauge_done_twice": ("Progress", "Done", "Done"),
    "newt_gauge_late_progress": ("Progress", "Done", "Progress"),
}

pytestmark = [pytest.mark.native, pytest.mark.slow]


@pytest.fixture(scope="module")
def gauge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The gauge as a target."""
    compiler, source = shutil.which("cc"), ROOT / "examples" / "native" / "newt_gauge.c"
    if compiler is None or not Path("/usr/include/newt.h").exists():
        pytest.skip("no C compiler, or no libnewt-dev")
    built = tmp_path_factory.mktemp("newt") / "newt_gauge.so"
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    subprocess.run([compiler, *strict, "-fPIC", "-shared", "-o", built, source, "-lnewt", "-lslang"], check=True)
    return f"{built}:create"


def synctape(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    return done.exit_code, done.output


def test_campaigns_find_the_three_faults(gauge: str, tmp_path: Path) -> None:
    """A second Done frees what is free, which the allocator does not always notice: one campaign may miss it."""
    faults: set[tuple[str, bool]] = set()  # the last call, and whether a Done came before it
    wanted = {(methods[-1], "Done" in methods[:-1]) for methods in KEPT.values()}
    for seed in range(1, 6):
        folder = tmp_path / str(seed)
        arguments = ("--max-runs", 1200, "--seed", seed, "--max-time", 240, "--findings", folder)
        code, output = synctape("fuzz", "--target", gauge, *arguments)
        assert code == 1, output
        for trace in map(read_trace, folder.glob("*.tape")):
            *before, last = (call.method for call in trace.calls)
            faults.add((last, "Done" in before))
            finding = trace.header.provenance["finding"]
            assert (finding["code"], finding["method"]) == ("X1", last)
        if faults >= wanted:
            return
    assert faults == wanted


def test_a_captured_run_is_drawn_without_a_fault(gauge: str) -> None:
    path = next(path for path in find_traces([folder() / "captured"]) if path.stem == "mail_succeeds")
    code, output = synctape("replay", path, "--target", gauge)
    assert (code, output.splitlines()[-1]) == (0, "1 trace: 1 passed, 0 failed, 0 fixed, 0 errors")


def test_what_is_kept_fails_on_the_gauge_and_is_fixed_on_a_correct_host(
    gauge: str, library: Callable[[str], Path]
) -> None:
    paths = [ROOT / "corpora" / "found" / f"{name}.tape" for name in KEPT]
    for path, methods in zip(paths, KEPT.values(), strict=True):
        assert tuple(call.method for call in read_trace(path).calls) == methods
    code, output = synctape("replay", *paths, "--target", gauge)
    assert (code, output.splitlines()[-1]) == (1, "3 traces: 0 passed, 3 failed, 0 fixed, 0 errors"), output
    code, output = synctape("replay", *paths, "--target", f"{library('good_host')}:create")
    assert (code, output.splitlines()[-1]) == (0, "3 traces: 0 passed, 0 failed, 3 fixed, 0 errors"), output


def test_exported_it_is_red_on_the_gauge_and_green_on_a_correct_host(
    gauge: str, library: Callable[[str], Path], tmp_path: Path
) -> None:
    source, program = tmp_path / "replay.cpp", tmp_path / "replay"
    kept = ROOT / "corpora" / "found" / "newt_gauge_late_progress.tape"
    assert synctape("export", kept, "--to", "cpp", "-o", source) == (0, "")
    subprocess.run(["c++", "-std=c++17", "-pthread", "-o", program, source, "-ldl"], check=True)

    def run(library: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [program, library, "create"], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )

    assert run(gauge.removesuffix(":create")).returncode not in (0, 2)
    assert run(library("good_host")).returncode == 0
