"""The inner loop for native targets: a batch is made and packed in Python, then played in C.

    sequences   shared: the packed sequences of a batch, then what is known of them (the plan)
    results     shared: what came of each that was played, in their order; b"" for one that the process died of

What a sequence shows for the first time, in the target's code, in its answers, or in the state that it names, is
seen in C, too, and known to this process only; another one plays what is kept, and so knows it.

A sequence is packed from the packed calls that it has in common with others.  Most are only screened
(replayer.screening), one in `SAMPLE` with the closest watch on its texts.  The player, with every oracle looking,
plays those with calls on several threads and one in `PLAYED`: it costs as much as hundreds of others.  When the
process dies, another goes on with the lists as they are, and judges all of them at the end: nothing is made or
played twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import closing
from itertools import islice
from typing import NamedTuple

from fuzz.comparisons import Operands
from fuzz.engine import Batch, Engine
from fuzz.growth import Growth
from fuzz.mutators import MUTATORS
from fuzz.schedule import Kept
from recorder.calls import Call, Handle
from recorder.contract import Level
from replayer.batches import Fragments, Numbered, unpack_calls
from replayer.guards import Guard
from replayer.sandbox_child import Journal, pack, unpack
from replayer.screening import SYMBOLS, Screened, Screening, is_fresh, is_odd, screened
from replayer.shared import SharedList
from replayer.target import NativeTarget

__all__ = ["PLAYED", "SAMPLE", "NativeBatches"]

SAMPLE = 64
"""One sequence in so many has texts that nobody may use after their call (Guard.STRICT)."""

PLAYED = 32 * SAMPLE
"""One sequence in so many is played by the player, with its oracles looking; without the core one in `SAMPLE`."""

_NAMES = tuple(MUTATORS)
_SEGMENT = 64  # sequences between two looks at the time


class _Plan(NamedTuple):
    """What is known of the sequences of a batch, by their place in the list.

    `first`: how many sequences the earlier batches had.  `indexes`: their numbers in the batch.  `calls`: how many
    they have.  `ends`: places of those that reach the call that ends the protocol.  `strict`: places of those
    whose texts are watched closely, `played` of those that the player plays.  `used`: the mutators of each, by
    their numbers.
    """

    number: int
    first: int
    indexes: list[int]
    calls: list[int]
    ends: list[int]
    strict: list[int]
    played: list[int]
    used: list[list[int]]


class NativeBatches:
    """Makes, plays and judges batches of an engine's sequences."""

    def __init__(
        self, engine: Engine, target: NativeTarget, journal: Journal, sequences: SharedList, results: SharedList
    ):
        self._engine = engine
        self._interface = target.interface
        self._journal = journal
        self._sequences = sequences
        self._results = results
        self._fragments = Fragments(target.interface)
        self._screening = Screening(target, journal, engine.slow)
        final = engine.contract.final  # without one a handle is only lent
        self._closes_handles = final is not None and final.handle is not None
        self._growth = Growth(self._screening)
        self._cover = target.cover
        self._numbers = {id(mutator): number for number, mutator in enumerate(MUTATORS.values())}
        self._known: _Plan | None = None  # what is in the list of sequences, if this process made it
        self._made: list[list[Call]] = []
        self._many_handles = any(map(_has_many_handles, engine.seeds))

    def restore(self, fresh: Iterable[Kept]) -> None:
        """Keep what earlier batches found new, and play it, so that to a new process it is not new again."""
        packed = []
        for kept in fresh:
            self._engine.keep(kept)
            packed.append(self._fragments.sequence(kept.calls))
        self._engine.reweigh()
        self._screen_apart(packed)

    def _screen_apart(self, packed: Iterable[bytes]) -> None:
        """Screen sequences of which nothing is wanted but that they have been played."""
        with closing(SharedList()) as given, closing(SharedList()) as results:
            given.extend(packed)
            self._screening.play(given, results)

    def make(self, number: int, level: Level, size: int, start: int, until: int) -> None:
        """Make sequences `start` to `until` of a batch and put them into the list, with their plan."""
        engine, terminal = self._engine, self._engine.contract.terminal
        used, avoid = engine.environment.used, engine.avoid
        pack_one, pack_any = self._fragments.sequence, self._fragments.any_sequence
        plan = _Plan(number, number * size, [], [], [], [], [], [])
        every = PLAYED if self._screening.compiled else SAMPLE
        packed: list[bytes] = []
        made: list[list[Call]] = []
        numbers = self._numbers
        for index, calls in islice(engine.sequences(number, level, size), start, until):
            if avoid and any((call.method, call.args) in avoid for call in calls):
                continue
            place = len(packed)
            if engine.environment.threaded or (self._many_handles and _has_many_handles(calls)):
                plan.played.append(place)
                packed.append(pack_any(calls))
            else:
                packed.append(pack_one(calls))
                if (plan.first + index) % SAMPLE == 0:
                    (plan.strict if (plan.first + index) % every else plan.played).append(place)
            made.append(calls)
            plan.indexes.append(index)
            plan.calls.append(len(calls))
            if calls[-1][0] in terminal or any(call[0] in terminal for call in calls):
                plan.ends.append(place)
            plan.used.append([numbers[id(mutator)] for mutator in used])
        self._sequences.clear()
        self._results.clear()
        self._sequences.extend([*packed, pack(plan)])
        self._known, self._made = plan, made

    def play(self, deadline: float | None) -> None:
        """Play what has no result yet, up to the deadline (time.monotonic seconds)."""
        place, plan = len(self._results), self._known or self._taken_over()
        count = len(plan.indexes)
        played, strict = set(plan.played), set(plan.strict)
        apart = iter([*(at for at in sorted(played | strict) if at >= place), count])
        following = next(apart)
        while place < count and (deadline is None or time.monotonic() < deadline):
            stop, guard = min(following, place + _SEGMENT), Guard.RING
            if place == following:
                following = next(apart)
                stop, guard = place + 1, Guard.STRICT
            if place in played:
                self._play(place)
            else:
                self._screening.play(self._sequences, self._results, place, stop, guard=guard)
            place = stop

    def growing(self, oracles: Collection[str]) -> list[tuple[list[Call], str]]:
        """Sequences that leave something behind in the process, each with that oracle of these that will say so.

        Nothing if the process has not played all of them: what killed another one is among them.
        """
        plan = self._plan
        results = list(self._results)
        if len(results) < len(plan.indexes) or not all(results):
            return []
        played = set(plan.played)
        places = [place for place in range(len(results)) if place not in played]
        packed = self._sequences.pick(set(places))
        found = self._growth.culprits([packed[place] for place in places], oracles)
        return [(self._calls(places[at]), oracle) for at, oracle in found]

    @property
    def sites(self) -> tuple[int, int]:
        """How many places of the target's code were reached by this process, and how many it knows of."""
        return self._cover.sites() if self._cover else (0, 0)

    @property
    def next(self) -> int | None:
        """The number in its batch of the first sequence that has no result, None if all have one."""
        plan, place = self._plan, len(self._results)
        return plan.indexes[place] if place < len(plan.indexes) else None

    def judged(self, level: Level) -> Batch:
        """What the batch has come to so far."""
        plan = self._plan
        batch = Batch(plan.number)
        results = list(self._results)
        by_player = set(plan.played)
        looked_at = [
            place for place, result in enumerate(results) if result and (place in by_player or is_odd(result))
        ]
        for place in looked_at:
            calls, result = self._calls(place), results[place]
            troubles = unpack(result) if place in by_player else self._troubles(calls, screened(result))
            for trouble in troubles:
                self._engine.report(batch, plan.indexes[place], calls, trouble, level)
        for place, result in enumerate(results):
            if result and place not in by_player and is_fresh(result):
                mutators = [_NAMES[number] for number in plan.used[place]]
                operands = _operands(screened(result).compared)
                batch.fresh.append(Kept(self._calls(place), mutators, plan.number, operands=operands))
        played = {place for place, result in enumerate(results) if result}
        batch.done = len(played)
        batch.calls = sum(plan.calls[place] for place in played)
        batch.ended = len(played.intersection(plan.ends))
        if self._made:
            methods = (tuple([call.method for call in self._made[place]]) for place in played)
            batch.transitions = self._engine.protocol.transitions(methods)
        batch.applied.update(_NAMES[number] for used in plan.used for number in used)
        return batch

    @property
    def _plan(self) -> _Plan:
        """That of the sequences in the list, whoever made them."""
        if self._known is None:
            last = len(self._sequences) - 1
            self._known = _Plan(*unpack(self._sequences.pick((last,))[last]))
        return self._known

    def _taken_over(self) -> _Plan:
        """The plan of another process, whose discoveries in this batch are made known to this one."""
        plan = self._plan
        fresh = {place for place, result in enumerate(self._results) if result and is_fresh(result)}
        fresh.difference_update(plan.played)
        self._screen_apart(self._sequences.pick(fresh).values())
        return plan

    def _calls(self, place: int) -> list[Call]:
        if self._made:
            return self._made[place]
        return unpack_calls(self._sequences.pick((place,))[place], self._interface)

    def _play(self, place: int) -> None:
        number = self._plan.indexes[place] + self._plan.first
        journal = Numbered(self._journal, place)
        trouble = self._engine.screen.strictly(self._calls(place), journal, identity=number % PLAYED == 0)
        if self._cover is not None:
            self._cover.forget()  # what the player reaches is nothing for the next sequence to boast of
        self._results.append(pack([trouble] if trouble else []))

    def _troubles(self, calls: list[Call], seen: Screened) -> list[str]:
        """What looks wrong, each by its signature."""
        screen, troubles = self._engine.screen, []
        if not seen.complete:
            troubles.append("a call that cannot be screened")
        for call, value in zip(calls, seen.values, strict=False):
            if value < 0 and (trouble := screen.odd_answer(call.method, value)):
                troubles.append(trouble)
                break
        if seen.closed_twice:
            troubles.append("handle closed twice")
        if seen.left_open & self._owned(calls):
            troubles.append("handle left open")
        if seen.released:
            troubles.append("references left")
        if seen.elapsed_ns > self._engine.slow * 1e9:
            troubles.append("slow")
        return troubles

    def _owned(self, calls: list[Call]) -> int:
        """Handles that are the target's to close: those it was given before the protocol had ended."""
        owned = 0
        if not self._closes_handles:
            return owned
        for call in calls:
            for argument in call.args:
                if argument.__class__ is Handle and argument.token >= 0:
                    owned |= 1 << argument.token
            if call.method in self._engine.contract.terminal:
                break
        return owned


def _operands(compared: Iterable[tuple[int, int, int]]) -> list[Operands]:
    """What the target compared, as numbers and, where they may be characters, as texts."""
    operands: dict[Operands, None] = {}
    for one, other, size in compared:
        operands["Eq", _signed(one, size), _signed(other, size)] = None
        if size > 1 and (text := _characters(one, size)) and (other_text := _characters(other, size)):
            operands["Eq", text, other_text] = None
    return list(operands)


def _signed(value: int, size: int) -> int:
    """Of 64 bits as a trace holds them; fewer are as they are."""
    return value - (1 << 64) if size == 8 and value >> 63 else value


def _characters(value: int, size: int) -> str:
    """UTF-16 units that lie beside each other in memory; "" if it is no text."""
    units = value.to_bytes(size, "little").rstrip(b"\0")
    text = (units + b"\0" * (len(units) % 2)).decode("utf-16-le", "replace")
    return text if text.isprintable() and "\ufffd" not in text else ""


def _has_many_handles(calls: list[Call]) -> bool:
    """Whether one of its handles is not there for screening."""
    return any(isinstance(value, Handle) and value.token >= SYMBOLS for call in calls for value in call.args)
