"""Hosts with one bug each, out of reach of chance and mostly of code coverage; each says what leads to it."""

from __future__ import annotations

import zlib
from typing import Any


class Quiet:
    """What they have in common."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0


class Table(Quiet):
    """A state machine in a table: seven right moves in a row, and no branch that tells of them."""

    RIGHT = (3, 0, 2, 1, 0, 3, 1)

    def __init__(self) -> None:
        self.place = 0

    def _move(self, kind: int) -> int:
        right = self.RIGHT[self.place] == kind
        self.place = (0, self.place + 1)[right]
        self.RIGHT[self.place]
        return 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return self._move((index == maximum) + 2 * (text is None))

    def Error(self, result: int, text: str | None) -> int:
        return self._move(-1)


class Names(Table):
    """The same with states that have names, beside a text that is never twice the same."""

    NAMES = ("idle", "opened", "listing", "fetching", "moving", "closing", "closed")

    def __init__(self) -> None:
        super().__init__()
        self.state_name = "idle"
        self._texts: list[str | None] = []
        del self.place

    def _move(self, kind: int) -> int:
        place = self.NAMES.index(self.state_name)
        right = self.RIGHT[place] == kind
        self.state_name = self.NAMES[(0, place + 1)[right]]
        self._texts.append(str(kind))
        return 0


class Overflow(Quiet):
    """A counter of 11 bits, stored with each 0x800th report."""

    def __init__(self) -> None:
        self.reports = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.reports += 1
        self.reports.to_bytes(2, "little")[1].bit_length() < 4 or self.fail()
        return 0

    def fail(self) -> bool:
        raise OverflowError


class Session(Quiet):
    """A limit on problems of one session, each of which must come between two reports."""

    def __init__(self) -> None:
        self.problems = 0
        self.reported = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.reported = True
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.problems = self.problems + 1 if self.reported else 0
        self.reported = False
        assert self.problems < 40
        return 0


class Remembers(Quiet):
    """A value of the first call, changed, opens the last."""

    def __init__(self) -> None:
        self.first: int | None = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.first is None:
            self.first = index
        elif index == self.first * 7 + 12345 and self.first > 1000:
            raise KeyError(index)
        return 0


class Prefix(Quiet):
    """A text that begins and ends as only the source says."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is not None and text.startswith("X-Sync-Token:") and text.endswith("#end"):
            raise ValueError(text)
        return 0


class Magic(Quiet):
    """Numbers that only the source knows, one after the other."""

    def __init__(self) -> None:
        self.open = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index == 0x5F3759DF and maximum == 0x9E3779B9:
            self.open = True
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.open and result == -2005270483:
            raise RuntimeError
        return 0


class Nested(Quiet):
    """Arithmetic on index and maximum, five levels deep."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if index <= 50_000 or maximum - index <= 1_234_000:
            return 0
        if (maximum + index) % 1000 != 777:
            return 0
        if index ^ maximum >= 0x300000:
            return 0
        if (index & 0xFF) == 0x42:
            raise ArithmeticError
        return 0


class MidSync(Quiet):
    """The maximum changes after a long run of positions."""

    def __init__(self) -> None:
        self.run = self.limit = 0
        self.last = -1

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if maximum == self.limit and index == self.last + 1:
            self.run += 1
        else:
            if self.run > 150:
                raise IndexError
            self.run = 0
        self.limit, self.last = maximum, index
        return 0


class Exactly(Quiet):
    """Done after exactly 23 reports for one folder."""

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text:
            self.folders[text] = self.folders.get(text, 0) + 1
        return 0

    def Done(self, handle: Any, result: int) -> int:
        for count in self.folders.values():
            if count == 23:
                raise RuntimeError
        return 0


class Checksum(Quiet):
    """The end carries a checksum of the texts."""

    def __init__(self) -> None:
        self.sum = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.sum = zlib.crc32((text or "").encode("utf-8", "replace"), self.sum) & 0x7FFFFFFF
        return 0

    def Done(self, handle: Any, result: int) -> int:
        if self.sum and result == self.sum:
            raise RuntimeError
        return 0


class Lookup(Quiet):
    """Commands in a table, the last of which needs the others' order."""

    COMMANDS = {"open-store": 1, "sync-folders": 2, "purge-cache": 3, "commit-all": 4}  # noqa: RUF012

    def __init__(self) -> None:
        self.done: list[int] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        number = self.COMMANDS.get(text or "")
        if number is None:
            return 0
        self.done = [*self.done, number] if number == len(self.done) + 1 else []
        (1, 1, 1, 1, 0)[len(self.done)] or self.fail()
        return 0

    def fail(self) -> bool:
        raise LookupError


class Threads(Quiet):
    """Two counters that must meet: code tells of neither."""

    def __init__(self) -> None:
        self.up = self.down = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.up += index < maximum
        self.down += index > maximum
        return 1 // (1 - (self.up == 12) * (self.down == 9)) - 1

    def Error(self, result: int, text: str | None) -> int:
        self.up = self.down = 0
        return 0


BUGS: dict[str, type[Exception]] = {
    "Table": IndexError,
    "Names": IndexError,
    "Overflow": OverflowError,
    "Session": AssertionError,
    "Remembers": KeyError,
    "Prefix": ValueError,
    "Magic": RuntimeError,
    "Nested": ArithmeticError,
    "MidSync": IndexError,
    "Exactly": RuntimeError,
    "Checksum": RuntimeError,
    "Lookup": LookupError,
    "Threads": ZeroDivisionError,
}
"""What each host's bug raises."""
