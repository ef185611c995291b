"""Failures by bucket, and as files: a trace to replay and a text to read, side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recorder import provenance
from recorder.calls import Call, Header, Trace
from recorder.contract import Level
from recorder.errors import SynctapeError, TraceError
from recorder.interface import Interface
from recorder.report_files import shown
from recorder.text import call_text, switches_text
from recorder.trace import read_trace, write_trace
from replayer.lanes import lanes_of
from replayer.oracles import Finding
from replayer.player import Run
from replayer.reports import marked_calls, reproduce_line
from replayer.verdict import Status, Verdict

__all__ = [
    "Found",
    "check_folder",
    "finding_trace",
    "how_often",
    "make_folder",
    "read_finding",
    "report_text",
    "sequence_lines",
    "write_finding",
]

_LONGEST_CALL = 300  # characters


@dataclass
class Found:
    """A failure of a campaign: its minimal sequence and how it was come by.

    `seconds` and `executions` count from the campaign's start to its first sight; `count` is how often its
    bucket was hit in all, as far as screening let it through.  It failed in `failed` of `tries` when it was played
    again, and is flaky if that is not each time.  `options` are what `synctape replay` must be told to see it.
    `known`: it was found before this campaign was gone on with.  `scheduled`: its calls run at the same time, as
    their threads and switches say; `alone`: those of the minimal sequence show it one after the other, too.
    """

    finding: Finding
    calls: list[Call]
    original: list[Call]
    seconds: float
    executions: int
    origin: str
    count: int = 1
    flaky: bool = False
    failed: int = 0
    tries: int = 0
    known: bool = False
    run: Run | None = None
    options: tuple[str, ...] = ()
    scheduled: bool = False
    alone: bool = False

    @property
    def needs_schedule(self) -> bool:
        """Whether the minimal sequence has to be played as a scheduled one."""
        return self.scheduled and not self.alone

    def trace(self, header: Header, *, original: bool = False) -> Trace:
        """Its sequence under such a header."""
        calls, scheduled = (self.original, self.scheduled) if original else (self.calls, self.needs_schedule)
        return Trace.from_calls(calls, replace(header, scheduled=scheduled))

    @property
    def stack(self) -> str:
        return self.run.stack if self.run else ""

    @property
    def verdict(self) -> Verdict:
        """The failure as the reports of replays take it."""
        notes = (f"found {self.where}",)
        return Verdict(self.name, Status.FAILED, (self.finding,), notes=notes, run=self.run, seconds=self.seconds)

    @property
    def where(self) -> str:
        """When and in what it was found; a failure that no search came upon has no executions."""
        if not self.executions:
            return f"in {self.origin}"
        return f"after {self.seconds:.2f} s and {self.executions} executions, from {self.origin}"

    @property
    def name(self) -> str:
        return f"{self.finding.code}-{self.finding.fingerprint}"


def finding_trace(found: Found, interface: Interface, spec: str, *, original: bool = False) -> Trace:
    """The failure as a trace that `synctape replay` and the pytest plugin take for a regression."""
    finding = found.finding
    header = Header(
        interface=interface,
        target={"spec": spec},
        provenance=provenance.finding(
            found.origin,
            {
                "code": finding.code,
                "oracle": finding.oracle,
                "method": finding.method,
                "place": finding.place,
                "message": finding.message,
                "level": str(finding.level),
                "fingerprint": finding.fingerprint,
                "number": finding.number,
                "broken": list(finding.broken),
                "flaky": found.flaky,
                "failed": found.failed,
                "tries": found.tries,
                "count": found.count,
                "seconds": round(found.seconds, 3),
                "executions": found.executions,
                **({"options": list(found.options)} if found.options else {}),
            },
            minimised=not original,
        ),
    )
    return found.trace(header, original=original)


def report_text(found: Found, interface: Interface, spec: str, path: Path) -> str:
    """The failure for a reader: what, where, who is to blame, how to see it again, and the sequence."""
    finding = found.finding
    lines = [
        f"{finding.code} {shown(finding.message)}",
        "",
        f"place:      {finding.place or '(none in the target)'}",
        f"method:     {finding.method or '(none)'}",
        f"blame:      {finding.blame}",
        f"level:      {finding.level}",
        f"found:      {found.where}",
        *([f"flaky:      {how_often(found)}"] if found.flaky else []),
        f"reproduce:  {reproduce_line(path, spec, found.options)}",
        f"explain:    synctape explain {finding.code}",
        "",
        *sequence_lines(found.calls, interface, finding.number),
    ]
    if found.run and lanes_of(found.run) is not None:
        lines += ["", "Schedule:", *("    " + line for line in marked_calls(found.run, [finding.number]))]
    if found.run and found.run.report:
        lines += ["", "Report:", *("    " + shown(line) for line in found.run.report.splitlines())]
    if found.stack:
        lines += ["", "Stack:", *("    " + line for line in found.stack.strip().splitlines())]
    return "\n".join(lines) + "\n"


def how_often(found: Found) -> str:
    if not found.tries:
        return "it did not fail each time"
    return f"it failed in {found.failed} of {found.tries} tries"


def sequence_lines(calls: Sequence[Call], interface: Interface, failing: int) -> list[str]:
    """One call a line, cut if it is long, the failing one marked; behind it its switches and its thread."""
    return [
        f"{'>' if number == failing else ' '} {number:3d}  {shown(call_text(call, interface), _LONGEST_CALL)}"
        + (f" {switches_text(call)}" if call.switches else "")
        + (f"   [thread {call.thread}]" if call.thread else "")
        for number, call in enumerate(calls)
    ]


def write_finding(found: Found, folder: Path, interface: Interface, spec: str) -> Path:
    """Write NAME.tape, NAME.txt and, where it was longer, originals/NAME.tape; gives the first one's path.

    Files that an earlier campaign wrote for the same failure are replaced; what else has such a name stays, and
    another one is taken.  Raises TraceError if nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = (found.name if n == 1 else f"{found.name}-{n}" for n in itertools.count(1))
        path = next(p for name in names if _is_ours(p := folder / f"{name}.tape", found))
        write_trace(finding_trace(found, interface, spec), path, overwrite=True)
        original = folder / "originals" / path.name
        if found.original != found.calls:
            original.parent.mkdir(exist_ok=True)
            write_trace(finding_trace(found, interface, spec, original=True), original, overwrite=True)
        else:
            original.unlink(missing_ok=True)
        text = path.with_suffix(".txt")
        part = path.with_suffix(".txt.part")
        part.write_text(report_text(found, interface, spec, path), encoding="utf-8", errors="backslashreplace")
        os.replace(part, text)
    except OSError as error:
        raise TraceError(f"cannot be written: {error.strerror or error}", path=folder) from None
    return path


def read_finding(path: Path) -> Found:
    """What `write_finding` wrote.  Raises TraceError for what cannot be read, or was not kept for a finding."""
    trace = read_trace(path)
    try:
        original = read_trace(path.parent / "originals" / path.name)
    except TraceError:  # it was as short as this, or is lost
        original = trace
    facts = trace.header.provenance
    try:
        kept = dict(facts["finding"])
        finding = Finding(
            code=str(kept["code"]),
            oracle=str(kept["oracle"]),
            number=int(kept.get("number", len(trace.calls) - 1)),
            method=str(kept["method"]),
            message=str(kept["message"]),
            place=str(kept["place"]),
            level=Level[str(kept["level"]).upper()],
            broken=tuple(map(str, kept.get("broken", ()))),
        )
        return Found(
            finding,
            _plain(trace),
            _plain(original),
            float(kept["seconds"]),
            int(kept["executions"]),
            str(facts["origin"]),
            count=int(kept.get("count", 1)),
            flaky=bool(kept["flaky"]),
            failed=int(kept.get("failed", 0)),
            tries=int(kept.get("tries", 0)),
            options=tuple(map(str, kept.get("options", ()))),
            scheduled=original.header.scheduled,
            alone=original.header.scheduled and not trace.header.scheduled,
        )
    except (TypeError, KeyError, ValueError):
        raise TraceError("was not kept for a finding", path=path) from None


def _plain(trace: Trace) -> list[Call]:
    return [call._replace(time_ns=0) for call in trace.calls]


def _is_ours(path: Path, found: Found) -> bool:
    """Whether a file may be written: there is none, or one that was kept for the same failure."""
    beside = (path.with_suffix(".txt"), path.parent / "originals" / path.name)
    if not path.exists():
        return not any(other.exists() for other in beside)
    try:
        kept = read_trace(path).header.provenance.get("finding")
    except TraceError:
        return False
    return isinstance(kept, Mapping) and kept.get("fingerprint") == found.finding.fingerprint


def check_folder(folder: Path) -> None:
    """Raises TraceError if no files can be written there; makes nothing."""
    exists = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not exists.is_dir():
        raise TraceError("is a file, not a folder", path=exists)
    if not os.access(exists, os.W_OK):
        raise TraceError("cannot be written: Permission denied", path=exists)


def make_folder(folder: Path) -> None:
    """Raises SynctapeError, in one line, if it is not there and cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynctapeError(f"{folder}: cannot be made: {error.strerror or error}") from None
