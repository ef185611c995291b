"""Which rules of its interface's contract a trace breaks, and whether that fails it."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import Leave, TraceDamage
from recorder.contract import Contract, Level, Monitor, Violation, contract_of
from recorder.errors import SynctapeError
from recorder.pace import PaceBreach, PaceLimits, PaceMonitor, has_own_times
from recorder.rules import Rule
from recorder.trace_input import TraceInput
from recorder.trim import ends_early

__all__ = ["Broken", "Checked", "check"]

_TOP = 5  # numbers of calls, of each rule


@dataclass
class Broken:
    """A rule that a trace breaks: at these calls (the number of calls: at the trace's end), first so."""

    rule: Rule
    message: str
    numbers: list[int] = field(default_factory=list)
    asked: bool = False  # whether by a limit that somebody asked for

    @property
    def fails(self) -> bool:
        """Whether it fails the check: by its rule, or by a limit that somebody asked for."""
        return self.rule.fails or self.asked


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


def check(
    trace: TraceInput,
    also: Iterable[Violation] = (),
    unowed: Container[str] = (),
    pace: PaceLimits | None = None,
) -> Checked:
    """Which rules of its interface's contract a trace breaks.  A cut or trimmed trace is not blamed for its end.

    `also` is what else is known of the recording; a rule that the trace shows broken at the same call counts
    once.  Rules in `unowed` do not bind it.  Rates and gaps are judged by `pace`, if it is given.

    Raises SynctapeError for limits of a pace that the contract has no rule for.
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

    def note_breaches(breaches: list[PaceBreach]) -> None:
        for violation, asked in breaches:
            note([violation])
            found = broken[violation.rule.id]
            if asked and not found.asked:
                found.asked, found.message = True, violation.message
        breaches.clear()

    with trace.source() as source:
        early = ends_early(source.header.provenance)
        contract = contract_of(source.header.interface)
        monitor = Monitor(contract, whole=not getattr(source, "dropped", ()))
        timing = _timing(trace.path, contract, source.header.provenance, pace)
        for event in source.events():
            if isinstance(event, Leave):
                monitor.leave(*event)
                if timing is not None:
                    timing.leave(*event)
            else:
                if timing is not None:
                    timing.enter(*event, monitor.state)
                monitor.enter(*event)
                calls += 1
            note(monitor.violations)
            if timing is not None and timing.breaches:
                note_breaches(timing.breaches)
        note(monitor.finish(calls, cut=early or source.damage is not None))
    note([v for v in also if v.rule.id not in broken or v.number not in broken[v.rule.id].numbers])
    untimed = [
        b.rule.severity for b in broken.values() if not b.rule.timed
    ]  # the level is one of calls, not of times
    level = Level.HOSTILE if "E" in untimed else Level.LENIENT if untimed else Level.CONFORMING
    return Checked(trace.path, calls, level, list(broken.values()), trace.damage)


def _timing(
    path: str, contract: Contract, provenance: Mapping[str, Any], limits: PaceLimits | None
) -> PaceMonitor | None:
    """What judges rates and gaps; None if they are not to be judged, or the trace's times are not its own."""
    if limits is None or not has_own_times(provenance):
        return None
    if contract.pace is None and limits:
        name = contract.interface.name
        raise SynctapeError(f"{path}: no rule for {name} speaks of rates or gaps; leave the limits out")
    return PaceMonitor(contract, limits)
