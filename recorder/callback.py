"""The recording callback: stands between a provider and its host and writes every call to a trace.

Arguments, answers and exceptions pass unchanged, in nested and concurrent calls too; the enter event is on
file before the call is forwarded.  Nothing that goes wrong in recording reaches either side.

How a call is recorded in little time is in `recorder.methods`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recorder import hresult
from recorder.calls import Header
from recorder.errors import TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.methods import recording_method, returned
from recorder.session import Bounds, open_writer
from recorder.writer import Redacting, TraceWriter, live_header, warn_once

if TYPE_CHECKING:
    from recorder.com import ExposedObject

__all__ = ["RecordingCallback", "ScriptedCallback", "recording"]

Answers = Mapping[str, Any]


class ScriptedCallback:
    """A host that only answers: by method name a value, an iterator of values, or a callable; S_OK otherwise."""

    def __init__(self, interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK, answers: Answers | None = None):
        script = dict(answers or {})
        for method in interface.calls:
            setattr(self, method.name, _scripted(script.pop(method.name, hresult.S_OK)))
        for name in script:
            interface.method(name)  # raises InterfaceError with the nearest name


def _scripted(answer: Any) -> Callable[..., Any]:
    if callable(answer):
        return answer  # type: ignore[no-any-return]
    if isinstance(answer, Iterator):
        return lambda *args, **keywords: next(answer, hresult.S_OK)
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes | tuple):
        return _scripted(iter(answer))
    return lambda *args, **keywords: answer


class RecordingCallback:
    """A callback object with the interface's methods, recording to `path` and forwarding to `inner`.

    Without `inner` it answers by `answers` (see ScriptedCallback).  `bounds` make it several files
    (`recorder.session`), `sync` and `redact` are those of a TraceWriter.  If the file cannot be made it warns once
    and forwards all the same.  The attributes that `inner` has by now are the callback's too.

    Each callback gets a class of its own: methods of a class without `__getattr__` are called fastest.
    """

    def __new__(cls, *args: Any, **options: Any) -> RecordingCallback:
        return super().__new__(type(cls.__name__, (cls,), {}))

    def __init__(
        self,
        inner: Any = None,
        path: str | os.PathLike[str] | None = None,
        *,
        interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
        answers: Answers | None = None,
        header: Header | None = None,
        writer: TraceWriter | None = None,
        bounds: Bounds | None = None,
        sync: float | None = None,
        redact: Redacting | None = None,
    ):
        if writer is None and path is None:
            raise TypeError("RecordingCallback needs a path or a writer")
        self.inner = ScriptedCallback(interface, answers) if inner is None else inner
        self.interface = interface
        self.writer = writer
        if writer is None and path is not None:
            try:
                facts = header or live_header(interface=interface)
                self.writer = open_writer(path, facts, bounds=bounds, sync=sync, redact=redact)
            except TraceError as error:
                warn_once(f"{error}; calls are still forwarded")
        members: dict[str, Any] = _members(self.inner)
        for slot, method in enumerate(interface.slots):
            if method.name in interface.unknown:
                continue
            if self.writer is None:
                members[method.name] = _forwarded(method.name)
            else:
                install = functools.partial(_install, type(self), method.name)
                members[method.name] = recording_method(self.writer, self.inner, interface, slot, install)
        for name, member in members.items():
            setattr(type(self), name, member)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __enter__(self) -> RecordingCallback:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.writer:  # not `close`: a method of the interface may have this name
            self.writer.close()

    def close(self) -> None:
        """End the trace.  The callback goes on forwarding."""
        if self.writer:
            self.writer.close()

    def expose(self) -> ExposedObject:
        """An interface pointer to this callback for native callers; IUnknown's calls on it are recorded too."""
        from recorder.com import expose

        return expose(self, self.interface, observer=self)

    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        """`recorder.com` tells of QueryInterface, AddRef and Release (its Observer protocol)."""
        writer = self.writer
        if writer is None:
            return None
        ticket = writer.enter(self.interface.slot[method], args)
        return lambda result: writer.leave(ticket, returned(writer, self.interface.method(method), result))


def _install(owner: type, name: str, function: Callable[..., Any]) -> None:
    if owner.__dict__.get(name) is not function:
        setattr(owner, name, function)


def _members(inner: Any) -> dict[str, Any]:
    """What a class needs to show the attributes of `inner` beside its own."""
    own = {*dir(RecordingCallback), "inner", "interface", "writer"}
    members: dict[str, Any] = {
        name: _forwarded(name) for name in dir(inner) if not name.startswith("_") and name not in own
    }
    if hasattr(type(inner), "__getattr__"):  # it has others that nobody knows
        members["__getattr__"] = lambda self, name: getattr(self.__dict__["inner"], name)
    return members


def _forwarded(name: str) -> property:
    return property(lambda self: getattr(self.inner, name), lambda self, value: setattr(self.inner, name, value))


@contextmanager
def recording(
    inner: Any,
    path: str | os.PathLike[str],
    *,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    **options: Any,
) -> Iterator[RecordingCallback]:
    """`with recording(host, "run.tape") as callback: provider(callback)` - the trace is whole at the end."""
    with RecordingCallback(inner, path, interface=interface, **options) as callback:
        yield callback
