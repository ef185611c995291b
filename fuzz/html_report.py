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
from importlib import metadata
from pathlib import Path
from typing import Any

from fuzz.buckets import Found
from fuzz.charts import chart, duration, short
from fuzz.coverage import CoveredFile
from fuzz.markup import Child, Element, element, page
from fuzz.progress import CampaignOptions, Summary
from fuzz.state_diagram import Way, state_diagram, ways_of
from fuzz.swim_lanes import LaneCall, swim_lanes
from recorder import hresult
from recorder.calls import Argument, Call, Outcome, OutcomeKind
from recorder.contract import contract_of
from recorder.errors import SynctapeError
from recorder.interface import Interface, Method
from recorder.text import argument_text, call_text, duration_text, outcome_text
from replayer.oracles import explain
from replayer.reports import reproduce_line, shown

__all__ = ["CampaignReport", "Failure", "campaign_report", "check_writable", "to_html", "write_html"]

_ASSETS = Path(__file__).with_name("assets")
_DRAWN = 240  # calls of a failure's sequence
_LONGEST = 2000  # characters of one value
_MOST_LINES = 40_000  # of source, in all


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as the page tells it.

    `number` is the failing call, `outcomes` are those of its last run; `excuse` says why it does not count, if so.
    """

    code: str
    oracle: str
    method: str
    message: str
    place: str
    blame: str
    level: str
    fingerprint: str
    where: str
    number: int
    calls: Sequence[Call]
    outcomes: Sequence[Outcome | None] = ()
    flaky: bool = False
    count: int = 1
    reproduce: str = ""
    stack: str = ""
    report: str = ""
    excuse: str = ""


@dataclass(frozen=True)
class CampaignReport:
    """What the page is made of.

    `stopped` says why the campaign ended, `history` are snapshots (`Progress.snapshot`), the last one of its end.
    `transitions` counts calls by (state before, method); empty where they were not counted.  `mutators` are
    (name, sequences it helped to make, of these something new).
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
            ("Interface", f"{interface.name} {interface.iid}"),
            ("synctape", _version()),
            ("Python", f"{platform.python_version()} ({sys.implementation.name})"),
            ("System", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ],
        [_failure(f, spec, summary.files.get(f.name), excuses.get(f.name, "")) for f in found],
        dict(progress.transitions),
        [(name, applied, progress.earned[name]) for name, applied in progress.applied.items()],
        dict(progress.levels),
        files,
    )


def _version() -> str:
    try:
        return metadata.version("synctape")
    except metadata.PackageNotFoundError:
        return "not installed"


def _failure(found: Found, spec: str, path: Path | None, excuse: str) -> Failure:
    finding, run = found.finding, found.run
    played = run.trace.played if run is not None else ()
    outcomes = [p.outcome for p in played] if [p.call[:2] for p in played] == [c[:2] for c in found.calls] else []
    return Failure(
        finding.code,
        finding.oracle,
        finding.method,
        finding.message,
        finding.place,
        finding.blame,
        str(finding.level),
        finding.fingerprint,
        found.where,
        finding.number,
        found.calls,
        outcomes,
        found.flaky,
        found.count,
        reproduce_line(path, spec, found.options) if path else "",
        found.stack,
        run.report if run else "",
        excuse,
    )


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
        ("failures", "Failures", _failures(report)),
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
}


def _ended(report: CampaignReport) -> str:
    ended = _STOPPED.get(report.stopped, f"The campaign ended: {shown(report.stopped, 80)}")
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


def _empty(text: str) -> Element:
    return element("p", text, class_="empty")


# --- failures -------------------------------------------------------------------------------------------------


def _failures(report: CampaignReport) -> Iterator[Child]:
    if not report.failures:
        yield _empty("No sequence of calls made the target fail.")
        return
    yield element(
        "p",
        "Each failure with its minimal sequence, the most serious first. Point at a call, or choose it, to see "
        "its arguments and its answer.",
        class_="lead",
    )
    for number, failure in enumerate(report.failures):
        yield _one_failure(failure, report, number)


def _one_failure(failure: Failure, report: CampaignReport, number: int) -> Element:
    name = f"{failure.code}-{failure.fingerprint}"
    badges = [element("span", failure.level, class_=f"badge {failure.level}")]
    if failure.excuse:
        badges.append(element("span", "does not count", class_="badge"))
    if failure.flaky:
        badges.append(element("span", "flaky", class_="badge flaky"))
    where = (
        f"{failure.method} at {failure.place}"
        if failure.method and failure.place
        else failure.method or failure.place
    )
    summary = element(
        "summary",
        element("span", failure.code, class_="code"),
        element("span", shown(failure.message, 300), class_="message"),
        element("span", where, class_="where"),
        element("span", badges, class_="badges"),
    )
    facts = [
        ("Place", failure.place or "none in the target"),
        ("Method", failure.method or "none"),
        ("Blame", failure.blame),
        ("Level", failure.level),
        ("Oracle", failure.oracle),
        ("Found", failure.where + (f"; seen {failure.count:,} times" if failure.count > 1 else "")),
        *([("Does not count", failure.excuse)] if failure.excuse else []),
        *([("Flaky", "it did not fail each time")] if failure.flaky else []),
    ]
    body: list[Child] = [element("dl", [_row(*fact) for fact in facts], class_="rows")]
    if failure.reproduce:
        body.append(_command(f"reproduce-{number}", "Reproduce it", failure.reproduce))
    body.append(element("h3", f"The sequence, {len(failure.calls)} call{'s' * (len(failure.calls) != 1)}"))
    body += _sequence(failure, report.interface, number)
    body += _told("Report of the sanitizer", failure.report)
    body += _told("Stack", failure.stack)
    body.append(_explained(failure.code))
    return element(
        "details", summary, element("div", body, class_="inside"), id=name, class_="failure", open=number == 0
    )


def _row(name: str, value: str) -> Element:
    return element("div", element("dt", name), element("dd", shown(value, _LONGEST)))


def _command(name: str, label: str, command: str) -> Element:
    return element(
        "div",
        element("span", label, class_="label"),
        element("code", command, id=name),
        element("button", "Copy", type="button", hidden=True, data_copy=name),
        class_="command",
    )


def _told(title: str, text: str) -> Iterator[Child]:
    if text.strip():
        lines = "\n".join(shown(line) for line in text.strip().splitlines())
        yield element("details", element("summary", title), element("pre", lines), class_="more")


def _explained(code: str) -> Element | None:
    try:
        paragraphs = explain(code)
    except SynctapeError:
        return None
    rows = [_row(heading, text) for heading, text in paragraphs]
    return element(
        "details", element("summary", f"What {code} means"), element("dl", rows, class_="rows"), class_="more"
    )


def _sequence(failure: Failure, interface: Interface, number: int) -> Iterator[Child]:
    """The lanes, then all of it as a list."""
    calls = failure.calls
    if not calls:
        yield _empty("It has no calls.")
        return
    outcomes = [failure.outcomes[n] if n < len(failure.outcomes) else None for n in range(len(calls))]
    kept = _kept(len(calls), failure.number)
    drawn, rows, last = [], [], -1
    for at in kept:
        call, outcome, failing = calls[at], outcomes[at], at == failure.number
        answer, kind = _answer(outcome, interface.method(call.method), failing)
        row = f"call-{number}-{at}"
        text = shown(call_text(call, interface), _LONGEST)
        drawn.append(
            LaneCall(at, call.thread, shown(call.method, 60), answer, kind, failing, f"{text}\n→ {answer}", row)
        )
        if at > last + 1:
            rows.append(element("li", f"… {at - last - 1} calls", class_="left-out"))
        rows.append(_call_row(call, outcome, interface, at, row, kind, failing))
        last = at
    lanes = swim_lanes(drawn, [f"thread {n}" for n in range(max(c.thread for c in calls) + 1)])
    label = "Calls by thread; the list below has the same"
    yield element("div", lanes, class_="scroll", tabindex=0, role="region", aria_label=label)
    yield element("ol", rows, class_="calls")


def _kept(count: int, failing: int) -> list[int]:
    if count <= _DRAWN:
        return list(range(count))
    first = max(0, min(failing - _DRAWN * 3 // 4, count - _DRAWN))
    return sorted({0, 1, *range(first, min(first + _DRAWN, count))})


def _answer(outcome: Outcome | None, method: Method, failing: bool) -> tuple[str, str]:
    """What came of a call in a word, and how that is to be taken."""
    if outcome is None or outcome.kind is OutcomeKind.NOT_RUN:
        return ("ended the process", "bad") if failing and outcome is None else ("not run", "idle")
    if outcome.kind is not OutcomeKind.RETURNED:
        return outcome.kind.value, "bad"
    value = outcome.value
    text = argument_text(value, method.returns, null="None")
    if isinstance(value, int) and hresult.is_hresult(value):
        text = hresult.name(value) or text
        return text, "failed" if hresult.failed(value) else "good"
    return shown(text, 60), "good"


def _call_row(
    call: Call, outcome: Outcome | None, interface: Interface, number: int, row: str, kind: str, failing: bool
) -> Element:
    method = interface.method(call.method)
    came = "" if outcome is None else shown(outcome_text(outcome, method), _LONGEST)
    names = [p.name for p in method.inputs] + [f"argument {n}" for n in range(len(method.inputs), len(call.args))]
    types = [p.type for p in method.inputs]
    arguments = [
        _row(name, _value(value, types[n] if n < len(types) else None))
        for n, (name, value) in enumerate(zip(names, call.args, strict=False))
    ]
    facts = [*arguments, _row("answer", came or "none: it was not run, or the process ended")]
    if outcome is not None and outcome.elapsed_ns:
        facts.append(_row("took", duration_text(outcome.elapsed_ns)))
    summary = element(
        "summary",
        element("span", str(number), class_="number"),
        element("code", shown(call_text(call, interface), 160)),
        element("span", f"thread {call.thread}", class_="thread") if call.thread else None,
        element("span", f"→ {shown(came, 120)}" if came else "", class_=f"came {kind}"),
    )
    return element(
        "li",
        element("details", summary, element("dl", facts, class_="rows")),
        id=row,
        class_="failing" if failing else None,
    )


def _value(value: Argument, kind: Any) -> str:
    text = argument_text(value, kind)
    return f"{text} ({len(value)} characters)" if isinstance(value, str) and len(value) > 40 else text


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
        yield _empty("The campaign was over before there was anything to draw.")
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
    table = _table(
        ("time", "sequences", "calls", "kept", "sites", "states", "failures"),
        [
            (
                duration(s["seconds"]),
                *(f"{s.get(k, 0):,}" for k in ("runs", "calls", "new", "covered", "states", "failures")),
            )
            for s in _some(history)
        ],
    )
    yield element("details", element("summary", "The same as a table"), table, class_="more")


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


def _table(head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str = "numbers") -> Element:
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [element("th", name, scope="col") for name in head])),
            element(
                "tbody",
                [
                    element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]])
                    for row in rows
                ],
            ),
            class_=class_,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="Table",
    )


# --- protocol -------------------------------------------------------------------------------------------------


def _protocol(report: CampaignReport) -> Iterator[Child]:
    contract = contract_of(report.interface)
    ways = ways_of(contract, report.transitions)
    legal = [way for way in ways if way.rule is None and way.count is not None]
    if report.transitions:
        taken = sum(bool(way.count) for way in legal)
        broken = [way for way in ways if way.rule is not None]
        also = f", and {sum(bool(w.count) for w in broken)} of {len(broken)} that break a rule" if broken else ""
        yield element(
            "p", f"{taken} of {len(legal)} transitions that the contract allows were taken{also}.", class_="lead"
        )
    else:
        yield element("p", "How often each transition was taken was not counted in this campaign.", class_="lead")
    yield element(
        "div",
        state_diagram(contract, ways),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="State diagram; the table below has the same",
    )
    legend = [
        ("seen", "taken"),
        ("never", "never taken"),
        ("unprovoked", "breaks a rule (in brackets), never taken"),
    ]
    if report.transitions:
        present = {way.kind for way in ways}
        items = [element("li", text, class_=f"legend {kind}") for kind, text in legend if kind in present]
        yield element("ul", items, class_="legends")
    yield _table(("state", "call", "leads to", "breaks", "taken"), [_way_row(way) for way in ways], "plain")


def _way_row(way: Way) -> Sequence[Child]:
    count = "–" if way.count is None else f"{way.count:,}" if way.count else "never"
    return (
        way.state,
        element("code", way.method),
        way.to,
        way.rule or "",
        element("span", count, class_=f"taken {way.kind}"),
    )


# --- coverage -------------------------------------------------------------------------------------------------


def _coverage(report: CampaignReport) -> Iterator[Child]:
    if not report.files:
        measured = _last(report).get("sites", 0)
        why = "it was counted, but not by line" if measured else "it was not watched"
        yield _empty(f"There is no source to show of the target's code: {why}.")
        return
    yield element(
        "p",
        "Each way out of a branch is a site. A line is missed when none of its sites was reached, and partial "
        "when some were.",
        class_="lead",
    )
    room = _MOST_LINES
    for file in sorted(report.files, key=lambda f: (-len(f.missed), f.name)):
        lines = file.source.splitlines()
        room -= len(lines)
        yield _file(file, lines if room >= 0 else None)


def _file(file: CoveredFile, lines: Sequence[str] | None) -> Element:
    hit, total = len(file.hit), len(file.hit) + len(file.missed)
    share = hit / total if total else 1.0
    summary = element(
        "summary",
        element("span", file.name, class_="file"),
        element("meter", f"{share:.0%}", min=0, max=1, value=share, aria_label="share of sites reached"),
        element("span", f"{share:.0%}", class_="share"),
        element("span", f"{hit:,} of {total:,} sites", class_="where"),
    )
    body = (
        _empty("Its lines are left out: there is too much source in all.")
        if lines is None
        else _source(file, lines)
    )
    return element("details", summary, body, class_="source")


def _source(file: CoveredFile, lines: Sequence[str]) -> Element:
    hit, missed = {line for line, _ in file.hit}, dict[int, list[str]]()
    for line, way in file.missed:
        missed.setdefault(line, []).append(way)
    made = []
    for number, text in enumerate(lines, 1):
        ways = missed.get(number, [])
        kind = "partial" if ways and number in hit else "missed" if ways else "hit" if number in hit else None
        mark = {"hit": "✓", "partial": "◐", "missed": "✗"}.get(kind or "", "")
        note = f"missed: {', '.join(dict.fromkeys(ways))}" if ways else ""
        made.append(
            element(
                "tr",
                element("td", class_="n", data_n=number),
                element("td", class_="m", data_m=mark, title=kind),
                element(
                    "td", element("code", shown(text.expandtabs(4), 1000)), element("i", note) if note else None
                ),
                class_=kind,
            )
        )
    return element(
        "div", element("table", made), class_="scroll lines", tabindex=0, role="region", aria_label=file.name
    )


# --- mutators and facts ---------------------------------------------------------------------------------------


def _mutators(report: CampaignReport) -> Iterator[Child]:
    if not report.mutators:
        yield _empty("No sequence was changed.")
        return
    most = max(new for _, _, new in report.mutators) or 1
    yield element(
        "p", "How many sequences each helped to make, and how many of these brought something new.", class_="lead"
    )
    rows = [
        (
            element("code", name),
            f"{applied:,}",
            f"{new:,}",
            f"{new / applied:.2%}" if applied else "",
            element("meter", str(new), min=0, max=most, value=new, aria_label=f"{new} new"),
        )
        for name, applied, new in sorted(report.mutators, key=lambda m: (-m[2], -m[1], m[0]))
    ]
    yield _table(("mutator", "applied", "new", "share", ""), rows)


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
    yield element("dl", [_row(*fact) for fact in facts], class_="rows wide")
