"""What `synctape fuzz` prints at the end: text for people, JSON lines for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.buckets import Found, report_text, sequence_lines
from fuzz.progress import Progress
from fuzz.verdict import CampaignVerdict
from recorder.contract import contract_of
from recorder.interface import Interface
from recorder.report_files import shown
from replayer.lanes import Lanes, lanes_of
from replayer.reports import reproduce_line, schedule_json

__all__ = ["announcement", "count_line", "fact_lines", "json_lines", "text_lines"]


def announcement(found: Found, path: Path | None) -> str:
    """A finding in a line, when it is found."""
    finding = found.finding
    place = f"at {finding.place}" if finding.place else ""
    where = " ".join(filter(None, (finding.code, finding.method, place)))
    return (
        f"{found.seconds:6.1f} s  {where}: {shown(finding.message, 160)} "
        f"[{finding.level}, {len(found.calls)} calls] {path or ''}"
    )


def text_lines(verdict: CampaignVerdict, spec: str, seed: int, interface: Interface) -> Iterator[str]:
    """Each finding that counts in full, a line for each other one, and how the campaign went."""
    for found in verdict.counted:
        if found.known:
            continue
        path = verdict.summary.files.get(found.name)
        yield ""
        yield report_text(found, interface, spec, path or Path(found.name)).rstrip()
    for found, why in verdict.excused:
        finding = found.finding
        where = f" at {finding.place}" if finding.place else ""
        yield ""
        yield f"does not count: {found.name} {finding.method}{where}: {shown(finding.message, 160)}"
        yield f"                {shown(why)}"
    yield ""
    yield from _before_lines(verdict)
    yield from fact_lines(verdict, seed, interface)


def _before_lines(verdict: CampaignVerdict) -> Iterator[str]:
    """A line for each failure of before this campaign was gone on with."""
    for found in verdict.counted:
        if found.known:
            yield f"known:      {found.name}: {shown(found.finding.message, 160)} still fails"
    for found in verdict.summary.gone:
        yield f"gone:       {found.name}: {shown(found.finding.message, 160)} does not fail any more"


def fact_lines(verdict: CampaignVerdict, seed: int, interface: Interface) -> Iterator[str]:
    """How the campaign went."""
    summary, progress = verdict.summary, verdict.summary.progress
    yield f"stopped:    {summary.stopped}, after {progress.seconds:.1f} s, seed {seed}"
    rate = f"{progress.calls / progress.seconds if progress.seconds else 0:,.0f}/s"
    yield f"played:     {progress.corpus} traces, {progress.runs} sequences, {progress.calls} calls ({rate})"
    levels = ", ".join(f"{level} {count}" for level, count in progress.levels.items())
    yield f"levels:     {levels or 'none'}; {_ended(progress, interface)}"
    covered = f"; {progress.covered} of {progress.sites} sites of the target" if progress.sites else ""
    yield f"new:        {progress.kept} sequences kept{covered}"
    if progress.earned:
        best = ", ".join(
            f"{name} {count}/{progress.applied[name]}" for name, count in progress.earned.most_common(6)
        )
        yield f"mutators:   {best} (new/applied)"
    if progress.deaths:
        yield f"replaced:   {progress.deaths} times the searching process, after the target had ended it"
    if progress.unconfirmed:
        yield f"unsure:     {progress.unconfirmed} sequences failed once and not when played alone"
    if progress.unplayed:
        yield f"not played: {progress.unplayed} traces of the corpus: their share of the time was over"


def _lanes(found: Found) -> Lanes | None:
    return None if found.run is None else lanes_of(found.run)


def count_line(verdict: CampaignVerdict) -> str:
    """The last line: how many findings there are."""
    count, others = len(verdict.counted), len(verdict.excused)
    said = f"{count} failure{'' if count == 1 else 's'} found" if count else "nothing found"
    if known := sum(found.known for found in verdict.counted):
        said += f", {known} of them before"
    return said + (f", besides {others} that {'does' if others == 1 else 'do'} not count" if others else "")


def _ended(progress: Progress, interface: Interface) -> str:
    terminal = "/".join(sorted(contract_of(interface).terminal))
    share = progress.ended / progress.runs if progress.runs else 0.0
    return f"{share:.0%} reach {terminal}" if terminal else "no call ends the protocol"


def json_lines(verdict: CampaignVerdict, spec: str, seed: int, interface: Interface) -> Iterator[str]:
    """An object for each finding, and one for the campaign."""
    summary, progress = verdict.summary, verdict.summary.progress
    for found in summary.found:
        finding = found.finding
        path = summary.files.get(found.name)
        entry: dict[str, Any] = {
            "kind": "failure",
            "code": finding.code,
            "oracle": finding.oracle,
            "method": finding.method,
            "place": finding.place,
            "message": finding.message,
            "level": str(finding.level),
            "blame": finding.blame,
            "fingerprint": finding.fingerprint,
            "seconds": round(found.seconds, 3),
            "executions": found.executions,
            "count": found.count,
            "flaky": found.flaky,
            "failed": found.failed,
            "tries": found.tries,
            "known": found.known,
            "counts": found.name not in verdict.excuses,
            "excuse": verdict.excuses.get(found.name, ""),
            "origin": found.origin,
            "calls": [line.strip() for line in sequence_lines(found.calls, interface, finding.number)],
            **({"schedule": schedule_json(lanes)} if (lanes := _lanes(found)) is not None else {}),
            "path": str(path) if path else None,
            "reproduce": reproduce_line(path, spec, found.options) if path else None,
        }
        yield json.dumps(entry)
    yield json.dumps(
        {
            "kind": "summary",
            "target": spec,
            "seed": seed,
            "stopped": summary.stopped,
            "seconds": round(progress.seconds, 3),
            "traces": progress.corpus,
            "unplayed": progress.unplayed,
            "runs": progress.runs,
            "calls": progress.calls,
            "ended": progress.ended,
            "new": progress.kept,
            "covered": progress.covered,
            "sites": progress.sites,
            "levels": dict(progress.levels),
            "mutators": {n: {"applied": c, "new": progress.earned[n]} for n, c in progress.applied.items()},
            "deaths": progress.deaths,
            "unconfirmed": progress.unconfirmed,
            "failures": len(verdict.counted),
            "excused": len(verdict.excused),
        }
    )
