"""Campaigns on a Dask cluster: a real scheduler and real workers, which come, go, and are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sequences import GOOD, save, trace

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
Process = subprocess.Popen[str]


def environment(*path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONUTF8": "1"}


def until(there: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What it gives as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
    return found


class DaskProcesses:
    """A scheduler and its workers, each a process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._processes: list[Process] = []
        self._file = folder / "scheduler.json"
        self.scheduler = self._started("scheduler", "--port", 0, "--scheduler-file", self._file, path=(ROOT,))
        self.address = str(json.loads(until(self._said))["address"])

    def worker(self, *, knows_target: bool = True, threads: int = 1) -> Process:
        """One more; without its target it has synctape all the same."""
        path = (TESTS, ROOT) if knows_target else (ROOT,)
        local = ("--local-directory", self.folder / f"worker{len(self._processes)}")
        return self._started("worker", self.address, "--no-nanny", "--nthreads", threads, *local, path=path)

    def end(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return self._file.read_text() if json.loads(self._file.read_text() or "null") else ""
        return ""

    def _started(self, what: str, *arguments: object, path: tuple[Path, ...]) -> Process:
        fixed = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        with (self.folder / f"{what}{len(self._processes)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", what, *map(str, arguments), *fixed],
                cwd=self.folder,
                env=environment(*path),
                stdout=log,
                stderr=log,
                text=True,
            )
        self._processes.append(process)
        return process


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    (tmp_path / "dask").mkdir()
    processes = DaskProcesses(tmp_path / "dask")
    yield processes
    processes.end()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    save(tmp_path / "seeds", "good", trace(*GOOD))
    return tmp_path / "seeds"


def fuzz(folder: Path, corpus: Path, cluster: str, *arguments: str, target: str = "clean") -> Process:
    """A campaign, under way in `folder`/c."""
    command = [sys.executable, "-m", "synctape", "fuzz", "--target", f"targets.{target}:Host", "--seed", "1"]
    command += ["--corpus", str(corpus), "--campaign", "c", "--cluster", cluster, "--json", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(TESTS, ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: Process, code: int) -> tuple[list[dict[str, Any]], str]:
    """The lines of JSON and the errors of a campaign that ends with this code."""
    try:
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, errors
    assert "Traceback" not in errors, errors
    return [json.loads(line) for line in out.splitlines()], errors


def played(folder: Path) -> int:
    """How many sequences a campaign says it has played."""
    try:
        return int(json.loads((folder / "c" / "campaign.json").read_text())["progress"]["runs"])
    except OSError:
        return 0


def children(process: Process) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_workers_find_what_is_there_and_keep_nothing(dask: DaskProcesses, tmp_path: Path, corpus: Path) -> None:
    one, other = dask.worker(), dask.worker(threads=2)
    campaign = fuzz(tmp_path, corpus, dask.address, "--max-runs", "3000", target="two_bugs")
    if sys.platform == "linux":
        until(lambda: len(children(one)) == 1 and len(children(other)) == 2)
    lines, errors = ended(campaign, 1)
    summary = lines[-1]
    assert {line["message"].partition(":")[0] for line in lines[:-1]} >= {"KeyError", "IndexError"}
    assert (summary["runs"], summary["stopped"], errors) == (3000, "runs", "")
    assert sum(summary["levels"].values()) == 3000 and summary["new"] > 3
    if sys.platform == "linux":
        until(lambda: not children(one) and not children(other))


def test_a_worker_that_is_killed_and_one_that_comes(dask: DaskProcesses, tmp_path: Path, corpus: Path) -> None:
    """It begins without any, goes on with one, loses it, and goes on with another."""
    campaign = fuzz(tmp_path, corpus, dask.address, "--max-time", "0")
    time.sleep(1)
    assert not played(tmp_path)
    first = dask.worker()
    until(lambda: played(tmp_path))
    first.kill()
    before = played(tmp_path)
    dask.worker()
    until(lambda: played(tmp_path) > 2 * before + 2000)
    campaign.send_signal(signal.SIGINT)
    lines, errors = ended(campaign, 130)
    assert lines[-1]["runs"] > before and not errors
    assert len(list((tmp_path / "c" / "corpus").glob("*.tape"))) > 3


def test_a_scheduler_that_is_not_there(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    lines, errors = ended(fuzz(tmp_path, corpus, "tcp://127.0.0.1:9", "--max-time", "20"), 3)
    assert not lines and errors.startswith("synctape: cluster tcp://127.0.0.1:9: ") and errors.count("\n") == 1


def test_an_address_that_is_none(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster")
    _, errors = ended(fuzz(tmp_path, corpus, "somewhere", "--max-time", "20"), 2)
    assert "--cluster somewhere: missing port number" in errors and "tcp://host:8786" in errors


def test_what_was_found_before_the_scheduler_was_lost_is_kept(
    dask: DaskProcesses, tmp_path: Path, corpus: Path
) -> None:
    dask.worker()
    campaign = fuzz(tmp_path, corpus, dask.address, "--max-time", "0", target="two_bugs")
    findings = tmp_path / "c" / "findings"
    until(lambda: len(list(findings.glob("*.tape"))) >= 3 and played(tmp_path))
    dask.scheduler.kill()
    _, errors = ended(campaign, 3)
    assert f"synctape: cluster {dask.address}: " in errors and errors.count("\n") == 1
    kept = json.loads((tmp_path / "c" / "campaign.json").read_text())
    assert kept["stopped"] == "failed" and kept["progress"]["runs"] and len(list(findings.glob("*.tape"))) >= 3
    going_on = [sys.executable, "-m", "synctape", "fuzz", "--resume", "c", "--json", "--max-runs", "100"]
    done = subprocess.run(
        [*going_on, "--jobs", "2"], cwd=tmp_path, env=environment(TESTS, ROOT), capture_output=True, check=False
    )
    assert done.returncode == 1 and json.loads(done.stdout.splitlines()[-1])["failures"] >= 3


def test_a_target_that_no_worker_can_import(dask: DaskProcesses, tmp_path: Path, corpus: Path) -> None:
    dask.worker(knows_target=False)
    _, errors = ended(fuzz(tmp_path, corpus, dask.address, "--max-time", "60"), 2)
    assert "none of the workers can search; tcp://127.0.0.1:" in errors and "no module 'targets" in errors


def test_a_worker_that_cannot_import_the_target_is_left_out(
    dask: DaskProcesses, tmp_path: Path, corpus: Path
) -> None:
    dask.worker()
    campaign = fuzz(tmp_path, corpus, dask.address, "--max-runs", "20000")
    until(lambda: played(tmp_path))
    dask.worker(knows_target=False)
    lines, _ = ended(campaign, 0)
    assert lines[-1]["runs"] == 20000


def test_crashes_on_workers_are_findings(dask: DaskProcesses, tmp_path: Path, corpus: Path) -> None:
    dask.worker()
    lines, _ = ended(fuzz(tmp_path, corpus, dask.address, "--max-runs", "400", target="segfaults"), 1)
    assert [line["code"] for line in lines[:-1]] == ["X1"] and lines[-1]["deaths"] and lines[-1]["runs"] == 400
