"""What coverage costs a campaign: 10-call sequences on a target of about thirty branches, against it bare.

    python benchmarks/coverage.py

A round is a fresh callback, its ten calls and, with coverage, the novelty test; bare and measured rounds take
turns, and the fastest of many counts.  Goals (limits.md, section 5): at most 1.5 times bare on Python 3.11,
1.1 from 3.12 on; a novelty test that finds nothing at most 1 us.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fuzz.coverage
from fuzz.coverage import Coverage, coverage_for

SAMPLES = Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "coverage_samples"
TARGET = "thirty_branches"
ROUNDS = 200
REPEATS = 60
GOAL = 1.5 if sys.version_info < (3, 12) else 1.1

CALLS: list[list[tuple[str, tuple[Any, ...]]]] = [
    [
        ("Progress", ("Inbox", 0, 9)),
        ("Progress", ("Inbox", 3, 9)),
        ("Progress", (None, 5, 9)),
        ("Error", ("not\nfound", -2147221233)),
        ("Progress", ("a long text " * 9, 7, 9)),
        ("Progress", ("Sent", 1, 4)),
        ("Error", (None, 263040)),
        ("Progress", ("Sent", 9, 4)),
        ("Progress", ("Two\nlines", 0, 0)),
        ("Done", (7,)),
    ],
    [
        *[("Progress", ("Inbox", number, 8)) for number in range(8)],
        ("Done", (None,)),
        ("Progress", ("late", 1, 1)),
    ],
]


def load(coverage: Coverage | None) -> ModuleType:
    """The target, imported anew."""
    sys.modules.pop(TARGET, None)
    if coverage is not None:
        coverage.start()
    return importlib.import_module(TARGET)


def play(module: ModuleType) -> None:
    for sequence in CALLS:
        target = module.create()
        for method, args in sequence:
            getattr(target, method)(*args)


def seconds(module: ModuleType, novel: Callable[[], int] | None) -> float:
    begin = time.perf_counter()
    if novel is None:
        for _ in range(ROUNDS):
            play(module)
    else:
        for _ in range(ROUNDS):
            play(module)
            novel()
            novel()
    return time.perf_counter() - begin


def ratio(coverage: Coverage) -> float:
    bare, measured = load(None), load(coverage)
    play(measured)
    pairs = [(seconds(bare, None), seconds(measured, coverage.novel)) for _ in range(REPEATS)]
    coverage.stop()
    return min(pair[1] for pair in pairs) / min(pair[0] for pair in pairs)


def novelty_test_us(coverage: Coverage) -> float:
    """Microseconds of a novelty test that finds nothing."""
    coverage.novel()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for _ in range(ROUNDS):
            coverage.novel()
        times.append(time.perf_counter() - begin)
    return min(times) / ROUNDS * 1e6


def main() -> int:
    sys.path.insert(0, str(SAMPLES))
    missed = False
    for method in ("lines", "cells"):
        coverage = coverage_for(TARGET)
        if method == "cells":
            fuzz.coverage._TOOLS = ()
        found = ratio(coverage)
        if coverage.method != method:
            continue
        best = method == "lines" or sys.version_info < (3, 12)
        missed |= best and found > GOAL
        print(
            f"{sys.version.split()[0]}  {method}: {found:.2f} times bare"
            + (f" (goal {GOAL})" if best else "")
            + f", novelty test {novelty_test_us(coverage):.2f} us, {coverage.hit()} of {coverage.total()} sites"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
