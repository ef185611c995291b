"""The report of a campaign: one page with everything in it, whatever the texts, whatever the campaign came to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from campaigns import RAISED, SOURCE, campaign, found, hostile_report, report
from click.testing import CliRunner
from sequences import CALLBACK, calls
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.coverage import CoveredFile
from fuzz.html_report import CampaignReport, campaign_report, check_writable, to_html, write_html
from fuzz.instrument import Site
from fuzz.progress import CampaignOptions, Progress, Summary
from recorder.calls import Call
from recorder.contract import Level
from recorder.errors import SynctapeError
from synctape import main

VOID = {"br", "hr", "img", "input", "link", "meta"}


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
    assert "2 of 6 transitions that the contract allows were taken, and 1 of 3 that break a rule." in text
    assert "Error never" in text


def test_hostile_texts_are_texts() -> None:
    text = to_html(hostile_report())
    text.encode("utf-8")
    assert_alone(text)
    read = Page(text)
    assert read.tags.count("script") == 1 and "img" not in read.tags
    assert r"\ud83d</script><img src=x onerror=alert(1)>\u202e\x00\x1b]8;;http://x\x07" in read.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b]", text)


def palettes() -> Iterator[dict[str, str]]:
    """The colours of the page by name, light and dark."""
    style = re.search(r"<style>(.*?)</style>", to_html(report()), re.DOTALL)
    assert style is not None
    for block in re.findall(r":root \{(.*?)\}", style[1], re.DOTALL):
        yield dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_stand_out_from_what_they_stand_on_in_light_and_dark() -> None:
    """WCAG's contrast for normal text, 4.5, of each pair of colours that meet."""
    pairs = [(ink, ground) for ink in ("ink", "soft", "accent") for ground in ("paper", "card", "faint")]
    pairs += [(kind, ground) for kind in ("good", "bad", "warn") for ground in ("paper", "card", f"{kind}-bg")]
    pairs += [("ink", "accent-bg"), ("ink", "bad-bg"), ("ink", "good-bg"), ("ink", "warn-bg"), ("soft", "bad-bg")]
    light, dark = palettes()
    for palette in (light, dark):
        for ink, ground in pairs:
            low, high = sorted((luminance(palette[ink]), luminance(palette[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


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


@pytest.mark.slow
def test_many_long_failures_make_no_huge_page() -> None:
    sequence = [Call("Progress", ("x" * 500, n, 9000)) for n in range(2000)]
    failures = [found(*sequence, number=1000, place=f"host.py:{n} in Progress") for n in range(60)]
    text = to_html(report(*failures))
    assert len(text) < 20_000_000
    assert text.count('class="call idle') + text.count('class="call unknown') <= 6000 + 60 * 22
    assert text.count(" failing") >= 60


def test_lines_are_marked_by_what_was_reached() -> None:
    file = CoveredFile(
        "host.py", SOURCE, [Site(2, "f entered"), Site(4, "false")], [Site(2, "true"), Site(3, "true")]
    )
    read = page(report(files=(file,)))
    kinds = [value for tag, name, value in read.attributes if tag == "tr" and name == "class"]
    assert kinds == ["partial", "missed", "hit"]
    assert "50% 2 of 4 sites" in read.text and "never: true" in read.text and "Not all of it ran: 2–3" in read.text


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


def test_a_run_that_is_no_campaign_has_none(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    command = ["fuzz", "--target", "targets.clean:Host", "--mode", "coverage", "--report", str(path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "--report is a campaign's" in done.output and not path.exists()


@pytest.mark.slow
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
