"""Between findings and baselines: entries from traces and campaigns, and which known findings are still there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from fuzz.again import TRIES, Again, Conditions
from fuzz.baseline import Baseline, Entry
from fuzz.buckets import Found
from recorder.calls import Header, Trace
from recorder.contract import Level
from recorder.errors import SynctapeError, TraceError
from recorder.interface import Interface
from replayer.oracles import Finding
from replayer.target import TargetError

__all__ = ["Pruned", "entry_of", "entry_of_trace", "prune"]


def entry_of(found: Found, interface: Interface, today: date) -> Entry:
    """A campaign's finding as an entry."""
    return Entry.of(found.finding, found.trace(Header(interface=interface)), today, options=found.options)


def entry_of_trace(trace: Trace, path: str, today: date, note: str = "") -> Entry:
    """A trace that was kept for a finding as an entry.  Raises TraceError if it was not."""
    kept = trace.header.provenance.get("finding")
    facts = {name: kept.get(name) for name in _FACTS} if isinstance(kept, Mapping) else {}
    if not facts or not all(isinstance(fact, str) for fact in facts.values()):
        raise TraceError("was not kept for a finding: it does not say which", path=path)
    level = str(facts.pop("level")).upper()
    if level not in Level.__members__:
        raise TraceError(f"its finding has no level {level!r}", path=path)
    finding = Finding(number=0, level=Level[level], **facts)  # type: ignore[arg-type]
    bare = Trace.from_calls(trace.calls, Header(interface=trace.interface, scheduled=trace.header.scheduled))
    options = kept.get("options", ()) if isinstance(kept, Mapping) else ()
    return Entry.of(finding, bare, today, note=note, options=[str(option) for option in options])


_FACTS = ("code", "oracle", "method", "message", "place", "level")


@dataclass
class Pruned:
    """What is left; of each entry whether it is "kept", "moved" or "gone", and why one could not be replayed."""

    baseline: Baseline
    told: list[tuple[Entry, str]] = field(default_factory=list)
    errors: list[tuple[Entry, str]] = field(default_factory=list)


def prune(baseline: Baseline, spec: str, *, tries: int = TRIES) -> Pruned:
    """Replay each entry on the target; those that do not show within `tries` are gone.

    Raises TargetError if the target gives no instance at all, ExecutorError if no child can be started.
    """
    done = Pruned(baseline)
    left: list[Entry] = []
    for interface, entries in _by_interface(baseline):
        with Again(spec, interface) as again:
            for entry in entries:
                try:
                    now = _now(entry, again, tries)
                except (SynctapeError, ValueError) as error:
                    if isinstance(error, TargetError) or getattr(error, "exit_code", 2) != 2:
                        raise
                    done.errors.append((entry, str(error)))
                    continue
                if now is not None:
                    left.append(now)
                word = "gone" if now is None else "kept" if now.fingerprint == entry.fingerprint else "moved"
                done.told.append((entry, word))
    done.baseline = Baseline(left)
    return done


def _now(entry: Entry, again: Again, tries: int) -> Entry | None:
    """The entry as the target has it now, None if it is gone."""
    finding = entry.finding

    def pick(seen: list[Finding]) -> Finding | None:
        alike = [f for f in seen if (f.code, f.method) == (finding.code, finding.method)]
        return next((f for f in alike if f.fingerprint == finding.fingerprint), alike[0] if alike else None)

    number, seen = again.tries_until(entry.sequence, Conditions.of(entry.options), pick, most=tries)
    if not number or seen is None:
        return None
    if seen.fingerprint == finding.fingerprint:
        return entry
    today = date.fromisoformat(entry.first_seen)
    return Entry.of(seen, entry.sequence, today, note=entry.note, options=entry.options)


def _by_interface(baseline: Baseline) -> list[tuple[Interface, list[Entry]]]:
    """Entries by the interface of their traces."""
    groups: list[tuple[Interface, list[Entry]]] = []
    for entry in baseline.entries.values():
        interface = entry.sequence.interface
        group = next((entries for known, entries in groups if known == interface), None)
        if group is None:
            groups.append((interface, [entry]))
        else:
            group.append(entry)
    return groups
