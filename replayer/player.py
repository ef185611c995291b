"""The player: makes a trace's calls on a target and gives back a trace with what came of them.

Calls are made in the order in which they were entered.  Each recorded thread gets a thread of its own, and the
calls are handed over one by one; by default none of them is the main thread, since providers call from
background threads (interface.md, 1.1).  Calls that overlap or nest in a trace do so again, in the same order of
enters and leaves (replayer.ordered).
"""

from __future__ import annotations

import enum
import functools
import gc
import itertools
import sys
import threading
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from recorder.calls import (
    NOT_RUN,
    Argument,
    Call,
    Enter,
    Event,
    Handle,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Trace,
)
from recorder.contract import contract_of, fits
from recorder.endings import fault_text, give_in
from recorder.interface import Method, Parameter, Type
from recorder.writer import storable
from replayer.call_threads import CallThreads
from replayer.compiled import Compiled, open_compiled
from replayer.concurrent import Concurrent, NoPythonObjectError, play_concurrently
from replayer.guards import Guard, GuardedTexts
from replayer.handles import Handles
from replayer.holding import Holding
from replayer.identity import Breach
from replayer.judgement import Calls, judged
from replayer.late import LateEffects
from replayer.native_threads import can_overlap, play_natively, plays_needed, stepping_here
from replayer.occasions import occasions
from replayer.order import Order, OrderError, is_ordered, with_outcomes
from replayer.ordered import InOrder, Threads
from replayer.ordered_schedule import Ordered, play_ordered
from replayer.retained import surplus, taken_first
from replayer.scheduler import Abandoned, HandOver, Stuck
from replayer.sequential import Sequential
from replayer.sequential_native import NativeSequential, state_of
from replayer.target import Instance, Target, TargetError, one_line
from replayer.unknown import Custody
from replayer.visible import look_at

__all__ = ["Journal", "Observation", "Phase", "PlayOptions", "Run", "play"]


class Journal(Protocol):
    """Notes a `Phase` and a call's number where they outlive the process (replayer.sandbox)."""

    def note(self, a: int, b: int) -> None: ...


_NOTE_SECONDS = 0.1  # well below any sandbox's timeout


class Phase(enum.IntEnum):
    """What a journal's first number says while a sequence is played."""

    CALLS = 0
    MAKING = 2  # the instance
    ENDING = 3  # after the last call: threads end, the instance is released
    ASKING = 4  # IUnknown's laws are looked at, before the first call or after the last
    KNOWN = 5  # a campaign's sequence is played that was played before; the number is its own
    WAITING = 16  # for the call's time, counting up from here
    ORDERED = 1 << 32  # calls in a recorded order: so many borders have been passed, counting up from here
    JUDGING = 1 << 33  # calls that ran at the same time are made one after the other, counting up from here


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """`pace`: None plays without waiting, else recorded time is divided by it (1.0: as recorded).

    `join_seconds`: how long to wait at the end for threads that the target started.  `collect`: the oldest
    generation of garbage that is collected at the end, for a `__del__` behind a cycle; 2 finds all of it and
    costs a few milliseconds.  `skip`: names of oracles that need not look at a native object (replayer.unknown),
    or at calls that run at the same time.
    `guard`: how closely a native target's texts are watched; with a `seed`, which is not 0, some of them stand at
    the start of a page, so that reading before them faults.  `repeat`: how often a trace is played for one run
    (replayer.endurance); `play` itself plays once.  `patience`: seconds in which no call of a recorded order comes
    or goes until they are taken to wait for each other (replayer.ordered); shorter than a sandbox's timeout.
    `real_threads`: a Python target's calls in a recorded order are made without a scheduler, too.  `concurrent`:
    the calls of several threads run at the same time, as if the trace were scheduled (replayer.concurrent).
    """

    pace: float | None = None
    main_thread: bool = False
    join_seconds: float = 0.2
    collect: int = 0
    skip: Sequence[str] = ()
    guard: Guard = Guard.STRICT
    seed: int = 0
    repeat: int = 1
    patience: float = 2.5
    real_threads: bool = False
    concurrent: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "guard", Guard(self.guard))  # a number, where it comes from another process


@dataclass(frozen=True, slots=True)
class Observation:
    """Something seen beside the outcomes: `kind` is the name of the oracle that takes it (replayer.oracles).

    `number` is the call after which it was seen; for what shows only at the end, the last call.  `code` is the
    rule that is broken where the oracle looks at several.
    """

    kind: str
    number: int
    message: str
    place: str = ""
    code: str = ""


@dataclass(frozen=True)
class Run:
    """A played trace and what was observed.

    Of a process that died: `stack` is its Python stack, `report` what a sanitizer said of it; each "" if there
    is none.  Of scheduled calls: the trace has them in the order of entry, `schedule` says where the baton went,
    `steps` how many each call made; of a deadlock `stack` has the stack of each thread, and `held` says that
    a lock of it is held even now, so that another process should play the next run.
    """

    trace: Trace
    observations: tuple[Observation, ...] = ()
    stack: str = ""
    report: str = ""
    schedule: tuple[HandOver, ...] = ()
    steps: tuple[int, ...] = ()
    held: bool = False

    @property
    def unforced(self) -> str:
        """Why the trace's calls could not be made in their order; "" if they were.  The run says nothing then."""
        return next((seen.message for seen in self.observations if seen.kind == _ORDER), "")

    @property
    def unjudged(self) -> str:
        """Why it is not known whether calls that ran at the same time came to what they may; "" if it is."""
        return next((seen.message for seen in self.observations if seen.kind == _UNJUDGED), "")


_ORDER, _UNJUDGED = "order", "unjudged"  # what no oracle takes: it is nothing that the target did wrong
_JUDGES = {"linearizability", "lost-update"}


def play(
    trace: Trace | Iterable[Call],
    target: Target,
    options: PlayOptions | None = None,
    journal: Journal | None = None,
) -> Run:
    """Play on a fresh instance.  Raises TargetError if there is none; what the target does is an Outcome."""
    options = options or PlayOptions()
    if not isinstance(trace, Trace):
        trace = Trace.from_calls(trace)
    calls = trace.calls
    scheduled = trace.header.scheduled or (options.concurrent and any(c.thread or c.switches for c in calls))
    order = None
    if not scheduled and is_ordered(trace):
        try:
            order = Order.of(trace.events)
        except OrderError as error:
            return Run(with_outcomes(trace, [_OUT_OF_ORDER] * len(calls)), (Observation(_ORDER, 0, str(error)),))
    if scheduled and target.native and (times := plays_needed()) > 1:
        sessions = (_Session(target, options, journal, scheduled=True, chance=n) for n in range(times))
        return _telling([_played_by(session, trace) for session in sessions])
    return _played_by(_Session(target, options, journal, scheduled=scheduled), trace, order)


def _played_by(session: _Session, trace: Trace, order: Order | None = None) -> Run:
    with _watching(session):
        outcomes = session.play(trace.calls, order)
    if session.concurrent is not None:
        return _concurrent_run(trace, session, session.concurrent)
    run = Run(with_outcomes(trace, outcomes), tuple(session.observations))
    if (ordered := session.ordered) is None:
        return run
    return replace(
        run,
        stack=_stacks(ordered.deadlock),
        schedule=tuple(ordered.hand_overs),
        steps=tuple(ordered.steps),
        held=ordered.held,
    )


def _telling(runs: Sequence[Run]) -> Run:
    """Of plays that chance makes differ the first in which something was seen, which says in how many it was."""
    run = next((run for run in runs if run.observations), runs[0])
    seen = []
    for one in run.observations:
        alike = sum(
            any((o.kind, o.code, o.place) == (one.kind, one.code, one.place) for o in r.observations) for r in runs
        )
        seen.append(replace(one, message=f"{one.message} (in {alike} of {len(runs)} plays)"))
    return replace(run, observations=tuple(seen))


_NO_REFERENCE = Outcome(
    OutcomeKind.NOT_RUN, None, detail="the caller's last reference, while other threads may still call"
)
_OUT_OF_ORDER = Outcome(OutcomeKind.NOT_RUN, None, detail="its turn in the recorded order never came")


def _concurrent_run(trace: Trace, session: _Session, played: Concurrent) -> Run:
    header = replace(trace.header, scheduled=True)
    return Run(
        replace(trace, header=header, events=tuple(played.events)),
        tuple(session.observations),
        _stacks(played.deadlock),
        schedule=tuple(played.hand_overs),
        steps=tuple(played.steps),
        held=played.held,
    )


def _stacks(deadlock: Iterable[Stuck]) -> str:
    return "\n".join(f"Thread {s.thread}, waiting for {s.waits_for}:\n{s.stack}" for s in deadlock)


class _Session:
    """One sequence on one instance."""

    def __init__(
        self,
        target: Target,
        options: PlayOptions,
        journal: Journal | None,
        *,
        scheduled: bool = False,
        chance: int = 0,
    ):
        """`chance`: which of several plays this is, where threads run freely."""
        self.target = target
        self.scheduled = scheduled
        self.chance = chance
        self.options = options
        self.journal = journal
        self.observations: list[Observation] = []
        self.number = 0
        self.concurrent: Concurrent | None = None  # what came of scheduled calls
        self.ordered: Ordered | None = None  # how calls in a recorded order went under the scheduler
        self._methods = {m.name: m for m in target.interface.slots}
        self._unknown = target.interface.unknown
        self._before: set[threading.Thread] = set()
        self._misused: set[tuple[int, str]] = set()  # handles, by token, and what was wrong with them
        self._terminal = contract_of(target.interface).terminal
        self._ended = False
        self._late = LateEffects(self._terminal)
        self._given_last: dict[int, int] = {}  # token -> last call that gave it, of native calls at the same time
        self._owned: dict[int, int] = {}  # token -> call that gave it, before the protocol had ended
        self._compiled: Compiled | None = None
        self._texts: GuardedTexts | None = None  # for calls on a native target that are not compiled

    def play(self, calls: tuple[Call, ...], order: Order | None = None) -> Sequence[Outcome | None]:
        self._before = set(threading.enumerate())
        self._note(Phase.MAKING, 0)
        if self.scheduled and not self.target.native:
            self.concurrent = self._play_concurrently(calls)
            return []
        real = self.options.real_threads or self.options.pace or self.options.main_thread
        if order is not None and not (self.target.native or real):
            with suppress(NoPythonObjectError):
                return self._play_ordered(calls, order)
        try:
            instance = self.target.instance()
        except TargetError as error:
            self._give_in(error.__context__)  # what the factory raised
            raise
        if not instance.native:
            return self._play_on(instance, calls, order)
        if self.scheduled and can_overlap(instance, self.target.interface):
            self.concurrent = self._play_natively(instance, calls)
            return []
        if self.options.guard is not Guard.NONE:
            self._texts = GuardedTexts()
        if order is not None:
            return self._play_on(instance, calls, order)
        with open_compiled(self.target.interface, self.options.guard, self.options.seed) as self._compiled:
            return self._play_on(instance, calls)

    def _play_on(
        self, instance: Instance, calls: tuple[Call, ...], order: Order | None = None
    ) -> Sequence[Outcome | None]:
        custody = self._take(instance, calls)
        outcomes: list[Outcome] = []
        ordered: Sequence[Outcome | None] | None = None
        apartment = instance.apartment
        alone = apartment is not None and apartment.is_single  # then this thread, which made it, makes all calls
        numbers = {0} if alone else {c.thread for c in calls}
        with CallThreads(numbers, self.options.main_thread or alone) as threads, threads.inside(apartment):
            if order is not None:
                ordered = self._make_in_order(instance, calls, order, threads)
            elif len(threads) <= 1:
                threads.run(min(numbers, default=0), lambda: self._make_all(instance, calls, outcomes))
            else:
                for call in calls:
                    threads.run(call.thread, functools.partial(self._make_all, instance, (call,), outcomes))
            self._note(Phase.ENDING, max(len(calls) - 1, 0))
            if self.options.join_seconds:
                self._join(threads)
        self._end(instance, calls, custody)
        return outcomes if ordered is None else ordered

    def _play_concurrently(self, calls: tuple[Call, ...]) -> Concurrent:
        def make(instance: Instance, call: Call, number: int) -> Outcome:
            self.number = number
            return self._refused(instance, call) or self._make(instance, call)

        def over(instance: Instance, number: int, alone: bool) -> None:
            self.number = number
            self._check_handles(instance.handles, number)
            if alone and instance.invariant is not None and self._check(instance.invariant, number):
                instance.invariant = None

        def note(place: int) -> None:
            self._note(Phase.CALLS, place)

        shown: list[Hashable] = []

        def quiet(instance: Instance) -> None:
            shown.append(look_at(instance.object).shown)

        try:
            played = play_concurrently(self.target, calls, make, over=over, note=note, quiet=quiet)
        except TargetError as error:
            self._give_in(error.__context__)  # what the factory raised
            raise
        if played.deadlock:
            self.observations.append(_deadlock(played.deadlock))
        assert played.instance is not None
        self._owned.clear()  # the order in which they were entered does not tell which of them came first
        self._ended = False
        self._given_at_once(played.events)
        self._end(played.instance, calls, None)
        if not self.observations and not _JUDGES.issubset(self.options.skip):
            self._judge(played.events, played.calls, shown[0], played.hand_overs)
        return played

    def _play_natively(self, instance: Instance, calls: tuple[Call, ...]) -> Concurrent:
        refused = {
            number: outcome for number, call in enumerate(calls) if (outcome := self._refused(instance, call))
        }
        refused |= dict.fromkeys(surplus(self.target.interface, calls), _NO_REFERENCE)
        made = tuple(call for number, call in enumerate(calls) if number not in refused)
        custody = self._take(instance, taken_first(made))
        self._note(Phase.CALLS, 0)
        played = play_natively(
            instance,
            self.target.interface,
            calls,
            stepping=stepping_here(),
            seed=self.chance,
            guard=self.options.guard,
            journal=self.journal,
            refused=refused,
        )
        concurrent = played.as_concurrent(calls)
        self._given_at_once(concurrent.events)
        if concurrent.deadlock:  # the threads are still in their calls: nobody may touch the object any more
            self.observations.append(_deadlock(concurrent.deadlock))
            concurrent.held = True
            return concurrent
        self._note(Phase.ENDING, max(len(calls) - 1, 0))
        gone = instance.holding is not None and not instance.holding.count
        shown = None if gone else state_of(self.target, instance)
        self._end(instance, tuple(concurrent.calls), custody)
        if not gone and not self.observations and not _JUDGES.issubset(self.options.skip):
            concurrent.held |= self._judge(concurrent.events, concurrent.calls, shown, concurrent.hand_overs)
        return concurrent

    def _judge(
        self, events: Sequence[Event], calls: Sequence[Call], shown: Hashable, turns: Iterable[HandOver]
    ) -> bool:
        """Compare with the same calls one after the other; what else they show there is not this run's.

        Gives whether one of them has not come back, so that another process should play what comes next.
        """
        outcomes = [event.outcome for event in events if isinstance(event, Leave)]
        if not all(outcome.kind in (OutcomeKind.RETURNED, OutcomeKind.NOT_RUN) for outcome in outcomes):
            return False
        plays = itertools.count()

        def make(instance: Instance, call: Call) -> Outcome:
            refused = self._refused(instance, call)
            return refused or self._called(instance, call, self._arguments(instance, call, None))

        def note() -> None:
            self._note(Phase.JUDGING + next(plays), max(len(outcomes) - 1, 0))

        events, held = self._telling(events), False
        one_by_one = Calls(self.target, calls, make, note)
        if self.target.native:
            with closing(NativeSequential(one_by_one)) as sequential:
                judgement = judged(events, shown, sequential)
            held = sequential.held
        else:
            judgement = judged(events, shown, Sequential(one_by_one))
        self.observations.clear()
        if judgement is not None:
            between = (turn.place for turn in turns if turn.call >= 0 and turn.place)
            kind, place = judgement.kind or _UNJUDGED, next(between, "")
            self.observations.append(Observation(kind, judgement.number, judgement.message, place))
        return held

    def _telling(self, events: Sequence[Event]) -> list[Event]:
        """The events as if calls of IUnknown had not been made.

        What they answer is for diagnosis only (P22), and one after the other they might give the last reference up
        first.
        """
        calls = {event.number: event.call for event in events if isinstance(event, Enter)}
        return [
            Leave(event.number, NOT_RUN)
            if isinstance(event, Leave) and calls[event.number].method in self._unknown
            else event
            for event in events
        ]

    def _play_ordered(self, calls: tuple[Call, ...], order: Order) -> list[Outcome | None]:
        making = _Making(self, calls)
        shown: list[Hashable] = []

        def quiet(instance: Instance) -> None:
            shown.append(look_at(instance.object).shown)

        try:
            played = self.ordered = play_ordered(self.target, calls, order, making, quiet)
        except TargetError as error:
            self._give_in(error.__context__)  # what the factory raised
            raise
        if played.deadlock:
            self.observations.append(_deadlock(played.deadlock))
        self._told(played.reason)
        self._note(Phase.ENDING, len(calls) - 1)
        self._end(played.instance, calls, None)
        if not self.observations and not _JUDGES.issubset(self.options.skip):
            events: list[Event] = []
            for number, leaves in order.borders:
                outcome = making.outcomes[number]
                if not leaves:
                    events.append(Enter(number, calls[number]))
                elif outcome is not None:
                    events.append(Leave(number, outcome))
            self._judge(events, calls, shown[0], played.hand_overs)
        return making.outcomes

    def _told(self, reason: str) -> None:
        """Why an order could not be kept, if it could not."""
        if reason:
            self.observations.append(Observation(_ORDER, 0, reason))

    def _take(self, instance: Instance, calls: tuple[Call, ...]) -> Custody | None:
        """Take a native object into custody, unless no oracle is to look at what it owes to IUnknown."""
        if not instance.pointer or {"identity", "references"} <= set(self.options.skip):
            return None
        self._note(Phase.ASKING, 0)
        custody = None
        with self._seeing_crashes("identity", "H1", "QueryInterface crashed"):
            custody = Custody(
                instance.pointer,
                self.target.interface,
                calls,
                live=instance.live,
                others=instance.others,
                skip=self.options.skip,
            )
            self._broken("identity", custody.at_first)
        return custody

    @contextmanager
    def _seeing_crashes(self, kind: str, code: str, what: str) -> Iterator[None]:
        """A fault in native code that Windows gives as an exception is seen; elsewhere the process is gone."""
        try:
            yield
        except OSError as error:
            if not (crash := fault_text(error)):
                raise
            self._give_in(error)
            self.observations.append(Observation(kind, self.number, f"{what}: {crash}", code=code))

    def _make_all(self, instance: Instance, calls: Sequence[Call], outcomes: list[Outcome]) -> None:
        holding = instance.holding
        if self._compiled is not None and holding is not None and not self.options.pace:
            self._make_compiled(self._compiled, holding, instance, calls, outcomes)
            return
        for call in calls:
            self.number = len(outcomes)
            if self.options.pace:
                self._wait(call)
            self._note(Phase.CALLS, self.number)
            self._came(instance, call, self._refused(instance, call) or self._make(instance, call), outcomes)

    def _make_compiled(
        self,
        compiled: Compiled,
        holding: Holding,
        instance: Instance,
        calls: Sequence[Call],
        outcomes: list[Outcome],
    ) -> None:
        """The calls that can be made, one run of them after the other."""
        first = len(outcomes)

        def came(made: list[Outcome]) -> None:
            for outcome in made:
                call = calls[len(outcomes) - first]
                self._given(call, len(outcomes))
                self._came(instance, call, outcome, outcomes)

        while (done := len(outcomes) - first) < len(calls):
            self.number = len(outcomes)
            self._note(Phase.CALLS, self.number)
            refused = self._refused(instance, calls[done])
            if refused is not None:
                self._came(instance, calls[done], refused, outcomes)
                continue
            end = done + 1
            while end < len(calls) and self._refused(instance, calls[end]) is None:
                end += 1
            if not compiled.play(calls[done:end], self.number, holding, instance.handles, self.journal, came):
                self._came(instance, calls[done], self._make(instance, calls[done]), outcomes)

    def _make_in_order(
        self, instance: Instance, calls: tuple[Call, ...], order: Order, threads: CallThreads
    ) -> Sequence[Outcome | None]:
        if len(order.programs) > len(threads):
            self._told("the object's apartment has one thread, on which calls of several cannot overlap")
            return [_OUT_OF_ORDER] * len(calls)
        making = _Making(self, calls)
        making.instance = instance
        ordered = InOrder(calls, order, making, Threads(self.options.patience, together=not self.options.pace))
        with occasions(instance, ordered.called_out), making:
            try:
                threads.run_together(
                    [functools.partial(ordered.program, thread) for thread in sorted(order.programs)]
                )
            except BaseException:
                ordered.abandon()
                raise
        self._told(ordered.reason)
        return making.outcomes

    def _came(self, instance: Instance, call: Call, outcome: Outcome | None, outcomes: list[Outcome]) -> None:
        """What there is to look at after each call."""
        self.number = number = len(outcomes)
        outcomes.append(outcome or NOT_RUN)
        self._check_handles(instance.handles, number)
        if effect := self._late.of(instance.object, call.method):
            self.observations.append(Observation("late-effect", number, effect))
        self._check_invariant(instance, number)

    def _note(self, phase: int, number: int) -> None:
        if self.journal is not None:
            self.journal.note(phase, number)

    def _wait(self, call: Call) -> None:
        """Until the call is due.  The journal changes meanwhile, so that a pause is not taken for a hang."""
        due = call.time_ns / (self.options.pace or 1)
        if self.number == 0:
            self._started = time.monotonic_ns() - due
        for tick in itertools.count():
            ahead = (self._started + due - time.monotonic_ns()) / 1e9
            if ahead <= 0:
                break
            self._note(Phase.WAITING + tick, self.number)
            time.sleep(min(ahead, _NOTE_SECONDS))

    def _refused(self, instance: Instance, call: Call) -> Outcome | None:
        """The outcome of a call that cannot be made."""
        method = self._methods.get(call.method)
        if method is None or call.method not in instance.methods:
            why = f"{call.method} is IUnknown's: a Python object has none"
        elif any(isinstance(value, Opaque) for value in call.args):
            why = "an argument was recorded only as it looked"
        elif instance.native and not (
            len(call.args) == len(method.inputs) and all(map(_carried, method.inputs, call.args))
        ):
            why = "arguments that the ABI cannot carry"
        else:
            return None
        return Outcome(OutcomeKind.NOT_RUN, None, detail=why)

    def _given(self, call: Call, number: int) -> None:
        """A call that may hand handles over is made."""
        if not self._ended:
            self._owned.update((a.token, number) for a in call.args if isinstance(a, Handle))
            self._ended = call.method in self._terminal

    def _given_at_once(self, events: Sequence[Event]) -> None:
        """The same of calls that were made at the same time.

        Where two of them end the protocol at once, either may be the late one: nobody owes them anything.
        """
        ending: set[int] = set()
        tied: set[int] = set()
        for event in events:
            if isinstance(event, Leave):
                ending.discard(event.number)
            elif event.call.method in self._terminal:
                ending.add(event.number)
                if len(ending) > 1:
                    tied |= ending
        for event in events:
            if isinstance(event, Enter):
                call = event.call
                self._given(call._replace(args=()) if event.number in tied else call, event.number)
                self._given_last.update((a.token, event.number) for a in call.args if isinstance(a, Handle))

    def _make(self, instance: Instance, call: Call) -> Outcome:
        args = self._arguments(instance, call, self._texts)
        self._given(call, self.number)
        outcome = self._called(instance, call, args)
        if self._texts is not None:
            self._texts.returned()
        return self._noted(instance, call, outcome)

    def _arguments(self, instance: Instance, call: Call, texts: GuardedTexts | None) -> list[Any]:
        args: list[Any] = [instance.handles.live(a) if isinstance(a, Handle) else a for a in call.args]
        if texts is None:
            return args
        return [
            texts.place(a) if isinstance(a, str) and p.type is Type.TEXT else a
            for p, a in zip(self._methods[call.method].inputs, args, strict=True)
        ]

    def _called(self, instance: Instance, call: Call, args: list[Any]) -> Outcome:
        method, function = self._methods[call.method], instance.methods[call.method]
        started = time.perf_counter_ns()
        try:
            answer = function(*args)
        except Abandoned:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and self._at_the_terminal():
                raise
            elapsed = time.perf_counter_ns() - started
            if crash := fault_text(error):
                self._give_in(error)
                return Outcome(OutcomeKind.CRASHED, None, elapsed, crash)
            return Outcome(
                OutcomeKind.RAISED, None, elapsed, one_line(error), self.target.place(error.__traceback__)
            )
        return _returned(method, answer, time.perf_counter_ns() - started)

    def _noted(self, instance: Instance, call: Call, outcome: Outcome) -> Outcome:
        """The outcome without what is no trace's; what the call did to the references is counted."""
        if instance.holding is not None and call.method in self._unknown:
            return instance.holding.noted(call.method, outcome)
        return outcome

    def _give_in(self, error: BaseException | None) -> None:
        """In a sandbox a fault of native code ends the process, even where ctypes has caught it."""
        if self.journal is not None:
            give_in(error)

    def _at_the_terminal(self) -> bool:
        """Whether a KeyboardInterrupt in a call is the user's Ctrl-C: only on the main thread of his process."""
        return self.journal is None and threading.current_thread() is threading.main_thread()

    def _check_invariant(self, instance: Instance, number: int) -> None:
        if instance.invariant is not None and self._check(instance.invariant, number):
            instance.invariant = None  # what follows a broken invariant is its consequence

    def _check(self, invariant: Callable[[], Any], number: int) -> bool:
        """Whether the target's own invariant is broken."""
        message, place = "invariant() is False", ""
        try:
            if invariant() is not False:
                return False
        except BaseException as error:
            message, place = one_line(error), self.target.place(error.__traceback__)
        self.observations.append(Observation("invariant", number, message, place))
        return True

    def _check_handles(self, handles: Handles, number: int) -> None:
        handles.after_call()
        for tokens, what in (
            (handles.closed_twice(), "was closed more than once"),
            (handles.used_closed(), "was used after it had been closed"),
        ):
            for token in tokens:
                if (token, what) not in self._misused:
                    self._misused.add((token, what))
                    given = self._given_last.get(token, number)
                    self.observations.append(Observation("handle", given, f"handle {token} {what}"))

    def _join(self, call_threads: CallThreads) -> None:
        """Wait a moment for threads that the target started, so that what they raise belongs to this sequence."""
        deadline = time.monotonic() + self.options.join_seconds
        for thread in set(threading.enumerate()) - self._before - call_threads.real:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _end(self, instance: Instance, calls: tuple[Call, ...], custody: Custody | None) -> None:
        last = max(len(calls) - 1, 0)
        self.number = last
        if custody:
            self._note(Phase.ASKING, last)
            with self._seeing_crashes("identity", "H1", "QueryInterface crashed"):
                self._broken("identity", custody.look_again())
            self._note(Phase.ENDING, last)
        handles = instance.handles
        self._check_handles(handles, last)
        if "closes-handle" in instance.promises:
            for token in handles.left_open():
                if token in self._owned:
                    message = f"handle {token} was never closed"
                    self.observations.append(Observation("handle", self._owned[token], message))
        with self._seeing_crashes("references", "H5", "the last Release crashed"):
            if custody:
                custody.counted(instance.holding.count - 1 if instance.holding else 0)
                self._broken("references", custody.release(self.options.join_seconds))
            else:
                instance.close()
        if self._texts is not None:
            self._texts.release()
        self._check_handles(handles, last)  # the object may have closed one as it went
        handles.release()
        instance.methods.clear()
        instance.object = instance.invariant = None
        gc.collect(self.options.collect)  # a __del__ behind a cycle belongs to this sequence, too

    def _broken(self, kind: str, breaches: Iterable[Breach]) -> None:
        self.observations += [Observation(kind, self.number, b.message, code=b.rule) for b in breaches]

    # hooks of the interpreter, while the session lasts

    def thread_raised(self, args: threading.ExceptHookArgs) -> None:
        if issubclass(args.exc_type, SystemExit):  # how a thread ends itself
            return
        error = args.exc_value or args.exc_type()
        self._give_in(error)
        name = args.thread.name if args.thread else "a thread"
        place = self.target.place(args.exc_traceback)
        self.observations.append(
            Observation("thread-exception", self.number, f"{one_line(error)} (in {name})", place)
        )

    def unraisable(self, args: Any) -> None:
        error = args.exc_value or args.exc_type()
        self._give_in(error)
        place = self.target.place(args.exc_traceback)
        where = getattr(args.object, "__qualname__", "a finaliser")
        self.observations.append(
            Observation("thread-exception", self.number, f"{one_line(error)} (in {where})", place)
        )


def _deadlock(threads: Sequence[Stuck]) -> Observation:
    """Threads of which each waits for what never comes; the first one's last call is to name it by."""
    calling = [stuck for stuck in threads if stuck.call >= 0 and not stuck.waits_behind]
    waits = [f"thread {s.thread} at {s.place or '?'} waits for {s.waits_for}" for s in calling]
    number = max((stuck.call for stuck in calling), default=0)
    places = " and ".join(sorted({stuck.place for stuck in calling if stuck.place}))
    return Observation("deadlock", number, "; ".join(waits), places)


def _carried(parameter: Parameter, value: Argument) -> bool:
    """Whether the ABI carries the value: an IID's text must be one."""
    if not fits(parameter, value):
        return False
    if parameter.type is Type.IID and isinstance(value, str):
        try:
            uuid.UUID(value)
        except ValueError:
            return False
    return True


def _returned(method: Method, answer: Any, elapsed: int) -> Outcome:
    if method.outputs and isinstance(answer, tuple) and answer:
        return Outcome(value=storable(answer[0]), elapsed_ns=elapsed, outputs=tuple(map(storable, answer[1:])))
    return Outcome(value=storable(answer), elapsed_ns=elapsed)


@contextmanager
def _watching(session: _Session) -> Iterator[None]:
    """Take over the interpreter's hooks for exceptions that no caller sees."""
    thread_hook, unraisable_hook = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = session.thread_raised, session.unraisable
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = thread_hook, unraisable_hook


class _Making:
    """How a session's calls are made in a recorded order (replayer.ordered.Making), on the instance that it has.

    What is looked at after each call waits for its turn to end, since only then nobody else acts.  An invariant
    may be broken while a call is under way, and what a late call changes cannot be told from what others do.
    """

    instance: Instance

    def __init__(self, session: _Session, calls: Sequence[Call]):
        self.outcomes: list[Outcome | None] = [_OUT_OF_ORDER] * len(calls)  # None: it has not returned
        self._session = session
        self._calls = calls
        self._guarded = session._texts is not None
        self._texts: dict[int, GuardedTexts] = {}  # by call: of each the texts are its own
        self._idle: list[GuardedTexts] = []

    def __enter__(self) -> _Making:
        return self

    def __exit__(self, *exception: object) -> None:
        for texts in (*self._texts.values(), *self._idle):
            texts.release()

    def begin(self, number: int) -> list[Any] | Outcome:
        session, call = self._session, self._calls[number]
        session.number = number
        if session.options.pace:
            session._wait(call)
        if (refused := session._refused(self.instance, call)) is not None:
            return refused
        texts = None
        if self._guarded:
            texts = self._texts[number] = self._idle.pop() if self._idle else GuardedTexts()
        args = session._arguments(self.instance, call, texts)
        session._given(call, number)
        self.outcomes[number] = None
        return args

    def make(self, number: int, ready: list[Any]) -> Outcome:
        return self._session._called(self.instance, self._calls[number], ready)

    def end(self, number: int, outcome: Outcome, *, alone: bool) -> None:
        session = self._session
        session.number = number
        if (texts := self._texts.pop(number, None)) is not None:
            texts.returned()
            self._idle.append(texts)
        self.outcomes[number] = session._noted(self.instance, self._calls[number], outcome)
        session._check_handles(self.instance.handles, number)
        if alone:
            session._check_invariant(self.instance, number)

    def note(self, passed: int, number: int) -> None:
        self._session._note(Phase.ORDERED + passed, number)
