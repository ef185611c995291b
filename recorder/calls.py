"""The values that flow through every floor: Call, Outcome, Enter, Leave, Header, Trace.  No I/O here.

A call is what is asked; an outcome is what came of it.  A trace is a header and events in the order in which
they happened: an Enter when a call begins, a Leave when it ends, tied by the call's number.  So nested and
concurrent calls are seen as they were, and a call in whose middle the process died is one without a Leave.

Arguments are None (NULL), int, str (UTF-16 text, lone surrogates and all) or a symbolic `Handle`.  What a
Python provider passed against the interface's types is kept too: bool, float, bytes, or an `Opaque` that
shows the value without holding it.  HRESULTs are signed 32-bit ints.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK

__all__ = [
    "NOT_RUN",
    "SYNC_EVENT",
    "Argument",
    "Call",
    "Enter",
    "Event",
    "Handle",
    "Header",
    "Leave",
    "Opaque",
    "Outcome",
    "OutcomeKind",
    "PlayedCall",
    "Thread",
    "Trace",
    "TraceDamage",
    "pair",
]


class Handle(NamedTuple):
    """A handle by what it was, never its value (interface.md, 4).

    `token` 0 is the event that the sync stored in *phSyncDoneEvent; 1, 2, ... are other handles in the order
    of their first appearance; negative ones are the Win32 pseudo-handles of that value (-1 is
    INVALID_HANDLE_VALUE).
    """

    token: int

    def __repr__(self) -> str:
        return "sync-event" if self.token == 0 else f"handle({self.token})"


SYNC_EVENT = Handle(0)


class Opaque(NamedTuple):
    """A value no interface type covers, as it looked: shown in a trace, never handed to a target."""

    type: str
    repr: str


Argument = None | int | str | Handle | float | bytes | Opaque


class Call(NamedTuple):
    """One invocation.  `thread` is the trace's own thread number, `time_ns` counts from the trace's start.

    `switches` are the change points of a scheduled call (docs/threads.md): n says that before its n-th step its
    thread drops below all others (0: before the call begins), -n that at its n-th occasion its thread makes its
    next call, nested in this one.
    """

    method: str
    args: tuple[Argument, ...] = ()
    thread: int = 0
    time_ns: int = 0
    switches: tuple[int, ...] = ()


class OutcomeKind(enum.StrEnum):
    RETURNED = "returned"
    RAISED = "raised"
    CRASHED = "crashed"
    HUNG = "hung"
    NOT_RUN = "not run"


class Outcome(NamedTuple):
    """What came of a call.

    `value` is what it returned (an HRESULT as signed int, None where a Python callback returned None).
    `detail` is the exception's type and message, the signal's or NTSTATUS' name, or why a call did not run;
    `place` says where in the target ("file.py:12 in Progress", innermost frame of the target's own code).
    `outputs` are the out parameters.
    """

    kind: OutcomeKind = OutcomeKind.RETURNED
    value: Argument = 0
    elapsed_ns: int = 0
    detail: str = ""
    place: str = ""
    outputs: tuple[Argument, ...] = ()


NOT_RUN = Outcome(OutcomeKind.NOT_RUN, None)


class Enter(NamedTuple):
    """Call `number` (from 0, in order of entry) begins."""

    number: int
    call: Call


class Leave(NamedTuple):
    """Call `number` ends, `outcome.elapsed_ns` after it began."""

    number: int
    outcome: Outcome


Event = Enter | Leave


class PlayedCall(NamedTuple):
    """The derived view: a call and its outcome, None while it has none (the process died inside it)."""

    number: int
    call: Call
    outcome: Outcome | None


class Thread(NamedTuple):
    """A thread of the recorded process: the system's id and a name, both only to show."""

    native_id: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class TraceDamage:
    """Where and why reading stopped: everything before `offset` (bytes) is sound, `events` of it were read.

    An `offset` of 0 is none: files in the middle of a session are missing, and what is left was read to its end.
    """

    offset: int
    reason: str
    events: int = 0

    def __str__(self) -> str:
        return f"{self.reason} at byte {self.offset}, after {self.events} events" if self.offset else self.reason


@dataclass(frozen=True)
class Header:
    """What a trace says of itself; docs/trace-format.md gives every field.

    `created_ns` anchors the trace's start to the wall clock (ns since 1970 UTC, 0 if unknown).  `tick_ns` is
    the clock step that times are multiples of.  `scheduled`: calls of several threads run at the same time, as
    threads and switches say.  `extra` keeps fields of newer versions as they were.
    """

    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK
    created_ns: int = 0
    tick_ns: int = 1024
    pointer_size: int = 8
    sync_flags: int | None = None
    redaction: str | None = None
    scheduled: bool = False
    process: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A header and events.  `damage` tells where a reader had to stop, if it had to."""

    header: Header = field(default_factory=Header)
    events: tuple[Event, ...] = ()
    threads: tuple[Thread, ...] = (Thread(),)
    damage: TraceDamage | None = None

    @classmethod
    def from_calls(
        cls, calls: Iterable[Call], header: Header | None = None, outcomes: Sequence[Outcome] | None = None
    ) -> Trace:
        """One call after the other, with the given outcomes or as not run."""
        events: list[Event] = []
        threads = 1
        for number, call in enumerate(calls):
            events.append(Enter(number, call))
            events.append(Leave(number, outcomes[number] if outcomes is not None else NOT_RUN))
            threads = max(threads, call.thread + 1)
        return cls(header or Header(), tuple(events), (Thread(),) * threads)

    @property
    def interface(self) -> Interface:
        return self.header.interface

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """The calls in the order in which they were entered."""
        return tuple(event.call for event in self.events if isinstance(event, Enter))

    @cached_property
    def played(self) -> tuple[PlayedCall, ...]:
        """Each call with its outcome, in order of entry."""
        return tuple(pair(self.events))

    def with_provenance(self, **facts: Any) -> Trace:
        """The same trace with facts about its origin added to the header."""
        header = replace(self.header, provenance={**self.header.provenance, **facts})
        return replace(self, header=header)


def pair(events: Iterable[Event]) -> Iterator[PlayedCall]:
    """Pair enters with leaves; a call is given out as soon as every earlier one has ended."""
    open_calls: dict[int, Call] = {}
    ended: dict[int, Outcome] = {}
    next_number = 0
    for event in events:
        if isinstance(event, Enter):
            open_calls[event.number] = event.call
        else:
            ended[event.number] = event.outcome
            while next_number in ended:
                yield PlayedCall(next_number, open_calls.pop(next_number), ended.pop(next_number))
                next_number += 1
    for number, call in sorted(open_calls.items()):
        yield PlayedCall(number, call, ended.pop(number, None))
