"""Export as a timeline: Chrome's trace-event JSON, which Perfetto's viewer opens (ui.perfetto.dev).

    X  a call on its thread's track, with its arguments and what came of it
    B  a call in whose middle the process died: it has no end
    i  a handle, where a call carries one; a rule that the provider broke, where it broke
    M  the names of the process and its threads

Times are microseconds since the trace's start.  A viewer takes only what nests on one track: a call that ends
while a later one of its thread goes on is moved to a track beside, and what sticks out by the clock's step is
cut.  A trace without times, such as one written by hand, is shown by its order, one event a microsecond, and so is
a scheduled one, in which a call takes as long as others are let go first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from recorder import hresult
from recorder.calls import Argument, Call, Enter, Handle, Outcome, OutcomeKind, Trace
from recorder.contract import lint
from recorder.errors import SynctapeError
from recorder.interface import Method, Parameter, Type
from recorder.text import argument_text, escape

__all__ = ["to_perfetto"]

_EXACT: Final = 2**53  # numbers up to here are the same to every reader of JSON
_IDS: Final = 2**31  # and ids of processes and threads
_LONGEST: Final = 4000  # characters of one value
_FAR: Final = 2**63  # ns: beyond it lie only times that somebody made up
_ORDER_NS: Final = 1000  # from event to event of a trace without times


def to_perfetto(trace: Trace, name: str) -> str:
    """The timeline of a trace called `name`, in ASCII, one event a line.

    Raises SynctapeError if it has no calls.
    """
    if not trace.calls:
        raise SynctapeError(f"{name}: has no calls")
    spans = _spans(trace)
    process = _id(trace.header.process.get("pid"), 1)
    numbers = _track_numbers(trace, spans)
    events = [
        *_names(trace, name, process, numbers),
        *_calls(trace, spans, process, numbers),
        *_broken(trace, spans, process, numbers),
    ]
    lines = ",\n".join(json.dumps(event) for event in events)
    facts = json.dumps({"from": _plain(name), "interface": _plain(trace.interface.name), "by": "synctape export"})
    return f'{{"displayTimeUnit": "ns", "otherData": {facts}, "traceEvents": [\n{lines}\n]}}\n'


# --- where and when -------------------------------------------------------------------------------------------

_Track = tuple[int, int]  # a thread of the trace, and which of its tracks


@dataclass(slots=True)
class _Span:
    """A call's place: its track, and from when to when in ns; `end` is None where the process died in it."""

    track: _Track
    start: int
    end: int | None
    leaves: float  # the number of the event that ends it
    free: int = 0  # what comes next in it starts no earlier


@dataclass
class _Lane:
    """One track while it is filled: the calls that are open on it, the innermost last."""

    open: list[_Span] = field(default_factory=list)
    free: int = 0


def _spans(trace: Trace) -> list[_Span]:
    """The calls' places, by number: on each track any two of them nest or do not touch."""
    enters, leaves = dict[int, int](), dict[int, int]()
    for at, event in enumerate(trace.events):
        (enters if isinstance(event, Enter) else leaves)[event.number] = at
    timed = not trace.header.scheduled and any(
        p.call.time_ns or (p.outcome and p.outcome.elapsed_ns) for p in trace.played
    )
    lanes: dict[int, list[_Lane]] = {}
    spans = []
    for number, call, outcome in trace.played:
        start, end = call.time_ns, None if outcome is None else call.time_ns + outcome.elapsed_ns
        if not timed:
            start = enters[number] * _ORDER_NS
            end = None if outcome is None else leaves[number] * _ORDER_NS
        ends = leaves.get(number, math.inf)
        tracks = lanes.setdefault(call.thread, [])
        place = next((at for at, lane in enumerate(tracks) if _fits(lane, enters[number], ends)), len(tracks))
        if place == len(tracks):
            tracks.append(_Lane())
        spans.append(_put(tracks[place], _Span((call.thread, place), start, end, ends)))
    return spans


def _fits(lane: _Lane, enters: int, leaves: float) -> bool:
    while lane.open and lane.open[-1].leaves < enters:
        lane.open.pop()
    return not lane.open or leaves <= lane.open[-1].leaves


def _put(lane: _Lane, span: _Span) -> _Span:
    """Add a call to a track, cut to the call that it is in and to what went before."""
    around = lane.open[-1] if lane.open else None
    span.start = max(span.start, around.free if around else lane.free)
    if around and around.end is not None:
        span.start = min(span.start, around.end)
        span.end = around.end if span.end is None else min(span.end, around.end)
    if span.end is not None:
        span.end = max(span.start, span.end)
    span.free = span.start
    after = span.start if span.end is None else span.end
    if around:
        around.free = after
    else:
        lane.free = after
    lane.open.append(span)
    return span


def _track_numbers(trace: Trace, spans: Iterable[_Span]) -> dict[_Track, int]:
    """Each track's thread id: the system's where they are told apart by it, else counted from 1."""
    tracks = sorted({(number, 0) for number in range(len(trace.threads))} | {span.track for span in spans})
    native = [thread.native_id for thread in trace.threads]
    given = len(set(native)) == len(native) and all(_id(one, 0) for one in native)
    numbers: dict[_Track, int] = {}
    following = max(native, default=0) + 1 if given else 1
    for track in tracks:
        if given and track[1] == 0 and track[0] < len(native):
            numbers[track] = native[track[0]]
        else:
            numbers[track] = following
            following += 1
    return numbers


def _id(value: object, otherwise: int) -> int:
    return value if type(value) is int and 0 < value < _IDS else otherwise


# --- events ---------------------------------------------------------------------------------------------------


def _names(trace: Trace, name: str, process: int, numbers: dict[_Track, int]) -> Iterator[dict[str, Any]]:
    program = trace.header.process.get("program")
    title = f"{_plain(str(program))}, {_plain(name)}" if program else _plain(name)
    first = next(iter(numbers.values()))
    yield {"ph": "M", "name": "process_name", "pid": process, "tid": first, "args": {"name": title}}
    for order, ((thread, beside), number) in enumerate(numbers.items()):
        known = trace.threads[thread].name if thread < len(trace.threads) else ""
        shown_name = f"t{thread} {_plain(known)}".rstrip() + (f" (beside {beside})" if beside else "")
        place = {"ph": "M", "pid": process, "tid": number}
        yield {**place, "name": "thread_name", "args": {"name": shown_name}}
        yield {**place, "name": "thread_sort_index", "args": {"sort_index": order}}


def _calls(trace: Trace, spans: list[_Span], process: int, numbers: dict[_Track, int]) -> Iterator[dict[str, Any]]:
    for (number, call, outcome), span in zip(trace.played, spans, strict=True):
        method = trace.interface.method(call.method)
        place = {"pid": process, "tid": numbers[span.track]}
        event = {"ph": "B", "name": _plain(call.method), "cat": _category(outcome), **place, "ts": _us(span.start)}
        if span.end is not None:
            event |= {"ph": "X", "dur": _us(span.end - span.start)}
        switches = {"switches": list(call.switches)} if call.switches else {}
        yield event | {
            "args": {"call": number, **_arguments(call, method), **switches, **_came_of(outcome, method)}
        }
        for parameter, handle in _handles(call, method, outcome):
            at = span.start if parameter in method.inputs or span.end is None else span.end
            what = argument_text(handle, Type.HANDLE)
            args = {"call": number, "parameter": _plain(parameter.name)}
            yield {"ph": "i", "s": "t", "name": what, "cat": "handle", **place, "ts": _us(at), "args": args}


def _category(outcome: Outcome | None) -> str:
    """By what a viewer can tell calls apart: `call,failed` for one that answered a failure."""
    if outcome is None:
        return "call,unfinished"
    if outcome.kind is not OutcomeKind.RETURNED:
        return f"call,{outcome.kind.value}"
    failed = hresult.is_hresult(outcome.value) and isinstance(outcome.value, int) and hresult.failed(outcome.value)
    return "call,failed" if failed else "call"


def _arguments(call: Call, method: Method) -> dict[str, Any]:
    types = {p.name: p.type for p in method.inputs}
    names = [p.name for p in method.inputs] + [f"argument {n}" for n in range(len(method.inputs), len(call.args))]
    given = {_plain(n): _value(a, types.get(n)) for n, a in zip(names, call.args, strict=False)}
    return {"arguments": given} if given else {}


def _came_of(outcome: Outcome | None, method: Method) -> dict[str, Any]:
    if outcome is None:
        return {"outcome": "the process died in it"}
    told: dict[str, Any] = {"outcome": outcome.kind.value}
    if outcome.kind is OutcomeKind.RETURNED:
        told["outcome"] = _value(outcome.value, method.returns, null="None")
    if outcome.outputs:
        names = [p.name for p in method.outputs]
        names += [f"output {n}" for n in range(len(names), len(outcome.outputs))]
        types = {p.name: p.type for p in method.outputs}
        pairs = zip(names, outcome.outputs, strict=False)
        told["outputs"] = {_plain(n): _value(value, types.get(n)) for n, value in pairs}
    told |= {key: _plain(text) for key, text in (("detail", outcome.detail), ("place", outcome.place)) if text}
    return told


def _handles(call: Call, method: Method, outcome: Outcome | None) -> Iterator[tuple[Parameter, Handle]]:
    pairs = [*zip(method.inputs, call.args, strict=False)]
    if outcome is not None:
        pairs += zip(method.outputs, outcome.outputs, strict=False)
    for parameter, value in pairs:
        if isinstance(value, Handle):
            yield parameter, value


def _broken(
    trace: Trace, spans: list[_Span], process: int, numbers: dict[_Track, int]
) -> Iterator[dict[str, Any]]:
    end = max(span.start if span.end is None else span.end for span in spans)
    for violation in lint(trace):
        args = {"rule": _plain(violation.rule.text), "broken": _plain(violation.message)}
        event = {"ph": "i", "name": violation.rule.id, "cat": "rule", "pid": process, "args": args}
        if violation.number < len(spans):
            span = spans[violation.number]
            yield event | {"s": "t", "tid": numbers[span.track], "ts": _us(span.start)}
        else:  # it is the whole trace that breaks it
            yield event | {"s": "p", "tid": numbers[spans[-1].track], "ts": _us(end)}


def _us(ns: int) -> float:
    return max(-_FAR, min(ns, _FAR)) / 1000


def _value(value: Argument, kind: Type | None, *, null: str = "NULL") -> int | str:
    if type(value) is int and abs(value) < _EXACT and kind is not Type.HRESULT:
        return value
    return _cut(argument_text(value, kind, null=null))


def _plain(text: str) -> str:
    """A text of the trace with what does not print escaped; lone surrogates are no JSON to many readers."""
    return _cut(escape(text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
