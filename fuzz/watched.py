"""A campaign whose reports exist however it ends.

The files are written when it begins, saying that it has not ended, again with each finding, and at the end.  If
this process is killed, by a runner that has no more time for instance, what was found until then is there, and no
reader takes the file for that of a run that went well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from fuzz.baseline import Baseline
from fuzz.buckets import Found
from fuzz.campaign import Campaign, stop_word
from fuzz.progress import Summary
from fuzz.verdict import CampaignVerdict, known_excuses, unseen_excuses
from recorder.errors import SynctapeError
from replayer.reports import Report, report_all

__all__ = ["Reports", "Watched"]

_RUNNING = "the campaign had not ended when this was written"


class Reports(Protocol):
    """Gives the reports of a verdict; while the campaign runs only those that are files, to be written anew."""

    def __call__(self, verdict: CampaignVerdict, *, final: bool) -> list[Report]: ...


class Watched:
    """A campaign, the baseline that excuses its findings, and its reports."""

    def __init__(self, campaign: Campaign, baseline: Baseline, reports: Reports):
        self._campaign = campaign
        self._baseline = baseline
        self._reports = reports
        self._found: dict[str, Found] = {}

    def found(self, found: Found) -> None:
        """Told of each finding; has it in the files at once."""
        self._found[found.name] = found
        with contextlib.suppress(SynctapeError):  # at the end it is tried again, and told
            self._write(self._so_far(), _RUNNING, final=False)

    def run(self, begin: Callable[[], None], *, verify: bool, deadline: float | None) -> CampaignVerdict:
        """Run the campaign, after `begin`; `verify`: play flaky findings again, until the deadline (monotonic).

        Raises what the campaign raises, once that is in the reports.
        """
        try:
            try:
                begin()
                self._write(self._so_far(), _RUNNING, final=False)
                summary = self._campaign.run()
            except KeyboardInterrupt as stop:  # before the search, or after it
                summary = Summary(self._campaign.progress, [], stop_word(stop), self._campaign.files)
            verdict = CampaignVerdict(summary, known_excuses(summary.found, self._baseline))
            return self._verified(verdict, deadline) if verify and not verdict.interrupted else verdict
        except (SynctapeError, KeyboardInterrupt) as error:
            stopped = stop_word(error) if isinstance(error, KeyboardInterrupt) else f"stopped: {error}"
            self._write(self._so_far(), stopped, final=True)
            raise

    def report(self, verdict: CampaignVerdict) -> None:
        """Write the reports of what it came to."""
        self._write(verdict, verdict.trouble, final=True)

    def _verified(self, verdict: CampaignVerdict, deadline: float | None) -> CampaignVerdict:
        campaign = self._campaign
        excuses = unseen_excuses(
            verdict.counted, campaign.spec, campaign.interface, campaign.options, deadline=deadline
        )
        return CampaignVerdict(verdict.summary, {**verdict.excuses, **excuses})

    def _so_far(self) -> CampaignVerdict:
        found = list(self._found.values())
        summary = Summary(self._campaign.progress, found, "not yet", self._campaign.files)
        return CampaignVerdict(summary, known_excuses(found, self._baseline))

    def _write(self, verdict: CampaignVerdict, stopped: str, *, final: bool) -> None:
        report_all(verdict.verdicts(), self._reports(verdict, final=final), stopped)
