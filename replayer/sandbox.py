"""A supervised child process that does requests and may die of them.

    parent (Sandbox) ==data==> worker          requests and replies, both ways
                     --line--> template        stack! kill! next! -- and how each worker ended
    parent and worker map one journal file     (sequence, call): what was under way when it ended
    parent and worker know one stack file      faulthandler writes there
    parent and worker map one fault record     the compiled core writes there, see replayer.faults
    and know one name for reports              a sanitizer's runtime, where there is one, writes to it

The child that is started is a *template*: it imports the job's module (and the target, in the job's `preload`)
once, then forks a worker.  The worker makes the job and serves; when it ends, the template says how and goes on
with the next, in a few milliseconds: once one has died, a spare stands by whose job is made.  Every worker
starts from the same imported state.  Where a fork would not be faithful (Windows, macOS, a target whose import
leaves threads running) the child serves by itself and is started anew after each death.

A job is a function `factory(config, journal)` that returns `handle(payload) -> reply`; both it and an optional
`preload(config)` beside it run in the child.  Config, payload and reply are what msgpack holds (tuples arrive as
lists), any text included.  The job notes in the journal what it is about to do: `journal.note(sequence, call)`;
nothing while it is made, since another may be at work then.

The target has /dev/null as its standard streams, unless the environment says SYNCTAPE_TARGET_OUTPUT=1: then what
it prints goes to this process' stderr.  What it starts itself ends with its worker; on POSIX only if it stays in
the worker's process group.

    SynctapeError
    +-- ExecutorError      the sandbox itself failed: no verdict on the target, exit code 3
        +-- Abandoned      another thread has ended it while a request was under way
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgpack

from recorder.calls import OutcomeKind
from recorder.endings import ending
from recorder.errors import SynctapeError
from recorder.windows_job import Job
from replayer.faults import Fault, FaultFile, parse_fault
from replayer.hang_watch import HEADING
from replayer.sandbox_child import (
    IMPORTING,
    KILL,
    LENGTH,
    MAKING,
    NEXT,
    REPORT,
    STACK,
    UNSTARTED,
    Journal,
    frame,
    pack,
    unpack,
)
from replayer.sanitizer_report import OUT_OF_MEMORY, parse_report

__all__ = ["Abandoned", "Death", "ExecutorError", "Sandbox"]

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; del sys.argv[1:]; from replayer.sandbox_child import main; main()"
_POSIX = os.name == "posix"
_START_SECONDS = 60.0  # for the interpreter to start and find this package
_GRACE_SECONDS = 1.0  # for a process that was told to end, before it is killed
_STACK_SECONDS = 0.5  # for a hung worker to write its stack
_STACK_BYTES = 1 << 16  # that are kept of one
_STACK_FILE_BYTES = 1 << 20  # of old stacks that may pile up
_REPORT_SECONDS = 60.0  # for a report that was begun: looking up its frames in large libraries takes time
_REPORT_BYTES = 1 << 20  # that are kept of one
_LONGEST_FRAME = 1 << 30  # bytes; more is not a reply but the target's damage
_LONGEST_STEP = 0.05  # seconds between two looks at the journal and the process
_INTERPRETER_BYTES = 64 << 20  # what a Python process of Windows commits by itself, and room to spare


class ExecutorError(SynctapeError):
    """The sandbox could not do its work: no process, no such job, or a mistake in the job itself."""

    exit_code = 3


class Abandoned(ExecutorError):
    """Another thread has ended the sandbox while a request was under way."""


@dataclass(frozen=True)
class Death:
    """How the child ended while it worked on a request.

    `kind` is CRASHED or HUNG; `detail` names the signal, NTSTATUS or exit code, the time it was given, or the
    memory limit it ran into.  `position` is what the journal's last note said, (0, 0) if the request made none.
    `stack` is the Python stack of the child as faulthandler writes it, "" where there is none.  `fault` is what
    the child's compiled core wrote of a native fault, `report` what a sanitizer's runtime said of it
    (replayer.sanitizer_report).
    """

    kind: OutcomeKind
    detail: str
    position: tuple[int, int] = (0, 0)
    stack: str = ""
    fault: Fault | None = None
    report: str = ""


Environment = Callable[[str, Mapping[str, str]], Mapping[str, str]]


class Sandbox:
    """One child process at a time, for one job; not for use by several threads at once, but for `abandon`.

    `job`: "package.module:factory".  `name`: what messages about setting up call it, the job if None.
    `timeout`: seconds in which a request must answer or change the journal.  `memory`: MiB of address space
    (thread stacks count) that a worker may take beyond what it starts with, None for no limit; not enforced
    without /proc; on Windows it is committed memory, beyond 64 MiB for the interpreter.  `path`: folders in
    front of this process' sys.path, for the job and its target.  `setup_timeout`: seconds for importing, and
    again for making, the job.  `environment`: called with a path for reports and this process' environment
    before a child is started, gives what its environment has besides; what it raises, `start` does.  The child
    puts its environment back when it has imported the job: what the target starts has nothing of it.
    """

    def __init__(
        self,
        job: str,
        config: Any = None,
        *,
        name: str | None = None,
        timeout: float = 5.0,
        memory: int | None = None,
        path: Sequence[str] = (),
        setup_timeout: float = 60.0,
        environment: Environment | None = None,
    ):
        self._name = name or job
        self._timeout = timeout
        self._setup_timeout = setup_timeout
        self._memory = memory
        self._environment = environment
        self._plan = frame(
            {"job": job, "config": config, "memory": memory, "path": [os.path.abspath(entry) for entry in path]}
        )
        self._child: _Child | None = None
        self._starting = self._ready = False
        self._closed = False
        self._abandoned = False
        self._asked = timeout  # seconds for what was sent last

    def prepare(self) -> None:
        """Begin to start the child, and do not wait for it: what goes wrong with that `start` will say."""
        if self._child is None and not self._closed:
            self._child, self._starting = self._new_child(), True
            self._child.send(self._plan)

    def start(self) -> None:
        """Have a worker that waits for requests; `request` does this by itself.

        Raises ExecutorError if there is no process or no such job, SynctapeError if importing or making the
        target fails: with the same text if a SynctapeError was raised there.
        """
        self._started()

    def request(self, payload: Any, *, timeout: float | None = None) -> Any:
        """The handler's reply to the payload, or the Death that it met.

        `timeout`: as in the constructor, for this request.  Raises what `start` raises; ExecutorError with a
        traceback if the handler raised; TypeError, ValueError, OverflowError or struct.error if the payload
        cannot be packed.
        """
        self.send(payload, timeout=timeout)
        return self.receive()

    def send(self, payload: Any, *, timeout: float | None = None) -> None:
        """The first half of `request`: the worker has something to do, and this process may do something else.

        `receive` must follow before the next one.  Raises what `start` raises, and what packing does.
        """
        seconds = self._timeout if timeout is None else timeout
        message = frame([seconds, payload])
        child = self._started()
        try:
            child.journal.note(0, 0)
            child.send(message)
        except BaseException:
            self._stop()
            raise
        self._asked = seconds

    def receive(self) -> Any:
        """The other half: the reply to what was sent, or the Death that it met.  The time begins to run here."""
        assert self._child is not None, "nothing was sent"
        try:
            return self._conclude(self._child, self._await(self._child, self._asked), self._asked)
        except BaseException:  # KeyboardInterrupt above all: never leave the child behind
            self._stop()
            raise

    def renew(self) -> None:
        """End the child and all it started; the next request gets a fresh one."""
        self._stop()

    def abandon(self) -> None:
        """Have what is under way on another thread raise Abandoned, at once, and whatever is asked from now on."""
        self._abandoned = True

    def close(self) -> None:
        """End the child and all it started.  Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self._stop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------- setting up

    def _started(self) -> _Child:
        """The child with a worker that is ready; what `start` raises, with no child left."""
        if self._closed:
            raise ExecutorError(f"the sandbox of {self._name} is closed")
        if self._child is not None and self._ready:
            return self._child
        try:
            return self._set_up()
        except BaseException:
            self._stop()
            raise

    def _set_up(self) -> _Child:
        self.prepare()
        assert self._child is not None
        if self._starting:
            event = self._await(self._child, _START_SECONDS)
            if event != _Message("started", None):
                raise self._unready(self._child, event)
            self._starting = False
        event = self._converse(self._child, b"", self._setup_timeout)
        if not isinstance(event, _Message) or event.tag != "ready":
            raise self._unready(self._child, event)
        self._child.settle(forked=event.value)
        self._ready = True
        return self._child

    def _new_child(self) -> _Child:
        try:
            return _Child(self._memory, self._environment)
        except OSError as error:
            raise ExecutorError(f"cannot start {sys.executable}: {error}") from error

    def _unready(self, child: _Child, event: _Event) -> SynctapeError:
        """The error that says why there is no worker."""
        phase = {IMPORTING: "importing", MAKING: "making"}.get(child.journal.position[0])
        match event:
            case None if phase:
                return SynctapeError(f"{phase} {self._name} did not end within {self._setup_timeout:g} s")
            case _End(code) if phase:
                report = parse_report(child.take_report())
                why = f" ({report.message})" if report else ""
                return SynctapeError(f"{phase} {self._name} ended with {ending(code)}{why}")
            case None:
                return ExecutorError(f"the sandbox did not start within {_START_SECONDS:g} s")
            case _End(code):
                said = child.stack.read().strip().rpartition("\n")[2]
                return ExecutorError(f"the sandbox did not start: {ending(code)}: {said}".rstrip(": "))
            case _Message("refused", text):
                return SynctapeError(text)
            case _Message("failed", text):
                return SynctapeError(f"{self._name}: {text}")
            case _Message("broken", text):
                return ExecutorError(text)
        return ExecutorError(f"the sandbox of {self._name} sent nonsense while it was set up")

    # ----------------------------------------------------------------------------------------- one request

    def _converse(self, child: _Child, message: bytes, seconds: float) -> _Event:
        child.send(message)
        return self._await(child, seconds)

    def _await(self, child: _Child, seconds: float) -> _Event:
        """An answer or an end; None when `seconds` pass without either and without a change of the journal."""
        position, deadline = child.journal.position, time.monotonic() + seconds
        longest = min(seconds / 8, _LONGEST_STEP)
        while True:
            event = child.wait(longest)
            if self._abandoned:
                raise Abandoned(f"the sandbox of {self._name} was abandoned")
            if event is not None:
                return event
            if self._memory is not None and child.is_out_of_memory:
                return _Message("memory", "")  # a runtime that has none left to report with may wait for ever
            now = time.monotonic()
            if (noted := child.journal.position) != position:
                position, deadline = noted, now + seconds
            elif now >= deadline:
                return None

    def _conclude(self, child: _Child, event: _Event, seconds: float) -> Any:
        """What a request comes to."""
        crashed = OutcomeKind.CRASHED
        match event:
            case _Message("reply", value):
                return value
            case _End(code):
                return self._bury(child, event, crashed, ending(code))
            case None if child.has_report and (end := child.await_end(_REPORT_SECONDS)):
                return self._bury(child, end, crashed, ending(end.code))
            case None:
                child.fetch_stack()
                return self._bury(child, child.kill(), OutcomeKind.HUNG, f"no answer for {seconds:g} s")
            case _Message("memory", trace):
                limit = f"memory limit of {self._memory} MiB"
                return self._bury(child, child.kill(), crashed, limit, str(trace))
            case _Message("bug", trace):
                raise ExecutorError(f"the job of {self._name} failed:\n{trace}")
        return self._bury(child, None, crashed, "its answer was damaged")

    def _bury(self, child: _Child, end: _Event, kind: OutcomeKind, detail: str, stack: str = "") -> Death:
        """The Death to report; a template, if one outlived it, forks the next worker meanwhile."""
        position, stack, report = child.journal.position, stack or child.stack.read(), child.take_report()
        if kind is not OutcomeKind.HUNG and stack.startswith(HEADING):
            stack = ""  # of a wait that came to an end
        record = child.fault.record
        self._ready = False
        if isinstance(end, _End) and not end.whole:
            child.renew()
        else:
            self._stop()
        fault = parse_fault(record) if kind is OutcomeKind.CRASHED else None
        return Death(kind, detail, position, stack, fault, report)

    def _stop(self) -> None:
        self._starting = self._ready = False
        if self._child is not None:
            child, self._child = self._child, None
            child.stop()


_HEADINGS = re.compile(rf"^(?=Fatal Python error: |Windows fatal exception: |{re.escape(HEADING)})", re.MULTILINE)


class _StackFile:
    """The file to which faulthandler appends, and how much of it is about earlier processes.

    It is emptied only when it has grown: after a truncation the next crash waits for the disk (ext4 allocates
    such a file when the dying process closes it: 6 ms).
    """

    def __init__(self, path: Path):
        self._file = path.open("w+b", buffering=0)
        self._mark = 0

    @property
    def size(self) -> int:
        """Bytes written since `forget`."""
        return os.fstat(self._file.fileno()).st_size - self._mark

    def read(self) -> str:
        """The stack that was written last, "" if none was since `forget`."""
        self._file.seek(self._mark + max(self.size - _STACK_BYTES, 0))
        return _HEADINGS.split(self._file.read().decode("utf-8", "replace"))[-1]

    def forget(self) -> None:
        """What is there is about an earlier process, or an earlier moment."""
        self._mark += self.size
        if self._mark > _STACK_FILE_BYTES:
            self._file.truncate(0)
            self._mark = 0

    def close(self) -> None:
        self._file.close()


# ----------------------------------------------------------------------------------------------- the process


class _Message(NamedTuple):
    tag: str
    value: Any


class _End(NamedTuple):
    """A worker has ended: with an exit code, or -n for signal n.  `whole`: and the child with it."""

    code: int
    whole: bool


_Event = _Message | _End | None

_DAMAGED = _Message("damaged", None)


class _Child:
    """A started process and the sockets to it.  Used by one thread."""

    def __init__(self, memory: int | None, environment: Environment | None):
        """OSError if the system gives no process, or not what it needs; what `environment` raises."""
        with contextlib.ExitStack() as opened:
            self._folder = opened.enter_context(
                tempfile.TemporaryDirectory(prefix="synctape-", ignore_cleanup_errors=True)
            )
            folder = Path(self._folder)
            added = environment(str(folder / REPORT), os.environ) if environment else {}
            self.journal = opened.enter_context(contextlib.closing(_new_journal(folder / "journal")))
            self.stack = opened.enter_context(contextlib.closing(_StackFile(folder / "stack")))
            self.fault = opened.enter_context(contextlib.closing(FaultFile(folder / "fault")))
            self._selector = opened.enter_context(selectors.DefaultSelector())
            self._data, self._theirs = map(opened.enter_context, _socket_pair())
            self._line: socket.socket | None = None
            far: socket.socket | None = None
            if _POSIX:
                self._line, far = map(opened.enter_context, _socket_pair())
            self._process = _spawn(self._theirs, far, folder / "stack", added)
            self._opened = opened.pop_all()
        self._job = Job(self._process, None if memory is None else _INTERPRETER_BYTES + (memory << 20))
        _write_start(self._process, self._folder, self._theirs, far, added)
        if far is not None:
            far.close()
            self._theirs.close()  # on Windows, where there is no `far`, the child copies it in its own time
        self._reporting = bool(added)
        self._forked = False
        self._incoming = bytearray()
        self._outgoing = memoryview(b"")
        for ours in (self._data, self._line):
            if ours is not None:
                ours.setblocking(False)
                self._selector.register(ours, selectors.EVENT_READ)

    def settle(self, forked: bool) -> None:
        """The worker is ready, `forked` by a template or the process itself."""
        self._forked = forked
        self._theirs.close()

    def send(self, message: bytes) -> None:
        """Begin to send; `wait` sends what the socket does not take at once."""
        self._outgoing = memoryview(message)
        if self._outgoing and not self._flush():
            self._selector.modify(self._data, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def wait(self, seconds: float) -> _Event:
        """The next message or end; None if neither came within `seconds` (or came only in part)."""
        if (message := self._parse()) is not None:
            return message
        ready = [key.fileobj for key, _ in self._selector.select(seconds)]
        ended = not ready and self._process.poll() is not None
        if self._outgoing and self._flush():
            self._selector.modify(self._data, selectors.EVENT_READ)
        closed = self._receive()
        if (message := self._parse()) is not None:
            return message
        if self._line in ready:
            return self._read_line()
        return self._end() if closed or ended else None

    def fetch_stack(self) -> None:
        """Have a hung worker write its stack; on Windows it does so by itself, see replayer.hang_watch."""
        if sys.platform != "win32":
            self.stack.forget()
            if not self._tell(STACK):
                self._process.send_signal(signal.SIGUSR1)
        deadline, before = time.monotonic() + _STACK_SECONDS, 0
        while time.monotonic() < deadline:
            time.sleep(0.02)  # a stack is all there once it has stopped growing
            if (size := self.stack.size) and size == before:
                return
            before = size

    @property
    def has_report(self) -> bool:
        """Whether a sanitizer's runtime has begun to write one."""
        return bool(self._reports())

    @property
    def is_out_of_memory(self) -> bool:
        """Whether a runtime says that there is no memory left."""
        reports = map(parse_report, map(_head, self._reports()))
        return any(report.kind == OUT_OF_MEMORY for report in reports if report)

    def take_report(self) -> str:
        """What a runtime said before the worker's end, "" if nothing; it is then gone."""
        said = ""
        for path in self._reports():
            said += _head(path)
            with contextlib.suppress(OSError):
                path.unlink()
        return said

    def _reports(self) -> list[Path]:
        return sorted(Path(self._folder).glob(f"{REPORT}.*")) if self._reporting else []

    def kill(self) -> _End | None:
        """Kill the worker; its end, None if that does not show."""
        if not self._tell(KILL):
            self._process.kill()
        return self.await_end(_GRACE_SECONDS)

    def await_end(self, seconds: float) -> _End | None:
        """The worker's end, None if it does not come in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if isinstance(event := self.wait(_LONGEST_STEP), _End):
                return event
        return None

    def renew(self) -> None:
        """After a worker's end: forget what it left behind, and have the template fork the next."""
        if self._outgoing:
            self._outgoing = memoryview(b"")
            self._selector.modify(self._data, selectors.EVENT_READ)
        self._receive()
        self._incoming.clear()
        self.journal.note(UNSTARTED, 0)
        self.stack.forget()
        self.fault.forget()
        self._tell(NEXT)

    def stop(self) -> None:
        """End the process and what it started, and wait for it."""
        self._data.close()
        if self._line is not None:
            self._line.close()  # a template ends by itself, and its worker first
        if _POSIX:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
            _kill_session(self._process.pid)
        else:
            self._process.kill()
            self._job.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel's hands, and it does not let go
            self._process.wait(_GRACE_SECONDS)
        self._opened.close()

    def _tell(self, command: bytes) -> bool:
        """Give the template an order; False where there is none to take it."""
        if self._forked and self._line is not None:
            with contextlib.suppress(OSError):  # it has ended: `wait` will see that
                self._line.send(command)
        return self._forked

    def _flush(self) -> bool:
        """Send what the socket takes; whether all is sent."""
        try:
            self._outgoing = self._outgoing[self._data.send(self._outgoing) :]
        except BlockingIOError:
            return False
        except OSError:  # the other end has gone: reading will tell
            self._outgoing = memoryview(b"")
        return not self._outgoing

    def _receive(self) -> bool:
        """Take in what has arrived; whether the other end is closed."""
        try:
            while arrived := self._data.recv(1 << 18):
                self._incoming += arrived
        except BlockingIOError:
            return False
        except OSError:  # Windows: the connection of a process that crashed is reset
            pass
        return True

    def _parse(self) -> _Message | None:
        """The first whole message of what came in."""
        if len(self._incoming) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._incoming)
        if length > _LONGEST_FRAME:
            return _DAMAGED
        end = LENGTH.size + length
        if len(self._incoming) < end:
            return None
        body = bytes(memoryview(self._incoming)[LENGTH.size : end])
        del self._incoming[:end]
        try:
            tag, value = unpack(body)
        except (ValueError, TypeError, msgpack.UnpackException):
            return _DAMAGED
        return _Message(tag, value)

    def _read_line(self) -> _End:
        """How the template says that its worker ended."""
        assert self._line is not None
        with contextlib.suppress(OSError):
            if said := self._line.recv(64):
                return _End(unpack(said[LENGTH.size :]), whole=False)
        return self._end()

    def _end(self) -> _End:
        """The whole child's end."""
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its socket and lives on
            self._process.kill()
            code = self._process.wait()
        return _End(code, whole=True)


def _head(path: Path) -> str:
    """A report, as far as it is kept."""
    try:
        with path.open("rb") as file:
            return file.read(_REPORT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _new_journal(path: Path) -> Journal:
    path.write_bytes(bytes(16))
    return Journal(str(path))


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that send at once.

    Windows makes them of a TCP connection, which by default waits for more to send.
    """
    pair = socket.socketpair()
    if not _POSIX:
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return pair


def _spawn(
    data: socket.socket, line: socket.socket | None, stack: Path, added: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """The child's process.  OSError if the system gives none."""
    output = 2 if os.environ.get("SYNCTAPE_TARGET_OUTPUT") == "1" else subprocess.DEVNULL
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    command = [sys.executable, "-c", _BOOT, *path]
    environment = {**os.environ, **added} if added else None
    if sys.platform == "win32":
        group = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, creationflags=group, env=environment
        )
    kept = tuple(end.fileno() for end in (data, line) if end is not None)
    with stack.open("ab") as early:  # what an interpreter says that does not get as far as our code
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=early,
            pass_fds=kept,
            start_new_session=True,
            env=environment,
        )


def _write_start(
    process: subprocess.Popen[bytes],
    folder: str,
    data: socket.socket,
    line: socket.socket | None,
    added: Mapping[str, str],
) -> None:
    """Tell the child where its sockets and files are; little enough for any pipe to take at once."""
    start = {
        "data": _handed_over(data, process.pid),
        "line": None if line is None else line.fileno(),
        "folder": folder,
        "environment": {name: os.environ.get(name) for name in added},
    }
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it is dead already: `wait` will see that
        process.stdin.write(pack(start))
    with contextlib.suppress(OSError):
        process.stdin.close()


def _handed_over(end: socket.socket, pid: int) -> int | bytes:
    """What the child makes its socket from: the descriptor it inherits, on Windows a description of it."""
    if sys.platform == "win32":
        return end.share(pid)
    return end.fileno()


def _kill_session(pid: int) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left in it
        os.killpg(pid, signal.SIGKILL)
