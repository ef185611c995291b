"""A sync on a bar of click: `synctape fuzz --target click_host:Host`."""

from typing import Any

import click
from drained_terminal import DrainedTerminal

TERMINAL = DrainedTerminal()


class Host:
    def __init__(self) -> None:
        self.bar = click.progressbar(length=0, file=TERMINAL.file, update_min_steps=0)
        self.bar.render_progress()

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.bar.length, self.bar.label = index_max, text or ""
        self.bar.update(index - self.bar.pos)

    def Error(self, result: int, text: str | None) -> None:
        click.echo(text or f"{result & 0xFFFFFFFF:#010x}", file=TERMINAL.file)

    def Done(self, event: Any, result: int) -> None:
        self.bar.render_finish()
