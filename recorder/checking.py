"""Which rules of its interface's contract a trace breaks, and whether that fails it."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import Leave, TraceDamage
from recorder.contract import Level, Monitor, Violation, contract_of
from recorder.rules import Rule
from recorder.trace_input import TraceInput

__all__ = ["Broken", "Checked", "check"]

_TOP = 5  # numbers of calls, of each rule


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
