"""Reports: what people read, what machines read, and that both are there whatever ended the run."""

from __future__ import annotations

import io
import json
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequences import calls, regression, trace

from recorder.calls import Call, Outcome, OutcomeKind, Trace
from recorder.contract import Level
from recorder.errors import SynctapeError
from recorder.report_files import shown
from replayer.isolation import Here
from replayer.oracles import Finding
from replayer.player import Run
from replayer.reports import (
    JsonReport,
    JUnitReport,
    Report,
    Summary,
    TextReport,
    failure_text,
    marked_calls,
    report,
    reproduce_line,
)
from replayer.target import load_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

STEP = 'Progress("step", 0, 1)'
NULL = "Progress(NULL, 0, 1)"


def replayed(name: str, recorded: Trace, level: Level = Level.HOSTILE) -> Verdict:
    player = Here(load_target("targets.raises_on_null_text:Host"))
    return replay_trace(recorded, player, Judging().judge(recorded), name=name, level=level, clock=lambda: 0.0)


def command(verdict: Verdict) -> str:
    return reproduce_line(verdict.name, "host:make")


PASSED = replayed("a.tape", trace(STEP, "Done(NULL, S_OK)"))
FAILED = replayed("b.tape", regression("X3", STEP, "Progress(NULL, 0, 0)", "Done(NULL, S_OK)"))
FIXED = replayed("c.tape", regression("X5", STEP))
ERROR = Verdict("d.tape", Status.ERROR, message="is not a synctape trace")
BEYOND = replayed("e.tape", trace("Done(NULL, S_OK)", NULL), Level.LENIENT)
ALL = [PASSED, FAILED, FIXED, ERROR, BEYOND]


def text(*verdicts: Verdict) -> str:
    out = io.StringIO()
    report(verdicts, [TextReport(out, command)], len(verdicts))
    return re.sub(r"(_text\.py):\d+", r"\1:N", out.getvalue())


# -------------------------------------------------------------------------------------------------- summaries


def test_a_summary_counts_and_decides_the_exit_code() -> None:
    summary = report(ALL, [], 5)
    assert summary.line == "5 traces: 2 passed, 1 failed, 1 fixed, 1 errors"
    assert summary.exit_code == 1


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [([PASSED, FIXED], 0), ([BEYOND], 0), ([FAILED, ERROR], 1), ([PASSED, ERROR], 2), ([], 2)],
)
def test_exit_codes(verdicts: list[Verdict], code: int) -> None:
    assert report(verdicts, [], len(verdicts)).exit_code == code


# ------------------------------------------------------------------------------------------------------- text


def test_the_whole_report_in_plain_text(golden: Callable[[str, str], None]) -> None:
    golden("replay.txt", text(*ALL))


def test_without_findings_there_is_no_table() -> None:
    assert text(PASSED) == "PASSED  a.tape  2 calls\n1 trace: 1 passed, 0 failed, 0 fixed, 0 errors\n"


def test_one_bug_in_many_traces_is_one_row_and_told_in_full_only_so_often() -> None:
    many = [replayed(f"{number}.tape", trace(STEP, NULL)) for number in range(30)]
    said = text(*many)
    assert "30, first 0.tape" in said
    assert said.count("replay it: ") == 20
    assert "10 more failed traces show nothing else" in said


def test_a_bug_that_only_the_last_trace_shows_is_told() -> None:
    many = [replayed(f"{number}.tape", trace(STEP, NULL)) for number in range(30)]
    other = Finding("X9", "other", 0, "Progress", "something else")
    said = text(*many, Verdict("last.tape", Status.FAILED, (other,), run=many[0].run))
    assert "--- last.tape" in said


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_is_the_same_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen()
    report(ALL, [TextReport(screen, command)], len(ALL))
    said = screen.getvalue()
    assert "\x1b[31mFAILED" in said and "\x1b[1m> 1  Progress(NULL, 0, 0)" in said
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert "replay it: synctape replay b.tape --target host:make\n" in plain
    assert all(len(line) <= 100 for line in plain.split("\n\n")[1].splitlines())  # the table


# ------------------------------------------------------------------------------------------------------ calls


def marked(count: int, *failing: int) -> list[str]:
    sequence = [Call("Progress", (None, number, 9999)) for number in range(count)]
    run = Run(Trace.from_calls(sequence, outcomes=[Outcome()] * count))
    return [*marked_calls(run, failing)]


def test_a_short_sequence_is_shown_whole() -> None:
    assert marked(3, 1) == [
        "  0  Progress(NULL, 0, 9999) -> S_OK",
        "> 1  Progress(NULL, 1, 9999) -> S_OK",
        "  2  Progress(NULL, 2, 9999) -> S_OK",
    ]


def test_of_a_long_one_the_start_and_what_is_around_the_failing_call() -> None:
    lines = marked(5000, 3000)
    assert lines[2] == "        … 2990 calls"
    assert lines[-1] == "        … 1998 calls"
    assert [line for line in lines if line.startswith(">")] == ["> 3000  Progress(NULL, 3000, 9999) -> S_OK"]
    assert len(lines) == 2 + 1 + 8 + 1 + 1 + 1


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=4))
def test_every_call_is_shown_or_counted(count: int, failing: set[int]) -> None:
    lines = marked(count, *failing)
    elided = [int(line.split()[1]) for line in lines if "…" in line]
    assert len(lines) - len(elided) + sum(elided) == count
    assert sum(line.startswith(">") for line in lines) == len([n for n in failing if n < count])


def test_threads_are_shown_where_there_are_several() -> None:
    run = Run(Trace.from_calls([Call("Done", (None, 0), thread) for thread in (0, 1)]))
    assert [line[5:7] for line in marked_calls(run, ())] == ["t0", "t1"]


def test_answers_lost_with_the_process_are_not_shown() -> None:
    lost = Outcome(OutcomeKind.RETURNED, None, detail="the answer was lost with the process")
    died = Outcome(OutcomeKind.CRASHED, None, detail="SIGSEGV")
    run = Run(Trace.from_calls(calls(STEP, NULL), outcomes=[lost, died]))
    assert [*marked_calls(run, [1])] == [
        '  0  Progress("step", 0, 1)',
        "> 1  Progress(NULL, 0, 1) -> crashed: SIGSEGV",
    ]


def test_a_long_text_is_shown_by_its_beginning() -> None:
    (line,) = marked_calls(Run(trace(f'Progress("{"x" * 10**6}", 0, 1)')), ())
    assert 'xxx… (1000000 characters)", 0, 1)' in line and len(line) < 200


def test_the_stack_of_the_target_is_shown() -> None:
    died = Outcome(OutcomeKind.CRASHED, None, detail="SIGSEGV")
    frames = "\n".join(f'  File "/x/host.py", line {number} in f' for number in range(30))
    stack = (
        f'Current thread 0x1 (most recent call first):\n{frames}\n  File "/x/replayer/player.py", line 1 in _make'
    )
    run = Run(Trace.from_calls(calls(NULL), outcomes=[died]), stack=stack)
    said = failure_text(Verdict("a.tape", Status.FAILED, run=run), "again")
    assert '  File "/x/host.py", line 0, in f' in said
    assert "  … 10 frames" in said and "player.py" not in said


# ----------------------------------------------------------------------------------------------- strange text


def test_what_does_not_print_is_escaped() -> None:
    assert shown("a\x1b[31m\n\ud800\u202e\uffff b") == r"a\x1b[31m\n\ud800\u202e\uffff b"
    assert shown("Größe 尺寸 “x” <&>") == "Größe 尺寸 “x” <&>"
    assert len(shown("x" * 1000)) == 400


def test_a_command_is_one_for_a_shell() -> None:
    line = reproduce_line("night run's.tape", "build/host.so:create", ["--timeout", "2"])
    assert shlex.split(line) == [
        *("synctape", "replay", "night run's.tape", "--target", "build/host.so:create", "--timeout", "2")
    ]


@pytest.mark.parametrize("name", ["plain.tape", "\x1b[2J.tape", "a&b<c>'\".tape", "\udcff.tape", "\x00\x0b\ufffe"])
def test_no_name_breaks_a_report(tmp_path: Path, name: str) -> None:
    finding = Finding("X3", "exception", 0, "Progress", f"ValueError: {name}", f"{name}:1 in f")
    run = Run(Trace.from_calls([Call("Progress", (name, 0, 1))]))
    verdicts = [Verdict(name, Status.FAILED, (finding,), message=name, notes=(name,), run=run)]
    out, machine = io.StringIO(), io.StringIO()
    reports: list[Report] = [
        TextReport(out, command),
        JsonReport(machine, command),
        JUnitReport(tmp_path / "j.xml", name, command),
    ]
    report(verdicts, reports, 1)
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    out.getvalue().encode()
    assert json.loads(machine.getvalue().splitlines()[0])["trace"] == name
    (case,) = ET.parse(tmp_path / "j.xml").iter("testcase")
    assert case.get("name") == shown(name)


# ------------------------------------------------------------------------------------------------------- JSON


def test_json_is_an_object_a_line_and_a_summary() -> None:
    out = io.StringIO()
    report(ALL, [JsonReport(out, command)], 5)
    *lines, last = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["status"] for line in lines] == ["passed", "failed", "fixed", "error", "passed"]
    assert last == {
        "summary": {"traces": 5, "passed": 2, "failed": 1, "fixed": 1, "errors": 1, "planned": 5, "stopped": ""}
    }
    (finding,) = lines[1]["findings"]
    assert finding["code"] == "X3" and finding["call"] == 1 and finding["method"] == "Progress"
    assert finding["level"] == "lenient" and finding["broken"] == ["P6"]
    assert finding["blame"].startswith("host (") and re.fullmatch("[0-9a-f]{12}", finding["fingerprint"])
    assert lines[1]["reproduce"] == "synctape replay b.tape --target host:make"
    assert lines[3]["message"] == "is not a synctape trace"
    assert lines[4]["beyond_level"][0]["level"] == "hostile"


# ------------------------------------------------------------------------------------------------------ JUnit

ATTRIBUTES = {
    # of each element those that must be there
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"},
    "testcase": {"classname", "name", "time"},
    "properties": set[str](),
    "property": {"name", "value"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "system-out": set[str](),
}
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["testcase"],
    "testcase": ["properties", "failure", "error", "system-out"],
    "properties": ["property"],
}


def check(element: ET.Element) -> None:
    """The structure that CI servers agree on."""
    assert set(element.attrib) == ATTRIBUTES[element.tag]
    order = CHILDREN.get(element.tag, [])
    places = [order.index(child.tag) for child in element]
    assert places == sorted(places)
    for child in element:
        check(child)
    if element.tag == "testsuite":
        cases = element.findall("testcase")
        assert int(element.attrib["tests"]) == len(cases)
        assert int(element.attrib["failures"]) == sum(case.find("failure") is not None for case in cases)
        assert int(element.attrib["errors"]) == sum(case.find("error") is not None for case in cases)
        assert datetime.fromisoformat(element.attrib["timestamp"]).tzinfo is not None


def junit(path: Path) -> dict[str, ET.Element]:
    """The test cases of a report by name, its structure checked."""
    root = ET.parse(path).getroot()
    assert root.tag == "testsuites"
    check(root)
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def write_junit(path: Path, *verdicts: Verdict) -> dict[str, ET.Element]:
    report(verdicts, [JUnitReport(path, "host:make", command)], len(verdicts))
    return junit(path)


def test_junit_has_a_case_for_each_trace(tmp_path: Path) -> None:
    cases = write_junit(tmp_path / "junit.xml", *ALL)
    assert [*cases] == ["a.tape", "b.tape", "c.tape", "d.tape", "e.tape"]
    assert {case.get("classname") for case in cases.values()} == {"host:make"}
    assert list(cases["a.tape"]) == []


def test_a_failure_has_codes_sequence_and_command(tmp_path: Path) -> None:
    failure = write_junit(tmp_path / "junit.xml", FAILED)["b.tape"].find("failure")
    assert failure is not None and failure.text is not None
    assert failure.get("type") == "X3"
    assert failure.attrib["message"].startswith("X3: TypeError: object of type")
    assert "> 1  Progress(NULL, 0, 0) -> raised: TypeError" in failure.text
    assert "replay it: synctape replay b.tape --target host:make" in failure.text


def test_level_and_blame_are_properties(tmp_path: Path) -> None:
    case = write_junit(tmp_path / "junit.xml", FAILED)["b.tape"]
    properties = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
    assert properties["level"] == "lenient" and properties["blame"].startswith("host (on calls that break P6")


def test_what_could_not_be_replayed_is_an_error(tmp_path: Path) -> None:
    error = write_junit(tmp_path / "junit.xml", ERROR)["d.tape"].find("error")
    assert error is not None and error.get("message") == "is not a synctape trace"


def test_notes_are_said_in_system_out(tmp_path: Path) -> None:
    cases = write_junit(tmp_path / "junit.xml", FIXED, BEYOND)
    assert cases["c.tape"].findtext("system-out") == "FIXED: X5 is gone"
    assert (cases["e.tape"].findtext("system-out") or "").startswith("X3 (hostile): TypeError: ")


def test_the_junit_file_appears_whole_and_alone_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "ci" / "junit.xml"
    write_junit(path, PASSED)
    write_junit(path, FAILED)  # over the old one
    assert [*path.parent.iterdir()] == [path]
    assert path.read_bytes().startswith(b"<?xml version='1.0' encoding='utf-8'?>")


def test_a_junit_file_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SynctapeError, match="cannot be written: "):
        JUnitReport(tmp_path / "file" / "junit.xml", "host:make", command)
    late = JUnitReport(tmp_path / "folder", "host:make", command)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SynctapeError, match="folder: is a folder"):
        JUnitReport(tmp_path / "folder", "host:make", command)
    with pytest.raises(SynctapeError, match="folder: cannot be written: "):
        late.end(Summary(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_does_not_count_is_skipped_in_junit_and_says_why(tmp_path: Path) -> None:
    excused = replace(FAILED, status=Status.PASSED, excuse="known since 2026-05-01")
    summary = report([excused], [JUnitReport(tmp_path / "junit.xml", "host:make", command)], 1)
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert (root.attrib["failures"], root.attrib["skipped"], summary.exit_code) == ("0", "1", 0)
    (skipped,) = root.iter("skipped")
    assert skipped.attrib["message"] == "known since 2026-05-01"


# ------------------------------------------------------------------------------------------------ interrupted


def stopping(error: BaseException) -> Iterator[Verdict]:
    yield PASSED
    raise error


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt(), "interrupted"), (SynctapeError("no process"), "stopped: no process")]
)
def test_whatever_ends_the_run_every_report_is_ended_and_not_green(
    tmp_path: Path, error: BaseException, said: str
) -> None:
    out, machine = io.StringIO(), io.StringIO()
    reports: list[Report] = [
        TextReport(out, command),
        JsonReport(machine, command),
        JUnitReport(tmp_path / "junit.xml", "host:make", command),
    ]
    with pytest.raises(type(error)):
        report(stopping(error), reports, 9)
    assert out.getvalue().endswith(f"1 trace: 1 passed, 0 failed, 0 fixed, 0 errors; {said}, 8 not replayed\n")
    summary = json.loads(machine.getvalue().splitlines()[-1])["summary"]
    assert (summary["traces"], summary["planned"], summary["stopped"]) == (1, 9, said)
    stopped = junit(tmp_path / "junit.xml")["the whole run"].find("error")
    assert stopped is not None and stopped.attrib["message"] == said
    assert stopped.text == "8 of 9 traces were not replayed"


def test_a_report_that_fails_does_not_keep_the_others_from_ending(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    reports: list[Any] = [
        TextReport(Closed(), command),
        JUnitReport(tmp_path / "junit.xml", "host:make", command),
    ]
    with pytest.raises(BrokenPipeError):
        report([PASSED], reports, 1)
    assert "the whole run" in junit(tmp_path / "junit.xml")
