"""Jobs for test_sandbox.py: what a child does on request, most of it bad.

The children import this file by its name from its folder, so nothing else may be called so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
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
            if "note" in config:
                Path(config["note"]).write_text(str(os.getpid()))
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


_given = os.environ.get("SANDBOX_JOBS")  # while the module is imported


def _environment(journal: Journal) -> list[str | None]:
    """What a variable is on import, and now."""
    return [_given, os.environ.get("SANDBOX_JOBS")]


def _report(journal: Journal, text: str, seconds: float) -> None:
    """Write a report as a sanitizer's runtime does, take that long over it, and end."""
    Path(f"{_given}.{os.getpid()}").write_text(text, encoding="utf-8")
    time.sleep(seconds)
    os.abort()


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


def _exit_late(journal: Journal, seconds: float) -> None:
    time.sleep(seconds)
    os._exit(0)


def _raise(journal: Journal) -> None:
    raise LookupError("a mistake \ud800 of the job")


def _endless_loop(journal: Journal) -> None:
    journal.note(7, 8)
    while True:
        pass


def _hold_interpreter(journal: Journal) -> None:
    """Never give the interpreter to another thread, nor come back: hung native code at its worst."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(3_600_000)
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
    if sys.platform == "win32":
        raise NotImplementedError
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def _leave_daemon(journal: Journal, file: str) -> None:
    """Die and leave a fork in a session of its own, its number in a file."""
    if sys.platform == "win32":
        raise NotImplementedError
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        Path(file).write_text(str(os.getpid()))
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _return_twice(journal: Journal) -> str:
    if sys.platform == "win32":
        raise NotImplementedError
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
    """The worker's connection, from the frame that serves it."""
    caller: FrameType | None = sys._getframe()
    while caller is not None and "connection" not in caller.f_locals:
        caller = caller.f_back
    assert caller is not None
    own: socket.socket = caller.f_locals["connection"].socket
    return own


def _kill_template(journal: Journal) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def _crash_later(journal: Journal) -> int:
    """Answer, and die soon after of a thread of the target's own."""
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGSEGV)).start()
    return os.getpid()


def _not_packable(journal: Journal) -> object:
    return object()


def _big(journal: Journal, size: int) -> bytes:
    return b"z" * size


def _hang_later(journal: Journal) -> str:
    """Answer, and soon after let a thread take the interpreter for good: the next request stays unread."""
    threading.Timer(0.01, _hold_interpreter, (journal,)).start()
    return "fine"


_ACTIONS: dict[str, Callable[..., Any]] = {
    name.removeprefix("_"): action for name, action in list(globals().items()) if callable(action)
}
