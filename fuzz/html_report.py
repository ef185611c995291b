"""A campaign as one page of HTML that works offline: what was found, how the search went, what it has not reached.

The page holds everything it shows and loads nothing.  All of it is there without its script, which adds what is
shown when something is pointed at, the copy buttons, and the arrow keys in charts.  What a target or a trace says
stands in it as text only (fuzz.markup).
"""

from __future__ import annotations

import os
import platform
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fuzz.charts import chart, duration, short
from fuzz.coverage import CoveredFile
from fuzz.html_failures import Failure, failure_of, failures_section
from fuzz.html_parts import empty, rows, scrolling, table
from fuzz.html_source import source_section
from fuzz.markup import Child, Element, element, page
from fuzz.progress import CampaignOptions, Summary
from fuzz.state_diagram import Way, state_diagram, ways_of
from recorder.contract import contract_of
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.report_files import shown

__all__ = ["CampaignReport", "Failure", "campaign_report", "check_writable", "to_html", "write_html"]

_ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True)
class CampaignReport:
    """What the page is made of.

    `stopped` says why the campaign ended, `history` are snapshots (`Progress.snapshot`), the last one of its end.
    `transitions` counts calls by (state before, method); empty where they were not counted.  `mutators` are
    (name, sequences it helped to make, of these something new).  `gone` are failures of before that fail no more.
    """

    target: str
    interface: Interface
    stopped: str
    history: Sequence[Mapping[str, Any]]
    facts: Sequence[tuple[str, str]] = ()
    failures: Sequence[Failure] = ()
    transitions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    mutators: Sequence[tuple[str, int, int]] = ()
    levels: Mapping[str, int] = field(default_factory=dict)
    files: Sequence[CoveredFile] = ()
    gone: Sequence[str] = ()


def campaign_report(
    summary: Summary,
    spec: str,
    options: CampaignOptions,
    interface: Interface,
    files: Sequence[CoveredFile] = (),
    *,
    excuses: Mapping[str, str] | None = None,
) -> CampaignReport:
    """What a campaign in this process has come to; `excuses` say by name which failures do not count, and why."""
    excuses = excuses or {}
    progress = summary.progress
    found = sorted(summary.found, key=lambda f: (f.name in excuses, f.finding.level, f.seconds))
    return CampaignReport(
        spec,
        interface,
        summary.stopped,
        summary.history,
        [
            ("Seed", str(options.seed)),
            ("Highest level", str(options.level)),
            ("Time allowed", "no bound" if options.max_time is None else duration(options.max_time)),
            ("Sequences allowed", "no bound" if options.max_runs is None else f"{options.max_runs:,}"),
            *([("Oracles left out", ", ".join(sorted(options.disabled)))] if options.disabled else []),
            *([("Jobs", str(options.jobs))] if options.jobs != 1 else []),
            ("Interface", f"{interface.name} {interface.iid}"),
            ("Written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
            ("synctape", _version()),
            ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
            ("System", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ],
        [failure_of(f, spec, summary.files.get(f.name), excuses.get(f.name, "")) for f in found],
        dict(progress.transitions),
        [(name, applied, progress.earned[name]) for name, applied in progress.applied.items()],
        dict(progress.levels),
        files,
        [f"{one.name}: {one.finding.message}" for one in summary.gone],
    )


def _version() -> str:
    try:
        return metadata.version("synctape")
    except metadata.PackageNotFoundError:
        return "not installed"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises SynctapeError, in one line, if no file can be written there; makes nothing."""
    path = Path(path)
    if path.is_dir():
        raise SynctapeError(f"{path}: is a folder, not a file")
    if not path.parent.is_dir():
        raise SynctapeError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise SynctapeError(f"{path}: cannot be written: Permission denied")


def write_html(report: CampaignReport, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all, in the place of one that was there.

    Raises SynctapeError if it cannot be written.
    """
    path, text = Path(path), to_html(report)
    part = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
    try:
        try:
            part.write_text(text, encoding="utf-8", newline="\n")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SynctapeError(f"{path}: cannot be written: {error.strerror or error}") from None


def to_html(report: CampaignReport) -> str:
    """The page's source."""
    return page(
        f"{_verdict(report)[0]}: {shown(report.target, 120)}",
        _body(report),
        style=_ASSETS.joinpath("report.css").read_text("utf-8"),
        script=_ASSETS.joinpath("report.js").read_text("utf-8"),
    )


# --- the page -------------------------------------------------------------------------------------------------


def _body(report: CampaignReport) -> Iterator[Child]:
    sections = [
        ("failures", "Failures", failures_section(report.failures, report.gone, report.interface)),
        ("growth", "Growth", _growth(report)),
        ("protocol", "Protocol", _protocol(report)),
        ("coverage", "Coverage", _coverage(report)),
        ("mutators", "Mutators", _mutators(report)),
        ("facts", "Facts", _facts(report)),
    ]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections]
    verdict, kind = _verdict(report)
    yield element("a", "Skip to the failures", href="#failures", class_="skip")
    yield element(
        "header",
        element("p", "synctape campaign", class_="kicker"),
        element("h1", shown(report.target, 200)),
        element("p", element("span", verdict, class_=f"verdict {kind}"), f" {_ended(report)}"),
        _cards(report),
    )
    yield element("nav", element("ul", links), aria_label="Sections")
    yield element(
        "main",
        [
            element(
                "section", element("h2", title, id=f"{name}-title"), body, id=name, aria_labelledby=f"{name}-title"
            )
            for name, title, body in sections
        ],
    )
    yield element("footer", element("p", "Made by synctape. This page loads nothing from anywhere."))
    yield element("div", id="tip", role="tooltip", hidden=True)


def _last(report: CampaignReport) -> Mapping[str, Any]:
    return report.history[-1] if report.history else {}


def _verdict(report: CampaignReport) -> tuple[str, str]:
    count, last = sum(not failure.excuse for failure in report.failures), _last(report)
    if count:
        return f"{count} failure{'s' * (count > 1)} found", "bad"
    if report.failures:
        return "Nothing new found", "good"
    if not last.get("runs") and not last.get("traces"):
        return "Nothing was executed", "bad"
    return "Nothing found", "good"


_STOPPED = {
    "time": "The campaign ended when its time was over",
    "runs": "The campaign ended when its sequences were played",
    "first failure": "The campaign ended at its first failure",
    "interrupted": "The campaign was interrupted",
    "terminated": "The campaign was terminated",
    "not ended": "The campaign had not ended when this was written",
}


def _ended(report: CampaignReport) -> str:
    other = shown(report.stopped, 200)
    ended = _STOPPED.get(report.stopped, f"{other[:1].upper()}{other[1:]}")
    return f"{ended}, after {duration(_last(report).get('seconds', 0.0))}."


def _cards(report: CampaignReport) -> Element:
    last = _last(report)
    seconds = last.get("seconds", 0.0)
    covered, sites = last.get("covered", 0), last.get("sites", 0)
    cards = [
        ("Sequences", short(last.get("runs", 0)), f"from {last.get('traces', 0):,} traces"),
        (
            "Calls",
            short(last.get("calls", 0)),
            f"{short(round(last.get('calls', 0) / seconds))}/s" if seconds else "",
        ),
        (
            "Coverage",
            f"{covered / sites:.0%}" if sites else "–",
            f"{covered:,} of {sites:,} sites" if sites else "not measured",
        ),
        ("Kept", short(last.get("new", 0)), f"last at {duration(last.get('last_new', 0.0))}"),
    ]
    made = [
        element("div", element("dt", name), element("dd", value, element("small", more)))
        for name, value, more in cards
    ]
    return element("dl", made, class_="cards")


# --- growth ---------------------------------------------------------------------------------------------------

_CHARTS = (  # key, title, of how many
    ("covered", "Sites of the target reached", "sites"),
    ("new", "Sequences kept for something new", ""),
    ("states", "Shapes of the target's state seen", ""),
    ("failures", "Failures", ""),
)


def _growth(report: CampaignReport) -> Iterator[Child]:
    history = report.history
    if len(history) < 2:
        yield empty("The campaign was over before there was anything to draw.")
        return
    last = history[-1]
    figures = []
    for key, title, total in _CHARTS:
        if last.get(key):
            of = f" of {last[total]:,}" if total and last.get(total) else ""
            points = [(s["seconds"], s.get(key, 0)) for s in history]
            figures.append(chart(title, points, told=f"{last[key]:,}{of}"))
    if rates := _rates(history):
        average = f"{short(round(last['calls'] / last['seconds']))} on average"
        figures.append(chart("Calls a second", [(0.0, rates[0][1]), *rates], told=average, rate=True))
    yield element("div", figures, class_="charts")
    values = table(
        ("time", "sequences", "calls", "kept", "sites", "states", "failures"),
        [
            (
                duration(s["seconds"]),
                *(f"{s.get(k, 0):,}" for k in ("runs", "calls", "new", "covered", "states", "failures")),
            )
            for s in _some(history)
        ],
    )
    yield element("details", element("summary", "The same as a table"), values, class_="more")


def _rates(history: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Calls a second, over spans that are not too short to tell."""
    shortest = history[-1]["seconds"] / 60
    since: Mapping[str, Any] = {"seconds": 0.0, "calls": 0}
    rates = []
    for snapshot in history:
        passed = snapshot["seconds"] - since["seconds"]
        if passed > shortest:
            rates.append((snapshot["seconds"], (snapshot["calls"] - since["calls"]) / passed))
            since = snapshot
    return rates


def _some(history: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    step = max(1, len(history) // 40)
    kept = list(history[::step])
    return kept if kept[-1] is history[-1] else [*kept, history[-1]]


# --- protocol -------------------------------------------------------------------------------------------------


def _protocol(report: CampaignReport) -> Iterator[Child]:
    contract = contract_of(report.interface)
    ways = ways_of(contract, report.transitions)
    legal = [way for way in ways if way.rule is None and way.count is not None]
    if report.transitions:
        taken = sum(bool(way.count) for way in legal)
        broken = [way for way in ways if way.rule is not None and way.count is not None]
        also = f", and {sum(bool(w.count) for w in broken)} of {len(broken)} that break a rule" if broken else ""
        yield element(
            "p", f"{taken} of {len(legal)} transitions that the contract allows were taken{also}.", class_="lead"
        )
    else:
        yield element("p", "How often each transition was taken was not counted in this campaign.", class_="lead")
    yield scrolling(state_diagram(contract, ways), "State diagram; the table below has the same")
    legend = [
        ("seen", "taken"),
        ("never", "never taken"),
        ("unprovoked", "breaks a rule (in brackets), never taken"),
    ]
    if report.transitions:
        present = {way.kind for way in ways}
        items = [element("li", text, class_=f"legend {kind}") for kind, text in legend if kind in present]
        yield element("ul", items, class_="legends")
    yield table(("state", "call", "leads to", "breaks", "taken"), [_way_row(way) for way in ways], "plain")


def _way_row(way: Way) -> Sequence[Child]:
    count = "–" if way.count is None else f"{way.count:,}" if way.count else "never"
    return (
        way.state,
        element("code", way.method),
        way.to,
        way.rule or "",
        element("span", count, class_=f"taken {way.kind}"),
    )


# --- coverage, mutators and facts --------------------------------------------------------------------------------


def _coverage(report: CampaignReport) -> Iterator[Child]:
    if report.files:
        yield from source_section(report.files)
        return
    measured = _last(report).get("sites", 0)
    why = "it was counted, but not by line" if measured else "it was not watched"
    yield empty(f"There is no source to show of the target's code: {why}.")


def _mutators(report: CampaignReport) -> Iterator[Child]:
    if not report.mutators:
        yield empty("No sequence was changed.")
        return
    most = max(new for _, _, new in report.mutators) or 1
    yield element(
        "p", "How many sequences each helped to make, and how many of these brought something new.", class_="lead"
    )
    body = [
        (
            element("code", name),
            f"{applied:,}",
            f"{new:,}",
            f"{new / applied:.2%}" if applied else "",
            element("meter", str(new), min=0, max=most, value=new, aria_label=f"{new} new"),
        )
        for name, applied, new in sorted(report.mutators, key=lambda m: (-m[2], -m[1], m[0]))
    ]
    yield table(("mutator", "applied", "new", "share", ""), body)


def _facts(report: CampaignReport) -> Iterator[Child]:
    last = _last(report)
    played = sum(report.levels.values())
    levels = ", ".join(f"{level} {count:,}" for level, count in report.levels.items()) or "none"
    ended = f"{last['ended'] / played:.0%}" if played and "ended" in last else "–"
    facts = [
        ("Target", report.target),
        *report.facts,
        ("Duration", duration(last.get("seconds", 0.0))),
        ("Traces replayed", f"{last.get('traces', 0):,}"),
        ("Sequences", f"{last.get('runs', 0):,}"),
        ("Calls", f"{last.get('calls', 0):,}"),
        ("By level", levels),
        *([("Reach the end of the protocol", ended)] if contract_of(report.interface).terminal else []),
        ("Processes replaced", f"{last.get('deaths', 0):,}, after the target had ended them"),
        ("Unsure", f"{last.get('unconfirmed', 0):,} sequences failed once and not when played alone"),
    ]
    yield rows(facts)
