"""The job that a campaign's sandbox child does: batches of the engine on the target."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from fuzz.coverage import Coverage, coverage_for
from fuzz.engine import Batch, Engine
from recorder.calls import Call, Handle
from recorder.contract import Level
from recorder.interface import Interface
from replayer.sandbox_child import Journal
from replayer.target import TargetError, load_target

__all__ = ["job", "pack_calls", "preload", "unpack_calls"]

_WATCH_SECONDS = 0.02  # between two looks at whether a call ends
_coverage: dict[str, Coverage] = {}
_seeds: list[list[Call]] = []


def preload(config: dict[str, Any]) -> None:
    """Do once, in the process that workers are forked from, what takes long: a worker may not live long."""
    interface = Interface.from_description(config["interface"])
    if not config["native"]:
        _start_coverage(config["spec"])
    load_target(config["spec"], interface)
    _seeds[:] = map(unpack_calls, config["seeds"])


def _start_coverage(spec: str) -> Coverage:
    if spec not in _coverage:
        _coverage[spec] = coverage_for(spec.rpartition(":")[0])
        _coverage[spec].start()
    return _coverage[spec]


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker process: requests are maps with an "op".

    Where the target gives no instance any more, the reply is {"refused": why}.
    """
    coverage = _coverage.get(config["spec"])
    interface = Interface.from_description(config["interface"])
    engine = Engine(
        load_target(config["spec"], interface),
        _seeds,
        seed=config["seed"],
        slow=config["slow"],
        novelty=coverage.novel if coverage else None,
        journal=journal,
    )
    worker = _Worker(engine, coverage, journal)

    def handle(request: dict[str, Any]) -> Any:
        try:
            worker.learn(request)
            return getattr(worker, request["op"])(request)
        except TargetError as error:
            return {"refused": str(error)}

    return handle


class _Worker:
    """One method for each op."""

    def __init__(self, engine: Engine, coverage: Coverage | None, journal: Journal):
        self.engine = engine
        self.coverage = coverage
        self.journal = journal

    def learn(self, request: dict[str, Any]) -> None:
        """Take over what earlier batches found new, and calls that hang or kill by themselves."""
        if request["fresh"]:
            self.engine.restore((unpack_calls(calls), mutators) for calls, mutators in request["fresh"])
        if request["deadly"]:
            self.engine.avoid.update((call.method, call.args) for call in unpack_calls(request["deadly"]))

    def make(self, request: dict[str, Any]) -> list[Any]:
        """One sequence of a batch, made again without playing it."""
        calls = self.engine.sequence(request["number"], Level(request["level"]), request["size"], request["index"])
        return pack_calls(calls)

    def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Play a batch, on a thread that is not the main one, as providers call."""
        batch = self._played(request)
        return {
            "done": batch.done,
            "calls": batch.calls,
            "ended": batch.ended,
            "applied": dict(batch.applied),
            "fresh": [[pack_calls(calls), mutators] for calls, mutators in batch.fresh],
            "suspects": [[pack_calls(s.calls), s.signature] for s in batch.suspects],
            "covered": self.coverage.hit() if self.coverage else 0,
            "sites": (self.coverage.total() or 0) if self.coverage else 0,
        }

    def _played(self, request: dict[str, Any]) -> Batch:
        left = request["seconds"]
        deadline = None if left is None else time.monotonic() + left
        number, level, size = request["number"], Level(request["level"]), request["size"]
        self.engine.screen.patience = request["patience"]
        part = {"start": request["start"], "until": request["until"]}
        ends: list[Batch | BaseException] = []

        def work() -> None:
            try:
                ends.append(self.engine.run(number, level, size, deadline=deadline, **part))
            except BaseException as error:
                ends.append(error)

        thread = threading.Thread(target=work, name="synctape-batch")
        thread.start()
        self._watch(thread)
        (end,) = ends
        if isinstance(end, Batch):
            return end
        if isinstance(end, MemoryError) or not isinstance(end, Exception):
            os._exit(1)  # the target has taken all there is, or a call ended just when it was to be stopped
        raise end

    def _watch(self, thread: threading.Thread) -> None:
        """Wait for the batch, and stop calls in it that do not end."""
        position, since = self.journal.position, time.monotonic()
        while thread.is_alive():
            thread.join(_WATCH_SECONDS)
            now = time.monotonic()
            if self.journal.position != position:
                position, since = self.journal.position, now
            elif thread.ident is not None:
                self.engine.screen.stop(thread.ident, now - since)


def pack_calls(calls: Iterable[Call]) -> list[Any]:
    """Calls as msgpack takes them, without their times; arguments are what `engine.bases` lets through."""
    return [(call.method, call.args, call.thread) for call in calls]


def unpack_calls(packed: Iterable[Any]) -> list[Call]:
    return [
        Call(method, tuple([Handle(*a) if a.__class__ is list else a for a in args]), thread)
        for method, args, thread in packed
    ]
