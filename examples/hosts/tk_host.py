"""A sync in a window of Tk: `xvfb-run -a synctape fuzz --target tk_host:Host`."""

from tkinter import Toplevel, ttk

from adapter import Adapter
from window_thread import in_window_thread


@in_window_thread
class Host(Adapter):
    def __init__(self) -> None:
        self.window = Toplevel()
        self.label, self.bar = ttk.Label(self.window), ttk.Progressbar(self.window)
        self.label.pack(), self.bar.pack()
        self.tell, self.end = self.window.title, self.window.destroy

    def show(self, text: str, index: int, index_max: int) -> None:
        self.label.configure(text=text)
        self.bar.configure(maximum=index_max, value=index)
        self.window.update()
