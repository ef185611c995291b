"""A provider of ours that really synchronises something: a tree of mail folders into another one.

`generate_account` makes an account, `synchronise` syncs it into a local store, `start_sync` does so in the
background as real providers do (`mail_sync` tells what is reported when).  Beside them stand scenarios: each
takes the callback only, makes an account in a temporary folder, syncs it on a thread of its own and returns
when that has ended, so that

    synctape record recorder.samples.mail_folders:provider -o run.tape

records a run.  `provider` is `succeeds`.  The same scenario makes the same calls every time.
"""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recorder import hresult
from recorder.calls import SYNC_EVENT
from recorder.samples.mail_account import generate_account, generate_message
from recorder.samples.mail_store import INBOX, MailStore
from recorder.samples.mail_sync import DOWNLOAD, SYNC_GLOBAL_HEADERS, UPLOAD, start_sync, synchronise

__all__ = [
    "MailStore",
    "cancelled",
    "empty",
    "fails_half_way",
    "folder_vanishes",
    "generate_account",
    "headers_only",
    "large",
    "provider",
    "resync",
    "start_sync",
    "succeeds",
    "synchronise",
    "two_threads",
    "unreadable_folder",
    "upload",
]

MAPI_E_USER_CANCEL = hresult.parse("MAPI_E_USER_CANCEL")

SEED = 20100
"""Every scenario makes its account from this seed, so its calls are the same on each run."""


class _Meddler:
    """Passes every call on, and at the Progress numbered `at` does something and answers with its result."""

    def __init__(self, callback: Any, at: int, act: Callable[[], int | None]) -> None:
        self._callback = callback
        self._left = at
        self._act = act

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        answer = self._callback.Progress(text, index, maximum)
        self._left -= 1
        return answer if self._left else self._act()

    def Error(self, result: int, text: str) -> Any:
        return self._callback.Error(result, text)

    def Done(self, handle: object, result: int) -> Any:
        return self._callback.Done(handle, result)


@contextlib.contextmanager
def _stores(messages: int, *, budget: int | None = None) -> Iterator[tuple[MailStore, MailStore]]:
    """A generated account and a place to sync it to, in a folder that goes away in the end."""
    with tempfile.TemporaryDirectory(prefix="synctape-mail-") as folder:
        source = generate_account(Path(folder) / "source", seed=SEED, messages=messages)
        yield source, MailStore(Path(folder) / "destination", budget=budget)


def _sync(source: MailStore, destination: MailStore, callback: Any, **options: Any) -> None:
    """A sync in the background, seen to its end; its event is the one that the recorder knows as sync-event."""
    start_sync(source, destination, callback, **{"handle": SYNC_EVENT, **options}).join()


def succeeds(callback: Any) -> None:
    """A first sync, everything copied."""
    with _stores(24) as stores:
        _sync(*stores, callback)


provider = succeeds


def empty(callback: Any) -> None:
    """An account with nothing but an empty INBOX; Done has no event to hand over."""
    with tempfile.TemporaryDirectory(prefix="synctape-mail-") as folder:
        source = generate_account(
            Path(folder) / "source", seed=SEED, messages=0, folders=(INBOX,), mbox_folders=()
        )
        _sync(source, MailStore(Path(folder) / "destination"), callback, handle=None)


def large(callback: Any) -> None:
    """A few hundred messages."""
    with _stores(400) as stores:
        _sync(*stores, callback)


def resync(callback: Any) -> None:
    """The second sync of an account in which two messages are new and some have gone."""
    with _stores(24) as (source, destination):
        _sync(source, destination, None)
        rng = random.Random(SEED)
        for folder in (INBOX, ("Архив 2019",)):
            with source.open(folder) as opened:
                for identity in opened.identities()[:1]:
                    opened.remove(identity)
                opened.add(generate_message(rng))
        _sync(source, destination, callback)


def headers_only(callback: Any) -> None:
    """Headers first; no event to hand over."""
    with _stores(24) as stores:
        _sync(*stores, callback, flags=DOWNLOAD | SYNC_GLOBAL_HEADERS, handle=None)


def upload(callback: Any) -> None:
    """The local store's folders and messages are sent to an account that has none."""
    with _stores(20) as (local, account):
        account.create()
        _sync(account, local, callback, flags=UPLOAD)


def two_threads(callback: Any) -> None:
    """Folders on one thread, then contents and Done on another; no two calls overlap."""
    with _stores(24) as stores:
        _sync(*stores, callback, hierarchy_thread=True)


def fails_half_way(callback: Any) -> None:
    """The destination's disk is full after some messages."""
    with _stores(24, budget=8000) as stores:
        _sync(*stores, callback)


def unreadable_folder(callback: Any) -> None:
    """One Maildir folder and one mbox file are damaged; the rest is copied."""
    with _stores(24) as (source, destination):
        cur = source.directory(("Entwürfe",)) / "cur"
        cur.rmdir()
        cur.touch()
        source.mbox_file(("Архив 2019",)).write_bytes(b"\0" * 512)
        _sync(source, destination, callback)


def folder_vanishes(callback: Any) -> None:
    """A folder, with those in it, is deleted in the source before its last message is copied."""
    with _stores(24) as (source, destination):
        delete = functools.partial(shutil.rmtree, source.directory(("Entwürfe",)))
        _sync(source, destination, _Meddler(callback, 30, delete))


def cancelled(callback: Any) -> None:
    """Cancelled in the middle: the callback is called as ever, then MAPI_E_USER_CANCEL is answered for it."""
    with _stores(24) as (source, destination):
        _sync(source, destination, _Meddler(callback, 30, lambda: MAPI_E_USER_CANCEL))
