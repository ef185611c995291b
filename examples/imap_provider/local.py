"""The local copy: a Maildir tree, and beside it what the last sync knew of the server.

STATE_FILE holds for each folder what the server's UIDs were valid for, which local message each UID has become,
and of which only the headers are here.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recorder.samples.mail_store import FolderPath, MailFolder, MailStore, disk_name

__all__ = ["STATE_FILE", "Known", "Local"]

STATE_FILE = "imap-state.json"


@dataclass
class Known:
    """What is known of a folder: local messages by UID, and the UIDs whose headers alone are here."""

    validity: int | None = None
    messages: dict[int, str] = field(default_factory=dict)
    headers: set[int] = field(default_factory=set)


class Local:
    """The folders below `root`; `disk` is how many bytes may be added to them (None: any)."""

    def __init__(self, root: Path, disk: int | None = None):
        self._store = MailStore(root, budget=disk)
        self._file = root / STATE_FILE
        self._known: dict[str, Known] = {}

    def load(self) -> None:
        """Make the root if it is not there, and read what the last sync knew.  Raises OSError."""
        self._store.root.parent.mkdir(parents=True, exist_ok=True)
        self._store.create()
        try:
            state = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise OSError(errno.EILSEQ, "not a state file", os.fspath(self._file)) from error
        self._known = {
            name: Known(
                entry["validity"], {int(u): k for u, k in entry["messages"].items()}, set(entry["headers"])
            )
            for name, entry in state.items()
        }

    def save(self) -> None:
        state = {
            name: {"validity": known.validity, "messages": known.messages, "headers": sorted(known.headers)}
            for name, known in self._known.items()
        }
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(state), "utf-8")
        fresh.replace(self._file)

    def known(self, folder: FolderPath) -> Known:
        """What is known of a folder, to be changed as messages come and go."""
        return self._known.setdefault("/".join(disk_name(name) for name in folder), Known())

    def folders(self) -> list[FolderPath]:
        return self._store.folders()

    def create(self, folder: FolderPath) -> None:
        """Make a folder, and those above it."""
        for depth in range(1, len(folder) + 1):
            self._store.create(folder[:depth])

    @contextmanager
    def open(self, folder: FolderPath) -> Iterator[MailFolder]:
        with self._store.open(folder) as opened:
            yield opened
