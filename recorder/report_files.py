"""What reports of all kinds share: text that cannot harm them, and files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from recorder.errors import SynctapeError

__all__ = ["require_folder", "shown", "write_whole"]


def shown(text: str, limit: int = 400) -> str:
    """The text on one line, with what does not print escaped, cut to so many characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def require_folder(path: str | Path) -> Path:
    """The path, whose folder is there now.  Raises SynctapeError if it cannot be made, or is what is named."""
    path = Path(path)
    if path.is_dir():
        raise SynctapeError(f"{path}: is a folder, not a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynctapeError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path


def write_whole(path: Path, data: bytes) -> None:
    """The file appears complete or not at all.  Raises SynctapeError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            unfinished.write_bytes(data)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise SynctapeError(f"{path}: cannot be written: {error.strerror or error}") from None
