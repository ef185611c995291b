"""The methods of a recording callback, compiled from the interface's description.

A compiled method does the usual case (interned texts, known handles, numbers below 2**16, no other call open on
the thread, an answer of S_OK) with two clock reads, one struct pack and two memory copies.  Everything else takes
the writer's general way.  Either way the call is forwarded as it came.
"""

from __future__ import annotations

import functools
import itertools
import keyword
import os
import struct
import zlib
from collections.abc import Callable
from types import CodeType
from typing import Any

from recorder import hresult
from recorder.calls import Handle, Outcome, OutcomeKind
from recorder.encoding import CHECKS, SHORT_RECORD, Kind
from recorder.facts import TICK_BITS
from recorder.interface import Interface, Method, Type
from recorder.writer import Stream, TraceWriter

__all__ = ["raised", "recording_method", "returned"]

_MISSING = object()
_NOTHING = ()

_U16, _U32, _I32 = 0xCD, 0xCE, 0xD2  # the byte before an integer, by its size
_CODES = {_U16: "H", _U32: "I", _I32: "i"}
_UNSIGNED = {Type.U32, Type.U64}
_TEXTS = (Type.TEXT, Type.IID)
_HANDLES = (Type.HANDLE, Type.POINTER)
_NULL_BYTE = 0xC0 - 0x100  # msgpack's nil as a signed byte, as handles' tokens are packed
_LARGEST_TOKEN = 0x7F
_MAX_DETAIL = 2000  # characters of an exception's message

_BYTES = bytes(range(256)) * 2
_SUMS = list(b"".join(_BYTES[high : high + 256] for high in range(256)))  # of a number's two bytes
_LONG_CHECKS = CHECKS * 16  # indexed by the sum of at most 16 such sums
_MAX_PARAMETERS = 12

_TEMPLATE = """
def method(self, {signature}/, *rest, **keywords):
    ticks = 0
    try:
        stream = local.stream
        if rest is not NOTHING or keywords or stream.call is not None:
            raise ValueError
        {lookups}
        start = clock() >> {tick_bits}
        ticks = start - stream.last
        stream.last = start
        {write}
        stream.call = start
    except Exception:
        pass  # the call is made below, where no exception is being handled
    else:
        took = None
        try:
            answer = inner.{name}({forwarded})
        except BaseException as error:
            failed(stream, start, error)
            raise
        if answer is S_OK and stream.call is start:
            stream.call = None
            try:
                took = (clock() >> {tick_bits}) - start
                write(stream.returns[took])
                return answer
            except Exception:
                pass
        answered(stream, start, answer, took)
        return answer
    return general(({arguments}*rest,), keywords, ticks)
"""


def recording_method(
    writer: TraceWriter,
    inner: Any,
    interface: Interface,
    slot: int,
    install: Callable[[Callable[..., Any]], None] = lambda function: None,
) -> Callable[..., Any]:
    """A function for a class: records a call of the method in vtable slot `slot` and forwards it to `inner`.

    Its `self` is ignored.  Where the writer is one of a session it passes calls on to the function of the
    writer that followed; that is told to `install`, which may put it in this one's place.
    """
    followed: list[tuple[TraceWriter, Callable[..., Any]]] = []  # the newest writer and its function
    return _recording_method(writer, inner, interface, slot, install, followed)


def _recording_method(
    writer: TraceWriter,
    inner: Any,
    interface: Interface,
    slot: int,
    install: Callable[[Callable[..., Any]], None],
    followed: list[tuple[TraceWriter, Callable[..., Any]]],
) -> Callable[..., Any]:
    method = interface.slots[slot]
    types = tuple(parameter.type for parameter in method.inputs)
    names = [parameter.name for parameter in method.inputs]

    def slow(args: tuple[Any, ...], keywords: dict[str, Any], owed: int = 0) -> Any:
        """Any call at all.  `owed` ticks were taken for an enter that was then not written."""
        args = tuple(value for value in args if value is not _MISSING)
        if owed:
            writer.local.stream.last -= owed
        ticket = writer.enter(slot, _positional(args, keywords, names))
        try:
            answer = getattr(inner, method.name)(*args, **keywords)
        except BaseException as error:
            writer.leave(ticket, raised(error))
            raise
        writer.leave(ticket, returned(writer, method, answer))
        return answer

    def general(args: tuple[Any, ...], keywords: dict[str, Any], owed: int = 0) -> Any:
        """A call that the fast path did not take: a new text or handle, a number over 16 bits, or any other.

        Or the file is full, or not the newest of its session.
        """
        if session is not None and (newest := session.follow(writer)) is not writer:
            args = tuple(value for value in args if value is not _MISSING)
            return function_of(newest)(None, *args, **keywords)
        if not keywords and len(args) == len(types) and not (args and args[-1] is _MISSING) and not writer.closed:
            if owed:
                writer.local.stream.last -= owed
                owed = 0
            if narrow is not None and narrow.learn(writer, args):
                return function(None, *args)
            if wide is not None and wide.fits(args):
                wide.learn(writer, args)
                return wide_function(None, *args)
        return slow(args, keywords, owed)

    def function_of(newest: TraceWriter) -> Callable[..., Any]:
        known, found = followed[-1] if followed else (None, None)
        if known is not newest or found is None:
            found = _recording_method(newest, inner, interface, slot, install, followed)
            followed[:] = [(newest, found)]
        install(found)
        return found

    def answered(stream: Stream, start: int, answer: Any, took: int | None) -> None:
        writer.write_leave(stream, start, returned(writer, method, answer), stream.end(start) or 0, took)

    def failed(stream: Stream, start: int, error: BaseException) -> None:
        writer.write_leave(stream, start, raised(error), stream.end(start) or 0)

    def compiled(fast: _FastPath | None, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        if fast is None:
            return lambda self, /, *args, **keywords: otherwise(args, keywords)
        namespace: dict[str, Any] = {
            "MISSING": _MISSING,
            "NOTHING": _NOTHING,
            "S_OK": hresult.S_OK,
            "adler32": zlib.adler32,
            "answered": answered,
            "checks": _LONG_CHECKS,
            "clock": writer.clock,
            "failed": failed,
            "general": otherwise,
            "head": fast.head,
            "inner": inner,
            "local": writer.local,
            "pack": fast.pack,
            "sums": _SUMS,
            **fast.tables,
        }
        writer.file.tell(namespace)
        writer.tables += fast.tables.values()
        exec(fast.code, namespace)
        return namespace["method"]  # type: ignore[no-any-return]

    session = writer.session
    quick = writer.sync != 0  # a fast path hands nothing to the disk
    narrow = _fast_path(method.name, types, slot, _U16) if quick else None
    wide = _fast_path(method.name, types, slot, _U32) if quick and _UNSIGNED & set(types) else None
    function, wide_function = compiled(narrow, general), compiled(wide, slow)
    function.__name__ = method.name
    function.__qualname__ = f"RecordingCallback.{method.name}"
    return function


class _FastPath:
    """The code of one method, and the tables in which it looks its arguments up.

    Unsigned numbers have one size, which `unsigned` says, and signed ones are of 32 bits.
    `t0`, `t1` ...: text -> the bytes of its reference (with the marker of a number that follows), and what they
    add to the check; in the first table also what the record's constant bytes add.  `h0` ...: handle -> token.
    """

    def __init__(self, name: str, types: tuple[Type, ...], slot: int, unsigned: int):
        self._unsigned = [position for position, kind in enumerate(types) if kind in _UNSIGNED]
        self.head = bytes((0x93 + len(types), Kind.ENTER + slot, 0xCD))
        self.tables: dict[str, dict[Any, Any]] = {}
        self._types = types
        self._texts: list[tuple[int, bytes]] = []  # position, what follows the reference
        layout, lookups = ">3sHb", []
        values, terms = ["head", "ticks", "stream.number"], ["sums[ticks]", "stream.number"]
        constant = 1 + sum(self.head)
        sizes = [(unsigned if kind in _UNSIGNED else _I32) if kind.is_integer else None for kind in types]
        markers = [*sizes, None]
        for position, kind in enumerate(types):
            if kind in _TEXTS:
                following = markers[position + 1]
                markers[position + 1] = None
                tail = b"" if following is None else bytes((following,))
                self._texts.append((position, tail))
                lookups.append(f"r{position}, s{position} = t{position}[a{position}]")
                layout += f"{3 + len(tail)}s"
                values.append(f"r{position}")
                terms.append(f"s{position}")
            elif kind in _HANDLES:
                self.tables[f"h{position}"] = {None: _NULL_BYTE, 0: _NULL_BYTE}
                lookups.append(f"r{position} = h{position}[a{position}]")
                layout += "b"
                values.append(f"r{position}")
                terms.append(f"r{position}")
            else:
                if (marker := markers[position]) is not None:
                    layout += "B"
                    values.append(str(marker))
                    constant += marker
                layout += _CODES[sizes[position] or _I32]
                values.append(f"a{position}")
                terms.append(f"sums[a{position}]")
        self._constant = constant
        if not self._texts:
            terms.append(str(constant & 0xFF))
        if all(size in (None, _U16) for size in sizes):
            layout += "2s"
            write = f"write(pack({', '.join(values)}, checks[{' + '.join(terms)}]))"
        else:  # a sum of four bytes costs more than asking for it
            write = f"record = pack({', '.join(values)}); write(record + checks[adler32(record) & 255])"
        self.size = struct.calcsize(layout)
        self.pack = struct.Struct(layout).pack
        for position, tail in self._texts:
            self.tables[f"t{position}"] = {None: self._reference(position, 0, tail)}
        arguments = [f"a{position}" for position in range(len(types))]
        source = _TEMPLATE.format(
            signature="".join(f"{a}=MISSING, " for a in arguments),
            arguments="".join(f"{a}, " for a in arguments),
            forwarded=", ".join(arguments),
            lookups="; ".join(lookups) or "pass",
            write=write,
            name=name,
            tick_bits=TICK_BITS,
        )
        self.code = _compile(source, f"<recording {name}>")

    def fits(self, args: tuple[Any, ...]) -> bool:
        """Whether the unsigned numbers are numbers of up to 32 bits."""
        return all(type(args[p]) is int and 0 <= args[p] < 1 << 32 for p in self._unsigned)

    def learn(self, writer: TraceWriter, args: tuple[Any, ...]) -> bool:
        """Put arguments into the tables where they can be; whether there were any new ones."""
        learned = False
        for position, tail in self._texts:
            table, value = self.tables[f"t{position}"], args[position]
            if type(value) is str and value not in table and (number := self._number(writer, position, value)):
                table[value] = self._reference(position, number, tail)
                learned = True
        for position, value in enumerate(args):
            handles = self.tables.get(f"h{position}")
            if handles is not None and type(value) is int and value not in handles:
                token = writer.token(value)
                if isinstance(token, Handle) and 0 <= token.token <= _LARGEST_TOKEN:
                    handles[value] = token.token
                    learned = True
        return learned

    def _number(self, writer: TraceWriter, position: int, value: str) -> int | None:
        return writer.intern(self._types[position], value)

    def _reference(self, position: int, number: int, tail: bytes) -> tuple[bytes, int]:
        reference = b"\xcd" + number.to_bytes(2, "big") + tail
        first = position == self._texts[0][0]
        return reference, (sum(reference) + (self._constant if first else 0)) & 0xFF


def _fast_path(name: str, types: tuple[Type, ...], slot: int, unsigned: int) -> _FastPath | None:
    """None for a method that has no name in Python, or whose records would be long."""
    if not name.isidentifier() or keyword.iskeyword(name) or Type.VOID in types:
        return None
    if len(types) > _MAX_PARAMETERS or Kind.ENTER + slot > 0x7F:
        return None
    fast = _FastPath(name, types, slot, unsigned)
    return fast if fast.size <= SHORT_RECORD else None


@functools.lru_cache(maxsize=256)
def _compile(source: str, name: str) -> CodeType:
    return compile(source, name, "exec")


def _positional(args: tuple[Any, ...], keywords: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
    """The arguments as a trace shows them: keyword arguments in the places that their names have."""
    if not keywords:
        return args
    rest = dict(keywords)
    placed = [*args, *(rest.pop(name) for name in names[len(args) :] if name in rest)]
    return (*placed, *rest.values())


def returned(writer: TraceWriter, method: Method, answer: Any) -> Outcome:
    """What a Python method answered, taken apart into result and outputs; handles by their symbols."""
    value: Any = answer
    outputs: tuple[Any, ...] = ()
    if method.outputs and isinstance(answer, tuple):
        value, outputs = (answer[0] if answer else None), answer[1:]
    if outputs and any(p.type in _HANDLES for p in method.outputs):
        pairs = itertools.zip_longest(method.outputs, outputs[: len(method.outputs)])
        shown = [writer.token(v) if p.type in _HANDLES else v for p, v in pairs]
        outputs = (*shown[: len(outputs)], *outputs[len(method.outputs) :])
    return Outcome(value=writer.token(value) if method.returns in _HANDLES else value, outputs=outputs)


def raised(error: BaseException) -> Outcome:
    """An exception that came out of the host: its type and message, and where in the host's own code it was."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as problem:  # a __str__ may do anything
        message = f"<str raised {type(problem).__name__}>"
    return Outcome(
        OutcomeKind.RAISED, None, 0, f"{name}: {message}"[:_MAX_DETAIL] if message else name, _place(error)
    )


def _place(error: BaseException) -> str:
    """The innermost place in the file that the method called stands in; "" if it is not written in Python."""
    place, own = "", None
    step = error.__traceback__.tb_next if error.__traceback__ else None  # the first is the recording method
    while step is not None:
        code = step.tb_frame.f_code
        own = own or code.co_filename
        if code.co_filename == own:
            place = f"{os.path.basename(own)}:{step.tb_lineno} in {code.co_name}"
        step = step.tb_next
    return place
