"""What calls on several threads cost, how soon the samples' bugs are found, and that correct ones have none.

    python benchmarks/threads.py                    what a scheduled call costs, as ratios in one run
    python benchmarks/threads.py --find             time and sequences to each sample's bug, with its schedule
    python benchmarks/threads.py --correct 600      so many seconds on each correct sample: nothing may be found

The samples are those of tests/targets/threads, on Linux with a C compiler also those of tests/targets/native.
Ratios: cases take turns within a round, each figure is the median over the rounds.  A scheduled call is to cost at
most 30 unscheduled ones, and an unscheduled one what it costs where nothing was ever scheduled.  Searches run on
one core, one after the other, as `synctape fuzz --threads` with the traces that ship; the schedule is counted as
it was minimised.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recorder.calls import Call, Trace
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.text import parse_call
from recorder.trace import read_trace
from replayer.player import PlayOptions, play
from replayer.target import load_target

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
WRONG = {
    "callback_under_lock": "X14",
    "checks_then_acts": "X16",
    "closes_in_a_race": "H14",
    "drained_after_done": "X16",
    "lazy_list": "X15",
    "lock_order": "X14",
    "unlocked_pair": "X16",
}
CORRECT = ("one_consumer", "one_lock", "refuses_late", "snapshots")
NATIVE = {
    "closes_in_a_race.c": "H14",
    "counts_in_two_steps.c": "H5",
    "locks_crosswise.c": "X14",
    "stores_a_pair.c": "X16",
}
NATIVE_CORRECT = ("good_host.c",)

ROUNDS, TIMES, LENGTHS = 31, 5, (10, 200)
GOAL = 30.0
_GRACE = 90.0  # seconds for a search to start, to minimise and to end


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--find", action="store_true", help="search for the samples' bugs")
    parser.add_argument("--correct", type=float, metavar="SECONDS", help="search the correct samples so long each")
    parser.add_argument("--samples", nargs="*", default=[], help="which, those in C with .c  [default: all]")
    parser.add_argument("--seeds", type=int, default=5, help="searches for each bug  [default: 5]")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each of them  [default: 60]")
    parser.add_argument("--threads", type=int, default=2, help="[default: 2]")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(TESTS))
    _on_one_core()
    native = sys.platform == "linux" and shutil.which("cc")
    if options.find:
        all_of_them = [*WRONG, *(NATIVE if native else ())]
        find(options.samples or all_of_them, options.seeds, options.limit, options.threads)
    elif options.correct:
        all_of_them = [*CORRECT, *(NATIVE_CORRECT if native else ())]
        correct(options.samples or all_of_them, options.correct, options.threads)
    else:
        cost()


def _on_one_core() -> None:
    """This process and those that it starts."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


# --- cost -------------------------------------------------------------------------------------------------------


def cost() -> None:
    target = load_target("targets.threads.one_lock:Host", CALLBACK)
    plain, scheduled = PlayOptions(join_seconds=0), PlayOptions(join_seconds=0, concurrent=True)
    alone = {length: [call._replace(thread=0) for call in spread(length)] for length in LENGTHS}
    before = {length: _in_turns({"": partial(play, calls, target, plain)})[""] for length, calls in alone.items()}
    for length, calls in alone.items():
        together = spread(length)
        switched = [call._replace(switches=(3,)) if n % 5 == 0 else call for n, call in enumerate(together)]
        medians = _in_turns(
            {
                "one thread": partial(play, calls, target, plain),
                "two threads, unscheduled": partial(play, together, target, plain),
                "two threads, scheduled": partial(play, together, target, scheduled),
                "two threads, scheduled with change points": partial(play, switched, target, scheduled),
            }
        )
        print(f"sequences of {length} calls: microseconds a call, and as a ratio to one thread")
        for name, value in medians.items():
            print(f"  {name:44s} {value / length * 1e6:9.2f} {value / medians['one thread']:9.2f}")
        after = _in_turns({"": partial(play, calls, target, plain)})[""]
        print(f"  {'one thread, after / before all this':44s} {after / before[length]:19.2f}")
    print(f"goals: scheduled at most {GOAL:g}, after / before 1")


def spread(length: int) -> list[Call]:
    """Reports on two threads in turn, a problem now and then, the end last."""
    texts = [f"Progress({'NULL' if n % 3 else quoted(n)}, {n}, {length})" for n in range(length - 1)]
    texts[length // 2] = 'Error(E_FAIL, "The server did not answer")'
    calls = [parse_call(text, CALLBACK) for text in [*texts, "Done(sync-event, S_OK)"]]
    return [call._replace(thread=number % 2) for number, call in enumerate(calls)]


def quoted(number: int) -> str:
    return f'"Downloading message {number}"'


def _in_turns(cases: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds that each takes: the median over the rounds."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, work in cases.items():
            started = time.perf_counter()
            for _ in range(TIMES):
                work()
            times[name].append((time.perf_counter() - started) / TIMES)
    return {name: statistics.median(values) for name, values in times.items()}


# --- searching --------------------------------------------------------------------------------------------------


def find(samples: Sequence[str], seeds: int, limit: float, threads: int) -> None:
    """A line for each sample: how often its bug was found, how soon, and the schedule that is left of it."""
    print("| sample | found | seconds, median | most | sequences, median | calls | threads | switches |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for sample in samples:
        found = []
        for seed in range(1, seeds + 1):
            failures, _, traces = search(sample, seed, limit, threads, "-x")
            failures = [failure for failure in failures if failure["seconds"] <= limit]
            _tell(f"{sample} seed {seed}: {[(f['code'], f['seconds'], f['executions']) for f in failures]}")
            if [failure["code"] for failure in failures] == [(WRONG | NATIVE)[sample]]:
                found.append((failures[0], traces[0]))
        print(_row(sample, found, seeds), flush=True)


def _row(sample: str, found: Sequence[tuple[dict[str, Any], Trace]], seeds: int) -> str:
    if not found:
        return f"| `{sample}` | 0 of {seeds} | | | | | | |"
    seconds = [failure["seconds"] for failure, _ in found]
    sequences = statistics.median(failure["executions"] for failure, _ in found)
    sizes = [
        _span(len(trace.calls) for _, trace in found),
        _span(len({call.thread for call in trace.calls}) for _, trace in found),
        _span(sum(len(call.switches) for call in trace.calls) for _, trace in found),
    ]
    return (
        f"| `{sample}` | {len(found)} of {seeds} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | "
        f"{sequences:,.0f} | {' | '.join(sizes)} |"
    )


def _span(numbers: Iterator[int]) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return str(least) if least == most else f"{least} to {most}"


def correct(samples: Sequence[str], seconds: float, threads: int) -> None:
    """A line for each sample: what was found in it, which is to be nothing."""
    for sample in samples:
        failures, summary, _ = search(sample, 1, seconds, threads)
        told = ", ".join(f"{failure['code']} {failure['message']}" for failure in failures) or "nothing"
        print(f"{sample}: {told} in {summary['runs']:,} sequences and {summary['seconds']:.0f} s", flush=True)


def search(
    sample: str, seed: int, limit: float, threads: int, *options: str
) -> tuple[list[dict[str, Any]], dict[str, Any], list[Trace]]:
    """One campaign: its findings, its summary, and the traces that it wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        spec = f"targets.threads.{sample}:Host"
        if sample.endswith(".c"):
            spec = _built(sample, Path(scratch))
        command = [sys.executable, "-m", "synctape", "fuzz", "--target", spec, "--json"]
        command += ["--threads", str(threads), "--max-time", f"{limit:g}", "--seed", str(seed)]
        command += ["--findings", scratch, *options]
        paths = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=limit + _GRACE,
            check=False,
        )
        traces = [read_trace(path) for path in sorted(Path(scratch).glob("*.tape"))]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode not in (0, 1) or not lines:
        sys.exit(f"synctape ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    *failures, summary = lines
    return failures, summary, traces


def _built(sample: str, folder: Path) -> str:
    """A native sample, compiled, as a target."""
    sources = TESTS / "targets" / "native"
    library = folder / Path(sample).with_suffix(".so")
    flags = ["-std=c99", "-O1", "-g", "-fPIC", "-shared", f"-I{sources}", "-o", str(library)]
    subprocess.run(["cc", *flags, str(sources / sample)], check=True)
    return f"{library}:create"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
