"""Campaigns on native targets: played in C, a death costs nothing else of its batch, and a seed gives a run."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from sequences import CALLBACK, GOOD, calls, trace

from fuzz import generate
from fuzz.campaign import Campaign, CampaignOptions, Summary
from fuzz.engine import Batch, Engine
from fuzz.native import PLAYED, SAMPLE, NativeBatches
from fuzz.variants import EACH
from recorder import native
from recorder.calls import Call, Handle
from recorder.contract import Level, contract_of
from recorder.text import call_text
from replayer.batches import unpack_calls
from replayer.endurance import GAUGES
from replayer.guards import Guard
from replayer.sandbox_child import Journal
from replayer.screening import screened
from replayer.shared import SharedList
from replayer.target import NativeTarget, load_target

pytestmark = pytest.mark.native

SEEDS = [calls(*GOOD), generate.conforming(contract_of(CALLBACK), Random(1), 30)]
SIZE = 130

Library = Callable[[str | Path], Path]


@pytest.fixture
def lists() -> Iterator[tuple[SharedList, SharedList]]:
    made = SharedList(), SharedList()
    yield made
    for shared in made:
        shared.close()


@pytest.fixture
def batches(
    library: Library, lists: tuple[SharedList, SharedList], tmp_path: Path
) -> Iterator[Callable[..., NativeBatches]]:
    noted = tmp_path / "journal"
    noted.write_bytes(bytes(16))
    journal = Journal(str(noted))

    def made(host: str | Path = "good_host", seeds: list[list[Call]] = SEEDS) -> NativeBatches:
        target = load_target(f"{library(host)}:create")
        assert isinstance(target, NativeTarget)
        return NativeBatches(Engine(target, seeds, seed=3), target, journal, *lists)

    yield made
    journal.close()


def played(made: NativeBatches, number: int, level: Level, start: int = 0, until: int = SIZE) -> Batch:
    made.make(number, level, SIZE, start, until)
    made.play(None)
    return made.judged(level)


def in_list(sequences: SharedList) -> list[list[Call]]:
    return [unpack_calls(blob, CALLBACK) for blob in list(sequences)[:-1]]


# ----------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("level", list(Level))
def test_a_batch_is_the_engines_with_variants(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList], level: Level, library: Library
) -> None:
    made = batches()
    batch = played(made, 4, level, 16, 96)
    engine = Engine(load_target(f"{library('good_host')}:create"), SEEDS, seed=3)
    engine.drawing.shares.base["change-thread"] *= EACH  # which no variant has
    engine.drawing.weigh()
    sources = [list(each) for _, each in engine.sequences(4, level, -(-SIZE // EACH))]
    there = in_list(lists[0])
    numbers = list(array("I", made._plan.made.numbers))
    for number, each in zip(numbers, there, strict=True):
        if number % EACH == 0:
            assert each == sources[number // EACH]
    assert [n for n in numbers if n % EACH == 0] == list(range(16, 96, EACH))
    assert numbers == sorted(set(numbers)) and 60 < len(numbers) <= 80
    assert (batch.done, batch.calls) == (len(there), sum(map(len, there)))
    assert batch.ended == sum(any(call.method == "Done" for call in each) for each in there)
    assert sum(batch.transitions.values()) == batch.calls
    assert batch.suspects == [] and made.next is None
    assert sum(batch.applied.values()) > len(there) // 2


def test_a_part_of_a_batch_is_the_same_part(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList]
) -> None:
    made = batches()
    made.make(2, Level.HOSTILE, SIZE, 0, SIZE)
    whole = dict(zip(array("I", made._plan.made.numbers), in_list(lists[0]), strict=True))
    made.make(2, Level.HOSTILE, SIZE, 21, 60)
    part = dict(zip(array("I", made._plan.made.numbers), in_list(lists[0]), strict=True))
    assert part == {number: calls for number, calls in whole.items() if 21 <= number < 60}


def test_without_the_core_a_batch_is_the_engines(
    batches: Callable[..., NativeBatches],
    lists: tuple[SharedList, SharedList],
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(native.SWITCH, "ctypes")
    native.core_of.cache_clear()
    try:
        batch = played(batches(), 4, Level.LENIENT, 20, 90)
    finally:
        monkeypatch.undo()
        native.core_of.cache_clear()
    engine = Engine(load_target(f"{library('good_host')}:create"), SEEDS, seed=3)
    expected = [list(each) for _, each in engine.sequences(4, Level.LENIENT, SIZE)][20:90]
    assert in_list(lists[0]) == expected
    assert (batch.done, batch.calls) == (70, sum(map(len, expected)))
    assert sum(batch.transitions.values()) == batch.calls and sum(batch.applied.values()) > 35


def test_the_player_plays_what_screening_cannot(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList]
) -> None:
    """What has calls on several threads, or handles that screening has not; and a few of all."""
    many = [*calls(GOOD[1]), Call("Done", (Handle(11), 0))]
    made = batches(seeds=[*SEEDS, many])
    why: Counter[str] = Counter()
    for number in range(2 * PLAYED // SIZE):
        played(made, number, Level.LENIENT)
        for place, (blob, result) in enumerate(zip(in_list(lists[0]), list(lists[1]), strict=True)):
            if len(result) == 1:  # the player's: an empty list of troubles
                sampled = (number * SIZE + array("I", made._plan.made.numbers)[place]) % PLAYED == 0
                threads = any(call.thread for call in blob)
                handles = any(isinstance(a, Handle) and a.token > 7 for call in blob for a in call.args)
                why["sampled" if sampled else "threads" if threads else "handles" if handles else "why?"] += 1
            else:
                assert screened(result).complete and len(screened(result).values) == len(blob)
    assert why["sampled"] in (1, 2)  # one may fall among the variants that a sequence of several threads has not
    assert why["threads"] and why["handles"] and not why["why?"]


def test_a_sample_has_texts_that_nobody_may_use_after_their_call(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = batches()
    guards: dict[int, Guard] = {}
    play = made._screening.play

    def noted(given: SharedList, out: SharedList, start: int, stop: int, *, guard: Guard) -> None:
        guards.update(dict.fromkeys(range(start, stop), guard))
        play(given, out, start, stop, guard=guard)

    monkeypatch.setattr(made._screening, "play", noted)
    played(made, 1, Level.CONFORMING)
    strict = [place for place, guard in guards.items() if guard is Guard.STRICT]
    assert strict == [place for place in range(SIZE) if (SIZE + place) % SAMPLE == 0]
    assert len(lists[1]) == len(guards) == SIZE


def test_another_process_goes_on_where_one_died(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList]
) -> None:
    """All of the batch is judged, whoever played it; but not what the process died of."""
    whole = played(batches("leaky_handle"), 0, Level.LENIENT)
    assert whole.suspects
    kept = list(lists[1])
    first = whole.suspects[0].index
    lists[1].clear()
    lists[1].extend([*kept[: first + 1], b"", *kept[first + 2 : first + 3]])
    other = batches("leaky_handle")
    place = other.next
    other.play(None)
    again = other.judged(Level.LENIENT)
    assert (place, other.next) == (first + 3, None)
    assert again.done == whole.done - 1
    assert again.suspects[0] == whole.suspects[0]


def test_avoided_calls_are_not_made(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList]
) -> None:
    made = batches()
    without = {(call.method, call.args) for call in SEEDS[0]}
    made._engine.avoid |= without
    batch = played(made, 0, Level.LENIENT)
    assert 0 < batch.done < SIZE
    assert without.isdisjoint((call.method, call.args) for each in in_list(lists[0]) for call in each)


def test_a_batch_ends_at_its_deadline(batches: Callable[..., NativeBatches]) -> None:
    made = batches()
    made.make(0, Level.HOSTILE, SIZE, 10, SIZE)
    made.play(0.0)
    assert made.next == 10 and made.judged(Level.HOSTILE).done == 0


REFUSES = """
#include "callback.h"
static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)result, (void)text;
    return self->done ? (int32_t)0x8000FFFFu : S_OK;
}
static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self, (void)text;
    return index > maximum ? (int32_t)0x80070057u : S_OK;
}
static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};
EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
"""


def test_a_refusal_is_suspect_where_the_order_of_calls_is_kept(
    batches: Callable[..., NativeBatches], tmp_path: Path
) -> None:
    source = tmp_path / "refuses.c"
    source.write_text(REFUSES)
    made = batches(source)
    assert played(made, 0, Level.CONFORMING).suspects == []
    signatures = {s.signature for s in played(made, 1, Level.LENIENT).suspects}
    assert signatures == {"refuses Progress with -2147024809 at level lenient"}
    for suspect in played(made, 2, Level.HOSTILE).suspects:
        methods = [call.method for call in suspect.calls]
        assert "Done" not in methods[:-1]


# --------------------------------------------------------------------------------------------------- campaigns


def search(spec: str, runs: int, **options: object) -> Summary:
    """A campaign without the oracles of growth: what they suspect is not the same each time."""
    fixed = {"seed": 1, "max_time": 300.0, "max_runs": runs, "timeout": 5.0, "batch": SIZE, **options}
    fixed["disabled"] = frozenset(gauge.oracle for gauge in GAUGES)
    return Campaign(spec, [("good", trace(*GOOD))], CampaignOptions(**fixed)).run()  # type: ignore[arg-type]


def shown(summary: Summary) -> object:
    p = summary.progress
    found = [
        (f.name, f.count, f.executions, f.origin, [call_text(call, CALLBACK) for call in f.calls])
        for f in summary.found
    ]
    return found, p.runs, p.calls, p.ended, p.deaths, p.unconfirmed, p.levels, p.applied


SELDOM = """
#include "callback.h"
static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)text;
    if (result % 5 == 0)
        abort();
    return S_OK;
}
static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, error, callback_done,
};
EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
"""


@pytest.fixture
def dies_seldom(library: Library, tmp_path: Path) -> str:
    source = tmp_path / "seldom.c"
    source.write_text(SELDOM)
    return f"{library(source)}:create"


def test_a_seed_gives_a_run(library: Library, dies_seldom: str) -> None:
    for spec in (dies_seldom, f"{library('leaky_handle')}:create"):
        first, second = (search(spec, 4 * SIZE, minimise_tries=20, level=Level.LENIENT) for _ in range(2))
        assert shown(first) == shown(second)
        assert first.found and first.progress.runs == 4 * SIZE


def test_several_jobs_lose_nothing_to_deaths(dies_seldom: str) -> None:
    summary = search(dies_seldom, 4 * SIZE, jobs=3)
    aborted = "X7" if sys.platform == "win32" else "X1"  # there it is an exit with code 3
    assert [found.finding.code for found in summary.found] == [aborted] and summary.stopped == "runs"
    assert summary.progress.runs == 4 * SIZE and summary.progress.deaths and not summary.progress.unconfirmed


def test_deaths_cost_nothing_else_of_their_batch(library: Library, dies_seldom: str) -> None:
    """Each sequence is played once, whoever dies: none is missed and none counted twice."""
    options = {"level": Level.CONFORMING, "batch": 60, "minimise_tries": 20}
    dying = search(dies_seldom, 2 * SIZE, **options).progress
    quiet = search(f"{library('good_host')}:create", 2 * SIZE, **options).progress
    assert dying.deaths > 2 and quiet.deaths == 0
    assert dying.runs == quiet.runs == 2 * SIZE
    assert dying.unconfirmed == 0


HARMFUL = """
#include "callback.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self, (void)text, (void)maximum;
    if (index == 101) { /* only the first process that comes here survives it */
        int own = (int)getpid(), first = 0;
        const int file = open(getenv("HARMFUL"), O_RDWR);
        if (read(file, &first, sizeof first) < (int)sizeof first && write(file, &own, sizeof own) > 0)
            first = own;
        close(file);
        if (first != own)
            return *(volatile int32_t *)NULL;
        return 1;
    }
    return index == 99 ? *(volatile int32_t *)NULL : 0;
}
static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};
EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a host that knows its process by POSIX")
def test_what_was_fresh_and_now_kills_does_not_end_the_search(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, noted = tmp_path / "harmful.c", tmp_path / "first"
    source.write_text(HARMFUL)
    noted.write_bytes(b"")
    monkeypatch.setenv("HARMFUL", str(noted))
    options = {"batch": 100, "minimise_tries": 20}
    progress = search(f"{library(source)}:create", 4000, level=Level.HOSTILE, **options).progress
    assert noted.stat().st_size == 4
    assert progress.runs == 4000 and progress.deaths > 3 and progress.kept > 2


def test_the_bytes_of_a_batch_are_bounded(
    batches: Callable[..., NativeBatches], lists: tuple[SharedList, SharedList]
) -> None:
    """Long texts in long sessions would take all the memory that the target's process has."""
    huge = [Call("Progress", ("x" * 60_000, at, 300)) for at in range(300)]
    made = batches(seeds=[huge, calls(*GOOD)])
    for number in range(4):
        batch = played(made, number, Level.HOSTILE)
        assert batch.done and max(map(len, lists[0])) < 4 << 20
