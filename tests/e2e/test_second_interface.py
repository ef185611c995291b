"""IMAPIProgress, declared in a few lines, is recorded, replayed, fuzzed and minimised with no other change."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from targets import imapi_progress

from recorder.trace import read_trace

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONUTF8": "1"}
TARGET = ("--target", "targets.imapi_progress:Host")
PROVIDER = '''
def copy(callback):
    """Copies thirty messages and tells how far it is."""
    answer, flags = callback.GetFlags()
    _, low = callback.GetMin()
    _, high = callback.GetMax()
    callback.SetLimits(low, high, None)
    for done in range(1, 31):
        callback.Progress(low + (high - low) * done // 30, done, 30)
'''


def synctape(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "synctape", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_takes_fewer_than_twenty_lines() -> None:
    source = Path(imapi_progress.__file__).read_text("utf-8")
    lines = 0
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.Assign) and "Interface" in ast.unparse(node)
        ):
            lines += (node.end_lineno or 0) - node.lineno + 1
    assert 0 < lines < 20


def test_record_replay_fuzz_and_minimise(tmp_path: Path) -> None:
    (tmp_path / "copier.py").write_text(PROVIDER, "utf-8")
    interface = ("--interface", "targets.imapi_progress:IMAPI_PROGRESS")
    recorded = synctape(
        tmp_path,
        "record",
        "copier:copy",
        "-o",
        "copy.tape",
        *interface,
        "--forward",
        "targets.imapi_progress:Host",
    )
    assert (recorded.returncode, recorded.stderr) == (0, "")
    trace = read_trace(tmp_path / "copy.tape")
    assert trace.interface == imapi_progress.IMAPI_PROGRESS and len(trace.calls) == 34
    flags = next(p for p in trace.played if p.call.method == "GetFlags")
    assert flags.outcome is not None and flags.outcome.outputs == (1,)

    replayed = synctape(tmp_path, "replay", "copy.tape", *TARGET, "--match-results")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr

    fuzzed = synctape(tmp_path, "fuzz", "--corpus", "copy.tape", *TARGET, "--max-runs", "2000", "--seed", "1")
    assert fuzzed.returncode == 1 and "ZeroDivisionError" in fuzzed.stdout, fuzzed.stdout + fuzzed.stderr
    assert "no call ends the protocol" in fuzzed.stdout
    (found,) = (tmp_path / "findings").glob("X3-*.tape")
    assert [(c.method, c.args) for c in read_trace(found).calls] == [("Progress", (0, 0, 0))]

    original = tmp_path / "findings" / "originals" / found.name
    minimised = synctape(tmp_path, "minimise", str(original), *TARGET, "-o", "least.tape")
    assert minimised.returncode == 1, minimised.stderr
    assert [(c.method, c.args) for c in read_trace(tmp_path / "least.tape").calls] == [("Progress", (0, 0, 0))]

    regression = synctape(tmp_path, "replay", "findings", *TARGET)
    assert regression.returncode == 1 and "FAILED" in regression.stdout
