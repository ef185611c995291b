"""Campaigns as they end, made up for tests of what is told of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sequences import CALLBACK, calls

from fuzz.buckets import Found
from fuzz.coverage import CoveredFile
from fuzz.html_report import CampaignReport, campaign_report
from fuzz.instrument import Site
from fuzz.progress import CampaignOptions, Progress, Summary
from recorder.calls import NOT_RUN, Call, Enter, Header, Leave, Outcome, OutcomeKind, Trace
from recorder.interface import Interface
from replayer.oracles import Finding
from replayer.player import Run
from replayer.scheduler import HandOver

__all__ = ["HOSTILE", "RAISED", "SOURCE", "campaign", "found", "found_scheduled", "hostile_report", "report"]

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


def found_scheduled() -> Found:
    """A failure whose second call came in the middle of its first, which gave way at a line of the target."""
    one, two = calls('t0 Progress("a", 1, 2) @4', "t1 Done(NULL, S_OK)")
    failing = found(one, two, number=1, method="Done")
    events = (Enter(0, one), Enter(1, two), Leave(1, Outcome()), Leave(0, Outcome()))
    over = HandOver(0, 4, "gauge.py:2 in Progress", 1, "change", "self.done < 1")
    failing.run = Run(Trace(Header(scheduled=True), events), schedule=(over,))
    return failing


HOSTILE = "\ud83d</script><img src=x onerror=alert(1)>\u202e\0\x1b]8;;http://x\x07'\"&lt;{{7*7}}<!--"


def hostile_report() -> CampaignReport:
    """A campaign in which every text that comes from outside is hostile."""
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
    missed = [Site(1, HOSTILE), Site(9, HOSTILE)]
    files = (CoveredFile(HOSTILE, HOSTILE + "\n" + HOSTILE, [Site(1, HOSTILE)], missed),)
    return campaign_report(summary, HOSTILE, CampaignOptions(), CALLBACK, files)
