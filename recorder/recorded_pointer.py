"""An interface pointer that records: what a native provider is given instead of its host's pointer.

By the compiled core where there is one, else by a RecordingCallback between two ctypes borders.  Both write the
same trace and answer IUnknown's methods alike: the interface's own IID, those of its bases and IUnknown's give the
recorded pointer, any other E_NOINTERFACE, and the count is its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import msgpack

from recorder import com
from recorder.abi import check
from recorder.callback import RecordingCallback
from recorder.calls import SYNC_EVENT, Argument, Header
from recorder.encoding import MAGIC, VERSION
from recorder.errors import TraceError
from recorder.interface import Interface, Method, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.native import core_of
from recorder.session import Bounds, open_writer
from recorder.session_input import parts
from recorder.trace import describe_header
from recorder.writer import TraceWriter, live_header, warn_once

if TYPE_CHECKING:
    from recorder.redaction import Redaction

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
    inner: object,
    path: str | os.PathLike[str],
    *,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    header: Header | None = None,
    sync_event: int | None = None,
    sync_event_at: int | None = None,
    clock: Sequence[int] | None = None,
    bounds: Bounds | None = None,
    sync: float | None = None,
    redact: Redaction | None = None,
) -> RecordedPointer:
    """Record to a new file at `path` what is called on the pointer that this gives, and forward it to `inner`.

    `inner` is an interface pointer, as an address or as `recorder.com.pointer_of` takes it (a pointer of comtypes
    is one); a reference of it is taken.  The trace shows the handle `sync_event` as the sync's own event; likewise
    whatever stands at the address `sync_event_at` (a HANDLE's, as phSyncDoneEvent is, readable until `close`) when
    a handle is seen for the first time, so that the provider may store it there while it already calls back.

        with record_pointer(host, "run.tape", sync_event_at=ctypes.addressof(event)) as recorded:
            provider(recorded.pointer)

    `bounds`, `sync` and `redact` are those of `recorder.session.open_writer`: what the recording may take on the
    disk, when it is handed to the disk, what takes the words out of all that gets into the file.  The compiled
    core cannot do the last, and does not record then.

    `clock` are readings, in nanoseconds, to take instead of a clock's: one at the start, one for each new thread,
    each enter and each leave.

    When the disk is full recording stops with one RecordingWarning, and calls are still forwarded.  Raises
    TraceError, before anything is called, if the file exists or cannot be made, ValueError if `inner` is NULL, and
    InterfaceError for an interface that cannot be expressed.
    """
    address = inner if isinstance(inner, int) else com.pointer_of(inner)
    if address is None:
        raise TypeError(f"{interface.name}: {type(inner).__name__} is no interface pointer")
    if not address:
        raise ValueError(f"{interface.name}: NULL is no interface pointer")
    check(interface)
    if header is None:
        header = live_header(interface=interface)
    core = core_of("recorder").module
    recorded = _Compiled if redact is None and core is not None and _fits(core, interface) else _ThroughPython
    return recorded(
        _Wanted(address, path, interface, header, sync_event, sync_event_at, clock, bounds, sync, redact)
    )


class _Wanted(NamedTuple):
    """What `record_pointer` was asked for."""

    inner: int
    path: str | os.PathLike[str]
    interface: Interface
    header: Header
    sync_event: int | None
    sync_event_at: int | None
    clock: Sequence[int] | None
    bounds: Bounds | None
    sync: float | None
    redact: Redaction | None


class _Owner:
    """`close` at the end of a `with`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ThroughPython(_Owner):
    """A recorded pointer without the core."""

    compiled = False

    def __init__(self, wanted: _Wanted):
        wrapped = com.wrap(wanted.inner, wanted.interface)
        at = wanted.sync_event_at
        self._cell = [] if at is None else [ctypes.c_void_p.from_address(at)]
        self._writer = open_writer(
            wanted.path,
            wanted.header,
            bounds=wanted.bounds,
            clock=time.monotonic_ns if wanted.clock is None else iter(wanted.clock).__next__,
            kind=_Watching,
            sync_event=wanted.sync_event,
            cell=self._cell,
            sync=wanted.sync,
            redact=wanted.redact,
        )
        callback = RecordingCallback(wrapped, interface=wanted.interface, writer=self._writer)
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
        self._cell.clear()
        self._exposed.release()


class _Watching(TraceWriter):
    """A writer that looks for the sync's event where the provider stores it, as long as `cell` holds the place."""

    def __init__(self, *args: Any, cell: list[ctypes.c_void_p], **options: Any):
        self._cell = cell
        super().__init__(*args, **options)

    def token(self, value: Any) -> Argument:
        if value not in self.tokens and self._cell and self._cell[0].value == value:
            self.tokens[value] = SYNC_EVENT.token
        return super().token(value)


# --- compiled ------------------------------------------------------------------------------------------------

_TYPES = list(Type)  # in the order of synctape_type
_OUT, _BY_ADDRESS = 16, 32
_EACH = -1  # SYNCTAPE_SYNC_EACH


def _fits(core: Any, interface: Interface) -> bool:
    """Whether the core has entries for so many methods and parameters, and knows the root."""
    return (
        interface.root.iid == IUNKNOWN.iid
        and len(interface.slots) <= core.MAX_SLOTS
        and all(len(method.parameters) <= core.MAX_PARAMETERS for method in interface.slots)
    )


class _Compiled(_Owner):
    """A recorded pointer by the core.  What is left of it at the end is never freed, so it can always be asked."""

    compiled = True

    def __init__(self, wanted: _Wanted):
        self._core = core_of("recorder").module
        self._path = os.fspath(wanted.path)
        self._owns = True
        bounds, sync = wanted.bounds, wanted.sync
        if bounds is not None and (there := parts(wanted.path)):
            raise TraceError("exists already; it is left as it is", path=there[0][1])
        host = com.wrap(wanted.inner, wanted.interface)
        host.AddRef()
        try:
            self.pointer: int = self._core.record(
                wanted.inner,
                os.fsencode(wanted.path),
                msgpack.packb((MAGIC, VERSION, describe_header(wanted.header))),
                tuple(_iids(wanted.interface)),
                tuple(_types(method) for method in wanted.interface.slots),
                wanted.sync_event or 0,
                wanted.sync_event_at or 0,
                None if wanted.clock is None else tuple(wanted.clock),
                bounds.total if bounds is not None else 0,
                bounds is not None and not bounds.keep_first,
                0 if sync is None else int(sync * 1e9) or _EACH,
            )
        except BaseException as error:
            host.Release()
            if isinstance(error, OSError):
                raise TraceError(str(error), path=wanted.path) from None
            if isinstance(error, ValueError):  # a NUL in the path
                raise TraceError(f"cannot be written: {error}", path=wanted.path) from None
            raise
        self._done = threading.Event()
        if sync:  # the core does it with the calls that come
            threading.Thread(target=_flush, args=(self._core, self.pointer, sync, self._done), daemon=True).start()

    @property
    def references(self) -> int:
        return int(self._core.references(self.pointer))

    @property
    def stopped(self) -> str | None:
        reason: str | None = self._core.stopped(self.pointer)
        return reason

    def set_sync_event(self, handle: int) -> None:
        self._core.set_sync_event(self.pointer, handle)

    def close(self) -> None:
        if self._owns:
            self._owns = False
            self._done.set()
            self._core.close(self.pointer)
            if self.stopped is not None:
                warn_once(f"{self._path}: recording stopped ({self.stopped}); calls are still forwarded")


def _flush(core: Any, pointer: int, seconds: float, done: threading.Event) -> None:
    """A thread: hands what was written to the disk, also while no calls come."""
    while not done.wait(seconds) and core.stopped(pointer) is None:
        core.flush(pointer)


def _iids(interface: Interface) -> list[str]:
    return [interface.iid, *(_iids(interface.base) if interface.base else ())]


def _types(method: Method) -> bytes:
    """The type returned and those of the parameters, a byte each."""
    parameters = (
        _TYPES.index(p.type) | (_OUT if p.is_out else 0) | (_BY_ADDRESS if p.pointer else 0)
        for p in method.parameters
    )
    return bytes((_TYPES.index(method.returns), *parameters))
