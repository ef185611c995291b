"""The store object: a host asks it for IMAPISync and starts a sync, which then runs on a thread of its own."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from examples.imap_provider.account import Account
from examples.imap_provider.sync import Reporter, synchronise
from recorder import com, events, hresult
from recorder.apartment import Apartment
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN, MAPISIB

__all__ = ["Store"]

_MAPI_E_INVALID_PARAMETER = hresult.parse("MAPI_E_INVALID_PARAMETER")
_E_UNEXPECTED = hresult.parse("E_UNEXPECTED")


class Store:
    """The store of an account; without one, of the account that the environment describes."""

    def __init__(self, account: Account | None = None):
        self._account = account or Account.from_environment(os.environ)

    def SynchronizeInBackground(self, psib: int | None) -> int:
        """Start a sync.  When this fails nothing is called and no event is given (P17)."""
        if not psib or ctypes.c_uint32.from_address(psib).value < MAPISIB.size():  # ulSize comes first
            return _MAPI_E_INVALID_PARAMETER
        sib = MAPISIB.unpack(ctypes.string_at(psib, MAPISIB.size()))
        if not sib["phSyncDoneEvent"]:
            return _MAPI_E_INVALID_PARAMETER
        event = events.create()
        own = events.duplicate(event)  # the host closes the other one, which Done gives back
        assert own is not None
        callback = _callback(sib["punkCallBack"])
        ctypes.c_void_p.from_address(sib["phSyncDoneEvent"]).value = event
        thread = Apartment("imap sync")  # it initialises COM, as each thread that calls must (P19)
        thread.submit(lambda: self._run(callback, event, own, sib["ulFlags"]))
        thread.close(0)
        return hresult.S_OK

    def _run(self, callback: com.Pointer | None, event: int, own: int, flags: int) -> None:
        result = _E_UNEXPECTED
        try:
            result = synchronise(self._account, Reporter(callback), flags)
        finally:
            if callback is not None:
                callback.Done(event, result)
                callback.Release()
            events.signal(own)
            events.close(own)


def _callback(unknown: int) -> com.Pointer | None:
    """The host's callback, with a reference; None if there is none, or it is none (P4)."""
    if not unknown:
        return None
    answer, pointer = com.wrap(unknown, IUNKNOWN).QueryInterface(IMAPI_SYNC_PROGRESS_CALLBACK.iid)
    found: Any = com.wrap(pointer, IMAPI_SYNC_PROGRESS_CALLBACK) if pointer and answer >= 0 else None
    return found  # type: ignore[no-any-return]
