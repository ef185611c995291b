"""The live line of a campaign: rich on a terminal, plain lines now and then where there is none."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fuzz.progress import Progress

__all__ = ["LiveProgress", "progress_line"]

_PLAIN_EVERY = 10.0  # seconds


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
    """Shows progress on stderr while a campaign runs; `quiet` shows none."""

    def __init__(self, *, quiet: bool = False):
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        live = sys.stderr.isatty() and not quiet  # whatever FORCE_COLOR says: a log takes no moving line
        self._live = Live(console=self._console, transient=True, refresh_per_second=8) if live else None
        self._next = _PLAIN_EVERY

    def __enter__(self) -> LiveProgress:
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
            self._live.update(Text(progress_line(progress), no_wrap=True, overflow="ellipsis"))
        elif not self._quiet and progress.seconds >= self._next:
            self._next = progress.seconds + _PLAIN_EVERY
            self.say(progress_line(progress))

    def say(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(Text(line), soft_wrap=True)
