"""What the recorder's commands share: complaints in a line, the traces that arguments name, lines and pipes."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from recorder.errors import SynctapeError

if TYPE_CHECKING:
    from recorder.short import Parts
    from recorder.trace_input import TraceInput

__all__ = [
    "Complaints",
    "complain",
    "printer",
    "quiet_pipe",
    "selection_options",
    "terminal_width",
    "traces_of",
    "write_lines",
]


def complain(message: str) -> None:
    sys.stdout.flush()
    click.echo(f"synctape: {message}", err=True)


class Complaints:
    """Input that cannot be used is told in a line and counted, and the next one is taken.

    `heard` is told of it, too: the path, and the line.
    """

    def __init__(self, heard: Callable[[str, str], object] | None = None) -> None:
        self.count = 0
        self._heard = heard

    @contextlib.contextmanager
    def caught(self, path: str) -> Iterator[None]:
        try:
            yield
        except SynctapeError as error:
            self.add(str(error), path)
        except RecursionError:
            self.add(f"{path}: has a header that is nested too deeply", path)
        except OverflowError:
            self.add(f"{path}: has a time that is out of range", path)
        except OSError as error:
            if error.filename is None and error.errno in _PIPE_ERRORS:
                raise
            self.add(f"{path}: cannot be read: {error.strerror or error}", path)

    def add(self, message: str, path: str) -> None:
        complain(message)
        if self._heard is not None:
            self._heard(path, message)
        self.count += 1


def traces_of(paths: Iterable[str], complaints: Complaints) -> Iterator[TraceInput]:
    """The traces that the arguments name, opened one after the other."""
    from recorder.trace_input import TraceInput, trace_files

    for path in paths:
        with complaints.caught(path):
            for file in trace_files(path):
                with complaints.caught(str(file)):
                    yield TraceInput(file)


_PIPE_ERRORS = (errno.EPIPE, errno.EINVAL)  # EINVAL: what Windows says


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """A reader that closes the pipe (`| head`) has seen enough: no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _PIPE_ERRORS:
            raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def write_lines(lines: Iterable[str]) -> None:
    write = sys.stdout.write
    for line in lines:
        write(line + "\n")


def terminal_width() -> int | None:
    """Columns of the terminal that the output goes to; None if it goes elsewhere."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def printer() -> Callable[[Parts], None]:
    """What prints a line in parts: in colours on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        return lambda parts: write_lines(["".join(text for text, _ in parts).rstrip()])
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    return lambda parts: console.print(Text.assemble(*parts), soft_wrap=True)


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose calls, handed to the command as one Selection, its parameter `selection`."""

    @click.option("--method", "methods", multiple=True, metavar="NAME", help="Only calls of this method.")
    @click.option(
        "--thread", "threads", multiple=True, metavar="T", help="Only calls on this thread: t1, or its name."
    )
    @click.option("--failed", is_flag=True, help="Only calls that failed or never ended.")
    @click.option("--between", metavar="A..B", help="Only calls that ran within 1.5..3, 2min.. or ..300ms.")
    @functools.wraps(command)
    def with_selection(
        *arguments: Any,
        methods: tuple[str, ...],
        threads: tuple[str, ...],
        failed: bool,
        between: str | None,
        **options: Any,
    ) -> None:
        from recorder.selection import Selection, parse_between

        since, until = (None, None) if between is None else parse_between(between)
        command(*arguments, **options, selection=Selection(methods, threads, failed, since, until))

    return with_selection
