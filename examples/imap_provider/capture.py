"""Record all scenarios: python -m examples.imap_provider.capture -o corpora/imapisyncprogresscallback/captured"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.imap_provider.scenarios import SCENARIOS, played
from recorder import hresult
from recorder.trace import read_trace


def main(arguments: list[str] | None = None) -> int:
    """Exits with 1 if a scenario ends in another result than it is to, with 2 for a file that exists."""
    parser = argparse.ArgumentParser(description="Record the IMAP provider's scenarios against a real Dovecot.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", action="append", metavar="SCENARIO", choices=SCENARIOS, help="[default: all]")
    parser.add_argument("--force", action="store_true", help="replace traces of the same name")
    options = parser.parse_args(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{options.output} cannot be made: {error.strerror or error}")
    wrong = 0
    for name in options.only or SCENARIOS:
        path = options.output / f"store_{name}.tape"
        if path.exists():
            if not options.force:
                parser.error(f"{path} exists already; give another folder, or --force to replace it")
            path.unlink()
        with played(name, path) as run:
            result = run.dialog.result
        told = "no Done" if result is None else hresult.describe(result)
        print(f"{path}  {len(read_trace(path).calls)} calls  {told}")
        wrong += result != SCENARIOS[name].result
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
