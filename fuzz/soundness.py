"""Whether a corpus is sound: every file read to its end, and what its headers say held against what they are.

A problem names the file, the place in it, what is wrong and what to do about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from recorder.calls import Trace
from recorder.contract import Level, Monitor, contract_of, level_of
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.provenance import Origin, digest, origins, problems
from replayer.corpus import Corpus, Member
from replayer.locations import open_folder
from replayer.verdict import mismatch

__all__ = ["Problem", "leftovers", "unsound"]


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` is one word: unreadable, damaged, interface, provenance, level, leftover; or parent, which is a note.

    That the trace is not there that one was made from is wrong only where corpora are to keep all of them: the
    smallest corpus is one without most parents.
    """

    path: str
    kind: str
    message: str
    advice: str

    @property
    def is_note(self) -> bool:
        return self.kind == "parent"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}; {self.advice}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "problem",
            "path": self.path,
            "problem": self.kind,
            "message": self.message,
            "advice": self.advice,
        }


def unsound(corpus: Corpus, interface: Interface | None = None) -> list[Problem]:
    """Everything that is wrong, file by file.  `interface`: that of the corpus; None: of most of its traces."""
    expected = interface or _usual_interface(corpus.members)
    known = {digest(trace.calls, trace.interface) for _, _, trace in corpus.members}
    names = {PurePosixPath(member.name).stem for member in corpus.members}
    found = [_unreadable(str(file), reason) for file, reason in corpus.unreadable]
    for member in corpus.members:
        found += _wrong_with(member, expected, known, names)
    return sorted(found, key=lambda problem: problem.path)


def leftovers(paths: Iterable[str]) -> list[Problem]:
    """Files of writes that were interrupted, in folders."""
    found = []
    for path in paths:
        try:
            folder = open_folder(path)
            names = folder.names()
        except SynctapeError:  # a file by itself
            continue
        for name in names:
            if PurePosixPath(name).name.startswith(".synctape-"):
                message = "is left of a write that was interrupted"
                found.append(Problem(f"{folder}/{name}", "leftover", message, "delete it"))
    return found


def _usual_interface(members: Iterable[Member]) -> Interface | None:
    counted = Counter(member.trace.interface for member in members)
    return counted.most_common(1)[0][0] if counted else None


def _unreadable(path: str, reason: str) -> Problem:
    if "upgrade synctape" in reason:
        what, _, advice = reason.rpartition("; ")
        return Problem(path, "unreadable", f"is of {what}", advice)
    return Problem(path, "unreadable", reason, "take it out of the corpus, or restore it")


def _wrong_with(member: Member, expected: Interface | None, known: set[str], names: set[str]) -> Iterator[Problem]:
    path, trace = str(member.file), member.trace
    if trace.damage is not None:
        count = len(trace.calls)
        advice = f"synctape corpus merge keeps the {count} calls before it" if count else "nothing of it is left"
        yield Problem(path, "damaged", str(trace.damage), advice)
    if expected is not None and (why := mismatch(trace.interface, expected)):
        advice = "keep each interface in a folder of its own"
        yield Problem(path, "interface", why.replace("the target is used as", "the corpus is of"), advice)
    for wrong in problems(trace.header.provenance):
        yield Problem(path, "provenance", f"provenance {wrong}", "say in its header where it comes from")
    if trace.header.provenance.get("kind") != "merged":
        for parent in origins(trace.header.provenance):
            if not _is_there(parent, known, names):
                shown = f"{parent.name} ({parent.digest})" if parent.digest else parent.name
                advice = "verify it together with the corpus that it came from, or add that trace"
                yield Problem(path, "parent", f"was made from {shown}, which is not there", advice)
    yield from _level(path, trace)


def _is_there(parent: Origin, known: set[str], names: set[str]) -> bool:
    return parent.digest in known if parent.digest else PurePosixPath(parent.name).stem in names


def _level(path: str, trace: Trace) -> Iterator[Problem]:
    """The level that a header states, of the trace or of the call that fails in it, against what its calls are."""
    provenance, contract = trace.header.provenance, contract_of(trace.interface)
    calls = trace.calls
    stated = provenance.get("level")
    if stated is not None and stated != str(actual := level_of(contract, calls)):
        yield Problem(path, "level", f"says that it is {stated}, and is {actual}", _EITHER)
    finding = provenance.get("finding")
    stated = finding.get("level") if isinstance(finding, dict) else None
    if stated is None or not calls or provenance.get("minimised") is False:  # of its minimal form
        return
    monitor, levels = Monitor(contract), []
    for number, call in enumerate(calls):
        monitor.step(number, call)
        levels.append(str(max((v.level for v in monitor.violations), default=Level.CONFORMING)))
    if stated not in levels:
        text = f"says that its finding is {stated}, and is {levels[-1]} up to its last call"
        yield Problem(path, "level", text, _EITHER)


_EITHER = "see which of both was changed"
