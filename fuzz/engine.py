"""The inner loop: mutate, play, look, thousands of times a second, in the sandboxed child.

A batch is a pure function of (campaign seed, batch number, what the corpus held when it began): discoveries
take effect from the next batch on.  So a batch whose process died is made again up to the sequence that killed
it, without a journal of calls.

The loop only screens: it looks for any sign of trouble, as cheaply as it can.  What it suspects the campaign
plays again, alone and with every oracle looking.
"""

from __future__ import annotations

import _thread
import contextlib
import enum
import operator
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

from fuzz import generate
from fuzz.mutators import Environment, Mutator, mutate
from recorder import hresult
from recorder.calls import Call, Handle, OutcomeKind
from recorder.contract import Contract, Level, contract_of, level_of
from recorder.interface import Type
from replayer.handles import CLOSED, EventHandle
from replayer.player import Journal, PlayOptions, play
from replayer.target import Target

__all__ = ["Batch", "Engine", "Suspect"]

_POOL = 24  # base sequences of a batch
_KEPT = 4000  # sequences kept for having brought something new
_STATE_MASK = 3  # the target's visible state is looked at after every fourth sequence
_STATES = 20_000  # states remembered: a target that counts upward must not flood the corpus


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sequence that showed trouble: number `index` of its batch."""

    index: int
    calls: list[Call]
    signature: str


@dataclass(slots=True)
class Batch:
    """What a batch gave; `done` sequences of it were run."""

    number: int
    done: int = 0
    calls: int = 0
    ended: int = 0  # sequences that reach the call that ends the protocol
    suspects: list[Suspect] = field(default_factory=list)
    fresh: list[tuple[list[Call], list[str]]] = field(default_factory=list)  # and the mutators that made them
    applied: Counter[str] = field(default_factory=Counter)


class Engine:
    """Runs batches on one target.  `novelty` is asked after each sequence how much new it has seen."""

    def __init__(
        self,
        target: Target,
        seeds: Sequence[list[Call]],
        *,
        seed: int = 0,
        slow: float = 1.0,
        novelty: Callable[[], int] | None = None,
        journal: Journal | None = None,
    ):
        self.target = target
        self.contract: Contract = contract_of(target.interface)
        self.seed = seed
        self.seeds = [_plain(calls) for calls in seeds if calls]
        self.kept: list[list[Call]] = []
        self.avoid: set[tuple[str, tuple[Any, ...]]] = set()
        self._slow = slow
        self._novelty = novelty
        self._journal = journal
        self._env = Environment(self.contract, [*self.seeds], Random(seed))
        self._states: set[object] = set()
        self._only_the_end_matters = _only_the_end_matters(self.contract)
        self._reported: Counter[str] = Counter()
        self._screen = _Screen(target, slow)

    # --- what the next batches build on ---------------------------------------------------------------------

    def keep(self, calls: list[Call], mutators: Sequence[str]) -> None:
        """A sequence that brought something new: a base from now on, and its mutators are drawn more often."""
        if len(self.kept) < _KEPT:
            self.kept.append(calls)
            self._env.learn(calls[:20])
        for name in mutators:
            self._env.shares[name] = min(self._env.shares[name] + 1, 40)

    def reweigh(self) -> None:
        """Let what was kept take effect."""
        self._env.weigh()

    # --- batches ------------------------------------------------------------------------------------------------

    def sequences(self, number: int, level: Level, size: int) -> Iterator[tuple[int, list[Call]]]:
        """The sequences of a batch.  `self._env.used` and `.threaded` belong to the one given last."""
        random = Random(self.seed * 1_000_003 + number)
        env = self._env
        env.seed(random)
        env.corpus = [*self.seeds, *self.kept[-200:]]
        bases = _POOL if level is not Level.CONFORMING else max(_POOL, size // 8)
        pool = [self._base(random, level) for _ in range(bases)]
        draw = random.random
        for index in range(size):
            env.used.clear()
            env.threaded = False
            calls = mutate(pool[int(draw() * bases)], env, level)
            if level is Level.LENIENT:
                calls = self._legal(calls)
            yield index, calls

    def run(
        self,
        number: int,
        level: Level,
        size: int,
        *,
        start: int = 0,
        until: int | None = None,
        deadline: float | None = None,
    ) -> Batch:
        """Play sequences `start` to `until` of a batch, no longer than to `deadline` (time.monotonic seconds)."""
        batch = Batch(number)
        env, screen, novelty, journal, avoid = self._env, self._screen, self._novelty, self._journal, self.avoid
        terminal = self.contract.terminal
        applied: list[Mutator] = []
        done = made = ended = 0
        with screen.watching():
            for index, calls in self.sequences(number, level, size):
                if index < start:
                    continue
                if index == until or (
                    deadline is not None and index & 15 == 0 and done and time.monotonic() > deadline
                ):
                    break
                if avoid and any((call.method, call.args) in avoid for call in calls):
                    continue
                if journal is not None:
                    journal.note(number, index)
                trouble = screen.threads(calls) if env.threaded else screen.play(calls)
                done += 1
                made += len(calls)
                if calls[-1][0] in terminal or not terminal.isdisjoint(map(_METHOD, calls)):
                    ended += 1
                applied += env.used
                if trouble:
                    self._report(batch, index, calls, f"{trouble} at level {level}")
                elif (novelty is not None and novelty()) or (index & _STATE_MASK == 0 and self._new_state()):
                    batch.fresh.append((calls, [m.name for m in env.used]))
        batch.done, batch.calls, batch.ended = done, made, ended
        batch.applied.update(mutator.name for mutator in applied)
        return batch

    def sequence(self, number: int, level: Level, size: int, index: int) -> list[Call]:
        """One sequence of a batch, made again."""
        return next(calls for at, calls in self.sequences(number, level, size) if at == index)

    def _report(self, batch: Batch, index: int, calls: list[Call], signature: str) -> None:
        self._reported[signature] += 1
        if self._reported[signature] <= 3:
            batch.suspects.append(Suspect(index, calls, signature))

    def _base(self, random: Random, level: Level) -> list[Call]:
        """A sequence to start from: something that was new, a recorded one or a part of it, or a fresh one."""
        chance = random.random()
        if level is Level.CONFORMING:
            if chance < 0.3 and (kept := self._kept_within(random, level)):
                return kept
            return generate.conforming(self.contract, random, _length(random))
        if self.kept and chance < 0.45:
            return self.kept[-1 - int(random.random() ** 2 * len(self.kept))]
        if self.seeds and chance < 0.9:
            return _part(random.choice(self.seeds), random, self.contract.terminal)
        return generate.sequence(self.contract, random, level, _length(random))

    def _kept_within(self, random: Random, level: Level) -> list[Call] | None:
        if not self.kept:
            return None
        calls = random.choice(self.kept)
        return calls if self._level(calls) <= level else None

    def _legal(self, calls: list[Call]) -> list[Call]:
        """The beginning of a sequence that the contract's order allows."""
        end = self._legal_length(calls)
        if end == len(calls):
            return calls
        return calls[:end] or [self._env.call(self._env.legal[self.contract.start][0])]

    def _level(self, calls: list[Call]) -> Level:
        return level_of(self.contract, calls, len(calls) - 1)

    def _legal_length(self, calls: list[Call]) -> int:
        """How many calls go before one that the contract's order forbids."""
        transitions = self.contract.transitions
        state = self.contract.start
        if self._only_the_end_matters:
            methods = [*map(_METHOD, calls)]
            return min(
                (methods.index(name) + 1 for name in self.contract.terminal if name in methods), default=len(calls)
            )
        for number, call in enumerate(calls):
            step = transitions.get((state, call[0]))
            if step is None or step[1] is not None:
                return number
            state = step[0]
        return len(calls)

    def _new_state(self) -> bool:
        """Whether the last instance's visible state is of a shape not seen before."""
        if len(self._states) >= _STATES:
            return False
        state = self._screen.state()
        if state is None or state in self._states:
            return False
        self._states.add(state)
        return True


def _only_the_end_matters(contract: Contract) -> bool:
    """Whether every call is legal until the one that ends the protocol has been made."""
    return all(
        rule is None and (to in contract.ended) == (method in contract.terminal)
        for (state, method), (to, rule) in contract.transitions.items()
        if state not in contract.ended and state != contract.released
    )


def _length(random: Random) -> int:
    """Mostly short, sometimes a session of hundreds of calls."""
    return random.randrange(2, 12) if random.random() < 0.95 else random.randrange(20, 400)


def _part(calls: list[Call], random: Random, terminal: frozenset[str]) -> list[Call]:
    """A recorded sequence whole now and then; mostly a run out of it, with its end."""
    if len(calls) <= 12 or random.random() < 0.1:
        return calls
    start = random.randrange(len(calls) - 4)
    part = calls[start : start + random.randrange(3, 11)]
    last = calls[-1]
    return [*part, last] if last.method in terminal and part[-1] is not last else part


def _plain(calls: Sequence[Call]) -> list[Call]:
    """Calls of one thread without times, as the loop plays them."""
    return [call._replace(thread=0, time_ns=0) for call in calls]


# --- screening ------------------------------------------------------------------------------------------------


class _Screen:
    """Plays a sequence as fast as it can be done and says whether anything looked wrong.

    `play` gives "" or a signature: trouble of the same signature is likely the same trouble.
    """

    def __init__(self, target: Target, slow: float):
        self._target = target
        self._slow_ns = int(slow * 1e9)
        self._caught: list[str] = []
        self._instance: Any = None
        self._handles = _LiveHandles()
        self._given: set[EventHandle] = set()  # only for a target that promises to close them
        self._running = 0  # threads that were there before
        self._ended = 0  # perf_counter_ns when the last sequence ended, which is when the next begins
        names = [m.name for m in target.interface.calls]
        self._names = names
        self._bind: Callable[[Any], tuple[Any, ...]] = operator.attrgetter(*names)
        if len(names) == 1:
            single = operator.attrgetter(names[0])
            self._bind = lambda instance: (single(instance),)
        self._with_handles = [
            (number, name)
            for number, (name, method) in enumerate(zip(names, target.interface.calls, strict=True))
            if any(p.type in (Type.HANDLE, Type.POINTER) for p in method.inputs)
        ]
        self._plain_hresults = all(m.returns is Type.HRESULT and not m.outputs for m in target.interface.calls)
        factory = getattr(target, "factory", None)
        self._factory: Callable[[], Any] | None = factory if self._plain_hresults else None
        self._invariant = False
        self._must_close = False
        self._over = False  # the protocol has ended: handles given after that are nobody's to close
        self._terminal = contract_of(target.interface).terminal
        if self._factory:
            instance = target.instance()
            self._invariant = instance.invariant is not None
            self._must_close = "closes-handle" in instance.promises

    def play(self, calls: list[Call]) -> str:
        if self._factory is None:
            return self.threads(calls)
        method = ""
        odd: Any = None
        started = self._ended
        self._over = False
        self._instance = instance = self._factory()
        table = dict(zip(self._names, self._bind(instance)))  # noqa: B905 - as many as there are names
        for _, name in self._with_handles:
            table[name] = partial(self._call_with_handles, table[name], name in self._terminal)
        try:
            if self._invariant:
                for method, args, _, _ in calls:
                    answer = table[method](*args)
                    if answer is not None and answer is not _S_OK:
                        odd = (method, answer)
                    if instance.invariant() is False:
                        return f"invariant after {method}"
            else:
                for method, args, _, _ in calls:
                    answer = table[method](*args)
                    if answer is not None and answer is not _S_OK:
                        odd = (method, answer)
        except BaseException as error:
            self._handle_trouble()
            self._ended = time.perf_counter_ns()
            return f"{type(error).__name__} at {_where(error.__traceback__)} in {method}"
        if (CLOSED or self._given) and (trouble := self._handle_trouble()):
            return trouble
        if odd is not None and (trouble := _odd_answer(*odd)):
            return trouble
        self._ended = ended = time.perf_counter_ns()
        if ended - started > self._slow_ns:
            return f"slow after {method}"
        if _thread._count() > self._running:
            self._settle()
        if self._caught:
            return self._caught.pop()
        return ""

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

    def _settle(self) -> None:
        """The target started threads: give them a moment, so that what they raise belongs to this sequence."""
        deadline = time.monotonic() + 0.05
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread is not threading.main_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._running = _thread._count()
        self._ended = time.perf_counter_ns()

    def threads(self, calls: list[Call]) -> str:
        """The same through the player, for calls on several threads, native targets and other answers."""
        run = play(calls, self._target, _QUICK)
        for _, call, outcome in run.trace.played:
            if outcome is None or outcome.kind is OutcomeKind.NOT_RUN:
                continue
            if outcome.kind is not OutcomeKind.RETURNED:
                return f"{outcome.detail.partition(':')[0]} at {outcome.place} in {call.method}"
            returns = self._target.interface.method(call.method).returns
            if returns is Type.HRESULT and (trouble := _odd_answer(call.method, outcome.value)):
                return trouble
            if outcome.elapsed_ns > self._slow_ns:
                return f"slow in {call.method}"
        if run.observations:
            seen = run.observations[0]
            return f"{seen.kind} at {seen.place}"
        return ""

    def state(self) -> object:
        """The shape of the last instance's attributes: types, signs and magnitudes, lengths, small values."""
        try:
            own = getattr(self._instance, "state", None)
            values = own() if callable(own) else vars(self._instance)
            return tuple(map(_shape, values.values() if isinstance(values, dict) else (values,)))
        except Exception:  # no __dict__, or a state() that fails: then there is nothing to see
            return None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notice exceptions that end in the interpreter's hooks."""
        hooks = threading.excepthook, sys.unraisablehook
        self._running = _thread._count()
        self._ended = time.perf_counter_ns()

        def caught(args: Any) -> None:
            self._caught.append(f"{args.exc_type.__name__} at {_where(args.exc_traceback)}, caught by nobody")

        threading.excepthook = sys.unraisablehook = caught
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = hooks


class _LiveHandles(dict[int, EventHandle]):
    def __missing__(self, token: int) -> EventHandle:
        self[token] = EventHandle(token)
        return self[token]


_S_OK = 0
_METHOD = operator.itemgetter(0)
_QUICK = PlayOptions(main_thread=True, join_seconds=0.05)


def _odd_answer(method: str, answer: object) -> str:
    """Whether an answer calls for a closer look: a failure, or no HRESULT."""
    if answer is None:
        return ""
    if not hresult.is_hresult(answer):
        return f"{method} answers {type(answer).__name__}"
    return f"{method} answers {answer}" if hresult.failed(answer) else ""  # type: ignore[arg-type]


def _where(trace: TracebackType | None) -> str:
    """Innermost frame of a traceback."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _shape(value: Any) -> object:
    kind = type(value)
    if kind is int:
        return value if -2 <= value <= 2 else (value < 0, value.bit_length())
    if kind is bool or value is None:
        return value
    if kind is str or kind is list or kind is dict or kind is tuple or kind is set:
        return (kind.__name__, len(value).bit_length())
    if kind is float:
        return ("float", value < 0, value == 0)
    return value if isinstance(value, enum.Enum) else kind.__name__
