"""What a trace says, for people and for machines: summary, table, JSON lines, statistics, broken rules.

Everything goes through a trace event by event, so that its size does not matter.  A file may be a trace or its
text form; `TraceInput` reads either, as often as it is asked to.

JSON lines (`json_lines`), one object each, told apart by `kind`:

    header   path, interface, iid, methods (name -> names of the arguments), the header's fields, flag_names
    call     number, thread, time_ns, method, args, outcome (null: the call was still running)
    end      calls, threads, damage (null, or offset, reason and events)

A value that JSON has no word for is an object of one key: handle, opaque, bytes, float, int (hexadecimal).
"""

from __future__ import annotations

import dataclasses
import datetime
import heapq
import io
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from recorder import hresult
from recorder.calls import (
    Argument,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    PlayedCall,
    Thread,
    Trace,
    TraceDamage,
    pair,
)
from recorder.contract import Level, Monitor, Violation, contract_of
from recorder.errors import TextError, TraceError
from recorder.interface import Interface, Type
from recorder.provider import flag_names
from recorder.rules import Rule
from recorder.text import call_text, escape, from_text, is_text, outcome_text, text_lines
from recorder.trace import TraceReader

__all__ = [
    "Checked",
    "Source",
    "Statistics",
    "TraceInput",
    "check",
    "json_lines",
    "statistics",
    "summary",
    "table",
    "text_form",
    "trace_files",
]

_BLOCK = 1000  # rows of a table that share their widths
_TOP = 5


# --- input ---------------------------------------------------------------------------------------------------


class Source(Protocol):
    """A trace that is gone through once.  `threads` and `damage` are complete when `events` has ended."""

    header: Header
    threads: list[Thread]
    damage: TraceDamage | None

    def events(self) -> Iterator[Event]: ...


class _Loaded:
    """A trace in memory as a Source."""

    def __init__(self, trace: Trace):
        self.header = trace.header
        self.threads = list(trace.threads)
        self.damage = trace.damage
        self._trace = trace

    def events(self) -> Iterator[Event]:
        return iter(self._trace.events)


class TraceInput:
    """A trace file, or a trace in text form, that can be gone through again and again.

    Raises TraceError when it is neither.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        try:
            with open(path, "rb") as file:
                head = file.peek(64)
                text = _decoded(head, file, self.path)
                self._data = None if text is not None or file.seekable() else file.read()
        except OSError as error:
            raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None
        try:
            self._trace = None if text is None else from_text(text)
        except TextError as error:
            raise TraceError(str(error), path=path) from None

    def source(self) -> Source:
        """A fresh pass through the trace."""
        if self._trace is not None:
            return _Loaded(self._trace)
        if self._data is not None:
            return TraceReader(io.BytesIO(self._data), name=self.path)
        return TraceReader(self.path)


def _decoded(head: bytes, file: io.BufferedReader, path: str) -> str | None:
    """The file's text if it is one of ours; PowerShell's `>` makes UTF-16 of it."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if not is_text(head[: len(head) & ~1].decode(encoding, "replace").encode()):
        return None
    try:
        return file.read().decode(encoding)
    except UnicodeDecodeError as error:
        raise TraceError(
            f"is no {encoding.removesuffix('-sig').upper()} text: {error.reason}", path=path
        ) from None


def trace_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path | TraceError]:
    """The files that are named, and for a folder all *.tape below it; an error for a folder without any."""
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*.tape") if p.is_file())
        yield from found or [TraceError("there is no trace (*.tape) below this folder", path=path)]


# --- for people ----------------------------------------------------------------------------------------------


@dataclass
class _Survey:
    calls: int = 0
    unfinished: int = 0
    last_ns: int = 0
    threads: list[Thread] = field(default_factory=list)
    damage: TraceDamage | None = None


def _survey(source: Source) -> _Survey:
    """What only the whole trace tells."""
    found = _Survey()
    for event in source.events():
        if isinstance(event, Enter):
            found.calls += 1
            found.last_ns = max(found.last_ns, event.call.time_ns)
        else:
            found.unfinished -= 1
    found.unfinished += found.calls
    found.threads, found.damage = source.threads, source.damage
    return found


def summary(trace: TraceInput) -> list[tuple[str, str]]:
    """What the header says, and how much there is: pairs of a word and its value."""
    source = trace.source()
    header, found = source.header, _survey(source)
    rows = [("interface", f"{escape(header.interface.name)} {header.interface.iid}")]
    if header.created_ns:
        rows.append(("recorded", _date(header.created_ns)))
    if header.sync_flags is not None:
        rows.append(("flags", _flags(header.sync_flags)))
    for name in ("target", "provenance", "process"):
        if facts := getattr(header, name):
            rows.append((name, _facts(facts)))
    if header.redaction:
        rows.append(("redaction", escape(header.redaction)))
    if header.extra:
        rows.append(("also", _facts(header.extra)))
    rows.append(("threads", ", ".join(_thread_text(n, t) for n, t in enumerate(found.threads)) or "none"))
    running = f", {found.unfinished} still running at its end" if found.unfinished else ""
    rows.append(("calls", f"{found.calls} in {found.last_ns / 1e9:.3f} s{running}"))
    if found.damage:
        rows.append(("damage", escape(str(found.damage))))
    return rows


def _date(ns: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ns % 10**9 // 10**6:03d} UTC"


def _flags(mask: object) -> str:
    if not isinstance(mask, int):
        return escape(str(mask))
    return f"0x{mask:08X} {', '.join(flag_names(mask))}".rstrip()


def _facts(facts: Mapping[str, Any]) -> str:
    shown = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = f"({_facts(value)})"
        elif isinstance(value, list | tuple):
            value = " ".join(escape(str(item)) for item in value) or "none"
        else:
            value = escape(str(value))
        shown.append(f"{escape(str(name))} {value}")
    return ", ".join(shown)


def _thread_text(number: int, thread: Thread) -> str:
    told = [f'"{escape(thread.name)}"'] if thread.name else []
    if thread.native_id:
        told.append(str(thread.native_id))
    return " ".join([f"t{number}", *told])


class Row(NamedTuple):
    """A line of the table; `style` is one of "", "warning", "failure"."""

    number: str
    time: str
    thread: str
    call: str
    answer: str
    took: str
    style: str


Segments = list[tuple[str, str]]
"""A line in parts: text, and a style in rich's words ("" for none)."""

_HEADINGS = Row("call", "time [s]", "thread", "", "answer", "took", "")
_STYLES = {"": "green", "warning": "yellow", "failure": "bold red"}


def table(trace: TraceInput, width: int | None = None) -> Iterator[Segments]:
    """The calls as aligned lines.  Calls are cut to fit into `width` columns; None cuts none of them."""
    from rich.cells import cell_len, set_cell_size

    source = trace.source()
    rows = (_row(played, source.header.interface) for played in pair(source.events()))
    widths = [len(heading) for heading in _HEADINGS[:-1]]
    heading: list[Row] = [_HEADINGS]
    while block := list(itertools.islice(rows, _BLOCK)):
        widths = [max(w, *(cell_len(r[n]) for r in block)) for n, w in enumerate(widths)]
        room = 72 if width is None else max(20, width - sum(widths) + widths[3] - 2 * (len(widths) - 1))
        widths[3] = min(widths[3], room)
        for row in heading + block:
            cells = [
                (" " * (w - cell_len(cell)) + cell) if n in (0, 1, 5) else cell + " " * (w - cell_len(cell))
                for n, (cell, w) in enumerate(zip(row, widths, strict=False))
            ]
            if width is not None and cell_len(row.call) > room:
                cells[3] = set_cell_size(row.call, room - 1) + "…"
            yield _segments(cells, "bold" if row is _HEADINGS else _STYLES[row.style])
        heading = []


def _segments(cells: list[str], style: str) -> Segments:
    number, time, thread, call, answer, took = cells
    return [(f"{number}  {time}  {thread}  ", "dim"), (f"{call}  ", ""), (f"{answer}  ", style), (took, "dim")]


def _row(played: PlayedCall, interface: Interface) -> Row:
    call, outcome = played.call, played.outcome
    answer = "... still running" if outcome is None else outcome_text(outcome, interface.method(call.method))
    return Row(
        str(played.number),
        f"{call.time_ns / 1e9:.6f}",
        f"t{call.thread}",
        call_text(call, interface),
        answer,
        "" if outcome is None else _rounded(outcome.elapsed_ns),
        _style(outcome),
    )


def _style(outcome: Outcome | None) -> str:
    if outcome is None or outcome.kind not in (OutcomeKind.RETURNED, OutcomeKind.NOT_RUN):
        return "failure"
    if isinstance(outcome.value, int) and hresult.failed(outcome.value):
        return "failure"
    return "warning" if outcome.value not in (0, None) else ""


def _rounded(ns: int) -> str:
    """A duration for people: three digits are enough."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns} ns"


def text_form(trace: TraceInput) -> Iterator[str]:
    """The lines of the text form."""
    source = trace.source()
    found = _survey(source)
    yield from text_lines(source.header, found.threads, trace.source().events())
    if found.damage:
        yield f"# damaged: {escape(str(found.damage))}"


# --- for machines --------------------------------------------------------------------------------------------


def json_lines(trace: TraceInput) -> Iterator[str]:
    """The trace as JSON, one object a line, in ASCII."""
    source = trace.source()
    yield _dumps({"kind": "header", "path": trace.path, **_header(source.header)})
    calls = 0
    for calls, (number, call, outcome) in enumerate(pair(source.events()), 1):
        yield _dumps(
            {
                "kind": "call",
                "number": number,
                "thread": call.thread,
                "time_ns": call.time_ns,
                "method": call.method,
                "args": [_jsonable(value) for value in call.args],
                "outcome": None if outcome is None else _outcome(outcome),
            }
        )
    threads = [{"native_id": thread.native_id, "name": thread.name} for thread in source.threads]
    damage = dataclasses.asdict(source.damage) if source.damage else None
    yield _dumps({"kind": "end", "calls": calls, "threads": threads, "damage": damage})


def _header(header: Header) -> dict[str, Any]:
    flags = header.sync_flags
    return {
        "interface": header.interface.name,
        "iid": header.interface.iid,
        "methods": {m.name: [p.name for p in m.inputs] for m in header.interface.slots},
        "created_ns": header.created_ns,
        "pointer_size": header.pointer_size,
        "sync_flags": flags,
        "flag_names": flag_names(flags) if isinstance(flags, int) else [],
        "redaction": header.redaction,
        "process": _jsonable(header.process),
        "target": _jsonable(header.target),
        "provenance": _jsonable(header.provenance),
        "extra": _jsonable(header.extra),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "kind": outcome.kind.value,
        "value": _jsonable(outcome.value),
        "elapsed_ns": outcome.elapsed_ns,
    }
    if outcome.detail:
        shown["detail"] = outcome.detail
    if outcome.place:
        shown["place"] = outcome.place
    if outcome.outputs:
        shown["outputs"] = [_jsonable(value) for value in outcome.outputs]
    return shown


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**64 else {"int": hex(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Handle):
        return {"handle": value.token}
    if isinstance(value, Opaque):
        return {"opaque": {"type": value.type, "repr": value.repr}}
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return str(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


# --- statistics ----------------------------------------------------------------------------------------------


@dataclass
class Statistics:
    """Figures of one trace.  Times in seconds; `gaps` are between the beginnings of two calls.

    `texts` counts for each text parameter how often it was given and how often it was NULL.  `answers` counts
    all but S_OK (a Python callback's None is one).  `slowest` and `gaps` are pairs of a call number and seconds.
    """

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    methods: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    distinct_texts: int = 0
    slowest: list[tuple[int, float]] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    level: Level = Level.CONFORMING
    damage: TraceDamage | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second; None for a trace that takes no time."""
        return self.calls / self.seconds if self.seconds else None

    def as_json(self) -> dict[str, Any]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        damage = dataclasses.asdict(self.damage) if self.damage else None
        texts = {name: {"calls": calls, "null": null} for name, (calls, null) in self.texts.items()}
        return {**fields, "texts": texts, "rate": self.rate, "level": str(self.level), "damage": damage}

    def rows(self) -> list[tuple[str, str]]:
        """For people: pairs of a word and its value."""
        rate = f", {self.rate:.1f} a second" if self.rate else ""
        running = f", {self.unfinished} still running at its end" if self.unfinished else ""
        rows = [
            ("calls", f"{self.calls} in {self.seconds:.3f} s{rate}{running}"),
            ("methods", _counted(self.methods)),
            ("threads", _counted(self.threads)),
            ("answers", f"other than S_OK: {_counted(self.answers)}" if self.answers else "all S_OK"),
            ("texts", f"{self.distinct_texts} distinct"),
        ]
        for name, (calls, null) in self.texts.items():
            rows.append(("", f"{name} is NULL in {null} of {calls} calls ({null / calls:.0%})"))
        rows += [
            ("slowest", ", ".join(f"call {n} {_rounded(round(s * 1e9))}" for n, s in self.slowest)),
            ("gaps", ", ".join(f"{_rounded(round(s * 1e9))} before call {n}" for n, s in self.gaps)),
            ("rules", f"{_counted(self.rules)} ({self.level})" if self.rules else "none broken"),
        ]
        if self.damage:
            rows.append(("damage", escape(str(self.damage))))
        return [(name, value or "none") for name, value in rows]


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def statistics(trace: TraceInput) -> Statistics:
    """Go through the trace once and count."""
    source = trace.source()
    found = Statistics()
    interface = source.header.interface
    monitor = Monitor(contract_of(interface))
    threads: Counter[int] = Counter()
    texts: set[int] = set()
    running: dict[int, tuple[str, int]] = {}
    slowest: list[tuple[int, int]] = []
    gaps: list[tuple[int, int]] = []
    first, last, end = None, 0, 0
    for event in source.events():
        if isinstance(event, Enter):
            number, call = event
            monitor.enter(number, call)
            found.calls += 1
            found.methods[call.method] += 1
            threads[call.thread] += 1
            _count_texts(found, texts, interface, call.method, call.args)
            running[number] = call.method, call.time_ns
            if first is None:
                first = last = call.time_ns
            else:
                _keep(gaps, call.time_ns - last, number)
            last = max(last, call.time_ns)
            end = max(end, last)
        else:
            number, outcome = event
            monitor.leave(number, outcome)
            method, start = running.pop(number)
            end = max(end, start + outcome.elapsed_ns)
            _keep(slowest, outcome.elapsed_ns, number)
            if not _is_plain(interface, method, outcome):
                found.answers[f"{method} {outcome_text(outcome, interface.method(method))}"] += 1
        _drain(monitor, found)
    monitor.finish(found.calls, cut=source.damage is not None)
    _drain(monitor, found)
    found.unfinished = len(running)
    found.seconds = (end - (first or 0)) / 1e9
    found.threads = Counter({_thread_text(n, source.threads[n]): count for n, count in threads.items()})
    found.distinct_texts = len(texts)
    found.slowest = _best(slowest)
    found.gaps = _best(gaps)
    found.damage = source.damage
    return found


def _drain(monitor: Monitor, found: Statistics) -> None:
    for violation in monitor.violations:
        found.rules[violation.rule.id] += 1
        found.level = max(found.level, violation.level)
    monitor.violations.clear()


def _count_texts(
    found: Statistics, texts: set[int], interface: Interface, name: str, args: tuple[Argument, ...]
) -> None:
    for parameter, value in zip(interface.method(name).inputs, args, strict=False):
        if parameter.type is Type.TEXT:
            where = f"{name}.{parameter.name}"
            calls, null = found.texts.get(where, (0, 0))
            found.texts[where] = calls + 1, null + (value is None)
            if isinstance(value, str):
                texts.add(hash(value))


def _is_plain(interface: Interface, method: str, outcome: Outcome) -> bool:
    """Whether an answer is S_OK, or a value of a method that returns no HRESULT."""
    if outcome.kind is not OutcomeKind.RETURNED:
        return False
    if interface.method(method).returns is not Type.HRESULT:
        return True
    return outcome.value is None or (outcome.value == 0 and type(outcome.value) is int)


def _keep(best: list[tuple[int, int]], value: int, number: int) -> None:
    """Keep the largest values, the earliest of equal ones."""
    entry = value, -number
    if len(best) < _TOP:
        heapq.heappush(best, entry)
    elif entry > best[0]:
        heapq.heapreplace(best, entry)


def _best(best: list[tuple[int, int]]) -> list[tuple[int, float]]:
    return [(-number, value / 1e9) for value, number in sorted(best, reverse=True) if value > 0]


# --- broken rules --------------------------------------------------------------------------------------------


@dataclass
class Broken:
    """A rule that a trace breaks: at these calls (the number of calls: at the trace's end), first so."""

    rule: Rule
    message: str
    numbers: list[int] = field(default_factory=list)

    @property
    def fails(self) -> bool:
        """Every E rule fails a check, and every other rule that a page states; the rest are notes."""
        return self.rule.severity == "E" or (self.rule.documented and self.rule.severity == "W")


@dataclass
class Checked:
    """The broken rules of one trace, in the order in which they were broken first."""

    path: str
    calls: int
    level: Level
    broken: list[Broken]
    damage: TraceDamage | None

    @property
    def fails(self) -> bool:
        return any(broken.fails for broken in self.broken)

    def where(self, broken: Broken) -> str:
        """`calls 3, 4, 5, 6, 7 and 12 more`."""
        numbers = [n for n in broken.numbers if n < self.calls]
        told = ", ".join(map(str, numbers[:_TOP])) + (f" and {len(numbers) - _TOP} more" if numbers[_TOP:] else "")
        at_end = len(numbers) < len(broken.numbers)
        calls = f"call{'s' if len(numbers) > 1 else ''} {told}" if numbers else ""
        return ", ".join(filter(None, [calls, "the end" if at_end else ""]))

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "calls": self.calls,
            "level": str(self.level),
            "fails": self.fails,
            "damage": dataclasses.asdict(self.damage) if self.damage else None,
            "rules": [
                {
                    "id": broken.rule.id,
                    "severity": broken.rule.severity,
                    "documented": broken.rule.documented,
                    "fails": broken.fails,
                    "text": broken.rule.text,
                    "source": broken.rule.source,
                    "first": broken.message,
                    "count": len(broken.numbers),
                    "calls": broken.numbers,
                }
                for broken in self.broken
            ],
        }


def check(trace: TraceInput) -> Checked:
    """Which rules of its interface's contract a trace breaks.  A cut trace is not blamed for its end."""
    source = trace.source()
    monitor = Monitor(contract_of(source.header.interface))
    broken: dict[str, Broken] = {}
    calls = 0

    def note(violations: list[Violation]) -> None:
        for violation in violations:
            rule = violation.rule
            broken.setdefault(rule.id, Broken(rule, violation.message)).numbers.append(violation.number)
        violations.clear()

    for event in source.events():
        if isinstance(event, Leave):
            monitor.leave(*event)
        else:
            monitor.enter(*event)
            calls += 1
        note(monitor.violations)
    note(monitor.finish(calls, cut=source.damage is not None))
    hostile = any(b.rule.severity == "E" for b in broken.values())
    level = Level.HOSTILE if hostile else Level.LENIENT if broken else Level.CONFORMING
    return Checked(trace.path, calls, level, list(broken.values()), source.damage)
