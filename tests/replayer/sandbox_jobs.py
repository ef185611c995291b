"""Jobs for test_sandbox.py: what a child does on request, most of it bad.

The children import this file by its name from its folder, so nothing else may be called so.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from recorder.errors import SynctapeError
from replayer.sandbox_child import Journal

Handler = Callable[[Any], Any]

_threads: list[threading.Thread] = []


def preload(config: Any) -> None:
    """What a target's import may do, by the config's "import"."""
    match config.get("import") if isinstance(config, dict) else None:
        case "crash":
            ctypes.string_at(0)
        case "hang":
            time.sleep(3600)
        case "refuse":
            raise SynctapeError("target 'nowhere:Host': no module 'nowhere'")
        case "fail":
            raise RuntimeError("two\nlines")
        case "exit":
            sys.exit(0)
        case "thread":
            _threads.append(threading.Thread(target=threading.Event().wait, daemon=True))
            _threads[-1].start()


def echo(config: Any, journal: Journal) -> Handler:
    return lambda payload: [config, payload]


def cannot_be_made(config: Any, journal: Journal) -> Handler:
    if config == "crash":
        os.abort()
    raise SynctapeError("host:Host gives no instance: it has no method 'Done'")


def act(config: Any, journal: Journal) -> Handler:
    """Do what [action, *arguments] says."""

    def handle(payload: Any) -> Any:
        action, *arguments = payload
        return _ACTIONS[action](journal, *arguments)

    return handle


_seen: list[int] = []


def _count(journal: Journal) -> int:
    """How often this process was asked: tells a fresh one from a used one."""
    _seen.append(1)
    return len(_seen)


def _pids(journal: Journal) -> list[int]:
    return [os.getpid(), os.getppid() if sys.platform != "win32" else 0]


def _read_null(journal: Journal, a: int = 0, b: int = 0) -> None:
    journal.note(a, b)
    if sys.platform == "win32":
        ctypes.windll.kernel32.TerminateProcess(ctypes.c_void_p(-1), ctypes.c_uint(0xC0000005))
    ctypes.string_at(0)


def _abort(journal: Journal) -> None:
    os.abort()


def _exit(journal: Journal, code: int) -> None:
    os._exit(code)


def _raise(journal: Journal) -> None:
    raise LookupError("a mistake \ud800 of the job")


def _endless_loop(journal: Journal) -> None:
    journal.note(7, 8)
    while True:
        pass


def _hold_interpreter(journal: Journal) -> None:
    """Never give the interpreter to another thread, nor come back: hung native code at its worst."""
    ctypes.PyDLL(None).sleep(3600)


def _advance(journal: Journal, seconds: float) -> str:
    """A batch that takes its time and says how far it is."""
    end, step = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        step += 1
        journal.note(step, 0)
    return "done"


def _take_memory(journal: Journal, mebibytes: int) -> int:
    journal.note(1, 2)
    return len(b"x" * (mebibytes << 20))


def _chatter(journal: Journal, lines: int) -> str:
    for _ in range(lines):
        print("a line on stdout")
    sys.stderr.write("x" * (4 << 20))
    os.write(1, b"y" * (4 << 20))
    return "quiet"


def _read_stdin(journal: Journal) -> str:
    return sys.stdin.read() + os.read(0, 10).decode()


def _leave_process(journal: Journal) -> int:
    """Start a process that outlives the request and keeps what standard streams it can get."""
    command = [sys.executable, "-c", "import time; time.sleep(3600)"]
    return subprocess.Popen(command, close_fds=False).pid


def _leave_fork(journal: Journal) -> int:
    """A fork without exec keeps every descriptor of the worker; it comes back through the job, too."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def _return_twice(journal: Journal) -> str:
    return "child" if os.fork() == 0 else "original"


def _die_in_the_answer(journal: Journal, sent: bytes) -> None:
    """Send the given bytes on the sandbox's own socket, then crash."""
    journal.note(3, 4)
    _own_socket().sendall(sent)
    if sys.platform != "win32":
        os.kill(os.getpid(), signal.SIGKILL)


def _answer_falsely(journal: Journal, sent: bytes) -> None:
    _own_socket().sendall(sent)
    time.sleep(3600)


def _own_socket() -> socket.socket:
    """The worker's connection: the only one that this process has."""
    return next(o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0)


def _kill_template(journal: Journal) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def _crash_after_reply(journal: Journal) -> str:
    """Answer, and die of a thread of the target's own once the answer has been sent."""
    parent = _own_socket()

    def die() -> None:
        while parent.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGSEGV)

    threading.Thread(target=die).start()
    return "fine"


def _not_packable(journal: Journal) -> object:
    return object()


def _big(journal: Journal, size: int) -> bytes:
    return b"z" * size


def _stop_reading(journal: Journal) -> str:
    """Answer, then hang in a thread that never lets go of the interpreter: the next request stays unread."""
    threading.Timer(0.02, lambda: ctypes.PyDLL(None).sleep(3600)).start()
    return "fine"


_ACTIONS: dict[str, Callable[..., Any]] = {
    name.removeprefix("_"): action for name, action in list(globals().items()) if callable(action)
}
