"""Lines told from sites: what ran, what did not, and which way was never taken."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from fuzz.coverage import CoveredFile, coverage_for
from fuzz.covered_lines import Line, covered_lines, ranges
from fuzz.instrument import Site

SOURCE = '''\
LIMIT = 3


def f(x):
    """It has
    a docstring."""
    y = x + 1
    z = [
        y,
    ]
    if x > LIMIT:
        y = 2
        return y
    for _ in z:
        y += 1
        try:
            y = g(
                y,
            )
        except ValueError:
            y = 0
            raise
        finally:
            y += 0
    return y


def g(x):
    if x > 40: return 1
    if not x:
        x = 1
    else:
        raise_it = True
    return x


class C:
    size = 3

    def never(self):
        a = 1
        with a:
            b = 2
        while b:
            b = 3
        return b
'''


def kinds(lines: dict[int, Line]) -> str:
    """A character a line: + ran, - did not, ~ not all ways, space nothing known."""
    marks = {"hit": "+", "missed": "-", "partial": "~"}
    return "".join(marks[lines[n].kind] if n in lines else " " for n in range(1, SOURCE.count("\n") + 1))


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CoveredFile:
    (tmp_path / "measured_target.py").write_text(SOURCE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    coverage = coverage_for("measured_target")
    coverage.start()
    try:
        module = importlib.import_module("measured_target")
        assert module.f(1) == 3 and module.g(0) == 1
        (file,) = coverage.files()
        return file
    finally:
        coverage.stop()
        sys.modules.pop("measured_target", None)


def test_lines_follow_the_marks_of_their_block(measured: CoveredFile) -> None:
    shown = dict(zip(SOURCE.splitlines(), kinds(covered_lines(measured)), strict=False))
    ran = [
        "    y = x + 1",
        "    z = [",
        "        y,",
        "    ]",
        "        y += 1",
        "    return y",
        "    return x",
    ]
    assert [shown[line] for line in ran] == ["+"] * len(ran)
    never = ["        y = 2", "        return y", "            y = 0", "            raise", "        a = 1"]
    never += ["        with a:", "            b = 2", "        while b:", "            b = 3", "        return b"]
    assert [shown[line] for line in never] == ["-"] * len(never)
    assert shown["    if x > LIMIT:"] in "~+" and shown["    for _ in z:"] == "~"  # it was never empty
    assert shown["LIMIT = 3"] == shown["    size = 3"] == " "


def test_a_branch_whose_one_way_was_never_taken_ran_in_part() -> None:
    source = "def f(x):\n    if x:\n        return 1\n    return 2\n"
    file = CoveredFile("f.py", source, [Site(2, "f entered"), Site(3, "true")], [Site(2, "false")])
    assert covered_lines(file) == {2: Line("partial", ("false",)), 3: Line("hit"), 4: Line("hit")}


def test_a_branch_that_was_never_reached_is_missed_with_all_in_it() -> None:
    source = "def f(x):\n    if x:\n        for y in x:\n            y()\n        return 1\n    return 2\n"
    file = CoveredFile("f.py", source, [], [Site(2, "f entered"), Site(3, "true")])
    assert {n: line.kind for n, line in covered_lines(file).items()} == dict.fromkeys(range(2, 7), "missed")


def test_source_that_does_not_parse_is_told_by_its_sites_alone() -> None:
    file = CoveredFile("f.py", "def (:\n", [Site(1, "true")], [Site(1, "false"), Site(2, "true")])
    assert covered_lines(file) == {1: Line("partial", ("false",)), 2: Line("missed")}


def test_ranges_of_lines() -> None:
    lines = {n: Line(kind) for n, kind in enumerate(["hit", "missed", "missed", "hit", "partial", "missed"], 1)}
    assert ranges(lines, ("missed",)) == [(2, 3), (6, 6)]
    assert ranges({1: Line("missed"), 5: Line("missed"), 6: Line("hit"), 9: Line("missed")}, ("missed",)) == [
        (1, 5),
        (9, 9),
    ]
