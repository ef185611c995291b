"""What the C recorder adds to a call: nanoseconds, and as a multiple of a bare forward in C, in one run.

    python benchmarks/native_recording.py
    python benchmarks/native_recording.py --windows    with mingw-w64, under Wine

Compiles native_recording.c with the recorder and runs it.  Cases take turns within a round; each figure is the
median over the rounds, of CPU time (under Wine of the clock's, which a busy machine changes).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parent / "recorder" / "_native"
CASES = ("one of 200 texts of 40 characters", "one of 2,000 such texts", "NULL text", "a text never seen")
GOAL = 300.0  # ns added to a call with a known text


def measure(folder: Path, *, windows: bool) -> list[float]:
    """Nanoseconds for a call: bare, then for each case."""
    compiler = "x86_64-w64-mingw32-gcc" if windows else "cc"
    program = folder / ("native_recording.exe" if windows else "native_recording")
    sources = [HERE / "native_recording.c", NATIVE / "synctape_record.c"]
    flags = ["-std=c99", "-O2", f"-I{NATIVE}", "-pthread"]
    subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
    command = [*(["wine"] if windows else []), str(program), "calls.tape"]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare, *recorded = measure(Path(folder), windows="--windows" in sys.argv)
    print(
        f"A Progress call through a bare forward in C: {bare:.1f} ns.  With the recorder, both events of a call:"
    )
    for case, time in zip(CASES, recorded, strict=True):
        print(f"  {case:<36}+{time - bare:6.0f} ns  {time / bare:8.1f} times")
    print(f"Goal: under {GOAL:.0f} ns added with a text of 40 characters: {recorded[0] - bare < GOAL}")


if __name__ == "__main__":
    main()
