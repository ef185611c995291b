"""trim and edit: what is kept of a trace, and that nothing is lost on the way out and back in."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from any_trace import traces
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import synctape
from recorder.calls import Call, Header, Trace
from recorder.checking import check
from recorder.edit import edit_lines, from_edit_lines
from recorder.errors import SynctapeError, TextError
from recorder.selection import Selection
from recorder.text import from_text, to_text
from recorder.trace import dump_trace, read_trace, write_trace
from recorder.trace_input import TraceInput
from recorder.trim import parse_calls, trim

RUN = """synctape 1
sync_flags: 130
thread t0 4711 "sync"
thread t1 4712 "受信箱"

0.001024000 t0 Progress("Entwürfe \\ud800", 0, 2) -> S_OK 12.288us
0.002048000 t0 #1 Progress(NULL, 1, 2) ...
0.003072000 t1 #2 Error(0x80004005 E_FAIL, "受信箱") ...
#2 -> 0x80004005 E_FAIL 2.048us
#1 -> None 5.12us
6.000000000 t0 #3 Done(sync-event, E_FAIL) ...
"""

_SEPARATE: Any = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def invoke(*arguments: str | Path, given: str | None = None) -> Result:
    result = CliRunner(**_SEPARATE).invoke(synctape.main, [*map(str, arguments)], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_trace(from_text(RUN), tmp_path / "run.tape")


# --- edit ----------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3)
VALUES = SCALARS | st.binary(max_size=3) | st.lists(SCALARS, max_size=3)
UNKNOWN = st.builds(lambda kind, rest: msgpack.packb([kind, *rest]), st.integers(6, 15), st.lists(VALUES))
"""Records of a later version."""


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A trace file with calls of all kinds, and records of later versions anywhere between them."""
    trace = draw(traces())
    places = sorted(draw(st.lists(st.integers(0, len(trace.events)), max_size=3)))
    data = dump_trace(trace, [(place, draw(UNKNOWN)) for place in places])
    return data if draw(st.integers(0, 4)) else data[:-10]  # cut off before the end record


def comes_back(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    lines = [*edit_lines(TraceInput(path))]
    again = from_edit_lines(lines)
    assert dump_trace(again.trace, again.others) == data
    assert all(line.isprintable() for line in lines)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_what_nobody_changed_comes_back_byte_by_byte(tmp_path: Path, data: bytes) -> None:
    comes_back(tmp_path / "a.tape", data)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_a_great_many_come_back_byte_by_byte(tmp_path: Path, data: bytes) -> None:
    comes_back(tmp_path / "a.tape", data)


def test_odd_things_come_back_byte_by_byte(tmp_path: Path) -> None:
    lines = [
        'Progress("\\ud800 alone", 1, 2) -> S_OK',
        'Progress(NULL, 0, 0x10000000000000000) -> raised "\\udfff"',
        "Progress(true, nan, -inf) -> None",
        'Error(handle(-1), bytes(00ff)) -> S_OK (1, "x", NULL)',
        'Done(opaque("list", "[]"), sync-event, 1.0) ...',
    ]
    records = [
        msgpack.packb([6, "later", {1: -float("nan")}]),
        msgpack.packb([15, msgpack.ExtType(3, b"x"), [b"\x00"]]),
    ]
    comes_back(tmp_path / "a.tape", dump_trace(from_text("\n".join(["synctape 1", *lines])), enumerate(records)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text() | st.sampled_from(["{", "}", '"kind": "call"', "null", "[", "1e999"])), st.integers(0, 9)
)
def test_other_lines_give_nothing_but_our_error(parts: list[str], at: int) -> None:
    lines = ['{"kind": "header", "interface": "IMAPISyncProgressCallback"}', '{"kind": "end"}']
    lines.insert(min(at, 2), "".join(parts))
    try:
        from_edit_lines(lines)
    except TextError:
        return
    assert not "".join(parts).strip()


def test_a_call_is_changed_by_hand(run: Path) -> None:
    assert invoke("edit", run, "-o", "run.jsonl").exit_code == 0
    lines = Path("run.jsonl").read_text("utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["header", "call", "call", "call", "return", "call", "end"]
    assert '"Entwürfe \\ud800"' in lines[1]  # what can be read stays so
    lines[1] = lines[1].replace("Entwürfe", "Drafts")
    del lines[5]
    lines.insert(1, '{"kind": "call", "method": "Error", "args": [{"$hresult": "E_ABORT"}, null]}')
    Path("run.jsonl").write_text("\n".join(lines), "utf-8")

    result = invoke("edit", "run.jsonl", "-o", "new.tape")

    assert (result.exit_code, result.stdout) == (0, "new.tape: 4 calls\n")
    text = to_text(read_trace("new.tape")).splitlines()
    assert text[-5:] == [
        "0.000000000 t0 Error(0x80004004 E_ABORT, NULL) -> not run",
        '0.001024000 t0 Progress("Drafts \\ud800", 0, 2) -> S_OK 12.288us',
        "0.002048000 t0 #2 Progress(NULL, 1, 2) ...",
        '0.003072000 t1 Error(0x80004005 E_FAIL, "受信箱") -> 0x80004005 E_FAIL 2.048us',
        "#2 -> None 5.12us",
    ]


def test_lines_through_a_pipe(run: Path) -> None:
    printed = invoke("edit", run).stdout
    assert invoke("edit", "-", "-o", "new.tape", given=printed).exit_code == 0
    assert Path("new.tape").read_bytes() == run.read_bytes()


def test_the_text_form_goes_out_too(run: Path) -> None:
    Path("run.txt").write_text(RUN, "utf-8")
    assert invoke("edit", "run.txt").stdout == invoke("edit", run).stdout


def test_an_old_file_is_left_alone(run: Path) -> None:
    before = run.read_bytes()
    for command, *options in (["edit"], ["trim", "--calls", "1"]):
        result = invoke(command, run, *options, "-o", run)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith("exists already; give another name, or --force to replace it\n")
    assert run.read_bytes() == before
    assert (
        invoke("edit", run, "-o", "a.jsonl").exit_code == invoke("edit", "a.jsonl", "-o", run, "--force").exit_code
    )
    assert run.read_bytes() == before


HEAD = '{"kind": "header", "interface": "IMAPISyncProgressCallback"}'
DONE = '{"kind": "call", "method": "Done", "args": [null, 0]'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON (Expecting property name enclosed in double quotes at its character 2)"),
        ("[1]", "line 2: expected an object, {...}"),
        (HEAD, "line 2: unknown kind 'header'; there are call, return, record, end"),
        ('{"kind": "cal"}', "line 2: unknown kind 'cal'; there are call, return, record, end"),
        ('{"kind": "call"}', "line 2: there is no 'method'"),
        ('{"kind": "call", "method": "Progres"}', "line 2: no method 'Progres'"),
        (DONE + ', "arg": 1}', "line 2: a call has no 'arg'"),
        (DONE + ', "thread": 1}', "line 2: there is no thread 1; the header names 1 of them"),
        (DONE + ', "time_ns": "1s"}', 'line 2: time_ns is "1s"; expected an integer'),
        (DONE + ', "outcome": {"kind": "lost"}}', "line 2: unknown outcome 'lost'"),
        (DONE + ', "outcome": {"value": [1]}}', "line 2: an answer cannot be [1]"),
        ('{"kind": "call", "method": "Done", "args": [{"a": 1}]}', 'line 2: an argument cannot be {"a": 1}'),
        (
            '{"kind": "call", "method": "Done", "args": [{"$handle": "x"}]}',
            "line 2: $handle with str says nothing",
        ),
        (
            '{"kind": "call", "method": "Done", "args": [null, {"$hresult": "E_NO"}]}',
            "line 2: $hresult: 'E_NO' is no HRESULT; write its name",
        ),
        (
            '{"kind": "call", "method": "Done", "args": [null, {"$hresult": 5}]}',
            "line 2: $hresult with int says nothing (str expected)",
        ),
        ('{"kind": "return", "number": 0, "outcome": {}}', "line 2: no call with number 0 is running"),
        (
            '{"kind": "record", "msgpack": "9103"}',
            "line 2: not a record of a kind that this version does not know",
        ),
        ('{"kind": "record", "msgpack": "95"}', "line 2: not a record in msgpack"),
        ('{"kind": "end"}', "line 3: there is a line after the end"),
    ],
)
def test_mistakes_are_told_by_their_lines(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([HEAD, line, '{"kind": "end"}']), "utf-8")
    result = invoke("edit", path, "-o", tmp_path / "a.tape")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"synctape: {path}: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.tape").exists()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('"scheduled": 1', "line 1: scheduled is 1; expected true or false"),
        ('"pointer_size": 18446744073709551616', "header: pointer_size is a number over 64 bits"),
        ('"extra": {"tick_ns": 0}', "header: 'tick_ns' is no field of another version"),
    ],
)
def test_a_header_that_would_not_be_read_back_is_not_written(tmp_path: Path, field: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{HEAD[:-1]}, {field}}}\n{{"kind": "end"}}', "utf-8")
    result = invoke("edit", path, "-o", tmp_path / "a.tape")
    assert result.exit_code == 2 and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.tape").exists()


def test_lines_that_break_off_are_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{HEAD}\n{DONE}}}\n", "utf-8")
    result = invoke("edit", tmp_path / "a.jsonl", "-o", tmp_path / "a.tape")
    assert result.exit_code == 2 and "the file is cut off" in result.stderr


def test_what_cannot_be_edited(run: Path) -> None:
    Path("bad.jsonl").write_bytes(b'{"\xff"}')
    assert invoke("edit", "bad.jsonl", "-o", "x").stderr == "synctape: bad.jsonl: is not UTF-8 at byte 2\n"
    assert invoke("edit", "none", "-o", "x").exit_code == 2
    Path("x.jsonl").write_text(f'{HEAD}\n{{"kind": "end"}}\n', "utf-8")
    assert "give the trace to write with -o" in invoke("edit", "x.jsonl").stderr


# --- trim ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "calls"),
    [("10..40", (10, 40)), ("7", (7, 7)), ("3..", (3, None)), ("..4", (0, 4)), ("2..2", (2, 2))],
)
def test_ranges(text: str, calls: tuple[int, int | None]) -> None:
    assert parse_calls(text) == calls


@pytest.mark.parametrize("text", ["", "..", "a", "1-3", "4..3", "-1", "1..2..3", "1.5"])
def test_no_ranges(text: str) -> None:
    with pytest.raises(SynctapeError, match=r"write it as|ends before it begins"):
        parse_calls(text)


def test_a_part_keeps_calls_answers_times_and_threads(run: Path) -> None:
    result = invoke("trim", run, "--calls", "1..2", "-o", "part.tape")
    assert (result.exit_code, result.stdout) == (0, "part.tape: 2 of 4 calls\n")
    part = read_trace("part.tape")
    whole = read_trace(run)
    assert part.calls == whole.calls[1:3]
    assert [played.outcome for played in part.played] == [played.outcome for played in whole.played[1:3]]
    assert [event.number for event in part.events] == [0, 1, 1, 0]  # they overlap as they did
    assert part.threads == whole.threads
    assert part.header.sync_flags == 130
    assert part.header.provenance["trimmed"] == {"of": 4, "kept": 2, "first": 1, "last": 2}


def test_calls_can_be_chosen_in_other_ways_too(run: Path) -> None:
    assert invoke("trim", run, "--method", "Progress", "--calls", "1..", "-o", "a.tape").exit_code == 0
    assert [call.args[1] for call in read_trace("a.tape").calls] == [1]
    assert invoke("trim", run, "--failed", "-o", "b.tape").exit_code == 0
    assert [call.method for call in read_trace("b.tape").calls] == ["Error", "Done"]
    assert read_trace("b.tape").played[1].outcome is None


def test_a_part_keeps_what_later_versions_wrote(run: Path) -> None:
    later = [(place, msgpack.packb([9, place])) for place in (0, 2, 3, 8)]
    run.write_bytes(dump_trace(read_trace(run), later))
    assert invoke("trim", run, "--calls", "1..2", "-o", "a.tape").exit_code == 0
    kept: list[Any] = []
    with TraceInput("a.tape").source(kept.append) as source:
        events = [len(kept) for _ in source.events()]
    assert [place for _, place in kept] == [0, 2, 3, 8]
    assert events == [2, 3, 3, 3]


def test_what_cannot_be_trimmed(run: Path) -> None:
    assert "say which calls to keep" in invoke("trim", run, "-o", "a.tape").stderr
    result = invoke("trim", run, "--calls", "4..", "-o", "a.tape")
    assert (result.exit_code, result.stderr) == (2, f"synctape: {run}: none of its 4 calls is chosen\n")
    assert not Path("a.tape").exists()


def test_a_part_is_not_blamed_for_the_end_that_it_lacks(run: Path) -> None:
    lines = ["synctape 1", *[f"Progress(NULL, {n}, 5) -> S_OK" for n in range(1, 6)], "Done(NULL, S_OK) -> S_OK"]
    whole = TraceInput(write_trace(from_text("\n".join(lines)), run.with_name("whole.tape")))
    middle = write_trace(trim(whole, 1, 3), run.with_name("middle.tape"))
    assert check(TraceInput(middle)).broken == []
    nested = write_trace(trim(TraceInput(middle), 1, 2), run.with_name("nested.tape"))
    assert check(TraceInput(nested)).broken == []
    no_done = write_trace(Trace.from_calls([Call("Progress", (None, 1, 1))], Header()), run.with_name("x.tape"))
    last = write_trace(trim(TraceInput(no_done), 0, 0), run.with_name("last.tape"))
    assert [broken.rule.id for broken in check(TraceInput(last)).broken] == ["P12"]
    rest = trim(whole, selection=Selection(methods=("Done",)))
    assert [call.method for call in rest.calls] == ["Done"]


def test_the_damage_of_a_part_is_that_of_its_end(run: Path) -> None:
    run.write_bytes(run.read_bytes()[:-10])
    result = invoke("trim", run, "--calls", "0..1", "-o", "a.tape")
    assert result.exit_code == 0 and "ends without an end record" in result.stderr
    assert read_trace("a.tape").damage is None
    assert invoke("trim", run, "--calls", "1..", "-o", "b.tape").exit_code == 0
    assert read_trace("b.tape").damage is not None
