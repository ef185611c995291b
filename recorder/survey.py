"""What only a pass through the whole trace tells: how much there is, its threads, and where its process died."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from recorder.calls import Enter, Thread, TraceDamage
from recorder.text import call_text, escape, text_lines
from recorder.trace_input import Source, TraceInput

__all__ = ["Survey", "last_moment", "survey", "text_form"]


@dataclass
class Survey:
    """What only the whole trace tells."""

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    threads: list[Thread] = field(default_factory=list)
    damage: TraceDamage | None = None


def survey(source: Source) -> Survey:
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
    return Survey(calls, len(running), (end - first) / 1e9, list(source.threads), source.damage)


def text_form(trace: TraceInput) -> Iterator[str]:
    """The lines of the text form."""
    with trace.source() as source:
        found = survey(source)
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
