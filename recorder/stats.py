"""Statistics of a trace: by the compiled core where it can count all of it, else event by event."""

from __future__ import annotations

from collections.abc import Iterator

from recorder.calls import Enter, Event, Leave, pair
from recorder.counting import Count
from recorder.figures import Statistics
from recorder.selection import Selection
from recorder.tally import tallied
from recorder.trace_input import Source, TraceInput

__all__ = ["statistics"]


def statistics(trace: TraceInput, selection: Selection | None = None) -> Statistics:
    """Go through the trace once and count, all calls or those of a selection."""
    if not selection and (found := tallied(trace)) is not None:
        trace.damage = found.damage
        return found
    with trace.source() as source:
        count = Count(source)
        if selection:
            count.events(_selected(source, selection, count.found))
        else:
            count.events(source.events())
        return count.finish()


def _selected(source: Source, selection: Selection, found: Statistics) -> Iterator[Event]:
    """The events of selected calls, call by call."""
    taken = selection.test(source.header.interface, source.threads)
    found.of = 0
    for played in pair(source.events()):
        found.of += 1
        if taken(played):
            yield Enter(played.number, played.call)
            if played.outcome is not None:
                yield Leave(played.number, played.outcome)
