"""Mail synchronised by OfflineIMAP: its user interface is a progress callback.

    export OFFLINEIMAP_CONFIG=~/.offlineimaprc
    synctape record examples.providers.offlineimap_sync:provider -o run.tape

OfflineIMAP tells a user interface what it does, from several threads at a time: folders that it begins with,
messages that it copies, each with its number and how many there are in this folder, and exceptions, often with
their tracebacks.  It does not say how many folders there are.  It runs once in a process, on its main thread, and
sets that process's handlers of signals.  Debian has it as offlineimap3.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

from examples.providers.gate import Gate
from recorder import hresult

sys.path += [
    place for place in ("/usr/share/offlineimap3", "/usr/lib/python3/dist-packages") if place not in sys.path
]

import offlineimap
from offlineimap.accounts import Account
from offlineimap.error import OfflineImapError
from offlineimap.init import OfflineImap
from offlineimap.ui import UI_LIST
from offlineimap.ui.UIBase import UIBase

__all__ = ["provider", "synchronise", "version"]

_ABORT_NOW: Final = 3  # what it does at the signals of a user who wants it to end

_MEANINGS: Final = (
    (r"AUTHENTICATIONFAILED|password", "MAPI_E_LOGON_FAILED"),
    (r"refused|open socket|resolve", "IXP_E_FAILED_TO_CONNECT"),
    (r"timed out|timeout|no response", "MAPI_E_TIMEOUT"),
    (r"abort|EOF|reset|[Bb]roken pipe|closed|dropped|socket error|connection", "MAPI_E_NETWORK_ERROR"),
    (r"doesn't exist|NONEXISTENT|deleted", "MAPI_E_OBJECT_DELETED"),
    (r"No space left", "MAPI_E_NOT_ENOUGH_DISK"),
    (r"Permission denied", "E_ACCESSDENIED"),
    (r"SERVERBUG|Internal error", "MAPI_E_CALL_FAILED"),
)
"""What its exceptions say in their last line, since they have no codes; whole tracebacks stand before that."""


class _Interface(UIBase):  # type: ignore[misc]
    """A user interface of OfflineIMAP that reports to `callback`, and has nobody to ask."""

    callback: Any
    """Set before there is one: OfflineIMAP makes it itself."""

    def __init__(self, config: Any, loglevel: int = logging.CRITICAL):
        super().__init__(config, loglevel)
        self.gate = Gate()
        self.cancelled = hresult.S_OK
        self.failures: list[tuple[int, bool]] = []  # result, and whether the rest went on

    def setup_consolehandler(self) -> logging.Handler:
        return logging.NullHandler()

    def _progress(self, text: str | None, index: int = 0, maximum: int = 0) -> None:
        with self.gate.passing() as passes:
            answer = self.callback.Progress(text, index, maximum) if passes else None
        if answer is not None and hresult.failed(answer) and not self.cancelled:
            self.cancelled = answer
            Account.set_abort_event(self.config, _ABORT_NOW)  # heeded between two messages and two folders

    def _error(self, said: str, goes_on: bool) -> None:
        result = _result(said)
        self.failures.append((result, goes_on))
        with self.gate.passing() as passes:
            if passes:
                self.callback.Error(result, said)

    # --- what OfflineIMAP calls; the names are its own

    def acct(self, account: Any) -> None:
        super().acct(account)
        self._progress(f"Account {account}")

    def connecting(self, reposname: Any, hostname: str, port: int) -> None:
        self._progress(f"Connecting to {hostname}")

    def makefolder(self, repo: Any, foldername: str) -> None:
        self._progress(f"Making folder {foldername}")

    def syncingfolder(self, srcrepos: Any, srcfolder: Any, destrepos: Any, destfolder: Any) -> None:
        self._progress(f"Folder {srcfolder}")

    def copyingmessage(self, uid: int, num: int, num_to_copy: int, src: Any, destfolder: Any) -> None:
        self._progress(f"Message {uid} of {src}" if num == 1 else None, num, num_to_copy)

    def error(self, exc: object, exc_traceback: object = None, msg: str | None = None) -> None:
        if isinstance(exc, OfflineImapError):
            goes_on = exc.severity < OfflineImapError.ERROR.REPO
        else:
            goes_on = not (msg or "").startswith("While attempting to sync account")
        self._error(f"{msg}: {exc}" if msg else str(exc), goes_on)

    def threadException(self, thread: Any) -> None:
        self._error(str(thread.exit_exception), False)
        self.terminate(100)

    def terminate(self, exitstatus: int = 0, errortitle: str | None = None, errormsg: str | None = None) -> None:
        if errormsg:
            self._error(errormsg, False)
        sys.exit(exitstatus)


def synchronise(callback: Any, config: Path, *options: str) -> int:
    """Synchronise once what OfflineIMAP's configuration says, and give what Done says.

    `options` are of its command line.  To be called once, on the main thread of a process.
    Raises FileNotFoundError if there is no such configuration.
    """
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such configuration of OfflineIMAP")
    _Interface.callback = callback
    UI_LIST["progress"] = _Interface
    engine = OfflineImap()
    arguments, sys.argv = sys.argv, ["offlineimap", "-c", str(config), "-u", "progress", "-o", *options]
    try:
        engine.run()
    except SystemExit:
        pass  # how its interfaces end it, however it went
    finally:
        sys.argv = arguments
    engine.ui.gate.shut()  # threads of folders may live on when one has failed
    result = _final(engine.ui)
    callback.Done(None, result)
    return result


def _final(ui: _Interface) -> int:
    if ui.cancelled:
        ui.callback.Error(ui.cancelled, "cancelled by the host")
        return ui.cancelled
    grave = [result for result, goes_on in ui.failures if not goes_on]
    return grave[0] if grave else hresult.parse("MAPI_W_PARTIAL_COMPLETION") if ui.failures else hresult.S_OK


def _result(said: str) -> int:
    last = (said.splitlines() or [""])[-1]
    return hresult.parse(next((name for words, name in _MEANINGS if re.search(words, last)), "MAPI_E_CALL_FAILED"))


def version() -> str:
    """`OfflineIMAP 8.0.0`."""
    return f"OfflineIMAP {offlineimap.__version__}"


def provider(callback: Any) -> None:
    """Synchronises what $OFFLINEIMAP_CONFIG says."""
    config = os.environ.get("OFFLINEIMAP_CONFIG")
    if not config:
        raise ValueError("OFFLINEIMAP_CONFIG is not set; examples/providers/README.md says to what")
    synchronise(callback, Path(config).expanduser())
