"""The live line: plain lines now and then where there is no terminal, and nothing where nobody wants it."""

from __future__ import annotations

from typing import Any

import pytest

from fuzz.live import LiveProgress, progress_line
from fuzz.progress import Progress


def progress(seconds: float, **values: Any) -> Progress:
    return Progress(runs=200, calls=3000, corpus=3, kept=7, seconds=seconds, last_new=0.5, **values)


def test_a_line_tells_runs_rate_news_and_failures() -> None:
    assert progress_line(progress(2.0)).split("  ", 2)[-1].strip() == (
        "3 traces replayed, 200 runs, 1,500 calls/s, 7 new, last new at 0.5 s, 0 failures"
    )
    assert progress_line(progress(2.0, failures=1, covered=3, sites=9)).endswith(
        "7 new, 3/9 sites, last new at 0.5 s, 1 failure"
    )
    assert "0 calls/s" in progress_line(Progress())


def test_without_a_terminal_a_plain_line_comes_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # some CI servers say so; their logs take no moving line all the same
    with LiveProgress() as live:
        for seconds in (0.1, 5.0, 10.0, 10.1, 19.9, 20.1, 31.0):
            live(progress(seconds))
        live.say("found [bold]something[/bold]")
    out, err = capsys.readouterr()
    assert out == "" and "\x1b" not in err
    assert [line.split(" s ")[0].strip() for line in err.splitlines()[:-1]] == ["10.0", "20.1", "31.0"]
    assert err.splitlines()[-1] == "found [bold]something[/bold]"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveProgress(quiet=True) as live:
        live(progress(100.0))
        live.say("found")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_moves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with LiveProgress() as live:
        live(progress(1.0))
        live.say("found")
    err = capsys.readouterr().err
    assert "200 runs" in err and "found" in err and "\x1b[" in err
