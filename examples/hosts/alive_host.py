"""A sync on a bar of alive-progress: `synctape fuzz --target alive_host:Host`."""

from contextlib import ExitStack
from weakref import finalize

from adapter import Adapter
from alive_progress import alive_bar
from terminal import screen


class Host(Adapter):
    def __init__(self) -> None:
        opened = ExitStack()
        options = {"manual": True, "force_tty": True, "enrich_print": False, "refresh_secs": 0.01}
        self.bar = opened.enter_context(alive_bar(file=screen(), **options))
        self.tell, self.end = self.bar.title, finalize(self, opened.close)

    def show(self, text: str, index: int, index_max: int) -> None:
        self.bar.text(text)
        self.bar(index / index_max if index_max else 0.0)
