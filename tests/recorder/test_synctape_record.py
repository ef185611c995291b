"""The recorder in C on its own, in providers of C and C++: compiled here, run, and their traces read."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from killed import kill_in_the_middle
from mounts import in_tmpfs

from recorder import com
from recorder.callback import ScriptedCallback
from recorder.calls import Enter, OutcomeKind, Trace
from recorder.contract import lint
from recorder.encoding import GOES_ON
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.interfaces import IUNKNOWN
from recorder.session_input import parts
from recorder.trace import read_trace
from recorder.trace_input import TraceInput

pytestmark = pytest.mark.native

WINDOWS = sys.platform == "win32"
C_COMPILERS = ["gcc"] if WINDOWS else ["gcc", "clang", "x86_64-w64-mingw32-gcc"]
CPP_COMPILERS = ["g++"] if WINDOWS else ["g++", "clang++", "x86_64-w64-mingw32-g++"]

NATIVE = Path(__file__).parents[2] / "recorder" / "_native"
SAMPLES = Path(__file__).parent / "c"
Command = list[str | Path]
Flags = tuple[str, ...]
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def compiled(
    folder: Path, *sources: Path, options: Flags = (), cc: str = "cc", flags: Flags = ("-fexceptions",)
) -> Path:
    """A program or library of these sources and the recorder."""
    recorder = folder / "synctape_record.o"
    c_compiler = {"c++": "cc"}.get(cc, cc)
    subprocess.run(
        [
            c_compiler,
            "-std=c99",
            *WARNINGS,
            "-O2",
            "-fPIC",
            *flags,
            "-c",
            NATIVE / "synctape_record.c",
            "-o",
            recorder,
        ],
        check=True,
    )
    suffix = ("" if not WINDOWS else ".exe") if "-shared" not in options else ".dll" if WINDOWS else ".so"
    target = folder / (sources[0].stem + suffix)
    command: Command = [
        cc,
        *WARNINGS,
        "-O1",
        f"-I{NATIVE}",
        *options,
        "-o",
        target,
        *sources,
        recorder,
        "-pthread",
    ]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("recording"), SAMPLES / "recording.c", options=("-std=c99",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.tape"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


def indices(trace: Trace) -> list[Any]:
    return [call.args[1] for call in trace.calls if call.method == "Progress"]


# --- builds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["-O0", "-O3"])
@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_it_builds_without_a_warning(compiler: str, level: str, tmp_path: Path) -> None:
    source, target = NATIVE / "synctape_record.c", tmp_path / "recorder.o"
    assert shutil.which(compiler), f"{compiler} is not here"
    command: Command = [compiler, "-std=c99", *WARNINGS, level, "-c", source, "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("compiler", CPP_COMPILERS)
def test_cpp_takes_its_header(compiler: str, tmp_path: Path) -> None:
    source = SAMPLES / "recorded_provider.cpp"
    assert shutil.which(compiler), f"{compiler} is not here"
    command: Command = [
        compiler,
        "-std=c++17",
        *WARNINGS,
        f"-I{NATIVE}",
        "-c",
        source,
        "-o",
        tmp_path / "provider.o",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


if not WINDOWS:  # mingw-w64's gcc has no sanitizers

    @pytest.mark.parametrize("mode", ["threads", "exit", "forks", "limited"])
    def test_sanitizers_find_nothing(mode: str, path: Path, sanitized: Path) -> None:
        done = run(sanitized, mode, path, 8)
        assert (done.returncode, done.stderr) == (3 if mode == "exit" else 0, "")

    @pytest.fixture(scope="module")
    def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
        flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
        folder = tmp_path_factory.mktemp("sanitized")
        return compiled(folder, SAMPLES / "recording.c", options=("-std=c99", *flags), flags=flags)


# --- one line ------------------------------------------------------------------------------------------------


def test_one_line_records_a_provider_in_cpp(path: Path, tmp_path: Path) -> None:
    source, options = SAMPLES / "recorded_provider.cpp", ("-std=c++17", "-shared", "-fPIC")
    provider = ctypes.CDLL(str(compiled(tmp_path, source, options=options, cc="c++")))
    provider.synchronize.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    with com.expose(ScriptedCallback(answers={"Progress": iter([0, 1])}), SYNC) as host:
        provider.synchronize(host.pointer, os.fsencode(path))
        assert host.references == 1
    trace = read_trace(path)
    assert trace.damage is None and trace.interface == SYNC
    assert [call.args for call in trace.calls] == [
        *[("Inbox \U0001f600", index, 3) for index in range(4)],
        (-2147467259, "it is locked"),
        (None, 0),
        (),
    ]
    assert [p.outcome and p.outcome.value for p in trace.played] == [0, 1, 0, 0, 0, 0, 0]
    assert not [v for v in lint(trace) if v.rule.id in ("P2", "P3", "P12", "P14")]


def examples(language: str) -> str:
    page = (NATIVE.parents[1] / "docs" / "recording.md").read_text("utf-8")
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)
    return str(text)


def test_the_example_in_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/recording.md: the line."""
    wrapper = 'extern "C" void start(IMAPISyncProgressCallback *callback) { synchronize(callback); }\n'
    (tmp_path / "example.cpp").write_text(examples("cpp") + wrapper, "utf-8")
    options = ("-std=c++17", "-shared", "-fPIC")
    library = ctypes.CDLL(str(compiled(tmp_path, tmp_path / "example.cpp", options=options, cc="c++")))
    library.start.argtypes = (ctypes.c_void_p,)
    monkeypatch.chdir(tmp_path)
    with com.expose(ScriptedCallback(), SYNC) as host:
        com.wrap(host.pointer, SYNC).AddRef()  # the provider's
        library.start(host.pointer)
        assert host.references == 1
    trace = read_trace(tmp_path / "run.tape")
    assert trace.damage is None
    assert [call.args for call in trace.calls] == [("Inbox", 0, 1), ("Inbox", 1, 1), (None, 0), ()]


STEPS = Interface(
    "ISteps",
    "{5c46de2f-6a3c-4a7c-8a57-0a4ff9cf8b1d}",
    (
        Method("Step", (Parameter("text", Type.TEXT, nullable=True), Parameter("index", Type.U32))),
        Method("Cancelled", returns=Type.BOOL),
    ),
    base=IUNKNOWN,
)


def test_the_example_in_c(path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """docs/recording.md: another interface."""
    (tmp_path / "example.c").write_text(examples("c"), "utf-8")
    options = ("-std=c99", "-shared", "-fPIC")
    library = ctypes.CDLL(str(compiled(tmp_path, tmp_path / "example.c", options=options)))
    library.record_steps.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    library.record_steps.restype = ctypes.c_void_p
    with com.expose(ScriptedCallback(STEPS, {"Cancelled": 1}), STEPS) as host:
        com.wrap(host.pointer, STEPS).AddRef()  # for the recorder to take over
        steps = com.wrap(library.record_steps(host.pointer, os.fsencode(path)), STEPS)
        assert library.record_steps(host.pointer, os.fsencode(path)) == host.pointer
        assert [steps.Step("one", 1), steps.Cancelled(), steps.Release()] == [0, 1, 0]
        assert host.references == 1
    captured = capfd.readouterr()
    if sys.platform != "win32":  # there a library's C runtime, another one than Python's, keeps it till the end
        assert captured.out + captured.err == f"{path}: exists already; it is left as it is\n"
    trace = read_trace(path)
    assert trace.damage is None and trace.interface == STEPS
    assert [(p.call.method, p.call.args, p.outcome and p.outcome.value) for p in trace.played] == [
        ("Step", ("one", 1), 0),
        ("Cancelled", (), 1),
        ("Release", (), 0),
    ]


def test_a_path_that_is_taken_gives_the_callback_back(path: Path, tmp_path: Path, program: Path) -> None:
    path.write_bytes(b"mine")
    assert run(program, "unwritable", path).stdout == "200000\n"
    assert path.read_bytes() == b"mine"
    assert run(program, "unwritable", tmp_path / "missing" / "run.tape").stdout == "200000\n"


# --- what it says of itself ----------------------------------------------------------------------------------


def test_the_header_tells_of_the_process(path: Path, program: Path) -> None:
    assert run(program, "exit", path).returncode == 3
    header = read_trace(path).header
    assert header.interface == SYNC
    assert (header.tick_ns, header.pointer_size, header.sync_flags) == (1024, 8, None)
    assert header.created_ns > 1_700_000_000 * 10**9
    assert {"pid", "system", "machine", "program"} == set(header.process)
    assert (header.process["program"], header.process["system"]) == (program.name, sys.platform)
    assert header.provenance == {"kind": "captured", "recorder": "synctape_record.c"}


# --- the process ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_process_loses_no_event(path: Path, program: Path, seed: int) -> None:
    kill_in_the_middle([program, "killed", path], path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 180))
def test_80_killed_processes_lose_no_event(path: Path, program: Path, seed: int) -> None:
    kill_in_the_middle([program, "killed", path], path, seed)


def test_a_crash_in_the_host_leaves_the_call_that_it_came_in(path: Path, program: Path) -> None:
    assert run(program, "crash", path).returncode not in (0, 9)
    trace = read_trace(path)
    assert trace.damage is not None and trace.damage.reason == "ends without an end record"
    assert [(p.call.args, p.outcome) for p in trace.played] == [(("message 0", 1, 0), None)]


def test_a_process_that_ends_without_release_leaves_a_whole_trace(path: Path, program: Path) -> None:
    assert run(program, "exit", path).returncode == 3
    trace = read_trace(path)
    assert trace.damage is None
    assert indices(trace) == [1]


@pytest.mark.skipif(WINDOWS, reason="this system does not fork")
def test_a_forked_child_records_nothing_and_forwards(path: Path, program: Path) -> None:
    done = run(program, "forks", path)
    assert (done.returncode, done.stdout) == (0, "2\n")
    trace = read_trace(path)
    assert trace.damage is None
    assert indices(trace) == [1, 3]
    done = run(program, "forks", path.with_suffix(".2"), 2)
    assert done.returncode == 0
    trace = read_trace(path.with_suffix(".2"))
    assert trace.damage is not None and trace.damage.reason == "ends without an end record"
    assert indices(trace) == [1]


# --- trouble with the file -----------------------------------------------------------------------------------


def test_a_file_of_many_windows(path: Path, program: Path) -> None:
    assert run(program, "full", path).returncode == 0
    trace = read_trace(path)
    assert trace.damage is None
    assert indices(trace) == list(range(200_000))


@pytest.mark.skipif(WINDOWS, reason="Windows limits no file sizes")
def test_when_the_disk_is_full_recording_stops_and_calls_go_on(path: Path, program: Path) -> None:
    done = run(program, "limited", path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "200000\n", "")
    trace = read_trace(path)
    assert indices(trace) == list(range(len(trace.calls)))
    assert 10_000 < len(trace.calls) < 200_000
    assert trace.damage is not None
    assert trace.damage.reason == "recording stopped: File too large"
    assert path.stat().st_size <= 1 << 20


@pytest.mark.skipif(WINDOWS, reason="Windows limits no file sizes")
def test_a_file_system_that_fills_up(tmp_path: Path, program: Path) -> None:
    full = tmp_path / "full"
    done = in_tmpfs(full, "size=1m", program, "full", full / "run.tape")
    assert (done.returncode, done.stdout) == (0, "200000\n"), done.stderr
    trace = read_trace(tmp_path / "full.kept" / "run.tape")
    assert trace.damage is not None
    assert trace.damage.reason == "recording stopped: No space left on device"
    assert indices(trace) == list(range(len(trace.calls))) and len(trace.calls) > 10_000


# --- several files -------------------------------------------------------------------------------------------

LEAST = "1048576"


def whole(path: Path) -> Trace:
    return TraceInput(path).read()


def numbers(path: Path) -> list[int]:
    return [number for number, _ in parts(path)]


def room(path: Path) -> int:
    return sum(part.stat().st_size for _, part in parts(path))


def test_eight_threads_in_several_files(path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", LEAST)
    done = run(program, "threads", path, 8)
    assert (done.returncode, done.stdout) == (0, "16000\n")
    assert numbers(path)[:4] == [1, 2, 3, 4] and not path.exists()
    of_eight_threads(whole(path))
    for number, part in parts(path):
        trace = read_trace(part)
        session = trace.header.provenance["session"]
        assert (session["file"], trace.header.provenance["kind"]) == (number, "captured")
        assert all(p.outcome for p in trace.played)
        last = number == numbers(path)[-1]
        assert (trace.damage is None) == last
        assert last or (trace.damage and GOES_ON in trace.damage.reason)
    assert len({read_trace(part).header.provenance["session"]["id"] for _, part in parts(path)}) == 1


@pytest.mark.parametrize("ring", [False, True])
def test_the_oldest_files_go(path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, ring: bool) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", LEAST)
    if ring:
        monkeypatch.setenv("SYNCTAPE_RING", "1")
    done = run(program, "full", path)
    assert (done.returncode, done.stdout) == (0, "200000\n")
    there = numbers(path)
    assert len(there) == 8 and there[-1] > 30
    assert there == ([] if ring else [1]) + list(range(there[-1] - (7 if ring else 6), there[-1] + 1))
    assert int(LEAST) // 4 < room(path) <= int(LEAST)
    kept = [index for _, part in parts(path)[not ring :] for index in indices(read_trace(part))]
    assert kept == list(range(kept[0], 200_000))
    created = [read_trace(part).header.created_ns for _, part in parts(path)]
    assert created == sorted(created) and created[-1] - created[0] < 60e9
    if not ring:
        assert indices(read_trace(parts(path)[0][1]))[0] == 0


@pytest.mark.parametrize(
    ("name", "first"), [("run.tape", "run.0001.tape"), ("run", "run.0001"), ("a.b/.c", "a.b/.c.0001")]
)
def test_names_of_files(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: str
) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", LEAST)
    (tmp_path / "a.b").mkdir()
    assert run(program, "few", tmp_path / name, 3).returncode == 0
    assert parts(tmp_path / name) == [(1, tmp_path / first)]
    assert indices(read_trace(tmp_path / first)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["run.0001.tape", "run.0219.tape", "run.12345.tape"])
def test_a_file_of_another_recording_is_left(
    path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also one that this recording would come to late: both would be read as one trace."""
    monkeypatch.setenv("SYNCTAPE_SIZE", LEAST)
    path.with_name(name).write_bytes(b"mine")
    assert run(program, "few", path, 3).returncode == 7
    assert [there.name for there in path.parent.iterdir()] == [name]
    assert path.with_name(name).read_bytes() == b"mine"


def test_files_that_only_look_like_those_of_a_recording(
    path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", LEAST)
    for name in ("run.1.tape", "run.0001.tape.old", "run.0001", "run_0001.tape", "a.run.0001.tape", "run.tape"):
        path.with_name(name).write_bytes(b"mine")
    assert run(program, "few", path, 3).returncode == 0
    assert numbers(path) == [1]


def test_too_little_for_several_files(path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", "1000000")
    assert run(program, "few", path, 3).returncode == 7
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_process_loses_no_event_of_several_files(
    path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("SYNCTAPE_SIZE", "2097152")
    kill_in_the_middle([program, "killed", path], path, seed, whole)


@pytest.mark.skipif(WINDOWS, reason="counts calls of fsync")
@pytest.mark.parametrize(
    ("sync", "least", "most"),
    [(0, 0, 0), (-1, 200, 220), (3_600_000_000_000, 1, 4), (1, 200, 220)],  # ns
)
def test_it_is_handed_to_the_disk(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: int, least: int, most: int
) -> None:
    program = compiled(tmp_path, SAMPLES / "recording.c", options=("-std=c99", "-DCOUNT_SYNCS"))
    monkeypatch.setenv("SYNCTAPE_SYNC", str(sync))
    done = run(program, "few", path, 100)
    assert done.returncode == 0 and least <= int(done.stdout) <= most
    assert indices(read_trace(path)) == list(range(100))


@pytest.mark.skipif(WINDOWS, reason="Windows limits no file sizes")
def test_on_a_full_disk_old_files_go_before_their_time(tmp_path: Path, program: Path) -> None:
    """One MiB for a recording that may take two."""
    full, kept = tmp_path / "full", tmp_path / "full.kept"
    size = {"SYNCTAPE_SIZE": "2097152"}
    done = in_tmpfs(full, "size=1m", program, "full", full / "run.tape", environment=size)
    assert (done.returncode, done.stdout) == (0, "200000\n"), done.stderr
    found = [index for _, part in parts(kept / "run.tape")[1:] for index in indices(read_trace(part))]
    assert found == list(range(found[0], 200_000)) and numbers(kept / "run.tape")[0] == 1


# --- at once -------------------------------------------------------------------------------------------------


def test_eight_threads_at_once(path: Path, program: Path) -> None:
    done = run(program, "threads", path, 8)
    assert (done.returncode, done.stdout) == (0, "16000\n")
    of_eight_threads(read_trace(path))


def of_eight_threads(trace: Trace) -> None:
    """That all calls of these threads are there, whole, and in each one's order."""
    assert trace.damage is None
    assert len(trace.threads) == 9  # the last Release is the main thread's
    assert len({thread.native_id for thread in trace.threads}) == 9
    for number in range(8):
        own = [p for p in trace.played if p.call.thread == number]
        (provider,) = {p.call.args[2] for p in own if p.call.method == "Progress"}
        progress = [(p.call.args, p.outcome and p.outcome.value) for p in own if p.call.method == "Progress"]
        assert progress == [((f"message {i % 20}", i, provider), i & 1) for i in range(2000)]
        errors = [(p.call.args, p.outcome and p.outcome.value) for p in own if p.call.method == "Error"]
        assert errors == [((i, f"message {i % 20}"), i) for i in range(3, 2000, 7)]
        times = [p.call.time_ns for p in own]
        assert times == sorted(times)
    assert not [v for v in lint(trace) if v.rule.id in ("P2", "P3")]


@pytest.mark.parametrize("flags", [("-fexceptions",), ()], ids=["seen", "unseen"])
def test_an_exception_of_the_host_passes(path: Path, tmp_path: Path, flags: Flags) -> None:
    """The call that it ends is told from one that returned; without -fexceptions it has no end."""
    source, options = SAMPLES / "throwing_host.cpp", ("-std=c++17", "-shared", "-fPIC")
    library = ctypes.CDLL(str(compiled(tmp_path, source, options=options, cc="c++", flags=flags)))
    assert library.throw_twice(os.fsencode(path)) == 41 + 42
    trace = read_trace(path)
    assert trace.damage is None
    thrown = OutcomeKind.RAISED if flags else None
    assert [(p.call.method, p.outcome and (p.outcome.value or p.outcome.kind)) for p in trace.played] == [
        ("Progress", 41),
        ("Error", thrown),
        ("Progress", 42),
        ("Error", thrown),
        ("Done", OutcomeKind.RETURNED),
        ("Release", OutcomeKind.RETURNED),
    ]
    details = [p.outcome.detail for p in trace.played if p.outcome and p.outcome.detail]
    assert details == (["unwound: an exception, or the end of the thread"] * 2 if flags else [])


@pytest.mark.skipif(WINDOWS, reason="Windows has no such signals")
def test_signal_handlers_may_call_at_any_time(path: Path, program: Path) -> None:
    """A call from a handler that interrupts the recorder itself is forwarded, not recorded; no other is lost."""
    done = run(program, "signals", path)
    assert done.returncode == 0
    trace = read_trace(path)
    assert trace.damage is None
    calls = [event.call for event in trace.events if isinstance(event, Enter) and event.call.method == "Progress"]
    assert [call.args[1] for call in calls if call.args[2] == 0] == list(range(100_000))
    assert all(p.outcome is not None for p in trace.played)
