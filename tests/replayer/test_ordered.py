"""Calls that overlapped or nested when they were recorded do so again; where a target cannot, that is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, QuietHost, recorded

from recorder.callback import recording
from recorder.calls import Call, Enter, Event, Header, Leave, Outcome, OutcomeKind, Trace
from recorder.com import expose
from recorder.trace import read_trace
from replayer.compare import differences
from replayer.isolation import Here, Isolated, Limits
from replayer.order import Order
from replayer.player import PlayOptions, Run, play
from replayer.target import Instance, NativeTarget, load_target, object_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

ONCE = PlayOptions(
    join_seconds=0, skip=("linearizability", "lost-update")
)  # calls are not made again to judge them
SOON = replace(ONCE, patience=0.2)


def borders(trace: Trace) -> list[tuple[int, bool]]:
    return [(event.number, isinstance(event, Leave)) for event in trace.events]


def kinds(run: Run) -> list[OutcomeKind | None]:
    return [outcome and outcome.kind for _, _, outcome in run.trace.played]


class Meeting(QuietHost):
    """Progress(_, 0, _) returns once Progress(_, 1, _) has been made."""

    def __init__(self) -> None:
        self.met = threading.Event()

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        if index == 1:
            self.met.set()
        if index == 0:
            self.met.wait()


class Boxes(QuietHost):
    """Shows a box for each Progress and lets messages through meanwhile; tells how deep calls were nested."""

    log: list[tuple[int, bool, int]]

    def __init__(self) -> None:
        self.own = threading.local()

    def pump(self) -> None:
        """Where a box lets messages through."""

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        depth = getattr(self.own, "depth", 0)
        self.log.append((index, False, depth))
        self.own.depth = depth + 1
        self.pump()
        self.own.depth = depth
        self.log.append((index, True, depth))


# ------------------------------------------------------------------------------------------------ in order


def test_a_call_can_wait_for_one_that_overlapped_it() -> None:
    trace = recorded("0( 1( 1) 0)")
    run = play(trace, object_target(Meeting), SOON)
    assert kinds(run) == [OutcomeKind.RETURNED] * 2 and not run.unforced
    assert borders(run.trace) == borders(trace)


@st.composite
def recordings(draw: st.DrawFn) -> Trace:
    """Traces as three threads make them."""
    events: list[Event] = []
    stacks: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for thread, begins in draw(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20)):
        if begins:
            number = sum(isinstance(event, Enter) for event in events)
            events.append(Enter(number, Call("Progress", (None, number, 99), thread)))
            stacks[thread].append(number)
        elif stacks[thread]:
            events.append(Leave(stacks[thread].pop(), Outcome()))
    return Trace(Header(CALLBACK), tuple(events))


@settings(max_examples=15)
@given(recordings())
def test_the_target_sees_calls_in_their_order(trace: Trace) -> None:
    log: list[tuple[int, bool, int]] = []
    run = play(trace, object_target(type("Host", (Boxes,), {"log": log})), ONCE)
    assert not run.unforced
    order = Order.of(trace.events)
    seen = {(number, leaves): at for at, (number, leaves, _) in enumerate(log)}
    assert len(log) == len(seen) == 2 * len(trace.calls)
    for ended, at in order.leaves.items():
        for begun, later in order.enters.items():
            if at < later:
                assert seen[ended, True] < seen[begun, False]
    depths: dict[int, int] = {}

    def walk(program: Any, depth: int) -> None:
        for planned in program:
            depths[planned.number] = depth
            walk(planned.inside, depth + 1)

    for program in order.programs.values():
        walk(program, 0)
    assert {number: depth for number, _, depth in log} == depths


def test_calls_are_nested_where_the_target_uses_its_handle() -> None:
    log: list[str] = []

    class Host(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            log.append("Progress")

        def Done(self, handle: Any, result: int) -> Any:
            log.append("Done begins")
            handle.close()
            log.append("Done ends")

    trace = recorded("0( 1( 1) 0)", {0: "Done(sync-event, S_OK)"}, threads="00")
    run = play(trace, object_target(Host), SOON)
    assert log == ["Done begins", "Progress", "Done ends"]
    assert not run.unforced and borders(run.trace) == borders(trace)


def test_a_hook_of_the_targets_own_still_does_what_it_does() -> None:
    log: list[int] = []

    class Host(QuietHost):
        def __init__(self) -> None:
            self.pump = log.append

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            self.pump(index)

    assert not play(recorded("0( 1( 1) 0)", threads="00"), object_target(Host), SOON).unforced
    assert log == [1, 0]


def test_an_invariant_is_asked_for_when_no_call_is_under_way() -> None:
    class Host(Meeting):
        open = 0

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            self.open += 1
            super().Progress(text, index, maximum)
            self.open -= 1

        def invariant(self) -> bool:
            return self.open == 0

    trace = recorded("0( 1( 1) 0) 2( 2)", threads="010")
    assert play(trace, object_target(Host), SOON).observations == ()

    class Broken(Host):
        def invariant(self) -> bool:
            return False

    (seen,) = play(trace, object_target(Broken), SOON).observations
    assert (seen.kind, seen.number) == ("invariant", 0)


def test_the_main_thread_can_make_the_first_threads_calls() -> None:
    options = PlayOptions(patience=0.2, join_seconds=0, main_thread=True)
    threads: list[threading.Thread] = []

    class Host(Meeting):
        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            super().Progress(text, index, maximum)
            threads.append(threading.current_thread())

    assert not play(recorded("0( 1( 1) 0)"), object_target(Host), options).unforced
    assert threads.pop() is threading.main_thread() is not threads.pop()


def test_what_was_recorded_of_calls_that_overlap_and_nest_is_replayed_so(tmp_path: Path) -> None:
    class Host(Meeting):
        pump: Any = None

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            if self.pump and index == 0:
                self.pump()
            super().Progress(text, index, maximum)
            return index

    host, nested = Host(), threading.Event()
    with recording(host, tmp_path / "it.tape") as callback:

        def pump() -> None:
            callback.Progress(None, 5, 9)
            nested.set()

        host.pump = pump
        first = threading.Thread(target=callback.Progress, args=(None, 0, 9))
        first.start()
        nested.wait()
        callback.Progress(None, 1, 9)
        first.join()
    trace = read_trace(tmp_path / "it.tape")
    run = play(trace, object_target(Host), SOON)
    assert not run.unforced and borders(run.trace) == borders(trace)
    assert [call.args[1] for call in trace.calls] == [0, 5, 1] and not list(differences(trace, run.trace))


# ---------------------------------------------------------------------------- Python targets, under the scheduler


class Steps(QuietHost):
    """Tells each step of each call."""

    log: list[tuple[int, str]]

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        self.log.append((index, "first"))
        self.log.append((index, "second"))


def test_whoever_comes_next_in_the_order_goes_first() -> None:
    log: list[tuple[int, str]] = []
    host = object_target(type("Host", (Steps,), {"log": log}))
    runs = []
    for _ in range(2):
        log.clear()
        runs.append(play(recorded("0( 1( 1) 2( 0) 2)", threads="012"), host, SOON))
        assert [index for index, _ in log] == [1, 1, 0, 0, 2, 2]
    assert runs[0].schedule == runs[1].schedule != ()
    assert runs[0].steps == runs[1].steps and min(runs[0].steps) >= 2


def test_a_call_goes_on_as_far_as_others_need_it_to() -> None:
    class Host(Steps):
        def __init__(self) -> None:
            self.lock, self.taken = threading.Lock(), threading.Event()

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            if index == 1:
                self.taken.wait()
            with self.lock:
                self.taken.set()
                super().Progress(text, index, maximum)
            self.log.append((index, "third"))

    log: list[tuple[int, str]] = []
    run = play(recorded("0( 1( 1) 0)"), object_target(type("It", (Host,), {"log": log})), SOON)
    assert not run.unforced
    assert [index for index, _ in log] == [0, 0, 1, 1, 1, 0]


def test_a_call_that_waits_for_itself_is_a_deadlock_and_seen_at_once() -> None:
    trace = recorded("0( 1( 1) 0) 2( 2)", {0: "Error(E_FAIL, NULL)"}, threads="000")
    run = play(trace, load_target("targets.threads.callback_under_lock:Host"), SOON)
    (seen,) = run.observations
    assert seen.kind == "deadlock" and not run.unforced
    assert kinds(run) == [None, None, OutcomeKind.NOT_RUN]
    assert "callback_under_lock.py" in run.stack


@pytest.mark.parametrize("busy", [False, True])
def test_a_target_that_never_rests_is_not_waited_for(busy: bool) -> None:
    class Host(QuietHost):
        met = False

        def __init__(self) -> None:
            self.over = threading.Event()
            if not busy:
                threading.Thread(target=self.tick, daemon=True).start()

        def tick(self) -> None:
            while not self.over.wait(0.01):
                """Time goes by."""

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            self.met = self.met or index == 2
            while index == 0 and not self.met:
                if not busy:
                    self.over.wait(0.1)

        def Done(self, handle: Any, result: int) -> Any:
            self.over.set()

    trace = recorded("0( 1( 1) 0) 2( 2) 3( 3)", {3: "Done(NULL, S_OK)"}, threads="0111")
    run = play(trace, object_target(Host), SOON)
    assert "call 0 (Progress on thread 0) did not return until call 2 (Progress on thread 1) was" in run.unforced


def test_a_factory_in_python_may_give_an_interface_pointer() -> None:
    trace = recorded("0( 1( 1) 0)")
    run = play(trace, object_target(lambda: expose(Meeting(), CALLBACK)), SOON)
    assert kinds(run) == [OutcomeKind.RETURNED] * 2 and not run.unforced and not run.schedule


def test_recorded_times_are_kept_on_real_threads() -> None:
    calls = [Call("Progress", (None, number, 9), number, 40_000_000 * number) for number in (0, 1)]
    trace = Trace(Header(CALLBACK), (*map(Enter, (0, 1), calls), Leave(1, Outcome()), Leave(0, Outcome())))
    run = play(trace, object_target(Meeting), PlayOptions(pace=1.0, join_seconds=0))
    (first, _) = run.trace.played
    assert first.outcome is not None and first.outcome.elapsed_ns >= 30_000_000 and not run.unforced


# ------------------------------------------------------------------------------------- what cannot be forced


def test_a_call_that_waits_for_a_later_one_is_named_with_it() -> None:
    meeting = {1: "Progress(NULL, 7, 9)", 2: "Progress(NULL, 1, 9)"}
    run = play(recorded("0( 1( 1) 0) 2( 2)", meeting, threads="011"), object_target(Meeting), SOON)
    assert run.unforced == (
        "call 0 (Progress on thread 0) did not return until call 2 (Progress on thread 1) was made, "
        "which comes later"
    )
    assert kinds(run) == [OutcomeKind.RETURNED] * 3


def test_a_call_that_needs_another_to_return_is_named_with_it() -> None:
    class Host(QuietHost):
        def __init__(self) -> None:
            self.lock, self.taken = threading.Lock(), threading.Event()

        def pump(self) -> None:
            """Where messages come through."""

        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            if index == 0:
                with self.lock:
                    self.taken.set()
                    self.pump()
            elif index == 1:
                self.taken.wait()
                with self.lock:
                    pass

    # call 0 has the lock that call 1 waits for, and keeps it until call 2 has been made inside it
    run = play(recorded("0( 1( 1) 2( 2) 0)", threads="010"), object_target(Host), SOON)
    assert run.unforced == (
        "call 1 (Progress on thread 1) did not return until call 2 (Progress on thread 0) had returned, "
        "which comes later"
    )
    assert kinds(run) == [OutcomeKind.RETURNED] * 3


def test_a_target_that_does_not_call_out_cannot_be_called_inside() -> None:
    run = play(recorded("0( 1( 1) 0)", threads="00"), object_target(QuietHost), SOON)
    assert run.unforced == (
        "call 1 (Progress on thread 0) was made inside call 0 (Progress on thread 0), "
        "in which the target does not call out"
    )
    assert kinds(run) == [OutcomeKind.RETURNED, OutcomeKind.NOT_RUN]


def test_calls_that_cross_each_other_on_one_thread_are_not_made() -> None:
    run = play(recorded("0( 1( 0) 1)", threads="00"), object_target(QuietHost), SOON)
    assert "call 0 ended before call 1" in run.unforced
    assert kinds(run) == [OutcomeKind.NOT_RUN] * 2


def replayed(trace: Trace, host: type, judging: Judging) -> Verdict:
    return replay_trace(trace, Here(object_target(host), SOON), judging.judge(trace))


def test_an_order_that_cannot_be_kept_is_an_error_and_says_why() -> None:
    class Host(QuietHost):
        def Done(self, handle: Any, result: int) -> Any:
            raise ValueError  # and what it does besides is not judged

    trace = recorded("0( 1( 1) 0) 2( 2)", {2: "Done(NULL, S_OK)"}, threads="000")
    verdict = replayed(trace, Host, Judging())
    assert verdict.status is Status.ERROR and not verdict.findings
    assert verdict.message == (
        "its order cannot be kept: call 1 (Progress on thread 0) was made inside call 0 (Progress on thread 0), "
        "in which the target does not call out"
    )


def test_recorded_answers_are_matched_call_by_call() -> None:
    class Host(Meeting):
        def Progress(self, text: str | None, index: int, maximum: int) -> Any:
            super().Progress(text, index, maximum)
            return index

    trace = recorded("0( 1( 1) 0)")
    (finding,) = replayed(trace, Host, Judging(match_results=True)).findings
    assert (finding.code, finding.number) == ("X8", 1)
    assert replayed(trace, Meeting, Judging(match_results=True)).status is Status.PASSED


# --------------------------------------------------------------------------------------------- in a child process


def test_an_order_survives_the_way_into_a_child_and_back(isolated: Callable[[str], Isolated]) -> None:
    player = isolated("targets.threads.one_lock:Host")
    trace = recorded("0( 1( 2( 2) 1) 0) 3( 3)", {0: "Error(E_FAIL, NULL)"}, threads="0101")
    one_by_one = Trace.from_calls(trace.calls, trace.header)
    run = player.play(trace)
    assert not run.unforced and kinds(run) == [OutcomeKind.RETURNED] * 4
    assert run.trace.calls == trace.calls and borders(run.trace) == borders(trace)
    assert [borders(run.trace) for run in player.play_many([one_by_one, trace])] == [
        borders(one_by_one),
        borders(trace),
    ]


def test_what_could_not_be_forced_is_told_through_the_process(isolated: Callable[[str], Isolated]) -> None:
    run = isolated("targets.clean:Host").play(recorded("0( 1( 1) 0)", threads="00"))
    assert "the target does not call out" in run.unforced


def test_a_hang_is_that_of_the_call_that_should_have_returned() -> None:
    lines = {0: "Progress(NULL, 5, 9)", 1: "Progress(NULL, 0, 9)"}
    hanging = recorded("0( 1( 2( 2) 1) 0) 3( 3)", lines, threads="0121")
    with Isolated("targets.meets_at_a_pipe:Host", limits=Limits(0.5)) as player:
        run = player.play(hanging)
    assert not run.unforced
    assert kinds(run) == [None, OutcomeKind.HUNG, OutcomeKind.RETURNED, OutcomeKind.NOT_RUN]


def test_calls_that_wait_for_each_other_unseen_are_no_hang() -> None:
    with Isolated("targets.meets_at_a_pipe:Host", limits=Limits(0.5)) as player:
        met = player.play(recorded("0( 1( 0) 1)"))
    assert kinds(met) == [OutcomeKind.RETURNED] * 2 and not met.unforced


def test_a_crash_is_that_of_the_call_that_began_last(isolated: Callable[[str], Isolated]) -> None:
    crashing = recorded("0( 1( 1) 0) 2( 2)", {1: "Progress(NULL, 9, 1)"}, threads="010")
    run = isolated("targets.segfaults:Host").play(crashing)
    assert kinds(run) == [None, OutcomeKind.CRASHED, OutcomeKind.NOT_RUN]
    assert borders(run.trace) == [(0, False), (1, False), (1, True), (2, False), (2, True)]


# ------------------------------------------------------------------------------------------------------- native


@pytest.fixture(scope="module")
def overlapping(library: Callable[[str | Path], Path]) -> Iterator[Isolated]:
    with Isolated(f"{library('overlaps')}:create", limits=Limits(2.0)) as player:
        yield player


FIRST, SECOND = 'Progress("waits", 1, 9)', 'Progress("is waited for", 2, 9)'


@pytest.mark.native
class TestNative:
    def test_a_call_can_wait_for_one_that_overlapped_it(self, overlapping: Isolated) -> None:
        trace = recorded("0( 1( 2( 2) 1) 0)", {0: FIRST, 1: FIRST, 2: SECOND}, threads="012")
        run = overlapping.play(trace)
        assert kinds(run) == [OutcomeKind.RETURNED] * 3 and not run.unforced
        assert borders(run.trace) == borders(trace)

    def test_calls_are_nested_where_the_library_calls_out(self, overlapping: Isolated) -> None:
        lines = {0: 'Error(5, "outer")', 1: 'Error(6, "inner")', 2: SECOND, 3: FIRST}
        run = overlapping.play(recorded("0( 1( 2( 2) 1) 3( 3) 0)", lines, threads="0000"))
        assert not run.unforced
        assert [outcome and outcome.value for _, _, outcome in run.trace.played] == [5, 6, 0, 0]

    def test_a_call_that_waits_for_a_later_one_is_an_error(self, overlapping: Isolated) -> None:
        lines = {0: FIRST, 1: "Error(S_OK, NULL)", 2: SECOND}
        run = overlapping.play(recorded("0( 1( 1) 0) 2( 2)", lines, threads="011"))
        assert (
            "call 0 (Progress on thread 0) did not return until call 2 (Progress on thread 1) was" in run.unforced
        )

    def test_the_object_can_be_referenced_and_released_while_a_call_runs(self, overlapping: Isolated) -> None:
        lines = {0: FIRST, 1: "AddRef()", 2: "Release()", 3: SECOND}
        run = overlapping.play(recorded("0( 1( 1) 2( 2) 3( 3) 0)", lines, threads="0112"))
        assert not run.unforced and not run.observations
        assert kinds(run) == [OutcomeKind.RETURNED] * 4


# --------------------------------------------------------------------------------------------------- apartments


def test_in_an_apartment_of_one_thread_calls_of_several_cannot_overlap() -> None:
    boxed = object_target(type("Boxed", (Boxes,), {"log": []}))

    class Single:
        is_single = True

        def enter(self) -> None:
            """There is none here."""

        leave = enter

    class Target(NativeTarget):
        def __init__(self) -> None:
            self.spec, self.interface, self.state, self._python = "it", CALLBACK, 0, boxed

        def instance(self) -> Instance:
            return replace(self._python.instance(), apartment=Single())  # type: ignore[arg-type]

    run = play(recorded("0( 1( 1) 0)"), Target(), SOON)
    assert run.unforced == "the object's apartment has one thread, on which calls of several cannot overlap"
    assert kinds(run) == [OutcomeKind.NOT_RUN] * 2
    run = play(recorded("0( 1( 1) 0)", threads="00"), Target(), SOON)
    assert kinds(run) == [OutcomeKind.RETURNED] * 2 and not run.unforced
