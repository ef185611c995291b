"""Folders of traces: find them, read them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from recorder.calls import Trace
from recorder.errors import SynctapeError, TextError, TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.text import from_text, is_text
from recorder.trace import TraceReader, read_trace

__all__ = ["SUFFIX", "find_traces", "load", "recorded_interface"]

SUFFIX = ".tape"

Warn = Callable[[str], None]


def find_traces(paths: Iterable[str | Path]) -> list[Path]:
    """The trace files among files and below folders: each one once, sorted.

    A file that is named stands for itself, whatever its suffix.  Raises SynctapeError, in one line, for a path
    that does not exist, a folder without traces, and a named file without `.tape` that is no trace.
    """
    found = {trace.resolve(): trace for path in paths for trace in _traces_at(Path(path))}
    return sorted(found.values())


def _traces_at(path: Path) -> Iterator[Path]:
    if path.is_dir():
        traces = [file for file in path.rglob(f"*{SUFFIX}") if file.is_file()]
        if not traces:
            raise SynctapeError(f"{path}: no {SUFFIX} files in this folder or below it")
        yield from traces
        return
    if not path.exists():
        raise SynctapeError(f"{path}: no such file or folder")
    if path.suffix != SUFFIX and not _is_text_file(path):
        TraceReader(path).close()  # raises TraceError for what is no trace
    yield path


def load(path: str | Path, warn: Warn | None = None) -> Trace:
    """Read one trace, in the binary or the text form.

    Of a damaged one everything before the damage, after one line to `warn` (None: to stderr).  Raises
    TraceError for a file that is not a trace at all.
    """
    path = Path(path)
    if _is_text_file(path):
        return _load_text(path)
    trace = read_trace(path)
    if trace.damage is not None:
        (warn or _warn_on_stderr)(f"{path}: {trace.damage}; the {len(trace.calls)} calls before it are read")
    return trace


def recorded_interface(paths: Iterable[Path]) -> Interface:
    """The interface of the first trace that reads, our own if none does."""
    for path in paths:
        with contextlib.suppress(TraceError):
            if _is_text_file(path):
                return _load_text(path).interface
            with TraceReader(path) as reader:
                return reader.header.interface
    return IMAPI_SYNC_PROGRESS_CALLBACK


def _is_text_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_text(file.read(16))
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None


def _load_text(path: Path) -> Trace:
    try:
        return from_text(path.read_text("utf-8"))
    except (TextError, UnicodeDecodeError) as error:
        raise TraceError(str(error), path=path) from None


def _warn_on_stderr(line: str) -> None:
    print(f"synctape: warning: {line}", file=sys.stderr)
