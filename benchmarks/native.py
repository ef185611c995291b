"""What playing on a native target costs, as ratios in one run: the compiled player, its guards, the ctypes loop.

    python benchmarks/native.py

A sequence is ten calls: nine Progress with a text of 30 characters, one Done.  The reference is a bare C loop that
makes the same calls on the same object with its strings ready.  Cases take turns within a round; each figure is
the median over the rounds.  Needs a C compiler and the compiled core.
"""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recorder import com
from recorder.encoding import Encoder
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.native import core_of
from replayer.compiled import describe
from replayer.guards import Guard

ROUNDS, SEQUENCES, SLOW_SEQUENCES = 21, 2000, 100
CALLS = 10
TEXTS = [f"Downloading message {n} of 2000".ljust(30)[:30] for n in range(CALLS - 1)]
HERE = Path(__file__).parent

_PROGRESS, _, _DONE = CALLBACK.calls
Case = tuple[str, int, Callable[[], object]]  # name, sequences in a round, what plays them


def compiled_host(folder: Path) -> Any:
    headers = HERE.parent / "tests" / "targets" / "native"
    library = folder / ("host.dll" if sys.platform == "win32" else "host.so")
    flags = ["-std=c99", "-O2", "-fPIC", "-shared", f"-I{headers}"]
    subprocess.run(["cc", *flags, "-o", library, HERE / "native_host.c"], check=True)
    return ctypes.CDLL(str(library))


def records() -> list[bytes]:
    """The sequence as the compiled player takes it."""
    out: list[bytes] = []
    encoder = Encoder(out.append)
    for index, text in enumerate(TEXTS):
        spelled = encoder.arguments(_PROGRESS.inputs, (text, index, CALLS - 1))
        encoder.enter(CALLBACK.slot[_PROGRESS.name], 1, 0, spelled)
    encoder.enter(CALLBACK.slot[_DONE.name], 1, 0, encoder.arguments(_DONE.inputs, (None, 0)))
    return out


def cases(host: Any) -> list[Case]:
    core = core_of("replayer").module
    pointer = ctypes.c_void_p()
    host.create(ctypes.byref(pointer))
    this = pointer.value or 0
    host.bare_loop.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32)
    ready = "".join(f"{text}\0" for text in TEXTS).encode("utf-16-le")
    whole = records()
    one, texts = b"".join(whole), b"".join(r for r in whole if r[1] == 1)
    batch = b"".join(r for r in whole if r[1] != 1) * SEQUENCES
    answers, all_answers = array("q", bytes(8 * CALLS)), array("q", bytes(8 * CALLS * SEQUENCES))

    def play(player: Any, stream: bytes, values: array[int]) -> None:
        core.play(player, this, 1, stream, 0, None, values, None, None, None, 0, False)

    def one_by_one(guard: Guard, sequences: int) -> Case:
        player = core.player(describe(CALLBACK), guard, 0, 0)

        def run() -> None:
            for _ in range(sequences):
                core.forget(player)
                play(player, one, answers)

        return f"compiled, {guard.name.lower()}, a Python call each", sequences, run

    def at_once(guard: Guard) -> Case:
        player = core.player(describe(CALLBACK), guard, 0, 0)
        core.play(player, this, 1, texts, 0, None, None, None, None, None, 0, False)
        return f"compiled, {guard.name.lower()}, all at once", SEQUENCES, lambda: play(player, batch, all_answers)

    wrapped = com.wrap(this, CALLBACK)
    progress, done = getattr(wrapped, _PROGRESS.name), getattr(wrapped, _DONE.name)

    def through_ctypes() -> None:
        for _ in range(SLOW_SEQUENCES):
            for index, text in enumerate(TEXTS):
                progress(text, index, CALLS - 1)
            done(None, 0)

    return [
        ("bare C loop", SEQUENCES, lambda: host.bare_loop(this, ready, len(TEXTS[0]), SEQUENCES)),
        at_once(Guard.NONE),
        at_once(Guard.RING),
        one_by_one(Guard.RING, SEQUENCES),
        one_by_one(Guard.STRICT, SLOW_SEQUENCES),
        ("ctypes, call by call", SLOW_SEQUENCES, through_ctypes),
    ]


def measure(made: list[Case]) -> dict[str, list[float]]:
    """Nanoseconds of a sequence, for each case and round."""
    times: dict[str, list[float]] = {name: [] for name, _, _ in made}
    for _ in range(ROUNDS):
        for name, sequences, run in made:
            started = time.perf_counter_ns()
            run()
            times[name].append((time.perf_counter_ns() - started) / sequences)
    return times


def ratio(times: dict[str, list[float]], name: str, reference: str) -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[reference], strict=True))


def main() -> None:
    if core_of("replayer").module is None:
        sys.exit(f"benchmarks/native.py: {core_of('replayer').reason}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        times = measure(cases(compiled_host(Path(folder))))
    bare, *others = times
    print(f"{bare}: {statistics.median(times[bare]):.0f} ns for a sequence of {CALLS} calls")
    for name in others:
        print(f"{ratio(times, name, bare):8.1f} x  {name}")
    unguarded, ring, python, _, slow = others
    print(f"{ratio(times, ring, unguarded):8.2f} x  the ring of guarded texts, of unguarded ones (goal: 1.8)")
    print(f"{ratio(times, ring, bare):8.2f} x  all at once, of the bare loop (goal: 4)")
    print(f"{ratio(times, slow, python):8.1f} x  calls a second of a Python call each, of ctypes (goal: 15)")
    print(f"{ratio(times, slow, ring):8.1f} x  calls a second of all at once, of ctypes")


if __name__ == "__main__":
    main()
