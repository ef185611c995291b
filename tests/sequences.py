"""Sequences of calls for tests, written as the text form writes them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recorder.calls import Call, Enter, Event, Header, Leave, Outcome, Thread, Trace
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.text import parse_call
from recorder.trace import write_trace

__all__ = [
    "ABORT",
    "ABORT_CODE",
    "CALLBACK",
    "GOOD",
    "NULL_READ",
    "QuietHost",
    "calls",
    "counts_output",
    "limits_memory",
    "recorded",
    "regression",
    "save",
    "trace",
]

if sys.platform == "win32":
    NULL_READ, ABORT, ABORT_CODE = "0xC0000005 STATUS_ACCESS_VIOLATION", "exit code 3", "X7"
else:
    NULL_READ, ABORT, ABORT_CODE = "SIGSEGV", "SIGABRT", "X1"
"""How a process is told to have ended that read at NULL, and one that called abort(), with its code."""

WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")

limits_memory = pytest.mark.skipif(WINE, reason="Wine does not enforce a job's memory limit")
counts_output = pytest.mark.skipif(WINE, reason="Wine does not count what a process writes")

GOOD = (
    'Progress("Downloading", 0, 2)',
    "Progress(NULL, 1, 2)",
    "Progress(NULL, 2, 2)",
    "Done(sync-event, S_OK)",
)
"""A conforming sequence."""


class QuietHost:
    """A correct host that shows nothing."""

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        return 0

    def Error(self, result: int, text: str | None) -> Any:
        return 0

    def Done(self, handle: Any, result: int) -> Any:
        return 0


def calls(*lines: str, interface: Interface = CALLBACK) -> list[Call]:
    return [parse_call(line, interface) for line in lines]


def trace(*lines: str, interface: Interface = CALLBACK, **provenance: Any) -> Trace:
    return Trace.from_calls(calls(*lines, interface=interface), Header(interface=interface, provenance=provenance))


def regression(code: str, *lines: str, **facts: Any) -> Trace:
    """A trace that was kept for a finding."""
    return trace(*lines, finding={"code": code, **facts})


def recorded(text: str, lines: Mapping[int, str] | None = None, threads: str = "01") -> Trace:
    """A trace of calls that overlap, from its events: in "0( 1( 1) 0)" call 1 begins and ends while call 0 runs.

    `lines`: the calls that are not Progress(NULL, number, 9); `threads`: the thread of each.
    """
    events: list[Event] = []
    for word in text.split():
        number = int(word[:-1])
        if word.endswith("("):
            call = parse_call((lines or {}).get(number, f"Progress(NULL, {number}, 9)"), CALLBACK)
            events.append(Enter(number, call._replace(thread=int(threads[number]))))
        else:
            events.append(Leave(number, Outcome()))
    return Trace(Header(CALLBACK), tuple(events), (Thread(),) * (max(map(int, threads)) + 1))


def save(folder: Path, name: str, recorded: Trace) -> Path:
    path = folder / f"{name}.tape"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_trace(recorded, path)
