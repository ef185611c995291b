"""The tools that the benchmark runs, each as its users run it: one process, host, seed, and a limit in seconds.

Each searches until its first failure.  `seconds` count from the start of its search, which is before its first
sequence, and `startup` from the start of its process to there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalogue import Host

__all__ = ["TOOLS", "Result", "Setup", "Tool"]

ROOT = Path(__file__).parents[1]
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


TOOLS: Mapping[str, Tool] = {"synctape": synctape}


def applies(tool: str, host: Host) -> bool:
    """Whether a tool can take a host."""
    return tool == "synctape" or host.native == (tool == "libfuzzer")
