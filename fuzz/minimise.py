"""Minimising: the shortest sequence with the simplest arguments that still fails in the same way.

`minimise` only sees a predicate; `minimise_finding` plays, and takes code, method, place and level for the same
way; `minimise_trace` starts from a trace and a target.  The result is 1-minimal: no single call of it can go and
no argument can become simpler by any step known here (fuzz.simpler).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.buckets import Found
from fuzz.minimise_schedule import Tried, minimise_schedule
from fuzz.recorded_order import of_bucket, without_order
from fuzz.scheduled import Scheduled
from fuzz.schedules import is_scheduled, steps_in_order
from fuzz.simpler import is_result, simpler, simplest
from recorder.calls import Argument, Call, Trace
from recorder.contract import contract_of, fits
from recorder.interface import Interface, Parameter
from replayer.isolation import Isolated, Limits, Player
from replayer.oracles import Finding, Judge
from replayer.order import is_ordered
from replayer.player import Run
from replayer.scaling import SCALING, longest_text
from replayer.target import TargetError

__all__ = ["Minimised", "minimise", "minimise_finding", "minimise_trace", "moment_of", "shows_alone", "simpler"]

Fails = Callable[[list[Call]], bool]
Told = Callable[[Finding, list[Call], Run], None]


def minimise(
    calls: list[Call],
    fails: Fails,
    *,
    interface: Interface | None = None,
    thresholds: bool = True,
    max_tries: int = 5000,
    deadline: float | None = None,
) -> list[Call]:
    """Shrink a failing sequence; stops after `max_tries` evaluations, or at `deadline` (time.monotonic seconds),
    with the best found so far.

    Of an argument the `interface` tells whether NULL is allowed, and whether it is an HRESULT (None: neither).
    Without `thresholds` a number becomes a very small one, or another one of the same call, or stays.
    """
    shrinker = _Shrinker(
        calls, fails, interface=interface, thresholds=thresholds, max_tries=max_tries, deadline=deadline
    )
    with contextlib.suppress(_OutOfTries):
        shrinker.run()
    return shrinker.calls


def minimise_finding(
    player: Player,
    judge: Judge,
    finding: Finding,
    calls: list[Call],
    *,
    timeout: float | None = None,
    max_tries: int = 5000,
    deadline: float | None = None,
    scheduled: bool = False,
    took: Told = lambda finding, calls, run: None,
    met: Told = lambda finding, calls, run: None,
) -> list[Call]:
    """The shortest sequence on which the same finding shows: its bucket and its level stay.

    `timeout` seconds are given to each try (None: as the player has it).  `scheduled`: the threads of the calls
    run at the same time, and their schedule becomes minimal, too.  `took` is told of each step that goes on from
    there, the last time of what is given back, `met` of every other finding that shows on the way.
    """
    left = max_tries
    latest: list[Call] = []
    as_entered: list[Call] = []

    units = longest_text(calls) if finding.oracle in SCALING else 0

    def tried(candidate: list[Call]) -> Tried:
        nonlocal left, latest, as_entered
        if longest_text(candidate) < units:  # what is seen of it is how it grows up to there
            return Tried(False)
        left -= 1
        run = player.play(candidate, timeout=timeout)
        entered = list(run.trace.calls) if scheduled else candidate  # as findings number them
        same: Finding | None = None
        for other in judge.findings(run):
            if other.bucket == finding.bucket and other.level == finding.level:
                same = other
            else:
                met(other, entered, run)
        if same is not None:
            took(same, entered, run)
            latest, as_entered = candidate, entered
        return Tried(same is not None, steps_in_order(candidate, run.trace.calls, run.steps))

    def fails(candidate: list[Call]) -> bool:
        return tried(candidate).fails

    cut = calls[: finding.number + 1]
    calls = cut if len(cut) < len(calls) and fails(cut) else calls
    timed = finding.oracle in _TIMED
    while True:
        before = calls
        calls = minimise(
            calls,
            fails,
            interface=player.interface,
            thresholds=not timed,
            max_tries=left if scheduled else max_tries,
            deadline=deadline,
        )
        if scheduled and not timed:
            calls = minimise_schedule(calls, tried, max_tries=left, deadline=deadline)
        if not scheduled or timed or calls == before or left <= 0:
            break
    if latest and latest != calls:
        fails(calls)
    return as_entered if scheduled and latest == calls else calls


_TIMED = ("hang", "slow")  # just enough work to fail would be too little the next time


@dataclass
class Minimised:
    """The failure of a trace in its minimal form, and the other failures that showed on the way."""

    found: Found
    others: list[Found]


def minimise_trace(
    trace: Trace,
    spec: str,
    *,
    origin: str = "a trace",
    limits: Limits | None = None,
    slow: float = 1.0,
    max_tries: int = 5000,
) -> Minimised:
    """Minimise the failure that a trace was kept for, else the first that it shows.

    Raises TargetError for a bad target, and if the trace does not fail on it.
    """
    limits = limits or Limits()
    judge = Judge(contract_of(trace.interface), slow=slow)
    scheduled = trace.header.scheduled
    others: dict[tuple[str, str, str], Found] = {}

    def met(other: Finding, seen: list[Call], run: Run) -> None:
        found = Found(other, seen, seen, 0.0, 0, f"minimising {origin}", run=run, scheduled=scheduled)
        others.setdefault(other.bucket, found)

    with Isolated(spec, trace.interface, limits=limits) as isolated:
        player: Player = Scheduled(isolated) if scheduled else isolated
        run = player.play(trace)
        calls = list(run.trace.calls)
        findings = judge.findings(run)
        if run.unforced:
            raise TargetError(f"{origin}: its order cannot be kept on {spec}: {run.unforced}")
        if not findings:
            raise TargetError(f"{origin}: does not fail on {spec}; nothing to minimise")
        finding = _kept_for(findings, trace)
        if is_ordered(trace):
            played = without_order(isolated, judge, finding, trace, run)
            if played is None:
                raise TargetError(
                    f"{finding.code} shows on {spec} only in the recorded order, of which all is needed"
                )
            run, scheduled = played
            calls, finding = list(run.trace.calls), of_bucket(finding.bucket, judge.findings(run)) or finding
            player = Scheduled(isolated) if scheduled else isolated
        for other in findings:
            met(other, calls, run)
        moment = moment_of(limits.timeout) if finding.oracle == "hang" else None
        minimal = minimise_finding(
            player, judge, finding, calls, timeout=moment, max_tries=max_tries, scheduled=scheduled, met=met
        )
        run = player.play(minimal)
        again = [f for f in judge.findings(run) if f.bucket == finding.bucket]
        alone = scheduled and shows_alone(isolated, judge, finding, minimal, moment_of(limits.timeout))
    others.pop(finding.bucket)
    shown = again[0] if again else finding
    found = Found(
        shown, minimal, calls, 0.0, 0, origin, flaky=not again, run=run, scheduled=scheduled, alone=alone
    )
    return Minimised(found, list(others.values()))


def moment_of(timeout: float) -> float:
    """Seconds to see a known hang again: what does not hang takes milliseconds."""
    return min(timeout, max(0.25, timeout / 20))


def shows_alone(player: Player, judge: Judge, finding: Finding, calls: list[Call], timeout: float) -> bool:
    """Whether scheduled calls that have no threads and switches left show the same one after the other."""
    if is_scheduled(calls):
        return False
    return of_bucket(finding.bucket, judge.findings(player.play(calls, timeout=timeout))) is not None


def _kept_for(findings: list[Finding], trace: Trace) -> Finding:
    kept = trace.header.provenance.get("finding")
    code = kept.get("code") if isinstance(kept, dict) else None
    return next((f for f in findings if f.code == code), findings[0])


class _OutOfTries(Exception):
    pass


class _Shrinker:
    def __init__(
        self,
        calls: list[Call],
        fails: Fails,
        *,
        interface: Interface | None,
        thresholds: bool,
        max_tries: int,
        deadline: float | None,
    ):
        self.calls = calls
        self._fails = fails
        self._thresholds = thresholds
        self._parameters = {m.name: m.inputs for m in interface.slots} if interface else {}
        self._left = max_tries
        self._deadline = deadline
        self._tried: set[tuple[Call, ...]] = set()

    def run(self) -> None:
        self._remove_runs(len(self.calls) // 8)  # in a long sequence first of all what is easily gone
        while True:
            before = self.calls
            self._simplify_columns()
            self._remove_runs(1)
            self._plain_threads()
            self._simplify_together()
            self._simplify_each()
            if self.calls == before:
                return

    def _try(self, candidate: list[Call]) -> bool:
        """Take a candidate over if it still fails."""
        if not candidate:
            return False
        key = tuple(candidate)
        try:
            if key in self._tried:
                return False
            self._tried.add(key)
        except TypeError:  # an unhashable argument cannot be remembered
            pass
        if self._left <= 0 or (self._deadline is not None and time.monotonic() >= self._deadline):
            raise _OutOfTries
        self._left -= 1
        if self._fails(candidate):
            self.calls = candidate
            return True
        return False

    def _parameter(self, method: str, position: int) -> Parameter | None:
        parameters = self._parameters.get(method, ())
        return parameters[position] if position < len(parameters) else None

    # --- calls --------------------------------------------------------------------------------------------------

    def _remove_runs(self, shortest: int) -> None:
        """Drop runs of calls, large ones first, from the end; single calls until none can go."""
        size = len(self.calls)
        while size >= max(shortest, 1):
            removed = False
            start = len(self.calls) - size
            while start >= 0 or (start > -size and size > 1):
                at = max(start, 0)
                if self._try(self.calls[:at] + self.calls[start + size :]):
                    removed = True
                    start = min(start, len(self.calls) - size)
                else:
                    start -= size
            if not (removed and size == 1):
                size //= 2

    def _plain_threads(self) -> None:
        """One thread and no times, or as few threads as can be, numbered as they appear."""
        if any(call.time_ns for call in self.calls):
            self._try([call._replace(time_ns=0) for call in self.calls])
        if any(call.thread for call in self.calls):
            self._try([call._replace(thread=0) for call in self.calls])
            for number, call in enumerate(self.calls):
                if call.thread:
                    self._put(number, call._replace(thread=0))
            threads = list(dict.fromkeys(call.thread for call in self.calls))
            self._try([call._replace(thread=threads.index(call.thread)) for call in self.calls])

    def _put(self, number: int, call: Call) -> bool:
        return self._try([*self.calls[:number], call, *self.calls[number + 1 :]])

    # --- arguments ----------------------------------------------------------------------------------------------

    def _simplify_columns(self) -> None:
        """In a long sequence most arguments do not matter: give a parameter one simple value in all calls."""
        for method, size in {call.method: len(call.args) for call in self.calls}.items():
            for position in range(size):
                values = [c.args[position] for c in self.calls if c.method == method and len(c.args) == size]
                if len(values) < 2:
                    continue
                for simple in simplest(values, self._parameter(method, position)):
                    everywhere = [_with(c, position, simple) if c.method == method else c for c in self.calls]
                    if everywhere == self.calls or self._try(everywhere):
                        break

    def _simplify_together(self) -> None:
        """A value that stands in several places is one value to a host that compares: change all at once."""
        places: dict[Argument, list[Parameter | None]] = {}
        for call in self.calls:
            for position, value in enumerate(call.args):
                if isinstance(value, int | str):
                    places.setdefault(value, []).append(self._parameter(call.method, position))
        for value, parameters in places.items():
            if len(parameters) > 1:
                self._shrink_value(value, parameters, lambda old, new: self._try(_replaced(self.calls, old, new)))

    def _simplify_each(self) -> None:
        for number in range(len(self.calls)):
            method, args = self.calls[number][:2]
            for position, value in enumerate(args):

                def put(old: Argument, new: Argument, number: int = number, position: int = position) -> bool:
                    return self._put(number, _with(self.calls[number], position, new))

                self._shrink_value(value, [self._parameter(method, position)], put)
                if not self._thresholds and type(value) is int:
                    smaller = (other for other in args if type(other) is int and 0 <= other < value)
                    any(put(value, other) for other in sorted(smaller))

    def _shrink_value(
        self, value: Argument, parameters: list[Parameter | None], put: Callable[[Argument, Argument], bool]
    ) -> None:
        """Replace a value, an argument for each of the parameters, by simpler ones as long as one is accepted."""
        parameter = parameters[0] if len(set(parameters)) == 1 else None
        types = [p for p in parameters if p is not None and fits(p, value)]
        accepted = True
        while accepted:
            accepted = False
            for candidate in simpler(value, parameter):
                if (
                    type(candidate) is int
                    and abs(candidate) > 2
                    and not (self._thresholds or is_result(parameter))
                ):
                    continue
                if all(fits(p, candidate) for p in types) and put(value, candidate):
                    accepted, before, value = True, value, candidate
                    if type(value) is int and type(before) is int and abs(before - value) == 1 < abs(value):
                        value = self._bisect(value, put)
                    break

    def _bisect(self, value: int, put: Callable[[Argument, Argument], bool]) -> int:
        """The threshold between a small value that passes and this one that fails."""
        sign = 1 if value > 0 else -1
        passes, failing = 0, abs(value)
        while failing - passes > 1:
            middle = (passes + failing) // 2
            if put(sign * failing, sign * middle):
                failing = middle
            else:
                passes = middle
        return sign * failing


def _with(call: Call, position: int, value: Argument) -> Call:
    if position >= len(call.args):
        return call
    return call._replace(args=(*call.args[:position], value, *call.args[position + 1 :]))


def _replaced(calls: list[Call], old: Argument, new: Argument) -> list[Call]:
    return [
        call._replace(args=tuple(new if type(a) is type(old) and a == old else a for a in call.args))
        if old in call.args
        else call
        for call in calls
    ]
