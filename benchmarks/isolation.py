"""What it costs to play native code apart from us, and what a crash costs, as ratios in one run.

    python benchmarks/isolation.py

Needs a C compiler; not for Windows.  The target is a trivial host in C; sequences have ten calls.  Cases take
turns within a round, and each figure is the median of the rounds.

    isolation           playing in the sandbox, a hundred sequences at a time, against playing them here: the same
                        compiled player, the same packed sequences, the same lists (goal 1.2)
    fault to next call  from the moment before the host reads NULL to the first call of the next sequence (goal
                        10 ms)
    attribution         crashes that were told with the right sequence and the right call, of 100
    a campaign          making, packing, screening and judging a sequence, one in 64 of them with texts watched
                        closely and one in 2048 by the player with its oracles, against playing it alone: one
                        call into the compiled player for each sequence, here, without making it (goal 3.5)
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz import generate
from fuzz import native as loop
from fuzz.engine import Engine
from fuzz.native import NativeBatches
from recorder.calls import Call
from recorder.contract import Level, contract_of
from replayer.batches import Fragments
from replayer.guards import Guard
from replayer.isolation import Isolated
from replayer.player import Phase
from replayer.sandbox import Death
from replayer.sandbox_child import Journal
from replayer.screening import Screening, screened
from replayer.shared import SharedList
from replayer.target import NativeTarget, load_target

ROUNDS, BATCH, LENGTH, BATCHES, SLICES = 15, 100, 10, 5, 5
FAULTS = 100
HEADERS = Path(__file__).parents[1] / "tests" / "targets" / "native"


def main() -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("benchmarks/isolation.py needs a C compiler")
    with tempfile.TemporaryDirectory() as folder:
        host = build(compiler, Path(folder), "good", (HEADERS / "good_host.c").read_text())
        show("isolation at batch 100 / here", isolation(host), 1.2)
        for level in Level:
            ratio = campaign(host, Path(folder), level)
            show(f"a campaign, {level} / playing alone", ratio, 3.5)
            screened_only = campaign(host, Path(folder), level, sample=1 << 62)
            show("    without these samples", screened_only, 3.5)
        times, right = faults(compiler, Path(folder))
        print(f"{'crashes told with sequence and call, of ' + str(FAULTS):50s} {right:8d}")
        show("fault to the next sequence's first call, ms", times, 10)


def show(name: str, values: list[float], goal: float) -> None:
    print(f"{name:50s} {statistics.median(values):8.2f}   goal {goal:g}")


def build(compiler: str, folder: Path, name: str, text: str) -> str:
    """The spec of a host made of this source."""
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(text)
    command = [compiler, "-std=gnu99", "-O2", "-fPIC", "-shared", f"-I{HEADERS}", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return f"{library}:create"


def native(spec: str) -> NativeTarget:
    target = load_target(spec)
    assert isinstance(target, NativeTarget)
    return target


def seconds(work: Callable[[], object]) -> float:
    """The best of a few times: what other processes take is no matter here."""
    times = []
    for _ in range(SLICES):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def conforming(target: NativeTarget, count: int) -> list[list[Call]]:
    random, contract = Random(7), contract_of(target.interface)
    made: list[list[Call]] = []
    while len(made) < count:
        calls = generate.conforming(contract, random, LENGTH + 1)
        if len(calls) == LENGTH:
            made.append(calls)
    return made


def isolation(spec: str) -> list[float]:
    target = native(spec)
    packed = list(map(Fragments(target.interface).sequence, conforming(target, BATCH)))
    here, lists = Screening(target), (SharedList(), SharedList())
    ratios = []

    def play_here() -> None:
        for _ in range(BATCHES):
            for shared in lists:
                shared.clear()
            lists[0].extend(packed)
            here.play(*lists)
            list(map(screened, lists[1]))

    with Isolated(spec) as player:

        def play_apart() -> None:
            for end in player.screen_many(packed * BATCHES, batch=BATCH):
                assert not isinstance(end, Death)

        play_apart()
        for _ in range(ROUNDS):
            reference = seconds(play_here)
            ratios.append(seconds(play_apart) / reference)
    return ratios


def campaign(spec: str, folder: Path, level: Level, sample: int = loop.SAMPLE) -> list[float]:
    loop.SAMPLE = sample
    target = native(spec)
    (folder / "journal").write_bytes(bytes(16))
    journal = Journal(str(folder / "journal"))
    lists, alone = (SharedList(), SharedList()), (SharedList(), SharedList())
    batches = NativeBatches(Engine(target, conforming(target, 40), seed=1), target, journal, *lists)
    screening = Screening(target)
    ratios = []

    def search(number: int) -> None:
        batches.make(number, level, 250, 0, 250)
        batches.play(None)
        batches.judged(level)

    for number in range(ROUNDS):
        cost = seconds(lambda number=number: search(number))  # type: ignore[misc]
        alone[0].clear()
        alone[0].extend(list(lists[0])[:-1])

        alone[1].clear()
        alone[1].make_room(sum(map(len, alone[0])) * 8 + (1 << 20))
        ratios.append(cost / seconds(lambda: one_by_one(screening, *alone)))
    journal.close()
    return ratios


def one_by_one(screening: Screening, sequences: SharedList, results: SharedList) -> None:
    """Play each sequence by one call into the compiled player."""
    play, screen, player, cells = (
        screening._core.play_list,
        screening._screen,
        screening._player(Guard.RING),
        bytearray(16),
    )
    with sequences.buffer() as given, results.buffer() as out:
        for number in range(len(sequences)):
            play(screen, player, given, out, cells, number, number + 1, 0)


DIES = """
#define _GNU_SOURCE
#include "callback.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

/* Two moments in ns, in a file that the benchmark maps, too: of the last fault, and of the first call after it. */
static volatile int64_t *stamps;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self, (void)text, (void)maximum;
    if (stamps == NULL)
        stamps = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, open(getenv("STAMPS"), O_RDWR), 0);
    if (stamps[1] == 0)
        stamps[1] = now();
    if (index == 666) {
        stamps[1] = 0;
        stamps[0] = now();
        return *(volatile int32_t *)NULL;
    }
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
"""


def faults(compiler: str, folder: Path) -> tuple[list[float], int]:
    """Milliseconds from each fault to the first call of the next sequence; how many faults were told rightly."""
    stamps = folder / "stamps"
    stamps.write_bytes(bytes(mmap.PAGESIZE))
    os.environ["STAMPS"] = str(stamps)
    spec = build(compiler, folder, "dies", DIES)
    random = Random(3)
    times, right = [], 0
    with (
        open(stamps, "r+b") as file,
        mmap.mmap(file.fileno(), 0) as cells,
        Isolated(spec, screening=True) as player,
    ):
        packed = Fragments(player.interface).sequence
        for _ in range(FAULTS):
            before, at = random.randrange(20), random.randrange(LENGTH)
            fine = [Call("Progress", ("a text", n, LENGTH)) for n in range(LENGTH)]
            fatal = [*fine[:at], Call("Progress", ("a text", 666, 1)), *fine[at:]]
            ends = list(player.screen_many(map(packed, [*[fine] * before, fatal, *[fine] * 20])))
            dead = [(number, end.position) for number, end in enumerate(ends) if isinstance(end, Death)]
            right += dead == [(before, (Phase.CALLS, at))]
            died, went_on = struct.unpack_from("=qq", cells)
            times.append((went_on - died) / 1e6)
            cells[:16] = bytes(16)
            time.sleep(0.05)  # crashes come now and then: the next worker has had the time to get ready
    return times, right


if __name__ == "__main__":
    main()
