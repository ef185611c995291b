"""The job that a sandbox child does for the player: play one trace on the target, send back the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.player import Journal, Observation, PlayOptions, Run, play
from replayer.target import TargetError, load_target

__all__ = ["job", "pack_run", "preload", "unpack_run"]


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

    def handle(payload: Any) -> Any:
        try:
            return pack_run(play(load_trace(payload), target, options, journal))
        except TargetError as error:
            return {"refused": str(error)}

    return handle


def pack_run(run: Run) -> dict[str, Any]:
    """A run as plain values."""
    return {"trace": dump_trace(run.trace), "seen": [list(asdict(seen).values()) for seen in run.observations]}


def unpack_run(packed: dict[str, Any]) -> Run:
    """Raises TargetError if the target gave no instance."""
    if "refused" in packed:
        raise TargetError(packed["refused"])
    return Run(load_trace(packed["trace"]), tuple(Observation(*seen) for seen in packed["seen"]))
