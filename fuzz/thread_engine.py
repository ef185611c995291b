"""The inner loop of a search with threads: calls spread over threads, in several schedules each.

A batch is a pure function as any other (fuzz.engine).  It is made of groups: the first sequence of a group is a
program as it comes, the others are schedules of it, drawn from the steps that the first one made.  A sequence that
is to be made again needs these, so the group's first is played for them, unless it is that itself.

Conforming batches are those of the ordinary loop: who calls from several threads at once does not conform (P20).
"""

from __future__ import annotations

import itertools
import operator
import time
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any

from fuzz.engine import Batch, Engine
from fuzz.feedback import Feature
from fuzz.mutator import Mutator
from fuzz.schedule import Kept
from fuzz.schedule_mutators import SCHEDULE
from fuzz.schedules import draw_schedule, held, in_order, is_scheduled, nested, spread, steps_in_order, threads_of
from fuzz.screen import REFUSES
from fuzz.values import fresh_call
from recorder.calls import Call
from recorder.contract import Level
from replayer.player import Run
from replayer.target import Target

__all__ = ["ThreadEngine"]

_GROUP = 12  # schedules of a program
_DRAWS = 4  # tries to draw a schedule of it that there has not been
_KEPT = 200  # programs that others are made from
_FROM_KEPT = 0.4  # of the programs
_AFRESH, _FRESH = 0.4, 4  # of the others that are made of new calls, and how many of these at most
_NESTS = 0.25  # of the others, of a Python target: a native one is not asked when it calls out
_HOLDS = 0.3  # of the others, of a native target: threads take references and give them back
_SHOWN = 64  # features of a run that are told
_METHOD = operator.itemgetter(0)
_MUTATORS = tuple(SCHEDULE.values())
_NATIVE_MUTATORS = tuple(mutator for mutator in _MUTATORS if mutator is not SCHEDULE["nest"])


class ThreadEngine(Engine):
    """Runs batches from up to `threads` threads at once."""

    def __init__(self, target: Target, seeds: Sequence[list[Call]], *, threads: int, **options: Any):
        super().__init__(target, seeds, **options)
        self._threads = threads
        self._programs: list[Kept] = []  # scheduled sequences that brought something new
        self._shown: set[Feature] = set()
        self._steps: tuple[list[Call], Sequence[int]] = [], ()  # of the program played last

    def plays_alone(self, level: Level) -> bool:
        return level is Level.CONFORMING

    def as_played(self, kept: Kept) -> Kept:
        return kept

    def keep(self, kept: Kept) -> None:
        """A sequence that brought something new; a scheduled one is a program to change, no base for others."""
        if is_scheduled(kept.calls):
            self._programs.append(kept)
            self._shown.update(kept.features)
        else:
            super().keep(kept)

    def restore(self, fresh: Iterable[Kept]) -> None:
        alone: list[Kept] = []
        for kept in fresh:
            if is_scheduled(kept.calls):
                self.keep(kept)
            else:
                alone.append(kept)
        super().restore(alone)

    # --- batches ------------------------------------------------------------------------------------------------

    def sequences(self, number: int, level: Level, size: int, start: int = 0) -> Iterator[tuple[int, list[Call]]]:
        """The sequences of a batch, from `start` on."""
        if self.plays_alone(level):
            yield from itertools.islice(super().sequences(number, level, size), start, None)
            return
        random = Random(f"{self.seed} threads {number}")
        alone = iter(super().sequences(number, level, -(-size // _GROUP)))
        for first in range(0, size, _GROUP):
            program = self._program(next(alone)[1], random, level)
            own = Random(random.getrandbits(64))
            if first + _GROUP <= start or self._avoids(program):
                continue
            applied = [*self._env.used]
            if first >= start:
                yield first, program
            had = {tuple(program)}
            steps: Sequence[int] | None = None
            for index in range(first + 1, min(first + _GROUP, size)):
                if steps is None:  # known once it has been played
                    steps = self._steps_of(program)
                drawn = program
                for _ in range(_DRAWS):
                    drawn = draw_schedule(program, steps, own, nests=not self.target.native)
                    if tuple(drawn) not in had:
                        break
                new = tuple(drawn) not in had
                had.add(tuple(drawn))
                if new and index >= start:
                    self._env.used[:] = applied
                    yield index, drawn

    def sequence(self, number: int, level: Level, size: int, index: int) -> list[Call]:
        return next(calls for at, calls in self.sequences(number, level, size, index) if at == index)

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
        if self.plays_alone(level):
            return super().run(number, level, size, start=start, until=until, deadline=deadline)
        batch = Batch(number)
        shapes: list[tuple[str, ...]] = []
        if start % _GROUP:  # the process died in this group, and might again
            start += _GROUP - start % _GROUP
        for index, calls in self.sequences(number, level, size, start):
            if until is not None and index >= until:
                break
            if deadline is not None and batch.done and time.monotonic() > deadline:
                break
            if self._journal is not None:
                self._journal.note(number, index)
            trouble, run = self.screen.scheduled(calls)
            self._steps = calls, steps_in_order(calls, run.trace.calls, run.steps)
            batch.done += 1
            batch.calls += len(calls)
            shapes.append(tuple(map(_METHOD, calls)))
            batch.ended += self.protocol[shapes[-1]].ends
            batch.applied.update(self._env.used)
            if trouble and not (trouble.startswith(REFUSES) and self._ends(calls)):
                self.report(batch, index, calls, trouble, level)
            features = _features(run)
            if new := [feature for feature in features if feature not in self._shown]:
                told = list(dict.fromkeys([*new, *features]))[:_SHOWN]
                self._shown.update(told)  # the rest nobody else would know of
                batch.fresh.append(Kept(calls, self._env.used[:], number, told, number=index))
            if run.held:  # what is played next might wait for it
                batch.next = index + 1
                break
        batch.transitions = self.protocol.transitions(shapes)
        return batch

    def _program(self, alone: list[Call], random: Random, level: Level) -> list[Call]:
        """Calls on several threads: these spread, or a program that was kept, changed."""
        env = self._env
        if self._programs and random.random() < _FROM_KEPT:
            program = self._allowed(random.choice(self._programs[-_KEPT:]).calls, level)
            if len(threads_of(program)) > 1:
                mutators = _NATIVE_MUTATORS if self.target.native else _MUTATORS
                env.used[:] = _changed(program, random, env, mutators)
                return in_order(program)
        applied = [*env.used]
        alone = self._allowed(alone, level)
        if not alone or random.random() < _AFRESH:
            alone = self._afresh(random, level)
            applied = []
        program = spread(alone, self._threads, random)
        if self.target.native:
            if random.random() < _HOLDS:
                program = held(program, random)
        elif random.random() < _NESTS:
            program = nested(program, random.choice(alone), random)
            applied.append("nest")
        env.used[:] = applied
        return program

    def _afresh(self, random: Random, level: Level) -> list[Call]:
        """Calls of methods each of which is as likely as any other."""
        terminal = self.contract.terminal if level is not Level.HOSTILE else frozenset()
        names = [name for name in self._env.names if name not in terminal] or self._env.names
        return [fresh_call(random.choice(names), self._env) for _ in range(random.randint(1, _FRESH))]

    def _allowed(self, calls: list[Call], level: Level) -> list[Call]:
        """The calls that several threads may make at a level: none at once with the end of the protocol (P13)."""
        if level is Level.HOSTILE:
            return [*calls]
        return [call for call in calls if call.method not in self.contract.terminal]

    def _ends(self, calls: list[Call]) -> bool:
        """Whether the protocol may end while others call, who may be told so."""
        return any(call.method in self.contract.terminal for call in calls)

    def _avoids(self, calls: list[Call]) -> bool:
        return bool(self.avoid) and any((call.method, call.args) in self.avoid for call in calls)

    def _steps_of(self, program: list[Call]) -> Sequence[int]:
        """How many steps each of its calls makes; played for that if it was not the last to be played."""
        if self._steps[0] != program:
            run = self.screen.scheduled(program)[1]
            self._steps = program, steps_in_order(program, run.trace.calls, run.steps)
        return self._steps[1]


def _changed(program: list[Call], random: Random, env: Any, mutators: Sequence[Mutator]) -> list[str]:
    """Change a program by a few mutators of schedules; those that did."""
    applied = []
    for _ in range(random.randint(1, 3)):
        mutator = mutators[random.randrange(len(mutators))]
        if mutator.apply(program, env):
            applied.append(mutator.name)
    return applied


def _features(run: Run) -> list[Feature]:
    """Where threads handed over to others, and one after the other where."""
    calls = run.trace.calls
    places = [f"{calls[one.call].method} {one.place} {one.why}" for one in run.schedule]
    pairs = [f"{one} then {other}" for one, other in itertools.pairwise(places)]
    return [f"hand-over {what}" for what in [*places, *pairs]]
