"""What a native provider is given: a callback that records, and a place to store its event.

An event's handle may be closed by the host as soon as it is given back, so it is duplicated first: the end of a
run is waited for with a handle of our own.  The value that was stored is the trace's `sync-event`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from recorder import com, events
from recorder.callback import RecordingCallback
from recorder.calls import SYNC_EVENT, Header
from recorder.interface import Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.recorded_pointer import record_pointer
from recorder.session import open_writer

__all__ = ["Answering", "DoneEvent", "Forwarding", "Recorded"]

OURS: Final = 16  # references that we hold, so that a Release too many leaves an object to call


# --- the event ------------------------------------------------------------------------------------------------


class DoneEvent:
    """Where the provider stores its event, and a handle of our own for it once it has."""

    def __init__(self) -> None:
        self._cell = ctypes.c_void_p()
        self._lock = threading.Lock()
        self._own: int | None = None
        self._fired = False
        self.handle: int | None = None  # what was stored
        self.given = False  # handed to the callback
        self.notes: list[str] = []

    @property
    def address(self) -> int:
        return ctypes.addressof(self._cell)

    def look(self) -> None:
        """Take notice of what the provider has stored, as soon as it has."""
        with self._lock:
            if self.handle is None and self._cell.value:
                self.handle = self._cell.value
                self._own = events.duplicate(self.handle)

    def give(self) -> None:
        """The provider is giving the handle back."""
        if not self.given:
            self.given = True
            if self.signalled:
                self.note("the event was signalled before its handle was given back (U1 leaves that open)")

    def note(self, text: str) -> None:
        """What breaks no rule, and is good to know; once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def state(self) -> str:
        if self.handle is None:
            return "missing"
        return "invalid" if self._own is None else "open"

    @property
    def signalled(self) -> bool:
        """Whether it is, or was when asked before: asking takes the signal of an event that resets itself."""
        if not self._fired and self._own is not None:
            self._fired = events.wait(self._own, 0)
        return self._fired

    @property
    def closed(self) -> bool:
        """Whether somebody has closed the handle that was stored, as far as the system can tell."""
        if self.handle is None or self._own is None:
            return False
        return events.same(self.handle, self._own) is False

    def release(self, *, also_given: bool) -> None:
        """Close our own handle; `also_given`: and the one that we were given to close, if it is still open."""
        if self._own is None or self.handle is None:
            return
        if also_given and self.given and events.same(self.handle, self._own):
            events.close(self.handle)
        events.close(self._own)


# --- what the provider is given ---------------------------------------------------------------------------------


class Recorded(Protocol):
    """The pointer that a provider calls."""

    pointer: int
    forwarded: bool

    @property
    def held(self) -> int:
        """References that others than we hold."""

    def close(self, reason: str | None = None) -> None:
        """End the trace; `reason` if that is before the provider's end."""


class Answering:
    """A recording callback that stands on a Python object."""

    def __init__(
        self,
        inner: object,
        path: str | os.PathLike[str],
        header: Header,
        event: DoneEvent,
        answers: Mapping[str, Any] | None,
        **capture: Any,
    ):
        """`capture` are options of `recorder.session.open_writer`."""
        self.forwarded = inner is not None
        self._event = event
        self._writer = open_writer(path, header, **capture)
        callback = RecordingCallback(inner, interface=SYNC, writer=self._writer, answers=answers)
        for method in SYNC.calls:
            handles = [n for n, p in enumerate(method.inputs) if p.type is Type.HANDLE]
            function = getattr(callback, method.name)
            setattr(self, method.name, self._opened(function, handles) if handles else function)
        self._exposed = com.expose(self, SYNC, observer=callback, references=OURS)
        self.pointer = self._exposed.pointer

    def _opened(self, function: Callable[..., Any], handles: list[int]) -> Callable[..., Any]:
        """The method with handles that a Python host can close; the sync's event is known before the record."""

        def method(*args: Any) -> Any:
            event = self._event
            event.look()
            if event.handle is not None:
                self._writer.tokens.setdefault(event.handle, SYNC_EVENT.token)
            values = [events.OpenHandle(v) if n in handles and v is not None else v for n, v in enumerate(args)]
            if any(event.handle == values[n] for n in handles if values[n] is not None):
                event.give()
            return function(*values)

        return method

    @property
    def held(self) -> int:
        return self._exposed.references - OURS

    def close(self, reason: str | None = None) -> None:
        self._writer.close(reason)
        if reason is None:
            self._exposed.release()


class Forwarding:
    """A recording pointer between the provider and a native host."""

    forwarded = True

    def __init__(
        self,
        host: com.Pointer,
        path: str | os.PathLike[str],
        header: Header,
        event: DoneEvent,
        **capture: Any,
    ):
        """`capture` are options of `recorder.session.open_writer`."""
        self._event = event
        self._recorded = record_pointer(host.pointer, path, header=header, sync_event_at=event.address, **capture)
        host.Release()  # the recording pointer has a reference of its own
        self.pointer = self._recorded.pointer

    @property
    def held(self) -> int:
        return self._recorded.references - 1

    def close(self, reason: str | None = None) -> None:
        if reason is None:
            self._recorded.close()
        else:  # the provider may still call, and the trace reads as cut off
            ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._recorded, self._event)))
