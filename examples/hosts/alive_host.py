"""A sync on a bar of alive-progress: `synctape fuzz --target alive_host:Host`."""

from contextlib import ExitStack
from typing import Any

from alive_progress import alive_bar
from drained_terminal import DrainedTerminal

TERMINAL = DrainedTerminal()


class Host:
    def __init__(self) -> None:
        self.open = ExitStack()
        bar = alive_bar(manual=True, file=TERMINAL.file, force_tty=True, enrich_print=False, refresh_secs=0.01)
        self.bar = self.open.enter_context(bar)

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.bar.text(text)
        self.bar(index / index_max if index_max else 0.0)

    def Error(self, result: int, text: str | None) -> None:
        self.bar.title(text)

    def Done(self, event: Any, result: int) -> None:
        self.open.close()

    def __del__(self) -> None:
        self.open.close()
