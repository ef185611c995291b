"""The player: order, threads, pace, and an outcome for every call, whatever the target does."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import GOOD, QuietHost, calls

from recorder.calls import SYNC_EVENT, Call, Handle, Opaque, Outcome, OutcomeKind, Trace
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.player import Phase, PlayOptions, Run, play
from replayer.target import load_target, object_target

MAIN = threading.main_thread()


class Host(QuietHost):
    """Tells what happened to every instance of it."""

    log: list[Any]

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        return self.seen(text, index, maximum)

    def Error(self, result: int, text: str | None) -> Any:
        return self.seen(result, text)

    def Done(self, handle: Any, result: int) -> Any:
        return self.seen(handle, result)

    def seen(self, *args: Any) -> Any:
        self.log.append(args)


def acting(act: Callable[..., Any]) -> Any:
    """A target whose every method is this function."""
    return object_target(type("Acting", (Host,), {"seen": staticmethod(act)}))


def logging(log: list[Any]) -> Any:
    return object_target(type("Logging", (Host,), {"log": log}))


def outcomes(run: Run) -> list[Outcome]:
    return [played.outcome for played in run.trace.played if played.outcome is not None]


def the_outcome(run: Run) -> Outcome:
    (outcome,) = outcomes(run)
    return outcome


# ------------------------------------------------------------------------------------------------------ calls


def test_calls_are_made_in_order_and_each_has_an_outcome() -> None:
    log: list[Any] = []
    run = play(calls(*GOOD), logging(log))
    assert [args[1:] for args in log[:3]] == [(0, 2), (1, 2), (2, 2)]
    assert [outcome.kind for outcome in outcomes(run)] == [OutcomeKind.RETURNED] * 4
    assert all(outcome.value is None and outcome.elapsed_ns > 0 for outcome in outcomes(run))
    assert run.trace.calls == tuple(calls(*GOOD))


def test_each_sequence_is_played_on_a_fresh_instance() -> None:
    made: list[QuietHost] = []

    class Counted(QuietHost):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    target = object_target(Counted)
    play([], target)
    play([], target)
    assert len(made) == 2 and made[0] is not made[1]


def test_arguments_arrive_as_they_were_recorded() -> None:
    log: list[Any] = []
    play([Call("Progress", ("\ud800 half a pair", 2**32 - 1, True)), Call("Error", (-1, None))], logging(log))
    assert log == [("\ud800 half a pair", 2**32 - 1, True), (-1, None)]


def test_a_handle_is_the_same_object_wherever_it_appears() -> None:
    log: list[Any] = []
    handles = [SYNC_EVENT, Handle(1), SYNC_EVENT, Handle(-1), None]
    play([Call("Done", (handle, 0)) for handle in handles], logging(log))
    first, other, again, pseudo, nothing = [args[0] for args in log]
    assert first is again and first != other
    assert (pseudo, nothing) == (-1, None)


@pytest.mark.parametrize("answer", [0, 1, -1, 2**40, None, True, 1.5, "failed", b"bytes"])
def test_answers_are_kept_as_they_are(answer: Any) -> None:
    value = the_outcome(play(calls(GOOD[0]), acting(lambda *args: answer))).value
    assert value == answer and type(value) is type(answer)


def test_an_answer_that_no_trace_can_hold_is_kept_as_it_looks() -> None:
    run = play(calls(GOOD[0]), acting(lambda *args: [1, 2]))
    assert the_outcome(run).value == Opaque("list", "[1, 2]")


def raising(error: BaseException) -> Any:
    def raises(*args: Any) -> None:
        raise error

    return acting(raises)


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_an_exception_is_an_outcome_with_its_place(error: BaseException) -> None:
    run = play(calls(GOOD[0], GOOD[1]), raising(error))
    for outcome in outcomes(run):
        assert outcome.kind is OutcomeKind.RAISED
        assert outcome.detail.startswith(type(error).__name__)
        assert outcome.place.startswith("test_player.py:") and outcome.place.endswith(" in raises")


def test_calls_that_cannot_be_made_are_not_run() -> None:
    log: list[Any] = []
    run = play([Call("AddRef"), Call("Progress", (Opaque("list", "[]"), 0, 1)), *calls(GOOD[3])], logging(log))
    assert [outcome.kind for outcome in outcomes(run)] == [
        OutcomeKind.NOT_RUN,
        OutcomeKind.NOT_RUN,
        OutcomeKind.RETURNED,
    ]
    assert outcomes(run)[0].detail == "AddRef is IUnknown's: a Python object has none"
    assert outcomes(run)[1].detail == "an argument was recorded only as it looked"
    assert len(log) == 1


def test_out_parameters_are_part_of_the_outcome() -> None:
    out = Method("GetMax", (Parameter("max", Type.U32, direction=Direction.OUT),))
    interface = Interface("ILimits", "{0002031f-0000-0000-c000-0000000000aa}", (out,), base=IUNKNOWN)
    host = type("Limits", (), {"GetMax": lambda self: (0, 1000)})
    assert the_outcome(play([Call("GetMax")], object_target(host, interface))).outputs == (1000,)


small = st.integers(0, 9)
progress = st.tuples(st.just("Progress"), st.tuples(st.none() | st.text(max_size=5), small, small))
done = st.tuples(st.just("Done"), st.tuples(st.none() | st.just(SYNC_EVENT), small))
any_call = st.tuples(progress | done, st.integers(0, 2)).map(
    lambda drawn: Call(*drawn[0])._replace(thread=drawn[1])
)


@settings(deadline=None)
@given(st.lists(any_call, max_size=8))
def test_playing_twice_gives_the_same(sequence: list[Call]) -> None:
    target = load_target("targets.divides_by_max:Host")
    runs = [play(sequence, target) for _ in range(2)]
    first, second = [[outcome._replace(elapsed_ns=0) for outcome in outcomes(run)] for run in runs]
    assert first == second and runs[0].observations == runs[1].observations


# ---------------------------------------------------------------------------------------------------- threads


def threads_of(sequence: list[Call], options: PlayOptions | None = None) -> list[threading.Thread]:
    threads: list[threading.Thread] = []
    play(sequence, acting(lambda *args: threads.append(threading.current_thread())), options)
    return threads


def on_threads(*numbers: int) -> list[Call]:
    return [Call("Progress", (None, index, 9), thread) for index, thread in enumerate(numbers)]


def test_calls_come_from_a_background_thread() -> None:
    threads = threads_of(on_threads(0, 0))
    assert threads[0] is threads[1] is not MAIN


def test_each_recorded_thread_is_a_thread_of_its_own() -> None:
    first, second, *rest = threads_of(on_threads(0, 1, 1, 0, 2))
    assert rest[:2] == [second, first]
    assert len({first, second, rest[2], MAIN}) == 4


def test_calls_of_several_threads_keep_their_order() -> None:
    log: list[Any] = []
    play(on_threads(*[0, 1, 2, 2, 0, 1] * 20), logging(log))
    assert [args[1] for args in log] == list(range(120))


def test_the_main_thread_on_demand() -> None:
    first, second, third = threads_of(on_threads(0, 1, 0), PlayOptions(main_thread=True))
    assert first is third is MAIN is not second


@pytest.mark.parametrize("main_thread", [False, True])
def test_no_thread_stays_behind(main_thread: bool) -> None:
    before = set(threading.enumerate())
    play(on_threads(0, 1, 2), load_target("targets.clean:Host"), PlayOptions(main_thread=main_thread))
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a thread")
class TestInterrupt:
    """Ctrl-C while a target does not come back."""

    @pytest.fixture
    def stuck(self) -> Iterator[Any]:
        if sys.platform == "win32":
            raise NotImplementedError
        over, before = threading.Event(), set(threading.enumerate())  # lanes of a scheduler are there for good

        def seen(*args: Any) -> None:
            signal.pthread_kill(MAIN.ident or 0, signal.SIGINT)
            over.wait(20)

        yield acting(seen)
        over.set()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("synctape-"):
                thread.join()

    @pytest.mark.parametrize("main_thread", [False, True])
    def test_the_player_does_not_wait_for_it(self, stuck: Any, main_thread: bool) -> None:
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            play(calls(GOOD[0]), stuck, PlayOptions(main_thread=main_thread))
        assert time.monotonic() - started < 15


# ------------------------------------------------------------------------------------------------------- pace


def seconds(times_ms: list[int], pace: float | None, journal: Any = None) -> float:
    sequence = [Call("Progress", (None, 0, 1), 0, ms * 10**6) for ms in times_ms]
    started = time.monotonic()
    play(sequence, load_target("targets.clean:Host"), PlayOptions(pace=pace), journal)
    return time.monotonic() - started


def test_the_recorded_pace_keeps_the_recorded_pauses() -> None:
    assert seconds([1000, 1030, 1060], 1.0) >= 0.06  # counted from the first call, not from the trace's start


def test_a_factor_divides_them() -> None:
    assert seconds([0, 80], 2.0) >= 0.04


def test_fast_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda pause: pytest.fail(f"slept {pause} s"))
    seconds([0, 10**6], None)


class Notes(list[tuple[int, int]]):
    def note(self, a: int, b: int) -> None:
        self.append((int(a), b))


def test_a_pause_shows_in_the_journal_so_that_it_is_no_hang() -> None:
    notes = Notes()
    seconds([0, 150], 1.0, notes)
    waiting = [note for note in notes if note[0] >= Phase.WAITING]
    assert len(waiting) == len(set(waiting)) >= 2  # each one a change


def test_the_journal_has_every_call_before_it_is_made() -> None:
    notes = Notes()
    play(calls(*GOOD[:2]), load_target("targets.clean:Host"), journal=notes)
    assert notes == [(Phase.MAKING, 0), (Phase.CALLS, 0), (Phase.CALLS, 1), (Phase.ENDING, 1)]


# ------------------------------------------------------------------------------------------- beside the calls


def observed(target: Any, *lines: str, **options: Any) -> list[tuple[str, int, str]]:
    run = play(calls(*lines), target, PlayOptions(**options))
    return [(seen.kind, seen.number, seen.message) for seen in run.observations]


def test_an_exception_in_a_thread_of_the_target() -> None:
    ((kind, number, message),) = observed(load_target("targets.thread_exception:Host"), *GOOD)
    assert (kind, number) == ("thread-exception", 3)
    assert message.startswith("LookupError: the result is not where it was put (in Thread-")


def test_a_thread_that_is_still_running_at_the_end_is_waited_for() -> None:
    gate = threading.Event()

    def late() -> None:
        gate.wait(20)
        raise LookupError("late")

    def seen(*args: Any) -> None:
        threading.Thread(target=late).start()
        threading.Timer(0.02, gate.set).start()

    assert observed(acting(seen), GOOD[0], join_seconds=20)[0][2].startswith("LookupError: late")


def test_a_thread_may_end_itself() -> None:
    def seen(*args: Any) -> None:
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()

    assert observed(acting(seen), GOOD[0]) == []


def test_an_exception_in_a_finaliser() -> None:
    ((kind, number, message),) = observed(load_target("targets.del_exception:Host"), "Done(NULL, S_OK)")
    assert (kind, number) == ("thread-exception", 0)
    assert message == "RuntimeError: freed after Done (in Host.__del__)"


def test_a_finaliser_behind_an_old_cycle_belongs_to_its_sequence() -> None:
    import gc

    class Cyclic(QuietHost):
        def __init__(self) -> None:
            super().__init__()
            self.me = self
            gc.collect(0)
            gc.collect(1)  # it is old garbage when it goes

        def __del__(self) -> None:
            raise RuntimeError("freed")

    assert len(observed(object_target(Cyclic), *GOOD, collect=2)) == 1


def test_the_interpreters_hooks_are_as_before() -> None:
    before = threading.excepthook, sys.unraisablehook
    play(calls(*GOOD), load_target("targets.clean:Host"))
    assert (threading.excepthook, sys.unraisablehook) == before


@pytest.mark.parametrize(
    ("invariant", "message"),
    [
        (lambda self: False, "invariant() is False"),
        (lambda self: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_invariant_is_seen_once_after_its_call(invariant: Any, message: str) -> None:
    checks = [lambda self: None, lambda self: True, invariant]

    class Checked(QuietHost):
        def invariant(self) -> Any:
            return checks.pop(0)(self)

    assert observed(object_target(Checked), *GOOD) == [("invariant", 2, message)]


def test_a_handle_closed_twice_is_seen_at_the_call_that_did_it() -> None:
    seen = observed(load_target("targets.double_close:Host"), *GOOD, "Progress(NULL, 0, 1)")
    assert seen == [("handle", 3, "handle 0 was closed more than once")]


def test_a_handle_is_leaked_only_by_a_host_that_promised_to_close_it() -> None:
    leak = [("handle", 3, "handle 0 was never closed")]
    assert observed(load_target("targets.leaks_handle:Host"), *GOOD) == leak
    assert observed(acting(lambda *args: 0), *GOOD) == []


def test_an_empty_sequence_is_played() -> None:
    run = play(Trace(), load_target("targets.clean:Host"))
    assert run.trace.calls == () and run.observations == ()


def test_playing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    play(calls(*GOOD), load_target("targets.thread_exception:Host"))
    assert capfd.readouterr() == ("", "")
