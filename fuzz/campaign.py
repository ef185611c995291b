"""A campaign: replay the corpus, then search until the budget ends; judge, minimise and keep what fails.

The search runs in a sandboxed child (fuzz.worker); whatever it suspects is played again alone, in a second
child, with every oracle looking (fuzz.triage).  Only what fails there is a finding.  A child that dies or hangs
is replaced and the search goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fuzz.buckets import Found, write_finding
from fuzz.engine import bases
from fuzz.progress import CampaignOptions, Progress, Summary
from fuzz.screen import ALIKE
from fuzz.triage import Triage
from fuzz.worker import pack_calls, unpack_calls
from recorder.calls import Call, OutcomeKind, Trace
from recorder.contract import Level, contract_of
from recorder.decoding import DECODE_ERRORS
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from replayer.batches import position
from replayer.batches import unpack_calls as unpack_sequence
from replayer.endurance import GAUGES
from replayer.isolation import Isolated, Limits, place_of
from replayer.oracles import Judge
from replayer.player import PlayOptions
from replayer.sandbox import Death, ExecutorError, Sandbox
from replayer.shared import SharedList
from replayer.target import TargetError, environment_for, is_native_spec
from replayer.verdict import require_target

__all__ = ["Campaign", "CampaignOptions", "Progress", "Summary", "stop_word"]

_DEATHS_LOOKED_AT = 25  # deaths that look alike and cost no waiting
_AT_ONCE = 8  # deaths in a native batch before they are looked at
_MOST_LOST = 5  # deaths in a row of which nobody can say what they came of
_ONCE_HUNG = 0.4  # seconds that a sequence gets when a hang is known; it takes well below a millisecond


class Campaign:
    """One search for failures of one target.

    `seeds` are (name, trace).  Failures are written to `folder` (None: nowhere).  `watch` is called with the
    progress after each batch, `announce` with each failure when it is minimised and written.
    """

    def __init__(
        self,
        spec: str,
        seeds: Sequence[tuple[str, Trace]] = (),
        options: CampaignOptions | None = None,
        *,
        interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
        folder: Path | None = None,
        watch: Callable[[Progress], None] = lambda progress: None,
        announce: Callable[[Found, Path | None], None] = lambda found, path: None,
    ):
        self.spec = spec
        self.seeds = list(seeds)
        self.options = options or CampaignOptions()
        self.interface = interface
        self.folder = folder
        self.progress = Progress()
        self.files: dict[str, Path] = {}
        self._watch = watch
        self._announce = announce
        self._fresh: list[tuple[list[Any], list[str]]] = []  # packed calls, and the mutators that made them
        self._lists: tuple[SharedList, SharedList] | None = None  # of a native target: fuzz.native
        self._lost_in_a_row = 0
        self._grew: Counter[str] = Counter()  # how often an oracle of growth was asked
        self._settled = 0  # how many of these the present batch builds on
        self._knows_fresh = self._knows_deadly = 0  # how much the searching process knows

    def run(self) -> Summary:
        """Search.  Raises TargetError for a bad target, ExecutorError if a child cannot be started."""
        self._started = time.monotonic()
        options = self.options
        judge = Judge(contract_of(self.interface), slow=options.slow, disabled=options.disabled)
        limits = Limits(options.timeout, options.memory)
        stopped = "time"
        played = PlayOptions(skip=tuple(options.disabled))
        with Isolated(self.spec, self.interface, played, limits) as player:
            self._triage = Triage(player, judge, options, self.progress, tick=self._tick, kept=self._kept)
            try:
                require_target(player)
                self._started = time.monotonic()  # the budget is for searching, not for starting
                self._replay_corpus()
                with contextlib.ExitStack() as opened:
                    if is_native_spec(self.spec):
                        self._lists = SharedList(), SharedList()
                        for shared in self._lists:
                            opened.callback(shared.close)
                    self._search = opened.enter_context(self._open_search())
                    stopped = self._search_on()
            except _FirstFailure:
                stopped = "first failure"
            except KeyboardInterrupt as stop:
                stopped = stop_word(stop)
        self._tick()
        return Summary(self.progress, list(self._triage.found.values()), stopped, self.files)

    def _replay_corpus(self) -> None:
        for name, trace in self.seeds:
            if trace.calls and self._time_left():
                self._triage.recorded(name, trace)
                self._tick()

    def _kept(self, found: Found) -> None:
        path = write_finding(found, self.folder, self.interface, self.spec) if self.folder else None
        if path:
            self.files[found.name] = path
        self._announce(found, path)
        if self.options.exit_first:
            raise _FirstFailure

    # --- the search ---------------------------------------------------------------------------------------------

    def _open_search(self) -> Sandbox:
        options = self.options
        config = {
            "spec": self.spec,
            "native": is_native_spec(self.spec),
            "interface": self.interface.describe(),
            "seeds": list(map(pack_calls, bases((trace.calls for _, trace in self.seeds), self.interface))),
            "seed": options.seed,
            "slow": options.slow,
            "retained": options.retained,
        }
        if self._lists is not None:
            config["sequences"], config["results"] = (shared.path for shared in self._lists)
        return Sandbox(
            "fuzz.worker:job",
            config,
            timeout=options.timeout,
            memory=options.memory,
            environment=environment_for(self.spec, names=False),
        )

    def _search_on(self) -> str:
        size, most = self.options.batch, self.options.max_runs
        for number, level in enumerate(_levels(self.options.level)):
            start, self._settled = 0, len(self._fresh)
            while start < size:
                if not self._time_left():
                    return "time"
                until = size
                if most is not None:
                    if self.progress.runs >= most:
                        return "runs"
                    until = min(size, start + most - self.progress.runs)
                start = self._play_batch(number, level, start, until)
                self._tick()
        raise AssertionError("levels never end")

    def _play_batch(self, number: int, level: Level, start: int, until: int) -> int:
        """Have sequences `start` to `until` of a batch played; gives the one to go on with."""
        play: dict[str, Any] = {"start": start, "until": until}
        if self._lists is not None:
            growth = [g.oracle for g in GAUGES if self._grew[g.oracle] < ALIKE]
            growth = [oracle for oracle in growth if oracle not in self.options.disabled]
            return self._play_native(number, level, {**play, "growth": growth}, *self._lists)
        reply = self._ask_to_play("batch", number, level, **play)
        if isinstance(reply, Death):
            return self._after_death(reply, number, level, start)
        self._take(reply, number, level)
        return until

    def _ask_to_play(self, op: str, number: int, level: Level, **request: Any) -> Any:
        options = self.options
        timeout = min(options.timeout, _ONCE_HUNG) if self._triage.hangs else options.timeout
        return self._ask(
            op,
            number,
            level,
            timeout=timeout,
            patience=min(timeout / 4, options.slow * 2) if self._triage.hangs else timeout / 2,
            seconds=None if options.max_time is None else options.max_time - self._elapsed(),
            **request,
        )

    def _take(self, reply: dict[str, Any], number: int, level: Level) -> None:
        """Add what a batch gave, and look at its suspects."""
        progress = self.progress
        self._lost_in_a_row = 0
        progress.runs += reply["done"]
        progress.calls += reply["calls"]
        progress.ended += reply["ended"]
        progress.levels[str(level)] += reply["done"]
        progress.applied.update(reply["applied"])
        progress.covered, progress.sites = max(progress.covered, reply["covered"]), reply["sites"]
        for calls, mutators in reply["fresh"]:
            self._fresh.append((calls, mutators))
            progress.earned.update(mutators)
            progress.last_new = self._elapsed()
        progress.kept = len(self._fresh)
        for calls, signature in reply["suspects"]:
            if self._triage.worth(signature):
                self._triage.suspect(unpack_calls(calls), f"batch {number}")
        for calls, oracle in reply.get("growing", ()):
            self._grew[oracle] += 1
            self._triage.growing(unpack_calls(calls), f"batch {number}")
        if reply.get("worn"):  # the target has left too little for the next ones
            self._search.renew()
            self._knows_fresh = self._knows_deadly = 0

    def _play_native(
        self, number: int, level: Level, play: dict[str, Any], sequences: SharedList, results: SharedList
    ) -> int:
        """The same for a native target: what a process died of is in the lists, and the next goes on behind it.

        After `_AT_ONCE` deaths, or a hang, the rest of the batch is made anew, without what is now known to kill.
        """
        killers: list[tuple[Death, int]] = []
        reply = self._ask_to_play("batch", number, level, **play)
        done = False
        while isinstance(reply, Death):
            place = len(results)
            if not done and place + 1 < len(sequences):
                killers.append((reply, place))
                results.append(b"")
                done = len(killers) == _AT_ONCE or reply.kind is OutcomeKind.HUNG
            else:  # nothing was under way: a late consequence of what was played before
                self._lost()
            op = "judge" if done else "rest" if len(sequences) else "batch"
            reply = self._ask_to_play(op, number, level, **play)
        blobs = list(sequences)
        self._take(reply, number, level)
        for death, place in killers:
            try:
                calls = unpack_sequence(blobs[place], self.interface)
            except DECODE_ERRORS:  # the target has written over it
                self._lost()
            else:
                self._killed(death, place, calls, number, level)
        return int(play["until"]) if reply["next"] is None else int(reply["next"])

    def _lost(self) -> None:
        """A process died and nobody can say of what."""
        self.progress.deaths += 1
        self.progress.unconfirmed += 1
        self._lost_in_a_row += 1
        if self._lost_in_a_row > _MOST_LOST:
            raise ExecutorError(f"target {self.spec}: the searching process dies without playing anything")

    def _killed(self, death: Death, place: int, calls: list[Call], number: int, level: Level) -> None:
        """A process died, or hung, in these calls: look at them alone."""
        progress = self.progress
        progress.runs += 1
        progress.deaths += 1
        progress.levels[str(level)] += 1
        _, noted, at = position(death.position)
        method = calls[at].method if noted == place and at < len(calls) else ""
        where = place_of(death, self.spec) if death.report or death.fault else ""
        signature = f"{death.kind} {death.detail} {where} in {method} at level {level}"
        if self._triage.worth(signature, ALIKE if death.kind is OutcomeKind.HUNG else _DEATHS_LOOKED_AT):
            self._triage.suspect(calls, f"batch {number}")

    def _after_death(self, death: Death, number: int, level: Level, start: int) -> int:
        """The child died in a sequence.  What went well before it is played again, so that nothing it gave is
        lost; the sequence itself is made again and looked at alone."""
        index = max(start, death.position[1] if death.position[0] == number else start)
        if index > start:
            self._play_batch(number, level, start, index)
        progress = self.progress
        progress.runs += 1
        progress.deaths += 1
        progress.levels[str(level)] += 1
        place = place_of(death, self.spec).partition(":")[0]
        signature = f"{death.kind} {death.detail} {place} at level {level}"
        if self._triage.worth(signature, ALIKE if death.kind is OutcomeKind.HUNG else _DEATHS_LOOKED_AT):
            made = self._ask("make", number, level, index=index)
            if not isinstance(made, Death):
                self._triage.suspect(unpack_calls(made), f"batch {number}")
        return index + 1

    def _ask(self, op: str, number: int, level: Level, *, timeout: float | None = None, **request: Any) -> Any:
        """The search's answer, or the Death that it met.  Raises TargetError if the target gives no instance."""
        fresh, deadly = self._fresh[self._knows_fresh : self._settled], self._triage.deadly[self._knows_deadly :]
        request |= {"op": op, "number": number, "level": int(level), "size": self.options.batch}
        request |= {"fresh": fresh, "deadly": pack_calls(deadly)}
        reply = self._search.request(request, timeout=timeout)
        if isinstance(reply, dict) and "refused" in reply:
            raise TargetError(reply["refused"])
        alive = not isinstance(reply, Death)
        self._knows_fresh, self._knows_deadly = alive * self._settled, alive * len(self._triage.deadly)
        return reply

    # --- time ---------------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _time_left(self) -> bool:
        return self.options.max_time is None or self._elapsed() < self.options.max_time

    def _tick(self) -> None:
        self.progress.seconds = self._elapsed()
        self.progress.note()
        self._watch(self.progress)


def stop_word(stop: KeyboardInterrupt) -> str:
    """Ctrl-C is "interrupted"; what a SIGTERM was turned into, a subclass, is "terminated"."""
    return "interrupted" if type(stop) is KeyboardInterrupt else "terminated"


class _FirstFailure(Exception):
    pass


_TURNS = {
    Level.CONFORMING: (Level.CONFORMING,),
    Level.LENIENT: (Level.LENIENT, Level.LENIENT, Level.CONFORMING),
    Level.HOSTILE: (
        *(Level.HOSTILE, Level.LENIENT, Level.HOSTILE),
        *(Level.CONFORMING, Level.LENIENT, Level.HOSTILE),
    ),
}


def _levels(highest: Level) -> Iterator[Level]:
    """The levels of the batches, in turn; all up to the highest come, the highest most often."""
    return itertools.cycle(_TURNS[highest])
