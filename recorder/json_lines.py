"""A trace for machines: JSON lines, one object each, told apart by `kind`.

JSON lines (`json_lines`), one object each, told apart by `kind`:

    header   path, interface, iid, methods (name -> names of the arguments), the header's fields, flag_names
    call     number, thread, time_ns, method, args, switches (left out if it has none), outcome (null: the call was
             still running)
    end      calls, threads, damage (null, or offset, reason and events)

A value that JSON has no word for is an object of one key: handle, opaque, bytes, float, int (hexadecimal).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recorder.calls import Handle, Header, Opaque, Outcome, PlayedCall, Thread, TraceDamage, pair
from recorder.provider import flag_names
from recorder.selection import Selection
from recorder.trace_input import TraceInput

__all__ = ["as_json", "call_json", "end_json", "header_json", "json_lines"]


def json_lines(trace: TraceInput, selection: Selection | None = None) -> Iterator[str]:
    """The trace as JSON, one object a line, in ASCII; of the calls those of a selection."""
    with trace.source() as source:
        yield as_json(header_json(trace.path, source.header))
        taken = selection.test(source.header.interface, source.threads) if selection else None
        calls = 0
        for played in pair(source.events()):
            calls += 1
            if taken is None or taken(played):
                yield as_json(call_json(played))
        yield as_json(end_json(calls, source.threads, source.damage))


def header_json(path: str, header: Header) -> dict[str, Any]:
    return {"kind": "header", "path": path, **_header(header)}


def end_json(calls: int, threads: Iterable[Thread], damage: TraceDamage | None) -> dict[str, Any]:
    """The last object; `calls` counts all of the trace."""
    return {
        "kind": "end",
        "calls": calls,
        "threads": [{"native_id": thread.native_id, "name": thread.name} for thread in threads],
        "damage": dataclasses.asdict(damage) if damage else None,
    }


def call_json(played: PlayedCall) -> dict[str, Any]:
    number, call, outcome = played
    return {
        "kind": "call",
        "number": number,
        "thread": call.thread,
        "time_ns": call.time_ns,
        "method": call.method,
        "args": [_jsonable(value) for value in call.args],
        **({"switches": list(call.switches)} if call.switches else {}),
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
        "scheduled": header.scheduled,
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
