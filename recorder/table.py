"""The calls of a trace as a table: aligned lines, cut to the width of a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from recorder.calls import PlayedCall, pair
from recorder.interface import Interface
from recorder.short import Parts, failure_style, rounded
from recorder.text import call_text, outcome_text
from recorder.trace_input import TraceInput

__all__ = ["table"]

_BLOCK = 1000  # rows that share their widths


class Row(NamedTuple):
    """A line of the table; `style` is one of "", "warning", "failure"."""

    number: str
    time: str
    thread: str
    call: str
    answer: str
    took: str
    style: str


_HEADINGS = Row("call", "time [s]", "thread", "method", "answer", "took", "")
_RIGHT = (0, 1, 5)  # columns of numbers
_STYLES = {"": "green", "warning": "yellow", "failure": "bold red"}


def table(trace: TraceInput, width: int | None = None) -> Iterator[Parts]:
    """The calls as aligned lines.  Calls are cut to fit into `width` columns; None cuts none of them."""
    from rich.cells import set_cell_size

    with trace.source() as source:
        rows = (_row(played, source.header.interface) for played in pair(source.events()))
        widths = [len(heading) for heading in _HEADINGS[:-1]]
        heading: list[Row] = [_HEADINGS]
        while block := list(itertools.islice(rows, _BLOCK)):
            widths = [max(w, *(_cells(r[n]) for r in block)) for n, w in enumerate(widths)]
            gaps = 2 * (len(widths) - 1)
            room = 60 if width is None else max(20, width - gaps - sum(widths) + widths[3])
            widths[3] = min(widths[3], room)
            for row in heading + block:
                call = row.call
                if width is not None and _cells(call) > room:
                    call = set_cell_size(call, room - 1) + "…"
                cells = [*row[:3], call, *row[4:6]]
                blanks = [" " * max(0, w - _cells(cell)) for w, cell in zip(widths, cells, strict=True)]
                padded = [
                    b + c if n in _RIGHT else c + b for n, (b, c) in enumerate(zip(blanks, cells, strict=True))
                ]
                yield _parts(padded, "bold" if row is _HEADINGS else _STYLES[row.style])
            heading = []


def _cells(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _parts(cells: list[str], style: str) -> Parts:
    number, time, thread, call, answer, took = cells
    return [(f"{number}  {time}  {thread}  ", "dim"), (f"{call}  ", ""), (f"{answer}  ", style), (took, "dim")]


def _row(played: PlayedCall, interface: Interface) -> Row:
    call, outcome = played.call, played.outcome
    answer = "... still running" if outcome is None else outcome_text(outcome, interface.method(call.method))
    return Row(
        str(played.number),
        f"{call.time_ns / 1e9:.6f}",
        f"t{call.thread}",
        call_text(call, interface),
        answer,
        "" if outcome is None else rounded(outcome.elapsed_ns),
        failure_style(outcome),
    )
