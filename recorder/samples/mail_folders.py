"""A provider of ours that really synchronises something: a tree of mail folders into another one.

The source plays the server, the destination the local store.  A sync goes through its steps in this order,
each if its flag is set (MAPISIB's flags, mapisib.md):

    SYNC_UPLOAD_HIERARCHY    make the destination's folders in the source
    SYNC_DOWNLOAD_HIERARCHY  make the source's folders in the destination
    SYNC_UPLOAD_CONTENTS     send messages that are new in the destination, remove those deleted there
    SYNC_DOWNLOAD_CONTENTS   copy messages that are new in the source, remove those deleted there;
                             with SYNC_GLOBAL_HEADERS their headers only, until a later sync without it

It is incremental: which messages both sides have is kept in the destination (`STATE_FILE`).  Folders are
never removed.  Contents are exchanged between the folders that both sides have.

What it reports, and how it takes what the host answers, keeps to the contract (interface.md, 3.2):

- Progress counts folders, then messages; the text names the first message of a folder and every fifth one,
  NULL goes with those in between.  Large accounts report at most `UPDATES` times a step between texts.
- An unreadable, damaged or vanished folder is an Error; the sync goes on and ends in
  MAPI_W_PARTIAL_COMPLETION.  A message that vanishes is passed over in silence.  A full disk ends the sync.
- A failure answered to Progress is taken for "stop" (our choice, U4 and U10 leave it open): one Error and
  Done say MAPI_E_USER_CANCEL, what was copied stays.  An exception that comes out of a callback counts as
  the failure RPC_E_SERVERFAULT, as between COM apartments.  Answers to Error and Done change nothing.
- Done comes exactly once and last, whatever happened.

The functions under "Scenarios" take the callback only, so `synctape record` can drive them:

    synctape record recorder.samples.mail_folders:provider -o run.tape
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import mailbox
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from recorder import hresult
from recorder.calls import SYNC_EVENT
from recorder.samples.mail_account import generate_account, generate_message
from recorder.samples.mail_store import INBOX, CorruptFolder, FolderPath, MailStore, disk_name, display

__all__ = [
    "STATE_FILE",
    "SYNC_DOWNLOAD_CONTENTS",
    "SYNC_DOWNLOAD_HIERARCHY",
    "SYNC_GLOBAL_HEADERS",
    "SYNC_UPLOAD_CONTENTS",
    "SYNC_UPLOAD_HIERARCHY",
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

SYNC_UPLOAD_HIERARCHY = 0x1
SYNC_DOWNLOAD_HIERARCHY = 0x2
SYNC_UPLOAD_CONTENTS = 0x40
SYNC_DOWNLOAD_CONTENTS = 0x80
SYNC_GLOBAL_HEADERS = 0x02000000
DOWNLOAD = SYNC_DOWNLOAD_HIERARCHY | SYNC_DOWNLOAD_CONTENTS

STATE_FILE = "synctape-state.json"
UPDATES = 200  # of Progress in a step, besides those with a text
TEXT_EVERY = 5  # messages

E_ACCESSDENIED = hresult.parse("E_ACCESSDENIED")
E_UNEXPECTED = hresult.parse("E_UNEXPECTED")
MAPI_E_CORRUPT_STORE = hresult.parse("MAPI_E_CORRUPT_STORE")
MAPI_E_DISK_ERROR = hresult.parse("MAPI_E_DISK_ERROR")
MAPI_E_NOT_ENOUGH_DISK = hresult.parse("MAPI_E_NOT_ENOUGH_DISK")
MAPI_E_OBJECT_DELETED = hresult.parse("MAPI_E_OBJECT_DELETED")
MAPI_E_USER_CANCEL = hresult.parse("MAPI_E_USER_CANCEL")
MAPI_W_PARTIAL_COMPLETION = hresult.parse("MAPI_W_PARTIAL_COMPLETION")
RPC_E_SERVERFAULT = hresult.parse("RPC_E_SERVERFAULT")

_EXPLANATIONS = {
    E_ACCESSDENIED: "access was denied",
    MAPI_E_CORRUPT_STORE: "the folder is damaged",
    MAPI_E_DISK_ERROR: "the disk failed",
    MAPI_E_NOT_ENOUGH_DISK: "the disk is full",
    MAPI_E_OBJECT_DELETED: "the folder is gone",
}

_FAILURES = (OSError, mailbox.Error)


def synchronise(
    source: MailStore,
    destination: MailStore,
    callback: Any,
    *,
    flags: int = DOWNLOAD,
    handle: object = None,
    hierarchy_thread: bool = False,
) -> int:
    """Run one sync on this thread and return its final HRESULT, which Done was given.

    `callback` None: nobody wants reports (P4).  `handle` is what Done hands over.  With `hierarchy_thread`
    the folders are done on a thread of their own, before the contents.
    """
    return _Sync(source, destination, _Reporter(callback), flags).run(handle, hierarchy_thread)


def start_sync(
    source: MailStore,
    destination: MailStore,
    callback: Any,
    *,
    flags: int = DOWNLOAD,
    handle: object = None,
    hierarchy_thread: bool = False,
) -> threading.Thread:
    """`synchronise` in the background, as SynchronizeInBackground does it: a thread, already running."""
    thread = threading.Thread(
        target=synchronise,
        args=(source, destination, callback),
        kwargs={"flags": flags, "handle": handle, "hierarchy_thread": hierarchy_thread},
        name="mail sync",
    )
    thread.start()
    return thread


# --- The sync ---------------------------------------------------------------------------------------------


class _Stopped(Exception):
    """The sync ends here, with this result."""

    def __init__(self, result: int, text: str) -> None:
        super().__init__(text)
        self.result = result
        self.text = text


class _Reporter:
    """The host's callback as the provider sees it."""

    def __init__(self, callback: Any) -> None:
        self._callback = callback
        self.problems = 0

    def progress(self, text: str | None, index: int, maximum: int) -> None:
        """Raises _Stopped if the host answers a failure."""
        answer = self._call("Progress", text, index, maximum)
        if hresult.is_hresult(answer) and hresult.failed(answer):
            raise _Stopped(MAPI_E_USER_CANCEL, f"Stopped at the host's request ({hresult.describe(answer)})")

    def error(self, result: int, text: str) -> None:
        self.problems += 1
        self._call("Error", result, text)

    def done(self, handle: object, result: int) -> None:
        self._call("Done", handle, result)

    def _call(self, method: str, *args: object) -> Any:
        if self._callback is None:
            return hresult.S_OK
        try:
            return getattr(self._callback, method)(*args)
        except Exception:
            return RPC_E_SERVERFAULT


class _Meter:
    """Counts the messages of one step and reports them."""

    def __init__(self, reporter: _Reporter, total: int) -> None:
        self._reporter = reporter
        self._total = total
        self._reported = -1
        self.done = 0

    def report(self, text: str | None = None) -> None:
        share = self.done * UPDATES // self._total
        if text is not None or share != self._reported:
            self._reporter.progress(text, self.done, self._total)
            self._reported = share


class _Direction(NamedTuple):
    """Which way messages go, and how a text says so."""

    origin: MailStore
    target: MailStore
    uploads: bool
    moving: str


class _Plan(NamedTuple):
    """What there is to do in one folder."""

    folder: FolderPath
    new: list[str]
    vanished: list[str]

    @property
    def size(self) -> int:
        return len(self.new) + len(self.vanished)


class _Sync:
    """One sync of two stores."""

    def __init__(self, source: MailStore, destination: MailStore, reporter: _Reporter, flags: int) -> None:
        self._source = source
        self._destination = destination
        self._reporter = reporter
        self._flags = flags
        self._upload = _Direction(destination, source, True, "Sending message {} of {} to {}")
        self._download = _Direction(source, destination, False, "Copying message {} of {} in {}")
        self._state = _State(destination.root / STATE_FILE)
        self._headers_only = bool(flags & SYNC_GLOBAL_HEADERS)

    def run(self, handle: object, hierarchy_thread: bool) -> int:
        result = E_UNEXPECTED
        try:
            result = self._steps(hierarchy_thread)
        except _Stopped as stop:
            result = stop.result
            self._reporter.error(result, stop.text)
        except _FAILURES as error:
            result = _result_of(error)
            self._reporter.error(result, f"The mail store cannot be used: {_EXPLANATIONS[result]}")
        except BaseException:
            self._reporter.error(result, "The provider failed")
            raise
        finally:
            self._reporter.done(handle, result)
        return result

    def _steps(self, hierarchy_thread: bool) -> int:
        self._reporter.progress("Opening the mail stores", 0, 1)
        self._destination.create()
        self._state.load()
        if hierarchy_thread:
            with ThreadPoolExecutor(1, "mail sync hierarchy") as pool:
                pool.submit(self._hierarchy).result()
                self._contents()
        else:
            self._hierarchy()
            self._contents()
        self._reporter.progress("Finished", 1, 1)
        return MAPI_W_PARTIAL_COMPLETION if self._reporter.problems else hresult.S_OK

    def _hierarchy(self) -> None:
        if self._flags & SYNC_UPLOAD_HIERARCHY:
            self._exchange_folders(self._upload)
        if self._flags & SYNC_DOWNLOAD_HIERARCHY:
            self._exchange_folders(self._download)

    def _contents(self) -> None:
        try:
            if self._flags & SYNC_UPLOAD_CONTENTS:
                self._exchange_contents(self._upload)
            if self._flags & SYNC_DOWNLOAD_CONTENTS:
                self._exchange_contents(self._download)
        finally:
            self._state.save()

    def _exchange_folders(self, way: _Direction) -> None:
        folders = way.origin.folders()
        there = set(way.target.folders())
        for index, folder in enumerate(folders, 1):
            self._reporter.progress(f"Folder {display(folder)}", index, len(folders))
            if folder not in there:
                with self._reported(folder):
                    way.target.create(folder)

    def _exchange_contents(self, way: _Direction) -> None:
        self._reporter.progress("Looking for changes", 0, 1)
        there = set(way.target.folders())
        plans = [self._plan(way, folder) for folder in way.origin.folders() if folder in there]
        meter = _Meter(self._reporter, sum(plan.size for plan in plans))
        for plan in plans:
            if plan.size:
                self._carry_out(way, plan, meter)
        if meter.done:
            meter.report()
        else:
            self._reporter.progress("All folders are up to date", 1, 1)

    def _plan(self, way: _Direction, folder: FolderPath) -> _Plan:
        links = self._state.links(folder, way.uploads)
        with self._reported(folder), way.origin.open(folder) as opened:
            here = opened.identities()
            incomplete = set() if way.uploads or self._headers_only else self._state.incomplete(folder)
            new = [identity for identity in here if identity not in links or identity in incomplete]
            return _Plan(folder, new, sorted(links.keys() - set(here)))
        return _Plan(folder, [], [])

    def _carry_out(self, way: _Direction, plan: _Plan, meter: _Meter) -> None:
        """Do one folder; whatever fails in it, the meter then stands behind it."""
        end = meter.done + plan.size
        folder = plan.folder
        with (
            self._reported(folder),
            way.origin.open(folder) as here,
            way.target.open(folder) as there,
        ):
            links = self._state.links(folder, way.uploads)
            if plan.vanished:
                meter.report(f"Removing {len(plan.vanished)} messages from {display(folder)}")
            for identity in plan.vanished:
                there.remove(links[identity])
                self._state.unlink(folder, way.uploads, identity)
                meter.done += 1
            for position, identity in enumerate(plan.new, 1):
                told = position % TEXT_EVERY == 1
                meter.report(way.moving.format(position, len(plan.new), display(folder)) if told else None)
                content = here.read(identity)
                if content is not None:
                    partial = self._headers_only and not way.uploads
                    added = there.add(_headers(content) if partial else content)
                    if identity in links:
                        there.remove(links[identity])
                    self._state.link(folder, way.uploads, identity, added, partial)
                meter.done += 1
        meter.done = end

    @contextlib.contextmanager
    def _reported(self, folder: FolderPath) -> Iterator[None]:
        """What fails in here is reported as this folder's problem; a full disk stops the sync."""
        try:
            yield
        except _FAILURES as error:
            result = _result_of(error)
            text = f"{display(folder)}: {_EXPLANATIONS[result]}"
            if result == MAPI_E_NOT_ENOUGH_DISK:
                raise _Stopped(result, text) from error
            self._reporter.error(result, text)


class _State:
    """Which messages both sides have, as of the last sync: source identity to destination identity, by folder.

    Links are asked for and made from the side that messages come from: `uploads` turns them round.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._links: dict[str, dict[str, str]] = {}
        self._incomplete: dict[str, list[str]] = {}

    def load(self) -> None:
        """Read the last sync's state, if there was one; raises CorruptFolder for anything else."""
        try:
            state = json.loads(self._path.read_bytes())
            self._links, self._incomplete = state["links"], state["incomplete"]
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFolder(errno.EILSEQ, "not a state file", os.fspath(self._path)) from error

    def save(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"links": self._links, "incomplete": self._incomplete}))
        fresh.replace(self._path)

    def links(self, folder: FolderPath, uploads: bool) -> dict[str, str]:
        links = self._links.get(_key(folder), {})
        return {theirs: ours for ours, theirs in links.items()} if uploads else dict(links)

    def incomplete(self, folder: FolderPath) -> set[str]:
        """Source identities of the messages of which only the headers were copied."""
        return set(self._incomplete.get(_key(folder), ()))

    def link(self, folder: FolderPath, uploads: bool, origin: str, target: str, partial: bool) -> None:
        ours, theirs = (target, origin) if uploads else (origin, target)
        self._links.setdefault(_key(folder), {})[ours] = theirs
        incomplete = self.incomplete(folder) - {ours} | ({ours} if partial else set())
        self._incomplete[_key(folder)] = sorted(incomplete)

    def unlink(self, folder: FolderPath, uploads: bool, origin: str) -> None:
        links = self._links[_key(folder)]
        source = next(o for o, t in links.items() if t == origin) if uploads else origin
        del links[source]
        self._incomplete[_key(folder)] = sorted(self.incomplete(folder) - {source})


def _key(folder: FolderPath) -> str:
    return "/".join(disk_name(name) for name in folder)


def _headers(content: bytes) -> bytes:
    head, separator, _ = content.partition(b"\n\n")
    return head + separator


def _result_of(error: Exception) -> int:
    """The HRESULT that tells a host what a failure of the file system means for a folder."""
    match error:
        case PermissionError():
            return E_ACCESSDENIED
        case FileNotFoundError():
            return MAPI_E_OBJECT_DELETED
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return MAPI_E_NOT_ENOUGH_DISK
        case CorruptFolder() | NotADirectoryError() | IsADirectoryError() | FileExistsError() | mailbox.Error():
            return MAPI_E_CORRUPT_STORE
        case _:
            return MAPI_E_DISK_ERROR


# --- Scenarios --------------------------------------------------------------------------------------------

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
        _sync(account, local, callback, flags=SYNC_UPLOAD_HIERARCHY | SYNC_UPLOAD_CONTENTS)


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
    """A folder, with one in it, is deleted in the source while its messages are being copied."""
    with _stores(24) as (source, destination):
        delete = functools.partial(shutil.rmtree, source.directory(("受信箱",)))
        _sync(source, destination, _Meddler(callback, 30, delete))


def cancelled(callback: Any) -> None:
    """Cancelled in the middle: the callback is called as ever, then MAPI_E_USER_CANCEL is answered for it."""
    with _stores(24) as (source, destination):
        _sync(source, destination, _Meddler(callback, 30, lambda: MAPI_E_USER_CANCEL))
