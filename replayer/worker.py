"""The job that a sandbox child does for the player: play one trace on the target, or a batch of sequences.

A trace comes in the request, with a number if it is to be played so often, and its run goes back in the reply.  So
does the answer to one question that a native object may die of (WITHOUT_PPV).  A batch comes in one shared list,
and what came of each of its sequences goes into another as soon as it has been played, by the player or by a
screening; the journal says which one is under way (replayer.batches.position).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from recorder.calls import NOT_RUN, Outcome
from recorder.contract import contract_of
from recorder.endings import give_in
from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.batches import Numbered, pack_outcomes, unpack_calls
from replayer.endurance import is_worn, make_room, play_repeatedly
from replayer.identity import ask_without_ppv
from replayer.player import Observation, Phase, PlayOptions, Run
from replayer.sandbox_child import Journal
from replayer.scaling import play_and_weigh
from replayer.scheduler import HandOver
from replayer.screening import Screening
from replayer.shared import SharedList
from replayer.target import NativeTarget, Target, TargetError, load_target

__all__ = ["WITHOUT_PPV", "job", "pack_run", "preload", "unpack_run"]

WITHOUT_PPV = "QueryInterface with a NULL ppv"
"""The request to ask just that, of a fresh instance."""

_WEARS_AFTER = 256  # requests between two looks at whether the process is worn


def preload(config: dict[str, Any]) -> None:
    """Do once, in the process that workers are forked from, what takes them long: above all import the target."""
    interface = Interface.from_description(config["interface"])
    contract_of(interface)
    load_target(config["spec"], interface)


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker process.  Raises TargetError if the target gives no instance."""
    make_room()
    target = load_target(config["spec"], Interface.from_description(config["interface"]))
    if config.get("probe", True):
        try:
            instance = target.instance()
        except TargetError as error:
            give_in(error.__context__)  # what the factory raised
            raise
        instance.close()
        instance.handles.release()
        del instance
    options = PlayOptions(**config["options"])
    batches = _Batches(target, options, journal)
    if config.get("screening"):
        batches.be_ready_to_screen()

    asked = itertools.count(1)

    def handle(payload: Any) -> Any:
        worn = next(asked) % _WEARS_AFTER == 0
        try:
            if payload == WITHOUT_PPV:
                return _ask_without_ppv(target, journal)
            if isinstance(payload, dict):
                return batches.take(**payload)
            if isinstance(payload, list):
                packed, times = payload
                run = play_repeatedly(load_trace(packed), target, options, journal, times=times)
                return pack_run(run, worn=is_worn())
            run = play_and_weigh(load_trace(payload), target, options, journal)
            return pack_run(run, worn=worn and is_worn())
        except TargetError as error:
            return {"refused": str(error)}

    return handle


def _ask_without_ppv(target: Target, journal: Journal) -> list[str]:
    """The rule and what is wrong, if anything is; the process may die of the question."""
    if not target.native:
        return []
    instance = target.instance()
    journal.note(Phase.ASKING, 0)
    try:
        breach = ask_without_ppv(instance.pointer, target.interface)
    except OSError as error:
        give_in(error)  # a fault ends the process, also where ctypes has caught it
        raise
    instance.close()
    return [breach.rule, breach.message] if breach else []


class _Batches:
    """Plays batches that are in pairs of shared lists."""

    def __init__(self, target: Target, options: PlayOptions, journal: Journal):
        self._target = target
        self._options = options
        self._journal = journal
        self._screening: Screening | None = None
        self._lists: dict[tuple[str, str], tuple[SharedList, SharedList]] = {}  # by their paths

    def take(self, sequences: str, results: str, start: int, screen: bool) -> None:
        """Play, or screen, the sequences from number `start` on, adding what came of each to the results."""
        if (sequences, results) not in self._lists:
            self._lists[sequences, results] = SharedList(sequences), SharedList(results)
        given, out = self._lists[sequences, results]
        if screen:
            self._screen(given, out, start)
        else:
            self._play(given, out, start)

    def _play(self, given: SharedList, out: SharedList, start: int) -> None:
        for number, blob in enumerate(given):
            if number >= start:
                calls = unpack_calls(blob, self._target.interface)
                journal = Numbered(self._journal, number)
                run = play_and_weigh(calls, self._target, self._options, journal)
                out.append(pack_outcomes(_outcomes(run), run.observations))

    def _screen(self, given: SharedList, out: SharedList, start: int) -> None:
        self.be_ready_to_screen().play(given, out, start)

    def be_ready_to_screen(self) -> Screening:
        if self._screening is None:
            assert isinstance(self._target, NativeTarget)
            self._screening = Screening(self._target, self._journal)
        return self._screening


def _outcomes(run: Run) -> list[Outcome]:
    return [outcome or NOT_RUN for _, _, outcome in run.trace.played]


def pack_run(run: Run, *, worn: bool = False) -> dict[str, Any]:
    """A run as plain values.  `worn`: another process should play the next one."""
    seen = [list(asdict(seen).values()) for seen in run.observations]
    packed = {"trace": dump_trace(run.trace), "seen": seen, "worn": worn}
    if run.trace.header.scheduled or run.steps:
        packed |= {"schedule": run.schedule, "steps": run.steps, "stack": run.stack, "worn": worn or run.held}
    return packed


def unpack_run(packed: dict[str, Any]) -> Run:
    """Raises TargetError if the target gave no instance."""
    if "refused" in packed:
        raise TargetError(packed["refused"])
    return Run(
        load_trace(packed["trace"]),
        tuple(Observation(*seen) for seen in packed["seen"]),
        packed.get("stack", ""),
        schedule=tuple(HandOver(*handed) for handed in packed.get("schedule", ())),
        steps=tuple(packed.get("steps", ())),
    )
