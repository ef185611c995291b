"""Synchronise an IMAP account with its local copy, and report it.  Steps go in this order, each if asked for:

    SYNC_UPLOAD_HIERARCHY    make the local folders on the server
    SYNC_DOWNLOAD_HIERARCHY  make the server's folders here
    SYNC_UPLOAD_CONTENTS     send messages that are new here, remove those deleted here
    SYNC_DOWNLOAD_CONTENTS   fetch messages that are new on the server, remove those deleted there;
                             with SYNC_GLOBAL_HEADERS their headers only, until a later sync without it

No step named: folders and contents down.  With SYNC_THESE_FOLDERS only the account's `folders` take part; other
flags change nothing.  Folders are never removed; of a message the content goes over, not its flags.

What it reports keeps to the contract (docs/contract.md):

- Progress counts folders, then messages, each before it is done.  A text names the first message of a folder and
  every fifth after it, NULL goes with those in between.
- What goes wrong in a folder is an Error, and the sync goes on with the next one, over a new connection if that
  was lost, once; it ends in MAPI_W_PARTIAL_COMPLETION.  A server that is gone, a password that is wrong and a disk
  that is full end the sync: with one Error, and that result.
- A failure answered to Progress is taken for "stop" (U4 and U10 leave it open): MAPI_E_USER_CANCEL, what is here
  stays.  Answers to Error change nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from examples.imap_provider.account import Account
from examples.imap_provider.failures import FAILURES, failure
from examples.imap_provider.local import Known, Local
from examples.imap_provider.session import Session
from recorder import hresult
from recorder.provider import SYNC_FLAGS
from recorder.samples.mail_store import FolderPath, display

__all__ = ["Reporter", "synchronise"]

_UP_FOLDERS, _DOWN_FOLDERS = SYNC_FLAGS["SYNC_UPLOAD_HIERARCHY"], SYNC_FLAGS["SYNC_DOWNLOAD_HIERARCHY"]
_UP, _DOWN = SYNC_FLAGS["SYNC_UPLOAD_CONTENTS"], SYNC_FLAGS["SYNC_DOWNLOAD_CONTENTS"]
_STEPS = _UP_FOLDERS | _DOWN_FOLDERS | _UP | _DOWN
_THESE, _HEADERS = SYNC_FLAGS["SYNC_THESE_FOLDERS"], SYNC_FLAGS["SYNC_GLOBAL_HEADERS"]

_RECONNECTIONS: Final = 1
_TEXT_EVERY: Final = 5  # messages

_E_UNEXPECTED = hresult.parse("E_UNEXPECTED")
_MAPI_E_NETWORK_ERROR = hresult.parse("MAPI_E_NETWORK_ERROR")
_MAPI_E_OBJECT_CHANGED = hresult.parse("MAPI_E_OBJECT_CHANGED")
_MAPI_E_USER_CANCEL = hresult.parse("MAPI_E_USER_CANCEL")
_MAPI_W_PARTIAL_COMPLETION = hresult.parse("MAPI_W_PARTIAL_COMPLETION")


class _Stopped(Exception):
    """The sync ends here, with this result."""

    def __init__(self, result: int, text: str) -> None:
        super().__init__(text)
        self.result = result
        self.text = text


class Reporter:
    """The host's callback as the sync sees it; None: nobody wants reports (P4)."""

    def __init__(self, callback: Any) -> None:
        self._callback = callback
        self.errors = 0

    def progress(self, text: str | None, index: int, maximum: int) -> None:
        """Raises _Stopped if the host answers a failure."""
        answer = self._callback.Progress(text, index, maximum) if self._callback else hresult.S_OK
        if hresult.failed(answer):
            raise _Stopped(_MAPI_E_USER_CANCEL, f"Stopped at the host's request ({hresult.describe(answer)})")

    def error(self, result: int, text: str) -> None:
        self.errors += 1
        if self._callback:
            self._callback.Error(result, text)


def synchronise(account: Account, reporter: Reporter, flags: int) -> int:
    """Run one sync on this thread, to its end; gives the HRESULT for Done and raises nothing."""
    sync = _Sync(account, reporter, flags if flags & _STEPS else flags | _DOWN_FOLDERS | _DOWN)
    try:
        return sync.run()
    except _Stopped as stop:
        reporter.error(stop.result, stop.text)
        return stop.result
    except FAILURES as error:
        found = failure(error)
        reporter.error(found.result, f"{account.host}: {found.text}")
        return found.result
    except Exception as error:
        reporter.error(_E_UNEXPECTED, f"The provider failed: {type(error).__name__}")
        return _E_UNEXPECTED
    finally:
        sync.end()


class _Meter:
    """Counts the messages of one step and reports each before it is done."""

    def __init__(self, reporter: Reporter, total: int) -> None:
        self._reporter = reporter
        self.total = total
        self.done = 0

    def report(self, text: str | None = None) -> None:
        self._reporter.progress(text, self.done, self.total)


class _Plan(NamedTuple):
    """What there is to do in one folder, by UIDs or, for what is to be sent, by local identities."""

    folder: FolderPath
    new: Sequence[Any]
    vanished: Sequence[int]
    validity: int | None = None

    @property
    def size(self) -> int:
        return len(self.new) + bool(self.vanished)


class _Sync:
    def __init__(self, account: Account, reporter: Reporter, flags: int) -> None:
        self._account = account
        self._reporter = reporter
        self._flags = flags
        self._headers_only = bool(flags & _HEADERS)
        self._local = Local(account.maildir, account.disk)
        self._connection: Session | None = None
        self._connections = 0

    def run(self) -> int:
        with self._final("The local copy"):
            self._local.load()
        self._session()
        if self._flags & _UP_FOLDERS:
            self._send_folders()
        if self._flags & _DOWN_FOLDERS:
            self._get_folders()
        if self._flags & _UP:
            self._exchange([self._plan_up(folder) for folder in self._shared()], self._send)
        if self._flags & _DOWN:
            self._exchange(self._plan_down(self._shared()), self._get)
        self._reporter.progress("Finished", 1, 1)
        return _MAPI_W_PARTIAL_COMPLETION if self._reporter.errors else hresult.S_OK

    def end(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- the connection ---------------------------------------------------------------------------------------

    def _session(self) -> Session:
        """The connection, made and logged on to if there is none.  Raises _Stopped if that cannot be done."""
        if self._connection is None:
            host, again = self._account.host, self._connections > 0
            self._connections += 1
            self._reporter.progress(f"Connecting {'again ' if again else ''}to {host}", 0, 1)
            with self._final(host):
                self._connection = Session(self._account)
            self._reporter.progress(f"Logging on as {self._account.user}", 0, 1)
            with self._final(self._account.user):
                self._connection.logon()
        return self._connection

    @contextlib.contextmanager
    def _final(self, what: str) -> Iterator[None]:
        """Whatever fails in here ends the sync."""
        try:
            yield
        except FAILURES as error:
            found = failure(error)
            raise _Stopped(found.result, f"{what}: {found.text}") from error

    @contextlib.contextmanager
    def _reported(self, folder: FolderPath) -> Iterator[None]:
        """What fails in here is this folder's problem and reported; what would fail in the next ends the sync."""
        try:
            yield
        except FAILURES as error:
            found = failure(error)
            if found.final or (found.lost and self._connections > _RECONNECTIONS):
                raise _Stopped(found.result, f"{display(folder)}: {found.text}") from error
            self._reporter.error(found.result, f"{display(folder)}: {found.text}")
            if found.lost:
                self.end()

    # --- folders ----------------------------------------------------------------------------------------------

    def _chosen(self, folders: Sequence[FolderPath]) -> list[FolderPath]:
        chosen = self._account.folders
        return [f for f in folders if not self._flags & _THESE or display(f) in chosen]

    def _shared(self) -> list[FolderPath]:
        """The folders that both sides have."""
        here = set(self._local.folders())
        return [folder for folder in self._chosen(self._session().folders()) if folder in here]

    def _send_folders(self) -> None:
        there = set(self._session().folders())
        folders = self._chosen(self._local.folders())
        for index, folder in enumerate(folders, 1):
            self._reporter.progress(f"Folder {display(folder)}", index, len(folders))
            if folder not in there:
                with self._reported(folder):
                    self._session().create(folder)

    def _get_folders(self) -> None:
        here = set(self._local.folders())
        folders = self._chosen(self._session().folders())
        for index, folder in enumerate(folders, 1):
            self._reporter.progress(f"Folder {display(folder)}", index, len(folders))
            if folder not in here:
                with self._reported(folder):
                    self._local.create(folder)

    # --- contents ---------------------------------------------------------------------------------------------

    def _plan_up(self, folder: FolderPath) -> _Plan:
        known = self._local.known(folder)
        here: list[str] = list(known.messages.values())
        with self._reported(folder), self._local.open(folder) as opened:
            here = opened.identities()
        sent = set(known.messages.values())
        new = [identity for identity in here if identity not in sent]
        vanished = sorted(uid for uid, identity in known.messages.items() if identity not in here)
        return _Plan(folder, new, vanished, known.validity)

    def _plan_down(self, folders: Sequence[FolderPath]) -> Iterator[_Plan]:
        for index, folder in enumerate(folders, 1):
            self._reporter.progress(f"Looking at {display(folder)}", index, len(folders))
            plan = None
            with self._reported(folder):
                plan = self._compared(folder)
            if plan is not None:
                yield plan

    def _compared(self, folder: FolderPath) -> _Plan:
        """What the server has and we have not, and the other way round."""
        opened, known = self._session().open(folder), self._local.known(folder)
        valid = known.validity in (None, opened.validity)
        old = known.messages if valid else {}
        missing = known.headers if valid and not self._headers_only else set()
        new = [uid for uid in opened.uids if uid not in old or uid in missing]
        vanished = sorted(known.messages.keys() - (set(opened.uids) if valid else set()))
        return _Plan(folder, new, vanished, opened.validity)

    def _exchange(self, planned: Iterator[_Plan] | list[_Plan], carry_out: Any) -> None:
        plans = [plan for plan in planned if plan.size]
        if not plans:
            text = "Nothing else to do" if self._reporter.errors else "All folders are up to date"
            self._reporter.progress(text, 1, 1)
            return
        meter = _Meter(self._reporter, sum(plan.size for plan in plans))
        for plan in plans:
            end = meter.done + plan.size
            try:
                with self._reported(plan.folder):
                    carry_out(plan, self._local.known(plan.folder), meter)
            finally:
                with self._final("The local copy"):
                    self._local.save()
            meter.done = end
        meter.report()

    def _get(self, plan: _Plan, known: Known, meter: _Meter) -> None:
        """Carry out a plan of what is new on the server."""
        name, count = display(plan.folder), len(plan.new)
        with self._local.open(plan.folder) as here:
            if plan.vanished:
                meter.report(f"Removing {len(plan.vanished)} deleted messages from {name}")
                for uid in plan.vanished:
                    here.remove(known.messages.pop(uid))
                    known.headers.discard(uid)
                meter.done += 1
            known.validity = plan.validity
            if plan.new and not self._still(plan):
                return
            for position, uid in enumerate(plan.new, 1):
                meter.report(_sometimes(f"Getting message {position} of {count} from {name}", position))
                content = self._session().fetch(uid, headers_only=self._headers_only)
                if content is not None:  # it may have gone meanwhile
                    added = here.add(content)
                    if uid in known.messages:
                        here.remove(known.messages[uid])
                    known.messages[uid] = added
                    (known.headers.add if self._headers_only else known.headers.discard)(uid)
                meter.done += 1

    def _send(self, plan: _Plan, known: Known, meter: _Meter) -> None:
        """Carry out a plan of what is new here."""
        name, count = display(plan.folder), len(plan.new)
        if plan.vanished:
            meter.report(f"Deleting {len(plan.vanished)} messages from {name}")
            if self._still(plan, to_write=True):
                self._session().remove(plan.vanished)
            for uid in plan.vanished:
                del known.messages[uid]
                known.headers.discard(uid)
            meter.done += 1
        with self._local.open(plan.folder) as here:
            for position, identity in enumerate(plan.new, 1):
                meter.report(_sometimes(f"Sending message {position} of {count} to {name}", position))
                content = here.read(identity)
                if content is not None:
                    validity, uid = self._session().append(plan.folder, content)
                    if known.validity in (None, validity):
                        known.validity = validity
                        known.messages[uid] = identity
                meter.done += 1

    def _still(self, plan: _Plan, *, to_write: bool = False) -> bool:
        """Open the plan's folder; if it is another one by now, say so."""
        if self._session().open(plan.folder, to_write=to_write).validity == plan.validity:
            return True
        self._reporter.error(_MAPI_E_OBJECT_CHANGED, f"{display(plan.folder)}: the folder was replaced meanwhile")
        return False


def _sometimes(text: str, position: int) -> str | None:
    return text if position % _TEXT_EVERY == 1 else None
