"""A sync on a bar of rich: `synctape fuzz --target rich_host:Host`."""

from typing import Any

from drained_terminal import DrainedTerminal
from rich.console import Console
from rich.progress import Progress

TERMINAL = DrainedTerminal()


class Host:
    def __init__(self) -> None:
        console = Console(file=TERMINAL.file, force_terminal=True, width=80)
        self.progress = Progress(console=console, auto_refresh=False)
        self.task = self.progress.add_task("")
        self.progress.start()

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.progress.update(self.task, description=text or "", completed=index, total=index_max, refresh=True)

    def Error(self, result: int, text: str | None) -> None:
        self.progress.console.print(text or f"{result & 0xFFFFFFFF:#010x}")

    def Done(self, event: Any, result: int) -> None:
        self.progress.stop()
