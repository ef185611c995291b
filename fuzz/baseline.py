"""Known findings in a file: CI fails on new ones, and the known ones wait to be mended.

    {"synctape_baseline": 1,
     "findings": [{"code": "X3", "method": "Progress", "place": "host.py:12 in f", "message": "KeyError: 'a'",
                   "level": "lenient", "oracle": "exception", "fingerprint": "9b2...", "first_seen": "2026-03-01",
                   "note": "ticket 17", "options": ["--slow", "0.2"], "trace": ["synctape 1", ...]}, ...]}

Sorted by code, method, place and fingerprint, so that two branches' changes merge line by line.  `trace` is the
minimal sequence in the text form, by which `prune` sees whether the finding is still there; `options` are what
`synctape replay` must be told to show it.

An entry excuses one finding of a run: the one with its fingerprint, else one that differs from it only in the
line, because the code around it was edited.  A second bug of the same kind in the same function is therefore new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from recorder.calls import Trace
from recorder.contract import Level
from recorder.errors import SynctapeError, TextError
from recorder.report_files import require_folder, write_whole
from recorder.text import from_text, to_text
from replayer.oracles import Finding

__all__ = ["Baseline", "Entry"]

_FORMAT = "synctape_baseline"
_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A known finding; the fields are those of the file."""

    code: str
    oracle: str
    method: str
    place: str
    message: str
    level: str
    fingerprint: str
    first_seen: str
    note: str
    options: tuple[str, ...]
    trace: tuple[str, ...]

    @classmethod
    def of(
        cls, finding: Finding, trace: Trace, first_seen: date, *, note: str = "", options: Sequence[str] = ()
    ) -> Entry:
        return cls(
            finding.code,
            finding.oracle,
            finding.method,
            finding.place,
            finding.message,
            str(finding.level),
            finding.fingerprint,
            first_seen.isoformat(),
            note,
            tuple(options),
            tuple(to_text(trace).splitlines()),
        )

    @cached_property
    def finding(self) -> Finding:
        level = Level[self.level.upper()]
        return Finding(self.code, self.oracle, 0, self.method, self.message, self.place, level)

    @cached_property
    def sequence(self) -> Trace:
        return from_text("\n".join(self.trace) + "\n")

    @property
    def excuse(self) -> str:
        """Why a finding that it matches does not count."""
        return f"known since {self.first_seen}" + (f": {self.note}" if self.note else "")

    def is_moved(self, finding: Finding) -> bool:
        """Whether the finding may be this one after the target's lines moved."""
        return self.finding.likeness == finding.likeness and self.fingerprint != finding.fingerprint


class Baseline:
    """Entries by fingerprint.  A value: changes give another one."""

    def __init__(self, entries: Iterable[Entry] = ()):
        found = {entry.fingerprint: entry for entry in entries}
        order = sorted(found.values(), key=lambda e: (e.code, e.method, e.place, e.fingerprint))
        self.entries: dict[str, Entry] = {entry.fingerprint: entry for entry in order}

    def __len__(self) -> int:
        return len(self.entries)

    def known(self, findings: Iterable[Finding]) -> dict[str, Entry]:
        """Of these findings of one run those that are known, by fingerprint; each entry stands for one."""
        asked = {finding.fingerprint: finding for finding in findings}
        known = {print_: self.entries[print_] for print_ in asked if print_ in self.entries}
        free = [entry for print_, entry in self.entries.items() if print_ not in asked]
        for print_, finding in sorted(asked.items()):
            if print_ not in known:
                entry = next((entry for entry in free if entry.is_moved(finding)), None)
                if entry is not None:
                    free.remove(entry)
                    known[print_] = entry
        return known

    def updated(self, entries: Iterable[Entry]) -> Baseline:
        """With these added; what is known keeps its date and note, and one that moved takes its new place."""
        new = {entry.fingerprint: entry for entry in entries}
        known = self.known(entry.finding for entry in new.values())
        gone = {entry.fingerprint for entry in known.values()}
        kept = [entry for entry in self.entries.values() if entry.fingerprint not in gone]
        for print_, entry in new.items():
            before = known.get(print_, entry)
            kept.append(replace(entry, first_seen=before.first_seen, note=entry.note or before.note))
        return Baseline(kept)

    # --- the file -----------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Raises SynctapeError, in one line, for what is no baseline."""
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise SynctapeError(f"{path}: no such file; --update-baseline makes one") from None
        except OSError as error:
            raise SynctapeError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise SynctapeError(f"{path}: is no baseline: {error}") from None
        try:
            return cls(_entries(data))
        except _Wrong as wrong:
            raise SynctapeError(f"{path}: is no baseline: {wrong}") from None

    def write(self, path: Path) -> None:
        """The file appears complete or not at all.  Raises SynctapeError."""
        entries = [
            {field.name: getattr(entry, field.name) for field in fields(Entry)} for entry in self.entries.values()
        ]
        text = json.dumps({_FORMAT: _VERSION, "findings": entries}, indent=2, ensure_ascii=True)
        write_whole(require_folder(path), (text + "\n").encode("ascii"))


class _Wrong(Exception):
    pass


def _entries(data: Any) -> list[Entry]:
    if not isinstance(data, dict) or _FORMAT not in data:
        raise _Wrong(f"it has no {_FORMAT!r}")
    if data[_FORMAT] != _VERSION:
        raise _Wrong(f"it has format {data[_FORMAT]!r}, this synctape reads {_VERSION}")
    listed = data.get("findings")
    if not isinstance(listed, list):
        raise _Wrong("its 'findings' are no list")
    entries = [_entry(number, value) for number, value in enumerate(listed, 1)]
    if len({entry.fingerprint for entry in entries}) < len(entries):
        raise _Wrong("two of its findings have one fingerprint")
    return entries


def _entry(number: int, value: Any) -> Entry:
    if not isinstance(value, Mapping):
        raise _Wrong(f"finding {number} is no object")
    for field in fields(Entry):
        if field.name not in value:
            raise _Wrong(f"finding {number} has no {field.name!r}")
        given = value[field.name]
        wanted_list = field.name in ("options", "trace")
        texts = given if wanted_list else [given]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _Wrong(f"finding {number}: {field.name!r} is no {'list of texts' if wanted_list else 'text'}")
    known: dict[str, Any] = {field.name: value[field.name] for field in fields(Entry)}
    known |= {name: tuple(given) for name, given in known.items() if isinstance(given, list)}
    entry = Entry(**known)
    try:
        date.fromisoformat(entry.first_seen)
    except ValueError:
        raise _Wrong(f"finding {number}: 'first_seen' is no date") from None
    if entry.level.upper() not in Level.__members__:
        raise _Wrong(f"finding {number}: no level {entry.level!r}")
    if entry.finding.fingerprint != entry.fingerprint:
        raise _Wrong(f"finding {number}: its fingerprint is not that of its code, method and place")
    try:
        if not entry.sequence.calls:
            raise _Wrong(f"finding {number}: its trace has no calls")
    except (TextError, SynctapeError) as error:
        raise _Wrong(f"finding {number}: its trace does not read: {error}") from None
    return entry
