"""Servers on 127.0.0.1 for tests and captures: `git daemon` with repositories made for it, and one of HTTP."""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import pygit2

from examples.imap_provider.dovecot import HOST, free_port

__all__ = [
    "BODY",
    "GitDaemon",
    "Page",
    "Web",
    "commit",
    "cut_off",
    "garbled",
    "piecewise",
    "status",
    "whole",
    "without_ranges",
]

_STARTED: Final = 20.0  # seconds
_PIECE: Final = 16 << 10  # bytes

BODY: Final = random.Random(1143).randbytes(300_000)

# --- git ------------------------------------------------------------------------------------------------------

_AUTHOR: Final = pygit2.Signature("Ada", "ada@mail.example", 1_700_000_000, 60)


def commit(path: Path, count: int, *, blob: int = 0) -> None:
    """Add commits to a repository, which is made if there is none; the same every time.

    Each changes a line of a long text, and adds a file of `blob` random bytes that no packing makes smaller.
    """
    new = not path.exists()
    repository = pygit2.init_repository(str(path), initial_head="main") if new else pygit2.Repository(str(path))
    if new:
        repository.config["core.compression"] = 0
        repository.config["pack.threads"] = 1
    earlier = 0 if repository.head_is_unborn else sum(1 for _ in repository.walk(repository.head.target))
    rng = random.Random(earlier)
    for number in range(earlier, earlier + count):
        text = [f"{line}: {line * 7919 % 1009}\n" for line in range(300)]
        text[number % 300] = f"changed by commit {number}\n"
        (path / "notes.txt").write_text("".join(text), newline="\n")
        (path / f"Anhang {number}.bin").write_bytes(rng.randbytes(blob))
        repository.index.add_all()
        repository.index.write()
        parents = [] if repository.head_is_unborn else [repository.head.target]
        tree = repository.index.write_tree()
        repository.create_commit("refs/heads/main", _AUTHOR, _AUTHOR, f"Commit {number}", tree, parents)


class GitDaemon:
    """`git daemon` on the repositories of a folder; each has the URL of its name."""

    def __init__(self, folder: Path):
        self.port = free_port()
        command = ["git", "daemon", "--reuseaddr", f"--listen={HOST}", f"--port={self.port}"]
        self._process = subprocess.Popen(
            [*command, f"--base-path={folder}", "--export-all", str(folder)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"},
        )

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _STARTED
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
                return self
            time.sleep(0.01)
        self.kill()
        raise OSError("git daemon does not answer; on Debian it is in the package git")

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def url(self, name: str, port: int | None = None) -> str:
        return f"git://{HOST}:{port or self.port}/{name}"

    def kill(self) -> None:
        """End it and all that it started for its clients, at once."""
        if sys.platform != "win32" and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


# --- HTTP -----------------------------------------------------------------------------------------------------

Page = Callable[["_Request"], None]
"""Answers one request."""


class Web(http.server.ThreadingHTTPServer):
    """A server of HTTP with `pages` by their path."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, pages: Mapping[str, Page]):
        super().__init__((HOST, 0), _Request)
        self.pages = pages
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.server_port}{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here."""


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
        else:
            page(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def head(self, code: int = 200, **fields: object) -> None:
        self.send_response(code)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def head_from(self, start: int, length: int) -> None:
        """Of `length` bytes those from `start` on."""
        if start:
            self.head(206, Content_Range=f"bytes {start}-{length - 1}/{length}", Content_Length=length - start)
        else:
            self.head(Content_Length=length)

    def start(self) -> int:
        """The byte that the client wants first."""
        return int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])

    def leave(self, how: str) -> None:
        """`close` or `reset` the connection, or say nothing more (`stall`)."""
        self.close_connection = True
        self.wfile.flush()
        if how == "stall":
            self.server.ended.wait()
        elif how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def whole(body: bytes = BODY) -> Page:
    """All of it, its length told; from where the client wants it."""

    def answer(request: _Request) -> None:
        start = request.start()
        request.head_from(start, len(body))
        request.wfile.write(body[start:])

    return answer


def piecewise(body: bytes = BODY) -> Page:
    """All of it in chunks; how long it is is never told."""

    def answer(request: _Request) -> None:
        request.head(Transfer_Encoding="chunked")
        for start in range(0, len(body), _PIECE):
            piece = body[start : start + _PIECE]
            request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        request.wfile.write(b"0\r\n\r\n")

    return answer


def cut_off(part: int, how: str = "close", *, length: int = len(BODY), times: int | None = None) -> Page:
    """`length` bytes are told, `part` come, and that is the end of it; `times`, None: every time."""
    left = [times]

    def answer(request: _Request) -> None:
        if left[0] == 0:
            whole()(request)
            return
        left[0] = left[0] and left[0] - 1
        start = request.start()
        request.head_from(start, length)
        request.wfile.write(BODY[start : start + part])
        request.leave(how)

    return answer


def without_ranges(request: _Request) -> None:
    """Begins at the beginning whatever the client wants, and ends soon."""
    request.head_from(0, len(BODY))
    request.wfile.write(BODY[:90_000])
    request.leave("close")


def garbled(request: _Request) -> None:
    """Said to be gzip, and is not."""
    request.head(Content_Encoding="gzip", Content_Length=2000)
    request.wfile.write(BODY[:2000])


def status(code: int, **fields: object) -> Page:
    """An answer without content."""
    return lambda request: request.head(code, Content_Length=0, **fields)
