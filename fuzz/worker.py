"""The job that a campaign's sandbox child does: batches of the engine on the target."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from fuzz.coverage import Coverage, coverage_for
from fuzz.engine import Batch, Engine
from recorder.calls import Call, Header, Trace
from recorder.contract import Level
from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.player import Journal
from replayer.target import load_target

__all__ = ["job", "pack_calls", "preload", "unpack_calls"]

_coverage: dict[str, Coverage] = {}


def preload(config: dict[str, Any]) -> None:
    """Import the target once, instrumented, in the process that workers are forked from."""
    _start_coverage(config["spec"])
    load_target(config["spec"], Interface.from_description(config["interface"]))


def _start_coverage(spec: str) -> Coverage:
    if spec not in _coverage:
        _coverage[spec] = coverage_for(spec.rpartition(":")[0])
        _coverage[spec].start()
    return _coverage[spec]


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker process: requests are maps with an "op"."""
    coverage = None
    if not config["native"]:
        coverage = _start_coverage(config["spec"])
    interface = Interface.from_description(config["interface"])
    target = load_target(config["spec"], interface)
    seeds = [list(load_trace(tape).calls) for tape in config["seeds"]]
    engine = Engine(
        target,
        seeds,
        seed=config["seed"],
        slow=config["slow"],
        novelty=coverage.novel if coverage else None,
        journal=journal,
    )
    worker = _Worker(engine, interface, coverage)
    return lambda request: getattr(worker, request["op"])(request)


class _Worker:
    """One method for each op."""

    def __init__(self, engine: Engine, interface: Interface, coverage: Coverage | None):
        self.engine = engine
        self.interface = interface
        self.coverage = coverage

    def keep(self, request: dict[str, Any]) -> int:
        """Take over what earlier workers found new."""
        for tape, mutators in request["fresh"]:
            self.engine.keep(unpack_calls(tape), mutators)
        self.engine.reweigh()
        return len(self.engine.kept)

    def avoid(self, request: dict[str, Any]) -> int:
        """Calls known to hang: sequences with them are left out."""
        self.engine.avoid.update((call.method, call.args) for call in unpack_calls(request["calls"]))
        return len(self.engine.avoid)

    def make(self, request: dict[str, Any]) -> bytes:
        """One sequence of a batch, made again without playing it."""
        calls = self.engine.sequence(request["number"], Level(request["level"]), request["size"], request["index"])
        return pack_calls(self.interface, calls)

    def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Play a batch, on a thread that is not the main one, as providers call."""
        left = request["seconds"]
        deadline = None if left is None else time.monotonic() + left
        level = Level(request["level"])
        part = {"start": request["start"], "until": request["until"]}
        batches: list[Batch] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                batches.append(
                    self.engine.run(request["number"], level, request["size"], deadline=deadline, **part)
                )
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="synctape-batch")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        batch = batches[0]
        for calls, mutators in batch.fresh:
            self.engine.keep(calls, mutators)
        self.engine.reweigh()
        return {
            "done": batch.done,
            "calls": batch.calls,
            "ended": batch.ended,
            "applied": dict(batch.applied),
            "fresh": [[pack_calls(self.interface, calls), mutators] for calls, mutators in batch.fresh],
            "suspects": [[s.index, pack_calls(self.interface, s.calls), s.signature] for s in batch.suspects],
            "covered": self.coverage.hit() if self.coverage else 0,
            "sites": (self.coverage.total() or 0) if self.coverage else 0,
        }


def pack_calls(interface: Interface, calls: Iterable[Call]) -> bytes:
    return dump_trace(Trace.from_calls(calls, Header(interface=interface, tick_ns=1)))


def unpack_calls(tape: bytes) -> list[Call]:
    return list(load_trace(tape).calls)
