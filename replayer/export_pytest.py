"""Export as a pytest file: it needs pytest and the reader's callback, and nothing of ours.

The calls are a table in the file; under it stands a small player: threads that make the calls one by one, handles
that count their closes, and what is asked of each answer.  What could take pytest down with it (a crash, an
exit, a hang in C, memory) is played in a child process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from recorder import hresult
from recorder.calls import Argument, Handle
from recorder.interface import Type
from replayer.export import Form, Script, Step

__all__ = ["PYTEST", "quoted", "to_pytest"]

PYTEST: Final = Form(
    "pytest",
    frozenset(
        {"crash", "hang", "exception", "thread-exception", "invariant", "memory", "exit", "slow"}
        | {"invalid-result", "failure", "handle", "string-bounds", "stack-overflow"}
    ),
    exact=False,
)

_ISOLATED: Final = ("crash", "hang", "memory", "exit", "string-bounds", "stack-overflow")
_SPEC: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)


def to_pytest(script: Script) -> str:
    """The file's source, in ASCII."""
    parts = {
        "PROMISE": "\n".join(script.promise()),
        "FACTORY": quoted(script.spec if _SPEC.fullmatch(script.spec) else "your_module:YourCallback"),
        "CALLS": "\n".join(_calls(script)),
        "METHODS": _tuple(quoted(m.name) for m in script.interface.calls),
        "CLOSES": _tuple(map(str, script.closes)),
        "MEMORY": "2048" if script.kept_for("memory") else "None",
        "ISOLATED": repr(script.kept_for(*_ISOLATED)),
        "SLOW": "1.0" if script.kept_for("slow") else "None",
    }
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _FILE)


def _calls(script: Script) -> Iterator[str]:
    for step in script.steps:
        if not isinstance(step, Step):
            yield f"    # {step.number}: {step.text} is not made: {step.reason}"
            continue
        types = [p.type for p in step.method.inputs]
        values = [_value(a, types[i] if i < len(types) else None) for i, a in enumerate(step.call.args)]
        name, asked = quoted(step.method.name), _asked(step)
        yield f"    # {step.text}"
        yield f"    Call({step.number}, {step.call.thread}, {name}, {_tuple(values)}, {asked}),"


def _asked(step: Step) -> str:
    """What is asked of the answer: nothing, a value of its type, or success, too."""
    if step.succeeds:
        return "SUCCESS"
    if step.method.returns is Type.VOID:
        return "ANYTHING"
    if step.method.returns is Type.HRESULT:
        return "HRESULT"
    if step.method.returns.is_integer:
        low, high = step.method.returns.range
        return f"({low}, {high})"
    return "INTEGER"


def _value(value: Argument, kind: Type | None) -> str:
    if isinstance(value, Handle):
        return f"Handle({value.token})"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool | bytes) or value is None:
        return repr(value)
    if isinstance(value, float):
        return f"float({str(float(value))!r})"
    if isinstance(value, int):
        number = int(value)
        if kind is Type.HRESULT and number and -(2**31) <= number < 0:
            return f"hresult(0x{hresult.unsigned(number):08X})"
        return str(number) if abs(number) < 2**64 else hex(number)  # Python bounds the size of decimal numbers
    raise TypeError(f"{value!r} is not made")  # an Opaque: script_of leaves such calls out


def _tuple(values: Iterable[str]) -> str:
    items = list(values)
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def quoted(text: str) -> str:
    """The text as a literal in ASCII, in double quotes."""
    literal = ascii(text)
    if literal[0] == '"':
        return literal
    return '"' + literal[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


_FILE: Final = r'''r"""@PROMISE@

It needs pytest and nothing else. Name your callback in FACTORY below, or when you run it:

    SYNCTAPE_FACTORY=package.module:Class pytest THIS_FILE

It is a class, or a function without arguments, that gives an object with the methods
of the interface. What lies beside this file or in the current folder can be imported.
"""

from __future__ import annotations

import gc
import importlib
import os
import queue
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import pytest

FACTORY: Any = @FACTORY@  # or the class itself

METHODS = @METHODS@
CLOSES: tuple[int, ...] = @CLOSES@  # handles that a callback has to close if it promises "closes-handle"
PATIENCE = 10.0  # seconds after which a call hangs
SLOW: float | None = @SLOW@  # seconds from which a call is too slow
ISOLATED = @ISOLATED@  # play in a child process, which may crash, hang or end
MEMORY: int | None = @MEMORY@  # MiB that the child process may take, where the system can limit it


class Handle(NamedTuple):
    """A handle by number; the callback gets an Event for it."""

    token: int


class Call(NamedTuple):
    number: int
    thread: int
    method: str
    arguments: tuple[Any, ...]
    asked: tuple[int, int] | None  # smallest and largest answer that is right; None: any


def hresult(unsigned: int) -> int:
    """An HRESULT as COM has it: a signed int."""
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


SUCCESS = (0, 2**31 - 1)  # a failure is wrong here: the calls up to this one keep to the contract
HRESULT = (-(2**31), 2**32 - 1)
INTEGER = (-(2**63), 2**64 - 1)
ANYTHING = None

CALLS = (
@CALLS@
)


class Event(int):
    """An event's handle: a number with close(), also spelled Close(), as pywin32's are."""

    closes = 0

    def __new__(cls, token: int) -> Event:
        return super().__new__(cls, token if token < 0 else 0x1000 + 4 * token)

    def close(self) -> None:
        self.closes += 1

    Close = close


class Thread:
    """A thread that makes the calls that it is given, one at a time."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            started = time.perf_counter()
            try:
                answer, error = work(), None
            except BaseException as raised:
                answer, error = None, raised
            self._done.put((answer, error, time.perf_counter() - started))

    def run(self, work: Any) -> tuple[Any, BaseException | None, float]:
        """What came of it and how long it took.  Raises queue.Empty if it hangs."""
        self._work.put(work)
        came: tuple[Any, BaseException | None, float] = self._done.get(timeout=PATIENCE)
        return came

    def end(self) -> None:
        self._work.put(None)


class Replay:
    """Plays the calls on a callback; `problems` says what is wrong with it."""

    def __init__(self, callback: Any):
        self.callback = callback
        self.problems: list[str] = []
        self._events: dict[int, Event] = {}
        self._at = "before the first call"

    def play(self) -> list[str]:
        before = set(threading.enumerate())
        hooks = threading.excepthook, sys.unraisablehook
        threading.excepthook, sys.unraisablehook = self._in_a_thread, self._in_a_finaliser
        threads = {number: Thread() for number in {call.thread for call in CALLS}}
        try:
            for call in CALLS:
                self._at = f"call {call.number}, {call.method}"
                try:
                    answer, error, seconds = threads[call.thread].run(lambda call=call: self._make(call))
                except queue.Empty:
                    self._problem("hangs")
                    return self.problems
                self._judge(call, answer, error, seconds)
            for thread in threads.values():
                thread.end()
            for started in set(threading.enumerate()) - before - {t.thread for t in threads.values()}:
                started.join(0.2)
            self._end()
        finally:
            threading.excepthook, sys.unraisablehook = hooks
        return self.problems

    def _problem(self, what: str) -> None:
        self.problems.append(f"{self._at}: {what}")

    def _make(self, call: Call) -> Any:
        arguments = [self._event(a.token) if isinstance(a, Handle) else a for a in call.arguments]
        return getattr(self.callback, call.method)(*arguments)

    def _event(self, token: int) -> Event:
        return self._events.setdefault(token, Event(token))

    def _judge(self, call: Call, answer: Any, error: BaseException | None, seconds: float) -> None:
        if error is not None:
            self._problem(f"raised {type(error).__name__}: {error}")
        else:
            value = answer[0] if isinstance(answer, tuple) and answer else answer
            if value is None or call.asked is None:
                value = 0
            low, high = call.asked or (0, 0)
            if type(value) is int and call.asked == SUCCESS:
                value = hresult(value) if value in range(2**32) else value
            if type(value) is not int or not low <= value <= high:
                self._problem(f"answered {value!r}, not from {low} to {high}")
        if SLOW is not None and seconds > SLOW:
            self._problem(f"took longer than {SLOW:g} s")
        invariant = getattr(self.callback, "invariant", None)
        if invariant is not None:
            try:
                if invariant() is False:
                    self._problem("invariant() is False")
            except BaseException as broken:
                self._problem(f"invariant() raised {type(broken).__name__}: {broken}")

    def _end(self) -> None:
        for token, event in self._events.items():
            if event.closes > 1:
                self._problem(f"handle {token} was closed {event.closes} times")
            promises = getattr(self.callback, "synctape_promises", ())
            if token in CLOSES and not event.closes and "closes-handle" in promises:
                self._problem(f"handle {token} was never closed")
        self.callback = None
        gc.collect()  # a __del__ behind a cycle belongs to this sequence, too

    def _in_a_thread(self, args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            self._problem(f"a thread ended with {args.exc_type.__name__}: {args.exc_value}")

    def _in_a_finaliser(self, args: Any) -> None:
        self._problem(f"a finaliser raised {args.exc_type.__name__}: {args.exc_value}")


def make_callback() -> Any:
    """A fresh callback.  Raises LookupError, in one line, if there is none with the methods."""
    factory: Any = os.environ.get("SYNCTAPE_FACTORY") or FACTORY
    if isinstance(factory, str):
        module, _, name = factory.partition(":")
        for folder in (os.getcwd(), os.path.dirname(os.path.abspath(__file__))):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        try:
            factory = importlib.import_module(module)
            for part in name.split("."):
                factory = getattr(factory, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise LookupError(f"no callback: {error}; see FACTORY in {os.path.basename(__file__)}") from None
    callback = factory()
    missing = [name for name in METHODS if not hasattr(callback, name)]
    if missing:
        raise LookupError(f"no callback: {type(callback).__name__} has no {', '.join(missing)}")
    return callback


def in_a_child() -> list[str]:
    """Play in a child process."""
    try:
        child = subprocess.run(
            [sys.executable, os.path.abspath(__file__)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE * 2 + 20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ["hangs"]
    *_, last = ["", *child.stdout.decode("utf-8", "replace").splitlines()]
    if child.returncode == 0 and last == "green":
        return []
    if child.returncode == 1 and last.startswith("red: "):
        return [last[5:]]
    if child.returncode == 2 and last.startswith("no callback"):
        raise LookupError(last)
    errors = child.stderr.decode("utf-8", "replace").strip().splitlines()
    return [f"the process ended with {child.returncode}", *errors[-5:]]


def main() -> int:
    """What the child process does: the last line that it prints is the answer."""
    if MEMORY is not None and sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY * 2**20, most))
    try:
        callback = make_callback()
    except LookupError as error:
        print(f"\n{error}", flush=True)
        return 2
    problems = Replay(callback).play()
    line = f"red: {'; '.join(problems)}" if problems else "green"
    print("\n" + " ".join(line.encode("ascii", "backslashreplace").decode("ascii").split()), flush=True)
    os._exit(1 if problems else 0)  # a call that hangs must not keep the process


def test_replay() -> None:
    try:
        problems = in_a_child() if ISOLATED else Replay(make_callback()).play()
    except LookupError as error:
        problems = [str(error)]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


if __name__ == "__main__":
    sys.exit(main())
'''
