"""What may go wrong between provider and server: a relay on 127.0.0.1 that is slow, cuts off, is silent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Final, Literal, Self

from examples.imap_provider.dovecot import HOST

__all__ = ["Relay"]

_BLOCK: Final = 1 << 16  # bytes
_PART: Final = 40  # bytes of an answer that still come through

_NONSENSE: Final = b"\xff\x00 7 ( {4294967296}\r\n"

Trouble = Literal["close", "reset", "stall", "garble"]


class Relay:
    """Passes connections on to `port`; answers come at most at `rate` bytes a second, None: at once."""

    def __init__(self, port: int, *, rate: int | None = None):
        self._target = port
        self._rate = rate
        self._trouble: Trouble | None = None
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for end in [self._listener, *self._sockets]:
            _shut(end)
            end.close()

    def cut(self, how: Trouble) -> None:
        """Of the next answer only a part comes through; then the connection is closed, reset, or silent.

        "garble": nonsense comes in its place, and then nothing.  Connections that are made later work, unless they
        are silent too.
        """
        self._trouble = how

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
            except OSError:
                return
            self._sockets += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK if not self._rate else max(1, self._rate // 20)):
                if answers and self._trouble:
                    sink.sendall(_NONSENSE if self._trouble == "garble" else data[:_PART])
                    self._make(self._trouble, sink)
                    break
                sink.sendall(data)
                if answers and self._rate:
                    time.sleep(len(data) / self._rate)
        for end in (source, sink):
            _shut(end)

    def _make(self, trouble: Trouble, client: socket.socket) -> None:
        if trouble == "stall":
            self._ended.wait()
            return
        self._trouble = None
        if trouble == "reset":
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # wakes the other thread, which holds the connection open
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
