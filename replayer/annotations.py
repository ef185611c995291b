"""Findings as annotations of a GitHub workflow: lines on its output that GitHub shows beside the code.

    ::error file=host.py,line=12,title=X3 in Progress::ZeroDivisionError: ...

GitHub takes ten errors and ten warnings of one step and drops the rest without a word, so the gravest come first
and a notice, which has a count of its own, says how many are not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from recorder.contract import Level
from recorder.report_files import shown
from replayer.oracles import Finding
from replayer.places import Places
from replayer.reports import Summary
from replayer.verdict import Status, Verdict

__all__ = ["AnnotationReport"]

_OF_ONE_KIND = 10  # that GitHub shows of a step
_LONGEST = 2000  # characters of a message


class AnnotationReport:
    """Prints annotations at the end: an error for what lies on conforming sequences and for what could not be
    replayed, a warning for the rest that counts.  One bug is told once."""

    def __init__(
        self, stream: TextIO, target: str, command: Callable[[Verdict], str], *, places: Places | None = None
    ):
        self._stream = stream
        self._command = command
        self._places = places or Places(target)
        self._errors: list[str] = []
        self._bugs: dict[str, tuple[Level, str, str]] = {}

    def verdict(self, verdict: Verdict) -> None:
        if verdict.status is Status.ERROR:
            text = f"{shown(verdict.name)}: {shown(verdict.message)}"
            self._errors.append(_command("error", text, title="could not be replayed"))
        if verdict.status is not Status.FAILED:
            return
        for finding in verdict.findings:
            known = self._bugs.get(finding.fingerprint)
            if known is None or known[0] > finding.level:
                kind = "error" if finding.level is Level.CONFORMING else "warning"
                self._bugs[finding.fingerprint] = finding.level, kind, self._line(kind, finding, verdict)

    def end(self, summary: Summary) -> None:
        bugs = sorted(self._bugs.values(), key=lambda bug: bug[0])
        errors = [*self._errors, *(line for _, kind, line in bugs if kind == "error")]
        if summary.stopped:
            errors.insert(0, _command("error", shown(summary.stopped), title="synctape did not end"))
        warnings = [line for _, kind, line in bugs if kind == "warning"]
        for line in (*errors[:_OF_ONE_KIND], *warnings[:_OF_ONE_KIND]):
            self._stream.write(line)
        cut = [max(len(lines) - _OF_ONE_KIND, 0) for lines in (errors, warnings)]
        if any(cut):
            text = f"{cut[0]} more errors and {cut[1]} more warnings are not shown here, but in the reports"
            self._stream.write(_command("notice", text, title="synctape"))
        self._stream.flush()

    def _line(self, kind: str, finding: Finding, verdict: Verdict) -> str:
        place = self._places.of(finding, verdict)
        text = f"{shown(finding.message)}\nblame: {finding.blame}"
        if command := self._command(verdict):
            text += f"\nreplay it: {command}"
        title = f"{finding.code} in {finding.method}" if finding.method else finding.code
        return _command(kind, text, file=place.path, line=str(place.line), title=shown(title))


def _command(kind: str, text: str, **properties: str) -> str:
    """A workflow command, in which neither text nor property can end before it is meant to."""
    pairs = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{kind} {pairs}::{_data(text[:_LONGEST])}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
