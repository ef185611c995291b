"""A sync on a bar of tqdm: `synctape fuzz --target tqdm_host:Host`."""

from functools import partial
from threading import RLock

from adapter import Adapter
from terminal import screen
from tqdm import tqdm


class Host(Adapter):
    def __init__(self) -> None:
        tqdm.set_lock(RLock())  # or what one host leaves locked, the next would wait for
        self.bar = tqdm(total=0, file=screen(), mininterval=0)
        self.tell, self.end = partial(self.bar.write, file=screen()), self.bar.close

    def show(self, text: str, index: int, index_max: int) -> None:
        self.bar.total, self.bar.n = index_max, index
        self.bar.set_description(text)
