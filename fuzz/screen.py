"""Screening: play a sequence as fast as it can be done, and see whether anything looks wrong.

A process that dies costs as much as hundreds of sequences, so what can be seen without that is: `os._exit` and
`os.abort` in a call only end the call, and whoever watches from another thread may `stop` a call that does not
end.  Only native code, and what really ends the process, is left to the sandbox.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import operator
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType, TracebackType
from typing import Any, NoReturn

from fuzz import comparisons
from recorder import hresult
from recorder.calls import Call, Handle, OutcomeKind
from recorder.contract import contract_of
from recorder.endings import give_in
from recorder.interface import Type
from replayer.handles import CLOSED, EventHandle
from replayer.late import LateEffects
from replayer.oracles import ORACLES
from replayer.player import Journal, PlayOptions, Run, play
from replayer.scaling import LONG, longest_text, too_much, written
from replayer.target import Target, TargetError, one_line

__all__ = ["ALIKE", "REFUSES", "TOOK_LONG", "Screen"]

ALIKE = 3  # so many times trouble of one signature is worth a closer look
REFUSES = "refuses "  # how the signature of a failure that a call answered begins
TOOK_LONG = "long for "  # how that begins of a sequence which did not fail, but may not scale

_QUICK = PlayOptions(main_thread=True, join_seconds=0.05, skip=("identity",))
_STRICT = PlayOptions(main_thread=True, join_seconds=0.05)
_SCHEDULED = PlayOptions(join_seconds=0.05, skip=("identity",), concurrent=True)
_KNOWN_SECONDS = 0.05  # for a call that stands where calls have been stopped before
_ROOM = 16 << 20  # bytes without which nothing that follows would tell anything
_S_OK = 0
_LONG_NS = 20_000_000  # a sequence with a long text that takes so long is worth a look at how that grows
_WRITES = 1 << 16  # bytes that a target writes in a batch, for them to be counted sequence by sequence
_OURS = frozenset((__file__, comparisons.__file__))


class Screen:
    """Plays on instances of one target; `play` gives "" or a signature: trouble that looks the same is the same.

    `slow` seconds are too long for a sequence, `patience` seconds are enough to call it a hang.  `returned` says
    how many calls of the last sequence returned.  Of scheduled calls the `disabled` oracles see nothing.
    """

    def __init__(self, target: Target, slow: float, disabled: Iterable[str] = ()):
        self.patience = 1.0
        self.returned = 0
        self._target = target
        self._disabled = frozenset(disabled)
        self._scheduled = replace(_SCHEDULED, skip=(*_SCHEDULED.skip, *self._disabled))
        self._slow_ns = int(slow * 1e9)
        self._look_ns = min(self._slow_ns, _LONG_NS)
        self._writes = False  # whether the target writes so much that it is counted
        self._written = 0
        self._caught: list[str] = []
        self._stopped: Counter[str] = Counter()  # where calls were stopped
        self._handles = _LiveHandles()
        self._given: set[EventHandle] = set()  # only for a target that promises to close them
        self._over = False  # the protocol has ended: handles given after that are nobody's to close
        self._running = 0  # threads that were there before
        self._ended = 0  # perf_counter_ns when the last sequence ended, which is when the next begins
        methods = {m.name: m for m in target.interface.calls}
        self._methods = methods
        self._names = list(methods)
        self._bind: Callable[[Any], tuple[Any, ...]] = operator.attrgetter(*methods)
        if len(methods) == 1:
            (single,) = methods
            self._bind = lambda instance: (getattr(instance, single),)
        terminal = contract_of(target.interface).terminal
        self._with_handles = [
            (name, name in terminal)
            for name, method in methods.items()
            if any(p.type in (Type.HANDLE, Type.POINTER) for p in method.inputs)
        ]
        self._factory: Callable[[], Any] | None = getattr(target, "factory", None)
        self._invariant = self._must_close = self._shows = False
        self._terminal = terminal
        if self._factory:
            instance = target.instance()
            if instance.native:  # the player calls it, as it calls what a library gives
                self._factory = None
                instance.close()
            self._invariant = instance.invariant is not None
            self._must_close = "closes-handle" in instance.promises
            self._shows = callable(getattr(instance.object, "state", None))

    def play(self, calls: list[Call], after: Callable[[Any, object], None] | None = None) -> str:
        """Play on a fresh instance; `after` is given it and each answer.

        Raises TargetError if there is none, MemoryError if none is left after it.
        """
        if self._factory is None:
            return self.threads(calls)
        started = self._ended
        self.returned = len(calls)
        self._over = False
        try:
            instance = self._factory()
            table = dict(zip(self._names, self._bind(instance)))  # noqa: B905 - as many as there are names
        except Exception as error:
            what = f"the factory raised {one_line(error)}, having given instances before"
            raise TargetError(f"target {self._target.spec}: {what}") from None
        for name, ends in self._with_handles:
            table[name] = partial(self._call_with_handles, table[name], ends)
        method = trouble = ""
        odd: list[tuple[str, object]] = []
        left = iter(calls)
        late = LateEffects(self._terminal) if self._shows else None
        try:
            if self._invariant or late is not None or after is not None:
                for method, args, _, _, _ in left:
                    answer = table[method](*args)
                    if answer is not None and answer is not _S_OK:
                        odd.append((method, answer))
                    if after is not None:
                        after(instance, answer)
                    if self._invariant and instance.invariant() is False:
                        trouble = f"invariant after {method}"
                    elif late is not None and late.of(instance, method):
                        trouble = f"late effect of {method}"
                    if trouble:
                        self.returned -= operator.length_hint(left)
                        break
            else:
                for method, args, _, _, _ in left:
                    answer = table[method](*args)
                    if answer is not None and answer is not _S_OK:
                        odd.append((method, answer))
        except BaseException as error:
            give_in(error)
            trouble = self._raised(error, method)
            self.returned -= operator.length_hint(left) + 1
        del instance, table  # what its __del__ raises belongs to this sequence
        ended = time.perf_counter_ns()
        dear = ended - started > self._look_ns or self._writes
        if trouble or odd or dear or CLOSED or self._given or self._caught or _thread._count() > self._running:
            trouble = self._trouble(trouble, odd, self._dear(calls, method, ended - started) if dear else "")
            ended = time.perf_counter_ns()
        self._ended = ended
        return trouble

    def _dear(self, calls: list[Call], method: str, elapsed_ns: int) -> str:
        """Whether a sequence took too long, or so much that its text is to be looked at (replayer.scaling)."""
        output = 0
        if self._writes:
            before, self._written = self._written, written()
            output = self._written - before
        if elapsed_ns > self._slow_ns:
            return f"slow after {method}"
        if too_much(calls, output):
            return f"wrote much after {method}"
        if elapsed_ns > self._look_ns and (units := longest_text(calls)) >= LONG:
            return f"{TOOK_LONG}a text of {units.bit_length()} bits after {method}"
        return ""

    def _trouble(self, raised: str, odd: list[tuple[str, object]], slow: str) -> str:
        """What is wrong, if anything is, by weight."""
        if raised.startswith("MemoryError"):
            bytearray(_ROOM)
        closing = self._handle_trouble()
        if _thread._count() > self._running:
            self._settle()
        caught = self._caught[0] if self._caught else ""
        self._caught.clear()
        return raised or self._answered(odd) or closing or slow or caught

    def _call_with_handles(self, function: Callable[..., Any], ends: bool, *args: Any) -> Any:
        """Symbolic handles become live ones; the same objects serve sequence after sequence."""
        for value in args:
            if value.__class__ is Handle:
                live = self._handles
                args = tuple([live[v.token] if v.__class__ is Handle else v for v in args])
                if self._must_close and not self._over:
                    self._given.update(v for v in args if v.__class__ is EventHandle)
                break
        if ends:
            self._over = True
        return function(*args)

    def _handle_trouble(self) -> str:
        """Look at the handles that were closed, and make them anew for the next sequence."""
        twice = any(handle.closes > 1 for handle in CLOSED)
        left = any(not handle.closes and handle.token >= 0 for handle in self._given)
        for handle in CLOSED:
            handle.closes = 0
        CLOSED.clear()
        self._given.clear()
        return "handle closed twice" if twice else "handle left open" if left else ""

    def _answered(self, odd: list[tuple[str, object]]) -> str:
        """What is wrong with answers other than S_OK: first of all one that is no HRESULT, else a failure."""
        found = [trouble for method, answer in odd if (trouble := self.odd_answer(method, answer))]
        return min(found, key=lambda trouble: trouble.startswith(REFUSES), default="")

    def odd_answer(self, method: str, answer: object) -> str:
        """The signature of an answer that is out of the ordinary, "" for any other."""
        described = self._methods[method]
        if described.outputs and isinstance(answer, tuple) and answer:
            answer = answer[0]
        if answer is None or described.returns is Type.VOID:
            return ""
        if described.returns is not Type.HRESULT:
            return "" if isinstance(answer, int) else f"{method} answers {type(answer).__name__}"
        if not hresult.is_hresult(answer):
            return f"{method} answers {type(answer).__name__}"
        return f"{REFUSES}{method} with {answer}" if hresult.failed(answer) else ""  # type: ignore[arg-type]

    def _raised(self, error: BaseException, method: str) -> str:
        file, line, function = _where(error.__traceback__)
        if isinstance(error, _StoppedError):
            place = f"{file} in {function}"
            self._stopped[place] += 1
            return f"no end at {place} in {method}"
        return f"{type(error).__name__} at {file}:{line} in {method}"

    def threads(self, calls: list[Call]) -> str:
        """The same through the player, for calls on several threads."""
        return self._through_the_player(calls, _QUICK)

    def scheduled(self, calls: list[Call]) -> tuple[str, Run]:
        """The same for calls that are scheduled, with the run: first of all what was observed of it counts."""
        self.returned = len(calls)
        run = play(calls, self._target, self._scheduled)
        return self._observed(run, calls) or self._answers(run), run

    def _observed(self, run: Run, calls: list[Call]) -> str:
        kinds = ORACLES.keys() - self._disabled
        seen = next((seen for seen in run.observations if seen.kind in kinds), None)
        if seen is None:
            return ""
        methods = sorted({call.method for call in calls})  # where many places have a part in it, these tell more
        return f"{seen.kind} at {seen.place} with {', '.join(methods)}"

    def strictly(self, calls: list[Call], journal: Journal, *, identity: bool) -> str:
        """The same for a native target; `identity`: also IUnknown's laws, which cost more than all the rest."""
        return self._through_the_player(calls, _STRICT if identity else _QUICK, journal)

    def _through_the_player(self, calls: list[Call], options: PlayOptions, journal: Journal | None = None) -> str:
        self.returned = len(calls)
        run = play(calls, self._target, options, journal)
        if trouble := self._answers(run):
            return trouble
        if run.observations:
            seen = run.observations[0]
            return f"{seen.kind} at {seen.place}"
        return ""

    def _answers(self, run: Run) -> str:
        """What is wrong with what the calls came to, by the first of them."""
        for _, call, outcome in run.trace.played:
            if outcome is None or outcome.kind is OutcomeKind.NOT_RUN:
                continue
            if outcome.kind is not OutcomeKind.RETURNED:
                return f"{outcome.detail.partition(':')[0]} at {outcome.place} in {call.method}"
            if call.method in self._methods and (trouble := self.odd_answer(call.method, outcome.value)):
                return trouble
            if outcome.elapsed_ns > self._slow_ns:
                return f"slow in {call.method}"
        return ""

    # --- what does not show in an answer ------------------------------------------------------------------------

    def stop(self, thread: int, seconds: float) -> None:
        """End the call that a thread (its ident) has been in for so long, if that is too long and it is Python."""
        frame = sys._current_frames().get(thread)
        if frame is None or not _plays(frame):
            return
        place = f"{frame.f_code.co_filename} in {frame.f_code.co_name}"
        if seconds >= (_KNOWN_SECONDS if self._stopped[place] >= ALIKE else self.patience):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_StoppedError))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notice exceptions that end in the interpreter's hooks, and keep calls of this thread from exiting."""
        hooks = threading.excepthook, sys.unraisablehook
        ends = os._exit, os.abort
        self._running = _thread._count()
        self._ended = time.perf_counter_ns()
        own = os.getpid(), threading.get_ident()
        before, self._written = self._written, written()
        self._writes = before > 0 and self._written - before > _WRITES

        def caught(args: Any) -> None:
            give_in(args.exc_value)
            file, line, _ = _where(args.exc_traceback)
            self._caught.append(f"{args.exc_type.__name__} at {file}:{line}, caught by nobody")

        def stays(end: Callable[..., NoReturn], *args: Any) -> NoReturn:
            if (os.getpid(), threading.get_ident()) != own:
                end(*args)
            self._caught.append(f"{end.__name__}, and the target went on")
            raise _ExitError

        threading.excepthook = sys.unraisablehook = caught
        for end in ends:
            setattr(os, end.__name__, partial(stays, end))
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = hooks
            os._exit, os.abort = ends

    def _settle(self) -> None:
        """The target started threads: give them a moment, so that what they raise belongs to this sequence."""
        deadline = time.monotonic() + 0.05
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread is not threading.main_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._running = _thread._count()


class _ExitError(BaseException):
    """Stands for the end of the process; a BaseException, as few as can be catch it."""


class _StoppedError(BaseException):
    """Raised from outside in a call that does not end."""


class _LiveHandles(dict[int, EventHandle]):
    def __missing__(self, token: int) -> EventHandle:
        self[token] = EventHandle(token)
        return self[token]


def _plays(frame: FrameType | None) -> bool:
    """Whether the frame stands in a call that a screen makes."""
    while frame is not None:
        if frame.f_code in (Screen.play.__code__, Screen.threads.__code__):
            return True
        frame = frame.f_back
    return False


def _where(trace: TracebackType | None) -> tuple[str, int, str]:
    """File, line and function of the innermost frame that is the target's."""
    found = ("", 0, "")
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in _OURS or not found[0]:
            found = (code.co_filename, trace.tb_lineno, code.co_name)
        trace = trace.tb_next
    return found
