"""What a corpus holds: traces and calls by kind, and what of the protocol they reach and miss."""

from __future__ import annotations

import datetime
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import Enter, Handle, Trace
from recorder.contract import Contract, Level, Monitor, contract_of
from recorder.interface import Interface, Type
from recorder.provenance import digest
from replayer.corpus import Corpus, Member
from replayer.order import overlaps

__all__ = ["Census", "Protocol", "Spread", "census", "duplicates"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How some numbers are spread; all 0 if there are none."""

    count: int = 0
    least: int = 0
    median: float = 0
    most: int = 0

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Spread:
        if not numbers:
            return cls()
        return cls(len(numbers), min(numbers), statistics.median(numbers), max(numbers))

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "min": self.least, "median": self.median, "max": self.most}


@dataclass
class Protocol:
    """What of one interface's protocol was reached: states, and calls in them, by how often."""

    contract: Contract
    states: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def all_states(self) -> list[str]:
        states = [self.contract.start]
        for (state, _), (to, _) in self.contract.transitions.items():
            states += [state, to]
        return list(dict.fromkeys(states))

    @property
    def missed(self) -> list[tuple[str, str]]:
        return [step for step in self.contract.transitions if step not in self.transitions]

    def as_json(self) -> dict[str, Any]:
        return {
            "states": {state: self.states[state] for state in self.all_states},
            "transitions": [
                {"state": step[0], "method": step[1], "to": to, "breaks": rule, "calls": self.transitions[step]}
                for step, (to, rule) in self.contract.transitions.items()
            ],
        }


@dataclass
class Census:
    """Counts over all traces of a corpus.

    `levels` are of whole traces, `rules` counts traces that break one.  `lengths` are of traces, in calls, `texts`
    of texts, in UTF-16 units; `nulls` counts the NULLs among texts.  `threads`: traces by their number of threads.
    `created`: ns since 1970 of the traces that know.  `duplicates`: names of traces with the same calls.
    """

    traces: int = 0
    calls: int = 0
    lengths: Spread = Spread()
    interfaces: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    protocols: dict[str, Protocol] = field(default_factory=dict)
    texts: Spread = Spread()
    nulls: int = 0
    handles: int = 0
    threads: Counter[int] = field(default_factory=Counter)
    created: list[int] = field(default_factory=list)
    provenance: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    duplicates: list[list[str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "traces": self.traces,
            "calls": self.calls,
            "lengths": self.lengths.as_json(),
            "interfaces": dict(self.interfaces),
            "methods": dict(self.methods),
            "outcomes": dict(self.outcomes),
            "levels": {str(level): self.levels[str(level)] for level in Level},
            "rules": dict(sorted(self.rules.items())),
            "protocols": {name: protocol.as_json() for name, protocol in self.protocols.items()},
            "texts": {**self.texts.as_json(), "null": self.nulls},
            "handles": self.handles,
            "threads": {str(count): traces for count, traces in sorted(self.threads.items())},
            "oldest": _moment(min(self.created, default=0)),
            "newest": _moment(max(self.created, default=0)),
            "undated": self.traces - len(self.created),
            "provenance": dict(self.provenance),
            "findings": dict(self.findings),
            "duplicates": self.duplicates,
            "damaged": [{"path": path, "damage": damage} for path, damage in self.damaged],
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
        }


def census(corpus: Corpus) -> Census:
    """Count everything."""
    found = Census()
    lengths: list[int] = []
    texts: list[int] = []
    for _, file, trace in corpus.members:
        lengths.append(len(trace.calls))
        _count_calls(trace, found, texts)
        _count_protocol(trace, found)
        _count_header(trace, found)
        if trace.damage is not None:
            found.damaged.append((str(file), str(trace.damage)))
    found.traces, found.calls = len(lengths), sum(lengths)
    found.lengths, found.texts = Spread.of(lengths), Spread.of(texts)
    found.unreadable = [(str(file), reason) for file, reason in corpus.unreadable]
    found.duplicates = [[str(member.file) for member in same] for same in duplicates(corpus.members) if same[1:]]
    return found


def duplicates(members: Iterable[Member]) -> list[list[Member]]:
    """Members in groups, in order: the same calls on the same interface, kept for the same finding or for none.

    Calls that met in another way are not the same.
    """
    groups: dict[tuple[object, ...], list[Member]] = defaultdict(list)
    for member in members:
        trace = member.trace
        switches = tuple(call.switches for call in trace.calls) if trace.header.scheduled else ()
        order = tuple((e.number, isinstance(e, Enter)) for e in trace.events) if overlaps(trace.events) else ()
        groups[digest(trace.calls, trace.interface), _finding(trace), switches, order].append(member)
    return list(groups.values())


def _finding(trace: Trace) -> str:
    finding = trace.header.provenance.get("finding")
    return str(finding.get("code", "?")) if isinstance(finding, dict) else ""


def _count_calls(trace: Trace, found: Census, texts: list[int]) -> None:
    kinds = _text_places(trace.interface)
    for _, call, outcome in trace.played:
        found.methods[call.method] += 1
        found.outcomes["running" if outcome is None else outcome.kind.value] += 1
        for place, value in enumerate(call.args):
            if isinstance(value, str):
                texts.append(len(value) + sum(character > "\uffff" for character in value))
            elif isinstance(value, Handle):
                found.handles += 1
            elif value is None and (call.method, place) in kinds:
                found.nulls += 1
    found.threads[len({call.thread for call in trace.calls})] += 1


def _text_places(interface: Interface) -> set[tuple[str, int]]:
    return {
        (method.name, place)
        for method in interface.slots
        for place, parameter in enumerate(method.inputs)
        if parameter.type is Type.TEXT
    }


def _count_protocol(trace: Trace, found: Census) -> None:
    interface = trace.interface
    found.interfaces[interface.name] += 1
    protocol = found.protocols.setdefault(interface.name, Protocol(contract_of(interface)))
    monitor = Monitor(contract_of(interface))
    protocol.states[monitor.state] += 1
    for event in trace.events:
        if isinstance(event, Enter):
            step = monitor.state, event.call.method
            monitor.enter(*event)
            if step in monitor.contract.transitions:
                protocol.transitions[step] += 1
                protocol.states[monitor.state] += monitor.state != step[0]
        else:
            before = monitor.state
            monitor.leave(*event)
            protocol.states[monitor.state] += monitor.state != before
    violations = monitor.finish(len(trace.calls), cut=trace.damage is not None)
    found.levels[str(max((v.level for v in violations), default=Level.CONFORMING))] += 1
    found.rules.update({violation.rule.id for violation in violations})


def _count_header(trace: Trace, found: Census) -> None:
    header = trace.header
    if header.created_ns:
        found.created.append(header.created_ns)
    found.provenance[str(header.provenance.get("kind", "") or "none")] += 1
    if code := _finding(trace):
        found.findings[code] += 1


def _moment(ns: int) -> str | None:
    """ISO 8601 in UTC, None for 0 and for what no calendar holds."""
    try:
        return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).isoformat() if ns else None
    except (ValueError, OverflowError, OSError):
        return None
