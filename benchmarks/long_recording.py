"""Whether memory stays flat over very many calls: resident memory at each tenth, as a multiple of the first.

    python benchmarks/long_recording.py            100 million calls by the recorder in C, 5 million by Python's
    python benchmarks/long_recording.py 20000000   so many, and a twentieth

The calls have 100,000 texts in turn, more than a file's table holds.  Each recorder keeps to 64 MiB on the disk,
of fewer calls to less, so that files change as often: with a first one that is kept (--max-size), and as a ring.
Resident is all memory, with the part of the file that is mapped, which comes and goes; own is what is no file's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parent / "recorder" / "_native"
CALLS, SIZE = 100_000_000, 64 << 20

PYTHON = """
import sys
from pathlib import Path
from recorder.callback import RecordingCallback
from recorder.session import Bounds

path, calls, size, ring = sys.argv[1], *map(int, sys.argv[2:])

class Host:
    def Progress(self, text, index, maximum):
        return 0
    Error = Done = None

texts = [f"message {n}" for n in range(100_000)]
with RecordingCallback(Host(), path, bounds=Bounds(size, keep_first=not ring)) as callback:
    for call in range(1, calls + 1):
        callback.Progress(texts[call % 100_000], call, calls)
        if call % (calls // 10) == 0:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            print(*(status[name].split()[0] for name in ("VmRSS", "RssAnon")), flush=True)
"""


def levels(command: list[str | Path], calls: int, size: int, ring: bool) -> list[tuple[int, int]]:
    """Resident and own KiB at each tenth."""
    with tempfile.TemporaryDirectory() as folder:
        options = str(Path(folder) / "run.tape"), str(calls), str(size), str(int(ring))
        done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)
        room = sum(file.stat().st_size for file in Path(folder).iterdir())
    assert room <= size, room
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]  # type: ignore[misc]


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    size = max(SIZE * calls // CALLS, 1 << 20)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "long_recording"
        sources = [HERE / "long_recording.c", NATIVE / "synctape_record.c"]
        subprocess.run(["cc", "-std=c99", "-O2", f"-I{NATIVE}", "-pthread", "-o", program, *sources], check=True)
        recorders: list[tuple[str, list[str | Path], int]] = [
            ("C", [program], calls),
            ("Python", [sys.executable, "-c", PYTHON], calls // 20),
        ]
        flat = True
        for name, command, number in recorders:
            for ring in (False, True):
                seen = levels(command, number, size, ring)
                print(f"{name}, {number:,} calls, {'--ring' if ring else '--max-size'}; a tenth each:")
                for what, at in (("resident", 0), ("own", 1)):
                    figures = [level[at] / seen[0][at] for level in seen]
                    print(f"  {what:<9}" + "".join(f"{figure:7.3f}" for figure in figures))
                    flat = flat and (what != "own" or max(figures[5:]) < 1.05 * max(figures[:5]))
    print(f"Goal: the process's own memory in the second half under 1.05 times the most of the first: {flat}")


if __name__ == "__main__":
    main()
