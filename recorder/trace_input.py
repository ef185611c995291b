"""What a command reads: a trace file, a session's files or a text form, gone through as often as need be."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from recorder.calls import Event, Header, Thread, Trace, TraceDamage
from recorder.errors import TextError, TraceError
from recorder.session_input import SessionReader, parts
from recorder.text import from_text, is_text
from recorder.trace import TraceReader

__all__ = ["Source", "TraceInput", "trace_files"]


class Source(Protocol):
    """A trace that is gone through once.  `threads` and `damage` are complete when `events` has ended."""

    header: Header
    threads: list[Thread]
    damage: TraceDamage | None

    def events(self) -> Iterator[Event]: ...

    def close(self) -> None: ...


class _Loaded:
    """A trace in memory as a Source."""

    def __init__(self, trace: Trace):
        self.header = trace.header
        self.threads = list(trace.threads)
        self.damage = trace.damage
        self._trace = trace

    def events(self) -> Iterator[Event]:
        return iter(self._trace.events)

    def close(self) -> None:
        pass


class TraceInput:
    """A trace file, or a trace in text form, that can be gone through again and again.

    Where there is no file at `path` but those of a session that was recorded to it, run.0001.tape and so on, they
    are the trace, one after the other.

    `damage` is that of the last pass, if it went to the end.  Raises TraceError for what is neither.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.fspath(path)
        self._trace: Trace | None = None
        self._data: bytes | None = None
        self.damage: TraceDamage | None = None
        self.dropped = 0  # files of a session, as of the last pass
        self.cut = False  # whether there was other damage than that
        self._session = not os.path.lexists(path) and bool(parts(path))
        if self._session:
            SessionReader(path).close()  # raises TraceError for what is no trace
            return
        try:
            with open(path, "rb") as file:
                if encoding := _encoding(file.peek(64)):
                    self._trace = from_text(file.read().decode(encoding))
                elif not file.seekable():
                    self._data = file.read()
        except OSError as error:
            raise TraceError(f"cannot be read: {error.strerror or error}", path=path) from None
        except (TextError, UnicodeError) as error:
            raise TraceError(str(error), path=path) from None

    @property
    def file(self) -> str | None:
        """The path of a trace file that can be opened again; None for a text form, a pipe, and several files."""
        return self.path if self._trace is None and self._data is None and not self._session else None

    @contextlib.contextmanager
    def source(self, skipped: Callable[[Any], object] | None = None) -> Iterator[Source]:
        """A fresh pass through the trace; `skipped` as TraceReader takes it."""
        opened: Source
        if self._trace is not None:
            opened = _Loaded(self._trace)
        elif self._session:
            opened = SessionReader(self.path)
        elif self._data is not None:
            opened = TraceReader(io.BytesIO(self._data), name=self.path, skipped=skipped)
        else:
            opened = TraceReader(self.path, skipped=skipped)
        with contextlib.closing(opened) as source:
            try:
                yield source
            finally:
                self.damage = source.damage
                self.dropped, self.cut = 0, source.damage is not None
                if isinstance(source, SessionReader):
                    self.dropped, self.cut = len(source.dropped), source.cut

    def read(self) -> Trace:
        """The whole of it."""
        with self.source() as source:
            events = tuple(source.events())
            return Trace(source.header, events, tuple(source.threads), source.damage)


def _encoding(head: bytes) -> str | None:
    """The encoding of a text form that begins so, None for other files; PowerShell's `>` makes UTF-16."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16" if is_text(head[:40].decode("utf-16", "replace").encode()) else None
    return "utf-8-sig" if is_text(head) else None


def trace_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, and for a folder all *.tape below it.  Raises TraceError for a folder without any."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*.tape") if p.is_file())
    if not found:
        raise TraceError("there is no trace (*.tape) below this folder", path=path)
    return found
