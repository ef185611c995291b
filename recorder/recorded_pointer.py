"""An interface pointer that records: what a native provider is given instead of its host's pointer.

By the compiled core where there is one, else by a RecordingCallback between two ctypes borders.  Both write the
same trace and answer IUnknown's methods alike: the interface's own IID, those of its bases and IUnknown's give the
recorded pointer, any other E_NOINTERFACE, and the count is its own.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from types import TracebackType
from typing import Any, Protocol, Self

from recorder import com
from recorder.callback import RecordingCallback
from recorder.calls import SYNC_EVENT, Argument, Header
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.writer import TraceWriter, live_header

__all__ = ["RecordedPointer", "record_pointer"]


class RecordedPointer(Protocol):
    """What `record_pointer` gives: `pointer` is for native callers, the rest is its owner's.

    The owner has one reference, which `close` gives back; the provider's AddRef and Release are counted beside it
    and recorded.  Dropping it without `close` leaks the reference, as it would in C; the trace is then ended when
    the process ends.
    """

    @property
    def pointer(self) -> int:
        """The address to call instead of the inner one."""

    @property
    def compiled(self) -> bool:
        """Whether the compiled core records."""

    @property
    def references(self) -> int:
        """The count at this moment, the owner's reference included while it is held; 0 once the object is gone."""

    @property
    def stopped(self) -> str | None:
        """Why recording stopped early; None if it did not."""

    def set_sync_event(self, handle: int) -> None:
        """From now on this handle is the sync's own event, unless it has been seen as another."""

    def close(self) -> None:
        """End the trace and give up the owner's reference; again does nothing.

        Whoever still holds a reference can call on: such calls are forwarded and not recorded.  With the last
        reference the inner pointer is released, too.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def record_pointer(
    inner: int,
    path: str | os.PathLike[str],
    *,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    header: Header | None = None,
    sync_event: int | None = None,
    sync_event_at: int | None = None,
) -> RecordedPointer:
    """Record to a new file at `path` what is called on the pointer that this gives, and forward it to `inner`.

    `inner` is the address of an interface pointer, of which a reference is taken.  The trace shows the handle
    `sync_event` as the sync's own event; likewise whatever stands at the address `sync_event_at` (a HANDLE's, as
    phSyncDoneEvent is, readable until `close`) when a handle is seen for the first time, so that the provider may
    store it there while it already calls back.

        with record_pointer(host, "run.tape", sync_event_at=ctypes.addressof(event)) as recorded:
            provider(recorded.pointer)

    When the disk is full recording stops with one RecordingWarning, and calls are still forwarded.  Raises
    TraceError, before anything is called, if the file exists or cannot be made, ValueError if `inner` is NULL, and
    InterfaceError for an interface that cannot be expressed.
    """
    if header is None:
        header = live_header(interface=interface)
    return _ThroughPython(inner, path, interface, header, sync_event, sync_event_at)


class _ThroughPython:
    """A recorded pointer without the core."""

    compiled = False

    def __init__(
        self,
        inner: int,
        path: str | os.PathLike[str],
        interface: Interface,
        header: Header,
        sync_event: int | None,
        sync_event_at: int | None,
    ):
        wrapped = com.wrap(inner, interface)
        self._writer = _Watching(path, header, sync_event=sync_event, sync_event_at=sync_event_at)
        callback = RecordingCallback(wrapped, interface=interface, writer=self._writer)
        self._exposed = callback.expose()
        self.pointer = self._exposed.pointer
        wrapped.AddRef()
        weakref.finalize(callback, wrapped.Release).atexit = False  # whoever may call keeps `callback` alive

    @property
    def references(self) -> int:
        return self._exposed.references

    @property
    def stopped(self) -> str | None:
        return self._writer.stopped

    def set_sync_event(self, handle: int) -> None:
        self._writer.tokens.setdefault(handle, SYNC_EVENT.token)

    def close(self) -> None:
        self._writer.close()
        self._writer.cell = None
        self._exposed.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Watching(TraceWriter):
    """A writer that looks for the sync's event where the provider stores it."""

    def __init__(self, *args: Any, sync_event_at: int | None, **options: Any):
        self.cell = None if sync_event_at is None else ctypes.c_void_p.from_address(sync_event_at)
        super().__init__(*args, **options)

    def token(self, value: Any) -> Argument:
        if value not in self.tokens and self.cell is not None and self.cell.value == value:
            self.tokens[value] = SYNC_EVENT.token
        return super().token(value)
