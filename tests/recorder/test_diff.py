"""diff: what is aligned with what, what counts, and how the command ends."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import synctape
from recorder.diff import Sign, compare
from recorder.text import from_text
from recorder.trace import write_trace
from recorder.trace_input import TraceInput

BASE = (
    'Progress("Inbox", 0, 3) -> S_OK',
    'Progress("Inbox", 1, 3) -> S_OK',
    "Progress(NULL, 2, 3) -> S_OK",
    "Progress(NULL, 3, 3) -> S_OK",
    "Done(sync-event, S_OK) -> S_OK",
)


def saved(path: Path, *lines: str, head: str = "") -> Path:
    return write_trace(from_text("\n".join(["synctape 1", *filter(None, [head]), *lines])), path)


_SEPARATE: Any = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def diff(*arguments: str | Path) -> Result:
    result = CliRunner(**_SEPARATE).invoke(synctape.main, ["diff", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.tape", *BASE)
    return tmp_path


def signs(first: Path, second: Path, **options: bool) -> str:
    """A letter for each line of the comparison: `=`, `~`, `-`, `+`."""
    letters = {Sign.SAME: "=", Sign.CHANGED: "~", Sign.REMOVED: "-", Sign.ADDED: "+"}
    return "".join(letters[p.sign] for p in compare(TraceInput(first), TraceInput(second), **options).pairs)


def test_the_same_calls_say_nothing_whatever_their_times(folder: Path) -> None:
    later = (f"{n}.5 {line} 3ms" for n, line in enumerate(BASE))
    saved(folder / "b.tape", *later)
    result = diff("a.tape", "b.tape")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_what_differs_in_a_call_is_named(folder: Path) -> None:
    changed = [*BASE[:3], "Progress(NULL, 3, 4) -> S_OK", "Done(sync-event, E_FAIL) -> E_ABORT"]
    saved(folder / "b.tape", *changed)
    result = diff("-U", "1", "a.tape", "b.tape")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "--- a.tape",
        "+++ b.tape",
        "@@ -2..4 +2..4 @@",
        "    2 t0 Progress(NULL, 2, 3) -> S_OK",
        "-   3 t0 Progress(NULL, 3, 3) -> S_OK",
        "+   3 t0 Progress(NULL, 3, 4) -> S_OK",
        "?     ulIndexMax: 3 | 4",
        "-   4 t0 Done(sync-event, S_OK) -> S_OK",
        "+   4 t0 Done(sync-event, 0x80004005 E_FAIL) -> 0x80004004 E_ABORT",
        "?     hResult: S_OK | 0x80004005 E_FAIL",
        "?     answer: S_OK | 0x80004004 E_ABORT",
        "3 same, 2 changed, 0 only in the first, 0 only in the second",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (BASE, "====="),
        (BASE[:2], "==---"),
        (BASE[3:], "---=="),
        ((), "-----"),
        ((BASE[0], 'Error(E_FAIL, "x") -> S_OK', *BASE[1:]), "=+===="),
        ((*BASE[:2], *BASE[3:]), "==-=="),
        ((*BASE[:2], BASE[2].replace("2, 3", "1, 3"), *BASE[3:]), "==~=="),
        ((*BASE[:2], 'Error(E_FAIL, "x") -> S_OK', *BASE[3:]), "==-+=="),
        ((*BASE[:2], BASE[2].replace("S_OK", "E_FAIL"), *BASE[3:]), "==~=="),
        ((*BASE[:2], BASE[2].replace("-> S_OK", '-> raised "ValueError"'), *BASE[3:]), "==~=="),
        ((*BASE[:4], BASE[4].replace("-> S_OK", "...")), "====~"),
        (BASE * 2, "=====+++++"),
    ],
)
def test_calls_are_aligned(folder: Path, lines: tuple[str, ...], expected: str) -> None:
    saved(folder / "b.tape", *lines)
    assert signs(folder / "a.tape", folder / "b.tape") == expected
    mirrored = str.maketrans("-+", "+-")
    assert sorted(signs(folder / "b.tape", folder / "a.tape")) == sorted(expected.translate(mirrored))


def test_values_that_look_alike_differ(folder: Path) -> None:
    saved(folder / "b.tape", "Progress(NULL, 1, 1)", "Progress(NULL, nan, 1)", 'Progress("", 1, 1)')
    saved(folder / "c.tape", "Progress(NULL, true, 1)", "Progress(NULL, nan, 1)", "Progress(NULL, 1, 1)")
    assert signs(folder / "b.tape", folder / "b.tape") == "==="
    assert signs(folder / "b.tape", folder / "c.tape").count("=") == 1


def test_threads_count_unless_they_are_to_be_ignored(folder: Path) -> None:
    lines = [BASE[0], f"t1 {BASE[1]}", *BASE[2:]]
    saved(folder / "b.tape", *lines)
    assert "?     thread: t0 | t1\n" in diff("a.tape", "b.tape").stdout
    assert diff("--ignore-threads", "a.tape", "b.tape").exit_code == 0


def test_times_count_on_request(folder: Path) -> None:
    saved(folder / "b.tape", *BASE[:4], f"0.001024 {BASE[4]} 2.048us")
    assert diff("a.tape", "b.tape").exit_code == 0
    result = diff("--times", "a.tape", "b.tape")
    assert result.exit_code == 1
    assert "?     time: 0ns | 1.024ms\n?     took: 0ns | 2.048us\n" in result.stdout


def test_what_they_are_recordings_of_counts(folder: Path) -> None:
    saved(folder / "b.tape", *BASE, head="sync_flags: 2")
    result = diff("a.tape", "b.tape")
    assert (result.exit_code, result.stdout.splitlines()[2]) == (1, "? sync_flags: None | 2")


def test_a_damaged_trace_is_compared_as_far_as_it_is_sound(folder: Path) -> None:
    data = (folder / "a.tape").read_bytes()
    (folder / "b.tape").write_bytes(data[:-10])
    result = diff("a.tape", "b.tape")
    assert result.exit_code == 0
    assert result.stderr.startswith("synctape: warning: b.tape: ends without an end record")


def test_for_scripts(folder: Path) -> None:
    saved(folder / "b.tape", *BASE[:2], 'Error(E_FAIL, "x") -> S_OK', "Progress(NULL, 3, 3) -> E_FAIL", BASE[4])
    result = diff("--json", "a.tape", "b.tape")
    *pairs, summary = map(json.loads, result.stdout.splitlines())
    assert [pair["kind"] for pair in pairs] == ["removed", "added", "changed"]
    assert pairs[0]["first"]["number"] == 2 and pairs[0]["second"] is None
    assert pairs[2]["differences"] == [{"what": "answer", "first": "S_OK", "second": "0x80004005 E_FAIL"}]
    assert summary["counts"] == {"same": 3, "changed": 1, "removed": 1, "added": 1}
    assert (summary["same"], result.exit_code) == (False, 1)
    quiet = diff("-q", "a.tape", "b.tape")
    assert (quiet.exit_code, quiet.stdout) == (1, "")


def test_trouble_is_two(folder: Path) -> None:
    result = diff("a.tape", "none.tape")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "synctape: none.tape: cannot be read: No such file or directory\n"
    assert diff("a.tape").exit_code == 2


def test_long_traces_of_few_different_calls_are_aligned(folder: Path) -> None:
    """What is missing here and there moves nothing else."""
    lines = [f'Progress("{n % 7}", {n % 5}, 5)' for n in range(2500)]
    saved(folder / "b.tape", *lines)
    saved(folder / "c.tape", *(line for n, line in enumerate(lines) if n % 400 != 399))
    assert signs(folder / "b.tape", folder / "c.tape") == ("=" * 399 + "-") * 6 + "=" * 100


def test_what_is_longer_than_a_window_is_aligned_behind_it(folder: Path) -> None:
    lines = [f"Progress(NULL, {n}, 3000)" for n in range(1300)]
    saved(folder / "b.tape", "Progress(NULL, 7, 7)", *lines, "Progress(NULL, 9, 9)")
    saved(folder / "c.tape", *(line.replace("3000", "3001") for line in lines), *lines)
    assert signs(folder / "b.tape", folder / "c.tape").replace("~", "+-").count("=") == 1300
