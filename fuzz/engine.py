"""The inner loop: mutate, play, look, thousands of times a second, in the sandboxed child.

A batch is a pure function of (campaign seed, batch number, what the corpus held when it began): discoveries
take effect from the next batch on.  So a batch whose process died is made again up to the sequence that killed
it, without a journal of calls.

The loop only screens (fuzz.screen): it looks for any sign of trouble, as cheaply as it can.  What it suspects the
campaign plays again, alone and with every oracle looking.
"""

from __future__ import annotations

import itertools
import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz import generate
from fuzz.mutators import Environment, Mutator, mutate
from fuzz.screen import ALIKE, REFUSES, Screen
from recorder.calls import Call
from recorder.contract import Contract, Level, contract_of, fits, level_of
from recorder.interface import Interface
from replayer.player import Journal
from replayer.target import Target

__all__ = ["Batch", "Engine", "Suspect", "bases"]

_POOL = 24  # base sequences of a batch
_KEPT = 4000  # sequences kept for having brought something new
_STATE_MASK = 7  # the target's visible state is looked at after every eighth sequence
_RETAINED = 2  # share of the mutator that releases early
_STATES = 20_000  # states remembered: a target that counts upward must not flood the corpus
_METHOD = operator.itemgetter(0)


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
    """Runs batches on one target.

    `seeds` are sequences as `bases` gives them.  `novelty` is asked after each sequence how much new it has
    seen.  `slow`: see Screen.  `avoid`: calls, as (method, arguments), that are not made.  `retained`: whether the
    hostile level calls on after the last Release, too.
    """

    def __init__(
        self,
        target: Target,
        seeds: Sequence[list[Call]],
        *,
        seed: int = 0,
        slow: float = 1.0,
        novelty: Callable[[], int] | None = None,
        journal: Journal | None = None,
        retained: bool = False,
    ):
        self.target = target
        self.contract: Contract = contract_of(target.interface)
        self.seed = seed
        self.seeds = list(seeds)
        self.kept: list[list[Call]] = []
        self.avoid: set[tuple[str, tuple[Any, ...]]] = set()
        self._novelty = novelty
        self._journal = journal
        self.slow = slow
        self._env = Environment(self.contract, self.seeds, Random(seed))
        if retained:
            self._env.shares["release-early"] = _RETAINED
            self._env.weigh()
        self._states: set[object] = set()
        self._only_the_end_matters = _only_the_end_matters(self.contract)
        self._reported: Counter[str] = Counter()
        self.screen = Screen(target, slow)

    @property
    def environment(self) -> Environment:
        """What the mutators draw from; `used` and `threaded` belong to the sequence made last."""
        return self._env

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

    def restore(self, fresh: Iterable[tuple[list[Call], Sequence[str]]]) -> None:
        """Keep what earlier batches found new, and play it, so that to a new process it is not new again."""
        with self.screen.watching():
            for calls, mutators in fresh:
                self.keep(calls, mutators)
                self.screen.play(calls, look=True)
                self._new_shape()
        if self._novelty is not None:
            self._novelty()
        self.reweigh()

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
        env, screen, novelty, journal, avoid = self._env, self.screen, self._novelty, self._journal, self.avoid
        terminal = self.contract.terminal
        applied: list[Mutator] = []
        done = made = ended = 0
        with screen.watching():
            for index, calls in itertools.islice(self.sequences(number, level, size), start, until):
                if deadline is not None and index & 15 == 0 and done and time.monotonic() > deadline:
                    break
                if avoid and any((call.method, call.args) in avoid for call in calls):
                    continue
                if journal is not None:
                    journal.note(number, index)
                look = index & _STATE_MASK == 0 and not env.threaded
                trouble = screen.threads(calls) if env.threaded else screen.play(calls, look)
                done += 1
                made += len(calls)
                if calls[-1][0] in terminal or not terminal.isdisjoint(map(_METHOD, calls)):
                    ended += 1
                applied += env.used
                if trouble:
                    self.report(batch, index, calls, trouble, level)
                if ((novelty is not None and novelty()) | (look and self._new_shape())) and screen.returned:
                    batch.fresh.append((_plain(calls[: screen.returned]), [m.name for m in env.used]))
        batch.done, batch.calls, batch.ended = done, made, ended
        batch.applied.update(mutator.name for mutator in applied)
        return batch

    def sequence(self, number: int, level: Level, size: int, index: int) -> list[Call]:
        """One sequence of a batch, made again."""
        return next(calls for at, calls in self.sequences(number, level, size) if at == index)

    def report(self, batch: Batch, index: int, calls: list[Call], trouble: str, level: Level) -> None:
        """Take what a sequence showed for a suspect, unless it is no trouble at this level or was seen before."""
        if level is Level.HOSTILE and trouble.startswith(REFUSES) and self._legal_length(calls) < len(calls):
            return  # whoever breaks the protocol may be told so
        signature = f"{trouble} at level {level}"
        self._reported[signature] += 1
        if self._reported[signature] <= ALIKE:
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
            ends = [methods.index(name) + 1 for name in self.contract.terminal if name in methods]
            return min(ends) if ends else len(calls)
        for number, call in enumerate(calls):
            step = transitions.get((state, call[0]))
            if step is None or step[1] is not None:
                return number
            state = step[0]
        return len(calls)

    def _new_shape(self) -> bool:
        """Whether the last instance's visible state is of a shape not seen before."""
        shape = self.screen.shape
        if shape is None or shape in self._states or len(self._states) >= _STATES:
            return False
        self._states.add(shape)
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


def _plain(calls: Iterable[Call]) -> list[Call]:
    """Calls of one thread without times, as the loop plays them."""
    return [call._replace(thread=0, time_ns=0) for call in calls]


def bases(sequences: Iterable[Iterable[Call]], interface: Interface) -> list[list[Call]]:
    """Sequences to start from: of recorded calls those that the loop can make.

    IUnknown's methods and arguments that the interface's types cannot carry are left out, and what is empty
    then.
    """
    inputs = {method.name: method.inputs for method in interface.calls}

    def possible(call: Call) -> bool:
        takes = inputs.get(call.method)
        return takes is not None and len(takes) == len(call.args) and all(map(fits, takes, call.args))

    return [usable for calls in sequences if (usable := _plain(filter(possible, calls)))]
