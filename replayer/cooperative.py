"""What threads wait for, as the scheduler knows it: locks, sleeps, clocks, and threads that the target starts.

While a scheduled sequence is played these stand in the places of the real ones, in `threading`, `time` and `queue`
and in the target's own modules; what is built on locks (Condition, Event, Semaphore, Barrier, Queue, Future) is
built on these then.  To a thread that is not scheduled each behaves as the real one does.
"""

from __future__ import annotations

import _thread
import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType, TracebackType
from typing import Any

from replayer.adoption import adopt
from replayer.scheduler import Task, running
from replayer.target import Target

__all__ = ["Lock", "RLock", "Sleep", "in_force"]

_real_lock = _thread.allocate_lock
_real_rlock = threading.RLock
_real_join = threading.Thread.join
_real_is_alive = threading.Thread.is_alive
_real_queue = queue.SimpleQueue
_TASK = "_synctape_task"


class Lock:
    """threading.Lock.  `made_under`: the number of the scheduler under which it was made, 0 if there was none."""

    def __init__(self) -> None:
        self._lock = _real_lock()
        self.holder = -1  # thread of the schedule
        scheduler = running()
        self.made_under = scheduler.number if scheduler is not None else 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = running()
        if scheduler is None:
            return self._lock.acquire(blocking, timeout)
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if blocking and timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        while not self._lock.acquire(False):
            if not blocking or not scheduler.wait(self, None if timeout == -1 else timeout):
                return False
        task = scheduler.current
        self.holder = task.rank if task is not None else -1
        return True

    def release(self) -> None:
        self._lock.release()
        self.holder = -1
        if (scheduler := running()) is not None:
            scheduler.wake(self)

    def locked(self) -> bool:
        return self._lock.locked()

    acquire_lock, release_lock, locked_lock = acquire, release, locked

    def _at_fork_reinit(self) -> None:
        self._lock = _real_lock()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def __str__(self) -> str:
        return "a lock" + (f" that thread {self.holder} holds" if self.holder >= 0 else "")


class RLock:
    """threading.RLock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner = 0
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = _thread.get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        if self._owner != _thread.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = 0
            self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def __str__(self) -> str:
        return str(self._lock)

    # what Condition asks of its lock

    def _is_owned(self) -> bool:
        return self._owner == _thread.get_ident()

    def _release_save(self) -> tuple[int, int]:
        state = self._count, self._owner
        self._count = self._owner = 0
        self._lock.release()
        return state

    def _acquire_restore(self, state: tuple[int, int]) -> None:
        self._lock.acquire()
        self._count, self._owner = state

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0


def _make_rlock(*args: Any, **kwargs: Any) -> RLock:
    return RLock()


class Sleep:
    def __str__(self) -> str:
        return "the end of a sleep"


def _sleep(seconds: float, /) -> None:
    scheduler = running()
    if scheduler is None:
        _real_sleep(seconds)
        return
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    scheduler.wait(Sleep(), seconds, why="sleep")


_real_sleep, _real_monotonic, _real_time, _real_counter = time.sleep, time.monotonic, time.time, time.perf_counter
_EPOCH = 1_700_000_000.0  # of virtual time


def _clock(real: Callable[[], float], start: float) -> Callable[[], float]:
    def clock() -> float:
        scheduler = running()
        return real() if scheduler is None else start + scheduler.now

    return clock


_monotonic, _time = _clock(_real_monotonic, 1000.0), _clock(_real_time, _EPOCH)
_counter = _clock(_real_counter, 1000.0)


def _starter(real: Callable[..., Any]) -> Callable[..., Any]:
    """_thread.start_new_thread, or one of its kind: a thread that a scheduled one starts is scheduled, too."""

    def start(function: Callable[..., object], *rest: Any, **named: Any) -> Any:
        scheduler = running()
        if scheduler is None:
            return real(function, *rest, **named)
        args = rest[0] if rest and isinstance(rest[0], tuple) else ()
        task, run = scheduler.started(function, args)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, threading.Thread):
            setattr(owner, _TASK, task)
        if rest and isinstance(rest[0], tuple):
            return real(run, (), *rest[1:], **named)
        return real(run, *rest, **named)

    return start


def _join(thread: threading.Thread, timeout: float | None = None) -> None:
    scheduler, task = running(), getattr(thread, _TASK, None)
    if scheduler is not None and isinstance(task, Task):
        while not task.done:
            if not scheduler.wait(task, timeout):
                return
        return  # what is left of it is the interpreter's own
    _real_join(thread, timeout)


def _is_alive(thread: threading.Thread) -> bool:
    task = getattr(thread, _TASK, None)
    if running() is not None and isinstance(task, Task):
        return not task.done
    return _real_is_alive(thread)


def _stand_ins() -> dict[int, tuple[Any, Any]]:
    """By id() of a real one: itself, and what stands in its place."""
    pairs: list[tuple[Any, Any]] = [
        (_thread.allocate_lock, Lock),
        (threading.Lock, Lock),
        (threading.RLock, _make_rlock),
        (_real_sleep, _sleep),
        (_real_monotonic, _monotonic),
        (_real_time, _time),
        (_real_counter, _counter),
        (_thread.start_new_thread, _starter(_thread.start_new_thread)),
        (queue.SimpleQueue, queue._PySimpleQueue),  # type: ignore[attr-defined]
    ]
    if (joinable := getattr(_thread, "start_joinable_thread", None)) is not None:
        pairs.append((joinable, _starter(joinable)))
    return {id(real): (real, other) for real, other in pairs}


_STAND_INS = _stand_ins()
_LOCKS = (_thread.LockType, type(_real_rlock()))
_PLACES: list[tuple[ModuleType, str, Any]] = [
    (module, name, _STAND_INS[id(value)][1])
    for module in (threading, time, queue)
    for name, value in vars(module).items()
    if id(value) in _STAND_INS
]
_adopted: dict[str, ModuleType] = {}
_replaced: dict[
    int, tuple[Any, Any]
] = {}  # by id() of a lock or queue of a module: itself, and what stands for it
_looked: list[
    tuple[Target, int]
] = []  # the target whose modules were looked for last, and how many there were in all


@contextlib.contextmanager
def in_force(target: Target) -> Iterator[None]:
    """Have the stand-ins in force meanwhile, and from now on in the modules whose files are the target's own."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _PLACES]
    join, alive = threading.Thread.join, threading.Thread.is_alive
    try:
        for module, name, value in _PLACES:
            setattr(module, name, value)
        threading.Thread.join, threading.Thread.is_alive = _join, _is_alive  # type: ignore[method-assign, assignment]
        _adopt(target)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        threading.Thread.join, threading.Thread.is_alive = join, alive  # type: ignore[method-assign]


def _adopt(target: Target) -> None:
    """Put stand-ins into the target's modules: for what they have imported, and for locks that nobody holds."""
    if _looked and _looked[0][0] is target and _looked[0][1] == len(sys.modules):
        return
    _looked[:] = [(target, len(sys.modules))]
    own = {
        name: module
        for name, module in list(sys.modules.items())
        if target.owns(getattr(module, "__file__", None) or "")
    }
    if added := {name: module for name, module in own.items() if _adopted.get(name) is not module}:
        _adopted.update(added)
        adopt(added.values(), {module.__name__ for module in own.values()}, _in_place_of)


def _in_place_of(value: Any) -> Any:
    """What is to stand for a value from now on, None for nothing else."""
    if id(value) in _STAND_INS and _STAND_INS[id(value)][0] is value:
        return _STAND_INS[id(value)][1]
    if id(value) in _replaced:
        return _replaced[id(value)][1]
    other: Lock | RLock | queue.SimpleQueue[Any]
    if isinstance(value, _LOCKS) and value.acquire(False):
        value.release()
        other = Lock() if isinstance(value, _thread.LockType) else RLock()
    elif type(value) is _real_queue and value.empty():
        other = queue.SimpleQueue()
    else:
        return None
    _replaced[id(value)] = value, other
    return other
