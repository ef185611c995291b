"""The calls of a trace as a table: aligned lines, cut to the width of a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recorder.calls import PlayedCall, pair
from recorder.interface import Interface
from recorder.selection import Selection
from recorder.short import Parts, cells, failure_style, rounded
from recorder.text import call_text, outcome_text, switches_text
from recorder.trace_input import TraceInput

__all__ = ["Columns", "Row", "row_of", "table"]

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


def table(trace: TraceInput, width: int | None = None, selection: Selection | None = None) -> Iterator[Parts]:
    """The calls as aligned lines, and how many of all they are if there is a selection.

    Calls are cut to fit into `width` columns; None cuts none of them.
    """
    with trace.source() as source:
        columns, interface = Columns(width), source.header.interface
        calls = itertools.count(1)
        total = shown = 0
        taken = selection.test(interface, source.threads) if selection else None

        def rows() -> Iterator[Row]:
            nonlocal total
            for played in pair(source.events()):
                total = next(calls)
                if taken is None or taken(played):
                    yield row_of(played, interface)

        selected = rows()
        while block := list(itertools.islice(selected, _BLOCK)):
            shown += len(block)
            yield from columns.lines(block)
    if taken is not None:
        yield [(f"{shown} of {total} call{'' if total == 1 else 's'}", "dim")]


class Columns:
    """Rows as aligned lines, after a line of headings.  Widths grow with what is shown, from `least` on.

    Calls are cut to fit into `width` columns; None cuts none of them.
    """

    def __init__(self, width: int | None = None, least: Sequence[int] = (0,) * 6):
        self._width = width
        self._widths = [max(len(head), wide) for head, wide in zip(_HEADINGS[:-1], least, strict=True)]
        self._head = [_HEADINGS]

    def lines(self, block: list[Row]) -> Iterator[Parts]:
        """The lines of rows that share their widths."""
        from rich.cells import set_cell_size

        width, head = self._width, self._head
        widths = [max(w, *(cells(r[n]) for r in block)) for n, w in enumerate(self._widths)]
        gaps = 2 * (len(widths) - 1)
        room = 60 if width is None else max(20, width - gaps - sum(widths) + widths[3])
        widths[3] = min(widths[3], room)
        self._widths, self._head = widths, []
        for row in head + block:
            call = row.call
            if width is not None and cells(call) > room:
                call = set_cell_size(call, room - 1) + "…"
            shown = [*row[:3], call, *row[4:6]]
            blanks = [" " * max(0, w - cells(cell)) for w, cell in zip(widths, shown, strict=True)]
            padded = [b + c if n in _RIGHT else c + b for n, (b, c) in enumerate(zip(blanks, shown, strict=True))]
            yield _parts(padded, "bold" if row is _HEADINGS else _STYLES[row.style])


def _parts(cells: list[str], style: str) -> Parts:
    number, time, thread, call, answer, took = cells
    return [(f"{number}  {time}  {thread}  ", "dim"), (f"{call}  ", ""), (f"{answer}  ", style), (took, "dim")]


def row_of(played: PlayedCall, interface: Interface) -> Row:
    """The line of a call; an outcome of None is one that is still to come."""
    call, outcome = played.call, played.outcome
    answer = "... still running" if outcome is None else outcome_text(outcome, interface.method(call.method))
    return Row(
        str(played.number),
        f"{call.time_ns / 1e9:.6f}",
        f"t{call.thread}",
        f"{call_text(call, interface)} {switches_text(call)}".rstrip(),
        answer,
        "" if outcome is None else rounded(outcome.elapsed_ns),
        failure_style(outcome),
    )
