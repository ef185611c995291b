"""What `check` found, for a CI server: JUnit with a case for each trace, SARIF with a result for each broken rule.

In both, what fails the check is a failure, the rest a note, and a file that could not be read an error.  A result
of SARIF lies at its trace and names the calls; it is known again by its rule and the trace's place below the
source root, so that neither machine nor number of calls makes it a new one.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from recorder.checking import Broken, Checked
from recorder.junit import JUnitFile, add_problem, add_property
from recorder.report_files import require_folder, shown, write_whole
from recorder.rules import Rule
from recorder.sarif_format import (
    Location,
    document,
    driver,
    invocation,
    location,
    message,
    notification,
    relative_path,
    source_root,
)
from recorder.wording import rule_lines

__all__ = ["CheckReport", "JUnitCheck", "SarifCheck"]

_SUITE = "synctape check"
_MOST_RESULTS = 25_000  # that GitHub's code scanning takes
_TEXT = 1000  # characters


class CheckReport(Protocol):
    """Takes what was found trace by trace, and the end; `stopped` says why that came early, "" if it did not."""

    def checked(self, checked: Checked) -> None: ...

    def unreadable(self, path: str, problem: str) -> None: ...

    def end(self, stopped: str = "") -> None: ...


class JUnitCheck:
    """A JUnit file, written at the end.  Raises SynctapeError at once if its folder cannot be made."""

    def __init__(self, path: str | Path):
        self._file = JUnitFile(path, _SUITE)

    def checked(self, checked: Checked) -> None:
        case = self._file.case(_SUITE, checked.path)
        if checked.broken:
            add_property(ET.SubElement(case, "properties"), "level", str(checked.level))
        if failed := [broken for broken in checked.broken if broken.fails]:
            rules = ", ".join(broken.rule.id for broken in failed)
            first = failed[0]
            told = f"{rules}: {first.rule.text} {checked.where(first)}: {first.message}"
            add_problem(case, "failure", rules, told, "\n".join(map(shown, rule_lines(checked))))
        notes = [] if failed else [shown(line) for line in rule_lines(checked)]
        if checked.damage:
            notes.append(shown(f"{checked.damage}; what is before it is checked"))
        if notes:
            ET.SubElement(case, "system-out").text = "\n".join(notes)

    def unreadable(self, path: str, problem: str) -> None:
        add_problem(self._file.case(_SUITE, path), "error", "unreadable", problem)

    def end(self, stopped: str = "") -> None:
        if stopped:
            add_problem(self._file.case(_SUITE, "the whole run"), "error", "stopped", stopped)
        self._file.write()


class SarifCheck:
    """A SARIF file, written at the end.  Raises SynctapeError at once if its folder cannot be made."""

    def __init__(self, path: str | Path):
        self._path = require_folder(path)
        self._root = source_root().resolve()
        self._began = datetime.now(UTC)
        self._found: list[tuple[Checked, Broken]] = []
        self._said: list[dict[str, Any]] = []

    def checked(self, checked: Checked) -> None:
        self._found += [(checked, broken) for broken in checked.broken]
        if checked.damage:
            told = f"{checked.path}: {checked.damage}; what is before it is checked"
            self._said.append(notification("warning", shown(told, _TEXT), self._place(checked.path)))

    def unreadable(self, path: str, problem: str) -> None:
        self._said.append(notification("error", shown(problem, _TEXT), self._place(path)))

    def end(self, stopped: str = "") -> None:
        if stopped:
            self._said.append(notification("error", f"did not end: {shown(stopped)}"))
        found = sorted(self._found, key=lambda each: not each[1].fails)
        if len(found) > _MOST_RESULTS:
            left_out = f"left out: {len(found) - _MOST_RESULTS} of {len(found)} results (at most {_MOST_RESULTS})"
            self._said.append(notification("warning", left_out))
        del found[_MOST_RESULTS:]
        rules = list({broken.rule.id: broken.rule for _, broken in found}.values())
        results = [self._result(checked, broken, rules.index(broken.rule)) for checked, broken in found]
        said = invocation(self._began, self._said)
        write_whole(self._path, document(driver([*map(_rule, rules)]), "synctape/check/", said, results))

    def _place(self, path: str) -> Location:
        return Location(relative_path(path, self._root) or Path(path).name, is_source=False)

    def _result(self, checked: Checked, broken: Broken, rule: int) -> dict[str, Any]:
        place = self._place(checked.path)
        where = checked.where(broken)
        told = f"{broken.rule.text} {where[:1].upper()}{where[1:]}: {broken.message}."
        first = broken.numbers[0]
        named = f"call {first}" if first < checked.calls else "the end"
        return {
            "ruleId": broken.rule.id,
            "ruleIndex": rule,
            "level": "error" if broken.fails else "note",
            "message": message(shown(told, _TEXT)),
            "locations": [{**location(place), "logicalLocations": [{"name": named}]}],
            "partialFingerprints": {
                "primaryLocationLineHash": f"{_fingerprint(broken.rule.id, place.path)}:1",
                "synctapeRule/v1": _fingerprint(broken.rule.id, place.path),
            },
            "occurrenceCount": len(broken.numbers),
            "properties": {"level": str(checked.level), "calls": broken.numbers[:100]},
        }


def _fingerprint(*parts: Iterable[str] | str) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _rule(rule: Rule) -> dict[str, Any]:
    source = f"documented: {rule.source}" if rule.documented else rule.source
    told = {"Why it matters": rule.why, "To mend it": rule.mend, "Source": source}
    return {
        "id": rule.id,
        "shortDescription": message(rule.text),
        "fullDescription": message(rule.text),
        "help": {
            "text": "\n".join(f"{heading}: {text}" for heading, text in told.items()),
            "markdown": "\n\n".join(f"**{heading}:** {text}" for heading, text in told.items()),
        },
        "defaultConfiguration": {"level": "error" if rule.severity == "E" else "note"},
        "properties": {"tags": ["COM", "contract"], "precision": "very-high"},
    }
