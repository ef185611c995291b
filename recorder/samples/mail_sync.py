"""Synchronise a tree of mail folders with another one, and report it as a MAPI store provider does.

The source plays the server, the destination the local store.  A sync goes through its steps in this order,
each if its flag is set (MAPISIB's flags, mapisib.md):

    SYNC_UPLOAD_HIERARCHY    make the destination's folders in the source
    SYNC_DOWNLOAD_HIERARCHY  make the source's folders in the destination
    SYNC_UPLOAD_CONTENTS     send messages that are new in the destination, remove those deleted there
    SYNC_DOWNLOAD_CONTENTS   copy messages that are new in the source, remove those deleted there;
                             with SYNC_GLOBAL_HEADERS their headers only, until a later sync without it

It is incremental: which messages both sides have is kept in the destination (`STATE_FILE`).  Folders are
never removed.  Contents are exchanged between the folders that both sides have; of a message the content
goes over, not its flags.

What it reports, and how it takes what the host answers, keeps to the contract (interface.md, 3.2):

- Progress counts folders, then messages; the text names the first message of a folder and every fifth after
  it, NULL goes with those in between.  Between texts a step is updated at most `UPDATES` times.
- An unreadable, damaged or vanished folder is an Error; the sync goes on and ends in
  MAPI_W_PARTIAL_COMPLETION.  A message that vanishes is passed over in silence.  A full disk ends the sync.
- A failure answered to Progress is taken for "stop" (our choice, U4 and U10 leave it open): one Error and
  Done say MAPI_E_USER_CANCEL, what was copied stays.  An exception that comes out of a callback counts as
  the failure RPC_E_SERVERFAULT, as between COM apartments.  Answers to Error and Done change nothing.
- Done comes exactly once and last, whatever happened.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mailbox
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from recorder import hresult
from recorder.samples.mail_store import CorruptFolder, FolderPath, MailFolder, MailStore, disk_name, display

__all__ = [
    "DOWNLOAD",
    "STATE_FILE",
    "SYNC_DOWNLOAD_CONTENTS",
    "SYNC_DOWNLOAD_HIERARCHY",
    "SYNC_GLOBAL_HEADERS",
    "SYNC_UPLOAD_CONTENTS",
    "SYNC_UPLOAD_HIERARCHY",
    "UPLOAD",
    "start_sync",
    "synchronise",
]

SYNC_UPLOAD_HIERARCHY = 0x1
SYNC_DOWNLOAD_HIERARCHY = 0x2
SYNC_UPLOAD_CONTENTS = 0x40
SYNC_DOWNLOAD_CONTENTS = 0x80
SYNC_GLOBAL_HEADERS = 0x02000000
DOWNLOAD = SYNC_DOWNLOAD_HIERARCHY | SYNC_DOWNLOAD_CONTENTS
UPLOAD = SYNC_UPLOAD_HIERARCHY | SYNC_UPLOAD_CONTENTS

STATE_FILE = "synctape-state.json"
UPDATES = 200
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
    text: str


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
        incomplete = set() if way.uploads or self._headers_only else self._state.incomplete(folder)
        here: list[str] = list(links)
        with self._reported(folder), way.origin.open(folder) as opened:
            here = opened.identities()
        new = [identity for identity in here if identity not in links or identity in incomplete]
        return _Plan(folder, new, sorted(links.keys() - set(here)))

    def _carry_out(self, way: _Direction, plan: _Plan, meter: _Meter) -> None:
        """Do one folder; whatever fails in it, the meter then stands behind it."""
        end = meter.done + plan.size
        with (
            self._reported(plan.folder),
            way.origin.open(plan.folder) as here,
            way.target.open(plan.folder) as there,
        ):
            self._remove(way, plan, there, meter)
            self._transfer(way, plan, here, there, meter)
        meter.done = end

    def _remove(self, way: _Direction, plan: _Plan, there: MailFolder, meter: _Meter) -> None:
        links = self._state.links(plan.folder, way.uploads)
        if plan.vanished:
            meter.report(f"Removing deleted messages from {display(plan.folder)} ({len(plan.vanished)})")
        for identity in plan.vanished:
            there.remove(links[identity])
            self._state.unlink(plan.folder, way.uploads, identity)
            meter.done += 1

    def _transfer(self, way: _Direction, plan: _Plan, here: MailFolder, there: MailFolder, meter: _Meter) -> None:
        headers_only = self._headers_only and not way.uploads
        links = self._state.links(plan.folder, way.uploads)
        for position, identity in enumerate(plan.new, 1):
            told = position % TEXT_EVERY == 1
            meter.report(way.text.format(position, len(plan.new), display(plan.folder)) if told else None)
            content = here.read(identity)
            if content is not None:
                added = there.add(_headers(content) if headers_only else content)
                if identity in links:
                    there.remove(links[identity])
                self._state.link(plan.folder, way.uploads, identity, added, headers_only)
            meter.done += 1

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

    def link(self, folder: FolderPath, uploads: bool, origin: str, target: str, headers_only: bool) -> None:
        ours, theirs = (target, origin) if uploads else (origin, target)
        self._links.setdefault(_key(folder), {})[ours] = theirs
        incomplete = self.incomplete(folder) - {ours} | ({ours} if headers_only else set())
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
