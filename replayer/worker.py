"""The job that a sandbox child does for the player: play one trace on the target, or a batch of sequences.

A trace comes in the request, and its run goes back in the reply.  A batch comes in one shared list, and what came
of each of its sequences goes into another as soon as it has been played; the journal says which one is under way
(`position`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from recorder.calls import NOT_RUN, Outcome
from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.batches import pack_outcomes, unpack_calls
from replayer.player import Journal, Observation, PlayOptions, Run, play
from replayer.shared import SharedList
from replayer.target import Target, TargetError, load_target

__all__ = ["Numbered", "job", "pack_run", "position", "preload", "unpack_run"]


def preload(config: dict[str, Any]) -> None:
    """Import the target once, in the process that workers are forked from."""
    load_target(config["spec"], Interface.from_description(config["interface"]))


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker process.  Raises TargetError if the target gives no instance."""
    target = load_target(config["spec"], Interface.from_description(config["interface"]))
    if config.get("probe", True):
        instance = target.instance()
        instance.close()
        instance.handles.release()
        del instance
    options = PlayOptions(**config["options"])
    batches = _Batches(target, options, journal)

    def handle(payload: Any) -> Any:
        try:
            if isinstance(payload, dict):
                return batches.play(**payload)
            return pack_run(play(load_trace(payload), target, options, journal))
        except TargetError as error:
            return {"refused": str(error)}

    return handle


class Numbered:
    """A journal for one sequence of a batch: notes its number with the call's."""

    def __init__(self, journal: Journal, sequence: int):
        self._note = journal.note
        self._sequence = sequence << 32

    def note(self, a: int, b: int) -> None:
        self._note(a, self._sequence | b)


def position(noted: tuple[int, int]) -> tuple[int, int, int]:
    """A journal's position as phase, number of the sequence (0 outside of batches) and number of the call."""
    return noted[0], noted[1] >> 32, noted[1] & 0xFFFFFFFF


class _Batches:
    """Plays batches of one pair of shared lists after the other."""

    def __init__(self, target: Target, options: PlayOptions, journal: Journal):
        self._target = target
        self._options = options
        self._journal = journal
        self._paths: tuple[str, str] = "", ""
        self._lists: tuple[SharedList, ...] = ()

    def play(self, sequences: str, results: str, start: int) -> None:
        """Play the sequences from number `start` on, adding what came of each to the results."""
        if self._paths != (sequences, results):
            self._paths = sequences, results
            self._lists = SharedList(sequences), SharedList(results)
        given, out = self._lists
        for number, blob in enumerate(given):
            if number >= start:
                calls = unpack_calls(blob, self._target.interface)
                run = play(calls, self._target, self._options, Numbered(self._journal, number))
                out.append(pack_outcomes(_outcomes(run), run.observations))


def _outcomes(run: Run) -> list[Outcome]:
    return [outcome or NOT_RUN for _, _, outcome in run.trace.played]


def pack_run(run: Run) -> dict[str, Any]:
    """A run as plain values."""
    return {"trace": dump_trace(run.trace), "seen": [list(asdict(seen).values()) for seen in run.observations]}


def unpack_run(packed: dict[str, Any]) -> Run:
    """Raises TargetError if the target gave no instance."""
    if "refused" in packed:
        raise TargetError(packed["refused"])
    return Run(load_trace(packed["trace"]), tuple(Observation(*seen) for seen in packed["seen"]))
