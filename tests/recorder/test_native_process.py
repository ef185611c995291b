"""`synctape record` of native providers: what is printed, how it ends, and what a crash leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import synctape
from recorder.errors import SynctapeError, TraceError
from recorder.native_process import record_isolated
from recorder.trace import read_trace

HOSTS = """
__version__ = "2.5"
class Host:
    def Progress(self, text, index, maximum): return 1
    def Error(self, result, text): return 0
    def Done(self, handle, result): handle.close()
"""


def record(
    *arguments: str | Path, cwd: Path, plan: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synctape", "record", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "SYNC_PLAN": plan},
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def provider(example: Callable[[str], Path]) -> Callable[[str], str]:
    return lambda symbol: f"{example('provider')}:{symbol}"


@pytest.mark.native
def test_a_correct_provider(provider: Callable[[str], str], tmp_path: Path) -> None:
    spec = provider("create")
    arguments = (spec, "-o", "run.tape", "--flags", "SYNC_ON_DEMAND", "--answer", "Progress=S_FALSE")
    done = record(*arguments, cwd=tmp_path, plan="steps=5")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"run\.tape: 8 calls in \d+\.\d{3} s; no rule broken\n", done.stdout)
    header = read_trace(tmp_path / "run.tape").header
    assert header.sync_flags == 0x20000000
    assert header.provenance == {"kind": "captured", "provider": spec}
    assert header.target == {"spec": "recorder.callback:ScriptedCallback", "answers": {"Progress": [1]}}


@pytest.mark.native
def test_a_rule_is_told_as_check_tells_it(provider: Callable[[str], str], tmp_path: Path) -> None:
    done = record(provider("done_twice"), "-o", "run.tape", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.fullmatch(
        r"run\.tape: 7 calls in \d+\.\d{3} s; breaks P14 once\n"
        r"  P14 E  Call Done exactly once per sync\. \[implied\]\n"
        r"         call 5: Done in state finished\n",
        done.stdout,
    )


@pytest.mark.native
def test_notes_fail_nothing(provider: Callable[[str], str], tmp_path: Path) -> None:
    done = record(provider("foreign_handle"), "-o", "run.tape", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "breaks P15 once\n  P15 W  " in done.stdout and "(a note)" in done.stdout
    first = record(provider("signals_first"), "-o", "first.tape", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert "; no rule broken\n  note: the event was signalled before its handle was given back" in first.stdout


@pytest.mark.native
def test_without_a_callback(provider: Callable[[str], str], tmp_path: Path) -> None:
    done = record(provider("create"), "--no-callback", "-o", "run.tape", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run.tape: 0 calls in ")


@pytest.mark.native
def test_forwarded_to_python_and_to_native_hosts(
    provider: Callable[[str], str], example: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "hosts.py").write_text(HOSTS)
    arguments = (provider("create"), "--forward")
    assert record(*arguments, "hosts:Host", "-o", "a.tape", cwd=tmp_path).returncode == 0
    trace = read_trace(tmp_path / "a.tape")
    assert trace.header.target == {"spec": "hosts:Host", "version": "2.5"}
    assert [p.outcome.value for p in trace.played[1:5] if p.outcome] == [1, 1, 1, None]
    host = f"{example('good_host')}:create"
    assert record(*arguments, host, "-o", "b.tape", cwd=tmp_path).returncode == 0
    assert read_trace(tmp_path / "b.tape").header.target == {"spec": host}


@pytest.mark.native
@pytest.mark.parametrize("host", ["", "hosts:Host", "good_host"])
def test_redacted(
    provider: Callable[[str], str], example: Callable[[str], Path], tmp_path: Path, host: str
) -> None:
    """Answered by a script, by a host in Python, and by a native one, where the compiled core stands back."""
    (tmp_path / "hosts.py").write_text(HOSTS)
    target = f"{example(host)}:create" if host == "good_host" else host
    arguments = (provider("create"), "-o", "run.tape", *(("--forward", target) if host else ()))
    assert record(*arguments, cwd=tmp_path).returncode == 0
    plain = read_trace(tmp_path / "run.tape")
    assert record(*arguments, "--force", "--redact=strict", cwd=tmp_path).returncode == 0
    trace = read_trace(tmp_path / "run.tape")
    assert trace.header.redaction == "strict"
    assert [call.method for call in trace.calls] == [call.method for call in plain.calls]
    data = (tmp_path / "run.tape").read_bytes()
    words = {
        word
        for call in plain.calls
        for arg in call.args
        if isinstance(arg, str)
        for word in re.findall(r"^\w{4,}", arg)
    }
    assert words and not [word for word in words if word.encode() in data]
    assert b"hosts" not in data and b"provider." not in data and b"good_host" not in data


@pytest.mark.native
def test_a_provider_in_python_and_a_native_host(example: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "syncs.py").write_text(
        "def sync(callback):\n    callback.Progress('x', 1, 1)\n    callback.Done(None, 0)\n"
    )
    host = f"{example('good_host')}:create"
    done = record("syncs:sync", "--forward", host, "-o", "run.tape", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [p.outcome.value for p in read_trace(tmp_path / "run.tape").played if p.outcome] == [0, 0]


@pytest.mark.native
@pytest.mark.parametrize(
    ("symbol", "where", "calls"),
    [("crashes", 'after call 3, Progress("message 3", 3, 3)', 4), ("crashes_at_once", "before its first call", 0)],
)
def test_a_crash_leaves_the_trace(
    provider: Callable[[str], str], tmp_path: Path, symbol: str, where: str, calls: int
) -> None:
    spec = provider(symbol)
    done = record(spec, "-o", "run.tape", cwd=tmp_path)
    assert done.returncode == 1
    how = r"(SIGSEGV|0xC0000005 STATUS_ACCESS_VIOLATION( writing 0x0+)?)"
    said = rf"synctape: provider {re.escape(repr(spec))} ended its process: {how}, {re.escape(where)}\n"
    assert re.fullmatch(said, done.stderr)
    shown = "call" if calls == 1 else "calls"
    assert done.stdout.startswith(f"run.tape: {calls} {shown} in ")
    trace = read_trace(tmp_path / "run.tape")
    assert len(trace.calls) == calls
    assert trace.damage is not None
    assert re.match(r"ends without an end record|recording stopped: .*access violation", trace.damage.reason)


@pytest.mark.native
@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("never_ends", "the event has not been signalled"),
        ("never_returns", "SynchronizeInBackground has not returned"),
    ],
)
def test_a_provider_that_does_not_end(
    provider: Callable[[str], str], tmp_path: Path, symbol: str, said: str
) -> None:
    spec = provider(symbol)
    done = record(spec, "-o", "run.tape", "--timeout", "2", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr == f"synctape: provider {spec!r}: {said} after 2 s; what came until then is kept\n"
    damage = read_trace(tmp_path / "run.tape").damage
    assert damage is not None and said in damage.reason


@pytest.mark.native
def test_a_provider_that_fails_to_start(provider: Callable[[str], str], tmp_path: Path) -> None:
    spec = provider("fails")
    done = record(spec, "-o", "run.tape", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"synctape: provider {spec!r}: SynchronizeInBackground answered 0x80004005 E_FAIL\n"


@pytest.mark.native
def test_what_cannot_be_recorded_is_one_line(
    provider: Callable[[str], str], example: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "text.so").write_text("no library")
    (tmp_path / "hosts.py").write_text(HOSTS)
    create = provider("create")
    cases = [
        (("missing.so:create",), "there is no file missing.so"),
        (("text.so:create",), "cannot be loaded: "),
        ((f"{example('good_host')}:create",), "the object is no IMAPISync ("),
        ((create, "--forward", "hosts:Hos"), "hosts has no 'Hos'; did you mean 'Host'?"),
        ((create, "--forward", create), "the object is no IMAPISyncProgressCallback"),
    ]
    for arguments, message in cases:
        done = record(*arguments, "-o", "run.tape", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("synctape: ") and message in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "run.tape").exists()


def has_calls(path: Path) -> bool:
    try:
        return bool(read_trace(path).calls)
    except TraceError:  # not yet
        return False


@pytest.mark.native
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_trace(
    provider: Callable[[str], str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "synctape", "record", provider("create"), "-o", "run.tape"]
    environment = os.environ | {"SYNC_PLAN": "steps=2000 pause=20"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not has_calls(tmp_path / "run.tape"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert re.match(r"run\.tape: \d+ calls? in ", said) and "no rule broken" in said
    damage = read_trace(tmp_path / "run.tape").damage
    assert damage is not None and damage.reason == "recording stopped: it was interrupted"


@pytest.mark.native
@pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="prctl of Linux, a job object of Windows")
def test_a_killed_recording_leaves_no_process_behind(provider: Callable[[str], str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "synctape", "record", provider("create"), "-o", "run.tape"]
    made = tmp_path / "temporary"
    made.mkdir()
    environment = os.environ | {"SYNC_PLAN": "steps=3000 pause=20", "TMPDIR": str(made)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        deadline = time.monotonic() + 60
        while not has_calls(tmp_path / "run.tape"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.kill()
    child = read_trace(tmp_path / "run.tape").header.process["pid"]
    while lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    damage = read_trace(tmp_path / "run.tape").damage
    if sys.platform == "win32":
        assert damage is not None and damage.reason == "ends without an end record"
    else:
        assert damage is not None and damage.reason == "recording stopped: it was interrupted"
        assert list(made.iterdir()) == []


if sys.platform == "win32":
    import ctypes

    def lives(pid: int) -> bool:
        kernel32 = ctypes.WinDLL("kernel32")
        kernel32.OpenProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(kernel32.OpenProcess(0x100000, 0, pid))  # SYNCHRONIZE
        ended = process.value is None or kernel32.WaitForSingleObject(process, 0) == 0
        kernel32.CloseHandle(process)
        return not ended
else:

    def lives(pid: int) -> bool:
        try:
            return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False


@pytest.mark.native
def test_an_old_trace_is_not_taken_for_a_new_one(
    provider: Callable[[str], str], example: Callable[[str], Path], tmp_path: Path
) -> None:
    record_isolated(provider("create"), tmp_path / "run.tape", timeout=20)
    before = (tmp_path / "run.tape").read_bytes()
    done = record(f"{example('good_host')}:create", "-o", "run.tape", "--force", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (tmp_path / "run.tape").read_bytes() == before


@pytest.mark.native
def test_the_same_in_one_call(provider: Callable[[str], str], tmp_path: Path) -> None:
    done = record_isolated(provider("create"), tmp_path / "a.tape", answers={"Progress": [1, 0]}, timeout=20)
    assert done.run is not None and done.run.result == 0 and done.crash == ""
    crashed = record_isolated(provider("crashes"), tmp_path / "b.tape", timeout=20)
    assert crashed.run is None and crashed.crash
    with pytest.raises(SynctapeError, match="exists already"):
        record_isolated(provider("create"), tmp_path / "a.tape", timeout=20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x.so:create", "--interface", "IUnknown"), "a native provider calls IMAPISyncProgressCallback"),
        (("x.so:create", "--timeout", "0"), "0.0 is not in the range x>0"),
        (("textwrap:dedent", "--timeout", "5"), "--timeout is for native providers; 'textwrap:dedent' is none"),
        (("textwrap:dedent", "--no-callback"), "--no-callback is for native providers"),
    ],
)
def test_usage(arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(synctape.main, ["record", *arguments, "-o", "run.tape"])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
