"""The job that a campaign's sandbox child does: batches of the engine on the target."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fuzz.coverage import Coverage, coverage_for
from fuzz.engine import TRIES_SHIFT, Batch, Engine
from fuzz.growth import SOME, due, left_in_python
from fuzz.native import TAKEN_OVER, NativeBatches
from fuzz.schedule import Kept
from fuzz.thread_engine import ThreadEngine
from fuzz.words import words_in
from recorder.calls import Call, Handle
from recorder.contract import Level
from recorder.interface import Interface
from replayer.endurance import is_worn, make_room
from replayer.sandbox_child import Journal
from replayer.shared import SharedList
from replayer.target import NativeTarget, TargetError, is_library_spec, load_target

__all__ = ["job", "pack_calls", "pack_kept", "preload", "unpack_calls", "unpack_kept"]

_WATCH_SECONDS = 0.02  # between two looks at whether a call ends
_coverage: dict[str, Coverage] = {}
_seeds: list[list[Call]] = []
_words: list[str] = []  # that a native library knows


def preload(config: dict[str, Any]) -> None:
    """Do once, in the process that workers are forked from, what takes long: a worker may not live long."""
    interface = Interface.from_description(config["interface"])
    if not config["native"] and config["threads"] == 1:  # marks would be steps of the target's code
        _start_coverage(config["spec"], config["cover"])
    load_target(config["spec"], interface)
    if config["spec"] in _coverage:
        _coverage[config["spec"]].prepare_comparisons()
    if is_library_spec(config["spec"]):
        _words[:] = words_in(Path(config["spec"].rpartition(":")[0]))
    _seeds[:] = map(unpack_calls, config["seeds"])


def _start_coverage(spec: str, extra: Sequence[str]) -> Coverage:
    if spec not in _coverage:
        _coverage[spec] = coverage_for(spec.rpartition(":")[0], extra=extra)
        _coverage[spec].start()
    return _coverage[spec]


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker process: requests are maps with an "op".

    Where the target gives no instance any more, the reply is {"refused": why}.
    """
    coverage = _coverage.get(config["spec"])
    interface = Interface.from_description(config["interface"])
    about = {
        "seed": config["seed"],
        "slow": config["slow"],
        "coverage": coverage,
        "journal": journal,
        "retained": config["retained"],
        "disabled": config["disabled"],
    }
    target, threads = load_target(config["spec"], interface), config["threads"]
    engine = (
        ThreadEngine(target, _seeds, threads=threads, **about) if threads > 1 else Engine(target, _seeds, **about)
    )
    worker = _Worker(engine, coverage, journal)
    make_room()
    if config["native"]:
        engine.environment.learn_values((), _words)
    if config["native"] and threads == 1:
        assert isinstance(engine.target, NativeTarget)
        lists = SharedList(config["sequences"]), SharedList(config["results"])
        worker = _NativeWorker(engine, journal, NativeBatches(engine, engine.target, journal, *lists))

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
            fresh = map(self.engine.as_played, map(unpack_kept, request["fresh"]))
            self.restore(fresh, request["harmful"])
        if request["deadly"]:
            self.engine.avoid.update((call.method, call.args) for call in unpack_calls(request["deadly"]))

    def restore(self, fresh: Iterable[Kept], harmful: list[int]) -> None:
        self.engine.restore(fresh)

    def make(self, request: dict[str, Any]) -> list[Any]:
        """One sequence of a batch, made again without playing it."""
        calls = self.engine.sequence(request["number"], Level(request["level"]), request["size"], request["index"])
        return pack_calls(calls)

    def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        """Play a batch, on a thread that is not the main one, as providers call."""
        batch = self._played(request)
        reply = self._told(batch)
        alone = self.engine.plays_alone(Level(request["level"]))
        if request["growth"] and due(request["number"]) and alone:
            growing = _on_a_thread(lambda: self._growing(request), self._watch)
            reply["growing"] = [[pack_calls(calls), oracle] for calls, oracle in growing]
        reply["worn"], reply["next"] = batch.next is not None or is_worn(), batch.next
        return reply

    def _growing(self, request: dict[str, Any]) -> list[tuple[list[Call], str]]:
        """Sequences from all over a batch that leave something behind, each with the oracle that will say so."""
        number, level, size = request["number"], Level(request["level"]), request["size"]
        tries = itertools.count(1)
        indices: dict[int, int] = {}

        def made() -> Iterator[list[Call]]:
            avoid, step, env = self.engine.avoid, max(1, size // SOME), self.engine.environment
            for index, calls in self.engine.sequences(number, level, size):
                if index % step or not request["start"] <= index < request["until"] or env.threaded:
                    continue
                if not any((call.method, call.args) in avoid for call in calls):
                    indices[id(calls)] = index
                    yield calls

        def note(calls: list[Call]) -> None:
            self.journal.note(number, indices[id(calls)] | next(tries) << TRIES_SHIFT)

        return left_in_python(self.engine.screen, made(), request["growth"], note)

    def files(self, request: dict[str, Any]) -> list[Any]:
        """What the seeds, what was found new, and these sequences reach, as `Coverage.files` gives it.

        Nothing of a target whose code is not measured.
        """
        if self.coverage is None:
            return []
        with self.engine.screen.watching():
            for calls in [*self.engine.seeds, *map(unpack_calls, request["sequences"])]:
                self.engine.screen.play(calls)
        return self.coverage.files()

    def _told(self, batch: Batch) -> dict[str, Any]:
        return {
            "done": batch.done,
            "calls": batch.calls,
            "ended": batch.ended,
            "applied": dict(batch.applied),
            "fresh": list(map(pack_kept, batch.fresh)),
            "suspects": [[pack_calls(s.calls), s.signature] for s in batch.suspects],
            "transitions": [[*step, times] for step, times in batch.transitions.items()],
            "states": self.engine.states,
            "covered": self.coverage.hit() if self.coverage else 0,
            "sites": (self.coverage.total() or 0) if self.coverage else 0,
        }

    def _played(self, request: dict[str, Any]) -> Batch:
        left = request["seconds"]
        deadline = None if left is None else time.monotonic() + left
        number, level, size = request["number"], Level(request["level"]), request["size"]
        self.engine.screen.patience = request["patience"]
        part = {"start": request["start"], "until": request["until"]}
        return _on_a_thread(lambda: self.engine.run(number, level, size, deadline=deadline, **part), self._watch)

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


class _NativeWorker(_Worker):
    """The same for a native target, whose batches are in shared lists.

    `rest` goes on with a batch in which a process died, `judge` only says what it has come to.
    """

    def __init__(self, engine: Engine, journal: Journal, batches: NativeBatches):
        super().__init__(engine, None, journal)
        self.batches = batches

    def learn(self, request: dict[str, Any]) -> None:
        self.batches.deadly.update(number - TAKEN_OVER for number in request["harmful"] if number >= TAKEN_OVER)
        super().learn(request)

    def restore(self, fresh: Iterable[Kept], harmful: list[int]) -> None:
        self.batches.restore(fresh, harmful)

    def batch(self, request: dict[str, Any]) -> dict[str, Any]:
        level = Level(request["level"])
        self.batches.make(request["number"], level, request["size"], request["start"], request["until"])
        reply = self.rest(request)
        if request["growth"] and due(request["number"]):
            growing = _on_a_thread(lambda: self.batches.growing(request["growth"]), threading.Thread.join)
            reply["growing"] = [[pack_calls(calls), oracle] for calls, oracle in growing]
        reply["worn"] = is_worn()
        return reply

    def rest(self, request: dict[str, Any]) -> dict[str, Any]:
        left = request["seconds"]
        deadline = None if left is None else time.monotonic() + left
        _on_a_thread(lambda: self.batches.play(deadline), threading.Thread.join)
        return self.judge(request)

    def judge(self, request: dict[str, Any]) -> dict[str, Any]:
        covered, sites = self.batches.sites
        told = self._told(self.batches.judged(Level(request["level"])))
        return {**told, "covered": covered, "sites": sites, "next": self.batches.next}


_Result = TypeVar("_Result")


def _on_a_thread(work: Callable[[], _Result], wait: Callable[[threading.Thread], object]) -> _Result:
    """What `work` gives, done on a thread of its own; `wait` waits for the thread."""
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="synctape-batch")
    thread.start()
    wait(thread)
    if results:
        return results[0]
    (error,) = errors
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        os._exit(1)  # the target has taken all there is, or a call ended just when it was to be stopped
    raise error


def pack_calls(calls: Iterable[Call]) -> list[Any]:
    """Calls as msgpack takes them, without their times; arguments are what `engine.bases` lets through."""
    return [(call.method, call.args, call.thread, *call.switches) for call in calls]


def unpack_calls(packed: Iterable[Any]) -> list[Call]:
    return [
        Call(method, tuple([Handle(*a) if a.__class__ is list else a for a in args]), thread, 0, tuple(switches))
        for method, args, thread, *switches in packed
    ]


def pack_kept(kept: Kept) -> list[Any]:
    """A sequence that brought something new, as msgpack takes it."""
    return [pack_calls(kept.calls), *kept[1:]]


def unpack_kept(packed: Any) -> Kept:
    calls, mutators, *about = packed
    return Kept(unpack_calls(calls), mutators, *about)
