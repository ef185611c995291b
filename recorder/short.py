"""Short forms for people: durations of three digits, threads by name, counts, how bad an answer is."""

from __future__ import annotations

from collections import Counter

from recorder import hresult
from recorder.calls import Outcome, OutcomeKind, Thread
from recorder.text import escape

__all__ = ["Parts", "cells", "counted", "failure_style", "rounded", "thread_name"]

Parts = list[tuple[str, str]]
"""A line in parts: text, and a style in rich's words ("" for none)."""


def thread_name(number: int, thread: Thread) -> str:
    return f't{number} "{escape(thread.name)}"' if thread.name else f"t{number}"


def failure_style(outcome: Outcome | None) -> str:
    if outcome is None or outcome.kind not in (OutcomeKind.RETURNED, OutcomeKind.NOT_RUN):
        return "failure"
    if isinstance(outcome.value, int) and hresult.failed(outcome.value):
        return "failure"
    return "warning" if outcome.value not in (0, None) else ""


def rounded(ns: int) -> str:
    """A duration for people: three digits are enough."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns} ns"


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def cells(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
