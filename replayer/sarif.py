"""Findings as SARIF 2.1.0, within what GitHub's code scanning takes.

    run > tool.driver.rules[]    one for each code that was found, with what `synctape explain` says of it
    run > results[]              one for each bug: level, message, its place in the source (else the trace),
                                 fingerprints, and the sequence as a code flow with a thread flow for each thread;
                                 where threads met, its steps are enters, leaves and switches as they happened
    run > invocations[0]         whether the job could be done; what was left out, and errors, as notifications

Two fingerprints: synctape's own (code, method, place), and GitHub's primaryLocationLineHash, which stays the same
when the target's lines move.  Neither depends on the machine, nor on the sequence that shows the bug.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorder.contract import Level
from recorder.report_files import require_folder, shown, write_whole
from recorder.sarif_format import Location, document, driver, invocation, location, message, notification
from replayer.lanes import Lanes, Turn, lanes_of, switch_words
from replayer.oracles import ORACLES, Finding, explain
from replayer.places import Places
from replayer.player import Run
from replayer.reports import Summary, answered, asked, played_line
from replayer.verdict import Status, Verdict

__all__ = ["GITHUB", "SarifLimits", "SarifReport"]

_LONGEST_MESSAGE = 1000  # characters
_STEP_LINE = re.compile(r"^[> ] +(\d+)  ")  # of a call in the text that lies beside a finding's trace


@dataclass(frozen=True)
class SarifLimits:
    """What a reader of the file takes: the defaults are GitHub's."""

    results: int = 25_000
    locations: int = 1_000  # of a result
    steps: int = 10_000  # thread-flow locations of a result
    tags: int = 20  # of a rule
    zipped: int = 10_000_000  # bytes


GITHUB = SarifLimits()
_FLOW_SHOWN = 1_000  # steps that GitHub shows, by importance

_LEVELS = {Level.CONFORMING: "error", Level.LENIENT: "warning", Level.HOSTILE: "note"}
_SEVERITY = {"error": "error", "warning": "warning", "note": "recommendation"}


@dataclass
class _Bug:
    """All verdicts with one fingerprint, the first of which is told."""

    finding: Finding
    verdict: Verdict
    counts: bool
    traces: list[Location]
    seen: int = 1


class SarifReport:
    """A SARIF file, written at the end.  Raises SynctapeError at once if its folder cannot be made.

    `command` gives the line that replays a verdict, `warn` is told what had to be left out.
    """

    def __init__(
        self,
        path: str | Path,
        target: str,
        command: Callable[[Verdict], str],
        *,
        places: Places | None = None,
        limits: SarifLimits = GITHUB,
        warn: Callable[[str], None] = lambda line: None,
    ):
        self._path = require_folder(path)
        self._target = target
        self._command = command
        self._places = places or Places(target)
        self._limits = limits
        self._warn = warn
        self._began = datetime.now(UTC)
        self._bugs: dict[str, _Bug] = {}
        self._errors: list[tuple[str, Location]] = []
        self._left_out: list[str] = []

    def verdict(self, verdict: Verdict) -> None:
        if verdict.status is Status.ERROR:
            text = f"{verdict.name}: {verdict.message}"
            self._errors.append((shown(text, _LONGEST_MESSAGE), self._places.of_trace(verdict)))
        for finding in verdict.findings + verdict.beyond:
            counts = finding in verdict.findings and not verdict.excuse
            known = self._bugs.get(finding.fingerprint)
            if known is None or (counts and not known.counts):
                traces = known.traces if known else []
                bug = _Bug(finding, verdict, counts, traces, known.seen + 1 if known else 1)
                self._bugs[finding.fingerprint] = known = bug
            else:
                known.seen += 1
            known.traces.append(self._places.of_trace(verdict))

    def end(self, summary: Summary) -> None:
        bugs = sorted(self._bugs.values(), key=lambda b: (not b.counts, b.finding.level))
        limits = self._limits
        if len(bugs) > limits.results:
            self._leave_out(f"{len(bugs) - limits.results} of {len(bugs)} results (at most {limits.results})")
            bugs = bugs[: limits.results]
        flows = len(bugs)
        data = self._document(bugs, flows, summary)
        while len(data) > limits.zipped and len(gzip.compress(data)) > limits.zipped and bugs:
            if flows:
                flows //= 2
            else:
                bugs = bugs[: len(bugs) // 2]
            data = self._document(bugs, flows, summary)
        if flows < len(bugs):
            self._leave_out(
                f"the sequences of {len(bugs) - flows} results (at most {limits.zipped} bytes, zipped)"
            )
        if len(bugs) < min(len(self._bugs), limits.results):
            self._leave_out(f"all results but {len(bugs)} (at most {limits.zipped} bytes, zipped)")
        if self._left_out:
            data = self._document(bugs, flows, summary)
        write_whole(self._path, data)
        for line in self._left_out:
            self._warn(f"{self._path}: {line}")

    def _leave_out(self, what: str) -> None:
        self._left_out.append(f"left out: {what}")

    # --- the document -------------------------------------------------------------------------------------------

    def _document(self, bugs: list[_Bug], flows: int, summary: Summary) -> bytes:
        codes = sorted({bug.finding.code for bug in bugs})
        again: Counter[str] = Counter()
        results = [
            self._result(bug, codes.index(bug.finding.code), again, with_flow=number < flows)
            for number, bug in enumerate(bugs)
        ]
        rules = [self._rule(code) for code in codes]
        said = invocation(self._began, self._said(summary))
        return document(driver(rules), f"synctape/{self._target}/", said, results)

    def _rule(self, code: str) -> dict[str, Any]:
        said = explain(code)
        meaning = said[0][1]
        oracles = [oracle.name for oracle in ORACLES.values() if oracle.code == code]
        tags = ["COM", "robustness", "native" if "sanitizer" in oracles else "fuzzing", *oracles]
        return {
            "id": code,
            "shortDescription": message(shown(meaning, 200)),
            "fullDescription": message(meaning),
            "help": {
                "text": "\n".join(f"{heading}: {text}" for heading, text in said),
                "markdown": "\n\n".join(f"**{heading}:** {text}" for heading, text in said),
            },
            "defaultConfiguration": {"level": "error"},
            "properties": {
                "tags": tags[: self._limits.tags],
                "precision": "very-high",
                "problem.severity": "error",
            },
        }

    def _result(self, bug: _Bug, rule: int, again: Counter[str], *, with_flow: bool) -> dict[str, Any]:
        finding, verdict = bug.finding, bug.verdict
        level = _LEVELS[finding.level] if bug.counts else "note"
        again[finding.likeness] += 1
        result: dict[str, Any] = {
            "ruleId": finding.code,
            "ruleIndex": rule,
            "level": level,
            "message": message(self._message(bug, with_flow)),
            "locations": [location(self._places.of(finding, verdict))],
            "partialFingerprints": {
                "primaryLocationLineHash": f"{finding.likeness}:{again[finding.likeness]}",
                "synctapeFinding/v1": finding.fingerprint,
            },
            "occurrenceCount": bug.seen,
            "properties": {
                "blame": finding.blame,
                "level": str(finding.level),
                "method": finding.method,
                "oracle": finding.oracle,
                "problem.severity": _SEVERITY[level],
                "traces": bug.seen,
            },
        }
        traces = list(dict.fromkeys(bug.traces))[: self._limits.locations - 1]
        result["relatedLocations"] = [
            {"id": number, **location(trace), "message": message("a trace that shows it")}
            for number, trace in enumerate(traces, 1)
        ]
        if verdict.excuse:
            result["suppressions"] = [{"kind": "external", "justification": shown(verdict.excuse)}]
        if with_flow and verdict.run is not None and verdict.run.trace.calls:
            result["codeFlows"] = [{"threadFlows": self._flows(bug)}]
        return result

    def _message(self, bug: _Bug, with_flow: bool) -> str:
        finding, verdict = bug.finding, bug.verdict
        where = f"in call {finding.number}, {finding.method}" if finding.method else f"after call {finding.number}"
        parts = [f"{shown(finding.message)} ({where}; blame: {finding.blame})."]
        if not bug.counts:
            parts.append(f"Does not count: {shown(verdict.excuse or 'it lies beyond the level asked for')}.")
        if command := self._command(verdict):
            parts.append(f"Replay it: {command}")
        count = len(verdict.run.trace.calls) if verdict.run else 0
        if not with_flow and count:
            parts.append("Its sequence is left out here.")
        elif count > self._limits.steps:
            parts.append(f"Of its {count} calls the {self._limits.steps} around the failing one are here.")
        return shown(" ".join(parts), _LONGEST_MESSAGE)

    def _flows(self, bug: _Bug) -> list[dict[str, Any]]:
        """A flow for each thread; of more steps than may be those around the failing call."""
        run, failing = bug.verdict.run, bug.finding.number
        assert run is not None
        if (lanes := lanes_of(run)) is not None:
            return self._met(bug, run, lanes)
        played, most = run.trace.played, self._limits.steps
        first = max(0, min(failing - most + 2, len(played) - most))
        told = self._told(bug.verdict)
        flows: dict[int, list[dict[str, Any]]] = {}
        for order, call in enumerate(played[first : first + most], 1):
            number = first + order - 1
            near = failing - _FLOW_SHOWN < number <= failing + 1
            flows.setdefault(call.call.thread, []).append(
                {
                    "location": {
                        **location(told.get(number, told[-1])),
                        "message": message(shown(f"{number}: {played_line(call, run.trace.interface)}")),
                    },
                    "executionOrder": order,
                    "importance": "essential" if number == failing else "important" if near else "unimportant",
                }
            )
        return [{"id": f"t{thread}", "locations": steps} for thread, steps in sorted(flows.items())]

    def _met(self, bug: _Bug, run: Run, lanes: Lanes) -> list[dict[str, Any]]:
        """The flows of calls that met: a step for each moment, a switch at its line of the target's source."""
        failing, most = bug.finding.number, self._limits.steps
        told = self._told(bug.verdict)
        last = max((at for at, moment in enumerate(lanes.moments) if moment.call == failing), default=0)
        first = max(0, min(last - most + 2, len(lanes.moments) - most))
        flows: dict[int, list[dict[str, Any]]] = {}
        for order, moment in enumerate(lanes.moments[first : first + most], 1):
            place = told.get(moment.call, told[-1])
            if moment.turn is Turn.SWITCH:
                place = self._places.in_source(moment.place, run) or place
                said = f"{moment.call}: {switch_words(moment)}"
            else:
                entered = moment.turn is Turn.ENTER
                said = f"{moment.call}: {(asked if entered else answered)(run, moment.call)}"
            near = abs(first + order - 1 - last) < _FLOW_SHOWN
            importance = "essential" if moment.turn is Turn.SWITCH or moment.call == failing else "important"
            flows.setdefault(moment.thread, []).append(
                {
                    "location": {**location(place), "message": message(shown(said))},
                    "executionOrder": order,
                    "nestingLevel": moment.depth,
                    "importance": importance if near else "unimportant",
                }
            )
        return [{"id": f"t{thread}", "locations": steps} for thread, steps in sorted(flows.items())]

    def _told(self, verdict: Verdict) -> dict[int, Location]:
        """Where calls can be read, by number: in the text beside a finding's trace; -1: of all others."""
        places = {-1: self._places.of_trace(verdict)}
        text = verdict.path.with_suffix(".txt") if isinstance(verdict.path, Path) else None
        path = self._places.relative(text) if text else None
        if text is None or path is None or not text.is_file():
            return places
        expected = 0
        for number, line in enumerate(text.read_text("utf-8", "replace").splitlines(), 1):
            match = _STEP_LINE.match(line)
            if match and int(match[1]) == expected:
                places[expected] = Location(path, number, is_source=False)
                expected += 1
        return places

    def _said(self, summary: Summary) -> list[dict[str, Any]]:
        said = [notification("error", text, place) for text, place in self._errors]
        if summary.stopped:
            said.append(notification("error", f"did not end: {shown(summary.stopped)}"))
        return said + [notification("warning", line) for line in self._left_out]
