"""What recording costs: time for each call, size of each call, reading back; as ratios in one run.

    python benchmarks/recording.py

The reference for calls is the bare forward: a Python object whose method calls the same method of the host.  Both
are called in the same plain loop.  Cases take turns within a round; each figure is the median over the rounds, of
CPU time, so that a busy machine matters less.  Sizes are of 1,000,000 calls really recorded, with 10,000 distinct
texts.  The reference for reading is one pass of a bare msgpack.Unpacker over the same file.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from recorder.callback import RecordingCallback
from recorder.redaction import Redaction
from recorder.session import Bounds
from recorder.trace import TraceReader

ROUNDS, BATCH, SIZED_CALLS = 40, 10_000, 1_000_000
GOAL = 1.5  # times a call recorded to one file
FOLDERS = ("Inbox", "Archive/2024", "Sent Items", "Projects/Ünïcode", "Drafts")
TEXTS = [f"Downloading message {n + 1} of 2000 in {folder}" for folder in FOLDERS for n in range(2000)]


class Host:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: object, result: int) -> int:
        return 0


class Forward:
    """The bare forward."""

    def __init__(self, inner: Host):
        self.inner = inner

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return self.inner.Progress(text, index, maximum)

    def Error(self, result: int, text: str | None) -> int:
        return self.inner.Error(result, text)

    def Done(self, handle: object, result: int) -> int:
        return self.inner.Done(handle, result)


def progress(callback: Any, calls: list[tuple[Any, ...]]) -> None:
    for text, index, maximum in calls:
        callback.Progress(text, index, maximum)


def error(callback: Any, calls: list[tuple[Any, ...]]) -> None:
    for result, text in calls:
        callback.Error(result, text)


def done(callback: Any, calls: list[tuple[Any, ...]]) -> None:
    for handle, result in calls:
        callback.Done(handle, result)


Case = tuple[str, Callable[[Any, list[tuple[Any, ...]]], None], Callable[[int], list[tuple[Any, ...]]]]
CASES: list[Case] = [
    ("Progress, text seen before", progress, lambda _: [(TEXTS[n % 200], n, 2000) for n in range(BATCH)]),
    ("Progress, NULL text", progress, lambda _: [(None, n, 2000) for n in range(BATCH)]),
    ("Progress, new text each call", progress, lambda r: [(f"{r} {n}", n, 2000) for n in range(BATCH // 10)]),
    ("Progress, index over 65535", progress, lambda _: [("Inbox", n + 70_000, 2000) for n in range(BATCH // 10)]),
    ("Error", error, lambda _: [(-2147467259 + n, "Inbox") for n in range(BATCH)]),
    ("Done", done, lambda _: [(4711, n) for n in range(BATCH)]),
]


def cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def per_call(folder: Path) -> Iterator[tuple[str, float]]:
    """For each case, the time of recorded calls as a multiple of that of bare forwards."""
    host = Host()
    bare, recorded = Forward(host), RecordingCallback(host, folder / "calls.tape")
    ratios: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        for name, call, make in CASES:
            calls = make(number)
            reference = cpu(lambda call=call, calls=calls: call(bare, calls))  # type: ignore[misc]
            cost = cpu(lambda call=call, calls=calls: call(recorded, calls))  # type: ignore[misc]
            ratios.setdefault(name, []).append(cost / reference)
    recorded.close()
    for name, values in ratios.items():
        yield name, statistics.median(values[2:])


def kept(folder: Path) -> Iterator[tuple[str, list[float]]]:
    """For each bounded way, the time of calls as a multiple of that of calls recorded to one file.

    With texts seen before, and with a new text each call, of words and numbers as a sync has them.
    """
    ring = Bounds(8 << 20, keep_first=False)
    one = RecordingCallback(Host(), folder / "one.tape")
    others = {
        "several files of 8 MiB in all": RecordingCallback(Host(), folder / "a.tape", bounds=Bounds(8 << 20)),
        "a ring of 8 MiB": RecordingCallback(Host(), folder / "b.tape", bounds=ring),
        "redacted": RecordingCallback(Host(), folder / "c.tape", redact=Redaction()),
        "a ring of 8 MiB, redacted": RecordingCallback(Host(), folder / "d.tape", bounds=ring, redact=Redaction()),
    }
    ratios: dict[str, list[list[float]]] = {name: [[], []] for name in others}
    for round_ in range(ROUNDS):
        new = range(round_ * (BATCH // 10), (round_ + 1) * (BATCH // 10))
        for number, calls in enumerate(
            (
                [(TEXTS[n % 200], n, 2000) for n in range(BATCH)],
                [(f"Downloading message {n} of 99999 in Inbox", n, 2000) for n in new],
            )
        ):
            reference = cpu(lambda calls=calls: progress(one, calls))  # type: ignore[misc]
            for name, callback in others.items():
                cost = cpu(lambda callback=callback, calls=calls: progress(callback, calls))  # type: ignore[misc]
                ratios[name][number].append(cost / reference)
    for callback in (one, *others.values()):
        callback.close()
    for name, values in ratios.items():  # not the median: changes of files are rare and count
        yield name, [statistics.mean(of_kind[2:]) for of_kind in values]


def sized(folder: Path) -> Path:
    """A file of many calls as a large sync makes them."""
    path = folder / "sized.tape"
    with RecordingCallback(Host(), path) as callback:
        for number in range(SIZED_CALLS):
            callback.Progress(TEXTS[number % len(TEXTS)], number % 2000 + 1, 2000)
    return path


def compressed(data: bytes) -> Iterator[tuple[str, float]]:
    try:
        import zstandard
    except ImportError:
        print("  zstandard is not installed: sizes after zstd are left out", file=sys.stderr)
        return
    for level in (1, 3, 9):
        yield f"after zstd -{level}", len(zstandard.ZstdCompressor(level=level).compress(data)) / SIZED_CALLS


def unpack(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in msgpack.Unpacker(file))


def read(path: Path) -> int:
    with TraceReader(path) as reader:
        return sum(1 for _ in reader.events())


def reading(path: Path, cut: Path) -> Iterator[tuple[str, float]]:
    """The time of reading all events as a multiple of that of unpacking all objects."""
    figures: dict[str, list[float]] = {"a whole trace": [], "a trace without its end": []}
    for _ in range(3):
        reference = cpu(lambda: unpack(path))
        figures["a whole trace"].append(cpu(lambda: read(path)) / reference)
        figures["a trace without its end"].append(cpu(lambda: read(cut)) / reference)
    for name, values in figures.items():
        yield name, statistics.median(values)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("Enter and leave together, as a multiple of a bare forward")
        for case, ratio in per_call(folder):
            print(f"  {case:<32}{ratio:8.1f}")
        print("The same, as a multiple of recording to one file: texts seen before, and a new text each call")
        ways = dict(kept(folder))
        for case, ratios in ways.items():
            print(f"  {case:<32}" + "".join(f"{ratio:8.2f}" for ratio in ratios))
        within = max(seen for seen, _ in ways.values()) <= GOAL
        print(f"  Goal: at most {GOAL} times with texts seen before: {within}")
        path = sized(folder)
        data = path.read_bytes()
        print(f"Bytes for each Progress call, both events ({SIZED_CALLS:,} calls, {len(TEXTS):,} texts)")
        print(f"  {'as recorded':<32}{len(data) / SIZED_CALLS:8.1f}")
        for case, size in compressed(data):
            print(f"  {case:<32}{size:8.1f}")
        cut = folder / "cut.tape"
        cut.write_bytes(data[:-10])
        print("Reading all events, as a multiple of a bare Unpacker pass")
        for case, ratio in reading(path, cut):
            print(f"  {case:<32}{ratio:8.1f}")


if __name__ == "__main__":
    main()
