"""The recording callback: stands between a provider and its host and writes every call to a trace.

Arguments, answers and exceptions pass unchanged, in nested and concurrent calls too; the enter event is on
file before the call is forwarded.  Nothing that goes wrong in recording reaches either side.

Each method is compiled once from the interface's description into a function that does the usual case (an
interned text, numbers below 2**16, an S_OK answer) with two clock reads, one struct pack and two memory
copies; every other case takes the writer's general way.
"""

from __future__ import annotations

import functools
import os
import struct
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import TYPE_CHECKING, Any

from recorder import hresult
from recorder.calls import Header, Outcome, OutcomeKind
from recorder.encoding import CHECKS, Kind
from recorder.errors import TraceError
from recorder.interface import Interface, Method, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.writer import TICK_BITS, Ticket, TraceWriter, live_header, warn_once

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
        return lambda *args: next(answer, hresult.S_OK)
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes | tuple):
        return _scripted(iter(answer))
    return lambda *args: answer


class RecordingCallback:
    """A callback object with the interface's methods, recording to `path` and forwarding to `inner`.

    Without `inner` it answers by `answers` (see ScriptedCallback).  If the file cannot be made it warns once
    and forwards all the same.  Other attributes are those of `inner`.
    """

    def __init__(
        self,
        inner: Any = None,
        path: str | os.PathLike[str] | None = None,
        *,
        interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
        answers: Answers | None = None,
        header: Header | None = None,
        writer: TraceWriter | None = None,
    ):
        if writer is None and path is None:
            raise TypeError("RecordingCallback needs a path or a writer")
        self.inner = ScriptedCallback(interface, answers) if inner is None else inner
        self.interface = interface
        self.writer = writer
        if writer is None and path is not None:
            try:
                self.writer = TraceWriter(path, header or live_header(interface=interface))
            except TraceError as error:
                warn_once(f"{error}; calls are still forwarded")
        for slot, method in enumerate(interface.slots):
            if method.name not in interface.unknown:
                function = _method(self.writer, self.inner, interface, slot) if self.writer else None
                setattr(self, method.name, function or getattr(self.inner, method.name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __enter__(self) -> RecordingCallback:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
        return lambda result: writer.leave(ticket, _returned(self.interface.method(method), result))


@contextmanager
def recording(
    inner: Any,
    path: str | os.PathLike[str],
    *,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    **options: Any,
) -> Iterator[RecordingCallback]:
    """`with recording(host, "run.tape") as callback: provider(callback)` - the trace is whole at the end."""
    callback = RecordingCallback(inner, path, interface=interface, **options)
    try:
        yield callback
    finally:
        callback.close()


def _returned(method: Method, answer: Any) -> Outcome:
    """What a Python method answered, taken apart into result and outputs."""
    from recorder.writer import storable

    if method.outputs and isinstance(answer, tuple):
        return Outcome(value=storable(answer[0] if answer else None), outputs=tuple(map(storable, answer[1:])))
    return Outcome(value=storable(answer))


def _raised(error: BaseException) -> Outcome:
    lines = traceback.format_exception_only(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return Outcome(OutcomeKind.RAISED, None, 0, lines[-1].strip()[:2000], place)


# --- the compiled methods ------------------------------------------------------------------------------------

_MISSING = object()

_PACKED = {  # how the fast path packs an argument: struct code, then the values that it takes
    Type.TEXT: ("3s", "texts[{0}]"),
    Type.IID: ("3s", "texts[{0}]"),
    Type.HANDLE: ("b", "handles[{0}]"),
    Type.POINTER: ("b", "handles[{0}]"),
    Type.U32: ("BH", "0xCD, {0}"),
    Type.U64: ("BH", "0xCD, {0}"),
    Type.BOOL: ("Bi", "0xD2, {0}"),
    Type.I32: ("Bi", "0xD2, {0}"),
    Type.I64: ("Bi", "0xD2, {0}"),
    Type.HRESULT: ("Bi", "0xD2, {0}"),
}

_TEMPLATE = """
def {name}({signature}*rest, **keywords):
    try:
        {require}
        stream = local.stream
        start = clock() >> {tick_bits}
        record = pack(head, start - stream.last, stream.number{values})
        writer.write(record + checks[adler32(record) & 255])
        stream.last = start
        stream.count = count = stream.count + 1
    except Exception:
        return general(({arguments}) + rest, keywords)
    try:
        answer = inner.{name}({arguments_plain})
    except BaseException as error:
        failed(stream, start, count, error)
        raise
    if answer is S_OK and stream.count == count:
        try:
            writer.write(stream.leaves[(clock() >> {tick_bits}) - start])
            return answer
        except Exception:
            pass
    returned(stream, start, count, answer)
    return answer
"""


@functools.lru_cache(maxsize=256)
def _compiled(name: str, types: tuple[Type, ...]) -> tuple[CodeType, str]:
    """The code of a method with parameters of these types, and the struct format of its enter record."""
    parameters = [f"a{position}" for position in range(len(types))]
    arguments = ", ".join(parameters)
    codes, values = "", ""
    for parameter, kind in zip(parameters, types, strict=True):
        code, value = _PACKED[kind]
        codes += code
        values += ", " + value.format(parameter)
    last = parameters[-1] + " is MISSING" if parameters else "False"
    source = _TEMPLATE.format(
        name=name,
        signature="".join(f"{p}=MISSING, " for p in parameters),
        require=f"if rest or keywords or {last}: raise ValueError",
        tick_bits=TICK_BITS,
        values=values,
        arguments=arguments + "," if arguments else "",
        arguments_plain=arguments,
    )
    return compile(source, f"<recording {name}>", "exec"), ">3sHb" + codes


def _method(writer: TraceWriter, inner: Any, interface: Interface, slot: int) -> Callable[..., Any]:
    method = interface.slots[slot]
    parameters = method.inputs
    code, layout = _compiled(method.name, tuple(p.type for p in parameters))
    names = [p.name for p in parameters]

    def general(args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Any call: unusual arguments or sizes, a thread's first call, a full window, recording stopped."""
        args = tuple(value for value in args if value is not _MISSING)
        ticket = writer.enter(slot, _positional(args, keywords, names))
        try:
            answer = getattr(inner, method.name)(*args, **keywords)
        except BaseException as error:
            writer.leave(ticket, _raised(error))
            raise
        writer.leave(ticket, _returned(method, answer))
        return answer

    def returned(stream: Any, start: int, count: int, answer: Any) -> None:
        writer.leave(Ticket(stream, start, count), _returned(method, answer))

    def failed(stream: Any, start: int, count: int, error: BaseException) -> None:
        writer.leave(Ticket(stream, start, count), _raised(error))

    fields = 3 + len(parameters)
    namespace: dict[str, Any] = {
        "MISSING": _MISSING,
        "S_OK": hresult.S_OK,
        "adler32": zlib.adler32,
        "checks": CHECKS,
        "clock": writer.clock,
        "failed": failed,
        "general": general,
        "handles": writer.handles,
        "head": bytes((0x90 + min(fields, 15), Kind.ENTER + slot, 0xCD)),
        "inner": inner,
        "local": writer.local,
        "pack": struct.Struct(layout).pack if fields <= 15 and Kind.ENTER + slot < 128 else _never,
        "returned": returned,
        "texts": _Texts(writer),
        "writer": writer,
    }
    exec(code, namespace)
    function: Callable[..., Any] = namespace[method.name]
    return function


class _Texts(dict[Any, bytes]):
    """text -> the bytes of its reference; a new text is written down the first time it is asked for."""

    def __init__(self, writer: TraceWriter):
        super().__init__({None: writer.texts[None]})
        self._writer = writer

    def __missing__(self, text: object) -> bytes:
        if type(text) is not str:
            raise KeyError(text)
        self._writer.intern(text)
        reference = self[text] = self._writer.texts[text]
        return reference


def _never(*values: object) -> bytes:
    raise ValueError("this method has no fast path")


def _positional(args: tuple[Any, ...], keywords: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
    """The arguments as a trace shows them: keyword arguments in the places that their names have."""
    if not keywords:
        return args
    rest = dict(keywords)
    placed = [*args, *(rest.pop(name) for name in names[len(args) :] if name in rest)]
    return (*placed, *rest.values())
