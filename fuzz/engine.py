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
from fuzz.comparison_mutators import try_operand
from fuzz.comparisons import Operands
from fuzz.coverage import Coverage
from fuzz.environment import Environment
from fuzz.feedback import Feature
from fuzz.mutators import MUTATORS, Drawing
from fuzz.observer import Observer
from fuzz.protocol import Protocol
from fuzz.schedule import Kept, Seeds
from fuzz.schedules import is_scheduled
from fuzz.screen import ALIKE, REFUSES, Screen
from fuzz.values import fresh_call
from recorder.calls import Call
from recorder.contract import Contract, Level, contract_of, fits, level_of
from recorder.interface import Interface
from recorder.provenance import digest
from replayer.player import Journal
from replayer.target import Target

__all__ = ["TRIES_SHIFT", "Batch", "Engine", "Suspect", "bases"]

TRIES_SHIFT = 32
"""Bits of the journal's second number that are the sequence's; those above count tries to make it shorter."""

_POOL, _FEWEST = 24, 6  # base sequences of a batch
_PATIENCE = 8  # batches that bring fewer sequences to keep than they are, after which fewer are watched closely
_RECENT = 4  # batches for which the operands of a sequence kept are tried one by one
_TRIED = 0.3  # of the sequences then
_TRIES = 24  # plays that make a sequence to be kept shorter
_CALLS = 12_000  # and calls in them
_SLOW = 0.2  # seconds that a sequence takes which is kept as it is
_SHORT = 8  # calls that a sequence keeps at least: others than those of its feature are what mutators build on
_SHOWN = 64  # features of a sequence that are told
_VARIANTS = 8  # sequences in a row, not watched closely, that differ in an argument only
_LONG = 100  # calls from which on there are none
_RETAINED = 2  # share of the mutator that releases early
_CHANGE = MUTATORS["change-argument"]
_METHOD = operator.itemgetter(0)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A sequence that showed trouble: number `index` of its batch."""

    index: int
    calls: list[Call]
    signature: str


@dataclass(slots=True)
class Batch:
    """What a batch gave; `done` sequences of it were run.  `next`: another process should go on with this one."""

    number: int
    done: int = 0
    calls: int = 0
    ended: int = 0  # sequences that reach the call that ends the protocol
    next: int | None = None
    suspects: list[Suspect] = field(default_factory=list)
    fresh: list[Kept] = field(default_factory=list)
    applied: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)  # of the contract: state, method


class Engine:
    """Runs batches on one target.

    `seeds` are sequences as `bases` gives them.  `coverage` is that of a Python target's code; `novelty` is asked
    after each sequence how much new it has seen, in its place where there is none.  `slow`, `disabled`: see
    Screen.  `avoid`: calls, as (method, arguments), that are not made.  `retained`: whether the hostile level
    calls on after the last Release, too.
    """

    def __init__(
        self,
        target: Target,
        seeds: Sequence[list[Call]],
        *,
        seed: int = 0,
        slow: float = 1.0,
        coverage: Coverage | None = None,
        novelty: Callable[[], int] | None = None,
        journal: Journal | None = None,
        retained: bool = False,
        disabled: Iterable[str] = (),
    ):
        self.target = target
        self.contract: Contract = contract_of(target.interface)
        self.seed = seed
        self.seeds = list(seeds)
        self.kept = Seeds()
        self.avoid: set[tuple[str, tuple[Any, ...]]] = set()
        self._coverage = coverage
        self._novelty = coverage.novel if coverage is not None else novelty
        self._journal = journal
        self.slow = slow
        self._env = Environment(self.contract, self.seeds, Random(seed))
        self.drawing = Drawing()
        if retained:
            self.drawing.shares.base["release-early"] = _RETAINED
            self.drawing.weigh()
        if coverage is not None:
            self._env.learn_values(*coverage.constants())
        self._protocol = Protocol(self.contract)
        self._source: list[Call] | None = None  # of the sequence made last
        self._reported: Counter[str] = Counter()
        self._at = (0, 0)  # the batch and its sequence that are played
        self._own: set[int] = set()  # hashes of sequences kept that this process has found itself
        self.screen = Screen(target, slow, disabled)
        self._observer = Observer(self.screen, self._protocol, coverage)

    @property
    def environment(self) -> Environment:
        """What the mutators draw from; `used` and `threaded` belong to the sequence made last."""
        return self._env

    @property
    def protocol(self) -> Protocol:
        """Walks through the target's contract."""
        return self._protocol

    @property
    def states(self) -> int:
        """How many features the target's visible state was seen to have."""
        return self._observer.states

    def plays_alone(self, level: Level) -> bool:
        """Whether no call of a batch at this level is made while another one runs."""
        return True

    # --- what the next batches build on ---------------------------------------------------------------------

    def as_played(self, kept: Kept) -> Kept:
        """A sequence that was kept, as it is played here: one that was scheduled, one call after the other."""
        if not is_scheduled(kept.calls):
            return kept
        return kept._replace(calls=bases([kept.calls], self.target.interface)[0])

    def keep(self, kept: Kept) -> None:
        """A sequence that brought something new: a base from now on, and its mutators are drawn more often."""
        if self.kept.add(kept):
            self._env.learn(kept.calls[:20])
        compared = [value for _, *both in kept.operands for value in both]
        self._env.learn_values(
            (value for value in compared if type(value) is int and not -2 <= value <= 2),
            (value for value in compared if type(value) is str and 0 < len(value) <= 64),
        )
        self.drawing.shares.earned(kept.mutators)

    def reweigh(self) -> None:
        """Let what was kept take effect."""
        self.kept.weigh()
        self.drawing.weigh()

    def restore(self, fresh: Iterable[Kept]) -> None:
        """Keep what earlier batches found new, and play it, so that to a new process it is not new again."""
        with self.screen.watching():
            for kept in fresh:
                self.keep(kept)
                if (key := hash(tuple(kept.calls))) in self._own:
                    self._own.discard(key)
                else:
                    self._observer.watch(True)
                    self._observer.play(kept.calls)
        self._observer.watch(False)
        if self._novelty is not None:
            self._novelty()
        self.reweigh()

    # --- batches ------------------------------------------------------------------------------------------------

    def sequences(self, number: int, level: Level, size: int) -> Iterator[tuple[int, list[Call]]]:
        """The sequences of a batch.  `self._env.used` and `.threaded` belong to the one given last."""
        random = Random(self.seed * 1_000_003 + number)
        env = self._env
        env.seed(random)
        env.corpus = [*self.seeds, *[kept.calls for kept in self.kept.kept[-200:]]]
        bases = min(_POOL, max(_FEWEST, size // 4))
        if level is Level.CONFORMING:
            bases = max(bases, size // 8)
        pool = [self._base(random, level) for _ in range(bases)]
        recent = self.kept.recent(number - _RECENT) if level is not Level.CONFORMING else []
        closely = size if level is Level.CONFORMING else self._closely(number, size)
        model: list[Call] = []
        used: list[str] = []
        draw = random.random
        for index in range(size):
            if index >= closely and index % _VARIANTS and model:
                env.used[:] = used
                calls = model[:]
                if _CHANGE.apply(calls, env):
                    env.used.append(_CHANGE.name)
                yield index, calls
                continue
            env.used.clear()
            env.threaded = False
            env.partners.clear()
            if recent and draw() < _TRIED:
                kept = recent[int(draw() * len(recent))]
                self._source, env.operands, env.place = kept.calls, kept.operands, kept.place
                calls = try_operand(kept.calls, env)
            else:
                self._source, base, env.operands, env.place = pool[int(draw() * bases)]
                calls = self.drawing.mutate(base, env, level)
            if level is Level.LENIENT:
                calls = self._legal(calls)
            if index >= closely:
                model, used = ([], []) if env.threaded or len(calls) > _LONG else (calls, env.used[:])
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
        observer, protocol, closely = self._observer, self._protocol, self._closely(number, size)
        shapes: list[tuple[str, ...]] = []
        applied: list[str] = []
        done = made = ended = 0
        watched: bool | None = None
        with screen.watching():
            for index, calls in itertools.islice(self.sequences(number, level, size), start, until):
                if deadline is not None and index & 15 == 0 and done and time.monotonic() > deadline:
                    break
                if avoid and any((call.method, call.args) in avoid for call in calls):
                    continue
                if journal is not None:
                    self._at = number, index
                    journal.note(number, index)
                close = index < closely and not env.threaded
                if close is not watched:
                    observer.watch(close)
                    watched = close
                if close:
                    trouble = observer.play(calls)
                else:
                    trouble = screen.threads(calls) if env.threaded else screen.play(calls)
                done += 1
                made += len(calls)
                shape = tuple(map(_METHOD, calls))
                shapes.append(shape)
                ended += protocol[shape].ends
                applied += env.used
                if trouble:
                    self.report(batch, index, calls, trouble, level)
                if ((novelty is not None and novelty()) or (close and observer.new)) and screen.returned:
                    new = observer.new if close else []
                    kept = Kept(_plain(calls[: screen.returned]), env.used[:], number)
                    self._take(batch, kept._replace(parents=self.parents(), number=index), new, level)
                    watched = None  # it traces
            observer.watch(False)
        batch.done, batch.calls, batch.ended = done, made, ended
        batch.applied.update(applied)
        batch.transitions = protocol.transitions(shapes)
        return batch

    def _closely(self, number: int, size: int) -> int:
        """How many sequences of a batch are watched closely: all, fewer when that has brought little of late."""
        quiet = number - self.kept.latest
        if quiet > _PATIENCE:
            return max(size // 8, size >> (quiet // _PATIENCE))
        if number <= _PATIENCE:
            return size
        brought = self.kept.since(number - _PATIENCE)
        return size if brought >= _PATIENCE else size // 2 if brought >= _PATIENCE // 2 else size // 4

    def parents(self) -> list[str]:
        """Digests of the seeds and kept sequences that the sequence made last was made from; none if afresh."""
        sources = [self._source, *self._env.partners] if self._source is not None else self._env.partners
        return list(dict.fromkeys(digest(calls, self.target.interface) for calls in sources))

    def _take(self, batch: Batch, kept: Kept, new: list[Feature], level: Level) -> None:
        """Keep a sequence that brought something new, without the calls that this does not need."""
        if self._coverage is not None or new:
            if self._coverage is not None:
                new = [*new, *[f"code {site}" for site in self._coverage.latest]]
                self._coverage.latest = set()
            kept = self.trimmed(kept, new, level)
        self._own.add(hash(tuple(kept.calls)))
        batch.fresh.append(kept)

    def trimmed(self, kept: Kept, new: list[Feature], level: Level) -> Kept:
        """The sequence, as short as a few tries can make it, with all that it shows."""
        observer = self._observer
        calls = kept.calls
        started = time.monotonic()
        observer.trace(calls)
        slow = time.monotonic() - started > _SLOW
        features, operands, place = list(observer.features), observer.operands, observer.place(new)
        tries = min(_TRIES, _CALLS // len(calls)) if observer.shows(new) and not slow else 0
        step = max(1, len(calls) // 2)
        while tries and len(calls) > _SHORT:
            at = len(calls) - step
            while at > -step and tries and len(calls) > _SHORT:
                fewer = calls[: max(at, 0)] + calls[at + step :]
                at -= step
                if not fewer or self._level_of_order(fewer, level) > level:
                    continue
                tries -= 1
                if self._journal is not None:  # that it goes on
                    number, index = self._at
                    self._journal.note(number, index | tries + 1 << TRIES_SHIFT)
                if not observer.trace(fewer) and observer.shows(new):
                    calls, features, operands = fewer, list(observer.features), observer.operands
                    place = observer.place(new)
            if step == 1:
                break
            step //= 2
        return kept._replace(calls=calls, features=_some(features, new), operands=operands, place=place)

    def _level_of_order(self, calls: list[Call], level: Level) -> Level:
        """The level of a sequence, where that matters."""
        if level is Level.CONFORMING:
            return self._level(calls)
        return (
            Level.LENIENT if level is Level.LENIENT and self._legal_length(calls) == len(calls) else Level.HOSTILE
        )

    def sequence(self, number: int, level: Level, size: int, index: int) -> list[Call]:
        """One sequence of a batch, made again."""
        return next(calls for at, calls in self.sequences(number, level, size) if at == index)

    def is_news(self, methods: tuple[str, ...], trouble: str, level: Level) -> bool:
        """Whether what a sequence of these methods showed is trouble at this level, and not seen often before."""
        if level is Level.HOSTILE and trouble.startswith(REFUSES) and self.protocol[methods].legal < len(methods):
            return False  # whoever breaks the protocol may be told so
        return self._reported[f"{trouble} at level {level}"] < ALIKE

    def report(self, batch: Batch, index: int, calls: list[Call], trouble: str, level: Level) -> None:
        """Take what a sequence showed for a suspect, unless it is no trouble at this level or was seen before."""
        if level is Level.HOSTILE and trouble.startswith(REFUSES) and self._legal_length(calls) < len(calls):
            return
        signature = f"{trouble} at level {level}"
        self._reported[signature] += 1
        if self._reported[signature] <= ALIKE:
            batch.suspects.append(Suspect(index, calls, signature))

    def _base(self, random: Random, level: Level) -> tuple[list[Call] | None, list[Call], Sequence[Operands], int]:
        """A sequence to start from: something that was new, a recorded one or a part of it, or a fresh one.

        Before it stands the seed or kept sequence that it is, or is a part of; None for a fresh one.
        """
        chance = random.random()
        if level is Level.CONFORMING:
            if chance < 0.3 and len(self.kept):
                kept = self.kept.draw(random.random())
                if self._level(kept.calls) <= level:
                    return kept.calls, kept.calls, kept.operands, kept.place
            return None, generate.conforming(self.contract, random, _length(random)), (), -1
        if len(self.kept) and chance < 0.7:
            kept = self.kept.draw(random.random())
            return kept.calls, kept.calls, kept.operands, kept.place
        if self.seeds and chance < 0.9:
            seed = random.choice(self.seeds)
            return seed, _part(seed, random, self.contract.terminal), (), -1
        return None, generate.sequence(self.contract, random, level, _length(random)), (), -1

    def _legal(self, calls: list[Call]) -> list[Call]:
        """The beginning of a sequence that the contract's order allows."""
        end = self._legal_length(calls)
        if end == len(calls):
            return calls
        return calls[:end] or [fresh_call(self._env.legal[self.contract.start][0], self._env)]

    def _level(self, calls: list[Call]) -> Level:
        return level_of(self.contract, calls, len(calls) - 1)

    def _legal_length(self, calls: list[Call]) -> int:
        """How many calls go before one that the contract's order forbids."""
        return self._protocol[tuple(map(_METHOD, calls))].legal


def _some(features: list[Feature], new: list[Feature]) -> list[Feature]:
    """What is told of a sequence's features: the new ones, and others up to a number."""
    return list(dict.fromkeys([*new, *features]))[:_SHOWN]


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
    return [call._replace(thread=0, time_ns=0, switches=()) for call in calls]


def _timeless(calls: Iterable[Call]) -> list[Call]:
    return [call._replace(time_ns=0) for call in calls]


def bases(
    sequences: Iterable[Iterable[Call]], interface: Interface, *, scheduled: bool = False
) -> list[list[Call]]:
    """Sequences to start from: of recorded calls those that the loop can make.

    IUnknown's methods and arguments that the interface's types cannot carry are left out, and what is empty
    then.  Threads, switches, and the references that threads hold only stay where they are `scheduled`.
    """
    inputs = {method.name: method.inputs for method in (interface.slots if scheduled else interface.calls)}

    def possible(call: Call) -> bool:
        takes = inputs.get(call.method)
        return takes is not None and len(takes) == len(call.args) and all(map(fits, takes, call.args))

    as_played = _timeless if scheduled else _plain
    return [usable for calls in sequences if (usable := as_played(filter(possible, calls)))]
