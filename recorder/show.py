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

import contextlib
import dataclasses
import datetime
import heapq
import io
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from recorder import hresult
from recorder.calls import (
    Argument,
    Call,
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
from recorder.interface import Interface, Method, Type
from recorder.provenance import told
from recorder.provider import flag_names
from recorder.rules import Rule
from recorder.text import call_text, escape, from_text, is_text, outcome_text, text_lines
from recorder.trace import TraceReader

__all__ = [
    "Broken",
    "Checked",
    "Parts",
    "Source",
    "Statistics",
    "TraceInput",
    "as_json",
    "check",
    "json_lines",
    "last_moment",
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

    def close(self) -> None: ...


class _Loaded:
    """A trace in memory as a Source."""

    def __init__(self, trace: Trace):
        self.header = trace.header
        self.threads = list(trace.threads)
        self.damage = trace.damage
        self._trace = trace

    def events(self) -> Iterator[Event]:
        return iter(self._trace.events)

    def close(self) -> None:
        pass


class TraceInput:
    """A trace file, or a trace in text form, that can be gone through again and again.

    `damage` is that of the last pass, if it went to the end.  Raises TraceError for what is neither.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        self._trace: Trace | None = None
        self._data: bytes | None = None
        self._last: Source | None = None
        try:
            with open(path, "rb") as file:
                if encoding := _encoding(file.peek(64)):
                    self._trace = from_text(file.read().decode(encoding))
                elif not file.seekable():
                    self._data = file.read()
        except OSError as error:
            raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None
        except (TextError, UnicodeError) as error:
            raise TraceError(str(error), path=path) from None

    @contextlib.contextmanager
    def source(self) -> Iterator[Source]:
        """A fresh pass through the trace."""
        if self._trace is not None:
            self._last = _Loaded(self._trace)
        elif self._data is not None:
            self._last = TraceReader(io.BytesIO(self._data), name=self.path)
        else:
            self._last = TraceReader(self.path)
        with contextlib.closing(self._last) as source:
            yield source

    @property
    def damage(self) -> TraceDamage | None:
        return self._last.damage if self._last else None


def _encoding(head: bytes) -> str | None:
    """The encoding of a text form that begins so, None for other files; PowerShell's `>` makes UTF-16."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16" if is_text(head[:40].decode("utf-16", "replace").encode()) else None
    return "utf-8-sig" if is_text(head) else None


def trace_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, and for a folder all *.tape below it.  Raises TraceError for a folder without any."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*.tape") if p.is_file())
    if not found:
        raise TraceError("there is no trace (*.tape) below this folder", path=path)
    return found


# --- for people ----------------------------------------------------------------------------------------------


@dataclass
class _Survey:
    """What only the whole trace tells."""

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    threads: list[Thread] = field(default_factory=list)
    damage: TraceDamage | None = None


def _survey(source: Source) -> _Survey:
    calls, first, end = 0, 0, 0
    running: dict[int, int] = {}
    for event in source.events():
        if isinstance(event, Enter):
            time_ns = running[event.number] = event.call.time_ns
            first = time_ns if calls == 0 else min(first, time_ns)
            end = max(end, time_ns)
            calls += 1
        else:
            end = max(end, running.pop(event.number) + event.outcome.elapsed_ns)
    return _Survey(calls, len(running), (end - first) / 1e9, list(source.threads), source.damage)


def summary(trace: TraceInput) -> list[tuple[str, str]]:
    """What the header says, and how much there is: pairs of a word and its value."""
    with trace.source() as source:
        header, found = source.header, _survey(source)
    rows = [("interface", f"{escape(header.interface.name)} {header.interface.iid}")]
    if header.created_ns:
        rows.append(("recorded", _date(header.created_ns)))
    if header.sync_flags is not None:
        rows.append(("flags", _flags(header.sync_flags)))
    if header.target:
        rows.append(("target", _facts(header.target)))
    if header.provenance:
        words = told(header.provenance)
        rows.append(("provenance", _facts(header.provenance) if words is None else escape(words)))
    if header.process:
        rows.append(("process", _facts(header.process)))
    if header.redaction:
        rows.append(("redaction", escape(header.redaction)))
    if header.extra:
        rows.append(("also", _facts(header.extra)))
    rows.append(("threads", ", ".join(_thread_text(n, t) for n, t in enumerate(found.threads)) or "none"))
    running = f", {found.unfinished} still running at its end" if found.unfinished else ""
    rows.append(("calls", f"{found.calls} in {found.seconds:.3f} s{running}"))
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
    return ", ".join(f"{escape(str(name))} {_fact(value)}" for name, value in facts.items())


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_facts(value)})"
    if isinstance(value, list | tuple):
        return " ".join(map(_fact, value)) or "none"
    return escape(str(value))


def _thread_name(number: int, thread: Thread) -> str:
    return f't{number} "{escape(thread.name)}"' if thread.name else f"t{number}"


def _thread_text(number: int, thread: Thread) -> str:
    return f"{_thread_name(number, thread)} {thread.native_id or ''}".rstrip()


class Row(NamedTuple):
    """A line of the table; `style` is one of "", "warning", "failure"."""

    number: str
    time: str
    thread: str
    call: str
    answer: str
    took: str
    style: str


Parts = list[tuple[str, str]]
"""A line in parts: text, and a style in rich's words ("" for none)."""

_HEADINGS = Row("call", "time [s]", "thread", "method", "answer", "took", "")
_RIGHT = (0, 1, 5)  # columns of numbers
_STYLES = {"": "green", "warning": "yellow", "failure": "bold red"}


def table(trace: TraceInput, width: int | None = None) -> Iterator[Parts]:
    """The calls as aligned lines.  Calls are cut to fit into `width` columns; None cuts none of them."""
    from rich.cells import set_cell_size

    with trace.source() as source:
        rows = (_row(played, source.header.interface) for played in pair(source.events()))
        widths = [len(heading) for heading in _HEADINGS[:-1]]
        heading: list[Row] = [_HEADINGS]
        while block := list(itertools.islice(rows, _BLOCK)):
            widths = [max(w, *(_cells(r[n]) for r in block)) for n, w in enumerate(widths)]
            gaps = 2 * (len(widths) - 1)
            room = 60 if width is None else max(20, width - gaps - sum(widths) + widths[3])
            widths[3] = min(widths[3], room)
            for row in heading + block:
                call = row.call
                if width is not None and _cells(call) > room:
                    call = set_cell_size(call, room - 1) + "…"
                cells = [*row[:3], call, *row[4:6]]
                blanks = [" " * max(0, w - _cells(cell)) for w, cell in zip(widths, cells, strict=True)]
                padded = [
                    b + c if n in _RIGHT else c + b for n, (b, c) in enumerate(zip(blanks, cells, strict=True))
                ]
                yield _parts(padded, "bold" if row is _HEADINGS else _STYLES[row.style])
            heading = []


def _cells(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _parts(cells: list[str], style: str) -> Parts:
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
    with trace.source() as source:
        found = _survey(source)
    with trace.source() as source:
        yield from text_lines(source.header, found.threads, source.events())
    if found.damage:
        yield f"# damaged: {escape(str(found.damage))}"


def last_moment(trace: TraceInput) -> str:
    """Where a process died whose trace this is: `in call 4, Progress("x", 1, 2)`, or `after call 3, ...`."""
    last: Enter | None = None
    running: dict[int, Enter] = {}
    with trace.source() as source:
        for event in source.events():
            if isinstance(event, Enter):
                last = running[event.number] = event
            else:
                running.pop(event.number, None)
        interface = source.header.interface
    if last is None:
        return "before its first call"
    inside = [*running.values()]
    where, enter = ("in", inside[-1]) if inside else ("after", last)
    return f"{where} call {enter.number}, {call_text(enter.call, interface)}"


# --- for machines --------------------------------------------------------------------------------------------


def json_lines(trace: TraceInput) -> Iterator[str]:
    """The trace as JSON, one object a line, in ASCII."""
    with trace.source() as source:
        yield as_json({"kind": "header", "path": trace.path, **_header(source.header)})
        calls = 0
        for played in pair(source.events()):
            yield as_json(_call(played))
            calls += 1
        threads = [{"native_id": thread.native_id, "name": thread.name} for thread in source.threads]
        damage = dataclasses.asdict(source.damage) if source.damage else None
        yield as_json({"kind": "end", "calls": calls, "threads": threads, "damage": damage})


def _call(played: PlayedCall) -> dict[str, Any]:
    number, call, outcome = played
    return {
        "kind": "call",
        "number": number,
        "thread": call.thread,
        "time_ns": call.time_ns,
        "method": call.method,
        "args": [_jsonable(value) for value in call.args],
        "outcome": None if outcome is None else _outcome(outcome),
    }


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


def as_json(value: Any) -> str:
    """One line of JSON in ASCII; lone surrogates and the like are escaped."""
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
    with trace.source() as source:
        return _Count(source).found


class _Count:
    """One pass through a trace."""

    def __init__(self, source: Source):
        self.found = found = Statistics()
        self.interface = source.header.interface
        self.monitor = Monitor(contract_of(self.interface))
        self.threads: Counter[int] = Counter()
        self.texts: set[int] = set()  # hashes
        self.running: dict[int, tuple[str, int]] = {}
        self.slowest: list[tuple[int, int]] = []
        self.gaps: list[tuple[int, int]] = []
        self.first = self.last = self.end = 0
        for event in source.events():
            if isinstance(event, Enter):
                self.enter(*event)
            else:
                self.leave(*event)
            self.drain()
        self.monitor.finish(found.calls, cut=source.damage is not None)
        self.drain()
        found.unfinished = len(self.running)
        found.seconds = (self.end - self.first) / 1e9
        found.threads = Counter({_thread_name(n, source.threads[n]): c for n, c in self.threads.items()})
        found.distinct_texts = len(self.texts)
        found.slowest, found.gaps = _best(self.slowest), _best(self.gaps)
        found.damage = source.damage

    def enter(self, number: int, call: Call) -> None:
        self.monitor.enter(number, call)
        self.found.calls += 1
        self.found.methods[call.method] += 1
        self.threads[call.thread] += 1
        self.running[number] = call.method, call.time_ns
        if self.found.calls == 1:
            self.first = self.last = call.time_ns
        _keep(self.gaps, call.time_ns - self.last, number)
        self.last = max(self.last, call.time_ns)
        self.end = max(self.end, self.last)
        for parameter, value in zip(self.interface.method(call.method).inputs, call.args, strict=False):
            if parameter.type is Type.TEXT:
                self.text(f"{call.method}.{parameter.name}", value)

    def text(self, where: str, value: Argument) -> None:
        calls, null = self.found.texts.get(where, (0, 0))
        self.found.texts[where] = calls + 1, null + (value is None)
        if isinstance(value, str):
            self.texts.add(hash(value))

    def leave(self, number: int, outcome: Outcome) -> None:
        self.monitor.leave(number, outcome)
        name, start = self.running.pop(number)
        method = self.interface.method(name)
        self.end = max(self.end, start + outcome.elapsed_ns)
        _keep(self.slowest, outcome.elapsed_ns, number)
        if not _is_plain(method, outcome):
            self.found.answers[f"{name} {outcome_text(outcome, method)}"] += 1

    def drain(self) -> None:
        """Take over what the monitor found, so that it does not pile up."""
        for violation in self.monitor.violations:
            self.found.rules[violation.rule.id] += 1
            self.found.level = max(self.found.level, violation.level)
        self.monitor.violations.clear()


def _is_plain(method: Method, outcome: Outcome) -> bool:
    """Whether an answer is S_OK, or a value of a method that returns no HRESULT."""
    if outcome.kind is not OutcomeKind.RETURNED:
        return False
    if method.returns is not Type.HRESULT:
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


def check(trace: TraceInput, also: Iterable[Violation] = (), unowed: Container[str] = ()) -> Checked:
    """Which rules of its interface's contract a trace breaks.  A cut trace is not blamed for its end.

    `also` is what else is known of the recording; a rule that the trace shows broken at the same call counts
    once.  Rules in `unowed` do not bind it.
    """
    broken: dict[str, Broken] = {}
    calls = 0

    def note(violations: list[Violation]) -> None:
        for violation in violations:
            rule = violation.rule
            if rule.id in unowed:
                continue
            broken.setdefault(rule.id, Broken(rule, violation.message)).numbers.append(violation.number)
        violations.clear()

    with trace.source() as source:
        monitor = Monitor(contract_of(source.header.interface))
        for event in source.events():
            if isinstance(event, Leave):
                monitor.leave(*event)
            else:
                monitor.enter(*event)
                calls += 1
            note(monitor.violations)
        note(monitor.finish(calls, cut=source.damage is not None))
    note([v for v in also if v.rule.id not in broken or v.number not in broken[v.rule.id].numbers])
    hostile = any(b.rule.severity == "E" for b in broken.values())
    level = Level.HOSTILE if hostile else Level.LENIENT if broken else Level.CONFORMING
    return Checked(trace.path, calls, level, list(broken.values()), trace.damage)
