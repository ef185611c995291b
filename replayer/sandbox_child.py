"""What runs in a sandbox's child process; `replayer.sandbox` starts it and says there how the parts fit.

The child reads one start message from stdin, then speaks in frames on a socket of its own:

    frame        4 bytes length, little endian, then that many bytes of msgpack
    to child     first {"job", "config", "memory", "path"}, then one [seconds, payload] per request
    from child   ["started", nil]             this module runs; next is importing
                 ["ready", forked]            the worker waits for requests; `forked`: by a template
                 ["reply", value]             what the job's handler returned
                 ["memory", text]             the handler ran into the memory limit
                 ["bug", text]                the handler raised: an error of the job itself
                 ["refused", text]            setting up raised a SynctapeError: its text
                 ["failed", text]             setting up raised something else
                 ["broken", text]             there is no such job, or the system gives no process

Where processes can be forked, the child is a *template*: it imports what the job needs and forks a worker that
makes the job and serves.  A second socket, the line, joins template and parent: down it come single bytes (STACK,
KILL, NEXT), up goes one exit code as a frame whenever a worker has ended.  The line's end is the parent's end:
the template then ends its worker and itself.

Standard library and msgpack only, besides the root of the errors and the compiled core: a target starts in a
process that is as empty as can be.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import itertools
import mmap
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any, BinaryIO, NamedTuple, NoReturn

import msgpack

from recorder.errors import SynctapeError
from recorder.native import core_of
from replayer.faults import watch_faults
from replayer.hang_watch import HangWatch

__all__ = [
    "IMPORTING",
    "KILL",
    "LENGTH",
    "MAKING",
    "NEXT",
    "REPORT",
    "STACK",
    "UNSTARTED",
    "Journal",
    "frame",
    "main",
    "pack",
    "unpack",
]

STACK, KILL, NEXT = b"s", b"k", b"n"  # to the template: print the worker's stack, kill it, fork the next

REPORT = "report"  # what the name of a sanitizer's report begins with; ".1234" follows

UNSTARTED, IMPORTING, MAKING = 0, 1, 2  # what the journal's first number says while the child sets itself up

LENGTH = struct.Struct("<I")
_POSITION = struct.Struct("=QQ")

_NOTHING = contextlib.nullcontext()
_MOMENT = 0.01  # seconds; a worker that lives so long is worth a spare

Handler = Callable[[Any], Any]


def pack(value: Any) -> bytes:
    """msgpack that keeps lone surrogates.  TypeError, OverflowError or ValueError for what it cannot hold."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """The reverse of `pack`; tuples come back as lists.  ValueError or msgpack.UnpackException if damaged."""
    return msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)


def frame(message: Any) -> bytes:
    """A message as bytes for the socket; struct.error if it is 4 GiB or more."""
    packed = pack(message)
    return LENGTH.pack(len(packed)) + packed


class Journal:
    """Two numbers in a file that parent and child both map: what the child wrote last outlives it.

    `note(a, b)` is a single call into C (about 0.1 us); both are from 0 to 2**64-1, else struct.error.
    """

    __slots__ = ("_cells", "note")

    note: Callable[[int, int], None]

    def __init__(self, path: str):
        with open(path, "r+b") as file:
            self._cells = mmap.mmap(file.fileno(), _POSITION.size)
        self.note = partial(_POSITION.pack_into, self._cells, 0)

    @property
    def cells(self) -> mmap.mmap:
        """The numbers' memory, for native code to note in: each of 8 bytes, as this machine orders them."""
        return self._cells

    @property
    def position(self) -> tuple[int, int]:
        """The numbers noted last, (0, 0) if none were."""
        a, b = _POSITION.unpack_from(self._cells)
        return a, b

    def close(self) -> None:
        del self.note
        self._cells.close()


def main() -> None:
    """Be a child from the start message to the end of the parent.  Never returns."""
    try:
        _live(unpack(sys.stdin.buffer.read()))
    finally:
        os._exit(1)  # no clean-up: the target's threads and exit handlers must not hold the process


def _live(start: dict[str, Any]) -> None:
    connection = Connection(_adopt(start["data"]))
    line = _adopt(start["line"]) if start["line"] is not None else None
    journal = Journal(os.path.join(start["folder"], "journal"))
    _quieten()
    with open(os.path.join(start["folder"], "stack"), "ab", buffering=0) as stack:
        _write_stacks_to(stack, faults=not start["environment"])
        _hide_preload(start["environment"])
        if line is not None:
            _die_with(line, True)
        plan = connection.receive()
        sys.path[:0] = plan["path"]  # only now: a target's folder must not hide what this module imports
        journal.note(IMPORTING, 0)
        connection.send(["started", None])
        make = connection.guarded(_import, plan)
        _put_back(start["environment"])
        core = core_of("replayer").module  # loaded once, before workers are forked
        forked = line is not None and _can_fork()
        gate: socket.socket | None = None
        if line is not None and forked:
            _die_with(line, False)
            if start["environment"]:
                _take_in_orphans()
            leash, gate = connection.guarded(_fork_workers, connection.socket, line, start["folder"], journal)
            _die_with(leash, True)
        fault = partial(watch_faults, core, os.path.join(start["folder"], "fault"))
        if gate is None:
            fault()
        if plan["memory"] is not None and sys.platform != "win32":
            _limit_memory(plan["memory"])  # on Windows the parent has done it
        if gate is None:
            journal.note(MAKING, 0)
            handle = connection.guarded(make, plan["config"], journal)
        else:
            faulthandler.disable()  # what becomes of a spare is nobody's business yet
            handle = connection.guarded(make, plan["config"], journal, first=partial(_wait_at, gate))
            _write_stacks_to(stack, faults=not start["environment"])
            fault()
        connection.send(["ready", forked])
        _serve(connection, handle, stack, journal, limited=plan["memory"] is not None)


class _BrokenError(Exception):
    """No fault of the target: the job's name leads nowhere, or the system gives no process."""


def _import(plan: dict[str, Any]) -> Callable[[Any, Journal], Handler]:
    """The job's factory, with everything imported that its `preload` imports."""
    module_name, _, name = plan["job"].partition(":")
    try:
        module = importlib.import_module(module_name)
        factory: Callable[[Any, Journal], Handler] = getattr(module, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise _BrokenError(f"no job {plan['job']}: {error}") from error
    preload = getattr(module, "preload", None)
    if preload is not None:
        preload(plan["config"])
    return factory


class Connection:
    """The child's end of the socket: frames in, frames out, blocking."""

    def __init__(self, connected: socket.socket):
        self.socket = connected
        self._stream = connected.makefile("rb")

    def send(self, message: Any) -> None:
        self.socket.sendall(frame(message))

    def receive(self) -> Any:
        """The next message; ends the process when the parent has gone."""
        head = self._stream.read(LENGTH.size)
        body = self._stream.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else b""
        if not body:
            os._exit(0)
        return unpack(body)

    def guarded(
        self, step: Callable[..., Any], *arguments: Any, first: Callable[[], object] = lambda: None
    ) -> Any:
        """One step of setting up; what it raises goes to the parent as a line of text and ends the process.

        `first` is done before anything is given back or told.
        """
        try:
            made = step(*arguments)
        except _BrokenError as error:
            said = ["broken", _one_line(error)]
        except SynctapeError as error:
            said = ["refused", str(error)]
        except BaseException as error:  # SystemExit too: the target's import may do anything
            said = ["failed", f"{type(error).__name__}: {_one_line(error)}".rstrip(": ")]
        else:
            first()
            return made
        first()
        self.send(said)
        self._stream.read()  # the parent has the word: it ends this process
        os._exit(0)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


# ---------------------------------------------------------------------------------------------- the worker


def _serve(connection: Connection, handle: Handler, stack: BinaryIO, journal: Journal, *, limited: bool) -> None:
    """Answer requests until the parent goes."""
    own = os.getpid()
    watch = HangWatch(stack, lambda: journal.position) if sys.platform == "win32" else None
    while True:
        seconds, payload = connection.receive()
        with watch.request(seconds) if watch else _NOTHING:
            answer = _answer(handle, payload, limited)
        if os.getpid() != own:
            os._exit(0)  # a process that the target forked came back: the answer is the original's to give
        connection.socket.sendall(answer)


def _answer(handle: Handler, payload: Any, limited: bool) -> bytes:
    """The handler's reply as a frame, or the frame that says why there is none."""
    try:
        return frame(["reply", handle(payload)])
    except MemoryError:
        return frame(["memory" if limited else "bug", traceback.format_exc()])
    except BaseException:  # SystemExit too: what the target raises is for the handler to catch
        return frame(["bug", traceback.format_exc()])


def _limit_memory(mebibytes: int) -> None:
    """Let the address space grow by no more than `mebibytes`; without /proc nothing is limited.

    A sanitizer has laid claim to more of it than there is memory, and takes what it needs out of that: there the
    private memory that can be written is limited instead.

    glibc lays claim to 128 MiB for each thread that allocates, and uses next to nothing of it: a recording of a
    dozen threads would have no room for them.  Here all threads allocate from one place.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    import ctypes
    import resource

    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)

    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as statm:
        fields = statm.read().split()
        size, data = (int(fields[n]) * resource.getpagesize() for n in (0, 5))
        kind, used = (resource.RLIMIT_AS, size) if size < _CLAIM else (resource.RLIMIT_DATA, data)
        _, hard = resource.getrlimit(kind)
        soft = used + (mebibytes << 20)
        resource.setrlimit(kind, (soft if hard < 0 else min(soft, hard), hard))


_M_ARENA_MAX = -8  # malloc.h of glibc
_CLAIM = 1 << 42  # bytes of address space; only a process with a sanitizer has so much


# --------------------------------------------------------------------------------------------- the template


def _can_fork() -> bool:
    """Whether a fork of this process is as good as the original: only without threads, Python's or others'.

    macOS does not count: its system libraries do not survive a fork without exec.
    """
    if not hasattr(os, "fork") or sys.platform == "darwin":
        return False
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1
    return threading.active_count() == 1


class _Place(NamedTuple):
    """What a forked worker has of the template: a leash whose other end only that has, and a spare's gate."""

    leash: socket.socket
    gate: socket.socket | None


class _Worker(NamedTuple):
    """A forked worker as the template has it: the other ends."""

    pid: int
    held: socket.socket
    gate: socket.socket | None

    def close(self) -> None:
        self.held.close()
        if self.gate is not None:
            self.gate.close()


def _fork_workers(data: socket.socket, line: socket.socket, folder: str, journal: Journal) -> _Place:
    """Return in every worker.

    Once one has died, and the next has lived for a moment, there is a spare, which has made its job and waits at
    its gate to be the next: so making the job may not show anywhere, above all not in the journal.  The template
    stays in here until the parent goes.
    _BrokenError if the system gives no process.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    alarm = _ChildAlarm()
    gc.collect()
    gc.freeze()  # the workers' collectors then leave the shared pages alone
    spare: _Worker | None = None
    for number in itertools.count():
        _drain(alarm.reader)  # of earlier deaths; what dies from here on rings again
        if spare is not None and os.waitpid(spare.pid, os.WNOHANG)[0]:  # whatever it was: a fresh one will tell
            _kill_group(spare.pid)
            spare.close()
            spare = None
        if spare is None:
            try:
                forked = _fork(alarm, (line,), gated=False)
            except OSError as error:
                raise _BrokenError(f"no process for the sandbox: {error}") from error
            if isinstance(forked, _Place):
                return forked
            worker = forked
        else:
            worker, spare = spare, None
            journal.note(MAKING, 0)  # it may still be at that
            assert worker.gate is not None
            with contextlib.suppress(OSError):  # it has just ended: attending will tell
                worker.gate.send(NEXT)
        if number and _is_quiet(line, alarm):
            with contextlib.suppress(OSError):  # then there is none
                forked = _fork(alarm, (line, worker.held, *filter(None, (worker.gate,))), gated=True)
                if isinstance(forked, _Place):
                    return forked
                spare = forked
        code = _attend(worker, spare, line, alarm)
        if code is None:
            _leave(folder, spare)
        with contextlib.suppress(OSError):  # the parent has gone: hearing will tell
            line.sendall(frame(code))
        worker.close()
        while (command := _hear(line)) != NEXT:
            if not command:
                _leave(folder, spare)
        _drain(data)
    raise AssertionError("numbers never end")


def _is_quiet(line: socket.socket, alarm: _ChildAlarm) -> bool:
    """Whether nothing happens for a moment: a spare would be in the way of what does."""
    if sys.platform == "win32":
        raise NotImplementedError
    poller = select.poll()
    poller.register(line, select.POLLIN)
    poller.register(alarm.reader, select.POLLIN)
    return not poller.poll(_MOMENT * 1000)


def _fork(alarm: _ChildAlarm, inherited: Iterable[socket.socket], *, gated: bool) -> _Worker | _Place:
    """Fork: in the worker its place, the `inherited` sockets closed; in the template the worker.  Or OSError."""
    if sys.platform == "win32":
        raise NotImplementedError
    held, leash = socket.socketpair()
    gate, outside = socket.socketpair() if gated else (None, None)
    try:
        pid = os.fork()
    except OSError:
        _Worker(0, held, gate).close()
        _Worker(0, leash, outside).close()
        raise
    if pid == 0:
        os.setpgid(0, 0)
        alarm.release()
        _Worker(pid, held, gate).close()
        for unused in inherited:
            unused.close()
        return _Place(leash, outside)
    _Worker(0, leash, outside).close()
    with contextlib.suppress(OSError):  # the worker does it too: whoever comes first
        os.setpgid(pid, pid)
    return _Worker(pid, held, gate)


def _wait_at(gate: socket.socket) -> None:
    """Until this spare is to be the worker; ends the process if it never will."""
    if _hear(gate) != NEXT:
        os._exit(0)
    gate.close()


def _leave(folder: str, spare: _Worker | None) -> NoReturn:
    """End, the parent having gone; if it could not clean up any more, this does."""
    if spare is not None:
        _kill_group(spare.pid)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    os._exit(0)


class _ChildAlarm:
    """A socket that becomes readable when a child of this process has ended."""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def release(self) -> None:
        """Put the signal back as it was."""
        if sys.platform == "win32":
            raise NotImplementedError
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGCHLD, self._handler or signal.SIG_DFL)
        self.reader.close()
        self._writer.close()


def _attend(worker: _Worker, spare: _Worker | None, line: socket.socket, alarm: _ChildAlarm) -> int | None:
    """Do what the parent says until the worker has ended: its exit code, -n for signal n.

    None if the parent has gone; the worker then has, too.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    poller = select.poll()
    poller.register(line, select.POLLIN)
    poller.register(alarm.reader, select.POLLIN)
    pid, own = worker.pid, {each.pid for each in (worker, spare) if each is not None}
    _bury_orphans(own)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if alarm.reader.fileno() in ready:
            _drain(alarm.reader)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _kill_group(pid)  # what the target has started
                return os.waitstatus_to_exitcode(status)
            _bury_orphans(own)
        if line.fileno() in ready:
            command = _hear(line)
            if command == STACK:
                os.kill(pid, signal.SIGUSR1)
                continue
            _kill_group(pid)
            if command != KILL:
                os.waitpid(pid, 0)
                return None


def _bury_orphans(own: Container[int]) -> None:
    """Take the exit codes of what workers left to this process, but not those of its `own` children."""
    if sys.platform == "win32":
        raise NotImplementedError
    with contextlib.suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid not in own:
            os.waitpid(dead.si_pid, 0)


def _take_in_orphans() -> None:
    """Be the parent of what a worker leaves behind, so that none of it stays a zombie (Linux).

    A sanitizer's runtime starts a program that looks up the frames of its report, and dies before that ends.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _hear(line: socket.socket) -> bytes:
    """The parent's next command, b"" when it has gone."""
    try:
        return line.recv(1)
    except OSError:
        return b""


def _kill_group(pid: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left in it
        os.killpg(pid, signal.SIGKILL)


def _drain(source: socket.socket) -> None:
    """Throw away what has arrived: the rest of a request whose worker died while it read."""
    timeout = source.gettimeout()
    source.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while source.recv(1 << 16):
            pass
    source.settimeout(timeout)


# ---------------------------------------------------------------------------------------------- the process


def _adopt(shared: int | bytes) -> socket.socket:
    """The socket that the parent handed over: its descriptor, or on Windows the bytes of `socket.share`."""
    if sys.platform == "win32" and isinstance(shared, bytes):
        adopted = socket.fromshare(shared)
    else:
        adopted = socket.socket(fileno=int(shared))
    adopted.set_inheritable(False)
    return adopted


def _quieten() -> None:
    """Take the standard streams from the target, and keep a crash from leaving files or dialogs."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(1, 2)  # until now stderr was a file for the case that the interpreter does not even start
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
    else:
        import resource

        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the parent's thread has blocked is no affair of ours
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _hide_preload(before: dict[str, str | None]) -> None:
    """Take LD_PRELOAD out of the environment as the process was given it.

    A sanitizer's runtime gives that, whatever os.environ says, to the program that looks up its frames; with a
    runtime of its own that program may wait for ever at its end.
    """
    if "LD_PRELOAD" in before:
        import ctypes

        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        name = b"LD_PRELOAD"
        if value := getenv(name):
            ctypes.memset(value - len(name) - 1, ord("_"), 2)  # "LD_PRELOAD=..." becomes "___PRELOAD=..."


def _put_back(before: dict[str, str | None]) -> None:
    """Make the environment what it was: what the target starts needs no sanitizer."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _write_stacks_to(stack: BinaryIO, *, faults: bool) -> None:
    """The Python stack of every thread, when the process crashes and when the parent asks for it.

    `faults`: False leaves crashes to a sanitizer's runtime, which behind another's handler would not see where
    they came from.
    """
    if faults:
        faulthandler.enable(stack, all_threads=True)
    if sys.platform != "win32":
        faulthandler.register(signal.SIGUSR1, stack, all_threads=True)


def _die_with(line: socket.socket, on: bool) -> None:
    """Let the kernel end this process (SIGIO) when the other end of the line goes, whatever it is doing then.

    It works while native code holds the interpreter.  Linux only: elsewhere SIGIO is ignored by default.
    """
    if sys.platform == "linux":
        import fcntl

        flags = fcntl.fcntl(line, fcntl.F_GETFL)
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)
