"""A correct host made with comtypes, as factories that give its interface pointer (Windows only).

`pointer` gives a pointer of comtypes, `server` the COMObject itself, `fails_on_null` one whose Progress
raises on a NULL text.
"""

from __future__ import annotations

import ctypes
from typing import Any

import comtypes


class ISyncProgressCallback(comtypes.IUnknown):  # type: ignore[misc]
    """IMAPISyncProgressCallback in comtypes' words."""

    _iid_ = comtypes.GUID("{5024a386-2d44-486a-81a8-8f0ecb6071dd}")
    _methods_ = (
        comtypes.STDMETHOD(ctypes.c_long, "Progress", (ctypes.c_wchar_p, ctypes.c_ulong, ctypes.c_ulong)),
        comtypes.STDMETHOD(ctypes.c_long, "Error", (ctypes.c_long, ctypes.c_wchar_p)),
        comtypes.STDMETHOD(ctypes.c_long, "Done", (ctypes.c_void_p, ctypes.c_long)),
    )


_close = ctypes.WinDLL("kernel32").CloseHandle  # type: ignore[attr-defined,unused-ignore]
_close.argtypes = (ctypes.c_void_p,)


class Host(comtypes.COMObject):  # type: ignore[misc]
    """Keeps what it is told in `told`; closes the event at the first Done."""

    _com_interfaces_ = (ISyncProgressCallback,)

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []
        self.done = False

    def Progress(self, this: Any, text: str | None, index: int, maximum: int) -> int:
        self.told.append(("Progress", text, index, maximum))
        return 0

    def Error(self, this: Any, result: int, text: str | None) -> int:
        self.told.append(("Error", result, text))
        return 0

    def Done(self, this: Any, handle: int | None, result: int) -> int:
        self.told.append(("Done", bool(handle), result))
        if handle and not self.done:
            _close(handle)
        self.done = True
        return 0


class FailsOnNull(Host):
    """The bug: the text of a Progress is measured though it may be NULL."""

    def Progress(self, this: Any, text: Any, index: int, maximum: int) -> int:
        return 0 if len(text) else 1


def pointer() -> Any:
    return Host().QueryInterface(ISyncProgressCallback)


def server() -> Any:
    return Host()


def fails_on_null() -> Any:
    return FailsOnNull().QueryInterface(ISyncProgressCallback)
