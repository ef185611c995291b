"""The store object: a host asks it for IMAPISync and starts a sync, which then runs on a thread of its own."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

from examples.imap_provider.account import Account
from examples.imap_provider.sync import Reporter, synchronise
from recorder import com, events, hresult
from recorder.apartment import Apartment
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN, MAPISIB

__all__ = ["Store"]

_MAPI_E_INVALID_PARAMETER = hresult.parse("MAPI_E_INVALID_PARAMETER")
_MAPI_E_BUSY = hresult.parse("MAPI_E_BUSY")
_MAPI_E_NOT_ENOUGH_RESOURCES = hresult.parse("MAPI_E_NOT_ENOUGH_RESOURCES")
_E_UNEXPECTED = hresult.parse("E_UNEXPECTED")


class Store:
    """The store of an account; without one, of the account that the environment describes."""

    def __init__(self, account: Account | None = None):
        self._account = account or Account.from_environment(os.environ)
        self._running = threading.Lock()

    def SynchronizeInBackground(self, psib: int | None) -> int:
        """Start a sync, if none is running.  When this fails nothing is called and no event is given (P17)."""
        if not psib or ctypes.c_uint32.from_address(psib).value < MAPISIB.size():  # ulSize comes first
            return _MAPI_E_INVALID_PARAMETER
        sib = MAPISIB.unpack(ctypes.string_at(psib, MAPISIB.size()))
        if not sib["phSyncDoneEvent"]:
            return _MAPI_E_INVALID_PARAMETER
        if not self._running.acquire(blocking=False):
            return _MAPI_E_BUSY
        try:
            event, own = _event()
            thread = _thread(event, own)
        except (OSError, RuntimeError):
            self._running.release()
            return _MAPI_E_NOT_ENOUGH_RESOURCES
        callback = _callback(sib["punkCallBack"])
        ctypes.c_void_p.from_address(sib["phSyncDoneEvent"]).value = event
        thread.submit(lambda: self._run(callback, event, own, sib["ulFlags"]))
        thread.close(0)
        return hresult.S_OK

    def _run(self, callback: com.Pointer | None, event: int, own: int, flags: int) -> None:
        result = _E_UNEXPECTED
        try:
            result = synchronise(self._account, Reporter(callback), flags)
        finally:
            try:
                if callback is not None:
                    callback.Done(event, result)
                    callback.Release()
            finally:
                self._running.release()
                events.signal(own)
                events.close(own)


def _event() -> tuple[int, int]:
    """A new event by two handles: one that Done gives back, for the host to close, and our own to signal it."""
    event = events.create()
    own = events.duplicate(event)
    if own is None:
        events.close(event)
        raise OSError("no more handles")
    return event, own


def _thread(*handles: int) -> Apartment:
    """A thread that has initialised COM (P19).  If there is none it closes the handles and raises RuntimeError."""
    try:
        return Apartment("imap sync")
    except RuntimeError:
        for handle in handles:
            events.close(handle)
        raise


def _callback(unknown: int) -> com.Pointer | None:
    """The host's callback, with a reference; None if there is none, or it is none (P4)."""
    if not unknown:
        return None
    answer, pointer = com.wrap(unknown, IUNKNOWN).QueryInterface(IMAPI_SYNC_PROGRESS_CALLBACK.iid)
    found: Any = com.wrap(pointer, IMAPI_SYNC_PROGRESS_CALLBACK) if pointer and answer >= 0 else None
    return found  # type: ignore[no-any-return]
