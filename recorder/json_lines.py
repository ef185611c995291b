"""A trace for machines: JSON lines, one object each, told apart by `kind`.

JSON lines (`json_lines`), one object each, told apart by `kind`:

    header   path, interface, iid, methods (name -> names of the arguments), the header's fields, flag_names
    call     number, thread, time_ns, method, args, outcome (null: the call was still running)
    end      calls, threads, damage (null, or offset, reason and events)

A value that JSON has no word for is an object of one key: handle, opaque, bytes, float, int (hexadecimal).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from recorder.calls import Handle, Header, Opaque, Outcome, PlayedCall, pair
from recorder.provider import flag_names
from recorder.trace_input import TraceInput

__all__ = ["as_json", "json_lines"]


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
