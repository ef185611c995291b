"""The files of a session read as the one trace that they are parts of (`recorder.session`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recorder.calls import Enter, Event, Header, Leave, Thread, TraceDamage
from recorder.encoding import GOES_ON
from recorder.errors import TraceError
from recorder.trace import TraceReader

__all__ = ["SessionReader", "part_path", "parts"]


def part_path(path: str | os.PathLike[str], number: int) -> Path:
    """The name of a session's file: run.0001.tape for run.tape."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{number:04}{path.suffix}")


def parts(path: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """The files of the session recorded to `path` that are there, by number."""
    path = Path(path)
    name = re.compile(rf"{re.escape(path.stem)}\.(\d{{4,}}){re.escape(path.suffix)}")
    try:
        found = [(int(m[1]), path.with_name(n)) for n in os.listdir(path.parent) if (m := name.fullmatch(n))]
    except OSError:
        return []
    return sorted(found)


class SessionReader:
    """Streams the files of the session recorded to `path`, one after the other, in constant memory.

    Calls are numbered through, their times count from the start of the first file, and a thread is the same in
    all files.  `header` is that of the first one, with the numbers of the files that there are.  A file that
    was dropped is `damage`, since calls are missing, and so is one that is no trace (as the newest is not, if the
    process was killed before its header was written); reading goes on behind it.  `cut` tells whether there is
    any damage but dropped files.  Raises TraceError where there is no such file or the first one is no trace.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.name = os.fspath(path)
        self.threads: list[Thread] = []
        self.damage: TraceDamage | None = None
        self.cut = False
        self._reader = self._first()
        self._thread_numbers: dict[Thread, int] = {}
        first = self._reader.header
        session = {**first.provenance.get("session", {}), "files": [number for number, _ in self._parts]}
        session.pop("file", None)
        self.header: Header = replace(first, provenance={**first.provenance, "session": session})
        self._begun = False

    def _first(self) -> TraceReader:
        """The first file, of those that there are now: while the session is recorded the oldest go."""
        while found := parts(self.name):
            self._parts = found
            try:
                return TraceReader(found[0][1])
            except TraceError:
                if found[0][1].exists():
                    raise
        raise TraceError("cannot be read: there is no such file", path=self.name)

    @property
    def dropped(self) -> list[int]:
        """The numbers of the files before the last one that are not there."""
        there = {number for number, _ in self._parts}
        return [number for number in range(1, self._parts[-1][0]) if number not in there]

    def events(self) -> Iterator[Event]:
        """The events of all files; nothing when asked again."""
        if self._begun:
            return
        self._begun = True
        calls = 0
        found: TraceDamage | None = None
        first = self._parts[0][0]
        for number, path in list(self._parts):
            if number != first:
                self._reader.close()
                try:
                    self._reader = TraceReader(path)
                except TraceError as error:
                    if path.exists():
                        found = TraceDamage(0, str(error))
                    else:  # it was dropped meanwhile
                        self._parts.remove((number, path))
                    continue
            started = self._reader.header.created_ns - self.header.created_ns
            here = 0
            for event in self._reader.events():
                if isinstance(event, Enter):
                    here += 1
                    call = event.call
                    thread = self._thread(call.thread)
                    call = call._replace(thread=thread, time_ns=call.time_ns + started)
                    yield Enter(event.number + calls, call)
                else:
                    yield Leave(event.number + calls, event.outcome)
            calls += here
            damage = self._reader.damage
            if damage is not None and (path == self._parts[-1][1] or damage.reason != GOES_ON):
                found = replace(damage, reason=f"{path.name}: {damage.reason}")
        self.cut = found is not None
        if dropped := self.dropped:
            count = len(dropped)
            reason = f"{count} file{'s' * (count > 1)} before {self._parts[-1][1].name} dropped, calls are missing"
            found = replace(found, reason=f"{reason}; {found.reason}") if found else TraceDamage(0, reason)
        self.damage = found

    def close(self) -> None:
        self._reader.close()

    def _thread(self, number: int) -> int:
        """The number in the whole session of a thread of the present file."""
        thread = self._reader.threads[number]
        known = self._thread_numbers.get(thread)
        if known is None:
            known = self._thread_numbers[thread] = len(self.threads)
            self.threads.append(thread)
        return known
