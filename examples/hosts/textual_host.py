"""A sync in an application of textual, without a screen: `synctape fuzz --target textual_host:Host`."""

from functools import partial

from adapter import Adapter
from textual.app import App
from textual.widgets import Label, ProgressBar
from window_thread import application


class Host(Adapter):
    def __init__(self) -> None:
        window, self.label, self.bar = application(App, headless=True), Label(), ProgressBar(total=1)
        self.do, screen = window.call_from_thread, window.screen
        self.do(screen.mount, self.label, self.bar)
        self.tell, self.end = partial(self.do, screen.notify), partial(self.do, screen.remove_children)

    def show(self, text: str, index: int, index_max: int) -> None:
        self.do(self.label.update, text)
        self.do(self.bar.update, total=index_max, progress=index)
