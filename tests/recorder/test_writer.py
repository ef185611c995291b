"""Live recording: what was written survives, whatever happens to the process, and nothing reaches the provider."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from killed import kill_in_the_middle

from recorder import writer
from recorder.appending import AppendFile
from recorder.callback import RecordingCallback
from recorder.calls import SYNC_EVENT, Call, Enter, Handle, Leave, Opaque, Outcome, OutcomeKind, Trace
from recorder.errors import TraceError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.trace import TraceReader, read_trace
from recorder.writer import RecordingWarning, TraceWriter, live_header

SYNC = IMAPI_SYNC_PROGRESS_CALLBACK
QUERY_INTERFACE, ADD_REF, RELEASE, PROGRESS, ERROR, DONE = range(6)
Inject = Callable[[Callable[[], object], Callable[[], object], int], bool]


class Clock:
    """Each look at it is a tick later."""

    def __init__(self) -> None:
        self.now = 1 << 40

    def __call__(self) -> int:
        self.now += 1024
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.tape"


def arguments(trace: Trace) -> list[tuple[object, ...]]:
    return [call.args for call in trace.calls]


# --- one call after the other --------------------------------------------------------------------------------


def test_calls_and_outcomes_are_recorded(path: Path) -> None:
    with TraceWriter(path, clock=Clock()) as recording:
        first = recording.enter(PROGRESS, ("Inbox", 1, 2))
        recording.leave(first, Outcome(value=None))
        second = recording.enter(DONE, (4711, -2147467259))
        recording.leave(second, Outcome(OutcomeKind.RAISED, None, 0, "ValueError: no", "host.py:3 in Done"))
        recording.enter(RELEASE, ())
    trace = read_trace(path)
    assert trace.damage is None
    assert trace.events == (
        Enter(0, Call("Progress", ("Inbox", 1, 2), 0, 2048)),
        Leave(0, Outcome(value=None, elapsed_ns=1024)),
        Enter(1, Call("Done", (Handle(1), -2147467259), 0, 4096)),
        Leave(1, Outcome(OutcomeKind.RAISED, None, 1024, "ValueError: no", "host.py:3 in Done")),
        Enter(2, Call("Release", (), 0, 6144)),
    )
    assert trace.played[2].outcome is None


def test_an_event_is_in_the_file_as_soon_as_its_write_returned(path: Path) -> None:
    recording = TraceWriter(path)
    ticket = recording.enter(PROGRESS, ("Inbox", 1, 2))
    assert len(read_trace(path).events) == 1
    recording.leave(ticket, Outcome())
    trace = read_trace(path)
    assert len(trace.events) == 2
    assert trace.damage is not None
    assert trace.damage.reason == "ends without an end record"
    recording.flush()
    recording.close()
    assert read_trace(path).damage is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_calls_may_end_in_any_order(path: Path, order: tuple[int, ...]) -> None:
    with TraceWriter(path) as recording:
        tickets = [recording.enter(PROGRESS, (None, number, 9)) for number in range(4)]
        for number in order:
            recording.leave(tickets[number], Outcome(value=number))
        recording.leave(recording.enter(PROGRESS, (None, 4, 9)), Outcome(value=4))
    trace = read_trace(path)
    assert trace.damage is None
    assert [event.number for event in trace.events if isinstance(event, Leave)] == [*order, 4]
    assert [played.outcome and played.outcome.value for played in trace.played] == [0, 1, 2, 3, 4]


def test_a_call_ends_once(path: Path) -> None:
    with TraceWriter(path) as recording:
        ticket = recording.enter(PROGRESS, (None, 0, 9))
        for value in (1, 2):
            recording.leave(ticket, Outcome(value=value))
        recording.leave(None, Outcome())
    assert [event for event in read_trace(path).events if isinstance(event, Leave)] == [
        Leave(0, read_trace(path).played[0].outcome or Outcome())
    ]


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        ((4711, 1), (Handle(1), 1)),
        ((0, 1), (None, 1)),
        ((None, 1), (None, 1)),
        ((-1, 1), (Handle(-1), 1)),
        ((-2, 1), (Handle(-2), 1)),
        ((99, 1), (SYNC_EVENT, 1)),
        ((Handle(7), 1), (Handle(7), 1)),
        (("text", 1), ("text", 1)),
        ((None, True), (None, 1)),
        ((None, 1.5), (None, 1.5)),
        ((None, b"\0"), (None, b"\0")),
        ((None, 2**80), (None, 2**80)),
        ((None, 1, 2, "x", 5.5), (None, 1, 2, "x", 5.5)),
        ((None,), (None,)),
        ((), ()),
    ],
)
def test_arguments_of_any_kind_are_kept(path: Path, args: tuple[Any, ...], kept: tuple[Any, ...]) -> None:
    with TraceWriter(path, sync_event=99) as recording:
        recording.enter(DONE, args)
    trace = read_trace(path)
    assert trace.damage is None
    assert repr(trace.calls[0].args) == repr(kept)


def test_the_same_handle_has_the_same_symbol(path: Path) -> None:
    with TraceWriter(path) as recording:
        for handle in (500, 600, 500, 0x1_0000_0000):
            recording.enter(DONE, (handle, 0))
    assert [args[0] for args in arguments(read_trace(path))] == [Handle(1), Handle(2), Handle(1), Handle(3)]


class Hostile:
    """Whatever one asks of it, it raises."""

    def _raise(self, *args: object) -> Any:
        raise RuntimeError("no")

    __class__ = property(_raise)
    __repr__ = __hash__ = __int__ = __index__ = __eq__ = __bool__ = __len__ = _raise


def test_hostile_arguments_are_shown_as_far_as_they_can_be(path: Path) -> None:
    with TraceWriter(path) as recording:
        recording.enter(DONE, (Hostile(), Hostile(), Hostile()))
        recording.enter(PROGRESS, (object, 2**60_000, "x" * ((1 << 24) + 1)))
        recording.enter(PROGRESS, tuple(range(10_000)))
    trace = read_trace(path)
    assert trace.damage is None
    assert trace.calls[0].args == (Opaque("Hostile", "<repr raised RuntimeError>"),) * 3
    assert trace.calls[1].args[0] == Opaque("type", "<class 'object'>")
    assert [arg.type for arg in trace.calls[1].args[1:] if isinstance(arg, Opaque)] == ["int", "str"]
    assert trace.calls[2].args[-1] == Opaque("arguments", f"{10_000 - 4088} more")
    assert len(trace.calls[2].args) == 4089


def test_results_of_any_kind_are_kept(path: Path) -> None:
    values = [None, 0, -1, 2**40, 2**70, True, 1.5, "x", b"x", Handle(3), Opaque("T", "r")]
    with TraceWriter(path) as recording:
        for value in values:
            outcome = Outcome(value=value, outputs=tuple(values))
            recording.leave(recording.enter(RELEASE, ()), outcome)
    played = read_trace(path).played
    assert repr([call.outcome and call.outcome.value for call in played]) == repr(values)
    assert repr(played[0].outcome and played[0].outcome.outputs) == repr(tuple(values))


# --- clocks --------------------------------------------------------------------------------------------------


def test_a_clock_may_jump(path: Path) -> None:
    readings = [5_000, 9_000, 9_000, 2_000, 1 << 50, 7, 1 << 61, 1 << 61, 3, 4]
    clock = iter([reading << 10 for reading in readings])
    with TraceWriter(path, clock=lambda: next(clock)) as recording:
        for number in range(3):
            recording.leave(recording.enter(PROGRESS, (None, number, 3)), Outcome())
    trace = read_trace(path)
    assert trace.damage is None
    assert [call.time_ns >> 10 for call in trace.calls] == [9_000 - 5_000, (1 << 50) - 5_000, (1 << 61) - 5_000]
    outcomes = [played.outcome for played in trace.played]
    assert [outcome and outcome.elapsed_ns >> 10 for outcome in outcomes] == [2_000 - 9_000, 7 - (1 << 50), 0]


def test_a_clock_that_fails_stops_recording(path: Path) -> None:
    readings = iter([1 << 30] * 4)
    recording = TraceWriter(path, clock=lambda: next(readings))
    recording.leave(recording.enter(PROGRESS, (None, 1, 3)), Outcome())
    with pytest.warns(RecordingWarning, match="recording stopped"):
        assert recording.enter(PROGRESS, (None, 2, 3)) is None
    assert len(read_trace(path).events) == 2


# --- threads -------------------------------------------------------------------------------------------------


def test_sixteen_threads_at_once(path: Path) -> None:
    count, calls = 16, 300
    barrier = threading.Barrier(count)

    class Host:
        def Progress(self, text: str, index: int, maximum: int) -> int:
            if index % 50 == 7:
                callback.Error(index, text)
            return 0 if index % 3 else index

        def Error(self, result: int, text: str) -> None:
            return None

    with TraceWriter(path) as recording:
        callback = RecordingCallback(Host(), writer=recording)

        def provide(number: int) -> None:
            barrier.wait()
            for index in range(calls):
                callback.Progress(f"{number} {index % 20}", index, calls)

        threads = [threading.Thread(target=provide, args=(n,), name=f"provider {n}") for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trace = read_trace(path)
    assert trace.damage is None
    assert sorted(thread.name for thread in trace.threads) == sorted(f"provider {n}" for n in range(count))
    for number, recorded in enumerate(trace.threads):
        own = [played for played in trace.played if played.call.thread == number]
        provider = recorded.name.removeprefix("provider ")
        progress = [played for played in own if played.call.method == "Progress"]
        assert [p.call.args for p in progress] == [(f"{provider} {i % 20}", i, calls) for i in range(calls)]
        assert [p.outcome and p.outcome.value for p in progress] == [0 if i % 3 else i for i in range(calls)]
        times = [played.call.time_ns for played in own]
        assert times == sorted(times)
        errors = [p for p in own if p.call.method == "Error"]
        assert [p.call.args[0] for p in errors] == list(range(7, calls, 50))
        assert all(p.outcome and p.outcome.value is None for p in errors)


def test_closing_while_other_threads_call(path: Path) -> None:
    forwarded = [0] * 4

    class Host:
        def Progress(self, text: str, index: int, maximum: int) -> int:
            forwarded[index] += 1
            return 0

    recording = TraceWriter(path)
    callback = RecordingCallback(Host(), writer=recording)
    ended = threading.Event()

    def provide(number: int) -> None:
        while not ended.is_set():
            callback.Progress("x", number, 4)

    threads = [threading.Thread(target=provide, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while min(forwarded) < 100:
        pass
    callback.close()
    recorded = list(forwarded)
    while any(now < then + 100 for now, then in zip(forwarded, recorded, strict=True)):
        pass
    ended.set()
    for thread in threads:
        thread.join()
    trace = read_trace(path)
    assert trace.damage is None
    for number in range(4):
        calls = sum(1 for call in trace.calls if call.args[1] == number)
        assert 100 <= calls <= recorded[number] + 2


# --- in the middle -------------------------------------------------------------------------------------------


class Middle:
    """A scenario that takes every way through the recorder; `nested` may be called in its middle."""

    def __init__(self, path: Path):
        self.clock = Clock()
        self.start = self.clock.now + 1024
        self.path = path
        self.writer = TraceWriter(path, clock=self.clock)
        self.callback = RecordingCallback(self, writer=self.writer)
        self.answers = 0
        self.callback.Progress("known", 0, 9)
        self.callback.Progress("known", 0, 9)

    def Progress(self, text: str, index: int, maximum: int) -> object:
        if text == "raises":
            raise LookupError(text)
        if text == "nests":
            self.callback.Progress("known", index + 1, maximum)
        return {"none": None, "fails": -1}.get(text, 0)

    def Error(self, result: int, text: str) -> int:
        return 0

    def Done(self, handle: int, result: int) -> int:
        return 0

    def scenario(self) -> None:
        callback = self.callback
        callback.Progress("known", 1, 9)
        callback.Progress("new", 2, 9)
        callback.Progress("known", 3_000_000, 9)
        callback.Progress("none", 4, 9)
        callback.Progress("nests", 5, 9)
        callback.Progress("fails", 7, maximum=9)
        with contextlib.suppress(LookupError):
            callback.Progress("raises", 8, 9)
        callback.Error(-1, "new too")
        callback.Done(4711, 0)
        callback.Done(4711, 0)

    def nested(self) -> None:
        self.callback.Error(5, "known")
        self.callback.Error(6, "nested")

    def finished(self, *, interrupted: bool = False) -> Trace:
        """The trace, after one more call, whose time is checked: an interrupt may cost the time since a call."""
        before = self.clock.now
        self.callback.Progress("last", 9, 9)
        after = self.clock.now
        self.callback.close()
        trace = read_trace(self.path)
        assert interrupted or before < trace.calls[-1].time_ns + self.start <= after, "the clock has drifted"
        assert trace.damage is None
        return trace


EXPECTED = [
    ("Progress", ("known", 0, 9), 0),
    ("Progress", ("known", 0, 9), 0),
    ("Progress", ("known", 1, 9), 0),
    ("Progress", ("new", 2, 9), 0),
    ("Progress", ("known", 3_000_000, 9), 0),
    ("Progress", ("none", 4, 9), None),
    ("Progress", ("nests", 5, 9), 0),
    ("Progress", ("known", 6, 9), 0),
    ("Progress", ("fails", 7, 9), -1),
    ("Progress", ("raises", 8, 9), "LookupError: raises"),
    ("Error", (-1, "new too"), 0),
    ("Done", (Handle(1), 0), 0),
    ("Done", (Handle(1), 0), 0),
    ("Progress", ("last", 9, 9), 0),
]
NESTED = [("Error", (5, "known"), 0), ("Error", (6, "nested"), 0)]


def seen(trace: Trace) -> list[tuple[str, tuple[object, ...], object]]:
    result: list[tuple[str, tuple[object, ...], object]] = []
    for played in trace.played:
        outcome = played.outcome or Outcome(value="unfinished")
        result.append((played.call.method, played.call.args, outcome.detail or outcome.value))
    return result


def test_the_scenario_takes_every_way(path: Path) -> None:
    middle = Middle(path)
    middle.scenario()
    assert seen(middle.finished()) == EXPECTED


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_handlers_and_finalisers_may_call_in_the_middle(
    tmp_path: Path, inject: Inject, step: int, first: int
) -> None:
    """Two calls come from a handler, at every point (in the default run: some) where one can run."""
    if step == 1 and first:
        return  # every point is in the first run
    happened, at = True, first
    while happened:
        middle = Middle(tmp_path / str(at))
        happened = inject(middle.scenario, middle.nested, at)
        calls = seen(middle.finished())
        if happened:
            places = [place for place, call in enumerate(calls) if call in NESTED]
            assert [calls[place] for place in places] == NESTED
            calls = [call for call in calls if call not in NESTED]
        assert sorted(map(repr, calls)) == sorted(map(repr, EXPECTED))
        at += step
    assert at > 200


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 17])
def test_an_interrupt_in_the_middle_leaves_a_sound_trace(
    tmp_path: Path, inject: Inject, step: int, first: int
) -> None:
    if step == 1 and first:
        return
    happened, at = True, first

    def interrupt() -> None:
        raise KeyboardInterrupt

    while happened:
        middle = Middle(tmp_path / str(at))
        try:
            happened = inject(middle.scenario, interrupt, at)
        except KeyboardInterrupt:
            happened = True
        calls = seen(middle.finished(interrupted=True))
        assert calls[-1] == EXPECTED[-1]
        for call, expected in zip(calls[:-1], EXPECTED, strict=False):
            assert call[:2] == expected[:2]
            assert call[2] in (expected[2], "unfinished", "KeyboardInterrupt")
        at += step
    assert at > 200


def test_the_collector_may_call_at_any_time(path: Path) -> None:
    """Finalisers that call back run wherever the collector does."""
    middle = Middle(path)
    finalised = 0

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            nonlocal finalised
            finalised += 1
            middle.callback.Error(finalised, "known")

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        for _ in range(300):
            Cycle()
            middle.scenario()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    trace = middle.finished()
    calls = seen(trace)
    assert (
        sorted(map(repr, (c for c in calls if c[:2] == ("Progress", ("nests", 5, 9)))))
        == [repr(EXPECTED[6])] * 300
    )
    errors = [args[0] for method, args, _ in calls if method == "Error" and args[1] == "known"]
    assert errors == list(range(1, 301))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_signal_handlers_may_call_at_any_time(path: Path) -> None:
    code = """
import signal, sys, time
from recorder.callback import RecordingCallback
count = 0
class Host:
    def Progress(self, text, index, maximum):
        return 0
    def Error(self, result, text):
        return 0
def handler(number, frame):
    global count
    count += 1
    callback.Error(count, "handler")
callback = RecordingCallback(Host(), sys.argv[1])
signal.signal(signal.SIGVTALRM, handler)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003, 0.0003)
index = 0
while count < 60:
    callback.Progress("text %d" % (index % 3000), index, 9)
    index += 1
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
callback.close()
print(index, count)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    index, count = map(int, done.stdout.split())
    trace = read_trace(path)
    assert trace.damage is None
    assert [call.args[1] for call in trace.calls if call.method == "Progress"] == list(range(index))
    errors: list[Any] = [call.args[0] for call in trace.calls if call.method == "Error"]
    assert sorted(errors) == list(range(1, count + 1))  # a handler may come in the middle of a handler
    assert all(played.outcome and played.outcome.value == 0 for played in trace.played)


# --- the process ends ----------------------------------------------------------------------------------------

KILLED = """
import os, sys, threading
from recorder.callback import RecordingCallback

lock = threading.Lock()
done = [0] * 4

class Host:
    def Progress(self, text, index, maximum):
        report(maximum)
        return index & 1

def report(thread):
    done[thread] += 1
    os.write(1, b"%d %d\\n" % (thread, done[thread]))

def provide(thread):
    index = 0
    while True:
        callback.Progress("message %d" % (index % 5000), index, thread)
        report(thread)
        index += 1

callback = RecordingCallback(Host(), sys.argv[1])
threads = [threading.Thread(target=provide, args=(n,)) for n in range(1, int(sys.argv[2]))]
for thread in threads:
    thread.start()
provide(0)
"""


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_process_loses_no_event(path: Path, seed: int) -> None:
    kill_in_the_middle([sys.executable, "-c", KILLED, path], path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_200_killed_processes_lose_no_event(path: Path, seed: int) -> None:
    kill_in_the_middle([sys.executable, "-c", KILLED, path], path, seed)


def test_a_process_that_ends_without_closing_leaves_a_whole_trace(path: Path) -> None:
    code = """
import sys
from recorder.callback import RecordingCallback
callback = RecordingCallback(None, sys.argv[1])
callback.Progress("x", 1, 2)
sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", code, path], check=False).returncode == 3
    trace = read_trace(path)
    assert trace.damage is None
    assert arguments(trace) == [("x", 1, 2)]


def test_a_forgotten_writer_ends_its_trace(path: Path) -> None:
    callback: Any = RecordingCallback(None, path)
    callback.Progress("x", 1, 2)
    del callback
    gc.collect()
    assert read_trace(path).damage is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_records_nothing_and_forwards(path: Path) -> None:
    code = """
import os, sys, threading
from recorder.callback import RecordingCallback
calls = []
class Host:
    def Progress(self, text, index, maximum):
        calls.append(index)
        return 0
callback = RecordingCallback(Host(), sys.argv[1])
callback.Progress("parent", 1, 2)
with callback.writer.file.lock:  # held by a thread that the child does not have
    pid = os.fork()
    if pid == 0:
        for index in range(50_000):
            callback.Progress("child %d" % (index % 7), index, 2)
        callback.close()
        os._exit(0 if len(calls) == 50_001 else 1)
assert os.waitpid(pid, 0)[1] == 0
callback.Progress("parent", 3, 2)
pid = os.fork()
if pid == 0:
    sys.exit(0)  # its exit handlers run
assert os.waitpid(pid, 0)[1] == 0
callback.Progress("parent", 4, 2)
callback.close()
"""
    subprocess.run([sys.executable, "-c", code, path], check=True)
    trace = read_trace(path)
    assert trace.damage is None
    assert arguments(trace) == [("parent", 1, 2), ("parent", 3, 2), ("parent", 4, 2)]


# --- trouble with the file -----------------------------------------------------------------------------------


def test_an_existing_file_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(TraceError, match=r"run\.tape: exists already; it is left as it is"):
        TraceWriter(path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["missing/run.tape", "nul\0.tape", "x" * 300])
def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match="cannot be written: "):
        TraceWriter(tmp_path / name)


def forwards_all_the_same(path: Path, code: str, *options: str) -> tuple[list[str], str]:
    """Run a provider's process; it must end well.  Its output and its errors."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


FULL = """
import resource, sys
from recorder.callback import RecordingCallback
calls = 0
class Host:
    def Progress(self, text, index, maximum):
        global calls
        calls += 1
        return index
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
callback = RecordingCallback(Host(), sys.argv[1])
assert all(callback.Progress("x", index, 9) == index for index in range(100_000))
callback.close()
print(calls)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file sizes")
@pytest.mark.parametrize("options", [(), ("-W", "error")], ids=["warn", "error"])
def test_when_the_disk_is_full_recording_stops_and_calls_go_on(path: Path, options: tuple[str, ...]) -> None:
    output, errors = forwards_all_the_same(path, FULL, *options)
    assert output == ["100000"]
    assert errors.count("recording stopped (File too large); calls are still forwarded") == 1
    trace = read_trace(path)
    assert [call.args[1] for call in trace.calls] == list(range(len(trace.calls)))
    assert 10_000 < len(trace.calls) < 100_000
    assert trace.damage is not None
    assert trace.damage.reason == "recording stopped: File too large"
    assert path.stat().st_size <= 1 << 20


@pytest.mark.slow
def test_a_file_system_that_fills_up(tmp_path: Path) -> None:
    """A tmpfs of one MiB, in a mount namespace of its own."""
    script = (
        'mount -t tmpfs -o size=1m none "$1" && "$2" -c "$3" "$1/run.tape"; code=$?; '
        'cp "$1/run.tape" "$4"; exit $code'
    )
    code = FULL.replace("resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))", "")
    (tmp_path / "full").mkdir()
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    command += [str(tmp_path / "full"), sys.executable, code, str(tmp_path / "run.tape")]
    try:
        subprocess.run(["unshare", "--mount", "--map-root-user", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this system gives no mount namespace: {error}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["100000"]
    assert done.stderr.count("recording stopped (No space left on device); calls are still forwarded") == 1
    trace = read_trace(tmp_path / "run.tape")
    assert [call.args[1] for call in trace.calls] == list(range(len(trace.calls)))
    assert len(trace.calls) > 10_000


@pytest.mark.parametrize("options", [(), ("-W", "error")], ids=["warn", "error"])
def test_an_unwritable_path_is_said_once_and_calls_go_on(tmp_path: Path, options: tuple[str, ...]) -> None:
    code = """
import sys
from recorder.callback import recording
class Host:
    def Progress(self, text, index, maximum):
        return index
with recording(Host(), sys.argv[1]) as callback:
    print(*(callback.Progress("x", index, maximum=9) for index in range(3)))
"""
    output, errors = forwards_all_the_same(tmp_path / "missing" / "run.tape", code, *options)
    assert output == ["0", "1", "2"]
    assert errors.count("cannot be written: No such file or directory; calls are still forwarded") == 1


def test_trouble_in_many_threads_is_said_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: object) -> None:
        raise OSError(28, "No space left on device")

    recording = TraceWriter(path)
    monkeypatch.setattr(AppendFile, "_allocate", no_room)
    barrier = threading.Barrier(8)
    warned: list[str] = []
    monkeypatch.setattr(writer, "warn_once", warned.append)

    def provide() -> None:
        barrier.wait()
        for index in range(3_000):
            recording.leave(recording.enter(PROGRESS, ("x", index, 9)), Outcome())

    threads = [threading.Thread(target=provide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warned == [f"{path}: recording stopped (No space left on device); calls are still forwarded"]
    damage = read_trace(path).damage
    assert damage is not None
    assert damage.reason == "recording stopped: No space left on device"


def test_a_trace_that_cannot_be_ended_is_said_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> int:
        raise OSError(5, "Input/output error")

    recording = TraceWriter(path)
    recording.enter(PROGRESS, ("x", 1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", broken)
        with pytest.warns(RecordingWarning, match="could not be ended .* it reads as cut off") as caught:
            recording.close()
            recording.close()
    assert len(caught) == 1
    assert arguments(read_trace(path)) == [("x", 1, 2)]


def test_warnings_as_errors_do_not_reach_the_provider(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = TraceWriter(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording.stop(OSError(28, "No space left on device"))
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: recording stopped (No space left on device); calls are still forwarded"
    ]


# --- no system call per event --------------------------------------------------------------------------------


def test_a_call_between_windows_audits_nothing(path: Path) -> None:
    """Nothing that the interpreter tells audit hooks of: no file, no mapping, no import, no thread."""
    code = """
import sys
from recorder.callback import RecordingCallback
class Host:
    def Progress(self, text, index, maximum):
        return index & 1
    def Done(self, handle, result):
        return 0
callback = RecordingCallback(Host(), sys.argv[1])
def calls():
    for index in range(1000):
        callback.Progress("text %d" % (index % 50), index, 1000)
        callback.Done(None, index)
calls()
events = []
recording = True
sys.addaudithook(lambda event, args: events.append(event) if recording else None)
calls()
recording = False
print(*events)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_call_between_windows_makes_no_system_call(path: Path) -> None:
    """In the kernel's strict mode any system call but read, write and exit kills; and no bytes are written.

    The clock is a counter: how a system reads its clock is its own affair.  So is where the interpreter has its
    memory from, whose allocator may map an arena in any call and unmap it after; here it has all beforehand.
    """
    code = """
import ctypes, gc, itertools, os, sys
from recorder.callback import RecordingCallback
from recorder.writer import TraceWriter
gc.disable()  # a collection that frees an arena unmaps it
class Host:
    def Progress(self, text, index, maximum):
        return index & 1
writer = TraceWriter(sys.argv[1], clock=itertools.count(1 << 40, 5000).__next__)
callback = RecordingCallback(Host(), writer=writer)
def calls():
    for index in range(1000):
        callback.Progress("text %d" % (index % 50), index, 1000)
calls()
calls()
before, after = (os.open("/proc/self/io", os.O_RDONLY) for _ in range(2))
libc = ctypes.CDLL(None)
leave, number = libc.syscall, 60 if os.uname().machine == "x86_64" else 93
first = os.read(before, 1000)
if libc.prctl(22, 1, 0, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_STRICT
    os.write(1, b"no seccomp")
    os._exit(0)
calls()
second = os.read(after, 1000)
os.write(1, first + b"---" + second)
leave(number, 0)  # exit: exit_group would kill
"""
    memory = {"PYTHONMALLOC": "malloc", "MALLOC_TOP_PAD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    command: list[str | Path] = [sys.executable, "-c", code, path]
    done = subprocess.run(command, env=os.environ | memory, capture_output=True, check=False)
    if done.stdout == b"no seccomp":
        pytest.skip("this kernel has no strict seccomp")
    assert done.returncode == 0, done
    first, second = (
        {name: int(value) for name, value in (line.split(b": ") for line in part.splitlines())}
        for part in done.stdout.split(b"---")
    )
    assert second[b"syscw"] == first[b"syscw"]
    assert second[b"syscr"] == first[b"syscr"] + 1  # the look at the first
    assert len(read_trace(path).events) == 6000


# --- the header ----------------------------------------------------------------------------------------------


def test_a_live_header_tells_of_the_process_and_names_nobody(path: Path) -> None:
    with TraceWriter(path, live_header(sync_flags=2)):
        pass
    header = read_trace(path).header
    assert header.sync_flags == 2
    assert header.tick_ns == 1024
    assert header.pointer_size in (4, 8)
    assert header.created_ns > 1_700_000_000 * 10**9
    assert header.process["pid"] == os.getpid()
    assert set(header.process) == {
        "pid", "program", "python", "implementation", "system", "machine", "tty", "encodings",
    }  # fmt: skip
    assert os.sep not in header.process["program"]


def test_a_reader_follows_a_live_recording(path: Path) -> None:
    with TraceWriter(path) as recording:
        for number in range(10_000):
            recording.leave(recording.enter(PROGRESS, ("x", number, 9)), Outcome())
        with TraceReader(path) as reader:
            assert sum(1 for _ in reader.events()) == 20_000
            assert reader.damage is not None
            assert reader.damage.reason == "ends without an end record"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mix_of_explicit_and_forwarded_calls(tmp_path: Path, steps: list[tuple[int, int]]) -> None:
    """Tickets given and taken back in any order, inside and outside of forwarded calls."""
    path = tmp_path / "run.tape"
    path.unlink(missing_ok=True)
    expected: list[tuple[str, int]] = []
    tickets: list[tuple[Any, int]] = []
    numbers = itertools.count()

    def play(steps: Iterator[tuple[int, int]], depth: int) -> None:
        for what, which in steps:
            if what == 0:
                number = next(numbers)
                expected.append(("enter", number))
                tickets.append((recording.enter(PROGRESS, (None, number, 9)), number))
            elif what == 1 and tickets:
                ticket, number = tickets.pop(which % len(tickets))
                expected.append(("leave", number))
                recording.leave(ticket, Outcome(value=number))
            elif what == 2:
                number = next(numbers)
                expected.append(("enter", number))
                callback.Error(number, "text")
                expected.append(("leave", number))
            elif what == 3 and depth:
                return

    class Host:
        def Error(self, number: int, text: str) -> int:
            play(rest, 1)
            return number if number % 2 else 0

    rest = iter(steps)
    with TraceWriter(path) as recording:
        callback = RecordingCallback(Host(), writer=recording)
        while True:
            before = len(expected)
            play(rest, 0)
            if len(expected) == before:
                break
    trace = read_trace(path)
    assert trace.damage is None
    assert [("enter" if isinstance(e, Enter) else "leave", e.number) for e in trace.events] == expected
    for played in trace.played:
        if played.call.method == "Progress":
            assert played.outcome is None or played.outcome.value == played.number
        else:
            assert played.outcome is not None
            assert played.outcome.value == (played.number if played.number % 2 else 0)
