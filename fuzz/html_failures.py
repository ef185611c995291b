"""Failures as the report tells them: the minimal sequence as lanes and as a list, and how to see it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.buckets import Found, how_often
from fuzz.html_parts import LONGEST, empty, rows, scrolling
from fuzz.markup import Child, Element, element
from fuzz.schedule_lanes import schedule_lanes, switch_list
from fuzz.swim_lanes import LaneCall, swim_lanes
from recorder import hresult
from recorder.calls import Argument, Call, Outcome, OutcomeKind
from recorder.errors import SynctapeError
from recorder.interface import Interface, Method, Type
from recorder.report_files import shown
from recorder.text import argument_text, call_text, duration_text, outcome_text
from replayer.lanes import Lanes, lanes_of
from replayer.oracles import explain
from replayer.reports import reproduce_line

__all__ = ["Failure", "failure_of", "failures_section"]

_DRAWN, _DRAWN_IN_ALL, _DRAWN_ALWAYS = 240, 6000, 20  # calls: of one sequence, of all, of those after that


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure as the page tells it.

    `number` is the failing call, `outcomes` are those of its last run; `excuse` says why it does not count, if so.
    `lanes` show how the calls met, where they are of several threads.
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
    flaky: str = ""
    count: int = 1
    reproduce: str = ""
    stack: str = ""
    report: str = ""
    excuse: str = ""
    lanes: Lanes | None = None


def failure_of(found: Found, spec: str, path: Path | None, excuse: str) -> Failure:
    """A failure of a campaign; `path` is the trace that was kept of it, `excuse` says why it does not count."""
    finding, run = found.finding, found.run
    played = run.trace.played if run is not None else ()
    lanes = lanes_of(run) if run is not None else None
    calls = found.calls if lanes is None else [p.call for p in played]
    outcomes = [p.outcome for p in played] if [p.call[:2] for p in played] == [c[:2] for c in calls] else []
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
        calls,
        outcomes,
        how_often(found) if found.flaky else "",
        found.count,
        reproduce_line(path, spec, found.options) if path else "",
        found.stack,
        run.report if run else "",
        excuse,
        lanes,
    )


def failures_section(failures: Sequence[Failure], gone: Sequence[str], interface: Interface) -> Iterator[Child]:
    """Each failure, folded but for the first; and those of before that fail no more."""
    if gone:
        items = [element("li", shown(line, 300)) for line in gone]
        yield element("p", "Known from before, and do not fail any more:", class_="lead")
        yield element("ul", items, class_="gone")
    if not failures:
        yield empty("No sequence of calls made the target fail.")
        return
    yield element(
        "p",
        "Each failure with its minimal sequence, the most serious first. Point at a call, or choose it, to see "
        "its arguments and its answer.",
        class_="lead",
    )
    room = _DRAWN_IN_ALL
    for number, failure in enumerate(failures):
        most = max(min(_DRAWN, room), _DRAWN_ALWAYS)
        yield _one(failure, interface, number, most)
        room -= min(most, len(failure.calls))


def _one(failure: Failure, interface: Interface, number: int, most: int) -> Element:
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
        *([("Flaky", failure.flaky)] if failure.flaky else []),
    ]
    body: list[Child] = [rows(facts)]
    if failure.reproduce:
        body.append(_command(f"reproduce-{number}", "Reproduce it", failure.reproduce))
    body.append(element("h3", f"The sequence, {len(failure.calls)} call{'s' * (len(failure.calls) != 1)}"))
    body += _sequence(failure, interface, number, most)
    body += _told("Report of the sanitizer", failure.report)
    body += _told("Stack", failure.stack)
    body.append(_explained(failure.code))
    return element(
        "details", summary, element("div", body, class_="inside"), id=name, class_="failure", open=number == 0
    )


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
    return element("details", element("summary", f"What {code} means"), rows(paragraphs), class_="more")


def _sequence(failure: Failure, interface: Interface, number: int, most: int) -> Iterator[Child]:
    """The lanes, then the same as a list; of a long one `most` calls around the failing one."""
    calls = failure.calls
    if not calls:
        yield empty("It has no calls.")
        return
    known = len(failure.outcomes) == len(calls)
    outcomes = list(failure.outcomes) if known else [None] * len(calls)
    kept = _kept(len(calls), failure.number, most)
    drawn, listed, last = [], [], -1
    for at in kept:
        call, outcome, failing = calls[at], outcomes[at], at == failure.number
        answer, kind = _answer(outcome, interface.method(call.method), failing) if known else ("", "unknown")
        if known and outcome is None and failure.lanes is not None:
            answer, kind = "never ended", "bad"
        row = f"call-{number}-{at}"
        text = shown(call_text(call, interface), LONGEST)
        drawn.append(
            LaneCall(
                at,
                call.thread,
                shown(call.method, 60),
                answer,
                kind,
                failing,
                f"{text}\n→ {answer or 'its answer was not kept'}",
                row,
            )
        )
        if at > last + 1:
            listed.append(element("li", f"… {at - last - 1} calls", class_="left-out"))
        listed.append(_call_row(call, outcome, interface, at, row, (answer, kind), failing))
        last = at
    label = "Calls by thread; the list below has the same"
    if failure.lanes is not None and len(kept) == len(calls):
        lanes = failure.lanes.around([failure.number])
        yield scrolling(schedule_lanes(lanes, {call.number: call for call in drawn}), label)
        if (switches := switch_list(lanes)) is not None:
            yield switches
        if left_out := len(failure.lanes.moments) - len(lanes.moments):
            yield element("p", f"{left_out:,} enters, leaves and switches between these are left out.")
    else:
        yield scrolling(swim_lanes(drawn, [f"thread {n}" for n in range(max(c.thread for c in calls) + 1)]), label)
    yield element("ol", listed, class_="calls")


def _kept(count: int, failing: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    first = max(0, min(failing - most * 3 // 4, count - most))
    return sorted({0, 1, *range(first, min(first + most, count))})


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
    call: Call,
    outcome: Outcome | None,
    interface: Interface,
    number: int,
    row: str,
    told: tuple[str, str],
    failing: bool,
) -> Element:
    answer, kind = told
    method = interface.method(call.method)
    came = "" if outcome is None else shown(outcome_text(outcome, method), LONGEST)
    names = [p.name for p in method.inputs] + [f"argument {n}" for n in range(len(method.inputs), len(call.args))]
    types = [p.type for p in method.inputs]
    arguments = [
        (name, _value(value, types[n] if n < len(types) else None))
        for n, (name, value) in enumerate(zip(names, call.args, strict=False))
    ]
    facts = [*arguments, ("answer", came or answer or "it was not kept")]
    if outcome is not None and outcome.elapsed_ns:
        facts.append(("took", duration_text(outcome.elapsed_ns)))
    summary = element(
        "summary",
        element("span", str(number), class_="number"),
        element("code", shown(call_text(call, interface), 160)),
        element("span", f"thread {call.thread}", class_="thread") if call.thread else None,
        element("span", f"→ {shown(came, 120)}" if came else "", class_=f"came {kind}"),
    )
    return element(
        "li",
        element("details", summary, rows(facts)),
        id=row,
        class_="failing" if failing else None,
    )


def _value(value: Argument, kind: Type | None) -> str:
    text = argument_text(value, kind)
    return f"{text} ({len(value)} characters)" if isinstance(value, str) and len(value) > 40 else text
