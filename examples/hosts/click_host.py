"""A sync on a bar of click: `synctape fuzz --target click_host:Host`."""

import click
from adapter import Adapter
from terminal import screen


class Host(Adapter):
    def __init__(self) -> None:
        self.bar = click.progressbar(length=0, file=screen(), update_min_steps=0)
        self.bar.render_progress()
        self.end = self.bar.render_finish

    def show(self, text: str, index: int, index_max: int) -> None:
        self.bar.length, self.bar.label = index_max, text
        self.bar.update(index - self.bar.pos)

    def tell(self, text: str) -> None:
        click.echo(text, file=screen())
