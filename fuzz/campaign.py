"""A campaign: replay the corpus, then search until the budget ends; judge, minimise and keep what fails.

The search runs in a sandboxed child (fuzz.worker); whatever it suspects is played again alone, in a second
child, with every oracle looking.  Only what fails there is a finding.  A child that dies or hangs is replaced
and the search goes on.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.buckets import Found, write_finding
from fuzz.minimise import minimise_finding
from fuzz.worker import pack_calls, unpack_calls
from recorder.calls import Call, Trace
from recorder.contract import Level, contract_of
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from replayer.isolation import Isolated, Limits, place_in
from replayer.oracles import Finding, Judge
from replayer.player import Run
from replayer.sandbox import Death, Sandbox
from replayer.target import is_library_spec

__all__ = ["Campaign", "CampaignOptions", "Progress", "Summary"]


@dataclass(frozen=True)
class CampaignOptions:
    """`max_time` seconds and `max_runs` sequences bound the search (None: no bound).

    `level` is the highest one that is searched and reported.  `timeout`: seconds without progress that count
    as a hang; `memory`: MiB.
    """

    seed: int = 0
    max_time: float | None = 60.0
    max_runs: int | None = None
    level: Level = Level.HOSTILE
    exit_first: bool = False
    slow: float = 1.0
    timeout: float = 5.0
    memory: int | None = None
    disabled: frozenset[str] = frozenset()
    batch: int = 250
    minimise_tries: int = 4000


@dataclass
class Progress:
    """How far a campaign is.  `kept` counts sequences that brought something new, `ended` those that reach the
    call that ends the protocol."""

    runs: int = 0
    calls: int = 0
    ended: int = 0
    kept: int = 0
    covered: int = 0
    sites: int = 0
    seconds: float = 0.0
    corpus: int = 0
    unconfirmed: int = 0
    levels: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    earned: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    last_new: float = 0.0


@dataclass
class Summary:
    """What a campaign gives back: why it stopped ("time", "runs", "first failure", "interrupted")."""

    progress: Progress
    found: list[Found]
    stopped: str
    files: dict[str, Path] = field(default_factory=dict)
    interrupt: KeyboardInterrupt | None = None


class Campaign:
    """One search for failures of one target.

    `seeds` are (name, trace).  `watch` is called with the progress after each batch, `announce` with each
    failure when it is minimised and written.
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
        self.found: dict[tuple[str, str, str], Found] = {}
        self.files: dict[str, Path] = {}
        self._watch = watch
        self._announce = announce
        self._judge = Judge(contract_of(interface), slow=self.options.slow, disabled=self.options.disabled)
        self._fresh: list[list[Any]] = []
        self._avoid: list[Call] = []
        self._hangs = 0
        self._deaths: Counter[tuple[str, str, str]] = Counter()
        self._queue: list[tuple[Finding, list[Call], Run, str]] = []

    def run(self) -> Summary:
        """Search.  Raises TargetError for a bad target, ExecutorError if a child cannot be started."""
        self._started = time.monotonic()
        options = self.options
        limits = Limits(options.timeout, options.memory)
        stopped, interrupt = "time", None
        with Isolated(self.spec, self.interface, limits=limits) as self._player:
            try:
                self._replay_corpus()
                with self._open_search() as self._search:
                    stopped = self._search_on()
            except _FirstFailure:
                stopped = "first failure"
            except KeyboardInterrupt as stop:
                stopped, interrupt = "interrupted", stop
        self._tick()
        return Summary(self.progress, list(self.found.values()), stopped, self.files, interrupt)

    # --- the search ---------------------------------------------------------------------------------------------

    def _open_search(self) -> Sandbox:
        config = {
            "spec": self.spec,
            "native": is_library_spec(self.spec),
            "interface": self.interface.describe(),
            "seeds": [pack_calls(self.interface, trace.calls) for _, trace in self.seeds],
            "seed": self.options.seed,
            "slow": self.options.slow,
        }
        return Sandbox("fuzz.worker:job", config, timeout=self.options.timeout, memory=self.options.memory)

    def _search_on(self) -> str:
        options = self.options
        size = options.batch
        for number, level in enumerate(_levels(options.level)):
            start = 0
            while start < size:
                left = self._seconds_left()
                if left is not None and left <= 0:
                    return "time"
                until = size
                if options.max_runs is not None:
                    if self.progress.runs >= options.max_runs:
                        return "runs"
                    until = min(size, start + options.max_runs - self.progress.runs)
                start = self._one_batch(number, level, until, start, left)
                self._tick()
        raise AssertionError("levels never end")

    def _one_batch(self, number: int, level: Level, until: int, start: int, left: float | None) -> int:
        """Ask for sequences `start` to `until` of a batch; gives the one to go on with."""
        request = {
            "op": "batch",
            "number": number,
            "level": int(level),
            "size": self.options.batch,
            "until": until,
            "start": start,
            "seconds": left,
        }
        timeout = self.options.timeout if not self._hangs else min(self.options.timeout, 1.0)
        reply = self._search.request(request, timeout=timeout)
        if isinstance(reply, Death):
            return self._after_death(reply, number, level, start)
        progress = self.progress
        progress.runs += reply["done"]
        progress.calls += reply["calls"]
        progress.ended += reply["ended"]
        progress.levels[str(level)] += reply["done"]
        progress.applied.update(reply["applied"])
        progress.covered, progress.sites = reply["covered"], reply["sites"]
        for tape, mutators in reply["fresh"]:
            self._fresh.append([tape, mutators])
            progress.earned.update(mutators)
            progress.last_new = self._elapsed()
        progress.kept = len(self._fresh)
        for _, tape, _ in reply["suspects"]:
            self._confirm(unpack_calls(tape), f"batch {number}")
        return until

    def _after_death(self, death: Death, number: int, level: Level, start: int) -> int:
        """The child died in a sequence: make that one again, see what it does alone, go on behind it."""
        index = death.position[1] if death.position[0] == number else start
        self.progress.runs += max(index - start, 0) + 1
        self.progress.levels[str(level)] += max(index - start, 0) + 1
        self._search.request({"op": "keep", "fresh": self._fresh})
        request = {"op": "make", "number": number, "level": int(level), "size": self.options.batch, "index": index}
        tape = self._search.request(request)
        signature = (death.kind, death.detail, place_in(death.stack))
        self._deaths[signature] += 1
        if isinstance(tape, bytes) and self._deaths[signature] <= _DEATHS_CONFIRMED:
            self._confirm(unpack_calls(tape), f"batch {number}", death)
        if self._avoid:
            self._search.request({"op": "avoid", "calls": pack_calls(self.interface, self._avoid)})
        return index + 1

    def _replay_corpus(self) -> None:
        for name, trace in self.seeds:
            if not trace.calls:
                continue
            left = self._seconds_left()
            if left is not None and left <= 0:
                return
            run = self._player.play(trace)
            self.progress.corpus += 1
            self._take(self._judge.findings(run), list(trace.calls), run, name)
            self._work_off()
            self._tick()

    # --- failures -----------------------------------------------------------------------------------------------

    def _confirm(self, calls: list[Call], origin: str, death: Death | None = None) -> None:
        """Play a suspect alone; what fails then is a finding.  One that does not fail again is only counted."""
        for _ in range(3):
            run = self._player.play(calls)
            findings = self._reported(self._judge.findings(run))
            if findings:
                self._take(findings, calls, run, origin)
                self._work_off()
                return
            if death is None and not self._judge.findings(run):
                continue
            if death is None:
                return
        self.progress.unconfirmed += 1

    def _reported(self, findings: list[Finding]) -> list[Finding]:
        return [f for f in findings if f.level <= self.options.level]

    def _take(self, findings: list[Finding], calls: list[Call], run: Run, origin: str) -> None:
        for finding in self._reported(findings):
            known = self.found.get(finding.bucket)
            if known is not None and known.finding.level <= finding.level:
                known.count += 1
            else:
                self._queue.append((finding, calls, run, origin))

    def _work_off(self) -> None:
        """Minimise and keep what is queued; minimising may meet other failures, which join the queue."""
        while self._queue:
            finding, calls, run, origin = self._queue.pop(0)
            known = self.found.get(finding.bucket)
            if known is not None and known.finding.level <= finding.level:
                continue
            self._keep(finding, calls, run, origin)

    def _keep(self, finding: Finding, calls: list[Call], run: Run, origin: str) -> None:
        seconds, executions = self._elapsed(), self.progress.runs
        before = self.found.get(finding.bucket)
        found = Found(finding, calls, calls, seconds, executions, origin, run=run)
        if before is not None:  # seen before, at a higher level: the first sight counts
            found.seconds, found.executions, found.count = before.seconds, before.executions, before.count + 1
        self.found[finding.bucket] = found
        self.progress.failures = len(self.found)
        self.progress.last_new = seconds
        minimal = self._minimise(finding, calls, origin)
        again = self._play_for(finding, minimal)
        found.calls = minimal
        if again is not None:
            found.finding, found.run = again
        else:
            found.flaky = True
        path = write_finding(found, self.folder, self.interface, self.spec) if self.folder else None
        if path:
            self.files[found.name] = path
        if finding.oracle == "hang":
            self._avoid_hang(found)
        self._announce(found, path)
        if self.options.exit_first:
            raise _FirstFailure

    def _minimise(self, finding: Finding, calls: list[Call], origin: str) -> list[Call]:
        def met(other: Finding, candidate: list[Call], run: Run) -> None:
            self._tick()
            if other.bucket not in self.found:
                self._take([other], candidate, run, origin)

        timeout, tries = self._short_timeout(finding), self.options.minimise_tries
        return minimise_finding(
            self._player, self._judge, finding, calls, timeout=timeout, max_tries=tries, met=met
        )

    def _short_timeout(self, finding: Finding) -> float | None:
        """A hang is given less time while it is minimised: a sequence that passes takes milliseconds."""
        return (
            min(self.options.timeout, max(0.25, self.options.timeout / 10)) if finding.oracle == "hang" else None
        )

    def _play_for(self, finding: Finding, calls: list[Call]) -> tuple[Finding, Run] | None:
        """Play once more at full length; the finding as it shows there, or None if it does not."""
        run = self._player.play(calls)
        for other in self._judge.findings(run):
            if other.bucket == finding.bucket:
                return other, run
        return None

    def _avoid_hang(self, found: Found) -> None:
        self._hangs += 1
        number = found.finding.number
        if number < len(found.calls):
            failing = found.calls[number]
            self._avoid += [failing, *(c for c in found.original if c.method == failing.method)][:50]
            self._avoid = self._avoid[-200:]

    # --- time ---------------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _seconds_left(self) -> float | None:
        return None if self.options.max_time is None else self.options.max_time - self._elapsed()

    def _tick(self) -> None:
        self.progress.seconds = self._elapsed()
        self._watch(self.progress)


_DEATHS_CONFIRMED = 25  # deaths that look alike are played again alone this often


class _FirstFailure(Exception):
    pass


def _levels(highest: Level) -> Iterator[Level]:
    """The levels of the batches, in turn; all up to the highest come, the highest most often."""
    pattern = {
        Level.CONFORMING: (Level.CONFORMING,),
        Level.LENIENT: (Level.LENIENT, Level.LENIENT, Level.CONFORMING),
        Level.HOSTILE: (
            Level.HOSTILE,
            Level.LENIENT,
            Level.HOSTILE,
            Level.CONFORMING,
            Level.LENIENT,
            Level.HOSTILE,
        ),
    }[highest]
    return itertools.cycle(pattern)
