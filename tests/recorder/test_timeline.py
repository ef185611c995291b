"""A trace as a timeline: a line for each thread, marks for what happened when."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import synctape
from recorder.calls import Call, Outcome, Thread, Trace
from recorder.hresult import parse
from recorder.text import from_text
from recorder.timeline import timeline
from recorder.trace import write_trace
from recorder.trace_input import TraceInput

SECOND = 10**9


def lines(trace: Trace, folder: Path, width: int = 62, blocks: bool = True) -> list[str]:
    path = folder / "run.tape"
    write_trace(trace, path, overwrite=True)
    return [
        "".join(text for text, _ in parts).rstrip() for parts in timeline(TraceInput(path), width, blocks=blocks)
    ]


RUN = """synctape 1
thread t0 1 "sync"
thread t1 2 ""

0.0 t0 Progress("a", 0, 4) -> S_OK 1us
0.1 t0 Progress("a", 1, 4) -> S_OK 1us
5.5 t0 Progress("a", 2, 4) -> S_OK 3s
10.5 t1 Error(E_FAIL, "b") -> raised "ValueError: no" 1us
15.5 t0 Progress("a", 4, 4) -> S_OK 1us
20.0 t0 Done(sync-event, S_OK) ...
"""


def test_threads_have_lines(tmp_path: Path) -> None:
    assert lines(from_text(RUN), tmp_path) == [
        't0 "sync"   █    ▄───      ▄   ✗  5 calls, 1 failed',
        "t1                    ✗           1 call, 1 failed",
        "Progress    ▃    ▅         █      position, 0 to 100 %",
        "            0.000 s     20.000 s",
        "            ▁ to █ up to 2 calls begin in 1 s, ✗ one fails, ─ one goes on",
    ]


def test_ascii_where_there_is_no_more(tmp_path: Path) -> None:
    shown = lines(from_text(RUN), tmp_path, blocks=False)
    assert all(line.isascii() for line in shown)
    assert "X" in shown[1]


def test_many_threads_share_a_line(tmp_path: Path) -> None:
    calls = [Call("Progress", ("x", 1, 1), thread % 40, thread * SECOND) for thread in range(80)]
    trace = Trace.from_calls(calls, outcomes=[Outcome(value=parse("E_FAIL"))] * 80)
    shown = lines(
        Trace(trace.header, trace.events, tuple(Thread(n, f"{'thread ' * 9}{n}") for n in range(40))), tmp_path
    )
    assert len(shown) == 16 + 3
    assert shown[15].startswith("25 others")
    assert shown[15].endswith("50 calls, 50 failed")


def test_nothing_and_one_moment(tmp_path: Path) -> None:
    assert lines(Trace(), tmp_path) == ["no call"]
    assert lines(Trace.from_calls([Call("Progress", ("x", 1, 1))]), tmp_path)[0].split() == [
        "t0",
        "█",
        "1",
        "call",
    ]


def test_the_command_shows_it_for_chosen_calls(tmp_path: Path) -> None:
    write_trace(from_text(RUN), tmp_path / "run.tape")
    arguments = ["show", "--timeline", "--between", "9..11", str(tmp_path / "run.tape")]
    shown = CliRunner().invoke(synctape.main, arguments).stdout.splitlines()
    assert [line.split()[0] for line in shown[-3:-2]] == ["t1"]


@pytest.mark.parametrize("other", ["--stats", "--json", "--text"])
def test_it_is_the_only_form_that_is_asked_for(tmp_path: Path, other: str) -> None:
    write_trace(from_text(RUN), tmp_path / "run.tape")
    result = CliRunner().invoke(synctape.main, ["show", "--timeline", other, str(tmp_path / "run.tape")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert {"--timeline", other} <= set(result.stderr.split())
    assert "do not go together" in result.stderr
