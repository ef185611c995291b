"""A sync on a bar of tqdm: `synctape fuzz --target tqdm_host:Host`."""

from threading import RLock
from typing import Any

from drained_terminal import DrainedTerminal
from tqdm import tqdm

TERMINAL = DrainedTerminal()


class Host:
    def __init__(self) -> None:
        tqdm.set_lock(RLock())  # or what one host leaves locked, the next would wait for
        self.bar = tqdm(total=0, file=TERMINAL.file, mininterval=0)

    def Progress(self, text: str | None, index: int, index_max: int) -> None:
        self.bar.total = index_max
        self.bar.n = index
        self.bar.set_description(text)

    def Error(self, result: int, text: str | None) -> None:
        self.bar.write(text or f"{result & 0xFFFFFFFF:#010x}", file=TERMINAL.file)

    def Done(self, event: Any, result: int) -> None:
        self.bar.close()
