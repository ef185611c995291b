"""The laws of QueryInterface, asked of a live object (H1 to H4).

    H1  its own IIDs are answered with S_OK and a reference, an IID that nobody has with E_NOINTERFACE and a NULL
        *ppv; a NULL ppv with E_POINTER or E_INVALIDARG
    H2  IUnknown is always the same pointer, whichever interface is asked
    H3  no answer ever changes
    H4  each interface leads to itself and to every other one: reflexive, symmetric, transitive

`*ppv` holds a stray value before each question, so that one that was left as it was shows.  Every reference that
an answer brings is given back at the end of a look.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from recorder import com, hresult
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import INTERFACES, IUNKNOWN

__all__ = ["Breach", "Identity", "Look", "as_unknown", "ask_without_ppv", "first_of_each"]

_STRAY = 0xDDDDDDD8  # what *ppv holds before a question; no object is at this address
_S_OK = hresult.S_OK
_E_NOINTERFACE = hresult.parse("E_NOINTERFACE")
_NO_POINTER = (hresult.parse("E_POINTER"), hresult.parse("E_INVALIDARG"))

_QUERY, _ADD_REF, _RELEASE = (method.name for method in IUNKNOWN.methods)
_AS_IT_IS = Interface(
    IUNKNOWN.name,
    IUNKNOWN.iid,
    (
        Method(_QUERY, (Parameter("riid", Type.IID), Parameter("ppv", Type.POINTER, nullable=True))),
        Method(_ADD_REF, returns=Type.U32),
        Method(_RELEASE, returns=Type.U32),
    ),
)
"""IUnknown with ppv as the address that it is, so that what is there can be looked at."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A law that is broken: the rule's id, and what was seen.  Those of one `kind` are one mistake."""

    rule: str
    message: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    result: int
    pointer: int  # what *ppv held after the question
    counted: bool  # whether the reference that came with it shows in the object's count, as far as one can tell

    @property
    def given(self) -> bool:
        return self.result >= 0 and self.pointer not in (0, _STRAY)


@dataclass(slots=True)
class Look:
    """One look at an object: which IIDs it has, its IUnknown, and what is wrong."""

    has: dict[str, bool] = field(default_factory=dict)
    unknown: int = 0
    breaches: list[Breach] = field(default_factory=list)


class Identity:
    """Asks one object.

    `interface` is what it must have; `others` are IIDs that it may have, as an object may speak more than one
    interface.  `counts`: what AddRef and Release answer is its count.
    """

    def __init__(self, pointer: int, interface: Interface, others: Iterable[str] = (), *, counts: bool = True):
        self._pointer = pointer
        self._counts = counts
        self._wrapped: dict[int, com.Pointer] = {}  # while a look lasts: then an address may be another object's
        self._own = {iid: name for name, iid in _lineage(interface)}
        self._strangers = {iid: name for name, iid in _strangers(interface.iid)}
        near = _near(interface.iid)
        self._near = {iid for iid in near if iid not in self._own}
        asked = [iid for iid in dict.fromkeys([*near, *map(_canonical, others)]) if iid is not None]
        self._others = [iid for iid in asked if iid not in self._own and iid not in self._strangers]

    def look(self) -> Look:
        """Ask everything but what a NULL ppv gets."""
        held: list[int] = []  # a tear-off lives only while its reference is held
        try:
            return self._look(held)
        finally:
            for pointer in held:
                self._at(pointer).Release()
            self._wrapped.clear()

    def _look(self, held: list[int]) -> Look:
        look = Look()
        pointers: dict[str, int] = {}
        breaches: list[Breach] = []
        for iid in [*self._own, *self._strangers, *self._others]:
            answer = self._ask(self._pointer, iid, held)
            breaches += self._judge(iid, answer)
            look.has[iid] = answer.given
            if answer.given and iid not in self._strangers:
                pointers[iid] = answer.pointer
        look.unknown = pointers.get(IUNKNOWN.iid, 0)
        breaches += self._one_unknown(pointers, look.unknown, held)
        breaches += self._closure(pointers, held)
        look.breaches = first_of_each(breaches)
        return look

    def compare(self, first: Look, last: Look) -> list[Breach]:
        """What the last look adds to the first one: what has changed, or what is wrong only now."""
        changed = [iid for iid, has in first.has.items() if last.has.get(iid) is not has]
        if changed:
            iid = changed[0]
            before, after = _has(first.has[iid]), _has(last.has[iid])
            question = f"QueryInterface for {self._name(iid)}"
            return [Breach("H3", f"{question} {before} before the calls and {after} after them", "changed")]
        breaches = list(last.breaches)
        if first.unknown and last.unknown and first.unknown != last.unknown:
            message = "QueryInterface for IUnknown gives another pointer after the calls than before them"
            breaches.append(Breach("H2", message, "unknown"))
        return [breach for breach in first_of_each([*first.breaches, *breaches]) if breach not in first.breaches]

    def _ask(self, pointer: int, iid: str, held: list[int]) -> _Answer:
        """One question; the pointer that came with a reference is added to `held`."""
        cell, asked = ctypes.c_uint64(_STRAY), self._at(pointer)
        before = _count(asked) if self._counts and pointer == self._pointer else 0
        result = asked.QueryInterface(iid, ctypes.addressof(cell))
        given = cell.value
        counted = True
        if result >= 0 and given not in (0, _STRAY):
            if before and given == pointer:  # another object may count for itself
                counted = _count(asked) == before + 1
            if counted:
                held.append(given)
        return _Answer(result, given, counted)

    def _at(self, pointer: int) -> com.Pointer:
        if pointer not in self._wrapped:
            self._wrapped[pointer] = as_unknown(pointer)
        return self._wrapped[pointer]

    def _judge(self, iid: str, answer: _Answer) -> Iterator[Breach]:
        result = hresult.describe(answer.result)
        question = f"QueryInterface for {self._name(iid)}"

        def breach(kind: str, what: str) -> Breach:
            return Breach("H1", f"{question} {what}", kind)

        if answer.result < 0:
            if answer.pointer == _STRAY:
                yield breach("stray", f"answers {result} and leaves *ppv as it was")
            elif answer.pointer:
                yield breach("stray", f"answers {result} and gives a pointer all the same")
            if iid in self._own:
                yield breach("denied", f"answers {result}")
            elif answer.result != _E_NOINTERFACE:
                yield breach("refusal", f"answers {result}, not E_NOINTERFACE")
        elif iid in self._strangers:
            yield breach("any", f"answers {result}: an interface that does not exist")
        elif not answer.given:
            yield breach("nothing", f"answers {result} and gives no pointer")
        elif answer.result != _S_OK:
            yield breach("success", f"answers {result}, not S_OK")
        elif iid in self._near and answer.pointer == self._pointer:
            yield breach("any", "gives the pointer of the interface that is asked")
        elif not answer.counted:
            yield breach("uncounted", "gives a pointer without a reference")

    def _one_unknown(self, pointers: dict[str, int], unknown: int, held: list[int]) -> Iterator[Breach]:
        if not unknown:
            return
        for iid, pointer in pointers.items():
            answer = self._ask(pointer, IUNKNOWN.iid, held)
            if answer.given and answer.pointer != unknown:
                through = "a second time" if iid == IUNKNOWN.iid else f"through {self._name(iid)}"
                yield Breach(
                    "H2", f"QueryInterface for IUnknown gives another pointer when asked {through}", "unknown"
                )

    def _closure(self, pointers: dict[str, int], held: list[int]) -> Iterator[Breach]:
        """From each interface to each other one.  The first row, from the object itself, has been asked."""
        for start, pointer in pointers.items():
            for goal in pointers:
                if not self._ask(pointer, goal, held).given:
                    here, there = self._name(start), self._name(goal)
                    what = "reflexive" if start == goal else "symmetric" if goal in self._own else "transitive"
                    yield Breach("H4", f"QueryInterface is not {what}: {here} does not lead to {there}", what)

    def _name(self, iid: str) -> str:
        return self._own.get(iid) or self._strangers.get(iid) or _KNOWN.get(iid) or iid


def first_of_each(breaches: Iterable[Breach]) -> list[Breach]:
    """One breach of each kind."""
    kinds: dict[tuple[str, str], Breach] = {}
    for breach in breaches:
        kinds.setdefault((breach.rule, breach.kind), breach)
    return list(kinds.values())


def ask_without_ppv(pointer: int, interface: Interface) -> Breach | None:
    """Ask with a NULL ppv.  An object that does not look whether there is one faults here."""
    result = as_unknown(pointer).QueryInterface(interface.iid, None)
    if result in _NO_POINTER:
        return None
    return Breach("H1", f"QueryInterface with a NULL ppv answers {hresult.describe(result)}, not E_POINTER")


def as_unknown(pointer: int) -> com.Pointer:
    """The object behind a pointer as an IUnknown whose QueryInterface takes ppv as an address, None for NULL."""
    return com.wrap(pointer, _AS_IT_IS)


def _count(unknown: com.Pointer) -> int:
    """An object's count, as it says itself: what Release answers after an AddRef."""
    unknown.AddRef()
    return int(unknown.Release())


_KNOWN = {interface.iid: interface.name for interface in INTERFACES.values()}


def _lineage(interface: Interface) -> Iterator[tuple[str, str]]:
    """An interface and what it derives from, as (name, IID); IUnknown is always among them."""
    bases: Interface | None = interface
    while bases is not None:
        yield bases.name, _canonical(bases.iid) or bases.iid
        bases = bases.base
    yield IUNKNOWN.name, IUNKNOWN.iid


def _strangers(iid: str) -> Iterator[tuple[str, str]]:
    """IIDs that no interface has, as (what they are, IID)."""
    yield "the IID of zeros", f"{{{uuid.UUID(int=0)}}}"
    yield "the IID of ones", f"{{{uuid.UUID(int=2**128 - 1)}}}"
    yield "its own IID in the wrong byte order", f"{{{uuid.UUID(bytes=uuid.UUID(iid).bytes_le)}}}"


def _near(iid: str) -> Sequence[str]:
    """IIDs that differ by one in the first byte of memory, as those of one family do."""
    first, *rest = uuid.UUID(iid).bytes_le
    return [f"{{{uuid.UUID(bytes_le=bytes([(first + step) % 256, *rest]))}}}" for step in (-1, 1)]


def _canonical(iid: str) -> str | None:
    try:
        return f"{{{uuid.UUID(iid)}}}"
    except ValueError:
        return None


def _has(has: bool) -> str:
    return "gives a pointer" if has else "gives none"
