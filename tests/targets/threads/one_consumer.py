"""A correct host: what comes in is queued, and one thread at a time takes it out and shows it.

Callers wait until theirs is shown, as with a message that is sent to a window.  The consumer ends when the queue
is empty; who queues something then starts the next one.  The lock guards the queue and whether there is one that
consumes; what is shown belongs to the consumer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Host:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self.consuming = False
        self.text = ""
        self.position = (0, 0)
        self.problems = 0
        self.result: int | None = None

    def state(self) -> dict[str, Any]:
        return {"text": self.text, "position": self.position, "problems": self.problems, "result": self.result}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        def show() -> None:
            if self.result is None:
                self.text = self.text if text is None else text[:100]
                self.position = index, maximum

        self._send(show)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        def count() -> None:
            if self.result is None:
                self.problems += 1

        self._send(count)
        return 0

    def Done(self, handle: Any, result: int) -> int:
        first = False

        def end() -> None:
            nonlocal first
            if self.result is None:
                self.result = result
                first = True

        self._send(end)
        if first and hasattr(handle, "close"):
            handle.close()
        return 0

    def _send(self, what: Callable[[], None]) -> None:
        """Have it done by the consumer, and wait until it is."""
        shown = threading.Event()
        with self.lock:
            self.waiting.append((what, shown))
            starts, self.consuming = not self.consuming, True
        if starts:
            threading.Thread(target=self._consume, name="consumer", daemon=True).start()
        shown.wait()

    def _consume(self) -> None:
        while True:
            with self.lock:
                if not self.waiting:
                    self.consuming = False
                    return
                what, shown = self.waiting.popleft()
            what()
            shown.set()
