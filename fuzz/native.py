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

import itertools
import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from fuzz.comparisons import Operands
from fuzz.engine import Batch, Engine
from fuzz.growth import Growth
from fuzz.schedule import Kept
from fuzz.variants import EACH, Made, Source, Variants
from recorder.calls import Call, Handle
from recorder.contract import Level
from replayer.batches import Fragments, Numbered, unpack_calls
from replayer.endurance import NATIVE_GAUGES
from replayer.guards import Guard
from replayer.player import Phase
from replayer.sandbox_child import Journal, pack, unpack
from replayer.screening import SYMBOLS, Screened, Screening, is_fresh, is_odd, screened
from replayer.shared import SharedList
from replayer.target import NativeTarget

__all__ = ["PLAYED", "SAMPLE", "TAKEN_OVER", "NativeBatches"]

SAMPLE = 64
"""One sequence in so many has texts that nobody may use after their call (Guard.STRICT)."""

PLAYED = 32 * SAMPLE
"""One sequence in so many is played by the player, with its oracles looking; without the core one in `SAMPLE`."""

TAKEN_OVER = 1 << 32
"""From here on the numbers of known sequences are places in the list, which another process has left."""

_TELLING = 4  # features that nobody else has: the more, the more often a sequence is drawn
_MOST_BYTES = 16 << 20  # of sequences whose growth is looked at: they are there three times over
_SEGMENT = 64  # sequences between two looks at the time
_LONGEST = 256 << 10  # bytes of a packed sequence: a batch holds hundreds, and the target has its own limit


class _Plan(NamedTuple):
    """What is known of the sequences of a batch, by their place in the list.

    `first`: how many sequences the earlier batches had.  `strict`: places of those whose texts are watched
    closely, `played` of those that the player plays.  `own`: the mutators that made each source.
    """

    number: int
    first: int
    strict: list[int]
    played: list[int]
    own: list[list[str]]
    made: Made


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
        self._cover = target.cover
        self._variants = Variants(engine.contract, engine.environment, engine.drawing.tables, self._fragments)
        if self._variants.compiled:  # which has not this one
            engine.drawing.shares.base["change-thread"] *= EACH
            engine.drawing.weigh()
        self._slot = target.interface.slot
        self._names = [method.name for method in target.interface.slots]
        self._known: _Plan | None = None  # what is in the list of sequences, once this process knows
        self.deadly: set[int] = set()  # places of what killed a process that took the list over
        self._mine = False  # and has made it
        self._many_handles = any(map(_has_many_handles, engine.seeds))

    def restore(self, fresh: Iterable[Kept], deadly: Collection[int]) -> None:
        """Keep what earlier batches found new, and play it, so that to a new process it is not new again; but not
        those of these numbers."""
        packed = []
        for kept in fresh:
            self._engine.keep(kept)
            packed.append(self._fragments.sequence(kept.calls))
        self._engine.reweigh()
        self._variants.refresh()
        self._screen_apart({n: blob for n, blob in enumerate(packed) if n not in deadly})

    def _screen_apart(self, packed: Mapping[int, bytes]) -> None:
        """Screen sequences of which nothing is wanted but that they have been played, noting their numbers.

        They did no harm when they were found, but may do so now: some target may have written anywhere.
        """
        with closing(SharedList()) as given, closing(SharedList()) as results:
            given.extend(packed.values())
            for place, number in enumerate(packed):
                self._journal.note(Phase.KNOWN, number)
                self._screening.play(given, results, place, place + 1, noting=False)
        self._journal.note(Phase.CALLS, 0)

    def make(self, number: int, level: Level, size: int, start: int, until: int) -> None:
        """Make sequences `start` to `until` of a batch and put them into the list, with their plan."""
        engine, environment, slot = self._engine, self._engine.environment, self._slot
        each = EACH if self._variants.compiled else 1
        sources: list[Source] = []
        own: list[list[str]] = []
        for at, calls in engine.sequences(number, level, -(-size // each)):  # all: pieces of one go into others
            plain = not environment.threaded and not (self._many_handles and _has_many_handles(calls))
            if not plain and any((call.method, call.args) in engine.avoid for call in calls):
                continue
            base = at * each
            packed = self._fragments.sequence(calls) if plain else self._fragments.any_sequence(calls)
            if len(packed) > _LONGEST:
                continue
            sources.append(
                Source(
                    packed,
                    base,
                    max(0, start - base),
                    max(0, min(each if plain else 1, until - base)),
                    plain,
                    [] if self._variants.compiled else [slot[call.method] for call in calls],
                    environment.operands,
                )
            )
            own.append(environment.used[:])
        avoid = [Call(method, args) for method, args in engine.avoid]
        made = self._variants.make(sources, engine.seed * 1_000_003 + number, level, avoid)
        plan = _Plan(number, number * size, [], [], own, made._replace(packed=b""))
        every = PLAYED if self._variants.compiled else SAMPLE
        for place, (index, origin) in enumerate(zip(_numbers(made.numbers), _numbers(made.origins), strict=True)):
            if not sources[origin].plain:
                plan.played.append(place)
            elif (plan.first + index) % SAMPLE == 0:
                (plan.strict if (plan.first + index) % every else plan.played).append(place)
        self.deadly.clear()
        self._sequences.clear()
        self._results.clear()
        self._sequences.extend_packed(len(made.ends), made.packed)
        self._sequences.append(pack(plan))
        self._known, self._mine = plan, True

    def play(self, deadline: float | None) -> None:
        """Play what has no result yet, up to the deadline (time.monotonic seconds)."""
        place, plan = len(self._results), self._known or self._taken_over()
        count = len(plan.made.ends)
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
        if len(results) < len(plan.made.ends) or not all(results):
            return []
        played = set(plan.played)
        places = [place for place in range(len(results)) if place not in played]
        packed = self._sequences.pick(set(places))
        found = culprits(self._screening, [packed[place] for place in places], oracles)
        return [(self._calls(places[at]), oracle) for at, oracle in found]

    @property
    def sites(self) -> tuple[int, int]:
        """How many places of the target's code were reached by this process, and how many it knows of."""
        return self._cover.sites() if self._cover else (0, 0)

    @property
    def next(self) -> int | None:
        """The number in its batch of the first sequence that has no result, None if all have one."""
        plan, place = self._plan, len(self._results)
        return _numbers(plan.made.numbers)[place] if place < len(plan.made.ends) else None

    def judged(self, level: Level) -> Batch:
        """What the batch has come to so far."""
        plan, made = self._plan, self._plan.made
        batch = Batch(plan.number)
        results = list(self._results)
        by_player = set(plan.played)
        numbers, calls = _numbers(made.numbers), _numbers(made.calls)
        ends = list(itertools.accumulate(calls))  # of each one's methods
        slots = array("H", made.slots)

        def methods(place: int) -> tuple[str, ...]:
            return tuple([self._names[slot] for slot in slots[ends[place] - calls[place] : ends[place]]])

        news: list[tuple[int, str]] = []
        for place, result in enumerate(results):
            if not result:
                continue
            if place in by_player:
                news += ((place, trouble) for trouble in unpack(result))
            elif is_odd(result):
                seen, odd = screened(result), methods(place)
                troubles = self._troubles(odd, seen)
                news += ((place, t) for t in troubles if self._engine.is_news(odd, t, level))
        fresh = [p for p, result in enumerate(results) if result and p not in by_player and is_fresh(result)]
        wanted = self._sequences.pick({*fresh, *(place for place, _ in news)})
        unpacked = {place: unpack_calls(blob, self._interface) for place, blob in wanted.items()}
        for place, trouble in news:
            self._engine.report(batch, numbers[place], unpacked[place], trouble, level)
        origins = _numbers(made.origins)
        for place in fresh:
            mutators = [*plan.own[origins[place]], *made.used_in(place)]
            seen = screened(results[place])
            features = [f"{plan.number}.{numbers[place]}.{n}" for n in range(min(seen.places, _TELLING))]
            sequence = [unpacked[place][at] for at in seen.needed] or unpacked[place]
            kept = Kept(sequence, mutators, plan.number, features, _operands(seen.compared))
            batch.fresh.append(kept)
        played = [place for place, result in enumerate(results) if result]
        batch.done = len(played)
        batch.calls = sum([calls[place] for place in played])
        batch.ended = sum([made.ends[place] for place in played])
        if self._mine and made.steps:
            batch.transitions = Counter({(state, method): times for state, method, times in made.steps})
        elif self._mine:
            batch.transitions = self._engine.protocol.transitions(map(methods, played))
        batch.applied.update(made.applied())
        for origin, times in Counter(origins).items():
            batch.applied.update(dict.fromkeys(plan.own[origin], times))
        return batch

    @property
    def _plan(self) -> _Plan:
        """That of the sequences in the list, whoever made them."""
        if self._known is None:
            last = len(self._sequences) - 1
            plan = _Plan(*unpack(self._sequences.pick((last,))[last]))
            self._known = plan._replace(made=Made(*plan.made))
        return self._known

    def _taken_over(self) -> _Plan:
        """The plan of another process, whose discoveries in this batch are made known to this one."""
        plan = self._plan
        fresh = {place for place, result in enumerate(self._results) if result and is_fresh(result)}
        fresh.difference_update(plan.played)
        picked = self._sequences.pick(fresh - self.deadly)
        self._screen_apart({TAKEN_OVER + place: blob for place, blob in picked.items()})
        return plan

    def _calls(self, place: int) -> list[Call]:
        return unpack_calls(self._sequences.pick((place,))[place], self._interface)

    def _play(self, place: int) -> None:
        number = _numbers(self._plan.made.numbers)[place] + self._plan.first
        journal = Numbered(self._journal, place)
        trouble = self._engine.screen.strictly(self._calls(place), journal, identity=number % PLAYED == 0)
        if self._cover is not None:
            self._cover.forget()  # what the player reaches is nothing for the next sequence to boast of
        self._results.append(pack([trouble] if trouble else []))

    def _troubles(self, methods: Sequence[str], seen: Screened) -> list[str]:
        """What looks wrong, each by its signature."""
        screen, troubles = self._engine.screen, []
        if not seen.complete:
            troubles.append("a call that cannot be screened")
        for method, value in zip(methods, seen.values, strict=False):
            if value < 0 and (trouble := screen.odd_answer(method, value)):
                troubles.append(trouble)
                break
        if seen.closed_twice:
            troubles.append("handle closed twice")
        if seen.left_open and self._closes_handles:
            troubles.append("handle left open")
        if seen.released:
            troubles.append("references left")
        if seen.elapsed_ns > self._engine.slow * 1e9:
            troubles.append("slow")
        return troubles


def culprits(screening: Screening, sequences: Sequence[bytes], oracles: Collection[str]) -> list[tuple[int, str]]:
    """Of packed sequences the places of some that leave something behind (fuzz.growth)."""
    sequences = sequences[: sum(size <= _MOST_BYTES for size in itertools.accumulate(map(len, sequences)))]
    with closing(SharedList()) as given, closing(SharedList()) as results:

        def play(sequences: Sequence[bytes], times: int) -> None:
            given.clear()
            given.extend(sequences)
            for _ in range(times):
                results.clear()
                screening.play(given, results)

        return Growth(play, NATIVE_GAUGES).culprits(sequences, oracles)


def _numbers(packed: bytes) -> array[int]:
    return array("I", packed)


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
