"""Threads that make a trace's calls: one for each thread number; work is handed over and waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from replayer.activation import Apartment

__all__ = ["CallThreads"]

_WAIT_SECONDS = 0.5


class CallThreads:
    """A thread for each thread number; with `main_thread` the lowest number's is the one that makes this.

    `real` are the others', as the interpreter knows them.
    """

    def __init__(self, numbers: set[int], main_thread: bool):
        numbers = numbers or {0}
        here = min(numbers) if main_thread else None
        self._by_number = {number: None if number == here else _CallThread(number) for number in numbers}
        self.real = {thread.real for thread in self._by_number.values() if thread}

    def __len__(self) -> int:
        return len(self._by_number)

    def __enter__(self) -> CallThreads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """End the threads; on an exception (Ctrl-C) without waiting for a call that may never come back."""
        for thread in self._by_number.values():
            if thread:
                thread.stop(wait=kind is None)

    @contextmanager
    def inside(self, apartment: Apartment | None) -> Iterator[None]:
        """Have all threads in an apartment meanwhile."""
        if apartment is None:
            yield
            return
        for number in self._by_number:
            self.run(number, apartment.enter)
        yield
        for number, thread in self._by_number.items():
            if thread:  # our own thread stays: it made the object
                self.run(number, apartment.leave)

    def run(self, number: int, work: Callable[[], object]) -> None:
        thread = self._by_number[number]
        if thread:
            thread.run(work)
        else:
            work()

    def run_together(self, works: Sequence[Callable[[], object]]) -> None:
        """Run these at the same time, one for each thread in the order of their numbers; wait for all."""
        threads = [self._by_number[number] for number in sorted(self._by_number)]
        for thread, work in zip(threads, works, strict=True):
            if thread:
                thread.begin(work)
        for thread, work in zip(threads, works, strict=True):
            if not thread:
                work()
        for thread in filter(None, threads):
            thread.wait()


class _CallThread:
    def __init__(self, number: int):
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.real = threading.Thread(target=self._loop, name=f"synctape-{number}", daemon=True)
        try:
            self.real.start()
        except RuntimeError as error:  # no room for its stack
            raise MemoryError(str(error)) from None

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException as error:  # our own mistake, not the target's: tell the caller
                self._done.put(error)
            else:
                self._done.put(None)

    def run(self, work: Callable[[], object]) -> None:
        self.begin(work)
        self.wait()

    def begin(self, work: Callable[[], object]) -> None:
        self._work.put(work)

    def wait(self) -> None:
        """Until the work has been done."""
        while True:
            with suppress(queue.Empty):  # no wait is endless: a signal just before it would not end it
                error = self._done.get(timeout=_WAIT_SECONDS)
                break
        if error is not None:
            raise error

    def stop(self, *, wait: bool) -> None:
        self._work.put(None)
        if wait:
            self.real.join()
