"""Reports of verdicts: for people, for machines, for a CI server.

    text     a line for each trace as it ends; then the findings in a table, the calls of each failed trace with
             the failing one marked (as lanes, where threads met), how to replay it, and a summary.  With rich on
             a terminal, plain elsewhere.
    JSON     one object a line: a trace's as it ends, at last {"summary": ...}
    JUnit    testsuites > testsuite > testcase, one for each trace; the file appears whole or not at all

SARIF, GitHub's annotations and its step summary have modules of their own (sarif, annotations, step_summary).

Text from traces and targets is shown with everything escaped that does not print, so that it can neither drive a
terminal nor break XML.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from recorder.calls import Argument, Outcome, OutcomeKind, PlayedCall
from recorder.interface import Interface
from recorder.junit import JUnitFile, add_problem, add_property
from recorder.report_files import shown
from recorder.text import call_text, outcome_text
from replayer.isolation import target_frames
from replayer.lanes import Lanes, Turn, lane_lines, lanes_of, switch_words
from replayer.locations import TraceFile, as_shown
from replayer.oracles import Finding
from replayer.player import Run
from replayer.verdict import Status, Verdict

__all__ = [
    "JUnitReport",
    "JsonReport",
    "Report",
    "Summary",
    "TextReport",
    "answered",
    "asked",
    "failure_text",
    "marked_calls",
    "played_line",
    "report",
    "report_all",
    "reproduce_line",
    "schedule_json",
    "verdict_json",
]


class Report(Protocol):
    """Takes verdicts as they come, and the summary at the end, however the end came."""

    def verdict(self, verdict: Verdict) -> None: ...

    def end(self, summary: Summary) -> None: ...


@dataclass
class Summary:
    """How many traces were replayed and what came of them.

    `planned` is how many there were to replay; `stopped` says why not all of them were, "" if they were.
    """

    planned: int
    counts: Counter[Status] = field(default_factory=Counter)
    stopped: str = ""

    @property
    def traces(self) -> int:
        return self.counts.total()

    @property
    def line(self) -> str:
        """`3 traces: 1 passed, 1 failed, 0 fixed, 1 errors`, and what is missing."""
        words = {Status.ERROR: "errors"}
        counts = ", ".join(f"{self.counts[status]} {words.get(status, status.value)}" for status in Status)
        noun = "trace" if self.traces == 1 else "traces"
        missing = f"; {self.stopped}, {self.planned - self.traces} not replayed" if self.stopped else ""
        return f"{self.traces} {noun}: {counts}{missing}"

    @property
    def exit_code(self) -> int:
        """1 if anything failed, else 2 if anything was an error or nothing was replayed, else 0."""
        if self.counts[Status.FAILED]:
            return 1
        return 2 if self.counts[Status.ERROR] or not self.traces else 0


def report(verdicts: Iterable[Verdict], reports: Sequence[Report], planned: int) -> Summary:
    """Give each verdict to each report; whatever ends the stream, the reports are ended too."""
    summary = Summary(planned)
    with contextlib.ExitStack() as stack:
        for one in reports:
            stack.callback(one.end, summary)
        try:
            for verdict in verdicts:
                summary.counts[verdict.status] += 1
                for one in reports:
                    one.verdict(verdict)
        except BaseException as error:
            summary.stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else shown(f"stopped: {error}")
            raise
    return summary


def report_all(verdicts: Sequence[Verdict], reports: Sequence[Report], stopped: str = "") -> Summary:
    """Give all verdicts to each report and end it; `stopped` says why there may be more of them, "" if not."""
    summary = Summary(len(verdicts), Counter(verdict.status for verdict in verdicts), stopped)
    for one in reports:
        for verdict in verdicts:
            one.verdict(verdict)
        one.end(summary)
    return summary


def reproduce_line(path: str | TraceFile, target: str, options: Sequence[str] = ()) -> str:
    """The command that replays one trace."""
    words = ["synctape", "replay", as_shown(path), "--target", target, *options]
    quoted = subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
    return shown(quoted, _LONGEST_COMMAND)


_LONGEST_COMMAND = 10_000  # characters


# --- what a person reads ------------------------------------------------------------------------------------


_LONG_TEXT = 80  # characters
_WHOLE = 16  # a sequence of so many calls is shown whole
_FIRST, _BEFORE, _AFTER = 2, 8, 1  # calls kept of a longer one: at its start, and around a failing one


def marked_calls(run: Run, numbers: Iterable[int]) -> Iterator[str]:
    """The sequence, a call a line, the failing ones marked with ">"; of a long one the middle is left out.

    Where calls of several threads met it is drawn as lanes (replayer.lanes).
    """
    played, interface, failing = run.trace.played, run.trace.interface, set(numbers)
    if (lanes := lanes_of(run)) is not None:
        yield from map(shown, lane_lines(lanes, lambda n: asked(run, n), lambda n: answered(run, n), failing))
        drawn = {moment.call for moment in lanes.moments}
        yield from (
            shown(f"{'>' if number in failing else ' '} not made: {number}  {played_line(call, interface, True)}")
            for number, call in enumerate(played)
            if number not in drawn
        )
        return
    kept = _kept(len(played), failing)
    threads = len({played_call.call.thread for played_call in played}) > 1
    width = len(str(len(played) - 1))
    last = -1
    for number in kept:
        if number > last + 1:
            yield f"  {'':{width}}  … {number - last - 1} calls"
        mark = ">" if number in failing else " "
        yield shown(f"{mark} {number:{width}}  {played_line(played[number], interface, threads)}")
        last = number
    if last + 1 < len(played):
        yield f"  {'':{width}}  … {len(played) - last - 1} calls"


def asked(run: Run, number: int) -> str:
    """A call, long texts by their beginning."""
    call = run.trace.played[number].call
    return call_text(call._replace(args=tuple(map(_short, call.args))), run.trace.interface)


def answered(run: Run, number: int) -> str:
    """`-> S_OK`: what came of a call where it ended."""
    _, call, outcome = run.trace.played[number]
    return _came_of(outcome, run.trace.interface, call.method).lstrip() or "ends"


def _kept(count: int, failing: set[int]) -> list[int]:
    if count <= _WHOLE:
        return list(range(count))
    kept = set(range(_FIRST))
    for number in failing:
        kept.update(range(number - _BEFORE, number + _AFTER + 1))
    return sorted(number for number in kept if 0 <= number < count)


def played_line(played: PlayedCall, interface: Interface, threads: bool = False) -> str:
    """A call and what came of it; `threads`: with its thread before it."""
    thread = f"t{played.call.thread} " if threads else ""
    call = played.call._replace(args=tuple(map(_short, played.call.args)))
    return f"{thread}{call_text(call, interface)}{_came_of(played.outcome, interface, call.method)}"


def _short(value: Argument) -> Argument:
    """A long text by its beginning."""
    if not isinstance(value, str) or len(value) <= _LONG_TEXT:
        return value
    return f"{value[:_LONG_TEXT]}… ({len(value)} characters)"


def _came_of(outcome: Outcome | None, interface: Interface, method: str) -> str:
    """The answer, unless it was lost with the process; of a failure what it was, its place stands elsewhere."""
    if outcome is None or (outcome.kind is OutcomeKind.RETURNED and outcome.detail):
        return ""
    if outcome.kind is OutcomeKind.RETURNED:
        return f" -> {outcome_text(outcome, interface.method(method))}"
    return f" -> {outcome.kind.value}: {outcome.detail}".removesuffix(": ")


def failure_text(verdict: Verdict, command: str) -> str:
    """Everything to be said of a failed trace: findings, calls, stack, and the command that replays it."""
    return "\n".join(text for text, _ in _failure(verdict, command))


_Line = tuple[str, str]  # text, style


def _failure(verdict: Verdict, command: str) -> Iterator[_Line]:
    for finding in verdict.findings:
        yield from _finding(finding, "bold red")
    for finding in verdict.beyond:
        yield from _finding(finding, "yellow", "note: ")
    for note in (verdict.message, *verdict.notes):
        if note:
            yield f"note: {shown(note)}", ""
    if verdict.run is not None:
        yield "", ""
        for line in marked_calls(verdict.run, [f.number for f in verdict.findings + verdict.beyond]):
            yield line, "bold" if line.startswith(">") else ""
        yield from _stack(verdict.run)
    yield "", ""
    yield f"replay it: {command}", "cyan"


def _finding(finding: Finding, style: str, prefix: str = "") -> Iterator[_Line]:
    yield f"{prefix}{finding.code}  {shown(finding.message)}", style
    number, method = finding.number, shown(finding.method)
    where = f"in call {number}, {method}" if method else f"after call {number}"
    place = f" at {shown(finding.place)}" if finding.place else ""
    yield f"    {where}{place}; blame: {finding.blame}", ""


_FRAMES = 20


def _stack(run: Run) -> Iterator[_Line]:
    if run.report:
        yield "", ""
    for line in run.report.splitlines():
        yield f"  {shown(line)}", ""
    if any(seen.kind == "deadlock" for seen in run.observations):
        yield "", ""
        yield "Stacks of the threads that wait for each other, most recent call last:", ""
        yield from ((f"  {shown(line)}", "") for line in run.stack.splitlines() if line.strip())
        return
    frames = target_frames(run.stack)
    if frames:
        yield "", ""
        yield "Python stack of the target, most recent call first:", ""
    for frame in frames[:_FRAMES]:
        yield f"  {shown(str(frame))}", ""
    if len(frames) > _FRAMES:
        yield f"  … {len(frames) - _FRAMES} frames", ""


class TextReport:
    """For people, on a terminal or in a log.  `command` gives the line that replays a trace."""

    def __init__(self, stream: TextIO, command: Callable[[Verdict], str]):
        self._paper: _Paper = _Terminal(stream) if stream.isatty() else _Plain(stream)
        self._command = command
        self._bad: list[Verdict] = []

    def verdict(self, verdict: Verdict) -> None:
        codes = ", ".join(dict.fromkeys(f.code for f in verdict.findings))
        beyond = ", ".join(dict.fromkeys(f"{f.code} ({f.level})" for f in verdict.beyond))
        parts = [shown(verdict.name)]
        if verdict.run is not None:
            count = len(verdict.run.trace.calls)
            parts.append(f"{count} call{'s' * (count != 1)}")
        parts += [codes, f"note: {beyond}" if beyond else ""]
        parts += [shown(verdict.message) if verdict.status is not Status.ERROR else ""]  # an error is on stderr
        line = "  ".join(part for part in parts if part)
        self._paper.line(f"{verdict.status.name:<6}  {line}", _STYLES[verdict.status])
        if verdict.findings or verdict.beyond:
            self._bad.append(verdict)

    def end(self, summary: Summary) -> None:
        if self._bad:
            self._paper.line("")
            self._paper.table(("code", "blame", "place", "message", "traces"), _rows(self._bad))
        failed = [verdict for verdict in self._bad if verdict.status is Status.FAILED]
        told = _worth_telling(failed)
        for verdict in told:
            self._paper.line("")
            self._paper.line(f"--- {shown(verdict.name)}", "bold")
            for text, style in _failure(verdict, self._command(verdict)):
                self._paper.line(text, style)
        if len(told) < len(failed):
            self._paper.line("")
            self._paper.line(
                f"{len(failed) - len(told)} more failed traces show nothing else; --json has them all"
            )
        if self._bad:
            self._paper.line("")
        self._paper.line(summary.line, "bold")


_TOLD = 20  # failed traces


def _worth_telling(failed: Sequence[Verdict]) -> list[Verdict]:
    """The first of them, and after that those with a bug that no earlier one showed."""
    seen: set[tuple[str, str, str]] = set()
    told: list[Verdict] = []
    for verdict in failed:
        buckets = {finding.bucket for finding in verdict.findings}
        if len(told) < _TOLD or not buckets <= seen:
            told.append(verdict)
        seen |= buckets
    return told


_STYLES = {Status.PASSED: "green", Status.FAILED: "red", Status.FIXED: "green", Status.ERROR: "magenta"}


def _rows(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row for each bug, with how many traces show it; what does not count comes last."""
    names: dict[tuple[Any, ...], list[str]] = {}
    first: dict[tuple[Any, ...], Finding] = {}
    for verdict in verdicts:
        for finding in verdict.findings + verdict.beyond:
            key = (finding in verdict.beyond, finding.level, *finding.bucket)
            names.setdefault(key, []).append(verdict.name)
            first.setdefault(key, finding)
    rows = []
    for key in sorted(first, key=lambda key: key[:2]):
        finding, traces = first[key], names[key]
        blame = f"note: {finding.blame}" if key[0] else finding.blame
        where = traces[0] if len(traces) == 1 else f"{len(traces)}, first {traces[0]}"
        rows.append(tuple(map(shown, (finding.code, blame, finding.place, finding.message, where))))
    return rows


class _Paper(Protocol):
    def line(self, text: str, style: str = "") -> None: ...

    def table(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None: ...


class _Plain:
    """Lines of text, of any width."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def line(self, text: str, style: str = "") -> None:
        self._stream.write(text.rstrip() + "\n")
        self._stream.flush()

    def table(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            self.line("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)))


class _Terminal:
    """The same in colour, wrapped to the terminal's width."""

    def __init__(self, stream: TextIO):
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def line(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style)

    def table(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(*head, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table, soft_wrap=False)


# --- what a machine reads -----------------------------------------------------------------------------------


def verdict_json(verdict: Verdict, command: str = "") -> dict[str, Any]:
    """A verdict as plain values."""
    fields: dict[str, Any] = {
        "trace": verdict.name,
        "status": verdict.status.value,
        "calls": len(verdict.run.trace.calls) if verdict.run else 0,
        "seconds": round(verdict.seconds, 6),
        "findings": [_finding_json(f) for f in verdict.findings],
        "beyond_level": [_finding_json(f) for f in verdict.beyond],
        "message": verdict.message,
        "notes": list(verdict.notes),
    }
    if verdict.run is not None and (lanes := lanes_of(verdict.run)) is not None:
        fields["schedule"] = schedule_json(lanes)
    return {**fields, "reproduce": command} if command else fields


def schedule_json(lanes: Lanes) -> list[dict[str, Any]]:
    """What happened on which thread, in order: calls that begin and end, and switches with their place."""
    told = []
    for moment in lanes.moments:
        entry: dict[str, Any] = {"kind": moment.turn.value, "thread": moment.thread, "call": moment.call}
        if moment.turn is Turn.SWITCH:
            entry |= {"to": moment.to, "why": moment.why, "step": moment.step, "place": moment.place}
            entry["code"] = moment.code
        told.append(entry)
    return told


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "oracle": finding.oracle,
        "call": finding.number,
        "method": finding.method,
        "message": finding.message,
        "place": finding.place,
        "level": str(finding.level),
        "blame": finding.blame,
        "broken": list(finding.broken),
        "fingerprint": finding.fingerprint,
    }


class JsonReport:
    """One object a line."""

    def __init__(self, stream: TextIO, command: Callable[[Verdict], str]):
        self._stream = stream
        self._command = command

    def verdict(self, verdict: Verdict) -> None:
        self._write(verdict_json(verdict, self._command(verdict)))

    def end(self, summary: Summary) -> None:
        counts = {"errors" if s is Status.ERROR else s.value: summary.counts[s] for s in Status}
        facts = {"traces": summary.traces, **counts, "planned": summary.planned, "stopped": summary.stopped}
        self._write({"summary": facts})

    def _write(self, value: object) -> None:
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()


class JUnitReport:
    """A JUnit file, written at the end.  Raises SynctapeError at once if its folder cannot be made."""

    def __init__(
        self, path: str | Path, target: str, command: Callable[[Verdict], str], *, name: str = "synctape replay"
    ):
        self._file = JUnitFile(path, f"{name} {shown(target)}")
        self._target = target
        self._command = command

    def verdict(self, verdict: Verdict) -> None:
        case = self._file.case(self._target, verdict.name, verdict.seconds)
        if verdict.findings:
            properties = ET.SubElement(case, "properties")
            for finding in verdict.findings:
                add_property(properties, "level", str(finding.level))
                add_property(properties, "blame", finding.blame)
                add_property(properties, "fingerprint", finding.fingerprint)
            if verdict.run is not None and (lanes := lanes_of(verdict.run)) is not None:
                add_property(properties, "threads", str(len(lanes.threads)))
                for moment in lanes.around(finding.number for finding in verdict.findings).switches:
                    add_property(properties, "switch", f"t{moment.thread} {switch_words(moment)}")
        if verdict.status is Status.FAILED:
            codes = ", ".join(dict.fromkeys(f.code for f in verdict.findings))
            message = f"{codes}: {verdict.findings[0].message}"
            add_problem(case, "failure", codes, message, failure_text(verdict, self._command(verdict)))
        elif verdict.status is Status.ERROR:
            add_problem(case, "error", "replay", verdict.message, self._command(verdict))
        elif verdict.excuse:
            ET.SubElement(case, "skipped", {"message": shown(verdict.excuse)})
        if spoken := "\n".join(_notes(verdict)):
            ET.SubElement(case, "system-out").text = spoken

    def end(self, summary: Summary) -> None:
        if summary.stopped:
            left = summary.planned - summary.traces
            missing = f"{left} of {summary.planned} traces were not replayed" if left else ""
            case = self._file.case(self._target, "the whole run")
            add_problem(case, "error", "stopped", summary.stopped, missing)
        self._file.write()


def _notes(verdict: Verdict) -> Iterator[str]:
    if verdict.status is not Status.ERROR and verdict.message:
        yield f"{verdict.status.name}: {shown(verdict.message)}"
    for finding in verdict.beyond:
        yield f"{finding.code} ({finding.level}): {shown(finding.message)}; blame: {finding.blame}"
    yield from map(shown, verdict.notes)
