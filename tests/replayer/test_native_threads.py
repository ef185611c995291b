"""Calls of several threads on a native object: equal data give the same interleaving, the one that they say."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.calls import SYNC_EVENT, Call, Enter, Outcome, OutcomeKind, Trace
from recorder.native import core_of
from replayer import native_threads
from replayer.isolation import Isolated
from replayer.native_threads import Border, NativePlay, Stepping, can_step, play_natively
from replayer.oracles import Judge
from replayer.player import play as play_trace
from replayer.target import Instance, NativeTarget, load_target

pytestmark = pytest.mark.native
needs_core = pytest.mark.skipif(core_of("replayer").module is None, reason="no compiled core")
needs_steps = pytest.mark.skipif(sys.platform == "win32" or not can_step(), reason="no steps of native code")
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

Build = Callable[[str], Path]


def calls(*given: Call | tuple[Call, ...]) -> list[Call]:
    """Each thread's calls, in turn."""
    programs = [(each,) if isinstance(each, Call) else each for each in given]
    return [call._replace(thread=thread) for thread, program in enumerate(programs) for call in program]


def play(
    file: Path,
    sequence: Sequence[Call],
    stepping: Stepping = Stepping.ALL,
    look: Callable[[Instance], Any] = lambda instance: None,
    **options: Any,
) -> tuple[NativePlay, Any]:
    """What comes of calls on a fresh object, and what `look` sees of it in the end."""
    target = load_target(f"{file}:create")
    instance = target.instance()
    played = play_natively(instance, target.interface, sequence, stepping=stepping, **options)
    seen = look(instance)
    if not played.deadlock:
        instance.close()
        instance.handles.release()
    return played, seen


def released(instance: Instance) -> int:
    """How many references are left after a Release; these are given back in the end, however many were taken."""
    left = int(instance.object.Release())
    if instance.holding is not None:
        instance.holding.count = left
    return left


def order(played: NativePlay) -> str:
    """Borders as `0( 1( 1) 0)`."""
    return " ".join(f"{border.number}{')' if border.leaves else '('}" for border in played.borders)


ADD = Call("AddRef")
FAR, NEAR = Call("Progress", (None, 1, 100)), Call("Progress", (None, 5, 6))


@needs_steps
def test_without_changes_the_threads_run_in_the_order_of_their_numbers(library: Build) -> None:
    played, _ = play(library("stores_a_pair"), calls((FAR, NEAR), (NEAR, FAR), FAR))
    assert order(played) == "0( 0) 1( 1) 2( 2) 3( 3) 4( 4)"
    assert played.steps == [2] * 5
    assert [(h.number, h.to, h.why) for h in played.hand_overs] == [(-1, 1, "ended"), (-1, 2, "ended")]


@needs_steps
@pytest.mark.parametrize(
    ("step", "borders", "state"),
    [
        (0, "1( 1) 0( 0)", (1, 100)),
        (1, "0( 1( 1) 0)", (1, 100)),
        (2, "0( 1( 1) 0)", (5, 100)),  # the bug
        (3, "0( 0) 1( 1)", (5, 6)),
    ],
)
@pytest.mark.parametrize("stepping", [Stepping.ALL, Stepping.CHANGES])
def test_a_change_point_lets_the_other_thread_run_before_that_step(
    library: Build, step: int, borders: str, state: tuple[int, int], stepping: Stepping
) -> None:
    file = library("stores_a_pair")
    target = load_target(f"{file}:create")
    assert isinstance(target, NativeTarget)
    state_of = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(target.state)
    played, seen = play(file, calls(FAR._replace(switches=(step,)), NEAR), stepping, lambda i: state_of(i.pointer))
    assert (order(played), divmod(seen, 2**32)) == (borders, state)


@needs_steps
def test_a_hand_over_says_where(library: Build) -> None:
    played, _ = play(library("stores_a_pair"), calls(FAR._replace(switches=(2,)), NEAR))
    first, second = played.hand_overs
    assert (first.number, first.step, first.to, first.why) == (0, 2, 1, "change")
    assert first.place.startswith("stores_a_pair")
    assert first.place.endswith(" in progress")
    assert (second.number, second.to, second.why) == (-1, 0, "ended")


@needs_steps
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_count_that_is_not_atomic_loses_a_reference_between_its_load_and_its_store(
    library: Build, step: int
) -> None:
    sequence = calls(ADD._replace(switches=(step,)), ADD)
    played, left = play(library("counts_in_two_steps"), sequence, look=released)
    assert left == (1 if step == 2 else 2)
    assert [outcome.value for outcome in played.outcomes] == {1: [3, 2], 2: [2, 2], 3: [2, 3]}[step]
    played, left = play(library("good_host"), sequence, look=released)
    assert (left, played.steps) == (2, [1, 1])


@needs_steps
def test_what_the_calls_did_to_the_references_is_counted(library: Build) -> None:
    sequence = calls((ADD, ADD, Call("Release")), (ADD, FAR))
    _, held = play(library("good_host"), sequence, look=lambda i: i.holding.count if i.holding else 0)
    assert held == 3


@needs_steps
def test_threads_that_hold_what_the_others_wait_for_are_a_deadlock_at_once(library: Build) -> None:
    file = library("locks_crosswise")
    problem = Call("Error", (5, None))
    played, _ = play(file, calls(FAR._replace(switches=(1,)), problem))
    assert [(w.thread, w.number, w.waits_for) for w in played.deadlock] == [
        (0, 0, "a lock that thread 1 holds"),
        (1, 1, "a lock that thread 0 holds"),
    ]
    for waiting, function in zip(played.deadlock, ("progress", "error"), strict=True):
        assert waiting.place.endswith(f" in {function}")
        assert waiting.stack.splitlines()[-1].endswith(function)
    assert [outcome.kind for outcome in played.outcomes] == [OutcomeKind.HUNG] * 2
    for step in (0, 2, 3):
        played, _ = play(file, calls(FAR._replace(switches=(step,)), problem))
        assert not played.deadlock
        assert {outcome.value for outcome in played.outcomes} == {0}


@needs_steps
def test_a_thread_that_waits_for_a_lock_lets_its_holder_go_on(library: Build) -> None:
    sequence = calls(FAR._replace(switches=(1,)), NEAR, NEAR)
    played, _ = play(library("locks_crosswise"), sequence)
    assert not played.deadlock
    assert order(played).startswith("0( 1( ")
    assert [outcome.value for outcome in played.outcomes] == [0, 0, 0]
    assert "blocked" in {hand_over.why for hand_over in played.hand_overs}


@needs_steps
def test_a_thread_that_spins_lets_the_others_go_on(library: Build) -> None:
    played, _ = play(library("good_host"), calls(FAR._replace(switches=(3,)), NEAR))
    assert order(played) == "0( 1( 0) 1)"
    assert "spin" in {hand_over.why for hand_over in played.hand_overs}


@needs_steps
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_handle_that_is_closed_twice_in_a_race_shows(library: Build, step: int) -> None:
    done = Call("Done", (SYNC_EVENT, 0))
    sequence = calls(done._replace(switches=(step,)), done)

    def twice(instance: Instance) -> list[int]:
        instance.handles.after_call()
        assert instance.handles.left_open() == []
        return instance.handles.closed_twice()

    assert play(library("closes_in_a_race"), sequence, look=twice)[1] == ([0] if step == 2 else [])
    assert play(library("good_host"), sequence, look=twice)[1] == []


@needs_core
def test_threads_that_run_freely_make_all_their_calls(library: Build) -> None:
    sequence = calls((FAR, NEAR, ADD), (NEAR, FAR), (ADD, ADD))
    for seed in range(20):
        played, _ = play(library("good_host"), sequence, Stepping.FREELY, seed=seed)
        assert sorted(played.borders) == [Border(n, leaves) for n in range(7) for leaves in (False, True)]
        for thread in range(3):
            own = [b for b in played.borders if sequence[b.number].thread == thread]
            assert own == [Border(n, leaves) for n in sorted({b.number for b in own}) for leaves in (False, True)]
        assert [played.outcomes[n].value for n in (0, 1, 3, 4)] == [0] * 4
        assert sorted(int(str(played.outcomes[n].value)) for n in (2, 5, 6)) == [2, 3, 4]


@needs_core
def test_threads_that_run_freely_are_in_their_calls_at_the_same_time(library: Build) -> None:
    file = library("meets_in_every_third")
    plays = [play(file, calls(ADD, ADD), Stepping.FREELY, look=released) for _ in range(6)]
    seen = [(sorted(int(str(outcome.value)) for outcome in played.outcomes), left) for played, left in plays]
    assert sorted(seen) == [([2, 2], 1)] * 2 + [([2, 3], 2)] * 4


@needs_core
@pytest.mark.skipif(PROCESSORS < 2, reason="one processor")
def test_threads_that_run_freely_begin_on_processors_of_their_own(library: Build) -> None:
    """Left to the system, they share one in most of the plays, and hardly ever meet."""
    file, apart = library("says_its_processor"), 0
    for seed in range(60):
        played, _ = play(file, calls((ADD, FAR), (ADD, NEAR)), Stepping.FREELY, seed=seed)
        processors, choices = ([played.outcomes[n].value for n in numbers] for numbers in ((0, 2), (1, 3)))
        assert choices == [PROCESSORS] * 2  # they are not bound to it
        apart += len(set(processors)) == 2
    assert apart > 50  # the system may move a thread at any time


@needs_core
def test_calls_that_are_refused_are_left_out(library: Build) -> None:
    refused = {1: Outcome(OutcomeKind.NOT_RUN, None, detail="why")}
    played, _ = play(library("good_host"), calls((FAR, NEAR), NEAR), refused=refused)
    assert [outcome.kind for outcome in played.outcomes] == [
        OutcomeKind.RETURNED,
        OutcomeKind.NOT_RUN,
        OutcomeKind.RETURNED,
    ]
    assert 1 not in {border.number for border in played.borders}


# --- by the player ----------------------------------------------------------------------------------------------


def scheduled(sequence: Sequence[Call]) -> Trace:
    trace = Trace.from_calls(sequence)
    return replace(trace, header=replace(trace.header, scheduled=True))


PROBLEM, DONE = Call("Error", (5, None)), Call("Done", (SYNC_EVENT, 0))
BUGS = {
    "counts_in_two_steps": (calls(ADD._replace(switches=(2,)), ADD), "H5", ""),
    "locks_crosswise": (calls(FAR._replace(switches=(1,)), PROBLEM), "X14", "error and locks_crosswise"),
    "closes_in_a_race": (calls(DONE._replace(switches=(2,)), DONE), "H14", ""),
    "stores_a_pair": (calls(FAR._replace(switches=(2,)), NEAR), "X16", " in progress"),
}


@needs_steps
@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_in_its_schedule_each_time_and_not_without_it(library: Build, name: str) -> None:
    sequence, code, place = BUGS[name]
    with Isolated(f"{library(name)}:create") as player:
        for _ in range(2):
            run = player.play(scheduled(sequence))
            (finding,) = Judge.of(run.trace).findings(run)
            assert (finding.code, place in finding.place) == (code, True)
            assert run.schedule[0].why == "change"
        plain = player.play(scheduled([call._replace(switches=()) for call in sequence]))
        assert Judge.of(plain.trace).findings(plain) == []
        assert len(plain.steps) == 2
        assert all(plain.steps)
    with Isolated(f"{library('good_host')}:create") as player:
        run = player.play(scheduled(sequence))
        assert Judge.of(run.trace).findings(run) == []


@needs_steps
def test_references_and_calls_that_are_not_made_are_not_judged(library: Build) -> None:
    sequence = calls((ADD, FAR._replace(switches=(1,)), Call("Release")), (NEAR, Call("Progress", (None, -1, 0))))
    with Isolated(f"{library('good_host')}:create") as player:
        run = player.play(scheduled(sequence))
        assert any(one.kind is OutcomeKind.NOT_RUN for _, _, one in run.trace.played if one)
        assert Judge.of(run.trace).findings(run) == []
        assert run.unjudged == ""


@needs_steps
@pytest.mark.parametrize(("step", "codes"), [(0, []), (1, []), (20, ["H14"])])
def test_of_two_ends_at_once_either_may_be_the_late_one(library: Build, step: int, codes: list[str]) -> None:
    """The handle of a late Done is nobody's to close, and which of two that overlap is late the host says."""
    sequence = calls(DONE._replace(switches=(step,)), Call("Done", (None, 0)))
    with Isolated(f"{library('leaky_handle')}:create") as player:
        run = player.play(scheduled(sequence))
        assert [finding.code for finding in Judge.of(run.trace).findings(run)] == codes


@needs_steps
def test_references_of_all_threads_protect_the_object(library: Build) -> None:
    release = Call("Release")
    with Isolated(f"{library('good_host')}:create") as player:
        run = player.play(scheduled(calls((release, FAR), (ADD, NEAR))))  # given up before it is taken
        assert Judge.of(run.trace).findings(run) == []
        assert [outcome and outcome.kind for _, _, outcome in run.trace.played] == [OutcomeKind.RETURNED] * 4
        run = player.play(scheduled(calls((release, FAR), (release, ADD))))  # one too many
        assert Judge.of(run.trace).findings(run) == []
        kinds = {(call.thread, call.method): outcome and outcome.kind for _, call, outcome in run.trace.played}
        assert kinds[0, "Release"] is OutcomeKind.RETURNED
        assert kinds[1, "Release"] is OutcomeKind.NOT_RUN


@needs_steps
def test_a_deadlock_has_the_stack_of_each_thread(library: Build) -> None:
    with Isolated(f"{library('locks_crosswise')}:create") as player:
        run = player.play(scheduled(BUGS["locks_crosswise"][0]))
        assert "Thread 0, waiting for a lock that thread 1 holds:\n" in run.stack
        assert " progress\n" in run.stack.partition("Thread 1")[0]
        assert " error\n" in run.stack.partition("Thread 1")[2]
        again = player.play(scheduled(calls(FAR, PROBLEM)))  # in another process
        assert Judge.of(again.trace).findings(again) == []


@needs_steps
def test_events_of_a_scheduled_run_are_in_the_order_in_which_they_happened(library: Build) -> None:
    with Isolated(f"{library('stores_a_pair')}:create") as player:
        run = player.play(scheduled(calls((FAR._replace(switches=(0,)), NEAR), NEAR._replace(switches=(2,)))))
    entered = [event.call for event in run.trace.events if isinstance(event, Enter)]
    assert [(call.thread, call.args) for call in entered] == [(1, NEAR.args), (0, FAR.args), (0, NEAR.args)]
    assert [event.number for event in run.trace.events] == [0, 1, 1, 2, 2, 0]


@needs_core
def test_what_is_left_to_chance_says_how_often_it_shows(library: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_threads, "stepping_here", lambda: Stepping.FREELY)
    monkeypatch.setattr("replayer.player.stepping_here", lambda: Stepping.FREELY)
    monkeypatch.setattr(native_threads, "_PLAYS", 30)
    target = load_target(f"{library('meets_in_every_third')}:create")
    run = play_trace(scheduled(calls((ADD, Call("Release")), (ADD, Call("Release")))), target)
    finding = Judge.of(run.trace).findings(run)[0]
    assert finding.code == "H5"
    assert finding.message.endswith(" (in 10 of 30 plays)")


def test_without_the_compiled_core_calls_are_made_one_after_the_other(
    library: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replayer.player.can_overlap", lambda instance, interface: False)
    target = load_target(f"{library('good_host')}:create")
    run = play_trace(scheduled(calls((FAR, NEAR), DONE)), target)
    assert [outcome and outcome.value for _, _, outcome in run.trace.played] == [0, 0, 0]
