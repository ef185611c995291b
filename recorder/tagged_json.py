"""JSON of values that JSON has no words for, as objects of one key; readable scripts stay readable.

{"$int": hex}                       an integer over 64 bits
{"$float": "nan" | "inf" | "-inf"}
{"$bytes": hex}
{"$handle": token}                  a symbolic handle
{"$opaque": [type, shown]}          a value that was only looked at
{"$hresult": "E_FAIL"}              read only: an HRESULT by its name, or 0x and eight digits
{"$map": [[key, value], ...]}       a map with keys that are no strings, or begin with $
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from recorder import hresult
from recorder.calls import Handle, Opaque

__all__ = ["escape", "parse", "quote", "spell"]


def quote(text: str) -> str:
    """A JSON string in which readable scripts stay readable and nothing else gets through."""
    return f'"{escape(text)}"'


def escape(text: str) -> str:
    """The text with everything escaped that does not print, quotes and backslashes too."""
    if text.isprintable() and not _UNPLAIN.search(text):
        return text
    return "".join([c if c.isprintable() and not _UNPLAIN.match(c) else _escaped(c) for c in text])


_UNPLAIN = re.compile(
    # What str.isprintable calls printable, but does not show: joiners, fillers, variation selectors, blanks.
    '["\\\\\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]'
)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _escaped(character: str) -> str:
    return _SHORT.get(character) or json.dumps(character)[1:-1]


def spell(value: Any) -> str:
    """JSON with `quote`'s strings, and tags for what JSON has no words for."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 2**64 else _tagged("int", hex(value))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else _tagged("float", _infinite(value))
    if isinstance(value, bytes):
        return _tagged("bytes", value.hex())
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or key.startswith("$") for key in value):
            return f'{{"$map": {spell([*value.items()])}}}'
        return "{" + ", ".join(f"{quote(key)}: {spell(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Handle):
        return f'{{"$handle": {value.token}}}'
    if isinstance(value, Opaque):
        return f'{{"$opaque": [{quote(value.type)}, {quote(value.repr)}]}}'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(spell, value)) + "]"
    return quote(str(value))


def _infinite(value: float) -> str:
    bits = struct.pack(">d", value)
    return repr(value) if math.isinf(value) or bits == _NAN else f"0x{bits.hex()}"


def _float(text: str) -> float:
    if not text.startswith("0x"):
        return float(text)
    value: float = struct.unpack(">d", bytes.fromhex(text[2:].rjust(16, "0")[:16]))[0]
    return value


_NAN = struct.pack(">d", math.nan)


def _tagged(tag: str, text: str) -> str:
    return f'{{"${tag}": "{text}"}}'


def parse(text: str) -> Any:
    """What `spell` spelled.  Raises ValueError."""
    try:
        return json.loads(text.rstrip(), object_hook=_untagged, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at its character {error.pos + 1})") from None


def _untagged(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        ((key, content),) = value.items()
        if key.startswith("$"):
            try:
                return _UNTAG[key[1:]](content)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{key} with {type(content).__name__} says nothing ({error})") from None
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
    return value


_UNTAG: Mapping[str, Callable[[Any], Any]] = {
    "bytes": bytes.fromhex,
    "float": lambda content: _float(_expected(str, content)),
    "handle": lambda content: Handle(_expected(int, content)),
    "hresult": lambda content: hresult.parse(_expected(str, content)),
    "int": lambda content: int(content, 16),
    "map": dict,
    "opaque": lambda content: Opaque(*(_expected(str, part) for part in content)),
}


def _expected(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
