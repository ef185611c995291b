"""A part of a trace as a trace of its own: chosen calls with their answers, times and threads.

Calls are numbered anew; times still count from the start of the whole trace, and threads keep their numbers.  The
header says which calls of how many were kept, so that a part is not blamed for an end that was left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgpack

from recorder.calls import Enter, Event, Leave, Trace, pair
from recorder.selection import Selection, SelectionError
from recorder.trace_input import TraceInput

__all__ = ["ends_early", "has_holes", "parse_calls", "trim"]

_RANGE = re.compile(r"(\d{1,18})?(\.\.)?(\d{1,18})?")


def parse_calls(text: str) -> tuple[int, int | None]:
    """First and last call of `10..40`, `10..`, `..40` or `7`; None: up to the end."""
    found = _RANGE.fullmatch(text)
    if not text or not found or not (found[1] or found[3]):
        raise SelectionError(f"{text!r} is no range of calls; write it as 10..40, 10.., ..40 or 7")
    first = int(found[1] or 0)
    last = int(found[3]) if found[3] else None if found[2] else first
    if last is not None and last < first:
        raise SelectionError(f"{text!r} ends before it begins")
    return first, last


def trim(
    trace: TraceInput,
    first: int = 0,
    last: int | None = None,
    selection: Selection | None = None,
    others: list[tuple[int, bytes]] | None = None,
) -> Trace:
    """Calls `first` to `last` (None: the end) that the selection takes.  Raises SelectionError for none at all.

    `others` takes the packed records of kinds that this version does not know, each with how many events of the
    part stand before it: they are kept, since nobody knows what they belong to.
    """
    kept: dict[int, int] = {}  # number in the whole trace -> number in the part
    total = 0
    with trace.source() as source:
        taken = selection.test(source.header.interface, source.threads) if selection else None
        for played in pair(source.events()):
            total += 1
            in_range = first <= played.number and (last is None or played.number <= last)
            if in_range and (taken is None or taken(played)):
                kept[played.number] = len(kept)
    if not kept:
        raise SelectionError(f"{trace.path}: none of its {total} calls is chosen")
    events: list[Event] = []
    skipped: list[Any] = []
    unknown: list[tuple[int, bytes]] = []
    with trace.source(skipped.append) as source:
        for event in source.events():
            if skipped:
                unknown += [(len(events), msgpack.packb(record)) for record in skipped]
                skipped.clear()
            if event.number not in kept:
                continue
            if isinstance(event, Enter):
                events.append(Enter(kept[event.number], event.call))
            else:
                events.append(Leave(kept[event.number], event.outcome))
        unknown += [(len(events), msgpack.packb(record)) for record in skipped]
        header, threads, damage = source.header, tuple(source.threads), source.damage
    if others is not None:
        others += unknown
    trimmed: dict[str, Any] = {"of": total, "kept": len(kept), "first": min(kept), "last": max(kept)}
    if before := header.provenance.get("trimmed"):
        trimmed["before"] = before
    header = replace(header, provenance={**header.provenance, "trimmed": trimmed})
    return Trace(header, tuple(events), threads, damage if total - 1 in kept else None)


def ends_early(provenance: Mapping[str, Any]) -> bool:
    """Whether a trace is a part whose whole went on: its end says nothing of its provider."""
    return any(last < total - 1 for total, _, _, last in _cuts(provenance))


def has_holes(provenance: Mapping[str, Any]) -> bool:
    """Whether calls between those of a part were left out."""
    return any(kept < last - first + 1 for _, kept, first, last in _cuts(provenance))


def _cuts(provenance: Mapping[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    """What each trim kept, the last one first: of so many calls so many, the first, the last."""
    trimmed = provenance.get("trimmed")
    while isinstance(trimmed, Mapping):
        total, kept, first, last = (trimmed.get(name) for name in ("of", "kept", "first", "last"))
        if isinstance(total, int) and isinstance(kept, int) and isinstance(first, int) and isinstance(last, int):
            yield total, kept, first, last
        trimmed = trimmed.get("before")
