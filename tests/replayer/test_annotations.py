"""Annotations: what a finding says cannot leave its line, and GitHub's limits do not hide how much there is."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from sequences import trace

from recorder.contract import Level
from replayer.annotations import AnnotationReport
from replayer.isolation import Here
from replayer.oracles import Finding
from replayer.places import Places
from replayer.player import Run
from replayer.reports import report
from replayer.target import load_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

SPEC = "targets.raises_on_null_text:Host"
ROOT = Path(__file__).parents[2]


def lines(*verdicts: Verdict) -> list[str]:
    out = io.StringIO()
    made = AnnotationReport(out, SPEC, lambda v: f"synctape replay {v.name}", places=Places(SPEC, ROOT))
    report(verdicts, [made], len(verdicts))
    return out.getvalue().splitlines()


def made(message: str, level: Level = Level.CONFORMING, n: int = 0) -> Verdict:
    finding = Finding("X3", "exception", 0, "Progress", message, f"h.py:1 in f{n}", level, ("R1",))
    return Verdict("a.tape", Status.FAILED, (finding,), run=Run(trace("Progress(NULL, 0, 1)")))


def test_a_finding_stands_at_its_line() -> None:
    recorded = trace("Progress(NULL, 0, 1)")
    verdict = replay_trace(recorded, Here(load_target(SPEC)), Judging().judge(recorded), name="b.tape")
    (line,) = lines(verdict)
    match = re.fullmatch(r"::error file=([^,]*),line=(\d+),title=X3 in Progress::(.*)", line)
    assert match and match[1] == "tests/targets/raises_on_null_text.py"
    assert "text" in (ROOT / match[1]).read_text("utf-8").splitlines()[int(match[2]) - 1]
    assert match[3].endswith("%0Areplay it: synctape replay b.tape")


def test_what_a_target_says_cannot_start_another_command() -> None:
    (line,) = lines(made("100%\r\n::add-mask::x"))
    assert "100%25\\r\\n::add-mask::x" in line  # escaped before GitHub's own escapes
    finding = Finding("X3", "exception", 0, "Progress,file=x::y", "bad", "")
    (line,) = lines(Verdict("a,b:c.tape", Status.FAILED, (finding,)))
    assert line.startswith("::error file=a%2Cb%3Ac.tape,line=1,title=X3 in Progress%2Cfile=x%3A%3Ay::bad")


def test_the_gravest_are_shown_and_the_rest_is_counted() -> None:
    many = [made("mild", Level.HOSTILE, n) for n in range(12)] + [made("grave", n=100 + n) for n in range(13)]
    said = lines(*many)
    kinds = [line.split()[0] for line in said]
    assert kinds == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"]
    assert "3 more errors and 2 more warnings are not shown here" in said[-1]


def test_one_bug_is_told_once_at_the_gravest_level() -> None:
    said = lines(made("bad", Level.LENIENT), made("bad"), made("bad"))
    assert [line.split()[0] for line in said] == ["::error"]


def test_what_does_not_count_is_not_shown() -> None:
    known = made("bad")
    excused = Verdict("a.tape", Status.PASSED, known.findings, run=known.run, excuse="known")
    assert lines(excused, Verdict("b.tape", Status.PASSED)) == []


def test_errors_and_an_early_end_are_errors() -> None:
    (line,) = lines(Verdict("d.tape", Status.ERROR, message="is not a synctape trace"))
    assert line == "::error title=could not be replayed::d.tape: is not a synctape trace"
    out = io.StringIO()

    def stopped() -> object:
        yield made("bad")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report(stopped(), [AnnotationReport(out, SPEC, str)], 2)  # type: ignore[arg-type]
    assert out.getvalue().startswith("::error title=synctape did not end::interrupted\n::error file=")
