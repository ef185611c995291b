"""A sync in an application of textual, without a screen: `synctape fuzz --target textual_host:Host`."""

import threading
from typing import Any

from textual.app import App
from textual.widgets import Label, ProgressBar


class Window(App[None]):
    """One for all hosts, since it takes long to start; begun anew when it has ended."""

    running: "Window | None" = None
    ready: threading.Event

    @classmethod
    def open(cls) -> "Window":
        if cls.running is None or not cls.running.is_running:
            cls.running = cls()
            cls.running.ready = threading.Event()
            threading.Thread(target=cls.running.run, kwargs={"headless": True}, daemon=True).start()
            cls.running.ready.wait()
        return cls.running

    def on_ready(self) -> None:
        self.ready.set()


class Host:
    def __init__(self) -> None:
        self.window, self.label, self.bar = Window.open(), Label(), ProgressBar(total=1)
        self.window.call_from_thread(self.window.screen.remove_children)  # the last host's
        self.window.call_from_thread(self.window.mount, self.label, self.bar)

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.window.call_from_thread(self.label.update, text or "")
        self.window.call_from_thread(self.bar.update, total=index_max, progress=index)

    def Error(self, result: int, text: str | None) -> None:
        self.window.call_from_thread(self.window.notify, text or f"{result & 0xFFFFFFFF:#010x}")

    def Done(self, event: Any, result: int) -> None:
        self.window.call_from_thread(self.label.remove)
        self.window.call_from_thread(self.bar.remove)
