"""The report of a campaign: one page with everything in it, whatever the texts, whatever the campaign came to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sequences import CALLBACK, calls
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.buckets import Found
from fuzz.coverage import CoveredFile
from fuzz.html_report import CampaignReport, campaign_report, check_writable, to_html, write_html
from fuzz.instrument import Site
from fuzz.progress import CampaignOptions, Progress, Summary
from recorder.calls import NOT_RUN, Call, Header, Outcome, OutcomeKind, Trace
from recorder.contract import Level
from recorder.errors import SynctapeError
from recorder.interface import Interface
from replayer.oracles import Finding
from replayer.player import Run
from synctape import main

VOID = {"br", "hr", "img", "input", "link", "meta"}
SOURCE = "def f(x):\n    if x:\n        return 1\n    return 2\n"


def found(*sequence: Call, number: int = 0, outcomes: list[Outcome] | None = None, **finding: Any) -> Found:
    facts = {
        "code": "X3",
        "oracle": "exception",
        "method": "Progress",
        "message": "ZeroDivisionError: division by zero",
    }
    made = Finding(**{**facts, "number": number, "place": "host.py:7 in Progress", **finding})
    run = Run(Trace.from_calls(sequence, Header(), outcomes)) if outcomes else None
    return Found(made, list(sequence), list(sequence), 1.5, 1234, "batch 4", run=run)


def campaign(*failures: Found, seconds: float = 12.0) -> Summary:
    """A campaign as the inner loop leaves it."""
    progress = Progress(applied=Counter({"splice": 300, "drop": 40}), earned=Counter({"splice": 12}))
    progress.levels.update({"hostile": 3000, "lenient": 1000})
    progress.transitions.update({("bound", "Progress"): 5000, ("running", "Done"): 70, ("finished", "Done"): 3})
    progress.corpus = 3
    for number in range(25):
        progress.seconds, progress.runs, progress.calls = seconds * number / 24, 160 * number, 1600 * number
        progress.covered, progress.sites, progress.kept, progress.states = 2 * number, 51, 3 * number, 9 * number
        progress.failures, progress.ended = len(failures) * (number > 3), 100 * number
        progress.note()
    return Summary(progress, list(failures), "time")


def report(
    *failures: Found, interface: Interface = CALLBACK, files: tuple[CoveredFile, ...] = ()
) -> CampaignReport:
    return campaign_report(campaign(*failures), "host:Host", CampaignOptions(seed=7), interface, files)


RAISED = found(
    *calls('Progress("Inbox", 0, 2)', "Progress(NULL, 1, 0)", "Done(sync-event, S_OK)"),
    number=1,
    outcomes=[
        Outcome(elapsed_ns=2048),
        Outcome(OutcomeKind.RAISED, None, 0, "ZeroDivisionError: division by zero", "host.py:7 in Progress"),
        NOT_RUN,
    ],
)


class Page(HTMLParser):
    """A page as a strict reader has it: every element is closed, in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(made: CampaignReport) -> Page:
    return Page(to_html(made))


def assert_alone(text: str) -> None:
    """It names nothing outside, and its own references lead somewhere."""
    read = Page(text)
    for tag, name, value in read.attributes:
        assert name not in ("src", "srcset", "action", "style") and not name.startswith("on"), (tag, name)
        if name in ("href", "aria-labelledby", "data-row", "data-copy"):
            assert value.removeprefix("#") in read.ids, (tag, name, value)
    assert len(read.ids) == len(set(read.ids))
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(read.tags)
    for code in re.findall(r"<(?:style|script)>(.*?)</", text, re.DOTALL):
        assert not re.search(r"https?:|url\(|@import|import\(|fetch\(|XMLHttp|innerHTML", code)


def test_the_page_has_every_section_and_names_nothing_outside() -> None:
    text = to_html(
        report(RAISED, files=(CoveredFile("host.py", SOURCE, [Site(2, "f entered")], [Site(3, "true")]),))
    )
    assert_alone(text)
    read = Page(text)
    assert {"failures", "growth", "protocol", "coverage", "mutators", "facts"} <= set(read.ids)
    for part in (
        "host:Host",
        "1 failure found",
        "The campaign ended when its time was over, after 12 s.",
        "48 of 51",
        "splice",
        "4.00%",
        "Seed 7",
    ):
        assert part in read.text, part


def test_a_failure_tells_code_place_blame_level_and_its_sequence() -> None:
    read = page(report(RAISED))
    for part in (
        "X3 ZeroDivisionError: division by zero Progress at host.py:7 in Progress conforming",
        "Blame host",
        "after 1.50 s and 1234 executions, from batch 4",
        "The sequence, 3 calls",
        "Progress(NULL, 1, 0)",
        'raised "ZeroDivisionError: division by zero" at "host.py:7 in Progress"',
        "What X3 means",
        "took 2.048us",
    ):
        assert part in read.text, part
    drawn = [value for tag, name, value in read.attributes if name == "class" and value.startswith("call ")]
    assert drawn == ["call good", "call bad failing", "call idle"]
    assert ("g", "aria-label", "call 1, Progress, raised, the failing one") in read.attributes
    arguments = re.search(r"call-0-0.*?pwcszProgress(.*?)ulIndexMax", to_html(report(RAISED)), re.DOTALL)
    assert arguments and "&quot;Inbox&quot;" in arguments[1].replace('"Inbox"', "&quot;Inbox&quot;")


def test_the_reproduce_line_can_be_copied() -> None:
    summary = campaign(RAISED)
    summary.files[RAISED.name] = Path("findings") / f"{RAISED.name}.tape"
    text = to_html(campaign_report(summary, "host:Host", CampaignOptions(), CALLBACK))
    assert f"synctape replay findings/{RAISED.name}.tape --target host:Host" in Page(text).text
    assert 'data-copy="reproduce-0"' in text and 'id="reproduce-0"' in text


def test_the_most_serious_failure_comes_first_and_alone_is_open() -> None:
    hostile = found(*calls("Done(NULL, S_OK)"), method="Done", level=Level.HOSTILE, broken=("P14",))
    read = page(report(hostile, RAISED))
    codes = [value for _, name, value in read.attributes if name == "class" and value.startswith("badge ")]
    assert codes == ["badge conforming", "badge hostile"]
    assert [name for _, name, _ in read.attributes].count("open") == 1
    assert "2 failures found" in read.text


def test_transitions_that_were_never_taken_are_said_so() -> None:
    text = page(report()).text
    assert "2 of 6 transitions that the contract allows were taken, and 1 of 6 that break a rule." in text
    assert "Error never" in text


HOSTILE = "\ud83d</script><img src=x onerror=alert(1)>\u202e\0\x1b]8;;http://x\x07'\"&lt;{{7*7}}<!--"


def test_hostile_texts_are_texts() -> None:
    failing = found(
        Call("Progress", (HOSTILE, 0, 1), 1),
        outcomes=[Outcome(OutcomeKind.RAISED, None, 0, HOSTILE, HOSTILE)],
        message=HOSTILE,
        place=HOSTILE,
    )
    failing.origin = HOSTILE
    summary = campaign(failing)
    summary.stopped = HOSTILE
    summary.progress.applied[HOSTILE] = 3
    summary.progress.levels[HOSTILE] = 1
    summary.files[failing.name] = Path("x") / "a'b.tape"
    files = (
        CoveredFile(HOSTILE, HOSTILE + "\n" + HOSTILE, [Site(1, HOSTILE)], [Site(1, HOSTILE), Site(9, HOSTILE)]),
    )
    text = to_html(campaign_report(summary, HOSTILE, CampaignOptions(), CALLBACK, files))
    text.encode("utf-8")
    assert_alone(text)
    read = Page(text)
    assert read.tags.count("script") == 1 and "img" not in read.tags
    assert r"\ud83d</script><img src=x onerror=alert(1)>\u202e\x00\x1b]8;;http://x\x07" in read.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b]", text)


def test_a_campaign_that_found_nothing_says_so() -> None:
    read = page(report())
    assert "Nothing found" in read.text and "No sequence of calls made the target fail." in read.text


def test_a_campaign_that_did_nothing_is_no_success() -> None:
    summary = Summary(Progress(), [], "interrupted")
    read = page(campaign_report(summary, "host:Host", CampaignOptions(), CALLBACK))
    assert "Nothing was executed" in read.text and "The campaign was interrupted" in read.text
    assert_alone(to_html(campaign_report(summary, "host:Host", CampaignOptions(), CALLBACK)))


def test_another_interface_has_its_own_states_and_methods() -> None:
    failing = found(Call("Progress", (0, 0, 0)))
    made = campaign_report(campaign(failing), "host:Host", CampaignOptions(), IMAPI_PROGRESS)
    text = to_html(made)
    assert_alone(text)
    assert "SetLimits" in text and "ulTotal" in text and "finished" not in Page(text).text


def test_a_long_sequence_is_shown_around_its_failing_call() -> None:
    sequence = [Call("Progress", (None, n, 9000)) for n in range(9000)]
    text = to_html(report(found(*sequence, number=8000)))
    read = Page(text)
    assert "Progress(NULL, 8000, 9000)" in read.text and "… 7818 calls" in read.text
    assert len(text) < 1_000_000


def test_lines_are_marked_by_what_was_reached() -> None:
    file = CoveredFile(
        "host.py", SOURCE, [Site(2, "f entered"), Site(4, "false")], [Site(2, "true"), Site(3, "true")]
    )
    read = page(report(files=(file,)))
    kinds = [value for tag, name, value in read.attributes if tag == "tr" and name == "class"]
    assert kinds == ["partial", "missed", "hit"]
    assert "50% 2 of 4 sites" in read.text and "missed: true" in read.text


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SynctapeError, match=r"report\.html: cannot be written: No space left"):
        write_html(report(), path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write_html(report(), path)
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>") and list(tmp_path.iterdir()) == [path]


def test_a_known_failure_is_told_and_does_not_count() -> None:
    made = campaign_report(
        campaign(RAISED), "h:H", CampaignOptions(), CALLBACK, excuses={RAISED.name: "known since May"}
    )
    text = page(made).text
    assert "Nothing new found" in text and "does not count" in text and "known since May" in text


def unwritable(folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder, "is a folder"
    yield folder / "none" / "report.html", "there is no folder"


def test_where_it_cannot_be_written_is_known_before_anything_is_played(tmp_path: Path) -> None:
    for path, why in unwritable(tmp_path):
        with pytest.raises(SynctapeError, match=why):
            check_writable(path)
        done = CliRunner().invoke(main, ["fuzz", "--target", "targets.clean:Host", "--report", str(path)])
        assert (done.exit_code, why in done.output, len(done.output.splitlines())) == (2, True, 1)


def test_fuzz_writes_one_with_the_lines_that_its_target_was_seen_in(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    command = ["fuzz", "--target", "targets.two_bugs:Host", "--max-runs", "300", "--seed", "1"]
    command += ["--findings", str(tmp_path / "findings"), "--report", str(path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1 and "warning" not in done.output, done.output
    text = path.read_text("utf-8")
    assert_alone(text)
    read = Page(text)
    assert f"synctape replay {(tmp_path / 'findings').as_posix()}" in read.text
    raising = re.search(r'<tr class="(\w+)">(?:(?!<tr).)*raise IndexError', text, re.DOTALL)
    assert raising and raising[1] == "hit"  # though only a sequence that fails gets there
    assert "of 6 transitions that the contract allows were taken" in read.text
