"""A recording in several files, of which the oldest go: run.0001.tape, run.0002.tape and so on for run.tape.

Each file is a trace of its own, with its own tables of texts and threads, so that it can be read alone and nothing
grows with the length of the session.  A call is in the file in which it began, to its end.  So the change from
one file to the next is no event that all threads have to take part in: the file that is full is *retired*, new
calls go to its successor, and it is ended at a later change, when no call is open in it.  What still comes then
(a thread was suspended between writing that a call begins and noting it) is put before its end record.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recorder.calls import Header
from recorder.encoding import GOES_ON
from recorder.errors import TraceError
from recorder.facts import live_header
from recorder.session_input import part_path, parts
from recorder.writer import Redacting, TraceWriter

__all__ = ["LEAST", "Bounds", "Session", "open_writer", "parse_size"]

FILES = 8
"""Files that a session has at most."""

_RESERVE = 1 << 16  # bytes of each file for calls that are open when it is full
LEAST = FILES * 2 * _RESERVE
"""Bytes that a session needs at least."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_MAX_TOKENS = 1 << 16  # symbols of handles that are kept for the next file


def parse_size(text: str) -> int:
    """Bytes from `100M`, `1.5 GiB`, `2097152`; units are of 1024.  Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no size; write it as 100M or 2G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@dataclass(frozen=True)
class Bounds:
    """What a session may take on the disk, in bytes; with `keep_first` its first file is never dropped."""

    total: int
    keep_first: bool = True

    def __post_init__(self) -> None:
        if self.total < LEAST:
            raise ValueError(f"{self.total} bytes are too few for a recording in several files: {LEAST} at least")

    @property
    def limit(self) -> int:
        """Bytes after which a file is full."""
        return (self.total // FILES - _RESERVE) & ~0xFFFF


class Session:
    """The files of one recording.  `make` makes the writer of a file; `writer` is the one that new calls go to.

    Raises TraceError if a file of another session stands there, or the first one cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        bounds: Bounds,
        clock: Callable[[], int],
        make: Callable[[Path, Header, Session], TraceWriter],
    ):
        if there := parts(path):
            raise TraceError("exists already; it is left as it is", path=there[0][1])
        self.path = os.fspath(path)
        self.closed = False
        self._header = header
        self._bounds = bounds
        self._clock = clock
        self._make = make
        self._id = secrets.token_hex(8)
        self._number = 0
        self._start = clock()
        self._lock = threading.Lock()
        self._kept: list[Path] = []  # what may be dropped, and what could not be so far
        self._open: list[TraceWriter] = []  # retired and not ended
        self.writer: TraceWriter = self._next()
        self._first = self.writer.path

    def follow(self, writer: TraceWriter) -> TraceWriter:
        """The writer that a new call goes to instead of `writer`; makes the next file if the present one is full.

        Waits for nobody: while another thread makes the next file, calls go on in the full one.
        """
        if self.closed or not self.writer.due or self.writer.closed:
            return self.writer
        if not self._lock.acquire(blocking=False):  # or this very thread, before a signal handler called
            return self.writer
        try:
            full = self.writer
            if not self.closed and full.due and not full.closed:
                self._drop(len(self._kept) + 2 + self._bounds.keep_first - FILES)
                try:
                    self.writer = self._next()
                except TraceError as error:
                    full.stop(error.__context__ or error)  # what the system said, without the path
                    return full
                full.retire()
                if not (self._bounds.keep_first and full.path == self._first):
                    self._kept.append(Path(full.path))
                ended = [writer for writer in self._open if not writer.busy]
                self._open = [w for w in self._open if w not in ended] + [full]
                for past in (*self._open, *ended, self.writer) if self.closed else ended:  # closed meanwhile
                    past.finish(GOES_ON if past.retired else None)
        finally:
            self._lock.release()
        return self.writer

    def relieve(self) -> bool:
        """Make room on a full disk: whether an old file could be dropped."""
        return self._drop(1)

    def close(self, reason: str | None = None) -> None:
        """End all files."""
        if self.closed:
            return
        self.closed = True
        for writer in (*self._open, self.writer):
            writer.finish(GOES_ON if writer.retired else reason)

    def _next(self) -> TraceWriter:
        self._number += 1
        passed = max(self._clock() - self._start, 0) if self._number > 1 else 0
        created = self._header.created_ns
        header = replace(
            self._header,
            created_ns=created and created + passed,
            provenance={**self._header.provenance, "session": {"id": self._id, "file": self._number}},
        )
        return self._make(part_path(self.path, self._number), header, self)

    def _drop(self, count: int) -> bool:
        """Drop the oldest files; one that cannot be (a reader holds it open, on Windows) is tried again later."""
        dropped = 0
        for path in list(self._kept):
            if dropped >= count:
                break
            with contextlib.suppress(OSError, ValueError):  # ValueError: another thread was faster
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                self._kept.remove(path)
                dropped += 1
        return dropped > 0


def open_writer(
    path: str | os.PathLike[str],
    header: Header | None = None,
    *,
    bounds: Bounds | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
    kind: Callable[..., TraceWriter] | None = None,
    **options: Any,
) -> TraceWriter:
    """A TraceWriter; with `bounds` that of the first of several files, for all.

    `kind` is a subclass to make instead.
    """
    new = kind or TraceWriter
    if bounds is None:
        return new(path, header, clock=clock, **options)

    def make(part: Path, header: Header, session: Session) -> TraceWriter:
        writer = new(part, header, clock=clock, session=session, limit=bounds.limit, **options)
        before: TraceWriter | None = getattr(session, "writer", None)
        if before is not None and len(before.tokens) < _MAX_TOKENS:  # a handle keeps its symbol
            writer.tokens, writer._free_tokens = before.tokens, before._free_tokens
        return writer

    header = header or live_header()
    redact: Redacting | None = options.get("redact")
    return Session(path, header if redact is None else redact.header(header), bounds, clock, make).writer
