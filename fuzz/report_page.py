"""The page of a campaign as one of its reports: there from its beginning, anew with findings, whole at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fuzz.coverage import CoveredFile
from fuzz.html_report import campaign_report, write_html
from fuzz.progress import CampaignOptions
from fuzz.verdict import CampaignVerdict
from recorder.errors import SynctapeError
from recorder.interface import Interface
from replayer.reports import Summary
from replayer.verdict import Verdict

__all__ = ["CampaignPage"]

_SHARE = 20  # times as long as a page took to write it is left as it is


class CampaignPage:
    """Gives the reports that write it.

    `files` gives the lines of the target, at the end; `warn` is told if there are none to be had.
    """

    def __init__(
        self,
        path: Path,
        spec: str,
        options: CampaignOptions,
        interface: Interface,
        files: Callable[[], Sequence[CoveredFile]],
        warn: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path = path
        self._facts = spec, options, interface
        self._files = files
        self._warn = warn
        self._clock = clock
        self._due = clock()

    def reports(self, verdict: CampaignVerdict, *, final: bool) -> list[_Page]:
        """The report of a verdict; none while the campaign runs and the last page is young."""
        return [_Page(self, verdict, final)] if final or self._clock() >= self._due else []

    def write(self, verdict: CampaignVerdict, *, final: bool, stopped: str) -> None:
        """`stopped`: why the campaign has not come to its end, "" if it has."""
        spec, options, interface = self._facts
        started = self._clock()
        files: Sequence[CoveredFile] = ()
        if final and verdict.executed:
            try:
                files = self._files()
            except SynctapeError as error:
                self._warn(f"{self.path} has no lines of the target: {error}")
        made = campaign_report(verdict.summary, spec, options, interface, files, excuses=verdict.excuses)
        write_html(replace(made, stopped=stopped) if stopped else made, self.path)
        took = self._clock() - started
        self._due = started + took * (1 + _SHARE)


class _Page:
    """A Report (replayer.reports)."""

    def __init__(self, page: CampaignPage, verdict: CampaignVerdict, final: bool):
        self._page = page
        self._verdict = verdict
        self._final = final

    def verdict(self, verdict: Verdict) -> None:
        pass

    def end(self, summary: Summary) -> None:
        stopped = "" if self._verdict.interrupted else summary.stopped
        self._page.write(self._verdict, final=self._final, stopped=stopped)
