"""Which calls of a trace are asked for: by method, by thread, by when they ran, only those that failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recorder.calls import PlayedCall, Thread
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.short import failure_style

__all__ = ["Selection", "SelectionError", "parse_between"]

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_MOMENT = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?(ns|us|ms|s|min|h)?")
_THREAD = re.compile(r"t?(\d{1,9})")


class SelectionError(SynctapeError):
    """A selection that cannot be made: of a method that the interface does not have, a time that is none."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Calls that meet all that is asked; with nothing asked, all calls.

    `methods` and `threads` name what is taken (a thread by its number, `t1` or `1`, or by its name).  `failed`
    takes the calls that answered with a failure, ended in another way than by returning, or never ended.
    `since` and `until` (ns since the trace's start) take the calls that ran at some time between them.
    """

    methods: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    failed: bool = False
    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        return self != Selection()

    def test(self, interface: Interface, threads: Sequence[Thread]) -> Callable[[PlayedCall], bool]:
        """Whether a call is taken.  `threads` may fill meanwhile.

        Raises InterfaceError for a method that the interface does not have.
        """
        methods = {interface.method(name).name for name in self.methods}
        numbers = {int(found[1]) for name in self.threads if (found := _THREAD.fullmatch(name))}
        names = set(self.threads)

        def taken(played: PlayedCall) -> bool:
            call, outcome = played.call, played.outcome
            if methods and call.method not in methods:
                return False
            if names and call.thread not in numbers and threads[call.thread].name not in names:
                return False
            if self.failed and failure_style(outcome) != "failure":
                return False
            if self.until is not None and call.time_ns > self.until:
                return False
            return self.since is None or outcome is None or call.time_ns + outcome.elapsed_ns >= self.since

        return taken


def parse_between(text: str) -> tuple[int | None, int | None]:
    """Two moments from `1.5..3`, in ns; None where one is left out, as in `2min..` and `..300ms`.

    A moment is a number of seconds, or of the unit behind it: ns, us, ms, s, min, h.
    """
    first, dots, last = text.partition("..")
    if not dots or not (first or last):
        raise SelectionError(f"{text!r} is no time between two others; write it as 1.5..3, 2min.. or ..300ms")
    since, until = _moment(first, text), _moment(last, text)
    if since is not None and until is not None and since > until:
        raise SelectionError(f"{text!r} ends before it begins")
    return since, until


def _moment(text: str, whole: str) -> int | None:
    if not text:
        return None
    if not (found := _MOMENT.fullmatch(text)):
        units = ", ".join(filter(None, _UNITS))
        raise SelectionError(f"{whole!r}: {text!r} is no time; write seconds, or a number and one of {units}")
    unit = _UNITS[found[3] or ""]
    decimals = found[2] or ""
    return int(found[1]) * unit + int(decimals or 0) * unit // int("1" + "0" * len(decimals))
