"""The live view: a panel that fits any terminal, plain lines where there is none, and quiet."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from fuzz.live import LiveProgress, progress_line
from fuzz.progress import Progress


def progress(seconds: float, **values: Any) -> Progress:
    return Progress(runs=200, calls=3000, corpus=3, kept=7, seconds=seconds, last_new=0.5, **values)


# --- without a terminal ---------------------------------------------------------------------------------------


def test_a_line_tells_runs_rate_news_and_failures() -> None:
    assert progress_line(progress(2.0)).split("  ", 2)[-1].strip() == (
        "3 traces replayed, 200 runs, 1,500 calls/s, 7 new, last new at 0.5 s, 0 failures"
    )
    assert progress_line(progress(2.0, failures=1, covered=3, sites=9)).endswith(
        "7 new, 3/9 sites, last new at 0.5 s, 1 failure"
    )
    assert "0 calls/s" in progress_line(Progress())


@pytest.mark.parametrize("terminal", [False, True])
def test_without_a_terminal_or_a_cursor_a_plain_line_comes_at_most_every_30_seconds(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")  # some CI servers say so; their logs take no moving line all the same
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with LiveProgress() as live:
        for seconds in (0.1, 5.0, 29.9, 30.0, 30.1, 59.9, 61.0, 100.0):
            live(progress(seconds))
        live.say("found [bold]something[/bold]")
    out, err = capsys.readouterr()
    assert out == "" and "\x1b" not in err
    assert [line.split(" s ")[0].strip() for line in err.splitlines()[:-1]] == ["30.0", "61.0", "100.0"]
    assert err.splitlines()[-1] == "found [bold]something[/bold]"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveProgress(quiet=True) as live:
        live(progress(100.0))
        live.say("found")
    assert capsys.readouterr() == ("", "")


# --- the panel ------------------------------------------------------------------------------------------------

FULL = progress(
    12.0,
    covered=34,
    sites=51,
    states=211,
    failures=2,
    deaths=3,
    unconfirmed=1,
    applied=Counter({"splice": 300, "drop": 40, "count-up": 9, "change-text": 2}),
    earned=Counter({"splice": 12, "drop": 4, "count-up": 1}),
)


def frame(
    shown: Progress, width: int = 80, *, ascii_only: bool = False, later: float = 0.0, **options: Any
) -> list[str]:
    """The lines of the panel as a terminal of that width has them, so many seconds after the last news."""
    now = 0.0
    file = io.TextIOWrapper(io.BytesIO(), "ascii" if ascii_only else "utf-8", newline="\n")
    terminal: dict[str, Any] = {"force_terminal": True, "legacy_windows": False, "_environ": {"TERM": "xterm"}}
    console = Console(file=file, width=width, height=40, color_system=None, **terminal)
    live = LiveProgress(options.pop("title", "my.module:Host"), console=console, clock=lambda: now, **options)
    live(Progress())
    live(shown)
    now = later
    assert live._live is not None
    console.print(live._live.get_renderable())
    file.seek(0)
    return file.read().splitlines()


def test_the_panel_tells_what_matters() -> None:
    text = "\n".join(frame(FULL, max_time=60.0))
    for part in (
        "synctape fuzz my.module:Host",
        "0:00:12",
        "0:00:48 left",
        "200  17/s",
        "3,000  250/s",
        "34 of 51 sites",
        "211",
        "7 new, from 3 traces",
        "0:00:12 ago",
        "2, 1 unsure",
        "3 processes",
        "splice 12/300, drop 4/40, count-up 1/9",
    ):
        assert part in text, part


def test_time_goes_on_while_nothing_is_heard() -> None:
    """A failure is being minimised, for example."""
    text = "\n".join(frame(FULL, later=100.0, max_time=60.0))
    assert "0:01:52" in text and "0:00:00 left" in text and "0:01:52 ago" in text


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({}, "no bound"),
        ({"max_time": 3 * 86_400.0}, "2d 23:59:48 left"),
        ({"max_runs": 1200}, "0:01:00 left"),
        ({"max_runs": 1200, "max_time": 30.0}, "0:00:18 left"),
    ],
)
def test_how_much_time_is_left(bounds: dict[str, Any], left: str) -> None:
    assert left in "\n".join(frame(FULL, **bounds))


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [12, 20, 34, 40, 65, 79, 80, 81, 120, 400])
def test_no_line_is_wider_than_the_terminal_and_each_ends_in_the_frame(width: int, ascii_only: bool) -> None:
    title = "ein.sehr.langer.Name.mit.\N{CJK UNIFIED IDEOGRAPH-4E2D}\N{CJK UNIFIED IDEOGRAPH-6587}" * 4
    huge = progress(1e6, failures=10**9, covered=10**9, sites=10**10, states=10**12, deaths=10**9)
    for shown in (FULL, huge, Progress()):
        lines = frame(shown, width, ascii_only=ascii_only, title=title, max_time=1e7)
        assert {cell_len(line) for line in lines} == {min(width, 100)}
        assert all(line[0] == line[-1] for line in lines[1:-1])


def test_a_terminal_without_unicode_gets_ascii() -> None:
    lines = frame(FULL, ascii_only=True, title="m\xfcller:Host", max_time=60.0)
    assert "\n".join(lines).isascii() and r"m\xfcller:Host" in lines[0] and "####" in lines[1]


def test_what_comes_from_outside_drives_no_terminal() -> None:
    assert r"\x1b[2J[red]" in frame(FULL, title="\x1b[2J[red]")[0]


# --- a real terminal ------------------------------------------------------------------------------------------

DRIVER = """
import time
from fuzz.live import LiveProgress
from fuzz.progress import Progress
with LiveProgress("my.module:Host", max_time=60.0) as live:
    for n in range(6):
        live(Progress(runs=100 * n, calls=700 * n, seconds=n + 0.1))
        time.sleep(0.15)
        if n == 3:
            live.say("found " + "x" * 100)
"""


class Screen:
    """As much of a terminal as the live view uses: what is on its lines, and whether one was too long."""

    def __init__(self, columns: int):
        self.columns = columns
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.wrapped: list[str] = []
        self.frames: list[list[str]] = []

    def feed(self, data: str) -> None:
        for control, final, text in re.findall(r"\x1b\[([?0-9;]*)([A-Za-z])|([^\x1b])", data, re.DOTALL):
            if text:
                self._put(text)
            elif final == "A":
                self.row = max(self.row - int(control or 1), 0)
            elif final == "K":
                self.lines[self.row] = "" if control == "2" else self.lines[self.row][: self.column]
            else:
                assert final in "mhlC", (control, final)

    def _put(self, text: str) -> None:
        if text == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        elif text == "\r":
            self.column = 0
        else:
            if self.column == self.columns:
                self.wrapped.append(self.lines[self.row])
                self._put("\r")
                self._put("\n")
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + text + line[self.column + 1 :]
            self.column += 1


def run_on_a_terminal(columns: int, later: int = 0, **environment: str) -> tuple[str, Iterator[str]]:
    """What the driver writes to a terminal of so many columns: as one text, and piece by piece.

    After the announcement the terminal has `later` columns, if any are given.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")}
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
    )
    os.close(theirs)
    pieces: list[bytes] = []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
        if later and b"found x" in piece:
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, later, 0, 0))
    os.close(ours)
    assert child.wait(60) == 0, b"".join(pieces).decode()
    decoded = [piece.decode() for piece in pieces]
    return "".join(decoded), iter(decoded)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_the_panel_is_drawn_in_place_and_announcements_scroll_above(columns: int) -> None:
    text, pieces = run_on_a_terminal(columns)
    screen = Screen(columns)
    seen = 0
    for piece in pieces:
        screen.feed(piece)
        tops = [n for n, line in enumerate(screen.lines) if "synctape fuzz" in line]
        assert len(tops) <= 1, screen.lines  # never a second panel, never half of an old one
        seen = max(seen, len(tops))
    assert seen == 1 and "\x1b[?25h" in text  # the cursor is shown again
    assert all(line.startswith(("found x", "x")) for line in screen.wrapped)  # no line of the panel wraps
    assert "".join(screen.lines).strip() == "found " + "x" * 100  # and in the end it is gone
    assert "\x1b[2J" not in text and "\x1b[H" not in text  # nothing is cleared to be drawn again


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
@pytest.mark.parametrize("later", [44, 100])
def test_a_terminal_that_changes_its_size_gets_a_panel_that_fits(later: int) -> None:
    text, _ = run_on_a_terminal(70, later)
    frames = re.split(r"\x1b\[1A", text)
    widths = [
        {cell_len(line) for line in re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", frame).splitlines() if line.strip()}
        for frame in frames
        if "mutators" in frame
    ]
    assert widths[0] == {70} and widths[-1] == {later}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
def test_no_color_means_no_colour_and_still_a_panel() -> None:
    text, _ = run_on_a_terminal(80, NO_COLOR="1")
    assert "synctape fuzz" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)
