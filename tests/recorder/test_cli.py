"""record, show and check: what they print and how they end; bad input through the installed command."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import synctape
from recorder.calls import Call, Header, Opaque, Outcome, OutcomeKind, Trace
from recorder.encoding import MAGIC, Encoder
from recorder.text import from_text, to_text
from recorder.trace import read_trace, write_trace

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")


def command(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "synctape", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "100"},
        timeout=120,
        check=False,
    )


_SEPARATE: Any = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
"""click 8.1 has to be asked to keep stdout and stderr apart."""


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner(**_SEPARATE).invoke(synctape.main, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = """synctape 1
created_ns: 1700000000123456789
sync_flags: 536870914
target: {"spec": "host:Dialog", "version": "2.1"}
process: {"pid": 7, "tty": [], "encodings": {"stdout": null}}
thread t0 4711 "sync"
thread t1 4712 ""

0.000512000 t0 Progress("Folder [\\u202e", 0, 2) -> S_OK 12.288us
0.001024000 t0 #1 Progress(NULL, 1, 2) ...
0.002048000 t1 #2 Error(0x80004005 E_FAIL, "受信箱") ...
#2 -> 0x80004005 E_FAIL 1.536ms
#1 -> None 5.12s
6.000000000 t0 #3 Done(sync-event, S_OK) ...
"""


def saved(text: str, path: Path) -> Path:
    write_trace(from_text(text), path)
    return path


# --- show ----------------------------------------------------------------------------------------------------


def test_the_table(folder: Path) -> None:
    result = invoke("show", saved(RUN, folder / "run.tape"))
    assert result.exit_code == 0
    assert result.stderr == ""
    shown = result.stdout.replace(f"{folder}{os.sep}", "")
    assert shown == (
        "run.tape\n"
        "  interface   IMAPISyncProgressCallback {5024a386-2d44-486a-81a8-8f0ecb6071dd}\n"
        "  recorded    2023-11-14 22:13:20.123 UTC\n"
        "  flags       0x20000002 SYNC_DOWNLOAD_HIERARCHY, SYNC_ON_DEMAND\n"
        "  target      spec host:Dialog, version 2.1\n"
        "  process     pid 7, tty none, encodings (stdout None)\n"
        '  threads     t0 "sync" 4711, t1 4712\n'
        "  calls       4 in 5.999 s, 1 still running at its end\n"
        "\n"
        "call  time [s]  thread  method                              answer                took\n"
        '   0  0.000512  t0      Progress("Folder [\\u202e", 0, 2)    S_OK               12.3 us\n'
        "   1  0.001024  t0      Progress(NULL, 1, 2)                None                5.12 s\n"
        '   2  0.002048  t1      Error(0x80004005 E_FAIL, "受信箱")  0x80004005 E_FAIL  1.54 ms\n'
        "   3  6.000000  t0      Done(sync-event, S_OK)              ... still running\n"
    )


def test_the_text_form_is_shown_and_read(folder: Path) -> None:
    path = saved(RUN, folder / "run.tape")
    text = invoke("show", "--text", path).stdout
    assert text == to_text(read_trace(path))
    assert from_text(text) == read_trace(path)
    (folder / "run.txt").write_text(text, "utf-8")
    (folder / "utf16.txt").write_text(text, "utf-16")
    table = invoke("show", path).stdout.split("\n", 1)[1]
    assert invoke("show", folder / "run.txt").stdout.split("\n", 1)[1] == table
    assert invoke("show", folder / "utf16.txt").stdout.split("\n", 1)[1] == table
    assert invoke("show", "--text", folder / "run.txt").stdout == text


def test_json_lines(folder: Path) -> None:
    lines = [
        json.loads(line) for line in invoke("show", "--json", saved(RUN, folder / "a.tape")).stdout.splitlines()
    ]
    assert [line["kind"] for line in lines] == ["header", "call", "call", "call", "call", "end"]
    header, first, second, third, last, end = lines
    assert header["path"] == str(folder / "a.tape")
    assert header["interface"] == "IMAPISyncProgressCallback"
    assert header["methods"]["Progress"] == ["pwcszProgress", "ulIndex", "ulIndexMax"]
    assert header["flag_names"] == ["SYNC_DOWNLOAD_HIERARCHY", "SYNC_ON_DEMAND"]
    assert first == {
        "kind": "call",
        "number": 0,
        "thread": 0,
        "time_ns": 512_000,
        "method": "Progress",
        "args": ["Folder [\u202e", 0, 2],
        "outcome": {"kind": "returned", "value": 0, "elapsed_ns": 12_288},
    }
    assert second["outcome"]["value"] is None
    assert third["args"] == [-2147467259, "受信箱"]
    assert last["args"] == [{"handle": 0}, 0]
    assert last["outcome"] is None
    assert end["calls"] == 4
    assert end["threads"] == [{"native_id": 4711, "name": "sync"}, {"native_id": 4712, "name": ""}]
    assert end["damage"] is None


def test_json_is_valid_whatever_a_trace_holds(folder: Path) -> None:
    odd: list[Any] = ["\ud800", "\0\x85", float("nan"), float("-inf"), 1.5, True, b"\xff", Opaque("T", "<\udc00>")]
    header = Header(process={"x": [float("inf"), {"y": b"\0"}], "n": 2**63}, extra={"later": "\u2028"})
    calls = [Call("Done", tuple(odd)), Call("Progress", (10**3000, 2**64, None))]
    outcomes = [
        Outcome(OutcomeKind.RAISED, None, 5, "\ud800", "x.py:1 in f"),
        Outcome(value=-(10**3000), outputs=(1,)),
    ]
    write_trace(Trace.from_calls(calls, header, outcomes), folder / "odd.tape")
    output = invoke("show", "--json", folder / "odd.tape").stdout

    def refuse(name: str) -> None:
        raise AssertionError(name)

    output.encode("ascii")
    header_line, done, progress, _ = [json.loads(line, parse_constant=refuse) for line in output.splitlines()]
    assert header_line["process"] == {"x": [{"float": "inf"}, {"y": {"bytes": "00"}}], "n": 2**63}
    assert header_line["extra"] == {"later": "\u2028"}
    assert done["args"] == [
        *("\ud800", "\0\x85", {"float": "nan"}, {"float": "-inf"}, 1.5, True, {"bytes": "ff"}),
        {"opaque": {"type": "T", "repr": "<\udc00>"}},
    ]
    assert done["outcome"] == {
        "kind": "raised",
        "value": None,
        "elapsed_ns": 0,
        "detail": "\ud800",
        "place": "x.py:1 in f",
    }
    assert progress["args"] == [{"int": hex(10**3000)}, {"int": hex(2**64)}, None]
    assert progress["outcome"]["value"] == {"int": hex(-(10**3000))}
    for form in ([], ["--stats"], ["--text"], ["--stats", "--json"]):
        assert invoke("show", *form, folder / "odd.tape").exit_code == 0


STATISTICS = """  calls       4 in 5.999 s, 0.7 a second, 1 still running at its end
  methods     Progress 2, Error 1, Done 1
  threads     t0 "sync" 3, t1 1
  answers     other than S_OK: Error 0x80004005 E_FAIL 1
  texts       2 distinct
              Progress.pwcszProgress is NULL in 1 of 2 calls (50%)
              Error.pwcszErrorStr is NULL in 0 of 1 calls (0%)
  busiest     3 calls in the second from 0 s on
  slowest     call 1 5.12 s, call 2 1.54 ms, call 0 12.3 us
  gaps        6 s before call 3, 1.02 ms before call 2, 512 us before call 1
  progress    1 run, 0 to their end
              calls 0 to 1: 0 to 1 of 2 in 512 us
"""


def test_statistics(folder: Path) -> None:
    path = saved(RUN, folder / "run.tape")
    assert invoke("show", "--stats", path).stdout == f"{path}\n{STATISTICS}"
    found = json.loads(invoke("show", "--stats", "--json", path).stdout)
    assert found["path"] == str(path)
    assert found["methods"] == {"Progress": 2, "Error": 1, "Done": 1}
    assert found["texts"]["Progress.pwcszProgress"] == {"calls": 2, "null": 1}
    assert found["slowest"][0] == [1, 5.12]
    assert found["busiest"] == [0, 3]
    longest = {"first": 0, "last": 1, "calls": 2, "start": 0, "end": 1, "limit": 2, "seconds": 0.000512}
    assert found["progressions"] == {"count": 1, "complete": 0, "longest": [longest]}
    assert found["damage"] is None


def test_statistics_of_nothing(folder: Path) -> None:
    write_trace(Trace(), folder / "empty.tape")
    shown = invoke("show", "--stats", folder / "empty.tape").stdout
    assert "calls       0 in 0.000 s\n" in shown
    assert "gaps        none\n" in shown
    assert invoke("show", folder / "empty.tape").exit_code == 0


def test_several_traces_and_folders(folder: Path) -> None:
    (folder / "b" / "c").mkdir(parents=True)
    for name in ("z.tape", "b/a.tape", "b/c/d.tape"):
        saved(RUN, folder / name)
    (folder / "b" / "notes.txt").write_text("no trace")
    shown = invoke("show", "--stats", "z.tape", "b").stdout
    assert re.findall(r"^\S.*", shown, re.M) == ["z.tape", str(Path("b/a.tape")), str(Path("b/c/d.tape"))]
    assert "\n\nb" in shown


def test_usage_errors(folder: Path) -> None:
    assert invoke("show").exit_code == 2
    result = invoke("show", "--stats", "--text", "x.tape")
    assert result.exit_code == 2
    assert "--stats and --text do not go together" in result.stderr


@posix
def test_a_terminal_gets_colours_and_its_width(folder: Path) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    import pty

    saved(RUN.replace("Folder [", "Folder " + "x" * 200), folder / "run.tape")
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "90", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "synctape", "show", "run.tape"],
            cwd=folder,
            stdout=follower,
            stderr=subprocess.PIPE,
            env=environment,
        )
    finally:
        os.close(follower)
    output = b""
    with process:
        while True:
            try:
                piece = os.read(leader, 1 << 16)
            except OSError:  # Linux: the other side has closed
                break
            if not piece:
                break
            output += piece
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(leader)
    assert process.returncode == 0
    shown = output.decode()
    assert "\x1b[" in shown
    rows = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", "").split("thread  method")[1].splitlines()
    assert max(map(len, rows)) <= 90
    assert "xxx…" in rows[1]
    assert "12.3 us" in rows[1]


@posix
@pytest.mark.parametrize("form", [[], ["--json"], ["--text"]])
def test_a_reader_that_closes_the_pipe_has_seen_enough(folder: Path, form: list[str]) -> None:
    write_trace(
        Trace.from_calls([Call("Progress", (f"step {n}", n, 9)) for n in range(5000)]), folder / "big.tape"
    )
    arguments = [sys.executable, "-m", "synctape", "show", *form, "big.tape"]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- check ---------------------------------------------------------------------------------------------------

MANY = "synctape 1\n" + "Progress(NULL, 0, 0) -> S_OK\n" * 8 + "Done(handle(-1), S_OK) -> S_OK\n"
DOCUMENTED = 'synctape 1\nError(S_OK, "fine") -> S_OK\nDone(NULL, S_OK) -> S_OK\n'
BREACH = "synctape 1\nProgress(NULL, 0, 0) -> S_OK\n"
SOUND = "synctape 1\nProgress(NULL, 1, 1) -> S_OK\nDone(NULL, S_OK) -> S_OK\n"


def test_a_sound_trace(folder: Path) -> None:
    result = invoke("check", saved(SOUND, folder / "sound.tape"))
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'sound.tape'}: ok, 2 calls, conforming\n")


def test_implied_warnings_are_notes(folder: Path) -> None:
    saved(MANY, folder / "many.tape")
    result = invoke("check", "many.tape")
    assert result.exit_code == 0
    assert result.stdout == (
        "many.tape: ok, 9 calls, lenient\n"
        "  P6  W  Keep 0 <= ulIndex <= ulIndexMax and ulIndexMax > 0. (a note)"
        " [implied; cf. implementing-a-progress-indicator.md]\n"
        "         calls 0, 1, 2, 3, 4 and 3 more: ulIndexMax is 0\n"
        "  P15 W  Done's handle is NULL or the event stored in *phSyncDoneEvent; leave it alone afterwards."
        " (a note) [implied from imapisyncprogresscallback-done.md]\n"
        "         call 8: hThreadDoneEvent is the pseudo-handle -1\n"
    )


def test_documented_warnings_fail(folder: Path) -> None:
    saved(DOCUMENTED, folder / "documented.tape")
    result = invoke("check", "documented.tape")
    assert result.exit_code == 1
    assert result.stdout == (
        "documented.tape: FAILED, 2 calls, lenient\n"
        "  P10 W  Give Error a failure or warning code, not S_OK, and a text."
        " [documented: imapisyncprogresscallback-error.md]\n"
        "         call 0: Error reports S_OK\n"
    )


def test_every_breach_fails(folder: Path) -> None:
    saved(BREACH, folder / "breach.tape")
    result = invoke("check", "breach.tape")
    assert result.exit_code == 1
    first, *rules = re.findall(r"^(?:\S.*|  P\d+)", result.stdout, re.M)
    assert first == "breach.tape: FAILED, 1 call, hostile"
    assert rules == ["  P12", "  P6"]  # what fails comes first
    assert "         the end: ends in state running, without Done\n" in result.stdout


def test_check_json(folder: Path) -> None:
    saved(MANY, folder / "many.tape")
    saved(BREACH, folder / "breach.tape")
    result = invoke("check", "--json", "many.tape", "breach.tape")
    assert result.exit_code == 1
    many, breach = map(json.loads, result.stdout.splitlines())
    assert (many["path"], many["fails"], many["level"], many["calls"]) == ("many.tape", False, "lenient", 9)
    assert many["rules"][0] == {
        "id": "P6",
        "severity": "W",
        "documented": False,
        "fails": False,
        "text": "Keep 0 <= ulIndex <= ulIndexMax and ulIndexMax > 0.",
        "source": "implied; cf. implementing-a-progress-indicator.md",
        "first": "ulIndexMax is 0",
        "count": 8,
        "calls": [*range(8)],
    }
    assert [(rule["id"], rule["fails"]) for rule in breach["rules"]] == [("P6", False), ("P12", True)]


def test_a_folder_is_checked_as_a_whole(folder: Path) -> None:
    saved(SOUND, folder / "a.tape")
    saved(BREACH, folder / "b.tape")
    (folder / "c.tape").write_bytes(b"")
    result = invoke("check", ".")
    assert result.exit_code == 2  # what could not be read outweighs what failed
    assert re.findall(r"^\S.*", result.stdout, re.M) == [
        "a.tape: ok, 2 calls, conforming",
        "b.tape: FAILED, 1 call, hostile",
        "2 traces, 1 failed",
    ]
    assert result.stderr.startswith("synctape: c.tape: ")


# --- record --------------------------------------------------------------------------------------------------

PROVIDERS = """
import signal
import threading

def sync(callback, flags=None):
    callback.Progress("flags %s" % flags, 1, 2)
    answer = callback.Progress(None, 2, 2)
    callback.Done(None, answer or 0)

def raises(callback):
    callback.Progress("x", 0, 1)
    raise ValueError("no\\nway")

def raises_in_thread(callback):
    threading.Thread(target=raises, args=(callback,)).start()

def silent(callback):
    pass

def interrupted(callback):
    callback.Progress("before", 1, 1)
    signal.raise_signal(signal.SIGINT)
    callback.Progress("after", 1, 1)

def terminated(callback):
    callback.Progress("before", 1, 1)
    signal.raise_signal(signal.SIGTERM)
    callback.Progress("after", 1, 1)

def lazily(callback):
    import later
    later.sync(callback)

def disk_full(callback):
    callback.Progress("before", 1, 1)
    callback.writer.stop(OSError(28, "No space left on device"))
    callback.Done(None, 0)

def steps(callback):
    callback.Step(1)

NUMBER = 5
"""

HOSTS = """
__version__ = "3.4"
class Host:
    def Progress(self, text, index, limit): return 0
    def Error(self, result, text): return 0
    def Done(self, event, result): return 0
class Half:
    def Progress(self, text, index, limit): return 0
class Broken:
    def __init__(self): raise RuntimeError("no display")
"""

INTERFACE = """
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
STEPPER = Interface(
    "IStepper", "{12345678-1234-1234-1234-123456789abc}", (Method("Step", (Parameter("n", Type.U64),)),), IUNKNOWN
)
"""

_suffixes = itertools.count()


@pytest.fixture
def names(folder: Path) -> Iterator[Callable[[str], str]]:
    """Modules in the current folder under names of this test's own: {p}roviders, {h}osts, {i}nterface."""
    before, suffix = set(sys.modules), next(_suffixes)
    made = {letter: f"synctape_cli_{letter}{suffix}" for letter in "phi"}
    for letter, source in (("p", PROVIDERS), ("h", HOSTS), ("i", INTERFACE)):
        (folder / f"{made[letter]}.py").write_text(source, "utf-8")
    (folder / "later.py").write_text("def sync(callback): callback.Done(None, 0)")
    yield lambda text: text.format(**made)
    for name in set(sys.modules) - before:
        if name.startswith(("synctape_cli_", "later")):
            del sys.modules[name]


def test_record(names: Callable[[str], str], folder: Path) -> None:
    spec = names("{p}:sync")
    result = invoke("record", spec, "-o", "run.tape", "--flags", "SYNC_DOWNLOAD_CONTENTS,0x2")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"run\.tape: 3 calls in \d+\.\d{3} s; no rule broken\n", result.stdout)
    trace = read_trace(folder / "run.tape")
    assert trace.damage is None
    assert trace.calls[0].args == ("flags 130", 1, 2)
    assert trace.header.sync_flags == 130
    assert trace.header.target == {"spec": "recorder.callback:ScriptedCallback"}
    assert trace.header.provenance == {"kind": "captured", "provider": spec}


def test_record_scripted(names: Callable[[str], str], folder: Path) -> None:
    answers = ["Progress=S_FALSE", "Progress=MAPI_E_USER_CANCEL", "Done=0x80004005"]
    options = itertools.chain.from_iterable(("--answer", answer) for answer in answers)
    result = invoke("record", names("{p}:sync"), "-o", "run.tape", *options)
    assert result.exit_code == 0
    assert result.stdout.endswith("s; breaks P18 once\n")
    trace = read_trace(folder / "run.tape")
    assert [p.outcome.value for p in trace.played if p.outcome] == [1, -2147221229, -2147467259]
    assert trace.header.target["answers"] == {"Progress": [1, -2147221229], "Done": [-2147467259]}


def test_record_forwarded(names: Callable[[str], str], folder: Path) -> None:
    result = invoke("record", names("{p}:sync"), "-o", "run.tape", "--forward", names("{h}:Host"))
    assert result.exit_code == 0
    assert read_trace(folder / "run.tape").header.target == {"spec": names("{h}:Host"), "version": "3.4"}


def test_record_another_interface(names: Callable[[str], str], folder: Path) -> None:
    result = invoke("record", names("{p}:steps"), "-o", "run.tape", "--interface", names("{i}:STEPPER"))
    assert result.exit_code == 0
    assert read_trace(folder / "run.tape").calls == (
        Call("Step", (1,), 0, read_trace("run.tape").calls[0].time_ns),
    )


def test_record_a_provider_that_imports_late(names: Callable[[str], str], folder: Path) -> None:
    assert command("record", names("{p}:lazily"), "-o", "run.tape", cwd=folder).returncode == 0


@pytest.mark.parametrize("provider", ["raises", "raises_in_thread"])
def test_record_a_provider_that_raises(names: Callable[[str], str], folder: Path, provider: str) -> None:
    spec = names("{p}:") + provider
    result = invoke("record", spec, "-o", "run.tape")
    assert result.exit_code == 1
    assert re.fullmatch(
        rf"synctape: provider '{spec}' raised ValueError: no way \(\w+\.py:12 in raises\)\n", result.stderr
    )
    assert re.fullmatch(r"run\.tape: 1 call in \d+\.\d{3} s; breaks P12 once\n", result.stdout)
    assert [call.args for call in read_trace(folder / "run.tape").calls] == [("x", 0, 1)]


def test_record_a_provider_that_makes_no_call(names: Callable[[str], str], folder: Path) -> None:
    result = invoke("record", names("{p}:silent"), "-o", "run.tape")
    assert result.exit_code == 2
    assert result.stderr == names("synctape: provider '{p}:silent' made no call\n")
    assert read_trace(folder / "run.tape").calls == ()


@posix
@pytest.mark.parametrize(("provider", "code"), [("interrupted", 130), ("terminated", 143)])
def test_a_signal_ends_the_trace(names: Callable[[str], str], folder: Path, provider: str, code: int) -> None:
    result = command("record", names("{p}:") + provider, "-o", "run.tape", cwd=folder)
    assert result.returncode == code
    assert result.stderr == ""
    assert result.stdout.startswith("run.tape: 1 call in ")
    trace = read_trace(folder / "run.tape")
    assert trace.damage is None
    assert [call.args[0] for call in trace.calls] == ["before"]


def test_a_recording_that_stops_is_told(names: Callable[[str], str], folder: Path) -> None:
    result = invoke("record", names("{p}:disk_full"), "-o", "run.tape")
    assert result.exit_code == 3
    warning, damage = result.stderr.splitlines()
    assert warning.startswith("synctape: warning: ")
    assert re.search(r"recording stopped \(.*No space left on device\); calls are still forwarded$", warning)
    assert damage.startswith("synctape: run.tape: recording stopped: No space left on device at byte ")
    assert result.stdout.startswith("run.tape: 1 call in ")


def test_an_existing_file_is_left_alone(names: Callable[[str], str], folder: Path) -> None:
    (folder / "run.tape").write_text("precious")
    result = invoke("record", names("{p}:sync"), "-o", "run.tape")
    assert result.exit_code == 2
    assert result.stderr == "synctape: run.tape: exists already; give another name, or --force to replace it\n"
    assert (folder / "run.tape").read_text() == "precious"
    assert invoke("record", names("{p}:sync"), "-o", "run.tape", "--force").exit_code == 0
    assert len(read_trace(folder / "run.tape").calls) == 3
    assert not list(folder.glob("*.old"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{p}:sync", "-o", "missing/run.tape"], "run.tape: cannot be written: No such file or directory"),
        (["{p}:sync", "-o", ".", "--force"], "is no ordinary file; it is left as it is"),
        (["{p}:nosync", "-o", "run.tape"], "{p} has no 'nosync'; did you mean 'sync'?"),
        (["{p}:NUMBER", "-o", "run.tape"], "is of type int, it cannot be called"),
        (["{p}:sync", "-o", "run.tape", "--flags", "SYNC_ALL"], "unknown sync flag 'SYNC_ALL'"),
        (
            ["{p}:sync", "-o", "run.tape", "--interface", "IWhat"],
            "unknown interface 'IWhat'; name one of your own",
        ),
        (["{p}:sync", "-o", "run.tape", "--interface", "{p}:NUMBER"], "is a int, not an Interface"),
        (
            ["{p}:sync", "-o", "run.tape", "--forward", "{h}:Hos"],
            "callback factory '{h}:Hos': {h} has no 'Hos'; did",
        ),
        (
            ["{p}:sync", "-o", "run.tape", "--forward", "{h}:Half"],
            "Half has no method Error, Done; IMAPISyncProgress",
        ),
        (
            ["{p}:sync", "-o", "run.tape", "--forward", "{h}:Broken"],
            "raised RuntimeError: no display ({h}.py:10 in",
        ),
        (
            ["{p}:sync", "-o", "run.tape", "--answer", "Progres=S_OK"],
            "no method 'Progres' in IMAPISyncProgressCallb",
        ),
    ],
)
def test_what_cannot_be_recorded(
    names: Callable[[str], str], folder: Path, arguments: list[str], message: str
) -> None:
    result = invoke("record", *map(names, arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("synctape: ")
    assert names(message) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "run.tape").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--answer", "Progress"], "write it as METHOD=HRESULT"),
        (["--answer", "Progress=WHAT"], "'WHAT' is no HRESULT"),
        (["--answer", "Release=S_OK"], "Release is answered by COM"),
        (["--answer", "Progress=S_OK", "--forward", "{h}:Host"], "--answer says nothing where --forward"),
    ],
)
def test_record_usage(names: Callable[[str], str], folder: Path, options: list[str], message: str) -> None:
    result = invoke("record", names("{p}:sync"), "-o", "run.tape", *map(names, options))
    assert result.exit_code == 2
    assert message in result.stderr


# --- bad input, through the installed command ----------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file that is no whole trace."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "nothing").mkdir()
    (folder / "nothing" / "readme.txt").write_text("no traces here")
    calls = [Call("Progress", (f"Folder {n}", n + 1, 50), 0, n * 1024) for n in range(50)]
    write_trace(Trace.from_calls([*calls, Call("Done", (None, 0))]), folder / "good.tape")
    data = (folder / "good.tape").read_bytes()
    newer = bytearray()
    Encoder(newer.extend).record(MAGIC, 9, {})
    middle = data.index(b"Folder 30")
    files = {
        "empty.tape": b"",
        "data.json": b'{"kind": "header"}\n',
        "noise.tape": bytes(range(200, 256)) * 20,
        "truncated.tape": data[:middle],
        "damaged.tape": data[:middle] + b"XXXX" + data[middle + 4 :],
        "header.tape": data[:40],
        "newer.tape": bytes(newer) + data,
        "text.txt": b"synctape 1\n\nProgres(NULL, 1, 2)\n",
        "newer.txt": b"synctape 2\nDone()\n",
        "latin.txt": b'synctape 1\nProgress("\xe4", 1, 2)\n',
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "raising.py").write_text("raise RuntimeError('no licence')\n")
    (folder / "fine.py").write_text("def provider(callback): callback.Done(None, 0)\n")
    return folder


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.tape", "missing.tape: cannot be read: No such file or directory"),
        ("nothing", "nothing: there is no trace (*.tape) below this folder"),
        ("empty.tape", "empty.tape: "),
        ("data.json", "data.json: is not a synctape trace (it looks like JSON)"),
        ("noise.tape", "noise.tape: is "),
        ("header.tape", "header.tape: "),
        ("newer.tape", "newer.tape: format 9, this synctape reads up to 1; upgrade synctape"),
        (
            "text.txt",
            "text.txt: line 3: no method 'Progres' in IMAPISyncProgressCallback; did you mean 'Progress'?",
        ),
        ("newer.txt", "newer.txt: line 1: text form 2, this synctape reads 1; upgrade synctape"),
        ("latin.txt", "latin.txt: 'utf-8' codec can't decode byte"),
    ],
)
def test_unreadable_input(bad: Path, path: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = command("show", path, cwd=bad)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"synctape: {message}")
    assert result.stderr.count("\n") == 1
    monkeypatch.chdir(bad)
    checked = invoke("check", path)
    assert (checked.exit_code, checked.stdout, checked.stderr) == (2, "", result.stderr)


@pytest.mark.parametrize("path", ["truncated.tape", "damaged.tape"])
def test_damaged_input(bad: Path, path: str) -> None:
    result = command("show", path, cwd=bad)
    assert result.returncode == 0
    assert '"Folder 29"' in result.stdout
    assert '"Folder 31"' not in result.stdout
    assert "  damage      " in result.stdout
    assert re.fullmatch(
        rf"synctape: warning: {path}: .* at byte \d+, after \d+ events; what is before .*\n", result.stderr
    )
    lines = [json.loads(line) for line in command("show", "--json", path, cwd=bad).stdout.splitlines()]
    assert lines[-1]["damage"]["offset"] > 0
    assert "# damaged: " in command("show", "--text", path, cwd=bad).stdout
    checked = command("check", path, cwd=bad)
    assert checked.returncode == 0  # the missing Done is not held against it
    assert checked.stderr.startswith(f"synctape: warning: {path}: ")
    assert checked.stderr.count("\n") == 1


def test_the_rest_is_shown_beside_what_cannot_be(bad: Path) -> None:
    result = command("show", "empty.tape", "good.tape", cwd=bad)
    assert result.returncode == 2
    assert "good.tape" in result.stdout
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["raising:provider"],
            "provider 'raising:provider': importing raising raised RuntimeError: no licence (rai",
        ),
        (
            ["missing:provider"],
            "provider 'missing:provider': there is no module 'missing'; the current folder is ",
        ),
        (["fine:provide"], "provider 'fine:provide': fine has no 'provide'; did you mean 'provider'?"),
        (["fine"], "provider 'fine': write it as module:callable"),
        (["fine:provider", "--interface", "IMAPISyncs"], "unknown interface 'IMAPISyncs'; "),
        (["fine:provider", "--interface", "raising:X"], "interface 'raising:X': RuntimeError: no licence"),
        (
            ["fine:provider", "--forward", "raising:Host"],
            "callback factory 'raising:Host': importing raising raised",
        ),
        (
            ["fine:provider", "--forward", "fine:__name__"],
            "callback factory 'fine:__name__' is of type str, it cannot",
        ),
    ],
)
def test_what_the_command_cannot_record(bad: Path, arguments: list[str], message: str) -> None:
    result = command("record", *arguments, "-o", "out.tape", cwd=bad)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"synctape: {message}")
    assert result.stderr.count("\n") == 1
    assert not (bad / "out.tape").exists()


def test_the_commands_are_lazy_and_helpful(folder: Path) -> None:
    for name in ("record", "show", "check"):
        shown = invoke(name, "--help")
        assert shown.exit_code == 0
        assert isinstance(synctape.main.get_command(click.Context(synctape.main), name), click.Command)
