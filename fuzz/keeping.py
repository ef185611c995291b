"""Keep what a campaign learns: each sequence that brought something new becomes a trace in a corpus.

Files are named by the digest of their calls, so that what is there already is not written again, and they are
written as they come: a run that is killed has kept what it had.
"""

from __future__ import annotations

from collections.abc import Iterable

from fuzz.schedules import is_scheduled
from fuzz.search import Played
from fuzz.worker import unpack_calls
from recorder.calls import Header, Trace
from recorder.interface import Interface
from recorder.provenance import digest, mutated
from recorder.trace import dump_trace
from replayer.locations import SUFFIX, Folder

__all__ = ["Keeper"]


class Keeper:
    """Writes into one folder; `added` counts new traces there.  `known` are traces that need not be kept again."""

    def __init__(self, folder: Folder, spec: str, interface: Interface, seed: int, known: Iterable[Trace] = ()):
        self.folder = folder
        self.added = 0
        self._spec = spec
        self._interface = interface
        self._seed = seed
        self._there = {name.rpartition("/")[2] for name in folder.names()}
        self._there |= {f"{digest(trace.calls, interface)}{SUFFIX}" for trace in known}

    def learn(self, played: Played) -> None:
        """Write what a part of a batch found new.  Raises SynctapeError if it cannot be written."""
        for packed, mutators, *_ in played.fresh:
            calls = unpack_calls(packed)
            name = f"{digest(calls, self._interface)}{SUFFIX}"
            if name in self._there:
                continue
            header = Header(
                interface=self._interface,
                target={"spec": self._spec},
                scheduled=is_scheduled(calls),
                provenance=mutated((), mutators, seed=self._seed, batch=played.number),
            )
            self.folder.write(name, dump_trace(Trace.from_calls(calls, header)))
            self._there.add(name)
            self.added += 1
