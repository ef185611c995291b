"""The switches of scheduled calls: every tool that makes one trace of another keeps them, and shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recorder.calls import Call
from recorder.errors import TextError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.text import from_text, parse_call, to_text
from recorder.trace import read_trace, write_trace
from synctape import main

TEXT = """synctape 1
interface: "IMAPISyncProgressCallback"
scheduled: true
thread t0 0 ""
thread t1 0 ""

0.000000000 t0 Progress("Inbox", 1, 2) @3,-1 -> not run
0.000000000 t1 Progress(NULL, 2, 2) -> not run
0.000000000 t0 Done(NULL, S_OK) @12 -> not run
"""
SWITCHES = [(3, -1), (), (12,)]


@pytest.fixture
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_trace(from_text(TEXT), tmp_path / "a.tape")


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.stdout


def test_the_text_form_spells_them_after_the_call(tape: Path) -> None:
    trace = read_trace(tape)
    assert trace.header.scheduled and [call.switches for call in trace.calls] == SWITCHES
    assert to_text(trace) == run("show", "--text", "a.tape") == TEXT


def test_a_call_by_hand_may_have_them() -> None:
    call = parse_call("t1 Done(NULL, S_OK) @7,-2", SYNC)
    assert call == Call("Done", (None, 0), 1, switches=(7, -2))


@pytest.mark.parametrize("wrong", ["@", "@x", "@1,", "@1.5", "@ 1", "@1,,2", "@1-> S_OK"])
def test_a_mistake_in_them_is_told_by_its_column(wrong: str) -> None:
    with pytest.raises(TextError, match="line 2: column 18: expected the end of the line at @"):
        from_text(f"synctape 1\nDone(NULL, S_OK) {wrong}")


def test_the_table_and_the_summary_show_them(tape: Path) -> None:
    shown = run("show", "a.tape")
    assert "scheduled" in shown and 'Progress("Inbox", 1, 2) @3,-1 ' in shown and "Done(NULL, S_OK) @12 " in shown


def test_json_for_machines_has_them_where_there_are_any(tape: Path) -> None:
    header, *calls, _ = map(json.loads, run("show", "--json", "a.tape").splitlines())
    assert header["scheduled"] is True
    assert [call.get("switches") for call in calls] == [[3, -1], None, [12]]


def test_edited_redacted_and_trimmed_they_stay(tape: Path) -> None:
    run("edit", "a.tape", "-o", "a.jsonl")
    run("edit", "a.jsonl", "-o", "edited.tape")
    run("redact", "a.tape", "-o", "redacted.tape")
    run("trim", "a.tape", "--calls", "0..1", "-o", "part.tape")
    assert tape.read_bytes() == Path("edited.tape").read_bytes()
    for name, expected in (("redacted.tape", SWITCHES), ("part.tape", SWITCHES[:2])):
        other = read_trace(name)
        assert other.header.scheduled and [call.switches for call in other.calls] == expected


def test_json_lines_take_integers_alone_for_switches(tape: Path) -> None:
    run("edit", "a.tape", "-o", "a.jsonl")
    lines = Path("a.jsonl").read_text("utf-8")
    Path("b.jsonl").write_text(lines.replace("[3, -1]", '[3, "x"]'), "utf-8")
    said = CliRunner().invoke(main, ["edit", "b.jsonl", "-o", "b.tape"])
    assert (said.exit_code, Path("b.tape").exists()) == (2, False)
    assert "switches are" in said.output and "expected integers" in said.output


def test_a_difference_in_the_schedule_is_one_like_that_of_threads(tape: Path) -> None:
    write_trace(from_text(TEXT.replace("@3,-1", "@4").replace("scheduled: true\n", "")), "b.tape")
    told = run("diff", "a.tape", "b.tape", code=1)
    assert "? scheduled: yes | no" in told and "?     switches: @3,-1 | @4" in told
    assert "@3,-1 -> not run" in told
    assert run("diff", "--ignore-threads", "a.tape", "b.tape") == ""
