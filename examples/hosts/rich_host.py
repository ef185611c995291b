"""A sync on a bar of rich: `synctape fuzz --target rich_host:Host`."""

from adapter import Adapter
from rich.console import Console
from rich.progress import Progress
from terminal import screen


class Host(Adapter):
    def __init__(self) -> None:
        console = Console(file=screen(), force_terminal=True, width=80)
        self.progress = Progress(console=console, auto_refresh=False)
        self.task = self.progress.add_task("")
        self.progress.start()
        self.tell, self.end = console.print, self.progress.stop

    def show(self, text: str, index: int, index_max: int) -> None:
        self.progress.update(self.task, description=text, completed=index, total=index_max, refresh=True)
