"""What it costs to understand a long trace: its figures, its summary, its timeline; as ratios in one run.

    python benchmarks/reading.py [CALLS]

The reference is one pass of a bare msgpack.Unpacker over the same file.  Cases take turns within a round; each
figure is the median over the rounds, of CPU time, so that a busy machine matters less.  The file holds 1,000,000
calls really recorded, with 10,000 distinct texts, and is read whole and cut, as a killed process leaves it;
another one has a text of its own in each call, with its own reference.  Memory is the peak of a process of its own
that takes the figures of such a file, less that of one that does so for a tenth of the calls.

Exits with 1 if the figures miss their goals: at most 2 times the reference, under 5 s, in constant memory.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgpack

from recorder import stats, summary, tally, timeline
from recorder.callback import RecordingCallback
from recorder.native import Core, core_of
from recorder.trace_input import TraceInput

ROUNDS, CALLS = 5, 1_000_000
GOAL, SECONDS, MEBIBYTES = 2.0, 5.0, 4.0
FOLDERS = ("Inbox", "Archive/2024", "Sent Items", "Projects/Ünïcode", "Drafts")
TEXTS = [f"Downloading message {n + 1} of 2000 in {folder}" for folder in FOLDERS for n in range(2000)]
PEAK = """
import resource, sys
from recorder.stats import statistics
from recorder.trace_input import TraceInput
assert statistics(TraceInput(sys.argv[1])).calls
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def recorded(path: Path, calls: int, *, distinct: bool = False) -> Path:
    with RecordingCallback(path=path) as callback:
        for number in range(calls):
            text = f"{TEXTS[0]}: {number}" if distinct else TEXTS[number % len(TEXTS)]
            callback.Progress(text, number % 2000 + 1, 2000)
        callback.Done(None, 0)
    return path


def bare(path: Path) -> None:
    with open(path, "rb") as file:
        assert sum(1 for _ in msgpack.Unpacker(file))


def figures(path: Path) -> None:
    assert stats.statistics(TraceInput(path)).calls


def without_core(path: Path) -> None:
    with mock.patch.object(tally, "core_of", lambda floor: Core(None, "left aside")):
        figures(path)


def cpu(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak(path: Path) -> float:
    """MiB of a process that takes the figures of a trace."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> int:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    core = core_of("recorder")
    with tempfile.TemporaryDirectory() as name:
        whole = recorded(Path(name, "run.tape"), calls)
        cut = Path(name, "cut.tape")
        cut.write_bytes(whole.read_bytes()[:-10])
        texts = recorded(Path(name, "texts.tape"), calls, distinct=True)
        cases: dict[str, Callable[[], Any]] = {
            "figures": lambda: figures(whole),
            "figures, of a trace without its end": lambda: figures(cut),
            "figures, with a text of its own a call": lambda: figures(texts),
            "figures, without the compiled core": lambda: without_core(whole),
            "summary": lambda: summary.summary(TraceInput(whole)),
            "timeline": lambda: [*timeline.timeline(TraceInput(whole))],
        }
        taken: dict[str, list[float]] = {case: [] for case in cases}
        ratios: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(ROUNDS):
            reference, of_texts = cpu(lambda: bare(whole)), cpu(lambda: bare(texts))
            for case, work in cases.items():
                taken[case].append(cpu(work))
                ratios[case].append(taken[case][-1] / (of_texts if "text" in case else reference))
        print(f"{calls:,} calls, as a multiple of a bare Unpacker pass over the same file")
        for case, values in ratios.items():
            print(f"  {case:<40}{statistics.median(values):8.2f}")
        slow = [
            case for case, seconds in taken.items() if "figures" in case and statistics.median(seconds) > SECONDS
        ]
        missed = [f"{case}: over {SECONDS:.0f} s" for case in slow]
        if core.module is None:
            print(f"no compiled core: {core.reason}", file=sys.stderr)
        else:
            over = [case for case in list(cases)[:3] if statistics.median(ratios[case]) > GOAL]
            missed += [f"{case}: over {GOAL:.0f} times the reference" for case in over]
        if sys.platform != "win32":
            growth = peak(texts) - peak(recorded(Path(name, "tenth.tape"), calls // 10, distinct=True))
            print(f"Memory for ten times the calls: {growth:+.1f} MiB")
            if growth > MEBIBYTES:
                missed.append(f"memory grows by more than {MEBIBYTES:.0f} MiB")
    for miss in missed:
        print(f"missed: {miss}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
