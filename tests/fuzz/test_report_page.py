"""The page of a campaign as one of its reports: there while the campaign runs, and however it ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from campaigns import RAISED, SOURCE, campaign
from sequences import CALLBACK

from fuzz.coverage import CoveredFile
from fuzz.instrument import Site
from fuzz.progress import CampaignOptions, Progress, Summary
from fuzz.report_page import CampaignPage
from fuzz.verdict import CampaignVerdict
from recorder.errors import SynctapeError
from replayer.reports import report_all

RUNNING = "the campaign had not ended when this was written"


def lines() -> list[CoveredFile]:
    return [CoveredFile("host.py", SOURCE, [Site(2, "f entered")], [Site(2, "true")])]


def no_lines() -> list[CoveredFile]:
    raise SynctapeError("the target is gone")


def write(page: CampaignPage, summary: Summary, stopped: str = "", *, final: bool = True) -> str:
    """The page as it is after a report of this verdict."""
    verdict = CampaignVerdict(summary, {})
    report_all(verdict.verdicts(), page.reports(verdict, final=final), stopped or verdict.trouble)
    return page.path.read_text("utf-8") if page.path.exists() else ""


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def clock() -> Iterator[int]:
    """A second later each time that it is asked."""
    return itertools.count()


@pytest.fixture
def page(tmp_path: Path, warned: list[str], clock: Iterator[int]) -> Callable[..., CampaignPage]:
    def make(files: Callable[[], list[CoveredFile]] = lines) -> CampaignPage:
        given = tmp_path / "r.html", "host:Host", CampaignOptions(), CALLBACK, files, warned.append
        return CampaignPage(*given, clock=lambda: next(clock))

    return make


def test_it_is_there_from_the_beginning_and_says_that_it_is_not_the_end(
    page: Callable[..., CampaignPage], clock: Iterator[int]
) -> None:
    made = page(no_lines)
    text = write(made, Summary(Progress(), [], "not yet"), RUNNING, final=False)
    assert "The campaign had not ended when this was written" in text and "Nothing was executed" in text
    assert next(itertools.islice(clock, 30, None))
    text = write(made, Summary(campaign().progress, [RAISED], "not yet"), RUNNING, final=False)
    assert "1 failure found" in text and "had not ended" in text  # a process that is killed now leaves this


def test_while_it_is_young_it_is_not_written_again_but_at_the_end(page: Callable[..., CampaignPage]) -> None:
    made = page()
    first = write(made, Summary(Progress(), [], "not yet"), RUNNING, final=False)
    assert write(made, campaign(RAISED), RUNNING, final=False) == first
    text = write(made, campaign(RAISED))
    assert "its time was over" in text and "host.py" in text and "1 failure found" in text


def test_a_target_that_is_gone_leaves_a_page_without_lines(
    page: Callable[..., CampaignPage], warned: list[str]
) -> None:
    text = write(page(no_lines), campaign(RAISED))
    assert "1 failure found" in text and "There is no source to show" in text
    assert [line.partition(" has ")[2] for line in warned] == ["no lines of the target: the target is gone"]


def test_why_a_campaign_broke_off_is_told(page: Callable[..., CampaignPage]) -> None:
    text = write(page(), Summary(campaign().progress, [], "not yet"), "stopped: no child process")
    assert "Stopped: no child process, after 12 s." in text
    summary = campaign()
    summary.stopped = "interrupted"
    assert "The campaign was interrupted, after 12 s." in write(page(), summary)
