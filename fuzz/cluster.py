"""Searching on a Dask cluster: rounds (fuzz.rounds) go to its workers as tasks, a few at a time for each of them.

A thread of its own keeps each worker busy: it sends rounds, takes in what came of them, and sends what was found
with the next.  A worker that goes takes at most a round with it; one that comes is sent rounds.  While the
scheduler cannot be reached it waits a moment, then gives up.

    ExecutorError
    +-- ClusterError     the cluster cannot be reached, has no workers, or is gone: exit code 3

What is sent are bytes, and a function that is sent with them: neither the scheduler nor a worker without synctape
has to understand them, so that the latter can be told.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from fuzz.pool import Batches, Knowledge, Results, Several
from fuzz.rounds import Answer, Round, end_campaign, play_round
from fuzz.search import Known, Played, SearchPlan
from recorder.errors import SynctapeError
from replayer.sandbox import ExecutorError
from replayer.target import TargetError

__all__ = ["Cluster", "ClusterError", "end_packed", "play_packed"]

_ROUND_SECONDS = 1.0
_CONNECT_SECONDS = 10.0  # for the scheduler to answer
_WORKER_SECONDS = 30.0  # that a cluster may be without workers
_LATE_SECONDS = 60.0  # beyond its time until a round is given up
_LOOK_SECONDS = 0.5  # between two looks at who is there
_MOMENT = 0.2  # seconds


class ClusterError(ExecutorError):
    """The cluster cannot be reached, has no workers, or is gone."""


# --- on a worker ----------------------------------------------------------------------------------------------


def _version() -> str:
    try:
        return importlib.metadata.version("synctape")
    except importlib.metadata.PackageNotFoundError:
        return ""


def play_packed(version: str, packed: bytes) -> bytes:
    """Play a round as it is sent; what comes back is an Answer."""
    if version != _version():
        answer = Answer(refused=f"it has synctape {_version() or 'of no version'}, the campaign {version}")
    else:
        answer = play_round(pickle.loads(packed))
    return pickle.dumps(answer)


def end_packed(campaign: str) -> None:
    """End what this process keeps for a campaign."""
    end_campaign(campaign)


def _travelling(name: str) -> Callable[..., Any]:
    """A function of this module for where it may not be: it is sent as code, not by its name."""

    def call(*arguments: Any) -> Any:
        import importlib

        try:
            module = importlib.import_module("fuzz.cluster")
        except ImportError as error:
            return f"synctape is not installed there ({error})"
        return getattr(module, name)(*arguments)

    return call


# --- here -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Place:
    """One thread of a worker, and what it has been told; `rate` is in batches a second."""

    worker: str
    slot: int
    told: int = 0
    has_plan: bool = False
    rate: float = 1.0
    under_way: _UnderWay | None = None


@dataclass(slots=True)
class _UnderWay:
    """A round that was sent."""

    future: Any
    several: Several
    first: int
    sent: float = field(default_factory=time.monotonic)


class Cluster:
    """Searchers on the workers of the scheduler at `address`, one for each of their threads.

    `warn` is told, on another thread, of workers that cannot search.
    """

    def __init__(
        self,
        plan: SearchPlan,
        batches: Batches,
        knowledge: Knowledge,
        address: str,
        warn: Callable[[str], None] = lambda line: None,
    ):
        self._plan = plan
        self._batches = batches
        self._knowledge = knowledge
        self._address = address
        self._warn = warn
        self._campaign = uuid.uuid4().hex
        self._results = Results(1)
        self._done: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        self._places: dict[tuple[str, int], _Place] = {}
        self._refused: dict[str, str] = {}  # workers that cannot search, and why
        self._looked = self._lonely = 0.0
        self._opened = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._search, name="synctape-search-cluster", daemon=True)

    def __enter__(self) -> Cluster:
        """Raises ClusterError if the scheduler cannot be reached, SynctapeError if there is no Dask here."""
        self._client = self._opened.enter_context(_connected(self._address))
        self._task, self._end = _travelling("play_packed"), _travelling("end_packed")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._batches.stop()
        if self._thread.ident is not None:
            self._thread.join()
        with contextlib.suppress(Exception):  # whoever is gone cannot be told
            if self._client.status == "running":
                self._client.sync(self._tell_the_end, callback_timeout=_CONNECT_SECONDS)
        self._opened.close()

    def __iter__(self) -> Iterator[Played | None]:
        return iter(self._results)

    def rest(self) -> list[Played]:
        return self._results.rest()

    # --- the thread ---------------------------------------------------------------------------------------------

    def _search(self) -> None:
        self._lonely = time.monotonic()
        try:
            self._search_on()
        except BaseException as error:  # whoever iterates is to know
            self._batches.stop()
            self._results.put(error if isinstance(error, SynctapeError) else _told(self._address, error))
        self._results.end()

    def _search_on(self) -> None:
        while not self._batches.are_over:
            self._look()
            for place in self._places.values():
                if place.under_way is None and place.worker not in self._refused:
                    self._send(place)
            with contextlib.suppress(queue.Empty):
                self._take(self._done.get(timeout=_MOMENT))
        ends = time.monotonic() + 2 * _ROUND_SECONDS + self._plan.options.timeout
        while any(place.under_way for place in self._places.values()) and time.monotonic() < ends:
            with contextlib.suppress(queue.Empty):
                self._take(self._done.get(timeout=_MOMENT))
            if self._batches.stopped:
                return

    def _look(self) -> None:
        """See which workers there are, now and then."""
        now = time.monotonic()
        if now < self._looked + _LOOK_SECONDS:
            return
        threads = self._workers()
        self._looked = time.monotonic()
        there = {(worker, slot) for worker, count in threads.items() for slot in range(count)}
        for key in self._places.keys() - there:
            self._lost(self._places.pop(key))
        for worker, slot in sorted(there - self._places.keys()):
            self._places[worker, slot] = _Place(worker, slot)
        for place in self._places.values():
            late = self._plan.options.timeout + _ROUND_SECONDS + _LATE_SECONDS
            if place.under_way and now > place.under_way.sent + late:
                self._refuse(place.worker, "it does not answer")
                self._lost(place)
        if set(threads) - set(self._refused):
            self._lonely = now
        elif self._refused and set(threads) <= set(self._refused):
            worker, why = next(iter(self._refused.items()))
            raise TargetError(f"none of the workers can search; {worker}: {why}")
        elif now > self._lonely + _WORKER_SECONDS:
            raise ClusterError(f"cluster {self._address}: has had no workers for {_WORKER_SECONDS:g} s")

    def _workers(self) -> dict[str, int]:
        """Threads by worker.  Raises ClusterError if the scheduler does not answer, nor in a moment."""
        deadline = time.monotonic() + _CONNECT_SECONDS
        while not self._batches.stopped:
            try:
                if self._client.status == "running":
                    ask = self._client.scheduler.ncores
                    return dict(self._client.sync(ask, callback_timeout=_CONNECT_SECONDS / 2))
            except Exception as error:
                if time.monotonic() > deadline:
                    raise _told(self._address, error) from None
            if time.monotonic() > deadline:
                raise ClusterError(f"cluster {self._address}: its scheduler is gone")
            time.sleep(_MOMENT)
        return {}

    def _send(self, place: _Place) -> None:
        """Have a worker's thread play a round, if there is something to play."""
        several = self._batches.several(max(1, round(place.rate * _ROUND_SECONDS * 1.2)))
        if several is None:
            return
        count = len(self._knowledge)
        known = self._knowledge.known(count)
        left = several.seconds
        asked = Round(
            self._campaign,
            place.slot,
            [(batch.number, batch.level) for batch in several.batches],
            several.most,
            _ROUND_SECONDS if left is None else min(_ROUND_SECONDS, left),
            Known(known.fresh[place.told :], known.deadly, known.hangs, known.growth),
            place.told,
            None if place.has_plan else self._plan,
        )
        future = self._client.submit(
            self._task,
            _version(),
            pickle.dumps(asked),
            workers=[place.worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
            key=f"synctape-{uuid.uuid4().hex}",
        )
        place.under_way = _UnderWay(future, several, count)
        future.add_done_callback(lambda future, place=place: self._done.put(place))

    def _take(self, place: _Place) -> None:
        """Take in what came of a round."""
        sent = place.under_way
        if sent is None or not sent.future.done():  # it was given up, and this is its end
            return
        if sent.future.status != "finished":
            error = sent.future.exception(timeout=1) if sent.future.status == "error" else None
            self._lost(place)
            if error is not None and not type(error).__name__.startswith(("Killed", "Cancel")):
                self._refuse(place.worker, f"{type(error).__name__}: {error}".splitlines()[0])
            return
        packed = sent.future.result(timeout=_CONNECT_SECONDS)
        answer = pickle.loads(packed) if isinstance(packed, bytes) else Answer(refused=str(packed))
        for played in answer.played:
            self._knowledge.learn(played, sent.first)
            self._results.put(played)
        self._batches.came(sent.several, answer.played)
        seconds = max(time.monotonic() - sent.sent, 0.01)
        place.under_way = None
        if answer.again:
            place.told, place.has_plan = answer.knows or 0, answer.knows is not None
        else:
            place.told, place.has_plan = sent.first, True
            done = sum(part.sequences for part in answer.played) / self._plan.options.batch
            place.rate = max(0.1, (place.rate + done / seconds) / 2)
        if why := answer.refused or answer.failed:
            place.told, place.has_plan = 0, False
            self._refuse(place.worker, why)

    def _lost(self, place: _Place) -> None:
        """A round and all that its worker knew are gone."""
        sent, place.under_way = place.under_way, None
        place.told, place.has_plan = 0, False
        if sent is not None:
            self._batches.came(sent.several, ())
            with contextlib.suppress(Exception):
                sent.future.cancel()

    def _refuse(self, worker: str, why: str) -> None:
        if worker not in self._refused:
            self._refused[worker] = why
            self._warn(f"worker {worker} is left out: {why}")

    async def _tell_the_end(self) -> None:
        """Have the workers end what they keep for the campaign."""
        for place in self._places.values():
            if place.under_way:
                await self._client._cancel([place.under_way.future])
        await self._client._run(self._end, self._campaign, on_error="ignore")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client.  Raises ClusterError if there is no scheduler, SynctapeError if there is no Dask here."""
    try:
        import distributed
        from distributed.comm import parse_address, parse_host_port
    except ImportError:
        raise SynctapeError("--cluster needs Dask: pip install 'synctape[cluster]'") from None
    try:
        parse_host_port(parse_address(address)[1])
    except ValueError as error:
        raise SynctapeError(f"--cluster {address}: {error}; an address looks like tcp://host:8786") from None
    with _quiet():
        try:
            client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False, name="synctape")
        except Exception as error:
            raise _told(address, error) from None
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=2)


def _told(address: str, error: BaseException) -> ClusterError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ClusterError(f"cluster {address}: {said}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What Dask says of connections that end is said here, in its place."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in ("tornado", "asyncio", *names)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
