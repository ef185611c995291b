"""`synctape report`: the page of a campaign from its folder, which it leaves as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns import RAISED, campaign, found
from click.testing import CliRunner, Result
from sequences import CALLBACK, GOOD, calls, trace

from fuzz.buckets import Found, write_finding
from fuzz.coverage import CoveredFile
from fuzz.progress import CampaignOptions
from fuzz.reached import answers, reached_files
from fuzz.search import Known, search_plan
from fuzz.store import CampaignFolder
from replayer.target import TargetError
from synctape import main

SEEDS = [("good", trace(*GOOD))]


def kept(folder: Path, spec: str = "targets.divides_by_max:Host", *, stopped: str = "time") -> Path:
    """A campaign's folder as it is left."""
    summary = campaign(RAISED)
    with CampaignFolder.create(folder, spec, SEEDS, CampaignOptions(seed=7), CALLBACK) as store:
        write_finding(RAISED, store.findings, CALLBACK, spec)
        for snapshot in summary.history:
            summary.progress.history.snapshots[-1:] = [snapshot]
            store.save(summary.progress, 3, force=True)
        store.save(summary.progress, 3, stopped=stopped)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "lock"]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_the_page_tells_what_the_folder_holds_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    folder, page = kept(tmp_path / "campaign"), tmp_path / "report.html"
    before = contents(folder)
    done = run(folder, "-o", page, "--no-play")
    assert (done.exit_code, done.output) == (0, "")
    text = page.read_text("utf-8")
    for part in (
        "1 failure found",
        "ended when its time was over, after 12 s",
        "48 of 51",
        "splice",
        "<dd>7</dd>",
    ):
        assert part in text, part
    assert f"synctape replay {(folder / 'findings').as_posix()}" in text
    assert "its answer was not kept" in text
    assert contents(folder) == before


def test_a_campaign_that_is_running_can_be_looked_at(tmp_path: Path) -> None:
    folder, page = kept(tmp_path / "campaign", stopped=""), tmp_path / "report.html"
    with CampaignFolder.open(folder, lambda line: None):
        with (folder / "stats.jsonl").open("ab") as statistics:
            statistics.write(b'{"seconds": 13, "cut')
        before = contents(folder)
        done = run(folder, "-o", page, "--no-play")
        assert (done.exit_code, contents(folder) == before) == (0, True), done.output
    assert "The campaign had not ended when this was written" in page.read_text("utf-8")


@pytest.mark.slow
def test_played_once_more_it_has_answers_and_lines(tmp_path: Path) -> None:
    folder, page = kept(tmp_path / "campaign"), tmp_path / "report.html"
    done = run(folder, "-o", page)
    assert (done.exit_code, done.output) == (0, "")
    text = page.read_text("utf-8")
    assert 'raised "ZeroDivisionError' in text and 'class="call bad failing"' in text
    assert "divides_by_max.py" in text and '<tr class="hit">' in text


@pytest.mark.slow
def test_a_target_that_is_gone_leaves_a_page_without_them_and_a_warning(tmp_path: Path) -> None:
    folder, page = kept(tmp_path / "campaign", "no.such.module:Host"), tmp_path / "report.html"
    done = run(folder, "-o", page)
    assert done.exit_code == 0 and len(done.output.splitlines()) == 1
    assert "has no lines of the target and no answers" in done.output and "no.such.module" in done.output
    assert "1 failure found" in page.read_text("utf-8")


def test_bad_input_is_one_line_and_nothing_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("mine")
    folder = kept(tmp_path / "campaign")
    for arguments, why in (
        ((tmp_path, "-o", tmp_path / "other.html"), "holds no campaign"),
        ((folder, "-o", page, "--no-play"), "exists already"),
        ((folder, "-o", tmp_path / "none" / "report.html"), "there is no folder"),
    ):
        done = run(*arguments)
        assert (done.exit_code, why in done.output, len(done.output.splitlines())) == (2, True, 1), done.output
    assert page.read_text() == "mine"
    assert run(folder, "-o", page, "--no-play", "--force").exit_code == 0
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")


# --- what is seen once more -----------------------------------------------------------------------------------


def reached(name: str, *failures: Found) -> dict[str, CoveredFile]:
    plan = search_plan(f"targets.{name}:Host", CALLBACK, SEEDS, CampaignOptions(timeout=1.0))
    return {file.name: file for file in reached_files(plan, Known(), failures)}


@pytest.mark.slow
def test_what_only_a_failure_reaches_is_reached_and_a_call_that_ends_the_process_is_not_made() -> None:
    raising = found(*calls('Error(0x80004004, "")'))
    for failures in ([], [raising]):
        (file,) = reached("two_bugs", *failures).values()
        (line,) = (n for n, text in enumerate(file.source.splitlines(), 1) if "raise ValueError" in text)
        assert (line in {site.line for site in file.missed}) is not bool(failures)
    crash = found(*calls("Progress(NULL, 0, 1)", "Progress(NULL, 1, 0)"), number=1, oracle="crash", code="X1")
    (file,) = reached("segfaults", crash).values()
    assert file.hit


@pytest.mark.slow
def test_answers_of_findings_are_seen_again() -> None:
    failing = found(*calls("Progress(NULL, 0, 0)"))
    plan = search_plan("targets.divides_by_max:Host", CALLBACK, SEEDS, CampaignOptions(timeout=1.0))
    answers(plan, [failing])
    assert failing.run is not None
    (played,) = failing.run.trace.played
    assert played.outcome is not None and played.outcome.detail.startswith("ZeroDivisionError")


@pytest.mark.slow
def test_a_target_without_an_instance_is_an_error() -> None:
    with pytest.raises(TargetError):
        reached("factory_fails")
