"""The command `diff`: parse, compare, print, exit.

0    the same calls, arguments and answers
1    differences
2    bad input or usage
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from recorder.common_cli import complain, printer, quiet_pipe, write_lines

if TYPE_CHECKING:
    from recorder.trace_input import TraceInput

__all__ = ["diff"]


@click.command()
@click.argument("first", metavar="A", type=click.Path())
@click.argument("second", metavar="B", type=click.Path())
@click.option(
    "-U", "--context", default=3, metavar="N", type=click.IntRange(min=0), help="Equal calls to show around."
)
@click.option("--times", is_flag=True, help="When calls began and how long they took counts, too.")
@click.option("--ignore-threads", is_flag=True, help="On which thread a call was made does not count.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing, only give the exit code.")
@click.option("--json", "as_json_lines", is_flag=True, help="One JSON object a difference, and a summary.")
def diff(
    first: str, second: str, context: int, times: bool, ignore_threads: bool, quiet: bool, as_json_lines: bool
) -> None:
    """Tell which calls of the traces A and B differ, aligned as a text diff would.

    A line with - is a call of A, one with + a call of B; a line with ? under them tells what differs in a call
    that both have: an argument, the answer, the thread.  Exits with 0 if nothing differs, with 1 if something
    does, with 2 if a trace cannot be read.
    """
    from recorder.diff import compare, difference_json, difference_lines
    from recorder.json_lines import as_json

    traces = [_opened(path) for path in (first, second)]
    compared = compare(*traces, times=times, threads=not ignore_threads)
    for trace in traces:
        if trace.damage:
            complain(f"warning: {trace.path}: {trace.damage}; what is before it is compared")
    with quiet_pipe():
        if as_json_lines and not quiet:
            write_lines(map(as_json, difference_json(compared)))
        elif not quiet and not compared.same:
            print_parts = printer()
            for parts in difference_lines(compared, context):
                print_parts(parts)
        sys.stdout.flush()
    sys.exit(0 if compared.same else 1)


def _opened(path: str) -> TraceInput:
    from recorder.trace_input import TraceInput

    return TraceInput(path)
