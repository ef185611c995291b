"""A sync on `whiptail --gauge`, a process that reads what to show: `synctape fuzz --target whiptail_host:Host`."""

import subprocess
from typing import Any

from drained_terminal import DrainedTerminal

ENVIRONMENT = {"TERM": "xterm", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}


class Host:
    def __init__(self) -> None:
        self.terminal = DrainedTerminal()
        self.gauge = subprocess.Popen(
            ["whiptail", "--gauge", "Synchronising", "8", "70", "0"],
            stdin=subprocess.PIPE,
            stdout=self.terminal.descriptor,
            stderr=self.terminal.descriptor,
            env=ENVIRONMENT,
            preexec_fn=self.terminal.control,  # noqa: PLW1509 - two system calls, no lock
        )

    def _show(self, text: str, percent: int) -> None:
        assert self.gauge.stdin is not None
        self.gauge.stdin.write(f"XXX\n{percent}\n{text}\nXXX\n".encode("utf-8", "replace"))
        self.gauge.stdin.flush()

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self._show(text or "", 100 * index // index_max if index_max else 0)

    def Error(self, result: int, text: str | None) -> None:
        self._show(text or f"{result & 0xFFFFFFFF:#010x}", 0)

    def Done(self, event: Any, result: int) -> None:
        self.gauge.communicate()
        if self.gauge.returncode:
            raise ChildProcessError(f"whiptail ended with {self.gauge.returncode}")

    def __del__(self) -> None:
        self.gauge.kill()
        self.gauge.communicate()
        self.terminal.close()
