"""Which calls are shown: by method, thread, failure and time; in the table, as JSON lines, in statistics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import synctape
from recorder.selection import Selection, SelectionError, parse_between
from recorder.text import from_text
from recorder.trace import write_trace

RUN = """synctape 1
thread t0 4711 "sync"
thread t1 4712 "worker 1"

0.000512000 t0 Progress("one", 0, 2) -> S_OK 12.288us
0.001024000 t0 #1 Progress("two", 1, 2) ...
0.002048000 t1 #2 Error(0x80004005 E_FAIL, "three") -> 0x80004005 E_FAIL 1.536ms
0.003072000 t1 #3 Progress("four", 1, 2) -> raised "ValueError: no" at "host.py:7 in Progress" 3us
#1 -> S_OK 5.12s
6.000000000 t0 #4 Progress("five", 2, 2) -> 0x00040000 1us
7.000000000 t0 #5 Done(sync-event, S_OK) ...
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_trace(from_text(RUN), tmp_path / "run.tape")
    return tmp_path / "run.tape"


def show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(synctape.main, ["show", *map(str, arguments)])


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (["--method", "Progress"], [0, 1, 3, 4]),
        (["--method", "Error", "--method", "Done"], [2, 5]),
        (["--thread", "t1"], [2, 3]),
        (["--thread", "1", "--method", "Error"], [2]),
        (["--thread", "worker 1"], [2, 3]),
        (["--failed"], [2, 3, 5]),
        (["--between", "..0.0015"], [0, 1]),
        (["--between", "2ms..3500us"], [1, 2, 3]),  # call 1 is running then
        (["--between", "6.5.."], [5]),
        (["--between", "0.1min.."], [4, 5]),
        (["--thread", "t7"], []),
    ],
)
def test_calls_are_chosen(path: Path, asked: list[str], numbers: list[int]) -> None:
    header, *calls, end = map(json.loads, show(path, "--json", *asked).stdout.splitlines())
    assert [call["number"] for call in calls] == numbers
    assert (header["kind"], end["calls"]) == ("header", 6)
    table = show(path, *asked).stdout.splitlines()
    assert table[-1] == f"{len(numbers)} of 6 calls"
    head = table.index(next((line for line in table if line.startswith("call ")), table[-1]))
    assert [int(line.split()[0]) for line in table[head + 1 : -1]] == numbers
    figures = json.loads(show(path, "--stats", "--json", *asked).stdout)
    assert (figures["calls"], figures["of"]) == (len(numbers), 6)


def test_figures_are_of_the_chosen_calls(path: Path) -> None:
    figures = json.loads(show(path, "--stats", "--json", "--thread", "t1").stdout)
    assert figures["methods"] == {"Error": 1, "Progress": 1}
    assert figures["slowest"] == [[2, 0.001536], [3, 2.048e-06]]
    assert figures["gaps"] == [[3, 0.001024]]
    assert "  calls       2 of 6 in " in show(path, "--stats", "--thread", "t1").stdout


def test_without_a_choice_nothing_is_said_of_one(path: Path) -> None:
    assert " of 6" not in show(path).stdout
    assert json.loads(show(path, "--stats", "--json").stdout)["of"] is None
    assert not Selection()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--method", "Progres"], "did you mean 'Progress'?"),
        (["--between", "3"], "'3' is no time between two others; write it as 1.5..3, 2min.. or ..300ms"),
        (["--between", ".."], "is no time between two others"),
        (
            ["--between", "1..2 weeks"],
            "'1..2 weeks': '2 weeks' is no time; write seconds, or a number and one of ns,",
        ),
        (["--between", "3..1"], "'3..1' ends before it begins"),
        (["--text", "--failed"], "the text form is of whole traces"),
    ],
)
def test_what_cannot_be_chosen_is_told(path: Path, asked: list[str], told: str) -> None:
    result = show(path, *asked)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
    assert not result.stdout


@pytest.mark.parametrize("form", ["--json", "--stats", "--timeline"])
def test_nothing_is_shown_of_what_cannot_be_chosen(path: Path, form: str) -> None:
    result = show(path, form, "--method", "Progres")
    assert (result.exit_code, result.stdout) == (2, "")


def test_times_are_exact() -> None:
    assert parse_between("1.000000001..2h") == (1_000_000_001, 7200 * 10**9)
    assert parse_between("0.5us..") == (500, None)
    with pytest.raises(SelectionError):
        parse_between("1..2..3")
