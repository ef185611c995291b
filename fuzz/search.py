"""One searching child: has a target's batches played, and goes on when one of them ends it.

A batch is a pure function of (campaign seed, batch number, what was known when it began), so a searcher is told
what is known with each request, and what it gives back is a value that may have come from another thread, process
or machine.  The child is the sandbox's (fuzz.worker); how it ended is a suspect like any other.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from fuzz.coverage import CoveredFile
from fuzz.engine import TRIES_SHIFT, bases
from fuzz.instrument import Site
from fuzz.native import TAKEN_OVER
from fuzz.progress import CampaignOptions
from fuzz.screen import ALIKE
from fuzz.worker import pack_calls
from recorder.calls import Call, OutcomeKind, Trace
from recorder.contract import Level
from recorder.decoding import DECODE_ERRORS
from recorder.errors import SynctapeError
from recorder.interface import Interface
from replayer.batches import position, unpack_calls
from replayer.isolation import place_of
from replayer.player import Phase
from replayer.sandbox import Death, ExecutorError, Sandbox
from replayer.shared import SharedList
from replayer.target import TargetError, environment_for, is_native_spec

__all__ = ["Fresh", "Killed", "Known", "Played", "SearchPlan", "Searcher", "search_plan"]

_DEATHS_LOOKED_AT = 25  # deaths that look alike and cost no waiting
_AT_ONCE = 8  # deaths in a native batch before they are looked at
_MOST_LOST = 5  # deaths in a row of which nobody can say what they came of
_STARTS = 3  # tries to have another child after one has served, or was killed
_KILLED = "SIGKILL"  # what no target does to itself
_ONCE_HUNG = 0.4  # seconds that a sequence gets when a hang is known; it takes well below a millisecond

Fresh = Sequence[Any]
"""A sequence that brought something new, as fuzz.worker packs it: its calls, the mutators that made it, ..."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What a searching child is started with; `seeds` are packed sequences."""

    spec: str
    interface: Interface
    seeds: list[list[Any]]
    options: CampaignOptions


def search_plan(
    spec: str, interface: Interface, seeds: Sequence[tuple[str, Trace]], options: CampaignOptions
) -> SearchPlan:
    usable = bases((trace.calls for _, trace in seeds), interface)
    return SearchPlan(spec, interface, list(map(pack_calls, usable)), options)


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch builds on.

    `fresh`: what earlier batches found new, in its order; a later value only adds to it, as to `deadly`, packed
    calls that hang or kill by themselves.  `hangs`: whether a hang is known, then others need not be waited for as
    long.  `growth`: the oracles of growth that are still to be asked.
    """

    fresh: Sequence[Fresh] = ()
    deadly: Sequence[Any] = ()
    hangs: bool = False
    growth: tuple[str, ...] = ()


class Killed(NamedTuple):
    """The end of a child: packed calls in which it came, None where it is one of many alike; `most` of one
    signature are worth a look.  `hung`: it had to be ended, which takes time."""

    calls: list[Any] | None
    signature: str
    most: int
    hung: bool = False


@dataclass(slots=True)
class Played:
    """What came of a part of a batch; `next` is the sequence of it to go on with.

    `runs` and `calls` leave out the sequences in `deaths`; `lost` counts deaths of which nobody can say what they
    came of.  Sequences are packed.
    """

    number: int
    level: Level
    next: int
    runs: int = 0
    calls: int = 0
    ended: int = 0
    covered: int = 0
    sites: int = 0
    states: int = 0
    applied: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    fresh: list[Fresh] = field(default_factory=list)
    suspects: list[tuple[Any, str]] = field(default_factory=list)  # and their signatures
    growing: list[tuple[Any, str]] = field(default_factory=list)  # and the oracles that see it
    deaths: list[Killed] = field(default_factory=list)
    lost: int = 0

    @property
    def sequences(self) -> int:
        """How many were played, those that ended the child among them."""
        return self.runs + len(self.deaths)

    def add(self, reply: dict[str, Any]) -> None:
        """Take over what the child says of a batch."""
        self.runs += reply["done"]
        self.calls += reply["calls"]
        self.ended += reply["ended"]
        self.covered, self.sites = max(self.covered, reply["covered"]), reply["sites"]
        self.states = max(self.states, reply["states"])
        self.applied.update(reply["applied"])
        for state, method, times in reply["transitions"]:
            self.transitions[state, method] += times
        self.fresh += reply["fresh"]
        self.suspects += map(tuple, reply["suspects"])
        self.growing += map(tuple, reply.get("growing", ()))


class Searcher:
    """Plays batches in one child at a time; not for use by several threads at once."""

    def __init__(self, plan: SearchPlan):
        """Raises OSError if the system gives no shared memory."""
        self.plan = plan
        self._opened = contextlib.ExitStack()
        self._lists: tuple[SharedList, SharedList] | None = None  # of a native target: fuzz.native
        self._knows_fresh = self._knows_deadly = 0  # how much the child knows
        self._harmful: set[int] = set()  # numbers of fresh sequences that killed when they were played again
        self._lost_in_a_row = 0
        self._served = False  # whether there has been a child that answered
        self._died: Counter[str] = Counter()  # by signature
        if is_native_spec(plan.spec) and plan.options.threads == 1:
            self._lists = SharedList(), SharedList()
            for shared in self._lists:
                self._opened.callback(shared.close)
        self._sandbox = self._opened.enter_context(self._open())

    def prepare(self) -> None:
        """Begin to start the child, without waiting for it.  Raises ExecutorError if there is no process."""
        self._sandbox.prepare()

    def abandon(self) -> None:
        """Have `play`, under way on another thread, raise Abandoned at once."""
        self._sandbox.abandon()

    def close(self) -> None:
        """End the child."""
        self._opened.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def play(
        self, number: int, level: Level, start: int, until: int, known: Known, *, seconds: float | None = None
    ) -> Played:
        """Have sequences `start` to `until` of a batch played, for no longer than `seconds`; those up to a death.

        Raises TargetError if the target gives no instance, ExecutorError if a child cannot be started or dies
        again and again without playing anything.
        """
        part = _Part(number, level, start, until, known, seconds)
        played = Played(number, level, until)
        if self._lists is not None:
            self._play_native(part, played, *self._lists)
        else:
            self._play(part, played)
        return played

    def files(self, known: Known, sequences: Sequence[Any]) -> list[CoveredFile]:
        """The target's files, with what is reached by the seeds, by what is known, and by these packed sequences.

        None of a target whose code is not measured, or that ends the child even so.  Raises as `play` does.
        """
        part = _Part(0, Level.CONFORMING, 0, 0, known, None)
        reply = self._ask("files", part, sequences=list(sequences))
        if isinstance(reply, Death):
            return []
        return [
            CoveredFile(name, source, [Site(*site) for site in hit], [Site(*site) for site in missed])
            for name, source, hit, missed in reply
        ]

    def _open(self) -> Sandbox:
        plan, options = self.plan, self.plan.options
        config: dict[str, Any] = {
            "spec": plan.spec,
            "native": is_native_spec(plan.spec),
            "interface": plan.interface.describe(),
            "seeds": plan.seeds,
            "seed": options.seed,
            "slow": options.slow,
            "retained": options.retained,
            "disabled": sorted(options.disabled),
            "threads": options.threads,
            "cover": list(options.cover),
        }
        if self._lists is not None:
            config["sequences"], config["results"] = (shared.path for shared in self._lists)
        return Sandbox(
            "fuzz.worker:job",
            config,
            timeout=options.timeout,
            memory=options.memory,
            environment=environment_for(plan.spec, names=False),
        )

    # --- a Python target ----------------------------------------------------------------------------------------

    def _play(self, part: _Part, played: Played) -> None:
        """Up to the end of a part, or to a death in it.

        What went well before a death is played again, so that nothing it gave is lost; the sequence itself is made
        again, to be looked at alone.
        """
        request = {"start": part.start, "until": part.until, "growth": part.known.growth}
        reply = self._ask_to_play("batch", part, **request)
        if not isinstance(reply, Death):
            self._take(reply, played)
            played.next = part.until if reply["next"] is None else reply["next"]
            return
        noted, index = reply.position[0], reply.position[1] & (1 << TRIES_SHIFT) - 1
        index = max(part.start, index if noted == part.number else part.start)
        if index > part.start:
            self._play(part._replace(until=index), played)
        place = place_of(reply, self.plan.spec).partition(":")[0]
        killed = self._killed(reply, f"{reply.kind} {reply.detail} {place} at level {part.level}")
        if self._worth(killed):
            made = self._ask("make", part, index=index)
            killed = killed._replace(calls=None if isinstance(made, Death) else made)
        played.deaths.append(killed)
        played.next = index + 1

    # --- a native target ----------------------------------------------------------------------------------------

    def _play_native(self, part: _Part, played: Played, sequences: SharedList, results: SharedList) -> None:
        """The same for a native target: what a process died of is in the lists, and the next goes on behind it.

        After `_AT_ONCE` deaths, or a hang, the rest of the batch is left to the next request, which may know what
        kills.
        """
        killers: list[tuple[Death, int]] = []
        request = {"start": part.start, "until": part.until, "growth": part.known.growth}
        reply = self._ask_to_play("batch", part, **request)
        done = False
        while isinstance(reply, Death):
            place = len(results)
            if not done and place + 1 < len(sequences):
                killers.append((reply, place))
                results.append(b"")
                done = len(killers) == _AT_ONCE or reply.kind is OutcomeKind.HUNG
            else:  # nothing was under way: a late consequence of what was played before
                self._lost(played)
            op = "judge" if done else "rest" if len(sequences) else "batch"
            reply = self._ask_to_play(op, part, **request)
        blobs = list(sequences)
        self._take(reply, played)
        for death, place in killers:
            try:
                calls = unpack_calls(blobs[place], self.plan.interface)
            except DECODE_ERRORS:  # the target has written over it
                self._lost(played)
            else:
                self._died_in(calls, place, death, played)
        played.next = part.until if reply["next"] is None else int(reply["next"])

    def _died_in(self, calls: list[Call], place: int, death: Death, played: Played) -> None:
        """A process died, or hung, in these calls."""
        _, noted, at = position(death.position)
        method = calls[at].method if noted == place and at < len(calls) else ""
        where = place_of(death, self.plan.spec) if death.report or death.fault else ""
        killed = self._killed(death, f"{death.kind} {death.detail} {where} in {method} at level {played.level}")
        if self._worth(killed):
            killed = killed._replace(calls=pack_calls(calls))
        played.deaths.append(killed)

    def _lost(self, played: Played) -> None:
        """A process died and nobody can say of what."""
        played.lost += 1
        self._lost_in_a_row += 1
        if self._lost_in_a_row > _MOST_LOST:
            raise ExecutorError(f"target {self.plan.spec}: the searching process dies without playing anything")

    # --- deaths -------------------------------------------------------------------------------------------------

    def _killed(self, death: Death, signature: str) -> Killed:
        hung = death.kind is OutcomeKind.HUNG
        return Killed(None, signature, ALIKE if hung else _DEATHS_LOOKED_AT, hung)

    def _worth(self, killed: Killed) -> bool:
        """Whether its calls are worth the way; others like it have gone before."""
        self._died[killed.signature] += 1
        return self._died[killed.signature] <= killed.most

    # --- talking to the child -----------------------------------------------------------------------------------

    def _take(self, reply: dict[str, Any], played: Played) -> None:
        self._lost_in_a_row = 0
        played.add(reply)
        if reply.get("worn"):  # the target has left too little for the next ones
            self._sandbox.renew()
            self._knows_fresh = self._knows_deadly = 0

    def _ask_to_play(self, op: str, part: _Part, **request: Any) -> Any:
        options, hangs = self.plan.options, part.known.hangs
        timeout = min(options.timeout, _ONCE_HUNG) if hangs else options.timeout
        patience = min(timeout / 4, options.slow * 2) if hangs else timeout / 2
        return self._ask(op, part, timeout=timeout, patience=patience, seconds=part.seconds, **request)

    def _ask(self, op: str, part: _Part, *, timeout: float | None = None, **request: Any) -> Any:
        """The child's answer, or the Death that it met.  Raises TargetError if the target gives no instance."""
        known = part.known
        size = self.plan.options.size_of(part.number)
        request |= {"op": op, "number": part.number, "level": int(part.level), "size": size}
        request |= {"fresh": known.fresh[self._knows_fresh :], "deadly": known.deadly[self._knows_deadly :]}
        self._have_child()
        reply = self._sandbox.request(request | {"harmful": self._harmful_now()}, timeout=timeout)
        native = self._lists is not None  # a Python target's journal has other numbers
        while native and isinstance(reply, Death) and reply.position[0] == Phase.KNOWN:
            number = reply.position[1]
            self._harmful.add(number if number >= TAKEN_OVER else self._knows_fresh + number)
            self._knows_fresh = self._knows_deadly = 0
            request |= {"fresh": known.fresh, "deadly": known.deadly, "harmful": self._harmful_now()}
            reply = self._sandbox.request(request, timeout=timeout)
        self._harmful -= {number for number in self._harmful if number >= TAKEN_OVER and op == "batch"}
        if isinstance(reply, dict) and "refused" in reply:
            raise TargetError(reply["refused"])
        alive = not isinstance(reply, Death)
        self._knows_fresh, self._knows_deadly = alive * len(known.fresh), alive * len(known.deadly)
        self._served = True
        return reply

    def _harmful_now(self) -> list[int]:
        """The same, as the child that is told of the latest only counts them."""
        known = self._knows_fresh
        return [n if n >= TAKEN_OVER else n - known for n in sorted(self._harmful) if n >= known]

    def _have_child(self) -> None:
        """Have one that waits.

        Where there was one before, one that does not come about may have been killed; so may the first one, if its
        end says that.
        """
        for left in reversed(range(_STARTS)):
            try:
                return self._sandbox.start()
            except ExecutorError:
                raise
            except SynctapeError as error:  # what the child said, as text
                if not left or not (self._served or str(error).endswith(_KILLED)):
                    raise TargetError(str(error)) from None
        raise AssertionError("it is tried at least once")


class _Part(NamedTuple):
    """Sequences of a batch, and what it builds on."""

    number: int
    level: Level
    start: int
    until: int
    known: Known
    seconds: float | None
