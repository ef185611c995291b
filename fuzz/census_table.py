"""A census for people: tables on a terminal, the same as plain lines where there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fuzz.census import Census, Protocol, Spread
from recorder.contract import Level
from recorder.report_files import shown

__all__ = ["print_census"]

_SHOWN = 10  # of a list


def print_census(found: Census, file: TextIO) -> None:
    """Print it."""
    console = Console(file=file, highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, Text(shown(value, 2000)))
    console.print(table)
    for name, protocol in found.protocols.items():
        console.print()
        console.print(_protocol_table(name, protocol))
    for title, lines in (
        ("Duplicates", [" = ".join(group) for group in found.duplicates]),
        ("Damaged", [f"{path}: {damage}" for path, damage in found.damaged]),
        ("Unreadable", [f"{path}: {reason}" for path, reason in found.unreadable]),
    ):
        if lines:
            console.print()
            console.print(Text(title, style="bold"))
            for line in lines[:_SHOWN]:
                console.print(Text(f"  {shown(line, 2000)}"))
            if len(lines) > _SHOWN:
                console.print(Text(f"  and {len(lines) - _SHOWN} more"))


def _rows(found: Census) -> Iterable[tuple[str, str]]:
    as_json = found.as_json()
    yield "traces", str(found.traces)
    yield "calls", f"{found.calls}; a trace {_spread(found.lengths)}"
    yield "methods", _counted(found.methods)
    yield "outcomes", _counted(found.outcomes)
    yield "levels", ", ".join(f"{level} {found.levels[str(level)]}" for level in Level)
    yield "rules broken", _counted(found.rules) + (" (in so many traces)" if found.rules else "")
    yield "texts", f"{found.texts.count} of {_spread(found.texts)} units, {found.nulls} NULL"
    yield "handles", str(found.handles)
    threads = Counter({f"{count} thread{'' if count == 1 else 's'}": n for count, n in found.threads.items()})
    yield "threads", _counted(threads, "{1} of {0}")
    dated = f"{as_json['oldest']} to {as_json['newest']}" if found.created else ""
    undated = f"{as_json['undated']} without a date" if as_json["undated"] else ""
    yield "recorded", ", ".join(filter(None, (dated, undated)))
    yield "provenance", _counted(found.provenance)
    if found.findings:
        yield "kept for", _counted(found.findings)
    yield "duplicates", str(sum(len(group) - 1 for group in found.duplicates))
    yield "damaged", str(len(found.damaged))
    if found.unreadable:
        yield "unreadable", str(len(found.unreadable))


def _protocol_table(name: str, protocol: Protocol) -> Table:
    contract = protocol.contract
    reached = sum(1 for step in contract.transitions if step in protocol.transitions)
    title = f"{name}: {reached} of {len(contract.transitions)} transitions, by calls"
    table = Table(title=shown(title), title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    methods = list(dict.fromkeys(method for _, method in contract.transitions))
    table.add_column("state")
    table.add_column("traces", justify="right")
    for method in methods:
        table.add_column(method, justify="right")
    for state in protocol.all_states:
        cells = []
        for method in methods:
            step = contract.transitions.get((state, method))
            if step is None:
                cells.append("")
                continue
            count = str(protocol.transitions[state, method] or "missed")
            cells.append(f"{count} ({step[1]})" if step[1] else count)
        table.add_row(state, str(protocol.states[state]), *cells)
    return table


def _spread(spread: Spread) -> str:
    return f"{spread.least} to {spread.most}, median {spread.median:g}"


def _counted(counts: Counter[str], form: str = "{0} {1}") -> str:
    return ", ".join(form.format(name, count) for name, count in counts.most_common()) or "none"
