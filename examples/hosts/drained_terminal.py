"""A pseudo-terminal that nobody looks at: what a host draws on it is read at once, counted, and forgotten."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import threading

assert sys.platform != "win32", "there are no pseudo-terminals"

__all__ = ["DrainedTerminal"]


class DrainedTerminal:
    """`file` is a terminal of 24 lines and 80 columns to write to, in UTF-8 as most are.

    `written` counts the bytes that came out at the other end.  A thread of its own reads them, so that
    a host never waits for room.
    """

    def __init__(self) -> None:
        self._reader, self.descriptor = pty.openpty()
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.file = os.fdopen(self.descriptor, "w", encoding="utf-8", newline="", closefd=False)
        self.written = 0
        self._thread = threading.Thread(target=self._drain, name="terminal", daemon=True)
        self._thread.start()

    def control(self) -> None:
        """Be the controlling terminal of this process, for `preexec_fn`: it begins a session of its own."""
        os.setsid()
        fcntl.ioctl(self.descriptor, termios.TIOCSCTTY, 0)

    def close(self) -> None:
        os.close(self.descriptor)
        self._thread.join()
        os.close(self._reader)

    def _drain(self) -> None:
        while True:
            try:
                read = os.read(self._reader, 1 << 16)
            except OSError:  # the other end is closed
                return
            self.written += len(read)
