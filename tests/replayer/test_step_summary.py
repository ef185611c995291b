"""The step summary: a page that stays one whatever a target says, and below GitHub's limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sequences import regression, trace

from replayer.isolation import Here
from replayer.oracles import Finding
from replayer.player import Run
from replayer.reports import report
from replayer.step_summary import MOST_BYTES, StepSummary
from replayer.target import load_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

SPEC = "targets.raises_on_null_text:Host"
RUN = Run(trace("Progress(NULL, 0, 1)"))


def page(folder: Path, *verdicts: Verdict, **more: Any) -> str:
    path = folder / "summary.md"
    report(verdicts, [StepSummary(path, SPEC, lambda v: f"synctape replay {v.name}", **more)], len(verdicts))
    return path.read_text("utf-8")


def made(message: str, n: int = 0) -> Verdict:
    finding = Finding("X3", "exception", 0, "Progress", message, f"h.py:1 in f{n}")
    return Verdict(f"{n}.tape", Status.FAILED, (finding,), run=RUN)


def test_findings_in_a_table_and_each_to_be_opened(tmp_path: Path) -> None:
    recorded = regression("X3", 'Progress("a", 0, 1)', "Progress(NULL, 0, 1)")
    verdict = replay_trace(recorded, Here(load_target(SPEC)), Judging().judge(recorded), name="b.tape")
    error = Verdict("d.tape", Status.ERROR, message="is no trace")
    known = Verdict("k.tape", Status.PASSED, verdict.findings, excuse="known since May")
    text = page(tmp_path, verdict, error, known, facts=lambda: ["played: 5 | 6"])
    assert text.startswith(
        f"## synctape replay: {SPEC.replace('_', '&#95;')}\n\n**1 finding**\n\nplayed: 5 &#124; 6"
    )
    assert "| X3 | host | Progress | raises&#95;on&#95;null&#95;text.py:" in text
    assert "| d.tape | is no trace |" in text and "| X3 | known since May | k.tape |" in text
    assert "<details><summary>X3 b.tape</summary>\n\n```text\n" in text
    assert "> 1  Progress(NULL, 0, 1) -> raised: " in text and "replay it: synctape replay b.tape" in text


def test_what_a_target_says_is_no_markup(tmp_path: Path) -> None:
    text = page(tmp_path, made("<img src=x> | **bold** [a](http://b) @you `c` ```` \n\n# no"))
    table, _, block = text.partition("<details>")
    (row,) = [line for line in table.splitlines() if line.startswith("| X3")]
    assert row.count("|") == 7 and not set("<>*[]@`") & set(row) and "http://" not in row
    assert "\n`````text\n" in block and "\n`````\n" in block  # longer than any run of backticks inside


def test_it_is_cut_below_the_limit_and_says_so(tmp_path: Path) -> None:
    many = [made("x" * 300, n) for n in range(4000)]
    text = page(tmp_path, *many)
    assert len(text.encode()) <= MOST_BYTES < 1 << 20
    assert "**Left out: " in text[-200:] and "**4000 findings**" in text


def test_it_is_added_to_what_other_steps_wrote_and_together_below_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n", "utf-8")
    text = page(tmp_path, *[made("x" * 200, n) for n in range(50)], append=True, most=8000)
    assert text.startswith("before\n## ") and "Left out" in text and len(text.encode()) <= 8000
    path.write_bytes(b"y" * 9000)
    assert page(tmp_path, made("bad"), append=True, most=8000) == "y" * 9000


def test_nothing_found_is_said(tmp_path: Path) -> None:
    text = page(tmp_path, Verdict("a.tape", Status.PASSED, run=RUN), heading="synctape fuzz")
    assert text.startswith("## synctape fuzz") and "**nothing found**" in text
