"""Windows' job objects: the end of the one that holds a job's handle is the end of the processes in it.

On other systems there are none: nothing is done there.
"""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys

__all__ = ["Job"]

_DIE_ON_UNHANDLED_EXCEPTION, _KILL_ON_CLOSE, _PROCESS_MEMORY = 0x400, 0x2000, 0x100
_EXTENDED_LIMITS = 9  # JOBOBJECT_EXTENDED_LIMIT_INFORMATION (winnt.h)


class Job:
    """A process, and what it starts from now on; they end with `close`, or with this process.

    `memory`: bytes that each may commit, None for no limit.  Where Windows gives no job the process runs without.
    """

    def __init__(self, process: subprocess.Popen[bytes], memory: int | None = None):
        self._handle = 0
        if sys.platform == "win32":
            kernel32 = ctypes.WinDLL("kernel32")
            kernel32.CreateJobObjectW.restype = ctypes.c_void_p
            self._handle = kernel32.CreateJobObjectW(None, None) or 0
            flags = _KILL_ON_CLOSE | _DIE_ON_UNHANDLED_EXCEPTION | (0 if memory is None else _PROCESS_MEMORY)
            limits = struct.pack("@qqINNINII6QNNNN", 0, 0, flags, *[0] * 12, memory or 0, 0, 0, 0)
            job = ctypes.c_void_p(self._handle)
            kernel32.SetInformationJobObject(job, _EXTENDED_LIMITS, limits, len(limits))
            kernel32.AssignProcessToJobObject(job, ctypes.c_void_p(int(process._handle)))  # type: ignore[attr-defined]

    def close(self) -> None:
        """End what is still there; again does nothing."""
        if sys.platform == "win32" and self._handle:
            handle, self._handle = self._handle, 0
            ctypes.WinDLL("kernel32").CloseHandle(ctypes.c_void_p(handle))
