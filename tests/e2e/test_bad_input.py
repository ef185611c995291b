"""Bad input through the installed command: one clear line on stderr, exit code 2, nothing written or replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sequences import GOOD, calls, save, trace
from targets.imapi_progress import IMAPI_PROGRESS

from recorder.calls import Call, Header, Trace
from recorder.trace import dump_trace, read_trace, write_trace

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONUTF8": "1"}
CLEAN = "targets.clean:Host"
WHOLE = dump_trace(trace(*GOOD))

COMMANDS: dict[str, tuple[str, ...]] = {
    "replay": ("replay", "{trace}", "--target", "{target}"),
    "fuzz": ("fuzz", "--corpus", "{trace}", "--target", "{target}", "--max-runs", "20", "--seed", "1"),
    "minimise": ("minimise", "{trace}", "--target", "{target}", "-o", "out.tape"),
}

each_command = pytest.mark.parametrize(
    "command", [name if name == "replay" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]
)


def synctape(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synctape", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def run(
    folder: Path, command: str, *more: str, trace: str = "good.tape", target: str = CLEAN
) -> subprocess.CompletedProcess[str]:
    arguments = [argument.format(trace=trace, target=target) for argument in COMMANDS[command]]
    return synctape(folder, *arguments, *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("fuzzing ")]
    assert len(lines) == 1 and lines[0].startswith("synctape: "), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for part in said:
        assert part in lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, "good", trace(*GOOD))
    return tmp_path


# --- files that are no traces ---------------------------------------------------------------------------------


def version(number: int) -> bytes:
    marked = WHOLE.replace(b"\xa8synctape\x01", b"\xa8synctape" + bytes([number]), 1)
    assert marked != WHOLE
    return marked


BAD_FILES: dict[str, tuple[bytes | None, str]] = {
    "missing.tape": (None, "o such file"),
    "empty.tape": (b"", "empty"),
    "object.tape": (b'{"kind": "meta"}\n', "not a synctape trace"),
    "noise.tape": (bytes(range(200, 256)) * 20, "not a synctape trace"),
    "newer.tape": (version(9), "upgrade synctape"),
    "text.tape": (b"synctape 1\n\nProgres(NULL, 1, 2)\n", "did you mean 'Progress'"),
    "cut.tape": (WHOLE[:40], "header"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@each_command
def test_a_file_that_is_no_trace(folder: Path, command: str, name: str) -> None:
    data, said = BAD_FILES[name]
    if data is not None:
        (folder / name).write_bytes(data)
    before = contents(folder)
    assert_refused(run(folder, command, trace=name), name, said)
    assert contents(folder) == before


@each_command
def test_a_folder_without_traces(folder: Path, command: str) -> None:
    (folder / "nothing").mkdir()
    (folder / "nothing" / "notes.txt").write_text("no trace")
    assert_refused(run(folder, command, trace="nothing"), "nothing")
    assert [p.name for p in (folder / "nothing").iterdir()] == ["notes.txt"]


@each_command
def test_of_a_torn_trace_the_sound_part_is_used(folder: Path, command: str) -> None:
    (folder / "torn.tape").write_bytes(dump_trace(trace('Progress("a", 0, 0)', *GOOD))[:-40])
    done = run(folder, command, trace="torn.tape", target="targets.divides_by_max:Host")
    assert done.returncode == 1, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "torn.tape" in warning and "calls before it are read" in warning
    assert "Traceback" not in done.stderr


@each_command
def test_of_a_damaged_trace_what_comes_before_the_damage_is_used(folder: Path, command: str) -> None:
    long = trace('Progress("a", 0, 0)', *['Progress("b", 1, 2)'] * 200, *GOOD)
    data = bytearray(dump_trace(long))
    data[len(data) // 2] ^= 0xFF
    (folder / "damaged.tape").write_bytes(data)
    done = run(folder, command, trace="damaged.tape", target="targets.divides_by_max:Host")
    assert done.returncode == 1, done.stderr
    assert "damaged.tape" in done.stderr and "Traceback" not in done.stderr


def test_a_trace_without_calls_says_nothing_of_a_target(folder: Path) -> None:
    write_trace(Trace(), folder / "none.tape")
    assert_refused(run(folder, "minimise", trace="none.tape"), "none.tape", "nothing to minimise")
    replayed = run(folder, "replay", trace="none.tape")
    assert (replayed.returncode, replayed.stderr) == (2, "synctape: none.tape: has no calls\n")
    assert run(folder, "fuzz", trace="none.tape").returncode == 0


# --- targets --------------------------------------------------------------------------------------------------

BAD_TARGETS = {
    "targets.module_raises:Host": "importing it raised RuntimeError: this module does not load",
    "targets.factory_fails:Host": "the factory raised RuntimeError: this host cannot be made",
    "targets.wrong_methods:Host": "has no method Done",
    "targets.clean:Nobody": "has no 'Nobody'",
    "targets.clean:annotations": "not a class or function",
    "no_such_module:Host": "no module 'no_such_module'",
    "targets.clean": "write it as package.module:factory",
    "targets/clean.py:Host": "name the module, not its file",
    "missing.so:create": "no file missing.so",
}


@pytest.mark.parametrize("spec", BAD_TARGETS)
@each_command
def test_a_bad_target(folder: Path, command: str, spec: str) -> None:
    before = contents(folder)
    assert_refused(run(folder, command, target=spec), spec, BAD_TARGETS[spec])
    assert contents(folder) == before and not (folder / "findings").exists()


# --- interfaces -----------------------------------------------------------------------------------------------


@pytest.fixture
def other(folder: Path) -> Path:
    """A trace of another interface."""
    call = Call("Progress", (1, 2, 3))
    return write_trace(Trace.from_calls([call], Header(interface=IMAPI_PROGRESS)), folder / "other.tape")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("IMAPISyncProgressCallbak", "did you mean 'IMAPISyncProgressCallback'"),
        ("Nothing", "module:NAME"),
        ("targets.clean:NOTHING", "targets.clean:NOTHING"),
        ("targets.clean:Host", "not an Interface"),
        ("targets.module_raises:X", "this module does not load"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "fuzz"])
def test_an_unknown_interface(folder: Path, command: str, name: str, said: str) -> None:
    assert_refused(run(folder, command, "--interface", name), said)


@each_command
def test_a_trace_of_another_interface_than_the_target(folder: Path, other: Path, command: str) -> None:
    assert_refused(run(folder, command, trace="other.tape"), "GetFlags", "IMAPIProgress")


def test_a_trace_of_another_interface_than_asked_for(folder: Path, other: Path) -> None:
    wanted = ("--interface", "IMAPISyncProgressCallback")
    assert_refused(run(folder, "fuzz", *wanted, trace="other.tape"), "other.tape", "IMAPIProgress")
    replayed = run(folder, "replay", *wanted, trace="other.tape")
    assert replayed.returncode == 2 and "Traceback" not in replayed.stderr
    assert "other.tape" in replayed.stderr and replayed.stderr.count("\n") == 1


def test_traces_of_two_interfaces_are_no_corpus(folder: Path, other: Path) -> None:
    assert_refused(run(folder, "fuzz", trace="."), "other.tape", "was recorded from IMAPIProgress")


# --- what would be overwritten, and places that cannot be written -----------------------------------------------


def test_what_is_there_is_not_replaced(folder: Path) -> None:
    failing = save(folder, "failing", trace('Progress("a", 0, 0)', "Done(NULL, S_OK)"))
    (folder / "out.tape").write_bytes(b"mine")
    target = "targets.divides_by_max:Host"
    assert_refused(run(folder, "minimise", trace="failing.tape", target=target), "out.tape", "exists already")
    assert (folder / "out.tape").read_bytes() == b"mine"
    assert run(folder, "minimise", "--force", trace="failing.tape", target=target).returncode == 1
    assert list(read_trace(folder / "out.tape").calls) == calls("Progress(NULL, 0, 0)")
    assert failing.is_file()


@pytest.mark.parametrize(
    ("command", "option"), [("fuzz", "--findings"), ("fuzz", "--junit"), ("replay", "--junit"), ("minimise", "-o")]
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_played(
    folder: Path, command: str, option: str
) -> None:
    (folder / "file").write_text("mine")
    before = contents(folder)
    assert_refused(run(folder, command, option, "file/below/x", target="targets.divides_by_max:Host"), "file")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "no captured calls"),
        (b"not json\n", "line 1"),
        (b'{"kind": "meta"}\n{"m": "Progres"}\n', "line 2"),
        (b"\xff\xfe", "cannot be read as UTF-8"),
    ],
)
def test_captures_that_do_not_read(folder: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (folder / "one.jsonl").write_bytes(content)
    done = synctape(folder, "corpus", "import", "one.jsonl", "-o", "made")
    assert_refused(done, "one.jsonl", said)
    assert not list(folder.glob("made/*"))


def test_a_folder_without_captures_and_an_output_that_is_a_file(folder: Path) -> None:
    (folder / "nothing").mkdir()
    assert_refused(synctape(folder, "corpus", "import", "nothing", "-o", "made"), "nothing", "no *.jsonl")
    for arguments in (("import", "one.jsonl"), ("capture",)):
        (folder / "one.jsonl").write_text('{"m":"Done","handle":null,"hr":0,"t_us":1,"dur_us":1,"th":0,"ret":0}\n')
        assert_refused(synctape(folder, "corpus", *arguments, "-o", "good.tape"), "good.tape")


# --- usage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fuzz",), "--target"),
        (("fuzz", "--target", CLEAN, "--level", "evil"), "evil"),
        (("fuzz", "--target", CLEAN, "--disable", "crach"), "crach"),
        (("fuzz", "--target", CLEAN, "--max-runs", "0"), "--max-runs"),
        (("minimise", "good.tape", "--target", CLEAN), "--output"),
        (("fuz",), "fuz"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = synctape(folder, *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_campaign_that_executes_nothing_is_not_green(folder: Path) -> None:
    done = run(folder, "fuzz", "--max-time", "0.000001")
    assert done.returncode == 2 and "nothing was executed" in done.stderr
