"""How many sequences the search needs to reach bugs that chance does not: the engine alone, over several seeds.

    python benchmarks/feedback.py [HOST ...] [--seeds 5] [--most 200000]

Counts sequences, not time, so that a busy machine changes nothing.  The hosts are those of tests/targets/deep.py;
a campaign's batches come in the order of its levels.  "-" is a bug not reached within `--most` sequences.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import statistics
import sys
import time
from pathlib import Path
from random import Random

from fuzz import generate
from fuzz.coverage import coverage_for
from fuzz.engine import Engine
from fuzz.pool import level_of_batch
from recorder.contract import Level, contract_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from replayer.target import object_target

TARGETS = Path(__file__).resolve().parent.parent / "tests" / "targets"
BATCH = 250


def sequences_until(host: str, seed: int, most: int) -> int | None:
    """How many sequences are played until the host's bug shows."""
    sys.modules.pop("deep", None)
    coverage = coverage_for("deep")
    coverage.start()
    try:
        module = importlib.import_module("deep")
        random = Random(11)
        contract = contract_of(IMAPI_SYNC_PROGRESS_CALLBACK)
        seeds = [generate.conforming(contract, random, 12) for _ in range(4)]
        engine = Engine(object_target(getattr(module, host)), seeds, seed=seed, coverage=coverage)
        wanted = module.BUGS[host].__name__
        done = 0
        for number in itertools.count():
            batch = engine.run(number, level_of_batch(Level.HOSTILE, number), BATCH)
            hits = [s.index for s in batch.suspects if s.signature.startswith(wanted)]
            if hits:
                return done + hits[0] + 1
            engine.restore(batch.fresh)
            done += batch.done
            if done >= most:
                return None
        raise AssertionError("batches never end")
    finally:
        coverage.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=200_000)
    options = parser.parse_args()
    sys.path.insert(0, str(TARGETS))
    hosts = options.host or list(importlib.import_module("deep").BUGS)
    for host in hosts:
        started = time.process_time()
        counts = [sequences_until(host, seed, options.most) for seed in range(options.seeds)]
        found = sorted(count if count is not None else options.most for count in counts)
        told = " ".join("-" if count is None else str(count) for count in counts)
        print(
            f"{host:12s} median {statistics.median(found):9.0f}   {told}   {time.process_time() - started:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
