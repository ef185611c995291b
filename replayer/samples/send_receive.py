"""A model of Outlook's Send/Receive dialog, and the same dialog with a bug that only fuzzing finds.

As targets they are `replayer.samples.send_receive:SendReceiveDialog` and `...:HastySendReceiveDialog`.

The dialog shows the current step, how far it is, how many more reports it will take, and a list of problems.
Everything it shows follows from the calls alone (H23): no clock, no addresses, no order of threads.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from typing import Any, NamedTuple, Protocol

from recorder import hresult

__all__ = ["HastyPace", "HastySendReceiveDialog", "Pace", "Problem", "SendReceiveDialog"]

MAX_TEXT = 260  # characters; a list view shows no more (interface.md, 4)
MAX_PROBLEMS = 100
WINDOW = 16  # reports

_CANCELLED = frozenset(hresult.parse(name) for name in ("MAPI_E_USER_CANCEL", "MAPI_E_CANCEL", "E_ABORT"))

_UNSHOWABLE = dict.fromkeys(
    [
        *range(0x20),  # C0 controls
        *range(0x7F, 0xA0),  # DEL and C1 controls
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # bidi marks and overrides
        *(0x2028, 0x2029),  # line and paragraph separator
        *range(0xD800, 0xE000),  # lone surrogates
        *(0xFEFF, 0xFFFE, 0xFFFF),
    ],
    "\N{REPLACEMENT CHARACTER}",
)


class Problem(NamedTuple):
    """One line of the list: what Error reported, and in which step."""

    result: int
    severity: str
    text: str
    step: str


class PaceOfStep(Protocol):
    """Judges how fast a step goes."""

    def report(self, index: int, maximum: int) -> None:
        """The step stands at `index` of `maximum`."""

    def problem(self) -> None:
        """A problem was reported."""

    def calls_left(self) -> int | None:
        """How many more reports the step will take, None while nothing can be said."""


class Pace:
    """The mean advance over the last reports of one maximum; a problem interrupts the series."""

    def __init__(self) -> None:
        self._maximum = 0
        self._window: deque[int] = deque(maxlen=WINDOW)

    def report(self, index: int, maximum: int) -> None:
        if maximum != self._maximum:
            self._window.clear()
            self._maximum = maximum
        self._window.append(index)

    def problem(self) -> None:
        self._window.clear()

    def calls_left(self) -> int | None:
        if not self._window:
            return None
        advance = self._window[-1] - self._window[0]
        left = max(0, self._maximum - self._window[-1])
        return -(-left * (len(self._window) - 1) // advance) if advance > 0 else None


class SendReceiveDialog:
    """Outlook's Send/Receive dialog, as far as the contract for hosts goes (interface.md, 3.3).

    Thread-safe and re-entrant (H17), bounded (H12, H19).  Every method returns S_OK.  `status` is "waiting",
    "running", or what Done's hResult alone made of it: "succeeded", "succeeded with warnings", "failed",
    "cancelled".  After Done nothing changes any more (H15).
    """

    synctape_promises = ("closes-handle",)

    def __init__(self, pace: PaceOfStep | None = None) -> None:
        self._lock = threading.Lock()
        self._pace = pace or Pace()
        self.status = "waiting"
        self.result: int | None = None
        self.step = ""
        self.index = 0
        self.maximum = 0
        self.calls_left: int | None = None
        self.problems: list[Problem] = []
        self.problems_dropped = 0

    def Progress(self, pwcszProgress: str | None, ulIndex: int, ulIndexMax: int) -> int:
        with self._lock:
            if self.result is None:
                self.status = "running"
                self.step = self.step if pwcszProgress is None else _shown(pwcszProgress)
                self.index, self.maximum = ulIndex, ulIndexMax
                self._pace.report(ulIndex, ulIndexMax)
                self.calls_left = self._pace.calls_left()
        return hresult.S_OK

    def Error(self, hResult: int, pwcszErrorStr: str | None) -> int:
        with self._lock:
            if self.result is None:
                self.status = "running"
                self._pace.problem()
                self._list(hresult.signed(hResult), pwcszErrorStr)
        return hresult.S_OK

    def Done(self, hThreadDoneEvent: Any, hResult: int) -> int:
        with self._lock:
            late = self.result is not None
            if not late:
                self.result = hresult.signed(hResult)
                self.status = _final_status(self.result)
                self.calls_left = None
        if not late:
            _close(hThreadDoneEvent)
        return hresult.S_OK

    @property
    def percent(self) -> int:
        """How much of the step is done, 0 where its maximum says nothing (U5)."""
        index, maximum = self.index, self.maximum
        return min(index, maximum) * 100 // maximum if maximum > 0 else 0

    def state(self) -> dict[str, Any]:
        """What the dialog shows, as plain data."""
        with self._lock:
            return {
                "status": self.status,
                "result": self.result,
                "step": self.step,
                "percent": self.percent,
                "calls_left": self.calls_left,
                "problems": [problem._asdict() for problem in self.problems],
                "problems_dropped": self.problems_dropped,
            }

    def invariant(self) -> None:
        """Raises AssertionError where the dialog shows what it never may."""
        with self._lock:
            assert 0 <= self.percent <= 100, f"{self.percent} %"
            assert self.calls_left is None or self.calls_left >= 0, f"{self.calls_left} calls left"
            assert len(self.problems) <= MAX_PROBLEMS, f"{len(self.problems)} problems listed"
            texts = [self.step, *(problem.text for problem in self.problems)]
            assert all(len(text) <= MAX_TEXT for text in texts), "a text is too long"
            assert (self.result is None) == (self.status in ("waiting", "running")), self.status

    def _list(self, result: int, text: str | None) -> None:
        if len(self.problems) == MAX_PROBLEMS:
            self.problems_dropped += 1
            return
        shown = hresult.describe(result) if text is None else _shown(text)
        self.problems.append(Problem(result, _severity(result), shown, self.step))


class HastyPace:
    """The pace since the last problem, for what came before it was another server's mood.

    A problem is a pause: the reports before it tell little of how the rest will go.  So the pace counts from
    where the step stood then: the share of the remainder that was done since, and the calls that took.

    The bug: a problem may well come with the last item of a step, index = maximum.  Then the remainder is
    empty, and the next report of the same maximum (the item tried again, or the step's last word)
    divides by zero.  A new maximum starts afresh, which is why real runs with problems hardly ever show it:
    after the last item nearly all of them go on to another step.
    """

    def __init__(self) -> None:
        self._index = self._maximum = 0
        self._start = 0
        self._calls = 0

    def report(self, index: int, maximum: int) -> None:
        if maximum != self._maximum:
            self._start = self._calls = 0
        self._index, self._maximum = index, maximum
        self._calls += 1

    def problem(self) -> None:
        self._start, self._calls = self._index, 0

    def calls_left(self) -> int | None:
        if self._maximum == 0:
            return None
        share = (self._index - self._start) / (self._maximum - self._start)
        return max(0, math.ceil(self._calls / share - self._calls)) if share > 0 else None


class HastySendReceiveDialog(SendReceiveDialog):
    """The dialog with `HastyPace`: a conforming sequence of three calls makes it raise ZeroDivisionError.

    Progress("Sending message 1 of 1", 1, 1)
    Error(MAPI_E_NOT_ENOUGH_DISK, "Quota exceeded")
    Progress("Message 1 is kept for later", 1, 1)
    """

    def __init__(self) -> None:
        super().__init__(HastyPace())


def _shown(text: str) -> str:
    """The text as a line of the dialog: data, never a format, on one line and in one direction (H12)."""
    line = text[: MAX_TEXT + 1].translate(_UNSHOWABLE)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def _severity(result: int) -> str:
    """Warnings stay warnings (H13)."""
    if hresult.failed(result):
        return "error"
    return "information" if result == hresult.S_OK else "warning"


def _final_status(result: int) -> str:
    if hresult.failed(result):
        return "cancelled" if result in _CANCELLED else "failed"
    return "succeeded" if result == hresult.S_OK else "succeeded with warnings"


def _close(handle: Any) -> None:
    """Close the sync event, if there is one that can be closed (H8, H14); a failure to do so is not news."""
    close = getattr(handle, "close", None)
    if close is not None:
        with contextlib.suppress(OSError):
            close()
