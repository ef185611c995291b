"""A tree of mail folders on disk, read and written through Python's `mailbox` module.

    root/            INBOX, a Maildir: cur new tmp
    root/.NAME/      a folder in it, again a Maildir with folders in it
    root/NAME.mbox   a folder as an mbox file

NAME is the folder's name as `disk_name` encodes it, so that every file system takes it and keeps two names
apart that differ in Unicode normalisation alone.  (A file system that ignores case still merges names that
differ in nothing else.)  A `FolderPath` is a tuple of names from the root down, () is INBOX.

A folder knows its messages by identity: a Maildir by the key in the file's name, which stays while flags
change; an mbox, which has no such key, by a hash of the content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import mailbox
import os
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

__all__ = ["INBOX", "CorruptFolder", "FolderPath", "MailFolder", "MailStore", "disk_name", "display", "true_name"]

FolderPath = tuple[str, ...]
INBOX: FolderPath = ()

_SAFE = frozenset(string.ascii_letters + string.digits + " _-()[]{}',;=@!~^&+#$")
_MBOX = ".mbox"


class CorruptFolder(OSError):
    """A folder's files are not what its format asks for."""


class MailFolder(Protocol):
    """An open folder."""

    def identities(self) -> list[str]:
        """The messages, always in the same order."""

    def read(self, identity: str) -> bytes | None:
        """A message's content, None if the message has gone meanwhile."""

    def add(self, content: bytes) -> str:
        """Store a message and return its identity; raises OSError(ENOSPC) where it does not fit."""

    def remove(self, identity: str) -> None:
        """Remove a message; one that has gone already is no error."""


class MailStore:
    """The folders below `root`; `budget` is how many bytes of messages may be added to it (None: any)."""

    def __init__(self, root: str | os.PathLike[str], *, budget: int | None = None) -> None:
        self.root = Path(root)
        self.budget = budget

    def create(self, folder: FolderPath = INBOX) -> None:
        """Make a folder; the one above it, or the root's parent, must exist.  No error if it is there."""
        directory = self.directory(folder)
        for part in (directory, *(directory / name for name in ("cur", "new", "tmp"))):
            part.mkdir(0o700, exist_ok=True)
        if folder:
            (directory / "maildirfolder").touch(0o600)

    def create_mbox(self, folder: FolderPath) -> None:
        """Make an empty folder that is an mbox file; the folder above it must exist."""
        mailbox.mbox(self.mbox_file(folder)).close()

    def folders(self) -> list[FolderPath]:
        """All folders, sorted, each after the one above it; raises OSError if the root cannot be listed.

        A folder that cannot be listed itself is given without what is in it: opening it will tell why.
        """
        return sorted([INBOX, *self._below(INBOX, self.root.iterdir())])

    @contextlib.contextmanager
    def open(self, folder: FolderPath) -> Iterator[MailFolder]:
        """Open a folder; raises FileNotFoundError if there is none, CorruptFolder if it is damaged."""
        if folder and self.mbox_file(folder).exists():
            with contextlib.closing(_MboxFolder(self.mbox_file(folder), self)) as opened:
                yield opened
        else:
            directory = self.directory(folder)
            for part in ("new", "cur"):
                if (directory / part).is_file():  # the error of a listing is another one on each system
                    raise CorruptFolder(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(directory / part))
            yield _MaildirFolder(directory, self)

    def directory(self, folder: FolderPath) -> Path:
        """Where a Maildir folder is, or would be."""
        return self.root.joinpath(*("." + disk_name(name) for name in folder))

    def mbox_file(self, folder: FolderPath) -> Path:
        """Where a folder's mbox file is, or would be; INBOX has none."""
        return self.directory(folder[:-1]) / (disk_name(folder[-1]) + _MBOX)

    def spend(self, size: int) -> None:
        """Take `size` bytes from the budget; raises OSError(ENOSPC) where that is more than is left."""
        if self.budget is not None:
            if size > self.budget:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self.root))
            self.budget -= size

    def _below(self, folder: FolderPath, entries: Iterable[Path]) -> Iterator[FolderPath]:
        for entry in entries:
            if entry.name.endswith(_MBOX):
                yield (*folder, true_name(entry.name.removesuffix(_MBOX)))
            elif entry.name.startswith(".") and entry.is_dir():
                child = (*folder, true_name(entry.name[1:]))
                yield child
                with contextlib.suppress(OSError):
                    yield from self._below(child, entry.iterdir())


class _Maildir(mailbox.Maildir):
    colon = "!" if os.name == "nt" else ":"  # NTFS takes a colon for the name of a stream


class _MaildirFolder:
    def __init__(self, path: Path, store: MailStore) -> None:
        self._path = path
        self._store = store
        path.stat()  # raises FileNotFoundError; `mailbox` has an error of its own
        self._box = _Maildir(path, create=False)

    def identities(self) -> list[str]:
        return sorted(self._box.iterkeys())

    def read(self, identity: str) -> bytes | None:
        try:
            return self._box.get_bytes(identity)
        except (KeyError, FileNotFoundError):
            if not self._path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path) from None
            return None

    def add(self, content: bytes) -> str:
        self._store.spend(len(content))
        return self._box.add(content)

    def remove(self, identity: str) -> None:
        self._box.discard(identity)


class _MboxFolder:
    def __init__(self, path: Path, store: MailStore) -> None:
        _check_mbox(path)
        self._store = store
        self._box: mailbox.Mailbox[Any] = mailbox.mbox(path, create=False)
        self._keys: dict[str, Any] = {}
        for key in self._box.iterkeys():
            self._keep(key)

    def _keep(self, key: Any) -> str:
        """Equal messages are told apart by a number."""
        digest = hashlib.sha256(self._box.get_bytes(key)).hexdigest()[:24]
        identity = next(i for n in itertools.count() if (i := f"{digest}-{n}") not in self._keys)
        self._keys[identity] = key
        return identity

    def identities(self) -> list[str]:
        return list(self._keys)

    def read(self, identity: str) -> bytes | None:
        key = self._keys.get(identity)
        return None if key is None else self._box.get_bytes(key)

    def add(self, content: bytes) -> str:
        self._store.spend(len(content))
        self._box.lock()
        return self._keep(self._box.add(content))

    def remove(self, identity: str) -> None:
        if identity in self._keys:
            self._box.lock()
            self._box.discard(self._keys.pop(identity))

    def close(self) -> None:
        self._box.close()


def display(folder: FolderPath) -> str:
    """A folder as people read it."""
    return "/".join(folder) or "INBOX"


def disk_name(name: str) -> str:
    """A folder's name as a file name: %XXXX for each UTF-16 unit that some file system might not keep.

    Raises ValueError for an empty name.
    """
    if not name:
        raise ValueError("a folder's name is empty")
    inner = range(len(name) - len(name.lstrip(" ")), len(name.rstrip(" ")))
    return "".join(c if c in _SAFE and n in inner else _escape(c) for n, c in enumerate(name))


def true_name(name: str) -> str:
    """`disk_name` back; what is not an escape stands for itself."""
    return re.sub(r"(?:%[0-9A-F]{4})+", _unescape, name)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex().upper()
    return "".join(f"%{units[at : at + 4]}" for at in range(0, len(units), 4))


def _unescape(escapes: re.Match[str]) -> str:
    return bytes.fromhex(escapes[0].replace("%", "")).decode("utf-16-be", "surrogatepass")


def _check_mbox(path: Path) -> None:
    """`mailbox` takes any file without a "From " line for an empty folder."""
    with path.open("rb") as file:
        start = file.read(5)
    if start not in (b"", b"From "):
        raise CorruptFolder(errno.EILSEQ, "not an mbox file", os.fspath(path))
