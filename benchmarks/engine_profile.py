"""Where the time of the inner loop goes on a Python target in which nothing is found: samples of its stack.

    python benchmarks/engine_profile.py         needs setitimer, which Windows has not

The loop runs in this process, as in the searching child, with all feedback on; after `WARM` batches a timer looks
`EVERY` second of the processor's time which part of it is at work: the innermost frame that belongs to one.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.throughput import seeds
from fuzz.campaign import CampaignOptions
from fuzz.coverage import coverage_for
from fuzz.engine import Engine
from fuzz.pool import level_of_batch
from recorder.contract import Level
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from replayer.target import load_target

WARM, MEASURED, EVERY = 25, 200, 0.001
HOST = "benchmarks.hosts.good_dialog"
PARTS = {  # by module, and by function where that says more
    "good_dialog": "the target",
    "observer": "watching closely: state, outcomes, comparisons",
    "feedback": "watching closely: state, outcomes, comparisons",
    "comparisons": "watching closely: state, outcomes, comparisons",
    "screen": "playing: instances, calls, answers, handles",
    "coverage": "code coverage",
    "protocol": "the contract's transitions",
    "schedule": "weighing what was kept",
    "generate": "making sequences",
    "environment": "making sequences",
    "engine.sequences": "making sequences",
    "engine._base": "making sequences",
    "engine": "the loop itself",
}


def main() -> None:
    if sys.platform == "win32":
        sys.exit("there is no setitimer on Windows")
    coverage = coverage_for(HOST)
    coverage.start()
    target = load_target(f"{HOST}:Host", CALLBACK)
    coverage.prepare_comparisons()
    engine = Engine(target, seeds(), seed=1, coverage=coverage)
    seen: Counter[str] = Counter()

    def look(number: int, frame: FrameType | None) -> None:
        seen[part_of(frame)] += 1

    run(engine, range(WARM))
    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    started = time.process_time()
    sequences, calls = run(engine, range(WARM, WARM + MEASURED))
    seconds = time.process_time() - started
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{seconds / sequences * 1e6:.1f} us for each of {sequences} sequences of {calls / sequences:.1f} calls")
    for part, times in seen.most_common():
        print(f"{times / seen.total():6.1%}  {part}")


def run(engine: Engine, numbers: range) -> tuple[int, int]:
    """Plays batches; how many sequences and calls they had."""
    options = CampaignOptions()
    sequences = calls = 0
    for number in numbers:
        batch = engine.run(number, level_of_batch(Level.HOSTILE, number), options.size_of(number))
        sequences, calls = sequences + batch.done, calls + batch.calls
        for kept in batch.fresh:
            engine.keep(kept)
        if batch.fresh:
            engine.reweigh()
    return sequences, calls


def part_of(frame: FrameType | None) -> str:
    while frame is not None:
        name = Path(frame.f_code.co_filename).stem
        found = PARTS.get(f"{name}.{frame.f_code.co_name}") or PARTS.get(name)
        if found is None and name.endswith(("mutators", "edits", "values", "text_changes", "dictionary")):
            found = PARTS["generate"]
        if found is not None:
            return found
        frame = frame.f_back
    return "other"


if __name__ == "__main__":
    main()
