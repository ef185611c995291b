"""The command `watch`: parse, follow a trace that is being written, print a line a call, exit.

0    the trace has come to its end record, or to damage (with a warning), or its reader has seen enough
2    bad input or usage
130  interrupted
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from recorder.common_cli import complain, printer, quiet_pipe, selection_options, terminal_width, write_lines

if TYPE_CHECKING:
    from recorder.calls import PlayedCall
    from recorder.following import Begun, Finished, Seen
    from recorder.selection import Selection

__all__ = ["watch"]

_INTERRUPTED = 128 + 2
_PAUSE = 0.1  # seconds between two looks
_WIDTHS = (5, 11, 6, 48, 6, 7)  # at least; what is still to come is not known


@click.command()
@click.argument("path", metavar="TRACE", type=click.Path())
@click.option(
    "-n",
    "--last",
    default=10,
    metavar="N",
    type=click.IntRange(min=0),
    help="Of the calls that are there already, show the last N.  [default: 10]",
)
@click.option("--from-start", is_flag=True, help="Show all calls that are there already.")
@click.option("--json", "as_json_lines", is_flag=True, help="One JSON object a line, as `show --json` prints.")
@selection_options
def watch(*, path: str, last: int, from_start: bool, as_json_lines: bool, selection: Selection) -> None:
    """Follow TRACE while it is written, as `tail -f` would: one line a call, until the trace ends or Ctrl-C.

    TRACE need not be there yet.  Of a recording in several files, run.0001.tape, run.0002.tape ..., name
    run.tape to follow the newest one, or any one; when it ends, the one after it is followed.

    A call is printed when it has ended; one that takes long is printed as still running, and once more then.
    """
    from recorder.following import follow

    view = _json_view if as_json_lines else _table_view
    try:
        with quiet_pipe():
            view(_paced(follow(path)), None if from_start else last, selection)
            sys.stdout.flush()
    except KeyboardInterrupt:
        with quiet_pipe():
            sys.stdout.flush()
        sys.exit(_INTERRUPTED)


def _paced(seen: Iterable[Seen]) -> Iterator[Seen]:
    """Wait where there is nothing new, and say once what for."""
    from recorder.following import Quiet

    told = ""
    for item in seen:
        yield item
        if isinstance(item, Quiet):
            if item.waiting and item.waiting != told:
                complain(f"waiting: {item.waiting}")
            told = item.waiting or told
            sys.stdout.flush()
            time.sleep(_PAUSE)


def _table_view(seen: Iterable[Seen], last: int | None, selection: Selection) -> None:
    from recorder.table import Columns, row_of

    print_parts, columns = printer(), Columns(terminal_width(), _WIDTHS)
    begun: list[Begun] = []

    def heading(begin: Begun) -> None:
        begun[:] = [begin]
        print_parts([(f"==> {begin.path} <==", "bold")])

    def call(played: PlayedCall) -> None:
        for parts in columns.lines([row_of(played, begun[0].header.interface)]):
            print_parts(parts)

    def end(finished: Finished) -> None:
        calls = f"{finished.calls} call{'' if finished.calls == 1 else 's'}"
        print_parts([(f"{finished.path} has ended after {calls}", "dim")])

    _view(seen, last, selection, heading=heading, call=call, end=end)


def _json_view(seen: Iterable[Seen], last: int | None, selection: Selection) -> None:
    from recorder.json_lines import as_json, call_json, end_json, header_json

    begun: list[Begun] = []

    def heading(begin: Begun) -> None:
        begun[:] = [begin]
        write_lines([as_json(header_json(str(begin.path), begin.header))])

    def end(finished: Finished) -> None:
        write_lines([as_json(end_json(finished.calls, begun[0].threads, finished.damage))])

    _view(seen, last, selection, heading=heading, call=lambda p: write_lines([as_json(call_json(p))]), end=end)


def _view(
    seen: Iterable[Seen],
    last: int | None,
    selection: Selection,
    *,
    heading: Callable[[Begun], None],
    call: Callable[[PlayedCall], None],
    end: Callable[[Finished], None],
) -> None:
    """Hand on what is seen: of the calls that are there when watching begins the last ones, then each."""
    from recorder.following import Begun, Ended, Finished

    before: deque[PlayedCall] | None = deque(maxlen=last)
    taken: Callable[[PlayedCall], bool] = bool
    for item in seen:
        if isinstance(item, Begun):
            taken = selection.test(item.header.interface, item.threads)
            heading(item)
        elif isinstance(item, Ended):
            if not taken(item.played):
                continue
            if before is None:
                call(item.played)
            else:
                before.append(item.played)
        else:
            for played in before or ():
                call(played)
            before = None
            if isinstance(item, Finished):
                end(item)
                if item.damage:
                    complain(f"warning: {item.path}: {item.damage}")
