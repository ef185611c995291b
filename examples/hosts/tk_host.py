"""A sync in a window of Tk: `xvfb-run -a synctape fuzz --target tk_host:Host`."""

import tkinter
from tkinter import ttk
from typing import Any

from window_thread import in_window_thread

TK = in_window_thread(tkinter.Tk)()


class Host:
    @in_window_thread
    def __init__(self) -> None:
        self.window = tkinter.Toplevel(TK)
        self.label = tkinter.Label(self.window)
        self.bar = ttk.Progressbar(self.window)
        self.label.pack()
        self.bar.pack()

    @in_window_thread
    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.label.configure(text=text or "")
        self.bar.configure(maximum=index_max, value=index)
        self.window.update()

    @in_window_thread
    def Error(self, result: int, text: str | None) -> None:
        self.window.title(text or f"{result & 0xFFFFFFFF:#010x}")
        self.window.update()

    @in_window_thread
    def Done(self, event: Any, result: int) -> None:
        self.window.destroy()

    @in_window_thread
    def __del__(self) -> None:
        self.window.destroy()
