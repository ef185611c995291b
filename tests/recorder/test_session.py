"""A recording in several files: nothing is lost, whatever happens, and no more is taken than is allowed."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mounts import in_tmpfs

from recorder.callback import RecordingCallback
from recorder.calls import Call, Enter, Outcome, Trace
from recorder.checking import check
from recorder.errors import TraceError
from recorder.session import LEAST, Bounds, Session, open_writer, parse_size
from recorder.session_input import SessionReader, part_path, parts
from recorder.trace import TraceReader, read_trace, write_trace
from recorder.trace_input import TraceInput
from recorder.writer import RecordingWarning, TraceWriter, live_header
from replayer.corpus import load, read_corpus

KEEP, RING = Bounds(LEAST), Bounds(LEAST, keep_first=False)
OF_A_FILE = 5000  # calls, about


class Host:
    def __init__(self) -> None:
        self.asked = 0
        self.nested: Callable[[], object] | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.asked += 1
        nested, self.nested = self.nested, None
        if nested:
            nested()
        return index & 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.tape"


def call(callback: Any, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        callback.Progress(f"message {number % 300}", number, 7)


def indices(trace: Trace) -> list[Any]:
    return [call.args[1] for call in trace.calls]


def every(path: Path) -> list[Any]:
    return [read_trace(part) for _, part in parts(path)]


def room(path: Path) -> int:
    return sum(part.stat().st_size for _, part in parts(path))


def test_each_file_can_be_read_alone(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, 3 * OF_A_FILE)
    assert not path.exists()
    traces = every(path)
    assert len(traces) >= 3
    assert [index for trace in traces for index in indices(trace)] == list(range(3 * OF_A_FILE))
    for number, trace in enumerate(traces):
        assert trace.header.provenance["session"]["file"] == number + 1
        assert all(played.call.args[0] == f"message {played.call.args[1] % 300}" for played in trace.played)
        assert all(played.outcome and played.outcome.value == played.call.args[1] & 1 for played in trace.played)
        assert (trace.damage and trace.damage.reason) == (
            None if trace is traces[-1] else "goes on in the next file"
        )
    assert len({trace.header.provenance["session"]["id"] for trace in traces}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [KEEP, RING], ids=["first kept", "ring"])
def test_the_oldest_files_are_dropped_and_the_room_is_bounded(path: Path, bounds: Bounds) -> None:
    with RecordingCallback(Host(), path, bounds=bounds) as callback:
        for start in range(0, 14 * OF_A_FILE, 1000):
            call(callback, 1000, start)
            assert room(path) <= bounds.total
    numbers = [number for number, _ in parts(path)]
    last = numbers[-1]
    assert len(numbers) == 8 and last > 10
    assert numbers == ([1, *range(last - 6, last + 1)] if bounds.keep_first else list(range(last - 7, last + 1)))
    kept = [index for trace in every(path)[bounds.keep_first :] for index in indices(trace)]
    assert kept == list(range(kept[0], 14 * OF_A_FILE))
    assert room(path) > bounds.total // 4
    if bounds.keep_first:
        assert indices(every(path)[0])[0] == 0


def test_a_call_ends_in_the_file_in_which_it_began(path: Path) -> None:
    host = Host()
    with RecordingCallback(host, path, bounds=KEEP) as callback:
        host.nested = lambda: call(callback, 2 * OF_A_FILE, 1)
        callback.Progress("outer", 0, 7)
        call(callback, OF_A_FILE, 2 * OF_A_FILE + 1)
    first = every(path)[0]
    assert first.played[0].outcome is not None and len(first.calls) > 1000
    assert first.played[0].outcome.elapsed_ns > first.played[-1].call.time_ns
    assert all(played.outcome for trace in every(path) for played in trace.played)
    assert sorted(index for trace in every(path) for index in indices(trace)) == list(range(3 * OF_A_FILE + 1))


@pytest.mark.slow
def test_a_method_that_was_looked_up_once_goes_on_in_the_newest_file(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        method = callback.Progress
        for number in range(3 * OF_A_FILE):
            method(f"message {number % 300}", number, 7)
    assert [index for trace in every(path) for index in indices(trace)] == list(range(3 * OF_A_FILE))


@pytest.mark.slow
def test_64_threads_at_once_lose_nothing(path: Path) -> None:
    host = Host()
    callback = RecordingCallback(host, path, bounds=KEEP)
    barrier = threading.Barrier(64)

    def run(thread: int) -> None:
        barrier.wait()
        for number in range(300):
            callback.Progress(f"t{thread} {number % 9}", thread * 1000 + number, 7)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(64)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    callback.close()
    traces = every(path)
    assert len(traces) > 2
    assert sorted(i for trace in traces for i in indices(trace)) == [
        t * 1000 + n for t in range(64) for n in range(300)
    ]
    assert all(played.outcome is not None for trace in traces for played in trace.played)


def test_a_call_that_comes_to_its_end_when_its_file_was_ended(path: Path) -> None:
    """What a thread does that was suspended between writing an enter and noting it."""
    writer = open_writer(path, bounds=KEEP)
    ticket = writer.enter(3, ("late", 1, 7))
    assert ticket is not None
    writer.retire()
    writer.finish("goes on in the next file")
    before = read_trace(writer.path)
    assert before.played[0].outcome is None
    ticket.stream.end(ticket)

    writer.write_leave(ticket.stream, ticket.start, Outcome(), 0)
    writer.write_leave(ticket.stream, ticket.start, Outcome(value=5), 0)
    after = read_trace(writer.path)
    assert after.played[0].outcome is not None and after.damage is not None
    writer.close()


def test_a_thread_that_met_a_file_that_was_just_ended_writes_to_the_next_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(path, bounds=KEEP)
    session = writer.session
    assert isinstance(session, Session)
    storable = TraceWriter._storable

    def in_the_middle(self: TraceWriter, slot: int, args: Any) -> Any:
        monkeypatch.setattr(TraceWriter, "_storable", storable)
        session.writer = session._next()
        writer.retire()
        writer.finish()
        return storable(self, slot, args)

    monkeypatch.setattr(TraceWriter, "_storable", in_the_middle)
    ticket = writer.enter(3, ("moved", 1, 7))

    writer.leave(ticket, Outcome())
    writer.close()
    assert [indices(trace) for trace in every(path)] == [[], [1]]
    assert every(path)[1].played[0].outcome is not None


@pytest.mark.slow
def test_closing_while_other_threads_call_and_files_change(path: Path) -> None:
    for attempt in range(3):
        own = path.with_name(f"{attempt}.tape")
        host = Host()
        callback = RecordingCallback(host, own, bounds=KEEP)
        counts = [0] * 4

        def run(thread: int, callback: Any = callback, counts: list[int] = counts) -> None:
            while counts[thread] >= 0 and counts[thread] < 3000:
                callback.Progress("t", counts[thread], thread)
                counts[thread] += 1

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for started in threads:
            started.start()
        while sum(counts) < 5000:
            pass
        callback.close()
        for started in threads:
            started.join()
        assert host.asked == 12_000
        for trace in every(own):
            assert trace.damage is None or trace.damage.reason == "goes on in the next file"
        found = sorted((call.args[2], call.args[1]) for trace in every(own) for call in trace.calls)
        for number in range(4):
            own_calls = [index for thread, index in found if thread == number]
            assert own_calls == list(range(len(own_calls)))


# --- faults --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_full_disk_gets_room_from_the_oldest_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingCallback(Host(), path, bounds=RING) as callback:
        call(callback, 4 * OF_A_FILE)
        real, full = os.open, [True]

        def failing(name: Any, *arguments: Any, **options: Any) -> int:
            if str(name).endswith(".tape") and len(parts(path)) >= 4 and full:
                full.clear()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(name, *arguments, **options)

        monkeypatch.setattr(os, "open", failing)
        call(callback, 3 * OF_A_FILE, 4 * OF_A_FILE)
    traces = every(path)
    assert not full
    assert indices(traces[-1])[-1] == 7 * OF_A_FILE - 1
    kept = [index for trace in traces for index in indices(trace)]
    assert kept == list(range(kept[0], 7 * OF_A_FILE))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_when_the_next_file_cannot_be_made_what_is_there_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    host = Host()
    callback = RecordingCallback(host, path, bounds=KEEP)
    real = os.open

    def failing(name: Any, *arguments: Any, **options: Any) -> int:
        if ".0002." in str(name):
            raise OSError(code, os.strerror(code))
        return real(name, *arguments, **options)

    monkeypatch.setattr(os, "open", failing)
    with pytest.warns(RecordingWarning, match="calls are still forwarded") as told:
        call(callback, 2 * OF_A_FILE)
    callback.close()
    assert len(told) == 1 and host.asked == 2 * OF_A_FILE
    (trace,) = every(path)
    assert indices(trace) == list(range(len(trace.calls))) and len(trace.calls) > 1000
    assert trace.damage is not None and trace.damage.reason == f"recording stopped: {os.strerror(code)}"


@pytest.mark.slow
def test_a_folder_that_is_taken_away(tmp_path: Path) -> None:
    host = Host()
    (tmp_path / "gone").mkdir()
    callback = RecordingCallback(host, tmp_path / "gone" / "run.tape", bounds=RING)
    call(callback, 100)
    if os.name != "nt":  # an open file keeps its folder there
        os.rename(tmp_path / "gone", tmp_path / "moved")
        with pytest.warns(RecordingWarning):
            call(callback, 2 * OF_A_FILE, 100)
        assert host.asked == 2 * OF_A_FILE + 100
        assert indices(read_trace(tmp_path / "moved" / "run.0001.tape"))[:100] == list(range(100))
    callback.close()


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    host = Host()
    with pytest.warns(RecordingWarning, match="calls are still forwarded") as told:
        callback = RecordingCallback(host, tmp_path / "none" / "run.tape", bounds=RING)
    call(callback, 5)
    assert host.asked == 5 and len(told) == 1


@pytest.mark.slow
def test_a_file_that_cannot_be_dropped_is_dropped_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, busy = os.unlink, [True]

    def unlink(name: Any, *arguments: Any, **options: Any) -> None:
        if busy and str(name).endswith("0002.tape"):
            raise PermissionError(errno.EACCES, "in use")
        real(name, *arguments, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    with RecordingCallback(Host(), path, bounds=RING) as callback:
        call(callback, 12 * OF_A_FILE)
        assert 2 in dict(parts(path)) and 3 not in dict(parts(path))
        busy.clear()
        call(callback, 2 * OF_A_FILE, 12 * OF_A_FILE)
    assert 2 not in dict(parts(path)) and len(parts(path)) == 8


@pytest.mark.slow
def test_a_clock_that_jumps(path: Path) -> None:
    readings = [10**9]

    def clock() -> int:
        readings[0] += -(10**15) if readings[0] % 7 == 3 else 1_000_003
        return readings[0]

    writer = open_writer(path, live_header(), bounds=KEEP, clock=clock)
    with RecordingCallback(Host(), writer=writer) as callback:
        call(callback, 2 * OF_A_FILE)
    assert [index for trace in every(path) for index in indices(trace)] == list(range(2 * OF_A_FILE))


CHILD = """
import os, sys
from recorder.callback import RecordingCallback
from recorder.session import LEAST, Bounds
class Host:
    def Progress(self, text, index, maximum):
        return index & 1
callback = RecordingCallback(Host(), sys.argv[1], bounds=Bounds(LEAST, keep_first=False))
for number in range(10**9):
    callback.Progress(f"message {number % 300}", number, 7)
    if number % 16 == 0:
        os.write(1, b"%d\\n" % number)
"""


@pytest.mark.parametrize("wanted", [10, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_killed_flight_recorder_is_whole(path: Path, wanted: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout as pipe:
        last = -1
        while last < wanted:
            last = int(pipe.readline())
        child.kill()
        for line in pipe.read().splitlines(keepends=True):
            last = int(line) if line.endswith(b"\n") else last
    kept = indices(TraceInput(path).read())
    assert kept == list(range(kept[0], kept[-1] + 1))
    assert kept[-1] >= last


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_leaves_the_session_alone(path: Path) -> None:
    host = Host()
    with RecordingCallback(host, path, bounds=KEEP) as callback:
        call(callback, 10)
        fork: Any = os.__dict__["fork"]  # Windows has none
        if (child := fork()) == 0:
            try:
                call(callback, 2 * OF_A_FILE, 10)
                callback.close()
            finally:
                os._exit(host.asked != 10 + 2 * OF_A_FILE)
        assert os.waitpid(child, 0)[1] == 0
        assert len(parts(path)) == 1
        call(callback, 10, 10)
    assert [index for trace in every(path) for index in indices(trace)] == list(range(20))


@pytest.mark.slow
def test_nothing_grows_with_the_number_of_files(path: Path) -> None:
    """What the writers hold is that of the files that are open."""
    import gc
    import weakref

    with RecordingCallback(Host(), path, bounds=RING) as callback:
        seen = weakref.WeakSet([callback.writer])
        for start in range(0, 8 * OF_A_FILE, 500):
            call(callback, 500, start)
            session = callback.writer.session if callback.writer else None
            assert isinstance(session, Session)
            seen.add(session.writer)
        gc.collect()
        assert 1 <= len(seen) <= 3  # the first one is the callback's
        assert callback.writer is not None and not callback.writer._encoder.texts


# --- names and bounds ----------------------------------------------------------------------------------------


def test_another_sessions_files_are_not_touched(path: Path) -> None:
    path.with_name("run.0007.tape").write_bytes(b"mine")
    with pytest.raises(TraceError, match="exists already"):
        open_writer(path, bounds=KEEP)
    assert [part.name for _, part in parts(path)] == ["run.0007.tape"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1M", 1 << 20), ("2 MiB", 2 << 20), ("1.5g", 3 << 29), ("4096", 4096), ("10KB", 10240)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "one"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


def test_too_small_a_session() -> None:
    with pytest.raises(ValueError, match="too few"):
        Bounds(LEAST - 1)


# --- reading -------------------------------------------------------------------------------------------------


def test_a_session_reads_as_one_trace(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, OF_A_FILE)
        thread = threading.Thread(target=call, args=(callback, 2 * OF_A_FILE, OF_A_FILE), name="other")
        thread.start()
        thread.join()
    trace: Any = TraceInput(path).read()
    assert indices(trace) == list(range(3 * OF_A_FILE))
    assert trace.damage is None
    assert [thread.name for thread in trace.threads] == ["MainThread", "other"]
    times = [call.time_ns for call in trace.calls]
    assert times == sorted(times)
    assert [e.number for e in trace.events if isinstance(e, Enter)] == list(range(3 * OF_A_FILE))
    assert all(played.outcome and played.outcome.value == played.call.args[1] & 1 for played in trace.played)
    assert load(str(path)) == trace
    assert trace.header.provenance["session"]["files"] == [number for number, _ in parts(path)]


@pytest.mark.slow
def test_a_session_of_which_files_are_missing_says_so(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, 4 * OF_A_FILE)
    os.unlink(parts(path)[1][1])
    source = TraceInput(path)
    trace = source.read()
    last = parts(path)[-1][1].name
    assert str(trace.damage) == f"1 file before {last} dropped, calls are missing"
    assert source.dropped == 1
    assert indices(trace)[-1] == 4 * OF_A_FILE - 1


@pytest.mark.slow
def test_a_damaged_file_of_a_session_is_named(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, 3 * OF_A_FILE)
    second = parts(path)[1][1]
    data = bytearray(second.read_bytes())
    data[30_000] ^= 0xFF
    second.write_bytes(data)
    trace: Any = TraceInput(path).read()
    assert trace.damage is not None and "run.0002.tape: damaged record" in trace.damage.reason
    assert indices(trace)[-1] == 3 * OF_A_FILE - 1


@pytest.mark.parametrize("content", [b"", bytes(1 << 16)], ids=["empty", "zeros"])
def test_a_process_that_was_killed_before_a_new_file_had_its_header(path: Path, content: bytes) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, 100)
    path.with_name("run.0002.tape").write_bytes(content)
    trace = TraceInput(path).read()
    assert indices(trace) == list(range(100))
    assert trace.damage is not None and "run.0002.tape: is empty or ends" in trace.damage.reason


def test_files_that_are_dropped_while_they_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found, and gone before they were opened: the first one, and one in the middle."""
    for number in range(1, 6):
        write_trace(Trace.from_calls([Call("Progress", (None, number, 5))]), part_path(path, number))

    def late(part: Path) -> TraceReader:
        if part in (part_path(path, 1), part_path(path, 4)):
            part.unlink()
        return TraceReader(part)

    monkeypatch.setattr("recorder.session_input.TraceReader", late)
    source = TraceInput(path)
    trace = source.read()
    assert indices(trace) == [2, 3, 5]
    assert source.dropped == 2 and trace.damage is not None
    assert trace.damage.reason == "2 files before run.0005.tape dropped, calls are missing"


def test_no_session_at_all(path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        SessionReader(path)
    with pytest.raises(TraceError, match="cannot be read"):
        TraceInput(path)


@pytest.mark.slow
def test_a_folder_with_a_session_is_a_corpus_of_its_files(path: Path) -> None:
    with RecordingCallback(Host(), path, bounds=KEEP) as callback:
        call(callback, 2 * OF_A_FILE)
    corpus = read_corpus([str(path.parent)])
    assert [len(member.trace.calls) for member in corpus.members] == [len(trace.calls) for trace in every(path)]
    assert not corpus.unreadable


@pytest.mark.slow
def test_a_provider_is_not_blamed_for_calls_that_are_missing(path: Path) -> None:
    """References that were taken, and a failure that was reported, in a file that was dropped."""
    with RecordingCallback(None, path, bounds=RING) as callback:
        callback.Error(-2147467259, "it fails")
        call(callback, 10 * OF_A_FILE)
        callback.Done(None, -2147467259)
    trace = TraceInput(path)
    assert "P18" not in {broken.rule.id for broken in check(trace).broken}
    assert trace.dropped


def test_what_a_file_knew_goes_with_it(path: Path) -> None:
    """Though the functions that knew it are in cycles, and nobody collects garbage."""
    gc.disable()
    try:
        with RecordingCallback(Host(), path, bounds=RING) as callback:
            first = callback.writer
            call(callback, OF_A_FILE // 2)
            assert first is not None and max(map(len, first.tables)) > 1
            call(callback, 2 * OF_A_FILE)
            assert first.closed and not any(first.tables)
            call(callback, OF_A_FILE)
        assert indices(every(path)[-1])[-1] == OF_A_FILE - 1
    finally:
        gc.enable()


# --------------------------------------------------------------------------------------------- real file systems

ON_A_FILE_SYSTEM = """
import sys
from recorder.callback import RecordingCallback
from recorder.session import Bounds

class Host:
    calls = 0
    def Progress(self, *args):
        self.calls += 1
        return 0
    Error = Done = None

path, size = sys.argv[1], int(sys.argv[2])
host = Host()
with RecordingCallback(host, path, bounds=Bounds(size) if size else None) as callback:
    for number in range(150_000):
        callback.Progress(f"message {number % 300}", number, 7)
print(host.calls)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
def test_on_a_file_system_that_is_full_recording_stops_and_calls_go_on(tmp_path: Path) -> None:
    full = tmp_path / "full"
    done = in_tmpfs(full, "size=1m", sys.executable, "-c", ON_A_FILE_SYSTEM, full / "run.tape", "0")
    assert (done.returncode, done.stdout) == (0, "150000\n") and "No space left on device" in done.stderr
    trace = read_trace(tmp_path / "full.kept" / "run.tape")
    assert trace.damage and trace.damage.reason == "recording stopped: No space left on device"
    assert indices(trace) == list(range(len(trace.calls))) and len(trace.calls) > 10_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
def test_on_a_file_system_that_is_full_a_session_drops_its_oldest_files(tmp_path: Path) -> None:
    full = tmp_path / "full"
    done = in_tmpfs(full, "size=1m", sys.executable, "-c", ON_A_FILE_SYSTEM, full / "run.tape", str(2 << 20))
    assert (done.returncode, done.stdout, done.stderr) == (0, "150000\n", "")
    path = tmp_path / "full.kept" / "run.tape"
    found = [index for trace in every(path)[1:] for index in indices(trace)]
    assert found == list(range(found[0], 150_000)) and parts(path)[0][0] == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
@pytest.mark.parametrize("size", [0, 2 << 20])
def test_on_a_file_system_that_nobody_may_write_to_calls_go_on(tmp_path: Path, size: int) -> None:
    full = tmp_path / "full"
    done = in_tmpfs(full, "ro", sys.executable, "-c", ON_A_FILE_SYSTEM, full / "run.tape", str(size))
    assert (done.returncode, done.stdout) == (0, "150000\n")
    assert "Read-only file system" in done.stderr and not list((tmp_path / "full.kept").iterdir())
