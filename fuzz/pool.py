"""Who plays which batch: batches are handed out, each number once, to one searcher or to several at once.

    Batches     hands out; knows when the runs or the time are used up
    Knowledge   what has been found so far; each batch builds on what was known when it was handed out
    Alone       one searcher, on the caller's own thread: the same seed gives the same run
    Jobs        several, each with a thread of its own that waits for its child

Pools are iterated over for what came of each part of a batch, and None now and then while nothing does.  What one
searcher finds new the others build on from their next batch on, whoever is busy with what.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol

from fuzz.progress import CampaignOptions
from fuzz.search import Fresh, Known, Played, Searcher, SearchPlan
from recorder.contract import Level
from replayer.sandbox import Abandoned

__all__ = [
    "Alone",
    "Batch",
    "Batches",
    "Jobs",
    "Knowledge",
    "Part",
    "Pool",
    "Results",
    "Several",
    "cores",
    "level_of_batch",
]

_TURNS = {
    Level.CONFORMING: (Level.CONFORMING,),
    Level.LENIENT: (Level.LENIENT, Level.LENIENT, Level.CONFORMING),
    Level.HOSTILE: (
        *(Level.HOSTILE, Level.LENIENT, Level.HOSTILE),
        *(Level.CONFORMING, Level.LENIENT, Level.HOSTILE),
    ),
}
_MOMENT = 0.2  # seconds without a result until the caller gets a turn


def level_of_batch(highest: Level, number: int) -> Level:
    """The levels come in turn; all up to the highest do, the highest most often."""
    turns = _TURNS[highest]
    return turns[number % len(turns)]


def cores() -> int:
    """How many searchers this machine can keep busy."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Knowledge:
    """What the search knows; for several threads.

    The sequences that were new only become more.  `known` gives what a batch that builds on some of them is
    told, and is asked on any thread.
    """

    def __init__(self, known: Callable[[Sequence[Fresh]], Known], fresh: Iterable[Fresh] = ()):
        self._known = known
        self._fresh = list(fresh)
        self._shown = {feature for entry in self._fresh for feature in _features(entry)}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._fresh)

    def known(self, first: int) -> Known:
        """What a batch builds on that was handed out when `first` sequences were known."""
        return self._known(self._fresh[:first])

    def since(self, first: int) -> list[Fresh]:
        """What has become known after the first so many."""
        return self._fresh[first:]

    def learn(self, played: Played, settled: int) -> None:
        """Take over what a batch found new that was handed out when `settled` sequences were known.

        What others have found in the meantime is not new any more, and is taken out of it.
        """
        with self._lock:
            if len(self._fresh) > settled:
                played.fresh = [entry for entry in played.fresh if self._is_new(entry)]
            for entry in played.fresh:
                self._shown.update(_features(entry))
            self._fresh += played.fresh

    def _is_new(self, entry: Fresh) -> bool:
        """Whether it shows something that no other has, as far as it says what."""
        features = _features(entry)
        return not features or not self._shown.issuperset(features)


def _features(entry: Fresh) -> list[str]:
    """All that a sequence showed; nothing where that is not known."""
    return list(entry[3]) if len(entry) > 3 else []


@dataclass(slots=True)
class Batch:
    """A batch in somebody's hands: `start` is its next sequence, `settled` how many were known before."""

    number: int
    level: Level
    settled: int
    start: int = 0


class Part(NamedTuple):
    """Sequences of a batch to play: from `batch.start` to `until`, for no longer than `seconds`."""

    batch: Batch
    until: int
    seconds: float | None


class Several(NamedTuple):
    """New batches to play: no more than `most` sequences of them in all, for no longer than `seconds`."""

    batches: list[Batch]
    most: int
    seconds: float | None


class Batches:
    """Hands out batches, from number `first` on; for several threads.

    `left` gives the seconds that are left (None: no bound).  Of `options` the size of batches, the highest level
    and the most runs count.
    """

    def __init__(
        self, options: CampaignOptions, knowledge: Knowledge, left: Callable[[], float | None], *, first: int = 0
    ):
        self.next = first
        self._options = options
        self._knowledge = knowledge
        self._left = left
        self._runs = self._out = 0  # sequences that were played, and that are being played
        self._changed = threading.Condition()
        self._stopped = False

    def part(self, batch: Batch | None = None) -> Part | None:
        """What to play next: more of this batch as long as there is some, else of a new one.  None: nothing more.

        Waits while it depends on what others have in hand.
        """
        most = self._options.max_runs
        with self._changed:
            while not self._stopped and not self._over(seconds := self._left()):
                free = self._options.batch if most is None else most - self._runs - self._out
                if free > 0:
                    if batch is None or batch.start >= self._options.size_of(batch.number):
                        batch = self._new()
                    until = min(self._options.size_of(batch.number), batch.start + free)
                    self._out += until - batch.start
                    return Part(batch, until, seconds)
                if not self._out:
                    return None
                self._changed.wait(_MOMENT)
        return None

    def played(self, part: Part, played: Played | None) -> None:
        """Take note of what came of a part; None: nothing, whoever had it is gone."""
        with self._changed:
            self._out -= part.until - part.batch.start
            if played is not None:
                part.batch.start = played.next
                self._runs += played.sequences
            self._changed.notify_all()

    def several(self, count: int) -> Several | None:
        """So many new batches, for one who cannot ask in between; None: nothing at present, or any more."""
        most = self._options.max_runs
        with self._changed:
            seconds = self._left()
            free = count * self._options.batch if most is None else most - self._runs - self._out
            if self._stopped or self._over(seconds) or free <= 0:
                return None
            batches: list[Batch] = []
            sequences = 0
            while len(batches) < count and sequences < free:
                batches.append(self._new())
                sequences += self._options.size_of(batches[-1].number)
            sequences = min(sequences, free)
            self._out += sequences
            return Several(batches, sequences, seconds)

    def came(self, several: Several, played: Iterable[Played]) -> None:
        """Take note of what came of several batches; what was not played of them others will be."""
        with self._changed:
            self._out -= several.most
            self._runs += sum(part.sequences for part in played)
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether nobody wants to know any more what came of what is out."""
        return self._stopped

    @property
    def are_over(self) -> bool:
        """Whether nothing more will be handed out, whatever comes of what is out."""
        most = self._options.max_runs
        with self._changed:
            used_up = most is not None and self._runs >= most
            return self._stopped or used_up or self._over(self._left())

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _new(self) -> Batch:
        number, self.next = self.next, self.next + 1
        return Batch(number, level_of_batch(self._options.level, number), len(self._knowledge))

    @staticmethod
    def _over(seconds: float | None) -> bool:
        return seconds is not None and seconds <= 0


class Pool(Protocol):
    """Plays what `Batches` hands out."""

    def __enter__(self) -> Pool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Played | None]: ...

    def close(self) -> None:
        """End the searching, whatever is under way."""

    def rest(self) -> list[Played]:
        """What had come in when the iteration was broken off; to be asked after the end."""
        ...


class Alone:
    """One searcher: between two parts it waits for whoever iterates."""

    def __init__(self, plan: SearchPlan, batches: Batches, knowledge: Knowledge):
        self._searcher = Searcher(plan)
        self._searcher.prepare()
        self._batches = batches
        self._knowledge = knowledge

    def __enter__(self) -> Alone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._searcher.close()

    def __iter__(self) -> Iterator[Played | None]:
        batch: Batch | None = None
        while part := self._batches.part(batch):
            batch = part.batch
            yield _play(self._searcher, part, self._batches, self._knowledge)

    def rest(self) -> list[Played]:
        return []


class Results:
    """What comes in from other threads, for one that iterates over it until `searching` of them have ended."""

    def __init__(self, searching: int):
        self._searching = searching
        self._queue: queue.SimpleQueue[Played | BaseException | None] = queue.SimpleQueue()

    def put(self, result: Played | BaseException) -> None:
        """A result, or what went wrong: whoever iterates raises it."""
        self._queue.put(result)

    def end(self) -> None:
        """A thread has ended."""
        self._queue.put(None)

    def __iter__(self) -> Iterator[Played | None]:
        searching = self._searching
        while searching:
            try:
                result = self._queue.get(timeout=_MOMENT)
            except queue.Empty:
                yield None
                continue
            if isinstance(result, BaseException):
                raise result
            if result is None:
                searching -= 1
            else:
                yield result

    def rest(self) -> list[Played]:
        """What was not iterated over."""
        left: list[Played] = []
        with contextlib.suppress(queue.Empty):
            while True:
                result = self._queue.get_nowait()
                if isinstance(result, Played):
                    left.append(result)
        return left


class Jobs:
    """So many searchers at once, each with a child; which of them plays what is chance."""

    def __init__(self, plan: SearchPlan, batches: Batches, knowledge: Knowledge, jobs: int):
        self._batches = batches
        self._knowledge = knowledge
        self._results = Results(jobs)
        self._searchers = [Searcher(plan) for _ in range(jobs)]
        for searcher in self._searchers:
            searcher.prepare()
        self._threads = [
            threading.Thread(target=self._search, args=(searcher,), name=f"synctape-search-{number}", daemon=True)
            for number, searcher in enumerate(self._searchers)
        ]

    def __enter__(self) -> Jobs:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._batches.stop()
        for searcher in self._searchers:
            searcher.abandon()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for searcher in self._searchers:
            searcher.close()

    def __iter__(self) -> Iterator[Played | None]:
        return iter(self._results)

    def rest(self) -> list[Played]:
        return self._results.rest()

    def _search(self, searcher: Searcher) -> None:
        """What each thread does: play until there is nothing more, and say so."""
        batch: Batch | None = None
        try:
            with searcher:
                while part := self._batches.part(batch):
                    batch = part.batch
                    self._results.put(_play(searcher, part, self._batches, self._knowledge))
        except Abandoned:
            pass
        except BaseException as error:  # whoever iterates is to know
            self._batches.stop()
            self._results.put(error)
        self._results.end()


def _play(searcher: Searcher, part: Part, batches: Batches, knowledge: Knowledge) -> Played:
    """Have a part of a batch played, and let the others know what it brought."""
    batch, known = part.batch, knowledge.known(part.batch.settled)
    try:
        played = searcher.play(batch.number, batch.level, batch.start, part.until, known, seconds=part.seconds)
    except BaseException:
        batches.played(part, None)
        raise
    knowledge.learn(played, batch.settled)
    batches.played(part, played)
    return played
