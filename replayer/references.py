"""The references of one native object: what its count says, and whether it goes with the last of them (H5).

The player holds spare references while it makes a sequence's calls, so that a host that releases one that is not
its own does not go under the player's hands: it shows as a count that is too low.  At the end they are given back
one by one.

What AddRef and Release answer is for diagnosis only (P22), and COM does not promise that it is the count.  So it
is believed where it is plausible before the first call: twice in a row n + 1, then n.  A library whose answers are
no counts exports `<symbol>_live`, the number of its objects that exist, and is judged by that alone; one with both
is judged by both.  References that were there before the first call are the library's own business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

from replayer.identity import as_unknown

__all__ = ["References"]

_TICK_SECONDS = 0.005


class References:
    """The player's references on the object behind a pointer; it has one when this begins.

    `live` is the library's own count of its objects, if it keeps one; `others`: how many there were without this
    object.
    """

    def __init__(self, pointer: int, live: Callable[[], int] | None = None, others: int = 0):
        self._unknown = as_unknown(pointer)
        self._live = live
        self._others = others
        self._held = 1
        self._first = self._pair()
        self.counts = self._plausible()

    def take(self, spare: int) -> None:
        """Hold so many more."""
        for _ in range(spare):
            self._unknown.AddRef()
        self._held += spare

    def counted(self, change: int) -> None:
        """So many more are the player's, or fewer, by calls of the sequence."""
        self._held += change

    def end(self, patience: float) -> Iterator[str]:
        """Give all references back; yields what is wrong.

        `patience`: seconds for a host that holds a reference of its own a little longer, as for a thread.
        """
        if not self.counts and self._live is None:
            added, left = self._first
            yield f"AddRef answered {added} and the Release after it {left}: they are no counts"
        if self._held <= 0:
            return
        if self.counts:
            lost = yield from self._settle(time.monotonic() + patience)
            self._held -= lost
        yield from self._give_back(time.monotonic() + patience)

    def _pair(self) -> tuple[int, int]:
        """What AddRef and the Release after it answer."""
        return int(self._unknown.AddRef()), int(self._unknown.Release())

    def _plausible(self) -> bool:
        added, left = self._first
        return added == left + 1 and left >= 1 and self._pair() == self._first

    def _settle(self, deadline: float) -> Generator[str, None, int]:
        """Wait until the object holds no more references than at the beginning; gives how many of the player's
        are gone."""
        expected = self._first[1] - 1 + self._held
        while True:
            added, left = self._pair()
            if left <= expected or time.monotonic() > deadline:
                break
            time.sleep(_TICK_SECONDS)
        lost = max(0, self._held - left)
        if added != left + 1:
            yield f"AddRef answered {added} and the Release after it {left} after the calls"
        if lost:
            yield f"the object released {lost} references that the caller holds"
        return lost

    def _give_back(self, deadline: float) -> Iterator[str]:
        answer = 0
        while self._held > 0:
            if self._live is not None and self._live() <= self._others:
                yield f"the object is gone while the caller still holds {self._held} references"
                return
            answer = int(self._unknown.Release())
            self._held -= 1
        if self._live is not None:
            while (left := self._live() - self._others) > 0 and time.monotonic() <= deadline:
                time.sleep(_TICK_SECONDS)
            if left > 0:
                yield "the object is still there after the last Release"
        elif self.counts and answer > self._first[1] - 1:
            yield f"the last Release answered {answer}: references are held that nobody gives back"
