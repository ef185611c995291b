"""What a trace's header says, and how much there is, in words."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from recorder.calls import Thread
from recorder.provenance import told
from recorder.provider import flag_names
from recorder.redaction import in_words
from recorder.short import thread_name
from recorder.survey import survey
from recorder.text import escape
from recorder.trace_input import TraceInput

__all__ = ["summary"]


def summary(trace: TraceInput) -> list[tuple[str, str]]:
    """What the header says, and how much there is: pairs of a word and its value."""
    with trace.source() as source:
        header, found = source.header, survey(source)
    rows = [("interface", f"{escape(header.interface.name)} {header.interface.iid}")]
    if header.created_ns:
        rows.append(("recorded", _date(header.created_ns)))
    if header.sync_flags is not None:
        rows.append(("flags", _flags(header.sync_flags)))
    if header.target:
        rows.append(("target", _facts(header.target)))
    if header.provenance:
        words = told(header.provenance)
        rows.append(("provenance", _facts(header.provenance) if words is None else escape(words)))
    if header.process:
        rows.append(("process", _facts(header.process)))
    if header.redaction:
        rows.append(("redaction", escape(in_words(header.redaction))))
    if header.scheduled:
        rows.append(("scheduled", "its threads run at the same time; @ tells at which steps a call gives way"))
    if header.extra:
        rows.append(("also", _facts(header.extra)))
    rows.append(("threads", ", ".join(_thread_text(n, t) for n, t in enumerate(found.threads)) or "none"))
    running = f", {found.unfinished} still running at its end" if found.unfinished else ""
    rows.append(("calls", f"{found.calls} in {found.seconds:.3f} s{running}"))
    if found.damage:
        rows.append(("damage", escape(str(found.damage))))
    return rows


def _date(ns: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ns % 10**9 // 10**6:03d} UTC"


def _flags(mask: object) -> str:
    if not isinstance(mask, int):
        return escape(str(mask))
    return f"0x{mask:08X} {', '.join(flag_names(mask))}".rstrip()


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{escape(str(name))} {_fact(value)}" for name, value in facts.items())


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_facts(value)})"
    if isinstance(value, list | tuple):
        return " ".join(map(_fact, value)) or "none"
    return escape(str(value))


def _thread_text(number: int, thread: Thread) -> str:
    return f"{thread_name(number, thread)} {thread.native_id or ''}".rstrip()
