"""Verdicts: what a replayed trace says about its target.

    status    an ordinary trace                      a regression (the fuzzer kept it for a finding)
    PASSED    nothing found                          found, but only beyond the level that counts
    FAILED    something found                        its finding is still there, or another one
    FIXED     -                                      nothing found any more
    ERROR     could not be replayed: no instance of the target, another interface, no call that could be made,
              calls that wait for others which come later in their order; of a regression also if what found it
              did not look, or not all of its calls were made

An ERROR says nothing about the target, good or bad, and is never taken for a pass.
"""

from __future__ import annotations

import enum
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recorder.calls import Call, Header, OutcomeKind, Trace
from recorder.contract import Level
from recorder.errors import TraceError
from recorder.interface import Interface, Method
from replayer.corpus import load
from replayer.endurance import GAUGES, LEAST
from replayer.isolation import Player
from replayer.locations import TraceFile
from replayer.oracles import Finding, Judge
from replayer.player import Run
from replayer.target import TargetError

__all__ = [
    "Judging",
    "Status",
    "Verdict",
    "mismatch",
    "replay_file",
    "replay_files",
    "replay_trace",
    "require_target",
]


class Status(enum.StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    FIXED = "fixed"
    ERROR = "error"


@dataclass(frozen=True)
class Verdict:
    """One trace's answer.

    `findings` count; those in `beyond` lie at a level beyond the one that was asked for.  `message` says in a
    line why it is FIXED or an ERROR, and of a FAILED regression what became of its finding.  `notes` are lines
    about the replay itself.  `excuse` says why the findings of one that PASSED do not count: they are known, or
    were not seen again.  `run` is None if nothing was played.
    """

    name: str
    status: Status
    findings: tuple[Finding, ...] = ()
    beyond: tuple[Finding, ...] = ()
    message: str = ""
    notes: tuple[str, ...] = ()
    run: Run | None = None
    seconds: float = 0.0
    path: TraceFile | None = None
    excuse: str = ""


@dataclass(frozen=True, slots=True)
class Judging:
    """What counts: the level up to which findings fail a trace, and what the oracles are told (see Judge)."""

    level: Level = Level.HOSTILE
    slow: float = 1.0
    match_results: bool = False
    disabled: frozenset[str] = frozenset()
    repeat: int = 1

    def judge(self, trace: Trace) -> Judge:
        recorded = trace if self.match_results else None
        return Judge.of(trace, slow=self.slow, recorded=recorded, disabled=self.disabled, repeat=self.repeat)


def require_target(player: Player) -> None:
    """Raises TargetError, in one line, if the player's target cannot be loaded or gives no instance."""
    player.play(Trace.from_calls((), Header(interface=player.interface)))


def replay_files(paths: Iterable[TraceFile], player: Player, judging: Judging | None = None) -> Iterator[Verdict]:
    """A verdict for each trace file, as it is played.  Raises ExecutorError if there is no child to play in."""
    for path in paths:
        yield replay_file(path, player, judging)


def replay_file(
    path: TraceFile,
    player: Player,
    judging: Judging | None = None,
    *,
    name: str = "",
    warn: Callable[[str], None] | None = None,
) -> Verdict:
    """Replay one file; one that is no trace is an ERROR.  `name`: how it is called in reports, else its path."""
    judging = judging or Judging()
    name = name or path.as_posix()
    try:
        trace = load(path, warn)
    except TraceError as error:
        return Verdict(name, Status.ERROR, message=_without(str(error), path), path=path)
    verdict = replay_trace(trace, player, judging.judge(trace), name=name, level=judging.level)
    damage = (f"damaged: {trace.damage}",) if trace.damage else ()
    return replace(verdict, notes=damage + verdict.notes, path=path)


def replay_trace(
    trace: Trace,
    player: Player,
    judge: Judge,
    *,
    name: str = "trace",
    level: Level = Level.HOSTILE,
    clock: Callable[[], float] = time.perf_counter,
) -> Verdict:
    """Play a trace and judge the run.  Raises ExecutorError if there is no child to play in."""
    why = mismatch(trace.interface, player.interface) or ("" if trace.calls else "has no calls")
    if why:
        return Verdict(name, Status.ERROR, message=why)
    started = clock()
    try:
        run = player.play(trace)
    except TargetError as error:
        return Verdict(name, Status.ERROR, message=str(error), seconds=clock() - started)
    verdict = _judged(Verdict(name, Status.PASSED, run=run), trace, run, judge, level)
    return replace(verdict, seconds=clock() - started)


def _judged(verdict: Verdict, trace: Trace, run: Run, judge: Judge, level: Level) -> Verdict:
    if run.unforced:
        return replace(verdict, status=Status.ERROR, message=f"its order cannot be kept: {run.unforced}")
    skipped = _not_made(run)
    if len(skipped) == len(trace.calls):
        message = f"none of its {len(skipped)} calls could be made: {skipped[0][1]}"
        return replace(verdict, status=Status.ERROR, message=message)
    findings = judge.findings(run)
    counted = tuple(f for f in findings if f.level <= level)
    verdict = replace(
        verdict,
        status=Status.FAILED if counted else Status.PASSED,
        findings=counted,
        beyond=tuple(f for f in findings if f.level > level),
        notes=_notes(skipped, trace),
    )
    kept = trace.header.provenance.get("finding")
    if isinstance(kept, Mapping):
        verdict = _regression(verdict, kept, judge)
    return replace(verdict, notes=(*verdict.notes, _NOT_JUDGED + run.unjudged)) if run.unjudged else verdict


_NOT_JUDGED = "whether its calls came to what they may is not known: "


def _regression(verdict: Verdict, kept: Mapping[Any, Any], judge: Judge) -> Verdict:
    """The verdict on a trace that was kept for a finding."""
    code, oracle = str(kept.get("code", "its finding")), kept.get("oracle")
    found = verdict.findings + verdict.beyond
    if any(f.code == code for f in found):
        return replace(verdict, message=f"{code} is still there")
    if found:
        others = ", ".join(dict.fromkeys(f.code for f in found))
        return replace(verdict, message=f"{code} is gone, but there is {others}")
    if oracle in judge.disabled:
        return replace(
            verdict, status=Status.ERROR, message=f"{code} was found by the oracle {oracle}, which is off"
        )
    if oracle == "mismatch" and judge.recorded is None:
        return replace(
            verdict, status=Status.ERROR, message=f"{code} shows only with the recorded answers matched"
        )
    if oracle in [gauge.oracle for gauge in GAUGES] and judge.repeat < LEAST:
        return replace(verdict, status=Status.ERROR, message=f"{code} shows only over many times (--repeat 1000)")
    if oracle in ("linearizability", "lost-update") and verdict.run is not None and verdict.run.unjudged:
        return replace(verdict, status=Status.ERROR, message=f"whether {code} is gone is not known")
    if verdict.notes:
        return replace(verdict, status=Status.ERROR, message=verdict.notes[0], notes=())
    unsure = ", if it is not chance: it was seen only now and then" if kept.get("flaky") else ""
    return replace(verdict, status=Status.FIXED, message=f"{code} is gone{unsure}")


def _not_made(run: Run) -> list[tuple[Call, str]]:
    """Calls that were not made, and why; what never came because the target was gone is not among them."""
    skipped = []
    for _, call, outcome in run.trace.played:
        if outcome is None or outcome.kind in (OutcomeKind.CRASHED, OutcomeKind.HUNG):
            break
        if outcome.kind is OutcomeKind.NOT_RUN:
            skipped.append((call, outcome.detail))
    return skipped


def _notes(skipped: list[tuple[Call, str]], trace: Trace) -> tuple[str, ...]:
    """A line on the calls of the protocol that were not made; a player makes none of IUnknown's."""
    reasons = [reason for call, reason in skipped if call.method not in trace.interface.unknown]
    if not reasons:
        return ()
    return (f"{len(reasons)} of {len(trace.calls)} calls could not be made: {reasons[0]}",)


def _without(message: str, path: TraceFile) -> str:
    """A reader's message without the file's name, which reports put before it anyway."""
    return message.removeprefix(f"{path}: ")


def mismatch(recorded: Interface, target: Interface) -> str:
    """Why calls recorded on one interface cannot be made on the other; "" if they can."""
    if recorded.iid != target.iid:
        return (
            f"was recorded from {recorded.name} {recorded.iid}, the target is used as {target.name} {target.iid}"
        )
    for ours, theirs in itertools.zip_longest(recorded.slots, target.slots):
        if _abi(ours) != _abi(theirs):
            name = (ours or theirs).name
            return f"describes {recorded.name} otherwise than the target's interface does: see {name}"
    return ""


def _abi(method: Method | None) -> object:
    """What both sides of a call must agree on: everything but the parameters' names and nullability."""
    if method is None:
        return None
    return method.name, method.returns, [(p.type, p.direction, p.pointer) for p in method.parameters]
