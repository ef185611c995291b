"""One baton among threads: of those that can go on the one with the highest priority runs, and only that one.

What runs when follows from priorities, change points and the rules in docs/threads.md alone: no clock, no sleep
and no chance has a part in it.  Time is virtual: a wait with a limit ends by its limit when nothing else can go
on.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import linecache
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType
from typing import Any, ClassVar, NamedTuple, NoReturn

__all__ = ["LEFT", "Abandoned", "HandOver", "Scheduler", "Stuck", "Task", "closing", "prepare", "running"]

_SPIN = 10_000  # steps in one go after which a thread drops below all others
LEFT = 20  # waits that end by their limit after the last call
_WAITS = 1000  # that end by their limit until nothing is taken to go on
_NEVER = sys.maxsize
_LOOK_SECONDS = 0.5  # no wait of the controlling thread is endless: a signal just before it would not end it

_allocate = _thread.allocate_lock
_start_new_thread = _thread.start_new_thread
_get_ident = _thread.get_ident


class Abandoned(SystemExit):
    """Raised in a thread that waits for what never comes, so that it ends."""


class HandOver(NamedTuple):
    """The baton was handed over: in call `call`, behind its step `step`, at `place`, to thread `to`.

    `call` is -1 between calls and in threads that the target started, whose numbers come after those of the calls'
    threads.  `why`: "change" (a change point), "blocked", "ended", "sleep", "spin" (it went on for too long), or
    "woken" (a thread of higher priority can go on).  `code` is the source line at the place.
    """

    call: int
    step: int
    place: str
    to: int
    why: str
    code: str = ""


class Stuck(NamedTuple):
    """A thread of a deadlock: where it waits for what, and its stack, outermost frame first.

    `waits_behind`: for others that wait for each other in a circle, in which it has no part.
    """

    thread: int
    call: int
    place: str
    waits_for: str
    stack: str
    waits_behind: bool = False


@dataclass(slots=True, eq=False)
class Task:
    """A thread as the scheduler knows it.  `rank` is its number; `own`: it makes calls."""

    rank: int
    priority: int
    own: bool
    gate: Any = field(default_factory=_allocate)
    ident: int = 0
    ready: bool = True
    done: bool = False
    waits_for: object = None
    deadline: float | None = None
    timed_out: bool = False
    steps: int = 0  # of the call that it is in
    stop: int = _NEVER  # the step before which it is to look what is next
    spin: int = _SPIN
    changes: list[int] = field(default_factory=list)  # of the call, descending
    call: int = -1
    occasions: int = 0
    nested: Sequence[int] = ()
    on_occasion: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        self.gate.acquire()


def running() -> Scheduler | None:
    """The scheduler that the calling thread runs under, if it does."""
    scheduler = Scheduler.active
    if scheduler is None:
        return None
    task = scheduler.current
    return scheduler if task is not None and task.ident == _get_ident() else None


class Scheduler:
    """Runs programs, one on each of its threads; what those below number 0 do is not told.

    `owns` says whether a source file is the target's own code; `tracing` is entered on each thread while it runs
    (it counts steps, see replayer.switch_points), None where there are no switch points inside calls.  `idle` is
    called when nothing can go on, and gives True if it has woken somebody.
    """

    active: ClassVar[Scheduler | None] = None  # whose threads run
    _numbers = itertools.count(1)

    def __init__(
        self,
        owns: Callable[[str], bool],
        tracing: Callable[[], contextlib.AbstractContextManager[object]] | None = None,
    ):
        self.number = next(self._numbers)
        self.current: Task | None = None
        self.hand_overs: list[HandOver] = []
        self.deadlock: list[Stuck] = []
        self._wanted: list[Any] = []  # what the threads of the deadlock waited for
        self.now = 0.0  # virtual seconds
        self.idle: Callable[[], bool] = lambda: False
        self._owns = owns
        self._tracing = tracing
        self._tasks: list[Task] = []
        self._lowest = 0
        self._finished = _allocate()
        self._finished.acquire()
        self._errors: list[BaseException] = []
        self._ending = False
        self._fired = 0
        self._highest = 0
        self._waits_ended = 0  # by their limit, since a thread was preferred
        self._threads: dict[int, Task] = {}  # by id() of the target's threading.Thread

    # --- from outside ---------------------------------------------------------------------------------------

    def run(self, programs: Mapping[int, Callable[[], object]]) -> None:
        """Run each program on the thread of its number, until none of them and nothing behind them can go on.

        Afterwards `deadlock` tells of threads that never came back.  Raises what a program raises.
        """
        for rank in sorted(programs):
            self._tasks.append(Task(rank, -rank, own=True))
        self._lowest = -max(programs, default=0)
        tasks = list(self._tasks)
        for task in tasks:
            _LANES.run(task.rank, self._lane(task, programs[task.rank]))
        if tasks:
            Scheduler.active = self
            self.current = tasks[0]
            tasks[0].gate.release()
            while not self._finished.acquire(timeout=_LOOK_SECONDS):
                pass
        self.current = None
        if self._errors:
            raise self._errors[0]

    @contextlib.contextmanager
    def beside(self, programs: Mapping[int, Callable[[], object]]) -> Iterator[None]:
        """Have the calling thread be one more thread of the schedule meanwhile, below those of the programs.

        Afterwards all of them are ended.  Raises what a program has raised.
        """
        tasks = [Task(rank, -rank, own=True) for rank in sorted(programs)]
        self._lowest = -max(programs, default=0) - 1
        me = Task(max(programs, default=0) + 1, self._lowest, own=True, ident=_get_ident())
        self._tasks += [*tasks, me]
        for task in tasks:
            _LANES.run(task.rank, self._lane(task, programs[task.rank]))
        self.current = me
        Scheduler.active = self
        try:
            yield
        finally:
            me.done, me.ready = True, False
            self.current = None
            self.close()
        if self._errors:
            raise self._errors[0]

    @property
    def threads(self) -> int:
        """How many there are, and have been."""
        return len(self._tasks)

    def waits_for(self, thread: int) -> object:
        """What a program's thread waits for, None while it does not."""
        return next((task.waits_for for task in self._tasks if task.own and task.rank == thread), None)

    def pass_time(self) -> bool:
        """Have the next limit come that a thread waits until, other than the current one; whether there is any."""
        waiting = [t for t in self._tasks if not t.done and not t.ready and t.deadline is not None]
        if waiting:
            self._come(min(waiting, key=lambda task: (task.deadline, -task.priority)))
        return bool(waiting)

    def close(self) -> None:
        """End the threads of the target that still wait for something."""
        self._ending = True
        while left := [task for task in self._tasks if not task.done]:
            task = self.current = left[0]
            task.gate.release()
            while not self._finished.acquire(timeout=_LOOK_SECONDS):
                pass
            self.current = None
        Scheduler.active = None

    @property
    def is_held(self) -> bool:
        """Whether a lock of the deadlock that is older than this is held, though its threads have ended: who comes
        next may wait for it."""
        return any(w.locked() and w.made_under != self.number for w in self._wanted if hasattr(w, "made_under"))

    # --- calls --------------------------------------------------------------------------------------------------

    def give_way(self) -> None:
        """The current thread drops below all others, between two calls."""
        task = self.current
        assert task is not None
        self._drop(task, "change")

    def prefer(self, rank: int) -> None:
        """A thread rises above all others; the current one looks at its next step whether it still may go on."""
        self._waits_ended = 0
        for task in self._tasks:
            if task.rank == rank and self.current is not None:
                self._highest += 1
                task.priority = self._highest
                if task.ready and task is not self.current:
                    self.current.stop = self.current.steps + 1

    def begin(
        self, call: int, switches: Sequence[int] = (), on_occasion: Callable[[], object] | None = None
    ) -> object:
        """The current thread begins a call with these change points; gives what `end` takes.

        At the occasions that the change points name `on_occasion` is called.
        """
        task = self.current
        assert task is not None
        before = (task.call, task.steps, task.changes, task.occasions, task.nested, task.on_occasion)
        task.call, task.steps = call, 0
        task.changes = sorted((n for n in switches if n > 0), reverse=True)
        task.occasions, task.nested, task.on_occasion = 0, [-n for n in switches if n < 0], on_occasion
        self._go_on(task)
        return before

    def end(self, before: Any) -> int:
        """The current thread's call has ended; gives its number of steps."""
        task = self.current
        assert task is not None
        steps = task.steps
        task.call, task.steps, task.changes, task.occasions, task.nested, task.on_occasion = before
        self._go_on(task)
        return steps

    def step(self) -> None:
        """The current thread is about to make a step of its call."""
        task = self.current
        if task is not None and task.ident == _get_ident():
            task.steps += 1
            if task.steps >= task.stop:
                self._stopped(task)

    def occasion(self) -> None:
        """The target calls out to the provider's side."""
        task = self.current
        if task is not None and task.own and task.call >= 0:
            task.occasions += 1
            if task.occasions in task.nested and task.on_occasion is not None:
                task.on_occasion()

    # --- waiting, as replayer.cooperative needs it ----------------------------------------------------------

    def wait(self, what: object, timeout: float | None = None, *, why: str = "blocked") -> bool:
        """Have the current thread wait until somebody wakes who waits for this; False if its limit came first."""
        task = self.current
        assert task is not None
        if self._ending:
            raise Abandoned
        task.ready, task.waits_for, task.timed_out = False, what, False
        task.deadline = None if timeout is None else self.now + max(timeout, 0.0)
        self._leave(task, why)
        return not task.timed_out

    def wake(self, what: object) -> None:
        """Whoever waits for this can go on; the current thread looks at its next step whether it still may."""
        current = self.current
        for task in self._tasks:
            if task.waits_for is what and not task.done:
                task.ready, task.waits_for, task.deadline = True, None, None
                if current is not None and task.priority > current.priority:
                    current.stop = current.steps + 1

    def started(self, function: Callable[..., object], args: tuple[Any, ...]) -> tuple[Task, Callable[[], None]]:
        """A thread that the target starts: the task, and what the real thread is to run."""
        self._lowest -= 1
        task = Task(1 + max((t.rank for t in self._tasks), default=0), self._lowest, own=False)
        self._tasks.append(task)
        return task, self._lane(task, lambda: function(*args), lane=False)

    # --- inside -------------------------------------------------------------------------------------------------

    def _lane(self, task: Task, program: Callable[[], object], *, lane: bool = True) -> Callable[[], None]:
        def run() -> None:
            task.ident = _get_ident()
            task.gate.acquire()
            tracing = self._tracing() if self._tracing is not None else contextlib.nullcontext()
            try:
                if not self._ending:
                    with tracing:
                        self._go_on(task)
                        program()
            except Abandoned:
                pass
            except BaseException as error:
                if lane:
                    self._errors.append(error)
                else:
                    raise
            finally:
                self._ended(task)

        return run

    def _ended(self, task: Task) -> None:
        task.done, task.ready = True, False
        self.wake(task)
        self._leave(task, "ended")

    def _stopped(self, task: Task) -> None:
        """A step at which there is something to look at."""
        if self._ending and task.steps > task.spin:
            raise Abandoned
        if task.changes and task.changes[-1] <= task.steps:
            while task.changes and task.changes[-1] <= task.steps:
                task.changes.pop()
            self._drop(task, "change")
        elif task.steps >= task.spin:
            if self._calls_are_over():
                self._park(task)
            self._drop(task, "spin")
        elif (best := self._best()) is not None and best is not task:
            self._hand_over(task, best, "woken")
        self._go_on(task)

    def _go_on(self, task: Task) -> None:
        task.spin = task.steps + _SPIN
        task.stop = min(task.spin, task.changes[-1] if task.changes else _NEVER)

    def _drop(self, task: Task, why: str) -> None:
        """Below all others, the others going on if there are any."""
        self._lowest -= 1
        task.priority = self._lowest
        best = self._best()
        if best is task and why == "spin" and self.idle():
            best = self._best()
        if best is not None and best is not task:
            self._hand_over(task, best, why)

    def _best(self) -> Task | None:
        return max((task for task in self._tasks if task.ready), key=lambda task: task.priority, default=None)

    def _leave(self, task: Task, why: str) -> None:
        """The current thread cannot go on: whoever can does."""
        best = self._best()
        if best is None and not self._ending:
            best = self._in_time()
        if best is None and not self._ending and self.idle():
            best = self._best()
        if best is task:  # its own limit was the next to come
            return
        if best is not None and not self._ending:
            self._hand_over(task, best, why)
        elif task.done:
            self._note_deadlock()
            self._finish()
        elif self._ending:
            raise Abandoned
        else:
            self._stuck(task)

    def _in_time(self) -> Task | None:
        """The waiting thread whose limit comes next, which then has come."""
        if self._calls_are_over():
            self._fired += 1
            if self._fired > LEFT:
                return None
        timed = [task for task in self._tasks if not task.done and not task.ready and task.deadline is not None]
        self._waits_ended += 1
        if not timed or (self._waits_ended > _WAITS and self.idle()):
            return self._best()
        task = min(timed, key=lambda task: (task.deadline, -task.priority))
        self._come(task)
        return task

    def _come(self, task: Task) -> None:
        """The limit has come until which a thread waits."""
        assert task.deadline is not None
        self.now = max(self.now, task.deadline)
        task.ready, task.timed_out, task.waits_for, task.deadline = True, True, None, None

    def _stuck(self, task: Task) -> None:
        """Nothing can go on, and the current thread is not at its end."""
        self._note_deadlock()
        self._park(task)

    def _note_deadlock(self) -> None:
        """Nothing can go on: what of the calls is not over never will be."""
        if not self._ending and not self._calls_are_over():
            stuck = [task for task in self._tasks if not task.done]
            circle = _circle({task.rank: getattr(task.waits_for, "holder", -1) for task in stuck})
            self.deadlock = [self._seen(task)._replace(waits_behind=task.rank not in circle) for task in stuck]
            self._wanted = [task.waits_for for task in stuck]

    def _park(self, task: Task) -> NoReturn:
        """The end of the run: the current thread waits for `close`, which ends it."""
        task.ready = False
        self._finish()
        task.gate.acquire()
        raise Abandoned

    def _calls_are_over(self) -> bool:
        return all(task.done for task in self._tasks if task.own)

    def _seen(self, task: Task) -> Stuck:
        frame = sys._getframe() if task is self.current else sys._current_frames().get(task.ident)
        frames = []
        while frame is not None:
            if not frame.f_code.co_filename.startswith(_OURS):
                frames.append((frame, frame.f_lineno))
            frame = frame.f_back
        owned = [at for at, (f, _) in enumerate(frames) if self._owns(f.f_code.co_filename)]
        if owned:  # what started the thread says nothing
            frames = frames[: owned[-1] + 1]
        stack = "".join(traceback.StackSummary.extract(iter(frames[::-1])).format()) if frames else ""
        place = next((_place(f) for f, _ in frames if self._owns(f.f_code.co_filename)), "")
        return Stuck(task.rank, task.call, place, str(task.waits_for or ""), stack)

    def _finish(self) -> None:
        self._finished.release()

    def _hand_over(self, task: Task, to: Task, why: str) -> None:
        place = code = ""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and not place:
            if self._owns(frame.f_code.co_filename):
                place = _place(frame)
                code = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
            frame = frame.f_back
        if task.rank >= 0:
            self.hand_overs.append(HandOver(task.call, task.steps, place, to.rank, why, code))
        self.current = to
        to.gate.release()
        if task.done:
            return
        task.gate.acquire()
        if self._ending:
            raise Abandoned


def _place(frame: FrameType) -> str:
    file = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"


_OURS = __file__.rpartition("scheduler.py")[0]


class _Lanes:
    """Threads that are kept from run to run, by their numbers: to start one takes longer than most sequences."""

    def __init__(self) -> None:
        self._work: dict[int, SimpleQueue[Callable[[], None]]] = {}

    def prepare(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number not in self._work:
                work = self._work[number] = SimpleQueue()
                name = f"synctape-{number}"
                threading.Thread(target=self._loop, args=(work,), name=name, daemon=True).start()

    def run(self, number: int, work: Callable[[], None]) -> None:
        self._work[number].put(work)

    @staticmethod
    def _loop(work: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            work.get()()


_LANES = _Lanes()


def prepare(numbers: Iterable[int]) -> None:
    """Have a thread ready for each of these numbers; before anything stands in for what makes threads."""
    _LANES.prepare(numbers)


def _circle(holders: Mapping[int, int]) -> set[int]:
    """The threads that wait for each other in a circle, by who holds what each waits for; all if there is none."""
    circle: set[int] = set()
    for first in holders:
        way = [first]
        while (holder := holders.get(way[-1], -1)) not in way and holder >= 0:
            way.append(holder)
        if holder in way:
            circle.update(way[way.index(holder) :])
    return circle or set(holders)


@contextlib.contextmanager
def closing(scheduler: Scheduler) -> Iterator[Scheduler]:
    """The scheduler, whose threads are ended afterwards."""
    try:
        yield scheduler
    finally:
        scheduler.close()
