"""A sync on a bar of progressbar2: `synctape fuzz --target progressbar2_host:Host`."""

from typing import Any

import progressbar
from drained_terminal import DrainedTerminal

TERMINAL = DrainedTerminal()


class Host:
    def __init__(self) -> None:
        widgets = [progressbar.Variable("text"), progressbar.Percentage(), progressbar.Bar()]
        self.bar = progressbar.ProgressBar(
            max_value=1, fd=TERMINAL.file, widgets=widgets, variables={"text": ""}, max_error=False
        )
        self.bar.start()

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.bar.max_value = index_max
        self.bar.update(index, text=text, force=True)

    def Error(self, result: int, text: str | None) -> None:
        self.bar.update(text=text or f"{result & 0xFFFFFFFF:#010x}", force=True)

    def Done(self, event: Any, result: int) -> None:
        self.bar.finish()
