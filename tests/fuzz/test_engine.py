"""The inner loop: batches are pure functions of their seed, screening sees every kind of trouble and no other."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, QuietHost, calls
from targets import (
    bad_hresult,
    clean,
    del_exception,
    divides_by_max,
    double_close,
    exits,
    hangs_on_text,
    imapi_progress,
    invariant_breaks,
    leaks_handle,
    thread_exception,
)

from fuzz import generate
from fuzz.engine import Engine, Suspect, bases
from fuzz.mutators import MUTATORS
from fuzz.schedule import Kept
from fuzz.screen import ALIKE, TOOK_LONG, Screen
from recorder.calls import Call, Handle, Opaque
from recorder.contract import Level, contract_of, level_of
from replayer.target import TargetError, object_target

CONTRACT = contract_of(CALLBACK)
SEEDS = [
    calls(*GOOD),
    generate.conforming(CONTRACT, Random(1), 30),
    generate.conforming(CONTRACT, Random(2), 200),
]


def engine(factory: Callable[[], Any] = clean.Host, seeds: list[list[Call]] = SEEDS, **options: Any) -> Engine:
    seeds = [list(calls) for calls in seeds]
    return Engine(object_target(factory), seeds, **{"slow": 60, **options})  # a busy machine is no trouble


def sequences(made: Engine, number: int, level: Level, size: int = 200) -> list[list[Call]]:
    return [calls for _, calls in made.sequences(number, level, size)]


class Noted:
    """A host that keeps what it was called with, over all instances."""

    played: list[list[Call]]

    def __init__(self) -> None:
        self.calls: list[Call] = []
        Noted.played.append(self.calls)

    def Progress(self, text: str | None, index: int, maximum: int) -> None:
        self.calls.append(Call("Progress", (text, index, maximum)))

    def Error(self, result: int, text: str | None) -> None:
        self.calls.append(Call("Error", (result, text)))

    def Done(self, handle: Any, result: int) -> None:
        token = getattr(handle, "token", None)
        self.calls.append(Call("Done", (None if token is None else Handle(token), result)))


def in_order(some: list[list[Call]], all_of_them: list[list[Call]]) -> bool:
    """Whether all of `some` were played in their order; what is kept is played again in between."""
    left = iter(all_of_them)
    return all(calls in left for calls in some)


@pytest.fixture
def played() -> list[list[Call]]:
    Noted.played = []
    return Noted.played


# --- batches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", list(Level))
def test_a_batch_is_a_function_of_its_seed_and_number(level: Level) -> None:
    one, other = engine(seed=5), engine(seed=5)
    first, second = sequences(one, 3, level), sequences(one, 4, level)
    assert sequences(other, 4, level) == second  # whatever was made before
    assert sequences(other, 3, level) == first != second
    assert sequences(engine(seed=6), 3, level) != first


@pytest.mark.parametrize("level", list(Level))
def test_sequence_is_what_run_plays(level: Level, played: list[list[Call]]) -> None:
    made = engine(Noted, seed=2)
    played.clear()
    batch = made.run(7, level, 60)
    assert batch.done == 60
    again = [made.sequence(7, level, 60, index) for index in range(60)]
    assert in_order([[call._replace(thread=0) for call in calls] for calls in again], played)


def test_run_plays_a_part_of_a_batch(played: list[list[Call]]) -> None:
    made = engine(Noted)
    played.clear()
    whole = sequences(made, 0, Level.HOSTILE, 40)
    batch = made.run(0, Level.HOSTILE, 40, start=10, until=25)
    assert in_order(whole[10:25], played)
    assert not any(calls in played for calls in whole[30:] if len(calls) > 3)
    assert batch.done == 15 and batch.calls == sum(map(len, whole[10:25]))


def test_run_stops_at_its_deadline_but_plays_something() -> None:
    batch = engine().run(0, Level.HOSTILE, 5000, deadline=time.monotonic() - 1)
    assert 1 <= batch.done <= 16


def test_no_sequence_is_empty_and_the_share_that_ends_is_counted(played: list[list[Call]]) -> None:
    made = engine(Noted)
    for level in Level:
        played.clear()
        batch = made.run(1, level, 300)
        assert all(played)
        made_of = sequences(made, 1, level, 300)
        assert batch.calls == sum(map(len, made_of))
        assert batch.ended == sum("Done" in [call.method for call in calls] for calls in made_of) > 150


def test_mutators_that_were_applied_are_counted() -> None:
    made = engine()
    batch = made.run(0, Level.HOSTILE, 1500)
    assert set(batch.applied) <= set(MUTATORS)
    assert batch.applied["change-argument"] > batch.applied["null-argument"] > 0
    assert sum(batch.applied.values()) >= 1000
    conforming = {mutator.name for mutator in MUTATORS.values() if mutator.level is Level.CONFORMING}
    assert set(made.run(0, Level.CONFORMING, 100).applied) == conforming


def test_sessions_of_hundreds_of_calls_come_beside_short_ones() -> None:
    for level in Level:
        sizes = [len(calls) for number in range(6) for calls in sequences(engine(), number, level)]
        assert max(sizes) > 200, level
        assert sorted(sizes)[len(sizes) // 2] < 30, level
        assert min(sizes) == 1 or level is Level.CONFORMING


# --- levels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [SEEDS, []], ids=["seeds", "no seeds"])
def test_a_batch_keeps_to_its_level(seeds: list[list[Call]]) -> None:
    made = engine(seeds=seeds)
    reached: dict[Level, Counter[Level]] = {}
    for level in Level:
        made_at = [calls for number in range(4) for calls in sequences(made, number, level)]
        reached[level] = Counter(level_of(CONTRACT, calls, len(calls) - 1) for calls in made_at)
    assert set(reached[Level.CONFORMING]) == {Level.CONFORMING}
    assert set(reached[Level.LENIENT]) == {Level.CONFORMING, Level.LENIENT}
    assert reached[Level.HOSTILE][Level.HOSTILE] > 100


def test_a_lenient_batch_calls_nothing_after_the_end() -> None:
    for calls_made in sequences(engine(), 1, Level.LENIENT, 800):
        assert "Done" not in [call.method for call in calls_made[:-1]]


def test_what_was_kept_at_a_higher_level_stays_out_of_conforming_batches() -> None:
    made = engine()
    for _ in range(20):
        made.keep(Kept(calls("Done(NULL, S_OK)", "Progress(NULL, 5, 1)"), []))
    made.reweigh()
    for sequence in sequences(made, 1, Level.CONFORMING):
        assert level_of(CONTRACT, sequence, len(sequence) - 1) is Level.CONFORMING


# --- what is kept ---------------------------------------------------------------------------------------------


def test_what_reaches_something_new_is_fresh_and_names_its_mutators() -> None:
    novelty = itertools.chain(itertools.repeat(0, 20), [2, 0, 1], itertools.repeat(0))
    made = engine(QuietHost, novelty=lambda: next(novelty))
    made.keep(Kept([], [], batch=-1000))  # long ago: only some are watched closely
    made.reweigh()
    batch = made.run(0, Level.HOSTILE, 50)
    kept = [kept.calls for kept in batch.fresh[-2:]]
    assert kept == [made.sequence(0, Level.HOSTILE, 50, n) for n in (20, 22)]
    assert all(set(kept.mutators) <= set(MUTATORS) for kept in batch.fresh)


def test_what_is_kept_is_a_base_of_later_batches_and_its_mutators_come_more_often() -> None:
    made = engine()
    before = sequences(made, 1, Level.HOSTILE)
    for _ in range(20):
        made.keep(Kept([Call("Progress", ("a text of its own", 77, 78))] * 3, ["splice", "drop"]))
    made.reweigh()
    texts = [call.args[0] for sequence in sequences(made, 1, Level.HOSTILE) for call in sequence]
    assert "a text of its own" in texts
    assert before != sequences(made, 1, Level.HOSTILE)
    assert (
        made.run(1, Level.HOSTILE, 3000).applied["splice"] > engine().run(1, Level.HOSTILE, 3000).applied["splice"]
    )


def test_a_new_state_is_new_once() -> None:
    class Switch(QuietHost):
        on = False

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            self.on = self.on or index == maximum
            return 0

        def state(self) -> dict[str, Any]:
            return {"on": self.on}

    made = engine(Switch)
    batches = [made.run(number, Level.LENIENT, 200) for number in range(3)]
    shown = {feature for batch in batches for kept in batch.fresh for feature in kept.features}
    assert {"on=True", "on=False"} <= shown
    assert made.states == 2 and not batches[2].fresh


def test_a_target_that_counts_upward_does_not_flood_the_corpus() -> None:
    counter = itertools.count()

    class Counts(QuietHost):
        def __init__(self) -> None:
            self.instance = next(counter)
            self.text: str | None = None

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            self.text, self.index, self.maximum = text, index, maximum
            self.sum = index * 3 + maximum
            return 0

    made = engine(Counts)
    fresh = [len(made.run(number, Level.HOSTILE, 250).fresh) for number in range(40)]
    assert sum(fresh) < 300
    assert sum(fresh[20:]) < 30


@pytest.mark.parametrize(
    "value",
    [
        1 << 40,
        -7,
        1.5,
        float("nan"),
        "text",
        b"bytes",
        (1, 2),
        [3],
        {"a": 4},
        {5},
        Level.HOSTILE,
        QuietHost(),
        len,
    ],
)
def test_every_kind_of_attribute_is_something_to_see(value: Any) -> None:
    class Shows(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            if index == maximum:
                self.shown = value
            return 0

    kept = engine(Shows).run(0, Level.LENIENT, 250).fresh
    shown = {feature for new in kept for feature in new.features if feature.startswith("shown")}
    assert bool(shown) is (value is not len)


def test_a_state_that_fails_or_is_none_is_nothing_to_see() -> None:
    class Fails(QuietHost):
        def state(self) -> None:
            raise RuntimeError

    class Slots:
        __slots__ = ()
        Progress, Error, Done = QuietHost.Progress, QuietHost.Error, QuietHost.Done

    for host in (Fails, Slots):
        made = engine(host)
        assert made.run(0, Level.LENIENT, 100).suspects == []
        assert made.states == 0


def test_restoring_makes_a_new_process_know_what_is_not_new() -> None:
    first = engine()
    fresh = [entry for number in range(4) for entry in first.run(number, Level.HOSTILE, 300).fresh]
    assert len(fresh) > 15
    naive, restored = engine(), engine()
    restored.restore(fresh)
    again, known = (len(made.run(0, Level.HOSTILE, 300).fresh) for made in (naive, restored))
    assert known <= again / 2
    assert list(restored.kept) == fresh


def test_of_a_sequence_that_broke_off_the_part_before_is_kept() -> None:
    class Raises(QuietHost):
        def __init__(self) -> None:
            self.count = 0

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            self.count += 1
            if self.count == 3:
                raise RuntimeError
            return 0

    made = engine(Raises)
    kept = [new.calls for number in range(4) for new in made.run(number, Level.LENIENT, 200).fresh]
    assert kept
    assert all([call.method for call in calls].count("Progress") <= 2 for calls in kept)


# --- suspects -------------------------------------------------------------------------------------------------


def suspects(
    factory: Callable[[], Any], level: Level = Level.HOSTILE, batches: int = 4, **options: Any
) -> list[Suspect]:
    made = engine(factory, **options)
    return [suspect for number in range(batches) for suspect in made.run(number, level, 250).suspects]


def test_trouble_that_looks_the_same_is_reported_a_few_times_a_level() -> None:
    made = engine(divides_by_max.Host)
    found = [s for n in range(4) for level in Level for s in made.run(n, level, 250).suspects]
    counted = Counter(s.signature for s in found)
    assert len(counted) == 2 and set(counted.values()) == {ALIKE}  # lenient and hostile; none conforms
    assert all("ZeroDivisionError at" in signature and "divides_by_max.py" in signature for signature in counted)


def test_a_suspect_is_the_sequence_that_showed_the_trouble() -> None:
    made = engine(divides_by_max.Host, seed=4)
    for suspect in made.run(2, Level.HOSTILE, 250).suspects:
        assert suspect.calls == made.sequence(2, Level.HOSTILE, 250, suspect.index)
        assert any(call.method == "Progress" and call.args[2] == 0 for call in suspect.calls)


@pytest.mark.parametrize(
    ("factory", "signature"),
    [
        (bad_hresult.Host, "Done answers int"),
        (del_exception.Host, "RuntimeError at"),
        (double_close.Host, "handle closed twice"),
        (exits.Host, "ExitError at"),
        (invariant_breaks.Host, "AssertionError at"),
        (leaks_handle.Host, "handle left open"),
        (thread_exception.Host, "LookupError at"),
    ],
)
def test_each_kind_of_trouble_is_seen(factory: Callable[[], Any], signature: str) -> None:
    assert any(signature in suspect.signature for suspect in suspects(factory))


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("factory", [clean.Host, QuietHost])
def test_a_correct_host_gives_no_suspects(factory: Callable[[], Any], level: Level) -> None:
    found = suspects(factory, level, batches=8)
    assert [each for each in found if not each.signature.startswith(TOOK_LONG)] == []  # that is the machine's


def test_an_invariant_that_says_false_is_trouble() -> None:
    class Falls(QuietHost):
        fine = True

        def Error(self, result: int, text: str | None) -> int:
            self.fine = False
            return 0

        def invariant(self) -> bool:
            return self.fine

    signatures = {s.signature for s in suspects(Falls)}
    assert "invariant after Error at level hostile" in signatures
    assert all(signature.startswith("invariant") for signature in signatures)


def test_a_slow_sequence_is_trouble() -> None:
    class Slow(QuietHost):
        def Done(self, handle: Any, result: int) -> int:
            time.sleep(0.02)
            return 0

    made = engine(Slow, slow=0.01)
    (first, *_) = made.run(0, Level.CONFORMING, 10).suspects
    assert first.signature.startswith("slow after")


def test_a_failure_counts_only_where_the_protocol_is_kept() -> None:
    class Refuses(QuietHost):
        done = False

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return -2147418113 if self.done else 0

        def Done(self, handle: Any, result: int) -> int:
            self.done = True
            return 0

    assert suspects(Refuses) == []
    assert suspects(Refuses, Level.LENIENT) == []

    class Fails(Refuses):
        done = True

    assert {s.signature for s in suspects(Fails)} == {"refuses Progress with -2147418113 at level hostile"}


def test_an_answer_that_is_none_or_a_warning_is_no_trouble() -> None:
    class Warns(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return 0x00040680

        def Error(self, result: int, text: str | None) -> None:
            return None

    assert suspects(Warns) == []


@pytest.mark.parametrize("answer", [True, 0.0, "", 2**40, object()])
def test_an_answer_that_is_no_hresult_is_trouble_even_if_a_failure_came_before(answer: object) -> None:
    class Odd(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return -2147467259

        def Done(self, handle: Any, result: int) -> Any:
            return answer

    signatures = {s.signature for s in suspects(Odd, Level.CONFORMING)}
    assert f"Done answers {type(answer).__name__} at level conforming" in signatures


def test_what_a_finaliser_raises_belongs_to_its_own_sequence() -> None:
    made = engine(del_exception.Host)
    played = [made.sequence(0, Level.LENIENT, 40, n) for n in range(40)]
    for suspect in made.run(0, Level.LENIENT, 40).suspects:
        assert "Done" in [call.method for call in suspect.calls]
    first = next(n for n, sequence in enumerate(played) if "Done" in [call.method for call in sequence])
    assert made.__class__(made.target, made.seeds).run(0, Level.LENIENT, 40).suspects[0].index == first


def test_exiting_ends_only_the_call() -> None:
    found = suspects(exits.Host)
    assert found and all("exits.py" in suspect.signature for suspect in found)
    assert os._exit.__name__ == "_exit" and os.abort.__name__ == "abort"


def test_an_exit_that_the_target_swallows_is_seen_all_the_same() -> None:
    class Swallows(QuietHost):
        def Done(self, handle: Any, result: int) -> int:
            try:
                os._exit(3)
            except BaseException:
                return 0

    assert {s.signature for s in suspects(Swallows)} == {"_exit, and the target went on at level hostile"}


def test_handles_are_fresh_for_each_sequence_and_the_same_within_one() -> None:
    class Keeps(QuietHost):
        def __init__(self) -> None:
            self.first: Any = None

        def Done(self, handle: Any, result: int) -> int:
            if handle is not None:
                assert not handle.closed
                self.first = handle
                handle.close()
            return 0

    screen = Screen(object_target(Keeps), 1.0)
    with screen.watching():
        for _ in range(3):
            assert screen.play(calls("Done(sync-event, S_OK)")) == ""
        twice = screen.play(calls("Done(sync-event, S_OK)", "Done(sync-event, S_OK)"))
        assert twice.startswith("AssertionError")
        assert screen.play(calls("Done(sync-event, S_OK)", "Done(handle(1), S_OK)")) == ""


def test_hooks_and_exits_are_put_back_whatever_happens() -> None:
    before = threading.excepthook, sys.unraisablehook, os._exit, os.abort
    screen = Screen(object_target(clean.Host), 1.0)
    with pytest.raises(ZeroDivisionError), screen.watching():
        assert threading.excepthook is not before[0]
        raise ZeroDivisionError
    assert (threading.excepthook, sys.unraisablehook, os._exit, os.abort) == before


def test_a_factory_that_fails_later_is_told_as_it_is() -> None:
    made = itertools.count()

    class Third(QuietHost):
        def __init__(self) -> None:
            if next(made) == 3:
                raise OSError("no more windows")

    target = object_target(Third)
    with pytest.raises(TargetError, match=r"the factory raised OSError: no more windows, having given instances"):
        Engine(target, []).run(0, Level.HOSTILE, 10)


# --- hangs ----------------------------------------------------------------------------------------------------


def stopped(screen: Screen, *lines: str, patience: float = 0.1) -> str:
    """What the screen says of a sequence that another thread has it stop."""
    screen.patience = patience
    ident, over = threading.get_ident(), threading.Event()

    def watch() -> None:
        started = time.monotonic()
        while not over.wait(0.01):
            screen.stop(ident, time.monotonic() - started)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with screen.watching():
            return screen.play(calls(*lines))
    finally:
        over.set()
        watcher.join()


HANG = ('Progress("a", 0, 1)', 'Progress("%s", 0, 1)', "Done(NULL, S_OK)")


def test_a_call_that_does_not_end_is_stopped_and_named_by_its_place() -> None:
    screen = Screen(object_target(hangs_on_text.Host), 60.0)
    trouble = stopped(screen, *HANG)
    assert trouble.startswith("no end at ") and trouble.endswith("hangs_on_text.py in Progress in Progress")
    assert screen.returned == 1


def test_where_calls_were_stopped_before_less_patience_is_needed() -> None:
    screen = Screen(object_target(hangs_on_text.Host), 600.0)
    for _ in range(ALIKE):
        stopped(screen, *HANG)
    started = time.monotonic()
    assert stopped(screen, *HANG, patience=600.0).startswith("no end at ")
    assert time.monotonic() - started < 300


def test_a_thread_that_plays_nothing_is_left_alone() -> None:
    screen = Screen(object_target(clean.Host), 1.0)
    screen.patience = 0.0
    screen.stop(threading.get_ident(), 100.0)
    screen.stop(0, 100.0)
    assert sum(range(1000)) == 499500


# --- bases and other interfaces -------------------------------------------------------------------------------


def test_bases_are_the_calls_that_the_loop_can_make() -> None:
    recorded = [
        Call("AddRef"),
        *calls('Progress("a", 1, 2)'),
        Call("Progress", (None, 2, 2), thread=3, time_ns=500),
        Call("Progress", (Opaque("datetime", "now"), 1, 2)),
        Call("Progress", ("too few",)),
        Call("Progress", ("a", -1, 2)),
        Call("Error", (True, 1.5)),
        Call("Done", (Handle(0), 2**31)),
    ]
    (made,) = bases([recorded, [Call("Release")], []], CALLBACK)
    assert made == [
        Call("Progress", ("a", 1, 2)),
        Call("Progress", (None, 2, 2)),
        Call("Done", (Handle(0), 2**31)),
    ]


def test_calls_known_to_kill_are_left_out(played: list[list[Call]]) -> None:
    made = engine(Noted)
    (deadly,) = calls("Done(sync-event, S_OK)")
    made.run(0, Level.HOSTILE, 200)
    assert any(deadly in sequence for sequence in played)
    made.avoid.add((deadly.method, deadly.args))
    played.clear()
    batch = made.run(0, Level.HOSTILE, 200)
    assert played and not any(deadly in sequence for sequence in played)
    assert batch.done == len(played) < 200


def test_methods_with_out_parameters_are_screened_as_fast() -> None:
    target = object_target(imapi_progress.Host, imapi_progress.IMAPI_PROGRESS)
    made = Engine(target, [])
    batch = made.run(0, Level.HOSTILE, 2000)
    assert batch.done == 2000 and batch.ended == 0
    assert {"ZeroDivisionError" in s.signature for s in batch.suspects} == {True}


def test_calls_on_several_threads_come_and_are_played_on_them() -> None:
    threads: set[str] = set()

    class Watches(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            threads.add(threading.current_thread().name)
            return 0

    made = engine(Watches)
    batch = made.run(0, Level.HOSTILE, 5000)  # it is rare, as it costs much
    assert batch.applied["change-thread"] and batch.suspects == []
    assert len(threads) > 1
