"""Native providers: a library's IMAPISync is started as a host starts it, and what it calls is recorded.

    symbol -> IMAPISync -> SynchronizeInBackground(MAPISIB) -> the provider's own thread -> callback -> trace

A run is over when the event in *phSyncDoneEvent is signalled and the provider has given back the references that
it took on the callback.  Who signals the event, and whether before or after its handle is given back, is open
(U1), and so is who closes it (U2).  What the trace cannot tell (the answer, the event, the references held at the
end) is the `NativeRun` that comes out; `recorder.obligations` judges both.

Everything is called from a thread that has initialised COM; see `recorder.apartment`.  A provider may bring its
process down: `recorder.native_process` does the same in a child process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from recorder import com
from recorder.apartment import Apartment
from recorder.calls import Enter
from recorder.contract import contract_of
from recorder.errors import TraceError
from recorder.interfaces import IMAPI_SYNC, IMAPI_SYNC_PROGRESS_CALLBACK, MAPISIB
from recorder.library import Factory, LibraryError, is_library
from recorder.native_callback import Answering, DoneEvent, Forwarding, Recorded
from recorder.provider import one_line, room_for
from recorder.session import Bounds
from recorder.session_input import parts
from recorder.store import expose_store, load_store
from recorder.trace_input import TraceInput
from recorder.writer import live_header

if TYPE_CHECKING:
    from recorder.redaction import Redaction

__all__ = ["TIMEOUT", "NativeRun", "record_native"]

TIMEOUT: Final = 300.0
"""Seconds that a sync may take, unless told otherwise."""

_SLICE = 0.02  # seconds between two looks
_SETTLE = 0.2  # seconds of watching for late calls once a run is over
_GRACE = 1.0  # seconds without a call after which references that are still held are held for good
_PATIENCE = 5.0  # seconds for the provider's last Release

_INTERFACE = IMAPI_SYNC_PROGRESS_CALLBACK
_T = TypeVar("_T")


@dataclass(frozen=True)
class NativeRun:
    """How a sync went, as far as only its process knows.

    `result` is what SynchronizeInBackground answered, None if it has not returned; `early` the number of calls
    that had begun by then.  `event` says whether *phSyncDoneEvent was "open", "missing" or "invalid" (no open
    handle), "late" (stored when the start had returned), or "taken": the host, which was given it, had closed it
    already.  `closed`: the event's handle was closed at the end.  `held`: the references of the callback that the
    provider still had.  `forwarded`: a host took the calls, rather than a script.  `callback`: the provider was
    given one.  `waiting` is what had not come when the time was over, "" if all had.
    """

    result: int | None = None
    early: int = 0
    event: str = "missing"
    closed: bool = False
    held: int = 0
    forwarded: bool = False
    callback: bool = True
    waiting: str = ""
    notes: tuple[str, ...] = ()


def record_native(
    provider: str | object,
    path: str | os.PathLike[str],
    *,
    inner: object = None,
    forward: str | None = None,
    answers: Mapping[str, Any] | None = None,
    flags: int | None = None,
    timeout: float = TIMEOUT,
    callback: bool = True,
    overwrite: bool = False,
    bounds: Bounds | None = None,
    sync: float | None = None,
    redact: Redaction | None = None,
    **header: Any,
) -> NativeRun:
    """Run the provider `path/library.so:symbol` and record its calls to `path`, in this process.

    A provider may also be a store in Python (`recorder.store`): `module:Class`, or the object itself.
    The calls are forwarded to `inner`, a Python callback, or to the native host that `forward` names in the same
    way; without both they are answered by `answers` (see ScriptedCallback).  `flags` become MAPISIB.ulFlags, 0 if
    None.  `timeout` is in seconds, for the whole; when it is over the provider goes on, unrecorded, and the run
    says what was waited for.  Without `callback` punkCallBack is NULL, which a provider copes with (P4).
    `bounds`, `sync` and `redact` are those of `recorder.session.open_writer`, `header` further fields of the
    trace's Header.

    Raises LibraryError for a library that cannot be used and TraceError if the file cannot be made, both before
    the sync is started.
    """
    deadline = time.monotonic() + timeout
    facts = live_header(interface=_INTERFACE, sync_flags=flags, **header)
    apartment, patience = Apartment(), 0.0  # of a provider that hangs, nothing is waited for
    try:
        create = functools.partial(_create, provider, forward)
        try:
            started, host = _within(apartment.submit(create), deadline)
        except NotYet:
            raise LibraryError(f"provider {provider!r}: its factory has not returned in {timeout:g} s") from None
        event = DoneEvent()
        capture: dict[str, Any] = {"bounds": bounds, "sync": sync, "redact": redact}
        with contextlib.ExitStack() as room:
            for there in [Path(path), *(part for _, part in parts(path))]:
                room.enter_context(room_for(there, overwrite))
            if bounds is not None and os.path.lexists(path):
                raise TraceError("exists already; it is left as it is", path=path)
            recorded: Recorded = (
                Forwarding(host, path, facts, event, **capture)
                if host is not None
                else Answering(inner, path, facts, event, answers, **capture)
            )
        try:
            run = _Session(started, recorded, event, path, apartment, deadline).run(flags or 0, callback)
        except BaseException as error:
            recorded.close(_reason(error) if redact is None else type(error).__name__)
            raise
        patience = 0.0 if run.waiting else _PATIENCE
        return run
    finally:
        apartment.close(patience)


def _reason(error: BaseException) -> str:
    return "it was interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)


def _create(provider: str | object, forward: str | None) -> tuple[com.Pointer, com.Pointer | None]:
    """The provider, and the native host if there is one."""
    factory = Factory(provider, "provider") if isinstance(provider, str) and is_library(provider) else None
    host = None if forward is None else Factory(forward, "callback factory").create(_INTERFACE)
    if factory is not None:
        return factory.create(IMAPI_SYNC), host
    return (load_store(provider) if isinstance(provider, str) else expose_store(provider)), host


def _within(future: Future[_T], deadline: float) -> _T:
    """The future's result.  Raises NotYet at the deadline; no wait is long, so that Ctrl-C gets through."""
    while True:
        try:
            return future.result(min(0.1, max(0.0, deadline - time.monotonic())))
        except NotYet:
            if future.done() or time.monotonic() >= deadline:
                raise


# --- a sync ---------------------------------------------------------------------------------------------------


class _Session:
    """One call of SynchronizeInBackground and all that follows from it."""

    def __init__(
        self,
        sync: com.Pointer,
        recorded: Recorded,
        event: DoneEvent,
        path: str | os.PathLike[str],
        apartment: Apartment,
        deadline: float,
    ):
        self._sync = sync
        self._recorded = recorded
        self._event = event
        self._path = path
        self._apartment = apartment
        self._deadline = deadline

    def run(self, flags: int, callback: bool) -> NativeRun:
        result, early, filled, waiting = None, 0, True, ""
        packed = MAPISIB.pack(
            {
                "ulSize": MAPISIB.size(),
                "ulFlags": flags,
                "punkCallBack": self._recorded.pointer if callback else 0,
                "phSyncDoneEvent": self._event.address,
            }
        )
        sib = ctypes.create_string_buffer(packed, len(packed))

        def start() -> tuple[int, bool, int]:
            answer = self._sync.SynchronizeInBackground(ctypes.addressof(sib))
            self._event.look()
            return answer, self._event.handle is not None, self._traced().begun

        try:
            result, filled, early = _within(self._apartment.submit(start), self._deadline)
        except NotYet:
            waiting = "SynchronizeInBackground has not returned"
        else:
            waiting = self._watch(started=result >= 0)
        event, recorded = self._event, self._recorded
        run = NativeRun(
            result=result,
            early=early,
            event="taken" if self._taken else event.state if filled or event.handle is None else "late",
            closed=event.closed,
            held=recorded.held,
            forwarded=recorded.forwarded,
            callback=callback,
            waiting=waiting,
            notes=tuple(event.notes),
        )
        if waiting:
            recorded.close(waiting)
            return run
        try:
            _within(self._apartment.submit(self._sync.Release), time.monotonic() + _PATIENCE)
        except NotYet:
            run = replace(run, waiting="the provider's last Release has not returned")
        recorded.close()
        event.release(also_given=not recorded.forwarded)
        return run

    @property
    def _taken(self) -> bool:
        """Whether the host may have closed the event before it was looked at: a sync may end before its start."""
        return self._recorded.forwarded and self._event.state == "invalid" and self._traced().final

    def _watch(self, *, started: bool) -> str:
        """Wait until the run is over; what it is not over for when the time is, "" if it is over."""
        over_since = None
        idle = _Idle(self._traced)
        while True:
            over, what = self._over(started, idle)
            now = time.monotonic()
            over_since = (now if over_since is None else over_since) if over else None
            if over_since is not None and now - over_since >= _SETTLE:
                return ""
            if now >= self._deadline and not over:
                return what
            time.sleep(_SLICE)

    def _over(self, started: bool, idle: _Idle) -> tuple[bool, str]:
        """Whether the provider has done what ends a run; if not, what is waited for."""
        event, held = self._event, self._recorded.held > 0
        event.look()
        if not started:
            return not held or idle.long_enough(), "references of a sync that failed to start are still held"
        if event.state != "open":  # the trace alone can tell
            return not held or idle.long_enough(after_final=True), "no event was given, and references are held"
        if event.signalled:
            return not held or idle.long_enough(), "references are still held after the event was signalled"
        if event.closed and self._recorded.forwarded:
            if not held and idle.long_enough():
                event.note("the host closed the event before it was signalled (U1 leaves that open)")
                return True, ""
            return False, "the event has not been signalled; the host has closed it"
        return False, "the event has not been signalled"

    def _traced(self) -> _Traced:
        return _traced(self._path)


@dataclass(frozen=True)
class _Traced:
    """What a trace that is being written shows: calls begun and still running, and whether the last call came."""

    begun: int = 0
    running: int = 0
    final: bool = False


def _traced(path: str | os.PathLike[str]) -> _Traced:
    contract = contract_of(_INTERFACE)
    begun = ended = 0
    final = False
    with TraceInput(path).source() as source:
        for event in source.events():
            if isinstance(event, Enter):
                begun += 1
                final = final or event.call.method in contract.terminal
            else:
                ended += 1
    return _Traced(begun, begun - ended, final)


class _Idle:
    """Tells whether no call has run for some time; asked again and again, it looks now and then."""

    def __init__(self, look: Callable[[], _Traced]):
        self._look = look
        self._last = look()
        self._since = self._looked = time.monotonic()

    def long_enough(self, *, after_final: bool = False) -> bool:
        now = time.monotonic()
        if now - self._looked >= _GRACE / 4:
            self._looked = now
            found = self._look()
            if found != self._last or found.running:
                self._last, self._since = found, now
        return now - self._since >= _GRACE and (self._last.final or not after_final)
