"""What a live trace says of where it came from, and how any value of a live program is kept in a trace."""

from __future__ import annotations

import operator
import os
import struct
import sys
import time
from typing import Any

from recorder.calls import Argument, Handle, Header, Opaque
from recorder.encoding import MAX_HEX_DIGITS
from recorder.provenance import captured

__all__ = ["TICK_BITS", "integer", "live_header", "process_facts", "storable"]

TICK_BITS = 10  # a tick is 2**10 ns: a shift is cheaper than a division

_MAX_UNITS = 1 << 24  # of a text, and bytes of a bytes object: 16 Mi
_MAX_SHOWN = 1000  # characters of a repr


def storable(value: Any) -> Argument:
    """A value as a trace can hold it: itself, or an Opaque that shows it.  Never raises."""
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is Handle or kind is Opaque:
        return value  # type: ignore[no-any-return]
    try:
        if isinstance(value, int):
            if value.bit_length() <= 4 * MAX_HEX_DIGITS:
                return int.__int__(value)
            return Opaque("int", hex(value)[:_MAX_SHOWN])
        if isinstance(value, str):
            if len(value) <= _MAX_UNITS:
                return str.__str__(value)
            return Opaque("str", f"{len(value)} characters: {str.__getitem__(value, slice(_MAX_SHOWN))!r}")
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, bytes):
            if len(value) <= _MAX_UNITS:
                return bytes(memoryview(value))
            return Opaque("bytes", f"{len(value)} bytes: {bytes(memoryview(value)[:_MAX_SHOWN])!r}")
    except Exception:  # a class that pretends to be another
        pass
    return _opaque(value)


def _opaque(value: Any) -> Opaque:
    try:
        shown = repr(value)[:_MAX_SHOWN]
    except Exception as error:  # a repr may do anything
        shown = f"<repr raised {type(error).__name__}>"
    return Opaque(type.__dict__["__qualname__"].__get__(type(value)), shown)


def integer(value: Any) -> Argument:
    """A value for an integer parameter: a bool or another index is the number it stands for (as COM sees it)."""
    if type(value) is int:
        return storable(value)
    try:
        return storable(int(operator.index(value)))
    except Exception:  # no integer at all
        return storable(value)


def process_facts() -> dict[str, Any]:
    """What helps to understand a trace later, and names nobody: platform, interpreter, terminal, encodings."""
    import locale
    import platform

    streams = {name: getattr(sys, name, None) for name in ("stdin", "stdout", "stderr")}
    return {
        "pid": os.getpid(),
        "program": os.path.basename(sys.argv[0]) if sys.argv else "",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": sys.platform,
        "machine": os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", ""),
        "tty": [name for name, stream in streams.items() if _is_tty(stream)],
        "encodings": {
            "filesystem": sys.getfilesystemencoding(),
            "locale": locale.getpreferredencoding(False),
            "stdout": getattr(streams["stdout"], "encoding", None),
        },
    }


def _is_tty(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # a closed or replaced stream
        return False


def live_header(**fields: Any) -> Header:
    """A header for a recording that starts now; `fields` override."""
    facts: dict[str, Any] = {
        "created_ns": time.time_ns(),
        "tick_ns": 1 << TICK_BITS,
        "pointer_size": struct.calcsize("P"),
        "process": process_facts(),
        "provenance": captured(recorder="synctape"),
    }
    return Header(**{**facts, **fields})
