"""The tools that the benchmark runs, each as its users run it: one process, host, seed, and a limit in seconds.

Each searches until its first failure.  `seconds` count from the start of its search, which is before its first
sequence, and `startup` from the start of its process to there.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue import Host

__all__ = ["TOOLS", "Result", "Setup", "Tool", "ToolError", "applies", "watched"]

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
_VALUES = "-use_value_profile=1"
_GRACE = 90.0  # seconds beyond the limit for starting and ending


@dataclass(frozen=True)
class Setup:
    """What the tools need: the Python that the peers are installed in, and where native hosts are built."""

    python: str
    build: Path
    native: str = ""  # the kind of build that synctape plays: "" or the Makefile's "asan", "coverage"

    def library(self, host: Host) -> Path:
        """The host as a shared library for synctape."""
        return self._made(host, self.build / self.native / f"{host.path.stem}.so")

    def program(self, host: Host) -> Path:
        """The host with libFuzzer in it."""
        return self._made(host, self.build / "libfuzzer" / host.path.stem)

    def _made(self, host: Host, file: Path) -> Path:
        makefile = host.path.parent / "Makefile"
        subprocess.run(["make", "-s", "-f", makefile, f"OUT={self.build}", file], check=True)
        return file


@dataclass(frozen=True)
class Result:
    """What came of one search; without a bug `seconds` and `executions` are those of all of it."""

    found: bool
    seconds: float
    executions: int
    startup: float | None = None
    what: str = ""
    where: str = ""


class ToolError(Exception):
    """A tool did not do its work."""


Events = dict[str, dict[str, Any]]
Tool = Callable[[Host, int, float, Setup], Result]


def synctape(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """`synctape fuzz -x` as it is, with the traces that ship."""
    spec = f"{setup.library(host)}:create" if host.native else f"benchmarks.hosts.{host.path.stem}:Host"
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "synctape", "fuzz", "--target", spec, "--json", "-x"]
        command += ["--max-time", f"{limit:g}", "--seed", str(seed), "--findings", scratch]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit + _GRACE, check=False
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode not in (0, 1) or not lines:
        raise ToolError(f"synctape ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    *failures, summary = lines
    if not failures:
        return Result(False, summary["seconds"], summary["runs"] + summary["traces"])
    first = min(failures, key=lambda failure: failure["seconds"])
    found = first["seconds"] <= limit
    return Result(found, first["seconds"], first["executions"], None, first["code"], first["place"])


def stateful(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """Hypothesis, RuleBasedStateMachine."""
    return _peer("with_stateful", host, seed, limit, setup)


def given(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """Hypothesis, @given a list of calls."""
    return _peer("with_given", host, seed, limit, setup)


def hypofuzz(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """HypoFuzz, in one process; it draws its own seeds."""
    with tempfile.TemporaryDirectory() as scratch:
        report, ini = Path(scratch, "report"), Path(scratch, "pytest.ini")
        ini.write_text("[pytest]\n")
        program = str(Path(setup.python).parent / "hypothesis")
        command = [program, "fuzz", "--no-dashboard", "-n", "1", "--", "-c", str(ini), "-p", "no:cacheprovider"]
        environment = {"HOST": str(host.path), "LIMIT": str(limit), "REPORT": str(report)}
        return _result(watched([*command, str(PEERS / "with_hypofuzz.py")], report, limit, environment), limit)


def atheris(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    return _peer("with_atheris", host, seed, limit, setup)


def atheris_values(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """Atheris, told to take how close compared values are for coverage."""
    return _peer("with_atheris", host, seed, limit, setup, _VALUES)


def libfuzzer(host: Host, seed: int, limit: float, setup: Setup, *flags: str) -> Result:
    """libFuzzer with AddressSanitizer, linked with the host."""
    program = setup.program(host)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report")
        report.write_bytes(bytes(32))
        fixed = ["-max_len=2048", "-timeout=5", "-detect_leaks=0", f"-artifact_prefix={scratch}/"]
        # it counts whole seconds: what it finds beyond the limit does not count
        command = [str(program), f"-seed={seed}", f"-max_total_time={math.ceil(limit)}", *fixed, *flags]
        began = time.monotonic_ns()
        environment = {**os.environ, "REPORT": str(report), "ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run(
            command, env=environment, cwd=scratch, capture_output=True, timeout=limit + _GRACE, check=False
        )
        first, last, sequences, _ = struct.unpack("=qqqq", report.read_bytes())
        crashed = any(Path(scratch).glob("crash-*"))
    if not first or (done.returncode and not crashed):
        raise ToolError(f"libFuzzer ended with {done.returncode}: {done.stderr[-500:]!r}")
    seconds = (last - first) / 1e9
    summary = re.search(rb"SUMMARY: AddressSanitizer: (\S+) \S*?([^/\s]+:\d+)", done.stderr) if crashed else None
    what, where = (part.decode() for part in summary.groups()) if summary else ("", "")
    return Result(crashed and seconds <= limit, seconds, sequences, (first - began) / 1e9, what, where)


def libfuzzer_values(host: Host, seed: int, limit: float, setup: Setup) -> Result:
    """libFuzzer, told to take how close compared values are for coverage."""
    return libfuzzer(host, seed, limit, setup, _VALUES)


def _peer(driver: str, host: Host, seed: int, limit: float, setup: Setup, *flags: str) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report")
        command = [setup.python, str(PEERS / f"{driver}.py"), str(host.path), str(seed), f"{limit:g}", str(report)]
        if driver == "with_atheris":
            flags = (*flags, f"-artifact_prefix={scratch}/")
        return _result(watched([*command, *flags], report, limit), limit)


def watched(
    command: list[str], report: Path, limit: float, environment: Mapping[str, str] | None = None
) -> Events:
    """Runs a peer's driver until it has told its end (see peers/model.py), then ends whatever it has started.

    Gives its events by name; "process" is the start of its process.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=report.parent,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                ended = process.poll() is not None
                events = {event["event"]: event for event in _events(report)}
                if "end" in events:
                    break
                if ended or time.monotonic() - began > limit + _GRACE:
                    output.seek(0)
                    said = output.read()[-800:].decode(errors="replace")
                    raise ToolError(f"{' '.join(command)} told no end: {said}")
                time.sleep(0.01)
        finally:
            _end(process)
    return {**events, "process": {"at": began}}


def _result(events: Events, limit: float) -> Result:
    start, end = events["start"], events["end"]
    startup = start["at"] - events["process"]["at"]
    what, where = end.get("what", ""), end.get("where", "")
    return Result(
        end["found"] and end["seconds"] <= limit, end["seconds"], end["executions"], startup, what, where
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _events(report: Path) -> list[dict[str, Any]]:
    if not report.exists():
        return []
    return [
        json.loads(line) for line in report.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


TOOLS: Mapping[str, Tool] = {
    "synctape": synctape,
    "atheris": atheris,
    "atheris+values": atheris_values,
    "given": given,
    "stateful": stateful,
    "hypofuzz": hypofuzz,
    "libfuzzer": libfuzzer,
    "libfuzzer+values": libfuzzer_values,
}


def applies(tool: str, host: Host) -> bool:
    """Whether a tool can take a host."""
    return tool == "synctape" or host.native == tool.startswith("libfuzzer")
