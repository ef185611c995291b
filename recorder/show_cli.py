"""The command `show`: parse, call one function, print, exit.

Exits with 0 also for a damaged trace, with a warning; with 2 for what is no trace.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from recorder.common_cli import (
    Complaints,
    complain,
    printer,
    quiet_pipe,
    selection_options,
    terminal_width,
    traces_of,
    write_lines,
)

if TYPE_CHECKING:
    from recorder.selection import Selection
    from recorder.trace_input import TraceInput

__all__ = ["show"]

_WIDTH = 100  # columns of a timeline that goes to no terminal


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: header, calls, end.")
@click.option("--stats", is_flag=True, help="Counts, rates, gaps and slow answers instead of the calls.")
@click.option("--timeline", is_flag=True, help="When which thread called, instead of the calls.")
@click.option("--text", is_flag=True, help="The text form, which parses back into the same trace.")
@selection_options
def show(paths: tuple[str, ...], *, selection: Selection, stats: bool, **forms: bool) -> None:
    """Print traces: a table of calls with times in seconds since the start, threads and answers.

    TRACE is a trace file, a file in text form, or a folder: all *.tape below it.  Of a damaged trace the sound
    part is shown, with a warning on stderr.  With --stats --json the statistics are one JSON object a trace.
    """
    form, *others = [name.removeprefix("as_") for name, asked in forms.items() if asked] or ["table"]
    if others:
        raise click.UsageError(f"--{form} and --{others[0]} do not go together; take one of them")
    if stats and form in ("text", "timeline"):
        raise click.UsageError(f"--stats and --{form} do not go together; take --stats alone, or with --json")
    if selection and form == "text":
        raise click.UsageError("the text form is of whole traces; leave the calls to choose out, or --text")
    complaints = Complaints()
    with quiet_pipe():
        for number, trace in enumerate(traces_of(paths, complaints)):
            if number and form in ("table", "timeline"):
                sys.stdout.write("\n")
            with complaints.caught(trace.path):
                _show(trace, form, stats, selection)
                if trace.damage:
                    complain(f"warning: {trace.path}: {trace.damage}; what is before it is shown")
        sys.stdout.flush()
    sys.exit(2 if complaints.count else 0)


def _show(trace: TraceInput, form: str, stats: bool, selection: Selection) -> None:
    from recorder.json_lines import as_json, json_lines
    from recorder.stats import statistics
    from recorder.summary import summary
    from recorder.survey import text_form
    from recorder.table import table
    from recorder.timeline import timeline

    if selection:
        with trace.source() as source:
            selection.test(source.header.interface, source.threads)  # what it refuses is told first
    if stats and form == "json":
        write_lines([as_json({"path": trace.path, **statistics(trace, selection).as_json()})])
    elif form == "json":
        write_lines(json_lines(trace, selection))
    elif form == "text":
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure and not sys.stdout.isatty():
            reconfigure(encoding="utf-8")  # as it is read back, whatever the locale says
        write_lines(text_form(trace))
    else:
        rows = statistics(trace, selection).rows() if stats else summary(trace)
        print_parts = printer()
        print_parts([(trace.path, "bold")])
        for name, value in rows:
            print_parts([(f"  {name:<12}", "dim"), (value, "red" if name == "damage" else "")])
        if form == "timeline":
            print_parts([])
            for parts in timeline(trace, terminal_width() or _WIDTH, selection, blocks=_shows("▁✗─")):
                print_parts(parts)
        elif not stats:
            print_parts([])
            for parts in table(trace, terminal_width(), selection):
                print_parts(parts)


def _shows(text: str) -> bool:
    """Whether the output can hold a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
