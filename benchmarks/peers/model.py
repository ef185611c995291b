"""What the drivers of the Python peers share: a host to call, a handle, values, and a report of what came of it.

A driver knows what its author would know of any host: the interface, its types and boundary values, and that a
step is reported in many calls.  It does not know the hosts, and needs nothing of synctape.

The report is lines of JSON, with times of time.monotonic(): when the search began, and its end.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CALLS", "CODES", "MOST_STEPS", "NUMBERS", "TEXTS", "Handle", "Search"]

NUMBERS = (
    0,
    1,
    2,
    3,
    10,
    99,
    100,
    101,
    127,
    128,
    255,
    256,
    1000,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)
"""ULONGs at which programs change their behaviour."""

CODES = tuple(
    value - (value >> 31 << 32)
    for value in (
        *(0, 1, 0x00040203, 0x00040380, 0x00040680, 0x80004001, 0x80004004, 0x80004005, 0x8000FFFF),
        *(0x80070005, 0x8007000E, 0x80070057, 0x8004010F, 0x80040111, 0x80040113, 0x80040115, 0x80040600),
    )
)
"""HRESULTs that providers report, signed."""

TEXTS = ("", "a", "100%", "%s", "{}", "Inbox", "Folder Inbox", "3 of 20", "\ud800", "\u202e", "\n", "x" * 260)

MOST_STEPS = 100  # reports of one step

CALLS = int(os.environ.get("CALLS", "0"))  # each sequence has just so many, and no whole steps; 0: any number


class Handle(int):
    """An event handle, as pywin32 gives it: a number that is closed once."""

    open = True

    def close(self) -> None:
        assert self.open, "the handle is closed twice"
        self.open = False


class Search:
    """Counts sequences, ends at the first failure or when the time is up, and tells.

    Usage: each sequence begins with `begin()` and makes its calls by `progress`, `error`, `done` and `step`.
    """

    def __init__(self, host: str, limit: float, report: str):
        self.executions = self.calls = 0
        self.made = 0  # calls of this sequence
        self._limit = limit
        self._report = Path(report)
        self._started = self._cpu = 0.0
        self._make = _host(host)
        self._host: Any = None
        self._handles: dict[int, Handle] = {}

    def begin(self) -> None:
        """A sequence begins, on a fresh host."""
        now = time.monotonic()
        if not self._started:
            self._started, self._cpu = now, time.process_time()
            self._tell(event="start", at=now)
        elif now - self._started > self._limit:
            self._end(found=False)
        self.executions += 1
        self.calls += self.made
        self.made = 0
        self._handles = {}
        self._host = self._make()

    def progress(self, text: str | None, index: int, maximum: int) -> None:
        self._call(self._host.Progress, text, index, maximum)

    def error(self, code: int, text: str | None) -> None:
        self._call(self._host.Error, code, text)

    def done(self, handle: int | None, code: int) -> None:
        """`handle`: a number for one of the sequence's own, or None."""
        live = None if handle is None else self._handles.setdefault(handle, Handle(0x1000 + 4 * handle))
        self._call(self._host.Done, live, code)

    def step(self, text: str | None, maximum: int) -> None:
        """A step as providers report it, from 0 to its maximum."""
        for index in range(maximum + 1):
            self.progress(text if index == 0 else None, index, maximum)

    def _call(self, method: Callable[..., int], *arguments: Any) -> None:
        self.made += 1
        try:
            method(*arguments)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            self._end(found=True, what=type(error).__name__, where=where)

    def _end(self, **facts: Any) -> None:
        now = time.monotonic()
        cpu = time.process_time() - self._cpu
        made = {"executions": self.executions, "calls": self.calls + self.made}
        self._tell(event="end", at=now, seconds=now - self._started, cpu=cpu, **made, **facts)
        os._exit(0)

    def _tell(self, **facts: Any) -> None:
        with self._report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def _host(path: str) -> Callable[[], Any]:
    """The class of a host, imported from its file."""
    file = Path(path)
    if file.stem not in sys.modules:
        sys.path.insert(0, str(file.parent))
        importlib.import_module(file.stem)
    factory: Callable[[], Any] = sys.modules[file.stem].Host
    return factory
