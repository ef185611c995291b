"""What can be wrong with input, as exceptions whose text is one line a person can act on.

    SynctapeError
    +-- TraceError       a file that is not a readable trace; `path` and `offset` say where
    +-- TextError        a line of the text form that does not parse
    +-- InterfaceError   a method, parameter or interface that does not exist or does not fit

The commands print the text on stderr and end with exit code 2.  What happens *inside* a target or a provider
(an exception, a crash, a hang) is never one of these: it is an `Outcome`.
"""

from __future__ import annotations

import os

__all__ = ["InterfaceError", "SynctapeError", "TextError", "TraceError"]


class SynctapeError(Exception):
    """Root of every error that synctape raises on purpose."""


class TraceError(SynctapeError):
    """A file cannot be read as a trace at all, or cannot be written.

    `path` is the file (None for a stream), `offset` the byte where reading stopped (None where that says
    nothing).
    """

    def __init__(self, message: str, *, path: str | os.PathLike[str] | None = None, offset: int | None = None):
        self.path = None if path is None else os.fspath(path)
        self.offset = offset
        super().__init__(f"{self.path}: {message}" if self.path is not None else message)


class TextError(SynctapeError):
    """The text form does not parse; `line` is the 1-based line number."""

    def __init__(self, message: str, line: int):
        self.line = line
        super().__init__(f"line {line}: {message}")


class InterfaceError(SynctapeError):
    """An interface, method or parameter is unknown, or a trace and a target do not speak the same one."""
