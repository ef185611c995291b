"""The live view of a campaign: a panel on a terminal, plain lines now and then where there is none.

The panel is drawn several times a second over what stood there, a frame at once, and never wider than the
terminal: what does not fit is cut.  Announcements scroll above it.  When the campaign ends it is gone.  A log, and
a terminal that cannot move its cursor (TERM=dumb), get plain lines, whatever FORCE_COLOR says.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from fuzz.progress import Progress
from recorder.report_files import shown

__all__ = ["LiveProgress", "progress_line"]

_PLAIN_EVERY = 30.0  # seconds
_FRAMES = 8  # a second
_RATE_SECONDS = 5.0  # what a rate is taken over
_WIDEST = 100  # columns
_TWO_COLUMNS = 66  # so wide a panel has facts side by side
_LABEL = 10


def progress_line(progress: Progress) -> str:
    """Runs, calls a second, what was new, failures: one line."""
    rate = progress.calls / progress.seconds if progress.seconds else 0.0
    covered = f", {progress.covered}/{progress.sites} sites" if progress.sites else ""
    failures = f"{progress.failures} failure{'' if progress.failures == 1 else 's'}"
    return (
        f"{progress.seconds:6.1f} s  {progress.corpus} traces replayed, {progress.runs} runs, "
        f"{rate:,.0f} calls/s, {progress.kept} new{covered}, last new at {progress.last_new:.1f} s, {failures}"
    )


class LiveProgress:
    """Shows progress on stderr while a campaign runs; `quiet` shows none.

    `title` says what is fuzzed, `max_time` (seconds) and `max_runs` when it ends (None: no bound).  `console` is
    another place to draw to.
    """

    def __init__(
        self,
        title: str = "",
        *,
        max_time: float | None = None,
        max_runs: int | None = None,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._clock = clock
        self._view = _View(title, max_time, max_runs)
        self._drawn_at = 0.0
        self._rates: deque[tuple[float, int, int]] = deque()
        self._next = _PLAIN_EVERY
        terminal = self._console.is_terminal if console else sys.stderr.isatty()
        self._live: Live | None = None
        if terminal and not quiet and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: self._view.after(self._clock() - self._drawn_at),
                transient=True,
                redirect_stdout=False,
                refresh_per_second=_FRAMES,
            )

    def __enter__(self) -> LiveProgress:
        self._drawn_at = self._clock()
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if self._live:
            self._drawn_at = self._clock()
            self._view = self._seen(progress)
        elif not self._quiet and progress.seconds >= self._next:
            self._next = progress.seconds + _PLAIN_EVERY
            self.say(progress_line(progress))

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(Text(line), soft_wrap=True)

    def _seen(self, progress: Progress) -> _View:
        """The progress as it is now: frames are drawn from another thread, while it changes."""
        rates = self._rates
        rates.append((progress.seconds, progress.runs, progress.calls))
        while len(rates) > 2 and progress.seconds - rates[1][0] > _RATE_SECONDS:
            rates.popleft()
        since, runs, calls = rates[0] if len(rates) > 1 else (0.0, 0, 0)
        passed = progress.seconds - since
        return replace(
            self._view,
            seconds=progress.seconds,
            runs=progress.runs,
            calls=progress.calls,
            runs_rate=(progress.runs - runs) / passed if passed > 0 else 0.0,
            calls_rate=(progress.calls - calls) / passed if passed > 0 else 0.0,
            covered=progress.covered,
            sites=progress.sites,
            states=progress.states,
            corpus=progress.corpus,
            kept=progress.kept,
            failures=progress.failures,
            deaths=progress.deaths,
            unconfirmed=progress.unconfirmed,
            last_new=progress.last_new,
            mutators=tuple((n, c, progress.applied[n]) for n, c in progress.earned.most_common(4)),
        )


@dataclass(frozen=True)
class _View:
    """What the panel shows, at one moment."""

    title: str
    max_time: float | None
    max_runs: int | None
    seconds: float = 0.0
    runs: int = 0
    calls: int = 0
    runs_rate: float = 0.0
    calls_rate: float = 0.0
    covered: int = 0
    sites: int = 0
    states: int = 0
    corpus: int = 0
    kept: int = 0
    failures: int = 0
    deaths: int = 0
    unconfirmed: int = 0
    last_new: float = 0.0
    mutators: tuple[tuple[str, int, int], ...] = ()

    def after(self, seconds: float) -> _View:
        """The same so many seconds later, when nothing else is known."""
        return replace(self, seconds=self.seconds + max(seconds, 0.0))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Panel]:
        width = min(options.max_width, _WIDEST)
        inner = max(width - 4, 1)
        ascii_only = options.ascii_only
        lines = [self._clock_line(inner, ascii_only)]
        facts = list(self._facts())
        if inner >= _TWO_COLUMNS:
            half = inner // 2
            for left, right in zip(facts[::2], facts[1::2], strict=True):
                lines.append(_fact(*left, half) + _fact(*right, inner - half))
        else:
            lines += [_fact(*fact, inner) for fact in facts]
        lines.append(_fact("mutators", self._best(), "", inner))
        title = _ascii(shown(self.title), ascii_only)
        title = _cut(f"synctape fuzz {title}".rstrip(), max(inner - 4, 1), ascii_only)
        body = Text("\n", no_wrap=True, overflow="crop").join(lines)
        yield Panel(body, title=Text(title, style="bold"), title_align="left", width=width, border_style="cyan")

    def _clock_line(self, width: int, ascii_only: bool) -> Text:
        share, left = self._left()
        text = f"{_clock(self.seconds)}  "
        end = "no bound" if left is None else f"{_clock(left)} left"
        line = _fact("time", text, "", _LABEL + len(text)) if width > 30 else Text(text)
        room = width - cell_len(line.plain) - len(end) - 2
        if share is not None and room >= 8:
            done = round(share * room)
            full, empty = ("#", ".") if ascii_only else ("━", "─")
            line.append(full * done, "cyan")
            line.append(empty * (room - done) + "  ", "dim")
        line.append(end)
        line.truncate(width, overflow="crop", pad=True)
        return line

    def _left(self) -> tuple[float | None, float | None]:
        """The share of the campaign that is done, and the seconds that are left, by the bound that is nearer."""
        shares, lefts = [], []
        if self.max_time is not None:
            shares.append(self.seconds / self.max_time if self.max_time else 1.0)
            lefts.append(max(self.max_time - self.seconds, 0.0))
        if self.max_runs is not None:
            shares.append(self.runs / self.max_runs if self.max_runs else 1.0)
            if self.runs_rate > 0:
                lefts.append(max(self.max_runs - self.runs, 0) / self.runs_rate)
        return (min(max(shares), 1.0) if shares else None), (min(lefts) if lefts else None)

    def _facts(self) -> Iterator[tuple[str, str, str]]:
        """Pairs of a label and a value with its style; an even number of them."""
        yield "runs", f"{self.runs:,}  {self.runs_rate:,.0f}/s", ""
        yield "calls", f"{self.calls:,}  {self.calls_rate:,.0f}/s", ""
        covered = f"{self.covered:,} of {self.sites:,} sites" if self.sites else "not measured"
        yield "coverage", covered, ""
        yield "states", f"{self.states:,}", ""
        yield "corpus", f"{self.kept:,} new, from {self.corpus:,} traces", ""
        yield "last new", f"{_clock(self.seconds - self.last_new)} ago", ""
        unsure = f", {self.unconfirmed:,} unsure" if self.unconfirmed else ""
        yield "failures", f"{self.failures:,}{unsure}", "bold red" if self.failures else ""
        yield "replaced", f"{self.deaths:,} processes", ""

    def _best(self) -> str:
        return ", ".join(f"{name} {new}/{applied}" for name, new, applied in self.mutators) or "none yet"


def _fact(label: str, value: str, style: str, width: int) -> Text:
    """A label and a value in exactly so many columns."""
    text = Text(no_wrap=True)
    text.append(f"{label:<{_LABEL}}", "dim")
    text.append(value, style)
    text.truncate(width, overflow="crop", pad=True)
    return text


def _clock(seconds: float) -> str:
    """`0:01:05`, days before that."""
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days}d ' if days else ''}{hour}:{minute:02d}:{second:02d}"


def _ascii(text: str, ascii_only: bool) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii") if ascii_only else text


def _cut(text: str, width: int, ascii_only: bool) -> str:
    if cell_len(text) <= width:
        return text
    dots = "..." if ascii_only else "…"
    return set_cell_size(text, max(width - cell_len(dots), 0)) + dots[:width]
