"""A sync on `whiptail --gauge`, a process that reads what to show: `synctape fuzz --target whiptail_host:Host`."""

from adapter import Adapter
from terminal import Terminal


class Host(Adapter):
    def __init__(self) -> None:
        self.terminal = Terminal()
        self.gauge = self.terminal.run("whiptail", "--gauge", "Synchronising", "8", "70", "0")
        self.end = self.terminal.wait

    def show(self, text: str, index: int, index_max: int) -> None:
        percent = 100 * index // index_max if index_max else 0
        self.gauge.stdin.write(f"XXX\n{percent}\n{text}\nXXX\n".encode("utf-8", "replace"))

    def tell(self, text: str) -> None:
        self.show(text, 0, 1)
