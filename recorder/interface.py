"""A COM interface as data.

Everything that records, plays, prints, mutates or exposes calls reads these values; a method or parameter
name stands in one description and nowhere else.  A description of one's own takes a few lines:

    CALLBACK = Interface("ICallback", "{...}", (Method("Step", (Parameter("ulIndex", Type.U32),)),), base=IUNKNOWN)
"""

from __future__ import annotations

import difflib
import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recorder.errors import InterfaceError

__all__ = ["Direction", "Interface", "Method", "Parameter", "Type"]


class Type(enum.Enum):
    """The C type of a parameter or return value; widths are exact on every platform (interface.md, 1.2)."""

    VOID = "void"  # return values only
    BOOL = "bool"  # Win32 BOOL: 32 bits
    I32 = "i32"
    U32 = "u32"
    I64 = "i64"
    U64 = "u64"
    HRESULT = "hresult"  # 32-bit signed
    TEXT = "text"  # const WCHAR*: UTF-16 code units up to a NUL
    HANDLE = "handle"  # pointer-sized; a symbolic `Handle` in a trace
    POINTER = "pointer"  # any other pointer: symbolic like a handle
    IID = "iid"  # const GUID*, as its text in a trace

    @property
    def is_integer(self) -> bool:
        return self in _RANGES

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type; raises InterfaceError for the others."""
        try:
            return _RANGES[self]
        except KeyError:
            raise InterfaceError(f"{self.value} is not an integer type") from None


_RANGES = {
    Type.BOOL: (-(2**31), 2**31 - 1),
    Type.I32: (-(2**31), 2**31 - 1),
    Type.U32: (0, 2**32 - 1),
    Type.I64: (-(2**63), 2**63 - 1),
    Type.U64: (0, 2**64 - 1),
    Type.HRESULT: (-(2**31), 2**31 - 1),
}


class Direction(enum.Enum):
    IN = "in"
    OUT = "out"  # a pointer to a scalar that the callee fills; not among a call's arguments


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.  `nullable`: the documentation allows NULL.  `pointer`: an integer handed over by address."""

    name: str
    type: Type
    nullable: bool = False
    direction: Direction = Direction.IN
    pointer: bool = False

    @property
    def is_out(self) -> bool:
        return self.direction is Direction.OUT


@dataclass(frozen=True)
class Method:
    """One method: parameters in the order of the ABI, and what it returns.

    A Python implementation takes the `inputs` positionally and returns the result alone, or, where the method
    has `outputs`, a tuple (result, output, ...); None stands for S_OK and outputs of 0.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    returns: Type = Type.HRESULT

    @cached_property
    def inputs(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if not p.is_out)

    @cached_property
    def outputs(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if p.is_out)

    def index(self, parameter: str) -> int:
        """Position of an input parameter among the arguments of a call."""
        for position, candidate in enumerate(self.inputs):
            if candidate.name == parameter:
                return position
        raise InterfaceError(f"no parameter {parameter!r} in {self.name}")


@dataclass(frozen=True)
class Interface:
    """A COM interface: `methods` are its own, after those of `base` in the vtable."""

    name: str
    iid: str
    methods: tuple[Method, ...]
    base: Interface | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "iid", "{" + str(uuid.UUID(self.iid)) + "}")
        except ValueError:
            raise InterfaceError(f"interface {self.name}: {self.iid!r} is not an IID") from None

    @cached_property
    def guid(self) -> uuid.UUID:
        return uuid.UUID(self.iid)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Reckoned once: what is cached by interface is asked for at each sequence."""
        return hash((self.name, self.iid, self.methods, self.base))

    @cached_property
    def slots(self) -> tuple[Method, ...]:
        """All methods in vtable order, inherited ones first."""
        return (self.base.slots if self.base else ()) + self.methods

    @cached_property
    def slot(self) -> Mapping[str, int]:
        """Vtable slot of each method name."""
        return {method.name: number for number, method in enumerate(self.slots)}

    @cached_property
    def root(self) -> Interface:
        """The interface that all inheritance starts from: IUnknown."""
        return self.base.root if self.base else self

    @cached_property
    def unknown(self) -> frozenset[str]:
        """Names of the methods that come from the root interface, IUnknown."""
        return frozenset(m.name for m in self.root.methods) if self.base else frozenset()

    @cached_property
    def calls(self) -> tuple[Method, ...]:
        """The methods that carry the protocol: every slot but IUnknown's."""
        return tuple(m for m in self.slots if m.name not in self.unknown)

    def method(self, name: str) -> Method:
        """The method of that name; raises InterfaceError naming the nearest one."""
        try:
            return self.slots[self.slot[name]]
        except KeyError:
            near = difflib.get_close_matches(name, self.slot, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InterfaceError(f"no method {name!r} in {self.name}{hint}") from None

    def describe(self) -> dict[str, Any]:
        """The description as plain values, as a trace's header carries it (docs/trace-format.md)."""
        return {
            "name": self.name,
            "iid": self.iid,
            "base": self.base.describe() if self.base else None,
            "methods": [
                {
                    "name": m.name,
                    "returns": m.returns.value,
                    "parameters": [
                        [p.name, p.type.value, p.direction.value, p.nullable, p.pointer] for p in m.parameters
                    ],
                }
                for m in self.methods
            ],
        }

    @classmethod
    def from_description(cls, description: Any, *, depth: int = 8) -> Interface:
        """Read `describe()` back; raises InterfaceError for anything that is not one."""
        try:
            if depth == 0:
                raise InterfaceError("interface description: too many bases")
            base = description["base"]
            methods = tuple(
                Method(
                    _name(m["name"]),
                    tuple(
                        Parameter(_name(p[0]), Type(p[1]), bool(p[3]), Direction(p[2]), bool(p[4]))
                        for p in m["parameters"]
                    ),
                    Type(m["returns"]),
                )
                for m in description["methods"]
            )
            interface = cls(
                _name(description["name"]),
                _name(description["iid"]),
                methods,
                base=None if base is None else cls.from_description(base, depth=depth - 1),
            )
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise InterfaceError(f"interface description: {type(error).__name__}: {error}") from None
        if len(interface.slot) != len(interface.slots) or len(interface.slots) > MAX_SLOTS:
            raise InterfaceError(
                f"interface description: {interface.name} repeats a method or has over {MAX_SLOTS}"
            )
        return interface


MAX_SLOTS = 1024  # far above any real interface; bounds what a hostile header can ask for


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 200:
        raise InterfaceError(f"interface description: {value!r:.60} is not a name")
    return value
