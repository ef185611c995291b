"""Export as a C++17 program: one file that needs a compiler and the reader's callback, and nothing of ours.

The interface becomes an abstract class, each call a case of one function; around them stands a small player
(assets/replay.cpp.in): threads that make the calls one by one, texts against inaccessible pages, real handles and
what became of them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from recorder import hresult
from recorder.abi import check
from recorder.calls import Argument, Handle
from recorder.interface import Interface, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.export import Form, Script, Step

__all__ = ["CPP", "text_literal", "to_cpp"]

CPP: Final = Form(
    "cpp",
    frozenset(
        {"crash", "hang", "exception", "thread-exception", "exit", "slow", "failure", "handle"}
        | {"string-bounds", "string-lifetime", "stack-overflow", "sanitizer", "references", "identity"}
    ),
    exact=True,
)


def to_cpp(script: Script) -> str:
    """The program's source, in ASCII.  Raises InterfaceError for what no vtable can express."""
    check(script.interface)
    parts = {
        "PROMISE": "\n".join(f"// {line}".rstrip() for line in script.promise()),
        "INTERFACE": "\n".join(_interface(script.interface)),
        "NAME": _class_name(script.interface),
        "IID": _guid(script.interface.iid),
        "TEXTS": "".join(_long_texts(script.made)),
        "STEPS": "\n".join(_table(script.made)),
        "CASES": "\n".join(_cases(script)),
        "CLOSES": ", ".join(map(str, script.closes)),
        "SPARE": str(_spare(script)),
        "LOOK": "",
        "LOOKED": "",
        "LOOKAGAIN": "",
        "LINKEDLIVE": "",
        "LOADEDLIVE": "",
        "LIVEBEFORE": "",
        "GIVEBACK": "    while (held-- > 0)\n        callback->Release();",
        "SLOW": _bool(script.kept_for("slow")),
    }
    if script.kept_for("identity"):
        parts |= {
            "LOOK": _asset("identity") + "\n",
            "LOOKED": "    look(callback);\n",
            "LOOKAGAIN": "    look(callback);\n",
        }
        parts |= dict(zip(("OWN", "STRANGERS", "NEAR"), _iids(script.interface), strict=True))
    if script.kept_for("references"):
        parts |= {"LOOK": _asset("references") + "\n", "LOOKED": _COUNTED, "GIVEBACK": "    give_back(callback);"}
        parts |= {"LINKEDLIVE": _LINKED_LIVE, "LOADEDLIVE": _LOADED_LIVE, "LIVEBEFORE": _LIVE_BEFORE}
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _asset("replay").replace("@LOOK@", parts["LOOK"]))


def _asset(name: str) -> str:
    """C++ with places to fill in, @LIKE@ this."""
    return (Path(__file__).parent / "assets" / f"{name}.cpp.in").read_text(encoding="ascii")


def _spare(script: Script) -> int:
    """References to take before the calls, so that the object outlives them.

    One for each Release of theirs; where references are judged one for each call that might release one, so that
    it shows as a count that is too low.
    """
    releases = sum(step.method.name == _RELEASE for step in script.made)
    return max(releases, min(len(script.made), _MOST_SPARE)) if script.kept_for("references") else releases


_MOST_SPARE: Final = 64
_QUERY, _ADD, _RELEASE = (method.name for method in IUNKNOWN.methods)


def _iids(interface: Interface) -> Iterator[str]:
    """IIDs as rows of a table: of the interface and what it derives from, of nobody, and one off its own."""
    lineage: list[str] = []
    base: Interface | None = interface
    while base is not None:
        lineage.append(base.iid)
        base = base.base
    first, *rest = interface.guid.bytes_le
    yield _rows([*lineage, IUNKNOWN.iid])
    yield _rows(str(uuid.UUID(bytes=data)) for data in (bytes(16), b"\xff" * 16, interface.guid.bytes_le))
    yield _rows(str(uuid.UUID(bytes_le=bytes([(first + step) % 256, *rest]))) for step in (-1, 1))


def _rows(iids: Iterable[str]) -> str:
    return "\n".join(f"    {_guid(iid)}," for iid in dict.fromkeys(iids))


def _bool(value: bool) -> str:
    return "true" if value else "false"


# --- the interface -------------------------------------------------------------------------------------------

_TYPES: Final = {
    Type.VOID: "void",
    Type.BOOL: "std::int32_t",
    Type.I32: "std::int32_t",
    Type.U32: "std::uint32_t",
    Type.I64: "std::int64_t",
    Type.U64: "std::uint64_t",
    Type.HRESULT: "Result",
    Type.TEXT: "const char16_t *",
    Type.HANDLE: "void *",
    Type.POINTER: "void *",
    Type.IID: "const Guid *",
}

_PLAIN_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
_TAKEN: Final = frozenset({"Result", "Guid", "Yield", "Replay", "Handles", "Step", "Text", "Lane"})


def _interface(interface: Interface) -> Iterator[str]:
    """An abstract class whose virtual functions are the vtable; a virtual destructor would be a slot."""
    yield f"// {interface.iid}"
    yield f"struct {_class_name(interface)} {{"
    for slot, method in enumerate(interface.slots):
        types = ", ".join(_declared(p) for p in method.parameters)
        names = ", ".join(p.name for p in method.parameters if p.name.isascii() and p.name.isidentifier())
        declared = f"    virtual {_spaced(_TYPES[method.returns])}METHOD {_member(interface, slot)}({types}) = 0;"
        yield f"{declared}  // {names}" if names else declared
    yield "};"


def _spaced(type_name: str) -> str:
    return type_name if type_name.endswith("*") else f"{type_name} "


def _declared(parameter: Parameter) -> str:
    base = _TYPES[parameter.type]
    return f"{_spaced(base)}*" if parameter.is_out or parameter.pointer else base


def _class_name(interface: Interface) -> str:
    plain = _PLAIN_NAME.fullmatch(interface.name) and interface.name not in _TAKEN
    return interface.name if plain else "Callback"


def _member(interface: Interface, slot: int) -> str:
    """A method's name where C++ and the system's headers let it be one, else its slot's."""
    name = interface.slots[slot].name
    plain = _PLAIN_NAME.fullmatch(name) and name not in _TAKEN and name != _class_name(interface)
    return name if plain else f"slot{slot}"


def _guid(iid: str) -> str:
    first, second, third, fourth, fifth = iid.strip("{}").lower().split("-")
    tail = fourth + fifth
    bytes_ = ", ".join(f"0x{tail[i : i + 2]}" for i in range(0, 16, 2))
    return f"{{0x{first}u, 0x{second}, 0x{third}, {{{bytes_}}}}}"


# --- texts ---------------------------------------------------------------------------------------------------

_LONGEST_LITERAL: Final = 2000  # UTF-16 units: MSVC takes literals of up to 16380 bytes
_LINE_UNITS: Final = 12

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "?": "\\?"}


def _units(text: str) -> memoryview:
    return memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")


def text_literal(text: str) -> str:
    """The text as a literal of exactly its UTF-16 units: ASCII, without trigraphs, lone surrogates by value."""
    pieces = [""]
    units = _units(text)
    at = 0
    while at < len(units):
        unit = units[at]
        following = units[at + 1] if at + 1 < len(units) else 0
        at += 1
        if 0xD800 <= unit < 0xDC00 <= following < 0xE000:
            pieces[-1] += f"\\U{0x10000 + ((unit - 0xD800) << 10) + following - 0xDC00:08x}"
            at += 1
        elif 0xD800 <= unit < 0xE000:
            pieces[-1] += f"\\x{unit:04x}"
            pieces.append("")  # a hexadecimal escape takes every digit that follows
        elif unit < 0x20 or 0x7F <= unit < 0xA0:
            pieces[-1] += _ESCAPES.get(chr(unit)) or f"\\{unit:03o}"
        else:
            pieces[-1] += _ESCAPES.get(chr(unit)) or (chr(unit) if unit < 0x7F else f"\\u{unit:04x}")
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    return " ".join(f'u"{piece}"' for piece in pieces)


def _is_long(value: Argument) -> bool:
    return isinstance(value, str) and len(_units(value)) > _LONGEST_LITERAL


def _long_texts(steps: Iterable[Step]) -> Iterator[str]:
    """Texts that are too long for a literal, as arrays."""
    for step in steps:
        for position, value in enumerate(step.call.args):
            if isinstance(value, str) and _is_long(value):
                units = [f"0x{unit:x}" for unit in (*_units(value), 0)]
                rows = (", ".join(units[i : i + _LINE_UNITS]) + "," for i in range(0, len(units), _LINE_UNITS))
                body = "\n    ".join(rows)
                yield f"const char16_t {_long_name(step, position)}[] = {{\n    {body}\n}};\n\n"


def _long_name(step: Step, position: int) -> str:
    return f"text_{step.number}_{position}"


# --- the calls -----------------------------------------------------------------------------------------------


def _table(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        name = step.method.name if step.method.name.isascii() and step.method.name.isidentifier() else "?"
        yield f'    {{{step.number}, {step.call.thread}, {_bool(step.succeeds)}, "{name}"}},'


def _cases(script: Script) -> Iterator[str]:
    for step in script.steps:
        if not isinstance(step, Step):
            yield f"    // {step.number}: {step.text} is not made: {step.reason}"
            continue
        arguments = ", ".join(_arguments(step))
        if step.method.name == _QUERY:
            yield f"    case {step.number}:  // {step.text}"
            yield f"        return query(callback, {next(_arguments(step))});"
            continue
        called = f"callback->{_member(script.interface, script.interface.slot[step.method.name])}({arguments})"
        yield f"    case {step.number}:  // {step.text}"
        if step.method.returns is Type.HRESULT:
            yield f"        return {called};"
        else:
            yield f"        {called};"
            if step.method.name in (_ADD, _RELEASE):
                yield f"        held{'++' if step.method.name == _ADD else '--'};"
            yield "        return 0;"


def _arguments(step: Step) -> Iterator[str]:
    values = iter(enumerate(step.call.args))
    for parameter in step.method.parameters:
        if parameter.is_out:
            yield f"cell<{_TYPES[parameter.type].strip()}>()"
            continue
        position, value = next(values)
        if value is None:
            yield "nullptr"
        elif parameter.pointer:
            yield f"cell<{_TYPES[parameter.type]}>({_scalar(parameter.type, value)})"
        elif isinstance(value, Handle):
            yield f"handles.live({_scalar(Type.I64, value.token)})"
        elif isinstance(value, str) and parameter.type is Type.IID:
            yield f"cell<Guid>({_guid(value)})"
        elif isinstance(value, str):
            yield f"text({_long_name(step, position) if _is_long(value) else text_literal(value)})"
        else:
            yield _scalar(parameter.type, value)


def _scalar(kind: Type, value: Argument) -> str:
    """An integer as C++ writes it; the smallest ones have no literal."""
    number = int(value) if isinstance(value, int) else 0
    if kind is Type.HRESULT:
        return f"hr(0x{hresult.unsigned(number):08X}u)"
    suffix = {Type.U32: "u", Type.U64: "ull", Type.I64: "ll"}.get(kind, "")
    if number < 0 and number == kind.range[0]:
        return f"({number + 1}{suffix} - 1)"
    return f"{number}{suffix}"


_COUNTED: Final = "    count_references(callback);\n"

_LINKED_LIVE: Final = """#ifdef LIVE
extern "C" std::uint32_t LIVE();
#endif
"""

_LOADED_LIVE: Final = """    if (found != nullptr) {
        const std::string name = std::string(arguments[2]) + "_live";
#ifdef _WIN32
        void *const counter = reinterpret_cast<void *>(GetProcAddress(library, name.c_str()));
#else
        void *const counter = dlsym(library, name.c_str());
#endif
        live = reinterpret_cast<std::uint32_t (*)()>(counter);
    }
"""

_LIVE_BEFORE: Final = """#ifdef LIVE
    live = &LIVE;
#endif
    if (live != nullptr)
        live_before = live();
"""
