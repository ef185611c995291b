"""Calls for each second of the processor's time, with all feedback on, on a host in which nothing is found.

    python benchmarks/throughput.py --python PYTHON     with the peers of benchmarks/requirements.txt in PYTHON
    python benchmarks/throughput.py                     synctape and libFuzzer alone

synctape starts from forty conforming sequences of ten calls; those of the others have ten each.  What a tool takes
to start is left out: of synctape and libFuzzer a short run is taken from a long one, all their processes counted;
the others tell it themselves.  The bare target is a loop that makes the calls of a campaign's sequences on a fresh
host each.  Tools take turns; each ratio is the median of the rounds'.  How a native campaign compares with playing
alone: benchmarks/isolation.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.catalogue import Host, hosts
from benchmarks.tools import PEERS, Setup, watched
from fuzz import generate
from fuzz.engine import Engine
from recorder.calls import Call, Header, Trace
from recorder.contract import Level, contract_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.trace import write_trace
from replayer.target import load_target

ROUNDS, LENGTH = 5, 10
SHORT, LONG = 5_000, 55_000  # sequences
LIMIT = 3.0  # seconds for the peers that tell their own time
_ROOT = Path(__file__).parents[1]


def seeds() -> list[list[Call]]:
    random, contract = Random(7), contract_of(CALLBACK)
    made = [generate.conforming(contract, random, LENGTH + 1) for _ in range(200)]
    return [calls for calls in made if len(calls) == LENGTH][:40]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="where the peers are installed")
    parser.add_argument("--native-build", default="coverage", help="of the Makefile's kinds, for synctape")
    options = parser.parse_args()
    ours = next(host for host in hosts() if host.name == "good_dialog")
    native = next(host for host in hosts() if host.name == "native/good_dialog")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, calls in enumerate(seeds()):
            write_trace(Trace.from_calls(calls, Header(interface=CALLBACK)), corpus / f"{number}.tape")
        setup = Setup(os.path.abspath(options.python or ""), PEERS.parent / "hosts" / "native" / "build")
        sanitized = Setup("", setup.build, options.native_build).library(native)
        plain = setup.library(native)
        tools: dict[str, Callable[[], float]] = {
            "bare target": bare,
            "synctape": lambda: campaign(f"benchmarks.hosts.{ours.path.stem}:Host", corpus),
            f"synctape, native, {options.native_build}": lambda: campaign(f"{sanitized}:create", corpus),
            "synctape, native, plain": lambda: campaign(f"{plain}:create", corpus),
            "libfuzzer": lambda: libfuzzer(setup.program(native)),
        }
        if options.python:
            for name in ("atheris", "given", "stateful"):
                tools[name] = lambda name=name: peer(name, ours, setup)  # type: ignore[misc]
        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            for name, rate in tools.items():
                rates[name].append(rate())
    for name, values in rates.items():
        print(f"{name:28} {statistics.median(values):12,.0f} calls/s")
    python, libfuzzer_rates = rates["synctape"], rates["libfuzzer"]
    print(f"{ratio(rates['bare target'], python):8.2f}  bare target's rate / synctape's (goal: at most 3)")
    for name, goal in (("given", 100), ("stateful", 100), ("atheris", 2)):
        if name in rates:
            print(f"{ratio(python, rates[name]):8.2f}  synctape's rate / {name}'s (goal: at least {goal})")
    for name in list(tools)[2:4]:
        print(f"{ratio(rates[name], libfuzzer_rates):8.2f}  {name} / libfuzzer's rate (goal: at least 1)")


def ratio(ones: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


# --- rates, in calls for each second of the processor's ----------------------------------------------------------


def bare() -> float:
    target = load_target("benchmarks.hosts.good_dialog:Host", CALLBACK)
    engine = Engine(target, seeds(), seed=1)
    sequences = [calls[:] for level in Level for _, calls in engine.sequences(0, level, 2000)]
    factory = sys.modules["benchmarks.hosts.good_dialog"].Host
    handle = type("Handle", (int,), {"close": lambda self: None})(7)
    plain = [
        [(c.method, tuple(handle if a.__class__.__name__ == "Handle" else a for a in c.args)) for c in calls]
        for calls in sequences
    ]
    started = time.process_time()
    for calls in plain:
        host = factory()
        for method, args in calls:
            getattr(host, method)(*args)
    return sum(map(len, plain)) / (time.process_time() - started)


def campaign(spec: str, corpus: Path) -> float:
    return difference(lambda sequences: _campaign(spec, corpus, sequences))


def _campaign(spec: str, corpus: Path, sequences: int) -> int:
    """Plays so many sequences; gives the number of calls."""
    command = [sys.executable, "-m", "synctape", "fuzz", "--target", spec, "--corpus", str(corpus), "--json"]
    command += ["--seed", "1", "--max-runs", str(sequences), "--findings", str(corpus.parent / "findings")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["calls"])


def libfuzzer(program: Path) -> float:
    def run(sequences: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report")
            report.write_bytes(bytes(32))
            command = [str(program), "-seed=1", f"-runs={sequences}", "-max_len=2048", "-detect_leaks=0"]
            environment = {**os.environ, "REPORT": str(report), "CALLS": str(LENGTH)}
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
            return int(struct.unpack("=qqqq", report.read_bytes())[3])

    return difference(run)


def difference(run: Callable[[int], int]) -> float:
    """The rate of what a long run does more than a short one."""
    calls, seconds = [], []
    for sequences in (SHORT, LONG):
        before = os.times()
        calls.append(run(sequences))
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return (calls[1] - calls[0]) / (seconds[1] - seconds[0])


def peer(name: str, host: Host, setup: Setup) -> float:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        command = [setup.python, str(PEERS / f"with_{name}.py"), str(host.path), "1", str(LIMIT), str(report)]
        end = watched(command, report, LIMIT, {"CALLS": str(LENGTH)})["end"]
    return float(end["calls"] / end["cpu"])


if __name__ == "__main__":
    main()
