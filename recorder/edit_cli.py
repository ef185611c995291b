"""The commands `trim` and `edit`: parse, make one trace of another, write it, exit.

0    written
2    bad input or usage; nothing is written
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from recorder.common_cli import complain, quiet_pipe, selection_options, write_lines
from recorder.errors import SynctapeError, TextError, TraceError

if TYPE_CHECKING:
    from recorder.selection import Selection

__all__ = ["edit", "trim"]


@click.command()
@click.argument("path", metavar="TRACE", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="OUT", help="The trace to write.")
@click.option("--calls", metavar="A..B", help="Only these calls, both ends included: 10..40, 10.., ..40 or 7.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@selection_options
def trim(*, path: str, output: str, calls: str | None, force: bool, selection: Selection) -> None:
    """Write a part of TRACE, the calls that are chosen, as a trace of its own.

    Times and threads stay as they were, calls are numbered anew, and the header says what was kept of how much.
    """
    from recorder.trace import write_trace
    from recorder.trace_input import TraceInput
    from recorder.trim import parse_calls
    from recorder.trim import trim as trimmed

    if calls is None and not selection:
        raise click.UsageError("say which calls to keep, by --calls, --method, --thread, --failed or --between")
    first, last = (0, None) if calls is None else parse_calls(calls)
    _check_free(output, force)
    trace = TraceInput(path)
    others: list[tuple[int, bytes]] = []
    part = trimmed(trace, first, last, selection, others)
    write_trace(part, output, overwrite=force, others=others)
    if trace.damage:
        complain(f"warning: {path}: {trace.damage}; the calls are from before it")
    kept = part.header.provenance["trimmed"]
    click.echo(f"{output}: {kept['kept']} of {kept['of']} calls")


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(allow_dash=True))
@click.option("-o", "--output", type=click.Path(), metavar="OUT", help="The file to write.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
def edit(path: str, output: str | None, force: bool) -> None:
    """Turn a trace into JSON lines, to change a call by hand, and JSON lines back into a trace.

    \b
    synctape edit run.tape -o run.jsonl        a line a call; without -o it is printed
    synctape edit run.jsonl -o changed.tape    back

    Which way it goes is told by what FILE holds; - reads JSON lines from stdin.  What was not changed comes back
    as it was.  Lines may be removed, moved, copied and added: calls are numbered anew.
    """
    from recorder.edit import edit_lines, from_edit_lines
    from recorder.report_files import write_whole
    from recorder.trace import write_trace
    from recorder.trace_input import TraceInput

    if output is not None:
        _check_free(output, force)
    lines = _json_lines(path)
    if lines is None:
        trace = TraceInput(path)
        if output is None:
            with quiet_pipe():
                reconfigure = getattr(sys.stdout, "reconfigure", None)
                if reconfigure and not sys.stdout.isatty():
                    reconfigure(encoding="utf-8")  # as it is read back, whatever the locale says
                write_lines(edit_lines(trace))
                sys.stdout.flush()
        else:
            from pathlib import Path

            write_whole(Path(output), "".join(f"{line}\n" for line in edit_lines(trace)).encode())
        if trace.damage:
            complain(f"warning: {path}: {trace.damage}; what is before it is written")
        return
    if output is None:
        raise click.UsageError(f"{path} holds JSON lines: give the trace to write with -o")
    try:
        edited = from_edit_lines(lines)
    except TextError as error:
        raise TraceError(str(error), path=path) from None
    write_trace(edited.trace, output, overwrite=force, others=edited.others)
    calls = len(edited.trace.calls)
    click.echo(f"{output}: {calls} call{'' if calls == 1 else 's'}")


def _check_free(output: str, force: bool) -> None:
    if os.path.isdir(output):
        raise SynctapeError(f"{output}: is a folder, not a file")
    if os.path.lexists(output) and not force:
        raise TraceError("exists already; give another name, or --force to replace it", path=output)


def _json_lines(path: str) -> list[str] | None:
    """The lines of a file of JSON lines; None if it is something else."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                if file.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
                    return None
                data = file.read()
        return data.decode("utf-8-sig").split("\n")
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 at byte {error.start}", path=path) from None
