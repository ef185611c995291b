"""Folders of traces, here or behind a URL: find them, read them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from recorder.calls import Trace
from recorder.errors import SynctapeError, TextError, TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.session_input import parts
from recorder.text import from_text, is_text
from recorder.trace import TraceReader, load_trace, read_trace
from recorder.trace_input import TraceInput
from replayer.locations import SUFFIX, RemoteFile, TraceFile, is_url, remote_traces

__all__ = ["SUFFIX", "Corpus", "Member", "find_traces", "load", "read_corpus", "recorded_interface"]

Warn = Callable[[str], None]


def find_traces(paths: Iterable[str | Path]) -> list[TraceFile]:
    """The trace files among files and below folders: each one once, sorted, those behind URLs last.

    A file that is named stands for itself, whatever its suffix.  Raises SynctapeError, in one line, for a path
    that does not exist, a folder without traces, and a named file without `.tape` that is no trace.
    """
    here: dict[Path, Path] = {}
    remote: set[RemoteFile] = set()
    for path in paths:
        if isinstance(path, str) and is_url(path):
            remote.update(remote_traces(path))
        else:
            here |= {trace.resolve(): trace for trace in _traces_at(Path(path))}
    return [*sorted(here.values()), *sorted(remote)]


def _traces_at(path: Path) -> Iterator[Path]:
    if path.is_dir():
        traces = [file for file in path.rglob(f"*{SUFFIX}") if file.is_file()]
        if not traces:
            raise SynctapeError(f"{path}: no {SUFFIX} files in this folder or below it")
        yield from traces
        return
    if _is_session(path):
        yield path
        return
    if not path.exists():
        raise SynctapeError(f"{path}: no such file or folder")
    if path.suffix != SUFFIX and not _is_text_file(path):
        TraceReader(path).close()  # raises TraceError for what is no trace
    yield path


def load(path: str | TraceFile, warn: Warn | None = None) -> Trace:
    """Read one trace, in the binary or the text form.

    Of a damaged one everything before the damage, after one line to `warn` (None: to stderr).  Raises
    TraceError for a file that is not a trace at all.
    """
    if isinstance(path, str):
        path = remote_traces(path)[0] if is_url(path) else Path(path)
    trace = _load_remote(path) if isinstance(path, RemoteFile) else _load_here(path)
    if trace.damage is not None:
        (warn or _warn_on_stderr)(f"{path}: {trace.damage}; the {len(trace.calls)} calls before it are read")
    return trace


class Member(NamedTuple):
    """A trace of a corpus; `name` is its file's path below the folder it was found in, with slashes."""

    name: str
    file: TraceFile
    trace: Trace


@dataclass
class Corpus:
    """What was found in some places: traces, damaged ones too, and files that are none, each with why."""

    members: list[Member] = field(default_factory=list)
    unreadable: list[tuple[TraceFile, str]] = field(default_factory=list)


def read_corpus(paths: Iterable[str | Path]) -> Corpus:
    """Read everything.  Raises SynctapeError where nothing is to be found, as `find_traces` does."""
    corpus = Corpus()
    known: set[TraceFile] = set()
    for path in paths:
        for file in find_traces([path]):
            identity = file.resolve() if isinstance(file, Path) else file
            if identity in known:
                continue
            known.add(identity)
            try:
                corpus.members.append(Member(_below(file, path), file, load(file, lambda line: None)))
            except TraceError as error:
                corpus.unreadable.append((file, str(error).removeprefix(f"{file}: ")))
    return corpus


def _below(file: TraceFile, path: str | Path) -> str:
    if isinstance(file, RemoteFile):
        return file.below
    return file.relative_to(path).as_posix() if file != Path(path) else file.name


def _load_here(path: Path) -> Trace:
    if _is_session(path):
        return TraceInput(path).read()
    if _is_text_file(path):
        return _load_text(path.read_bytes(), path)
    return read_trace(path)


def _load_remote(file: RemoteFile) -> Trace:
    data = file.read_bytes()
    return _load_text(data, file) if is_text(data[:16]) else load_trace(data, name=str(file))


def recorded_interface(paths: Iterable[TraceFile]) -> Interface:
    """The interface of the first trace that reads, our own if none does."""
    for path in paths:
        with contextlib.suppress(TraceError):
            if isinstance(path, RemoteFile):
                return _load_remote(path).interface
            if _is_session(path) or _is_text_file(path):
                return _load_here(path).interface
            with TraceReader(path) as reader:
                return reader.header.interface
    return IMAPI_SYNC_PROGRESS_CALLBACK


def _is_session(path: Path) -> bool:
    """Whether there are the files of a session that was recorded to `path`, rather than one."""
    return not path.exists() and bool(parts(path))


def _is_text_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_text(file.read(16))
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None


def _load_text(data: bytes, path: TraceFile) -> Trace:
    try:
        return from_text(data.decode().replace("\r\n", "\n").replace("\r", "\n"))
    except (TextError, UnicodeDecodeError) as error:
        raise TraceError(str(error), path=str(path)) from None


def _warn_on_stderr(line: str) -> None:
    print(f"synctape: warning: {line}", file=sys.stderr)
