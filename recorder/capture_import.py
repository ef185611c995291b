"""Captures of other tools, as JSON lines, turned into traces.

The first line is {"kind": "meta", "scenario": ..., "flags": ..., "provider": ..., "server": ...}; then one call
a line: "m" the method, its arguments ("text", "index", "max"; "hr", "text"; "handle", "hr"), "t_us" and
"dur_us" microseconds since the start and of the call, "th" the thread's number, "ret" the answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recorder import hresult
from recorder.calls import Argument, Call, Enter, Event, Handle, Header, Leave, Outcome, Thread, Trace
from recorder.errors import TraceError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.provenance import imported

__all__ = ["import_capture"]

_KEYS = {
    "Progress": ("text", "index", "max"),
    "Error": ("hr", "text"),
    "Done": ("handle", "hr"),
}


def import_capture(path: str | os.PathLike[str]) -> Trace:
    """Read one capture.  Raises TraceError naming the line that does not read."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None
    except UnicodeDecodeError as error:
        raise TraceError(f"cannot be read as UTF-8: {error}", path=path) from None
    meta: dict[str, Any] = {}
    played: list[tuple[Call, Outcome]] = []
    tokens: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if entry.get("kind") == "meta":
                meta = entry
            else:
                played.append(_call(entry, tokens))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"line {number} is not a captured call: {type(error).__name__}: {error}"
            raise TraceError(message, path=path) from None
    if not played:
        raise TraceError("holds no captured calls", path=path)
    return _trace(path.name, meta, played)


def _call(entry: dict[str, Any], tokens: dict[int, int]) -> tuple[Call, Outcome]:
    args: list[Argument] = []
    for key in _KEYS[entry["m"]]:
        value = entry[key]
        if key == "hr":
            value = hresult.signed(value)
        elif key == "handle" and value is not None:
            value = Handle(tokens.setdefault(value, len(tokens) + 1))
        args.append(value)
    call = Call(entry["m"], tuple(args), int(entry["th"]), int(entry["t_us"]) * 1000)
    answer = None if entry["ret"] is None else hresult.signed(entry["ret"])
    return call, Outcome(value=answer, elapsed_ns=int(entry["dur_us"]) * 1000)


def _trace(source: str, meta: dict[str, Any], played: list[tuple[Call, Outcome]]) -> Trace:
    """Enters and leaves in the order of their times; what shares a moment stays in the capture's order."""
    moments: list[tuple[int, int, Event]] = []
    for number, (call, outcome) in enumerate(_by_entry(played)):
        moments.append((call.time_ns, 2 * number, Enter(number, call)))
        moments.append((call.time_ns + outcome.elapsed_ns, 2 * number + 1, Leave(number, outcome)))
    moments.sort(key=lambda moment: moment[:2])
    flags = meta.get("flags")
    header = Header(
        interface=IMAPI_SYNC_PROGRESS_CALLBACK,
        tick_ns=1000,
        sync_flags=int(flags, 16) if isinstance(flags, str) else flags,
        provenance=imported(
            source,
            scenario=meta.get("scenario", Path(source).stem),
            **{key: meta[key] for key in ("note", "style", "provider", "server") if meta.get(key)},
        ),
    )
    threads = 1 + max(call.thread for call, _ in played)
    return Trace(header, tuple(event for _, _, event in moments), (Thread(),) * threads)


def _by_entry(played: Iterable[tuple[Call, Outcome]]) -> list[tuple[Call, Outcome]]:
    return sorted(played, key=lambda pair: pair[0].time_ns)
