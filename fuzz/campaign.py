"""A campaign: replay the corpus and search, in turn, until the budget ends; judge, minimise and keep what fails.

The search runs in a sandboxed child (fuzz.search); whatever it suspects is played again alone, in a second child,
with every oracle looking (fuzz.triage).  Only what fails there is a finding.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fuzz.buckets import Found, write_finding
from fuzz.coverage import CoveredFile
from fuzz.pool import Alone, Batches, Jobs, Knowledge, Pool
from fuzz.progress import CampaignOptions, Progress, Summary
from fuzz.reached import reached_files
from fuzz.screen import ALIKE, TOOK_LONG
from fuzz.search import Fresh, Known, Played, search_plan
from fuzz.store import CampaignFolder
from fuzz.triage import Triage
from fuzz.worker import pack_calls, unpack_calls
from recorder.calls import Trace
from recorder.contract import contract_of
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from replayer.endurance import GAUGES
from replayer.isolation import Isolated, Limits
from replayer.oracles import Judge
from replayer.player import PlayOptions
from replayer.verdict import require_target

__all__ = ["Campaign", "CampaignOptions", "Progress", "Summary", "stop_word"]

_FIRST = 4  # traces of the corpus before the search begins, and after its first batch; then twice as many, ...
_AT_ONCE = 32  # ... up to so many; these are handed over at once
_QUICK = 0.1  # seconds for these


class Campaign:
    """One search for failures of one target.

    `seeds` are (name, trace).  Failures are written to `folder` (None: nowhere).  `watch` is called with the
    progress after each batch, `announce` with each failure when it is minimised and written.  `counts` says
    whether a failure is one to stop at, if the first one is.  `learned` is called with what came of each part of a
    batch.  `store` keeps the campaign: what it has kept and found before is gone on with (`stored`).  `warn` is
    told, on any thread, of searchers that it must do without.
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
        counts: Callable[[Found], bool] = lambda found: True,
        learned: Callable[[Played], None] = lambda played: None,
        store: CampaignFolder | None = None,
        warn: Callable[[str], None] = lambda line: None,
    ):
        self.spec = spec
        self.seeds = list(seeds)
        self.options = options or CampaignOptions()
        self.interface = interface
        self.folder = folder
        self.progress = store.progress if store else Progress()
        self.files: dict[str, Path] = {}
        self._watch = watch
        self._announce = announce
        self._counts = counts
        self._learned = learned
        self._warn = warn
        self._store = store
        self._gone: list[Found] = []
        self._place = store.replayed if store else 0  # in the corpus
        self._at_once = 1  # of its traces
        self._before = self.progress.seconds  # that the campaign took before it was gone on with
        self._knowledge = Knowledge(self._known, store.fresh if store else ())
        self.batches = Batches(self.options, self._knowledge, self._left, first=store.next if store else 0)
        self._grew: Counter[str] = Counter()  # how often an oracle of growth was asked

    @classmethod
    def stored(
        cls,
        store: CampaignFolder,
        *,
        watch: Callable[[Progress], None] = lambda progress: None,
        announce: Callable[[Found, Path | None], None] = lambda found, path: None,
        counts: Callable[[Found], bool] = lambda found: True,
        learned: Callable[[Played], None] = lambda played: None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> Campaign:
        """The campaign of a folder, to begin or to go on with."""
        return cls(
            store.spec,
            store.seeds,
            store.options,
            interface=store.interface,
            folder=store.findings,
            watch=watch,
            announce=announce,
            counts=counts,
            learned=learned,
            store=store,
            warn=warn,
        )

    @property
    def kept(self) -> list[Fresh]:
        """The sequences that brought something new, as they came."""
        return self._knowledge.since(0)

    def run(self) -> Summary:
        """Search.  Raises TargetError for a bad target, ExecutorError if a child cannot be started."""
        self._started = time.monotonic()
        options = self.options
        judge = Judge(contract_of(self.interface), slow=options.slow, disabled=options.disabled)
        limits = Limits(options.timeout, options.memory)
        stopped = "failed"
        played = PlayOptions(skip=tuple(options.disabled))
        with contextlib.ExitStack() as opened:
            player = opened.enter_context(Isolated(self.spec, self.interface, played, limits))
            player.prepare()
            pool = opened.enter_context(contextlib.closing(self._pool()))  # its children start meanwhile
            self._triage = Triage(player, judge, options, self.progress, tick=self._tick, kept=self._kept)
            try:
                require_target(player)
                self._started = time.monotonic()  # the budget is for searching, not for starting
                self._recall()
                self._replay_corpus(len(self.seeds) if options.corpus_first else _FIRST)
                stopped = self._search_on(pool)
                self._replay_corpus(len(self.seeds))
                self.progress.unplayed = sum(bool(trace.calls) for _, trace in self.seeds[self._place :])
            except _FirstFailure:
                stopped = "first failure"
            except KeyboardInterrupt as stop:
                stopped = stop_word(stop)
            finally:
                self._tick(stopped)
        return Summary(self.progress, list(self._triage.found.values()), stopped, self.files, self._gone)

    def _recall(self) -> None:
        """Take over the failures that were found before this campaign was gone on with, if they still fail."""
        for path, found in self._store.found if self._store else ():
            if self._triage.known(found):
                self.files[found.name] = path
            else:
                self._gone.append(found)

    def covered_files(self) -> list[CoveredFile]:
        """The target's files, with what the campaign has reached in them; to be asked when it has ended.

        All that it found is played again in a fresh child, but for calls that end it.  None of a target whose code
        is not measured.  Raises TargetError if the target gives no instance, ExecutorError if there is no child.
        """
        plan = search_plan(self.spec, self.interface, self.seeds, self.options)
        return reached_files(plan, self._known(self._knowledge.since(0)), self._triage.found.values())

    def _replay_corpus(self, most: int) -> None:
        """Go on with the corpus by so many traces, several at once while that is quick.

        A slow target is not to take more than its time.
        """
        end = min(self._place + most, len(self.seeds))
        while self._place < end and self._time_left(self.options.corpus_share):
            began = time.monotonic()
            traces = self.seeds[self._place : min(self._place + self._at_once, end)]
            self._triage.recorded([(name, trace) for name, trace in traces if trace.calls])
            self._place += len(traces)
            if self._store:
                self._store.replayed = self._place
            self._tick()
            quick = time.monotonic() - began < _QUICK and not self._triage.hangs
            self._at_once = min(2 * self._at_once, _AT_ONCE) if quick else 1

    def _kept(self, found: Found) -> None:
        path = write_finding(found, self.folder, self.interface, self.spec) if self.folder else None
        if path:
            self.files[found.name] = path
        self._announce(found, path)
        if self.options.exit_first and self._counts(found):
            raise _FirstFailure

    # --- the search ---------------------------------------------------------------------------------------------

    def _pool(self) -> Pool:
        options = self.options
        plan = search_plan(self.spec, self.interface, self.seeds, options)
        if options.cluster is not None:
            from fuzz.cluster import Cluster

            return Cluster(plan, self.batches, self._knowledge, options.cluster, self._warn)
        if options.jobs == 1:
            return Alone(plan, self.batches, self._knowledge)
        return Jobs(plan, self.batches, self._knowledge, options.jobs)

    def _search_on(self, pool: Pool) -> str:
        """Search, and between the batches go on with the corpus, by more and more traces."""
        turn = _FIRST
        with pool:
            try:
                for played in pool:
                    if played is not None:
                        self._count(played)
                        self._look_at(played)
                        self._replay_corpus(turn)
                        turn = min(2 * turn, _AT_ONCE)
                    self._tick()
            except (KeyboardInterrupt, SynctapeError):
                pool.close()
                for played in pool.rest():
                    self._count(played)
                raise
        return "runs" if self._time_left() else "time"

    def _known(self, fresh: Sequence[Fresh]) -> Known:
        """What a batch builds on that began when these sequences were known; asked for by any thread."""
        looking = (gauge.oracle for gauge in GAUGES if gauge.oracle not in self.options.disabled)
        growth = tuple(oracle for oracle in looking if self._grew[oracle] < ALIKE)
        return Known(fresh, pack_calls(self._triage.deadly), self._triage.hangs, growth)

    def _count(self, played: Played) -> None:
        """Add up what came of a part of a batch."""
        progress = self.progress
        if self._store:
            self._store.keep(played)
        self._learned(played)
        progress.runs += played.runs
        progress.calls += played.calls
        progress.ended += played.ended
        progress.levels[str(played.level)] += played.runs
        progress.states = max(progress.states, played.states)
        progress.applied.update(played.applied)
        progress.transitions.update(played.transitions)
        progress.covered, progress.sites = max(progress.covered, played.covered), max(progress.sites, played.sites)
        progress.deaths += played.lost
        progress.unconfirmed += played.lost
        for entry in played.fresh:
            progress.kept += 1
            progress.earned.update(entry[1])
            progress.last_new = self._before + self._elapsed()

    def _look_at(self, played: Played) -> None:
        """Look at the suspects of a part of a batch."""
        progress, origin = self.progress, f"batch {played.number}"
        for calls, signature in played.suspects:
            if self._triage.worth(signature):
                self._triage.suspect(unpack_calls(calls), origin, failed=not signature.startswith(TOOK_LONG))
        for calls, oracle in played.growing:
            self._grew[oracle] += 1
            self._triage.growing(unpack_calls(calls), origin)
        for calls, signature, most, _ in played.deaths:
            progress.runs += 1
            progress.deaths += 1
            progress.levels[str(played.level)] += 1
            if calls is not None and self._triage.worth(signature, most):
                self._triage.suspect(unpack_calls(calls), origin)

    # --- time ---------------------------------------------------------------------------------------------------

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _left(self, share: float = 1.0) -> float | None:
        """Seconds that are left of this share, None without a bound; asked for by any thread."""
        return None if self.options.max_time is None else self.options.max_time * share - self._elapsed()

    def _time_left(self, share: float = 1.0) -> bool:
        left = self._left(share)
        return left is None or left > 0

    def _tick(self, stopped: str = "") -> None:
        """Say how far it is; `stopped`: why it is over."""
        self.progress.seconds = self._before + self._elapsed()
        self.progress.note()
        if self._store:
            self._store.save(self.progress, self.batches.next, stopped=stopped)
        self._watch(self.progress)


def stop_word(stop: KeyboardInterrupt) -> str:
    """Ctrl-C is "interrupted"; what a SIGTERM was turned into, a subclass, is "terminated"."""
    return "interrupted" if type(stop) is KeyboardInterrupt else "terminated"


class _FirstFailure(Exception):
    pass
