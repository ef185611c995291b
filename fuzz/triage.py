"""Triage: suspects are played again alone, with every oracle looking; what fails then is minimised and kept.

One failure is kept for each bucket, the one at the lowest level.  Minimising may meet others, which are taken in
hand after it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fuzz.buckets import Found
from fuzz.minimise import minimise_finding, moment_of, shows_alone
from fuzz.progress import CampaignOptions, Progress
from fuzz.recorded_order import without_order
from fuzz.scheduled import Scheduled, scheduled_trace
from fuzz.schedules import is_scheduled
from fuzz.screen import ALIKE
from recorder.calls import Call, Trace
from replayer.endurance import GAUGES, LEAST
from replayer.isolation import Isolated, Player, Repeating
from replayer.oracles import Finding, Judge
from replayer.order import is_ordered
from replayer.player import Run

__all__ = ["Triage"]

_ENDS_PROCESS = ("crash", "data-race", "exit", "hang", "memory", "sanitizer")
_REPLAY_SLOW, _REPLAY_TIMEOUT = 1.0, 5.0  # seconds, where `synctape replay` is told nothing else
_GROWTH = tuple(gauge.oracle for gauge in GAUGES)
_OFTEN, _REPLAY_OFTEN = 200, 1000  # times that a sequence is played to see what it leaves behind
_OFTEN_SECONDS = 10.0  # that this is to take: of a slow target fewer times have to do
_TRIES_OF_A_HANG = 3  # each may take seconds
_GRACE_SECONDS = 10.0  # beyond the campaign's time for what is being minimised when that is over

Bucket = tuple[str, str, str]


@dataclass(slots=True)
class _Failure:
    """A finding and the sequence on which it was seen; `scheduled`: whose threads are played at the same time."""

    finding: Finding
    calls: list[Call]
    run: Run
    origin: str
    original: list[Call]
    scheduled: bool = False


class Triage:
    """Says what suspects are.  `kept` is told of each failure when it is minimised.

    `found` holds the failures by bucket, `deadly` the calls that hang or kill by themselves, which only become
    more, and `hangs` says whether a hang is known: then others need not be waited for as long.  Other threads may
    read these two.
    """

    def __init__(
        self,
        player: Isolated,
        judge: Judge,
        options: CampaignOptions,
        progress: Progress,
        *,
        tick: Callable[[], None],
        kept: Callable[[Found], None],
    ):
        self.found: dict[Bucket, Found] = {}
        self.deadly: list[Call] = []
        self.hangs = False
        self._player = player
        self._judge = judge
        self._options = options
        self._progress = progress
        self._tick = tick
        self._kept = kept
        self._looked: Counter[str] = Counter()
        self._waiting: dict[Bucket, _Failure] = {}
        self._often = _OFTEN
        self._ends: float | None = None
        if options.max_time is not None:
            self._ends = time.monotonic() + options.max_time + _GRACE_SECONDS
        self._moment = moment_of(options.timeout)

    def recorded(self, traces: Sequence[tuple[str, Trace]]) -> None:
        """Traces of the corpus, played as they are: handed over at once, which takes a fraction of the time."""
        timeout = self._moment if self.hangs else None
        runs = self._player.play_many([trace for _, trace in traces], timeout=timeout)
        for (name, trace), played in zip(traces, runs, strict=True):
            self._progress.corpus += 1
            run, findings = played, self._judge.findings(played)
            if timeout is not None and self._has_new_hang(findings):
                run, findings = self._look(trace)
            scheduled = trace.header.scheduled
            if findings and is_ordered(trace):
                shown = without_order(self._player, self._judge, findings[0], trace, run)
                if shown is not None:
                    run, scheduled = shown
                    findings = self._judge.findings(run)
            self._take(findings, list((run.trace if scheduled else trace).calls), run, name, scheduled=scheduled)

    def known(self, found: Found) -> bool:
        """Take over a failure of before, if it still fails; whether it does."""
        player = self._player_for(found.finding, scheduled=found.needs_schedule)
        for _ in range(self._options.tries if found.flaky else 2):
            run = player.play(found.calls)
            if any(finding.bucket == found.finding.bucket for finding in self._judge.findings(run)):
                found.run, found.known = run, True
                self._add(found)
                return True
        return False

    def worth(self, signature: str, most: int = ALIKE) -> bool:
        """Whether trouble of this signature is worth a closer look, and counts it."""
        self._looked[signature] += 1
        return self._looked[signature] <= most

    def suspect(self, calls: list[Call], origin: str, *, failed: bool = True) -> None:
        """Play a suspect alone; what fails then is a failure.  What does not fail again is only counted.

        One that had not `failed` only took long, which chance may have it do: it is not counted, either.
        """
        scheduled = self._options.threads > 1 and is_scheduled(calls)
        sequence = scheduled_trace(calls, self._player.interface) if scheduled else calls
        for _ in range(self._options.tries if failed else 1):
            run, findings = self._look(sequence)
            if findings:  # which number scheduled calls as they were entered
                self._take(findings, list(run.trace.calls), run, origin, scheduled=scheduled)
                return
        self._progress.unconfirmed += failed

    def growing(self, calls: list[Call], origin: str) -> None:
        """Play a suspect so often that what it leaves behind shows, twice: a new process fills up at first."""
        started = time.monotonic()
        self._player.play(calls)
        self._often = max(LEAST, min(_OFTEN, int(_OFTEN_SECONDS / (time.monotonic() - started + 1e-6))))
        for _ in range(2):
            run = self._player.play_repeatedly(calls, self._often)
            findings = [f for f in self._judge.findings(run) if f.oracle in _GROWTH]
            if not findings:
                return
        self._take(findings, calls, run, origin)

    def _look(self, calls: list[Call] | Trace) -> tuple[Run, list[Finding]]:
        """Play alone.  A known hang needs only a moment to be seen again; a new one gets its full time."""
        if self.hangs:
            run = self._player.play(calls, timeout=self._moment)
            findings = self._judge.findings(run)
            if not self._has_new_hang(findings):
                return run, findings
        run = self._player.play(calls)
        return run, self._judge.findings(run)

    def _has_new_hang(self, findings: Iterable[Finding]) -> bool:
        return any(f.oracle == "hang" and f.bucket not in self.found for f in findings)

    def _take(
        self,
        findings: Iterable[Finding],
        calls: list[Call],
        run: Run,
        origin: str,
        *,
        scheduled: bool = False,
    ) -> None:
        """Count what is known, and minimise and keep what is not, and what that meets."""
        for finding in findings:
            self._note(_Failure(finding, calls, run, origin, calls, scheduled))
        try:
            while self._waiting:
                bucket, failure = next(iter(self._waiting.items()))
                self._keep(failure)
                del self._waiting[bucket]
        except KeyboardInterrupt:  # what was seen is not lost, though it is not minimal
            for bucket, failure in self._waiting.items():
                known = self.found.get(bucket)
                if known is None or known.finding.level > failure.finding.level:
                    known = self._found(failure)
                self._kept(known)
            raise

    def _note(self, failure: _Failure) -> None:
        finding = failure.finding
        known, waiting = self.found.get(finding.bucket), self._waiting.get(finding.bucket)
        if finding.level > self._options.level:
            return
        if known is not None and known.finding.level <= finding.level:
            known.count += 1
            self._learn(known, failure)
        elif waiting is None or waiting.finding.level > finding.level:
            self._waiting[finding.bucket] = failure

    def _found(self, failure: _Failure) -> Found:
        """The failure as it is known from now on; if it was seen at a higher level, the first sight counts."""
        progress, bucket = self._progress, failure.finding.bucket
        found = Found(
            failure.finding,
            failure.calls,
            failure.original,
            progress.seconds,
            progress.runs + progress.corpus,
            failure.origin,
            run=failure.run,
            options=_replay_options(failure.finding, self._options),
            scheduled=failure.scheduled,
        )
        if before := self.found.get(bucket):
            found.seconds, found.executions, found.count = before.seconds, before.executions, before.count + 1
        self._add(found)
        progress.last_new = progress.seconds
        return found

    def _add(self, found: Found) -> None:
        self.found[found.finding.bucket] = found
        self.hangs |= found.finding.oracle == "hang"
        self._progress.failures = len(self.found)

    def _keep(self, failure: _Failure) -> None:
        """Minimise a failure, at a lower level if it shows there on the way."""
        self._tick()
        found = self._found(failure)
        while lower := self._minimise(failure, found):
            failure, found = lower, self._found(lower)
        if not found.failed and found.calls != found.original:
            self._put_back(found, failure)
        if found.scheduled:
            player = self._player_for(found.finding, scheduled=False)
            found.alone = shows_alone(player, self._judge, found.finding, found.calls, self._moment)
        self._learn(found, failure)
        self._kept(found)

    def _put_back(self, found: Found, failure: _Failure) -> None:
        """What is minimal does not fail again: chance had it.  The sequence as it was found may."""
        minimal, finding, run, tries = found.calls, found.finding, found.run, found.tries
        found.calls = _lived(failure, failure.finding, failure.calls)
        self._fails_again(found, finding)
        if not found.failed:
            found.calls, found.finding, found.run, found.tries = minimal, finding, run, found.tries + tries

    def _minimise(self, failure: _Failure, found: Found) -> _Failure | None:
        """Minimise; the failure at a lower level if it shows there."""
        moments = (self._moment, None) if failure.finding.oracle == "hang" else (None,)
        try:
            for moment in moments:
                self._shrink(failure, found, moment)
                if self._fails_again(found, failure.finding):
                    break
        except _LowerLevel as lower:
            return lower.failure
        return None

    def _fails_again(self, found: Found, finding: Finding) -> bool:
        """Play what was found at full length: twice, since once may be chance; a hang, which takes long, once.

        What does not fail each time is played on, to tell how often it does.
        """
        hang = finding.oracle == "hang"
        enough, most = (1, min(self._options.tries, _TRIES_OF_A_HANG)) if hang else (2, self._options.tries)
        player, found.failed, found.tries = self._player_for(finding, scheduled=found.scheduled), 0, 0
        while found.tries < max(most, enough) and not (found.failed == found.tries >= enough):
            if found.tries >= enough and self._is_over():
                break
            run = player.play(found.calls)
            found.tries += 1
            if again := [f for f in self._judge.findings(run) if f.bucket == finding.bucket]:
                found.failed += 1
                found.finding, found.run = again[0], run
        found.flaky = found.failed < found.tries
        return not found.flaky

    def _is_over(self) -> bool:
        return self._ends is not None and time.monotonic() > self._ends

    def _player_for(self, finding: Finding, *, scheduled: bool) -> Player:
        """A player that shows a finding: one of growth shows only when a sequence is played over and over."""
        player: Player = Repeating(self._player, self._often) if finding.oracle in _GROWTH else self._player
        return Scheduled(player) if scheduled else player

    def _shrink(self, failure: _Failure, found: Found, timeout: float | None) -> None:
        bucket, level = failure.finding.bucket, failure.finding.level

        def took(finding: Finding, candidate: list[Call], run: Run) -> None:
            found.finding, found.calls, found.run = finding, _lived(failure, finding, candidate), run

        def met(other: Finding, candidate: list[Call], run: Run) -> None:
            seen = _Failure(other, candidate, run, failure.origin, failure.original, failure.scheduled)
            known = self.found.get(other.bucket)
            if other.bucket == bucket and other.level < level:
                raise _LowerLevel(seen)
            if other.oracle == "hang" and timeout is not None:  # it only had a moment
                return
            if known is None or other.level < known.finding.level:
                self._note(seen)

        minimise_finding(
            self._player_for(failure.finding, scheduled=failure.scheduled),
            self._judge,
            failure.finding,
            failure.calls,
            timeout=timeout,
            max_tries=self._options.minimise_tries,
            deadline=self._ends,
            scheduled=failure.scheduled,
            took=took,
            met=met,
        )

    def _learn(self, found: Found, failure: _Failure) -> None:
        """A call that ends or hangs the process all by itself does so in every sequence: better leave it out."""
        number = failure.finding.number
        if found.finding.oracle in _ENDS_PROCESS and len(found.calls) == 1 and number < len(failure.calls):
            self.deadly += [call for call in (found.calls[0], failure.calls[number]) if call not in self.deadly]


def _lived(failure: _Failure, finding: Finding, calls: list[Call]) -> list[Call]:
    """The calls that were made: none after the one that ended or hung the process, but on other threads."""
    ended = finding.oracle in _ENDS_PROCESS and not failure.scheduled
    return calls[: finding.number + 1] if ended else calls


def _replay_options(finding: Finding, options: CampaignOptions) -> tuple[str, ...]:
    """Options without which a replay, by its defaults, would not see the finding."""
    if finding.oracle == "slow" and options.slow != _REPLAY_SLOW:
        return ("--slow", f"{options.slow:g}")
    if finding.oracle == "hang" and options.timeout != _REPLAY_TIMEOUT:
        return ("--timeout", f"{options.timeout:g}")
    if finding.oracle in _GROWTH:
        return ("--repeat", str(_REPLAY_OFTEN))
    if finding.oracle == "memory" and options.memory is not None:
        return ("--memory", str(options.memory))
    return ()


class _LowerLevel(Exception):
    """The failure shows at a lower level, too."""

    def __init__(self, failure: _Failure):
        self.failure = failure
        super().__init__(failure.finding.level)
