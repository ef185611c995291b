"""Record all scenarios: python -m examples.providers.capture -o corpora/imapisyncprogresscallback/captured

Each runs in a process of its own: engines keep things for the life of theirs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from examples.providers.scenarios import SCENARIOS, played
from recorder import hresult
from recorder.trace import read_trace


def main(arguments: list[str] | None = None) -> int:
    """Exits with 1 if a scenario ends in another way than it is to, with 2 for a file that exists."""
    parser = argparse.ArgumentParser(
        description="Record what engines say in runs that go well and runs that do not."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", action="append", metavar="SCENARIO", choices=SCENARIOS, help="[default: all]")
    parser.add_argument("--force", action="store_true", help="replace traces of the same name")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    names = options.only or list(SCENARIOS)
    if len(names) > 1:
        own = [
            sys.executable,
            "-m",
            "examples.providers.capture",
            "-o",
            options.output,
            *["--force"] * options.force,
        ]
        return max(subprocess.run([*own, "--only", name], check=False).returncode for name in names)
    path = options.output / f"{names[0]}.tape"
    if path.exists():
        if not options.force:
            parser.error(f"{path} exists already; give another folder, or --force to replace it")
        path.unlink()
    run = played(names[0], path)
    result = run.dialog.result
    told = "no Done" if result is None else hresult.describe(result)
    print(f"{path}  {len(read_trace(path).calls)} calls  {told}", flush=True)
    return 0 if run.happened and result in SCENARIOS[names[0]].results else 1


if __name__ == "__main__":
    sys.exit(main())
