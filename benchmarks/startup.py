"""Seconds from the start of a process to the first call that it makes on a host: synctape, and its peers.

    python benchmarks/startup.py --python PYTHON        with the peers of benchmarks/requirements.txt in PYTHON
    python benchmarks/startup.py                        synctape alone

synctape plays the traces that it was given first, in one process, and searches in another; both are told.  Tools
take turns; each figure is the median of the rounds.  The goal for synctape's first call is 0.5 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.catalogue import Host, hosts
from benchmarks.tools import TOOLS, Setup, applies

ROUNDS = 7

STAMPING = """
import os, time

class Host:
    told = False

    def _tell(self, *arguments):
        if not Host.told:
            Host.told = True
            with open(os.environ["STAMPS"], "a") as file:
                file.write(f"{time.monotonic()}\\n")
        return 0

    Progress = Error = Done = _tell
"""


def synctape() -> list[float]:
    """Seconds to the first call of each process that makes any, in order."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "stamping.py").write_text(STAMPING, "utf-8")
        stamps = Path(folder, "stamps")
        command = [sys.executable, "-m", "synctape", "fuzz", "--target", "stamping:Host", "--max-runs", "10"]
        began = time.monotonic()
        path = os.pathsep.join((folder, str(Path(__file__).parents[1])))
        environment = {**os.environ, "STAMPS": str(stamps), "PYTHONPATH": path}
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
        return [float(line) - began for line in stamps.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="where the peers are installed")
    options = parser.parse_args()
    figures: dict[str, list[float]] = defaultdict(list)
    bare = [sys.executable, "-c", ""]
    for _ in range(ROUNDS):
        began = time.monotonic()
        subprocess.run(bare, check=True)
        figures["a bare Python, from start to end"].append(time.monotonic() - began)
        replays, searches, *_ = synctape()
        figures["synctape, first trace replayed"].append(replays)
        figures["synctape, first sequence of the search"].append(searches)
        if options.python:
            for name, seconds in peers(os.path.abspath(options.python)):
                figures[name].append(seconds)
    for name, values in figures.items():
        print(f"{name:45s} {statistics.median(values):6.2f} s")


def peers(python: str) -> list[tuple[str, float]]:
    native, ours = (next(h for h in hosts() if h.correct and h.native is native) for native in (True, False))
    setup = Setup(python, Path(__file__).parent / "hosts" / "native" / "build")
    setup.program(native)
    told = []
    for name, run in TOOLS.items():
        host: Host = native if applies(name, native) and name != "synctape" else ours
        if name != "synctape":
            told.append((name, run(host, 1, 0.1, setup).startup or 0.0))
    return told


if __name__ == "__main__":
    main()
