"""What the C recorder adds to a call: nanoseconds, and as a multiple of a bare forward in C, in one run.

    python benchmarks/native_recording.py
    python benchmarks/native_recording.py --windows    with mingw-w64, under Wine

Compiles native_recording.c with the recorder and runs it.  Cases take turns within a round; each figure is the
median over the rounds, of CPU time (under Wine of the clock's, which a busy machine changes).  Recordings in
several files are compared by the mean, since changes of files are rare and count.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parent / "recorder" / "_native"
CASES = ("one of 200 texts of 40 characters", "one of 2,000 such texts", "NULL text", "a text never seen")
WAYS = ("several files of 8 MiB in all", "a ring of 8 MiB")
GOAL = 300.0  # ns added to a call with a known text
GOAL_OF_SEVERAL = 1.5  # times a call recorded to one file


def measure(folder: Path, *, windows: bool) -> list[float]:
    """Nanoseconds for a call: bare, for each case, and in the mean to one file and in each other way."""
    compiler = "x86_64-w64-mingw32-gcc" if windows else "cc"
    program = folder / ("native_recording.exe" if windows else "native_recording")
    sources = [HERE / "native_recording.c", NATIVE / "synctape_record.c"]
    flags = ["-std=c99", "-O2", f"-I{NATIVE}", "-pthread"]
    subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
    command = [*(["wine"] if windows else []), str(program), "calls.tape", "several.tape", "ring.tape"]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return [float(line) for line in done.stdout.split()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare, *measured = measure(Path(folder), windows="--windows" in sys.argv)
    recorded, (one, *several) = measured[: len(CASES)], measured[len(CASES) :]
    print(
        f"A Progress call through a bare forward in C: {bare:.1f} ns.  With the recorder, both events of a call:"
    )
    for case, time in zip(CASES, recorded, strict=True):
        print(f"  {case:<36}+{time - bare:6.0f} ns  {time / bare:8.1f} times")
    print(f"Goal: under {GOAL:.0f} ns added with a text of 40 characters: {recorded[0] - bare < GOAL}")
    print("One of 200 texts, as a multiple of recording to one file:")
    for way, time in zip(WAYS, several, strict=True):
        print(f"  {way:<36}{time / one:8.2f} times")
    print(f"Goal: at most {GOAL_OF_SEVERAL} times: {max(several) <= GOAL_OF_SEVERAL * one}")


if __name__ == "__main__":
    main()
