"""`synctape replay`, `export` and `explain`: options, exit codes, and one line for each thing that is wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import click
import msgpack
import pytest
from click.testing import CliRunner, Result
from sequences import GOOD, NULL_READ, regression, save, trace

from recorder import com
from recorder.callback import recording
from recorder.calls import Call, Header, Outcome, Trace
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from recorder.rules import RULES
from recorder.trace import dump_trace, write_trace
from replayer import cli, sandbox
from replayer.oracles import CODES
from synctape import main

TESTS = Path(__file__).parents[1]
CLEAN, NULL_TEXT = "targets.clean:Host", "targets.raises_on_null_text:Host"
STEP = 'Progress("step", 0, 1)'

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a few traces in `tapes`."""
    monkeypatch.chdir(tmp_path)
    tapes = tmp_path / "tapes"
    save(tapes, "good", trace(*GOOD))
    save(tapes, "plain", trace(STEP, "Done(NULL, S_OK)"))
    save(tapes / "regressions", "null", regression("X3", *GOOD))
    return tapes


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def replay(*arguments: str | Path, target: str = CLEAN) -> Result:
    return run("replay", *arguments, "--target", target)


# ----------------------------------------------------------------------------------------------------- replay


def test_a_correct_host_passes(corpus: Path) -> None:
    result = replay("tapes")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout == (
        "PASSED  tapes/good.tape  4 calls\n"
        "PASSED  tapes/plain.tape  2 calls\n"
        "FIXED   tapes/regressions/null.tape  4 calls  X3 is gone\n"
        "3 traces: 2 passed, 0 failed, 1 fixed, 0 errors\n"
    )


def test_findings_are_told_and_end_with_1(corpus: Path) -> None:
    result = replay("tapes", target=NULL_TEXT)
    assert result.exit_code == 1
    assert "3 traces: 1 passed, 2 failed, 0 fixed, 0 errors" in result.stdout
    assert (
        "> 1  Progress(NULL, 1, 2) -> raised: TypeError: object of type 'NoneType' has no len()" in result.stdout
    )
    assert f"replay it: synctape replay tapes/regressions/null.tape --target {NULL_TEXT}" in result.stdout


def test_a_crash_and_a_hang_do_not_keep_the_next_trace_from_being_replayed(corpus: Path) -> None:
    save(corpus, "a-crash", trace(STEP, "Progress(NULL, 1, 0)", "Done(NULL, S_OK)"))
    result = replay("tapes", "--junit", "out/junit.xml", target="targets.segfaults:Host")
    assert result.exit_code == 1
    assert "FAILED  tapes/a-crash.tape  3 calls  X1" in result.stdout
    assert f"> 1  Progress(NULL, 1, 0) -> crashed: {NULL_READ}" in result.stdout
    assert "4 traces: 2 passed, 1 failed, 1 fixed, 0 errors" in result.stdout
    assert len([*ET.parse("out/junit.xml").iter("testcase")]) == 4


def test_reports_for_ci_are_there_although_the_target_crashes(corpus: Path) -> None:
    save(corpus, "a-crash", trace(STEP, "Progress(NULL, 1, 0)", "Done(NULL, S_OK)"))
    options = ("--sarif", "out/a.sarif", "--summary", "out/a.md", "--annotations", "github")
    result = replay("tapes", *options, target="targets.segfaults:Host")
    assert result.exit_code == 1
    (sarif,) = json.loads(Path("out/a.sarif").read_text("utf-8"))["runs"]
    assert {found["ruleId"] for found in sarif["results"]} == {"X1"}
    assert "X1" in Path("out/a.md").read_text("utf-8")
    (said,) = [line for line in result.stdout.splitlines() if line.startswith("::")]
    assert said.startswith("::warning file=tapes/a-crash.tape,line=1,title=X1 in Progress::")


def test_in_github_actions_annotations_and_summary_come_by_themselves(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "::" not in replay("tapes/plain.tape", target=NULL_TEXT).stdout
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n", "utf-8")
    result = replay("tapes", "--json", target=NULL_TEXT)
    assert all(isinstance(json.loads(line), dict) for line in result.stdout.splitlines())
    assert result.stderr.startswith("::error file=")
    assert (tmp_path / "step.md").read_text("utf-8").startswith("before\n## synctape replay: ")
    assert "::error" not in replay("tapes", "--annotations", "none", target=NULL_TEXT).stdout


def test_a_hang_is_told_with_the_stack(corpus: Path) -> None:
    save(corpus, "a-hang", trace('Progress("%s", 0, 1)'))
    result = replay("tapes", "--timeout", "0.3", target="targets.hangs_on_text:Host")
    assert '> 0  Progress("%s", 0, 1) -> hung: no answer for 0.3 s' in result.stdout
    assert "Python stack of the target, most recent call first:" in result.stdout
    assert "4 traces: 2 passed, 1 failed, 1 fixed, 0 errors" in result.stdout
    assert "--target targets.hangs_on_text:Host --timeout 0.3\n" in result.stdout


def test_the_line_that_replays_does(corpus: Path) -> None:
    result = replay("tapes", "--slow", "2.5", "--disable", "hang", "--disable", "crash", target=NULL_TEXT)
    line = next(line for line in result.stdout.splitlines() if line.startswith("replay it: "))
    again = run(*shlex.split(line.removeprefix("replay it: synctape ")))
    assert again.exit_code == 1 and "1 trace: 0 passed, 1 failed" in again.stdout
    assert line.endswith("--slow 2.5 --disable crash --disable hang")


def test_the_level_that_fails_can_be_lowered(corpus: Path) -> None:
    late = save(corpus, "late", trace("Done(NULL, S_OK)", "Progress(NULL, 0, 1)"))
    assert replay(late, target=NULL_TEXT).exit_code == 1
    result = replay(late, "--level", "lenient", target=NULL_TEXT)
    assert result.exit_code == 0
    assert "note: X3 (hostile)" in result.stdout
    assert "note: provider (P13); a hardening note for the host" in result.stdout


@pytest.mark.parametrize(
    "options", [["--main-thread"], ["--pace", "recorded"], ["--pace", "1000"], ["--memory", "500"]]
)
@pytest.mark.parametrize("where", ["--isolate", "--in-process"])
def test_ways_to_play(corpus: Path, options: list[str], where: str) -> None:
    assert replay("tapes", *options, where).exit_code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
def test_no_room_for_a_thread_is_told(corpus: Path) -> None:
    path = save(corpus, "two", Trace.from_calls([Call("Progress", (None, 0, 1), thread=n) for n in range(2)]))
    assert replay(path, "--memory", "64").exit_code == 0
    result = replay(path, "--memory", "3")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "(memory limit of 3 MiB)" in result.stderr


def test_in_process_is_this_process(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.isolation.Sandbox", lambda *_, **__: pytest.fail("a child was started"))
    assert replay("tapes", "--in-process").exit_code == 0


def test_recorded_answers_are_matched_on_demand(corpus: Path) -> None:
    calls = trace(*GOOD).calls
    path = write_trace(Trace.from_calls(calls, outcomes=[Outcome(value=1)] * 4), corpus / "answers.tape")
    assert replay(path).exit_code == 0
    result = replay(path, "--match-results")
    assert result.exit_code == 1
    assert "Done returned 0x00000000 S_OK, recorded 0x00000001 S_FALSE" in result.stdout


def test_an_oracle_can_be_left_out(corpus: Path) -> None:
    assert replay("tapes/good.tape", "--disable", "exception", target=NULL_TEXT).exit_code == 0


def test_a_slow_call_is_found_by_its_limit(corpus: Path) -> None:
    path = save(corpus, "slow", trace("Progress(NULL, 7, 7)"))
    result = replay(path, "--slow", "0.1", target="targets.slow:Host")
    assert "H18" in result.stdout and result.exit_code == 1


def test_json_is_an_object_a_line(corpus: Path) -> None:
    (corpus / "bad.tape").write_text('{"calls": []}')
    result = replay("tapes", "--json", target=NULL_TEXT)
    *verdicts, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(v["trace"], v["status"]) for v in verdicts] == [
        ("tapes/bad.tape", "error"),
        ("tapes/good.tape", "failed"),
        ("tapes/plain.tape", "passed"),
        ("tapes/regressions/null.tape", "failed"),
    ]
    assert last["summary"]["traces"] == 4
    assert verdicts[1]["findings"][0]["code"] == "X3"


def test_a_damaged_trace_is_replayed_as_far_as_it_is_sound(corpus: Path) -> None:
    path = corpus / "night.tape"
    path.write_bytes(dump_trace(trace(*GOOD))[:-20])
    result = replay(path)
    assert result.exit_code == 0
    assert re.fullmatch(r"synctape: warning: .*night\.tape: .* at byte \d+, .*\n", result.stderr)


# ------------------------------------------------------------------------------------------------ wrong input


def write_bad_files(folder: Path) -> None:
    (folder / "empty.tape").touch()
    (folder / "data.json").write_text('{"calls": []}')
    (folder / "json.tape").write_text('{"calls": []}')
    (folder / "newer.tape").write_bytes(b"".join(map(msgpack.packb, (["synctape", 99, {}], 0))))
    (folder / "folder").mkdir()
    save(folder, "nothing", trace())
    other = Interface("IOther", "{00000000-0000-0000-0000-000000000001}", (Method("Step"),), base=IUNKNOWN)
    write_trace(Trace.from_calls([Call("Step")], Header(interface=other)), folder / "other.tape")


BAD_INPUT = {
    # what was asked for: the line on stderr
    ("nowhere.tape",): "synctape: nowhere.tape: no such file or folder",
    ("folder",): "synctape: folder: no .tape files in this folder or below it",
    ("data.json",): "synctape: data.json: is not a synctape trace (it looks like JSON)",
    ("empty.tape",): "synctape: empty.tape: is empty or ends inside its header; not a trace",
    ("json.tape",): "synctape: json.tape: is not a synctape trace (it looks like JSON)",
    ("newer.tape",): r"synctape: newer.tape: .*99.*; upgrade synctape",
    ("nothing.tape",): "synctape: nothing.tape: has no calls",
    ("other.tape",): "synctape: target targets.clean:Host: Host has no method Step; IOther needs Step",
    ("other.tape", "--interface", "IMAPISyncProgressCallback"): (
        r"synctape: other.tape: was recorded from IOther \{0{8}-.*1\}, "
        r"the target is used as IMAPISyncProgressCallback \{5024a386-.*\}"
    ),
    ("good.tape", "--interface", "IMAPISyncProgresCallback"): (
        "synctape: unknown interface 'IMAPISyncProgresCallback'; did you mean 'IMAPISyncProgressCallback'?"
    ),
    ("good.tape", "--target", "targets.nowhere:Host"): (
        "synctape: target targets.nowhere:Host: no module 'targets.nowhere' here or on sys.path"
    ),
    ("good.tape", "--target", "targets.module_raises:Host"): (
        "synctape: target targets.module_raises:Host: importing it raised RuntimeError: this module does not load"
    ),
    ("good.tape", "--target", "targets.factory_fails:Host"): (
        "synctape: target targets.factory_fails:Host: the factory raised RuntimeError: this host cannot .*"
    ),
    ("good.tape", "--target", "nowhere.so:create"): "synctape: target nowhere.so:create: no file nowhere.so",
    ("good.tape", "--junit", "good.tape/junit.xml"): r"synctape: good.tape[/\\]junit.xml: cannot be written: .*",
}


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "good", trace(*GOOD))
    write_bad_files(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", BAD_INPUT, ids=" ".join)
def test_wrong_input_is_one_line_and_2(bad: Path, arguments: tuple[str, ...]) -> None:
    result = run("replay", "--target", CLEAN, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    expected = BAD_INPUT[arguments]
    assert line == expected or re.fullmatch(expected, line)


def test_a_bad_file_among_good_ones_is_told_and_the_others_are_replayed(bad: Path) -> None:
    result = replay("json.tape", "good.tape")
    assert result.exit_code == 2
    assert "ERROR   json.tape\nPASSED" in "\n".join(sorted(result.stdout.splitlines()))
    assert "2 traces: 1 passed, 0 failed, 0 fixed, 1 errors" in result.stdout


def test_an_interface_of_the_current_folder_can_be_named(bad: Path) -> None:
    (bad / "interfaces_of_this_folder.py").write_text(
        "from recorder.interface import Interface\nfrom recorder.interfaces import IUNKNOWN\n"
        "MINE = Interface('IMine', '{00000000-0000-0000-0000-000000000002}', (), base=IUNKNOWN)\n"
    )
    result = replay("good.tape", "--interface", "interfaces_of_this_folder:MINE")
    assert result.exit_code == 2
    assert "the target is used as IMine {00000000-" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pace", "slowly"], "'slowly' is neither fast, recorded nor a factor above 0"),
        (["--pace", "0"], "'0' is neither fast, recorded nor a factor above 0"),
        (["--pace", "nan"], "'nan' is neither fast"),
        (["--disable", "crush"], "no oracle 'crush'; did you mean 'crash'?"),
        (["--disable", "zzz"], "no oracle 'zzz'; there are crash, "),
        (["--level", "friendly"], "'friendly' is not one of"),
        (["--timeout", "0"], "0.0 is not in the range x>0"),
        (["--memory", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_usage_is_2(bad: Path, arguments: list[str], said: str) -> None:
    result = replay("good.tape", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_target_is_required() -> None:
    assert run("replay", "x.tape").exit_code == 2


# -------------------------------------------------------------------------------------- the installed command

COMMAND = shutil.which("synctape", path=sysconfig.get_path("scripts"))
installed = pytest.mark.skipif(COMMAND is None, reason="synctape is not installed")


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND or "", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        **options,
    )


@installed
def test_the_installed_command_tells_a_bad_target_in_a_line(bad: Path) -> None:
    with command("replay", "good.tape", "--target", "targets.module_raises:Host") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == f"{BAD_INPUT['good.tape', '--target', 'targets.module_raises:Host']}\n"


@installed
def test_the_installed_command_tells_each_bad_file_in_a_line(bad: Path) -> None:
    with command("replay", *sorted(bad.glob("*.tape")), "--target", CLEAN) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert [Path(line.split(": ")[1]).name for line in err.splitlines()] == [
        *("empty.tape", "json.tape", "newer.tape", "nothing.tape", "other.tape")
    ]
    assert out.endswith("6 traces: 1 passed, 0 failed, 0 fixed, 5 errors\n")


@installed
@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_every_report_flushed(bad: Path, number: signal.Signals, code: int) -> None:
    save(bad, "hang", trace('Progress("%s", 0, 1)'))
    arguments = ("replay", "good.tape", "hang.tape", "--target", "targets.hangs_on_text:Host", "--timeout", "60")
    with command(*arguments, "--junit", "junit.xml") as process:
        assert process.stdout is not None
        guard = threading.Timer(60, process.kill)
        guard.start()
        first = process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate()
        guard.cancel()
    assert first == "PASSED  good.tape  4 calls\n"
    assert process.returncode == code
    assert "1 trace: 1 passed, 0 failed, 0 fixed, 0 errors; interrupted, 1 not replayed\n" in out
    assert err == "synctape: interrupted\n"
    cases = [*ET.parse("junit.xml").iter("testcase")]
    assert [case.get("name") for case in cases] == ["good.tape", "the whole run"]


def test_an_executor_that_fails_is_3(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(*arguments: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(sandbox, "_spawn", no_process)
    result = replay("good.tape")
    assert result.exit_code == 3
    assert result.stderr.startswith("synctape: cannot start ") and result.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------------- signals


def test_stoppable_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with cli.stoppable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (cli.Terminated, 143)])
def test_stoppable_turns_an_interrupt_into_its_code(stop: type[BaseException], code: int) -> None:
    with pytest.raises(SystemExit) as ended, cli.stoppable():
        raise stop
    assert ended.value.code == code


def test_stoppable_works_on_any_thread() -> None:
    done = []

    def work() -> None:
        with cli.stoppable():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


# ---------------------------------------------------------------------------------------------------- explain


def test_a_code_is_explained() -> None:
    result = run("explain", "H14", "x1")
    assert result.exit_code == 0
    first, second, _ = result.stdout.split("\n\n")
    assert first.startswith("H14\n  Rule            Done closes a non-NULL handle exactly once")
    assert "\n  To mend it      " in first and "\n  Source          imapisyncprogresscallback-done.md" in first
    assert second.startswith("X1\n  Means           The process died in a call")
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_without_a_code_all_are_listed_one_a_line() -> None:
    lines = run("explain").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*CODES, *RULES]


def test_an_unknown_code_is_2() -> None:
    result = run("explain", "Z9")
    assert result.exit_code == 2
    assert result.stderr.startswith("synctape: no code 'Z9'; codes are X1, ") and result.stderr.count("\n") == 1


def test_both_commands_have_help() -> None:
    for name in ("replay", "explain"):
        result = run(name, "--help")
        assert result.exit_code == 0 and "Usage:" in result.stdout
    assert {"replay", "explain"} <= set(main.list_commands(click.Context(main)))


# ------------------------------------------------------------------------------------------ another interface

U32 = Type.U32
IMAPI_PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method("Progress", (Parameter("value", U32), Parameter("count", U32), Parameter("total", U32))),
        Method("GetFlags", (Parameter("flags", U32, direction=Direction.OUT),)),
        Method("GetMax", (Parameter("max", U32, direction=Direction.OUT),)),
        Method("GetMin", (Parameter("min", U32, direction=Direction.OUT),)),
        Method("SetLimits", tuple(Parameter(name, U32, True, pointer=True) for name in ("min", "max", "flags"))),
    ),
    base=IUNKNOWN,
)

BAR = """
class Bar:
    limits = [1, 1000, 1]
    def Progress(self, value, count, total):
        assert total or not count, "count of nothing"
        return 0
    def GetFlags(self): return 0, self.limits[2]
    def GetMax(self): return 0, self.limits[1]
    def GetMin(self): return 0, self.limits[0]
    def SetLimits(self, *limits):
        self.limits = [old if new is None else new for old, new in zip(self.limits, limits)]
        return 0

class NarrowBar(Bar):
    def GetMax(self): return 0, 100
"""


def copy_messages(progress: Any) -> None:
    """A provider that reports copying messages, as IMAPIProgress' documentation has it."""
    _, flags = progress.GetFlags()
    _, low = progress.GetMin()
    _, high = progress.GetMax()
    progress.SetLimits(None, high, flags)
    for number in range(3):
        progress.Progress(low + number * (high - low) // 2, number + 1, 3)


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "bars_of_mine.py").write_text(BAR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import bars_of_mine  # type: ignore[import-not-found]

    return bars_of_mine


def test_another_interface_is_recorded_and_replayed(bars: Any) -> None:
    with recording(bars.Bar(), "copy.tape", interface=IMAPI_PROGRESS) as progress:
        copy_messages(progress)
    assert replay("copy.tape", "--match-results", target="bars_of_mine:Bar").exit_code == 0
    result = replay("copy.tape", "--match-results", target="bars_of_mine:NarrowBar")
    assert result.exit_code == 1
    assert "GetMax returned 0x00000000 S_OK (100), recorded 0x00000000 S_OK (1000)" in result.stdout
    assert "> 2  GetMax() -> S_OK (100)" in result.stdout


def test_another_interface_is_recorded_through_com_too(bars: Any) -> None:
    with (
        recording(bars.Bar(), "copy.tape", interface=IMAPI_PROGRESS) as progress,
        com.expose(progress, IMAPI_PROGRESS) as exposed,
    ):
        copy_messages(com.wrap(exposed.pointer, IMAPI_PROGRESS))
    result = replay("copy.tape", "--match-results", target="bars_of_mine:Bar")
    assert result.exit_code == 0, result.output


# --- export ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "begins"),
    [("cpp", "// Replays 4 calls"), ("pytest", 'r"""Replays 4 calls'), ("perfetto", '{"displayTimeUnit": "ns"')],
)
def test_export_writes_to_a_file_or_to_stdout(form: str, begins: str, tmp_path: Path) -> None:
    path, output = save(tmp_path, "good", trace(*GOOD)), tmp_path / "exported"
    shown = CliRunner().invoke(main, ["export", str(path), "--to", form])
    written = CliRunner().invoke(main, ["export", str(path), "--to", form, "-o", str(output)])
    assert (shown.exit_code, written.exit_code, written.output) == (0, 0, "")
    assert shown.output.startswith(begins)
    assert output.read_bytes() == shown.output.encode("ascii")


def test_export_replaces_nothing_unless_told(tmp_path: Path) -> None:
    path, output = save(tmp_path, "good", trace(*GOOD)), tmp_path / "mine"
    output.write_text("mine")
    arguments = ["export", str(path), "--to", "cpp", "-o", str(output)]
    refused = CliRunner().invoke(main, arguments)
    assert (refused.exit_code, output.read_text()) == (2, "mine")
    assert "exists already" in refused.output and len(refused.output.splitlines()) == 1
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0
    assert output.read_text().startswith("// Replays")


@pytest.mark.parametrize("name", ["none.tape", "folder", "noise.tape", "empty.tape"])
def test_export_of_what_is_no_trace_with_calls(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise.tape").write_bytes(b"noise")
    save(tmp_path, "empty", trace())
    done = CliRunner().invoke(
        main, ["export", str(tmp_path / name), "--to", "pytest", "-o", str(tmp_path / "out")]
    )
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1) and name in done.output
    assert not (tmp_path / "out").exists()
    missing = tmp_path / "nowhere" / "out"
    path = save(tmp_path, "good", trace(*GOOD))
    done = CliRunner().invoke(main, ["export", str(path), "--to", "pytest", "-o", str(missing)])
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1) and "cannot be written" in done.output
