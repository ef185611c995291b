"""Following a trace that is being written: its calls as they come, until its end record.

Nothing here waits: `follow` gives a `Quiet` whenever it has seen all that there is, and whoever takes that from
it waits as long as he likes.  The file is opened for each look and closed again, so that nobody who wants to
rename or remove it has to wait for a reader (on Windows he would).

A recording may be in several files, run.0001.tape, run.0002.tape and so on; of these the newest one is followed,
and then each that comes after it.  A file that another one comes after may go on for the calls that began in it:
it is looked at until they have ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from recorder.calls import Call, Enter, Header, PlayedCall, Thread, TraceDamage
from recorder.decoding import DECODE_ERRORS, Decoder
from recorder.encoding import GOES_ON, MAGIC
from recorder.errors import TraceError
from recorder.records import UNSOUND, Cut, Records
from recorder.session_input import parts
from recorder.trace import read_header

__all__ = ["PATIENCE", "Begun", "Ended", "Finished", "Quiet", "Seen", "follow"]

PATIENCE = 20
"""Looks for which a record may be torn before that is taken for damage."""

_LONG = 5  # looks, after which a call that has not ended is told as running
_BEGINNING = b"\x93" + msgpack.packb(MAGIC)  # of every trace
_NUMBERED = re.compile(r"(.+)\.(\d{4,})(\.[^.]+)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Begun:
    """A file was found and has a header."""

    path: Path
    header: Header
    threads: list[Thread]  # fills as they appear


@dataclass(frozen=True, slots=True)
class Ended:
    """A call: with its outcome when it has ended, with None when it has been running for long, or for ever.

    `again` if it was told as running before.
    """

    played: PlayedCall
    again: bool = False


@dataclass(frozen=True, slots=True)
class Quiet:
    """All there is was seen.  `waiting` is what there is to wait for where that is no next call."""

    waiting: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A file ended; `damage` tells how, where that was not as it should."""

    path: Path
    calls: int
    damage: TraceDamage | None = None


Seen = Begun | Ended | Quiet | Finished


def follow(path: str | os.PathLike[str]) -> Iterator[Seen]:
    """What happens to a trace, until its end record, or damage.  The file need not exist yet.

    Raises TraceError for a file that is there and is no trace.
    """
    path = Path(path)
    while not (path.exists() or (found := parts(path))):
        yield Quiet(f"{path} is not there yet")
    if not path.exists():
        _, path = found[-1]
    earlier: list[Iterator[Seen]] = []  # files that new calls no longer go to, with calls that have not ended
    while True:
        file = _File(path)
        last = file.follow()
        following: Path | None = None
        for item in last:
            if not isinstance(item, Quiet):
                yield item
            elif following is not None:  # which was there before this look, so that the look has seen all
                if file.busy:
                    earlier.append(last)
                yield Finished(path, file.calls)
                break
            else:
                following = _next(path)
                for past in earlier:
                    yield from _ends(past)
                if following is None:
                    yield item
        else:
            following = path if file.replaced else _next(path)
        if following is None:
            return
        path = following


def _ends(past: Iterator[Seen]) -> Iterator[Seen]:
    """The calls that have ended in an earlier file since it was looked at last."""
    for item in past:
        if isinstance(item, Quiet):
            return
        if isinstance(item, Ended) and item.played.outcome is not None:
            yield item


def _next(path: Path) -> Path | None:
    """The file that goes on where a numbered one ended; some between them may have been dropped."""
    found = _NUMBERED.fullmatch(path.name)
    if not found:
        return None
    whole = path.with_name(found[1] + (found[3] or ""))
    return next((part for number, part in parts(whole) if number > int(found[2])), None)


class _Torn(Exception):
    """A record that is unsound, or not yet written to its end."""


class _File:
    """One file that is followed."""

    def __init__(self, path: Path):
        self.path = path
        self.calls = 0
        self.replaced = False
        self._identity = (0, 0)
        self._open: dict[int, tuple[Call, int]] = {}  # calls and how many looks have seen them open
        self._told: set[int] = set()  # of these, which were told as running

    @property
    def busy(self) -> bool:
        """Whether a call in it has not ended."""
        return bool(self._open)

    def follow(self) -> Iterator[Seen]:
        """What happens to the file, until it ends."""
        records, header = yield from self._header()
        threads: list[Thread] = []
        decoder = Decoder(header, threads)
        yield Begun(self.path, header, threads)
        looks, stuck = 0, (-1, "")
        while True:
            reason = ""
            try:
                with open(self.path, "rb") as file:
                    status = os.fstat(file.fileno())
                    if (status.st_dev, status.st_ino) != self._identity or status.st_size < records.sound:
                        yield from self._finish(records, decoder, "the file was replaced by another")
                        self.replaced = True
                        return
                    records.again(file)
                    yield from self._events(decoder, records)
            except Cut:
                pass
            except _Torn as error:
                reason = str(error)
            except DECODE_ERRORS as error:
                yield from self._finish(records, decoder, f"damaged record ({error})")
                return
            except OSError as error:
                reason = f"cannot be read further ({error.strerror or error})"
            if decoder.ended:
                stopped = None
                if decoder.stopped is not None and decoder.stopped != GOES_ON:
                    stopped = f"recording stopped: {decoder.stopped}"
                wrong = "checksum of the whole file does not match" if decoder.crc != records.crc() else None
                yield from self._finish(records, decoder, wrong or (None if _next(self.path) else stopped))
                return
            looks = looks + 1 if reason and stuck == (records.sound, reason) else 0
            if looks >= PATIENCE:
                yield from self._finish(records, decoder, reason)
                return
            stuck = records.sound, reason
            yield from self._running()
            yield Quiet()

    def _header(self) -> Generator[Seen, None, tuple[Records, Header]]:
        """Wait for a header; gives the records after it, and it."""
        looks, head = 0, b""
        while True:
            try:
                with open(self.path, "rb") as file:
                    records = Records(file)
                    try:
                        header = read_header(records, os.fspath(self.path))
                    except TraceError:
                        head, before = records.head.rstrip(b"\0"), head
                        looks = looks + 1 if head and head == before else 0
                        if looks == PATIENCE or not _BEGINNING.startswith(head[: len(_BEGINNING)]):
                            raise
                    else:
                        status = os.fstat(file.fileno())
                        self._identity = status.st_dev, status.st_ino
                        return records, header
            except FileNotFoundError:
                pass
            except OSError as error:
                raise TraceError(f"cannot be read: {error.strerror or error}", path=self.path) from None
            yield Quiet(f"{self.path} has no header yet")

    def _events(self, decoder: Decoder, records: Records) -> Iterator[Seen]:
        for event in decoder.events(_checked(records)):
            if isinstance(event, Enter):
                self.calls += 1
                self._open[event.number] = event.call, 0
            else:
                call, _ = self._open.pop(event.number)
                again = event.number in self._told
                self._told.discard(event.number)
                yield Ended(PlayedCall(event.number, call, event.outcome), again)

    def _running(self) -> Iterator[Seen]:
        """Calls that have been open for long."""
        for number, (call, looks) in self._open.items():
            self._open[number] = call, looks + 1
            if looks + 1 == _LONG:
                self._told.add(number)
                yield Ended(PlayedCall(number, call, None))

    def _finish(self, records: Records, decoder: Decoder, reason: str | None) -> Iterator[Seen]:
        for number, (call, _) in self._open.items():
            if number not in self._told:
                yield Ended(PlayedCall(number, call, None))
        damage = None if reason is None else TraceDamage(records.offset, reason, decoder.count)
        yield Finished(self.path, self.calls, damage)


def _checked(records: Records) -> Iterator[Any]:
    """The records, with trouble of the file's own told apart from what makes no sense in them."""
    try:
        yield from records.checked()
    except UNSOUND as error:
        raise _Torn(f"damaged record ({error})") from None
