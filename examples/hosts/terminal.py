"""A pseudo-terminal that nobody looks at: what a host draws on it is read at once and forgotten."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from typing import TextIO

assert sys.platform != "win32", "there are no pseudo-terminals"

__all__ = ["Terminal", "screen"]

_ENVIRONMENT = {"TERM": "xterm", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}


class Terminal:
    """`file` is a terminal of 24 lines and 80 columns to write to, in UTF-8 as most are.

    A thread of its own reads what comes out at the other end, so that a host never waits for room.
    """

    def __init__(self) -> None:
        self._reader, self._descriptor = pty.openpty()
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.file = os.fdopen(self._descriptor, "w", encoding="utf-8", newline="", closefd=False)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=_drain, args=(self._reader,), name="terminal", daemon=True)
        self._thread.start()

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that draws on this terminal, and reads from a pipe what it is to show."""
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=self._descriptor,
            stderr=self._descriptor,
            env=_ENVIRONMENT,
            preexec_fn=self._control,  # noqa: PLW1509 - three system calls, no lock
        )
        return self._process

    def wait(self) -> None:
        """Until the process has shown all.  Raises ChildProcessError if it has not ended well."""
        if self._process is not None:
            self._process.communicate()
            if self._process.returncode:
                raise ChildProcessError(f"the process ended with {self._process.returncode}")

    def __del__(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        os.close(self._descriptor)
        self._thread.join()
        os.close(self._reader)

    def _control(self) -> None:
        """Be the controlling terminal of a new process: it begins a session of its own and ends with that.

        Whoever is started by nohup ignores that one hangs up, and so would what he starts.
        """
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(self._descriptor, termios.TIOCSCTTY, 0)


def _drain(reader: int) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while os.read(reader, 1 << 16):
            pass


@functools.cache
def _of_bars() -> Terminal:
    return Terminal()


def screen() -> TextIO:
    """The terminal that all bars of this process draw on."""
    return _of_bars().file
