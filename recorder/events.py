"""Events by their handles: real ones on Windows, elsewhere a descriptor that stands for one.

The stand-in (docs/recording.md): HANDLE is a file descriptor, and the event is signalled while the descriptor is
readable, as an eventfd is once something was written to it.  Nothing is read from it here, so it stays signalled.
NULL is no handle, so descriptor 0 is none either.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Any

if sys.platform == "win32":
    from ctypes import wintypes

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.GetCurrentProcess.restype = wintypes.HANDLE
    _kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
    _kernel.WaitForSingleObject.restype = wintypes.DWORD
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel.SetEvent.argtypes = (wintypes.HANDLE,)
    _kernel.CreateEventW.argtypes = (wintypes.LPVOID, wintypes.BOOL, wintypes.BOOL, wintypes.LPCWSTR)
    _kernel.CreateEventW.restype = wintypes.HANDLE
    _kernel.GetHandleInformation.argtypes = (wintypes.HANDLE, wintypes.LPDWORD)
    _kernel.DuplicateHandle.argtypes = (
        *(wintypes.HANDLE, wintypes.HANDLE, wintypes.HANDLE, wintypes.LPHANDLE),
        *(wintypes.DWORD, wintypes.BOOL, wintypes.DWORD),
    )
    _DUPLICATE_SAME_ACCESS = 2
    try:
        _compare: Any = ctypes.WinDLL("kernelbase").CompareObjectHandles  # Windows 10
        _compare.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    except (OSError, AttributeError):
        _compare = None

    def create() -> int:
        """A new event that stays signalled once it is.  Raises OSError."""
        made = _kernel.CreateEventW(None, True, False, None)
        if not made:
            raise ctypes.WinError(ctypes.get_last_error())
        return int(made)

    def signal(handle: int) -> None:
        """Signal an event that `create` made."""
        _kernel.SetEvent(handle)

    def duplicate(handle: int) -> int | None:
        """Another handle of the same event, to be closed by itself; None if it is no open handle."""
        own, process = wintypes.HANDLE(), _kernel.GetCurrentProcess()
        made = _kernel.DuplicateHandle(
            process, handle, process, ctypes.byref(own), 0, False, _DUPLICATE_SAME_ACCESS
        )
        return own.value if made else None

    def same(handle: int, other: int) -> bool | None:
        """Whether both are open handles of one event; None if the system cannot tell."""
        if not _is_open(handle):
            return False
        return None if _compare is None else bool(_compare(handle, other))

    def _is_open(handle: int) -> bool:
        return bool(_kernel.GetHandleInformation(handle, ctypes.byref(wintypes.DWORD())))

    def wait(handle: int, seconds: float) -> bool:
        """Whether the event is signalled, now or within so many seconds.  False also for what is no event."""
        return int(_kernel.WaitForSingleObject(handle, round(1000 * seconds))) == 0

    def close(handle: int) -> None:
        """Close it, if it is open."""
        _kernel.CloseHandle(handle)

else:
    import select

    _KCMP = {"x86_64": 312, "aarch64": 272}  # the number of the system call, Linux
    _KCMP_FILE = 0

    def create() -> int:
        """A new event that stays signalled once it is.  Raises OSError."""
        made = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        if made == 0:  # no handle, see above
            made = os.dup(made)
            os.close(0)
        return made

    def signal(handle: int) -> None:
        """Signal an event that `create` made."""
        os.eventfd_write(handle, 1)

    def duplicate(handle: int) -> int | None:
        """Another handle of the same event, to be closed by itself; None if it is no open handle."""
        try:
            return os.dup(handle)
        except (OSError, OverflowError):
            return None

    def same(handle: int, other: int) -> bool | None:
        """Whether both are open handles of one event; None if the system cannot tell."""
        try:
            os.fstat(handle)
        except (OSError, OverflowError):
            return False
        number, own = _KCMP.get(os.uname().machine), os.getpid()
        if sys.platform != "linux" or number is None:
            return None
        found = ctypes.CDLL(None).syscall(number, own, own, _KCMP_FILE, handle, other)
        return None if found < 0 else found == 0  # negative: not allowed here

    def wait(handle: int, seconds: float) -> bool:
        """Whether the event is signalled, now or within so many seconds.  False also for what is no event."""
        poll = select.poll()
        try:
            poll.register(handle, select.POLLIN)
        except (OSError, OverflowError, ValueError):
            return False
        return any(found & select.POLLIN for _, found in poll.poll(round(1000 * seconds)))

    def close(handle: int) -> None:
        """Close it, if it is open."""
        with contextlib.suppress(OSError, OverflowError):
            os.close(handle)


__all__ = ["OpenHandle", "close", "create", "duplicate", "same", "signal", "wait"]


class OpenHandle(int):
    """A live handle as a Python host sees it: a number that can be closed, as pywin32's can (docs/targets.md)."""

    def close(self) -> None:
        """Give the handle back to the system."""
        close(self)

    Close = close
