"""Registered classes of Windows as targets: `clsid:{...}`, made by CoCreateInstance in a stated apartment.

    clsid:{f8383852-fcd3-11d1-a6b9-006097df5bd4}
    clsid:{f8383852-fcd3-11d1-a6b9-006097df5bd4}?apartment=sta

`mta` (the default): the object is made in the multithreaded apartment and called from any thread of it, as the
objects of MAPI are.  A class that must live in an apartment of its own is then called through a proxy, if there is
one for its interface.  `sta`: the object is made on a thread with an apartment of its own, and all calls come from
that thread, whatever threads a trace has.

Only classes that are loaded into the caller's process: a crash elsewhere is nobody's outcome here.
"""

from __future__ import annotations

import ctypes
import enum
import re
import sys
import threading
import uuid
from typing import Any, NamedTuple

from recorder import hresult
from recorder.endings import fault
from recorder.interface import Interface

__all__ = ["PREFIX", "Activation", "Apartment", "is_class_spec", "parse"]

PREFIX = "clsid:"

_SPEC = re.compile(r"clsid:(\{[0-9a-fA-F-]{36}\})(?:\?apartment=(mta|sta))?")
_CLSCTX_INPROC_SERVER = 1
_UNEXPECTED = 0x8000FFFF
_FACTORY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)

_REGDB_E_CLASSNOTREG = hresult.parse("REGDB_E_CLASSNOTREG")
_RPC_E_CHANGED_MODE = hresult.signed(0x80010106)
_WITHOUT_PROXY = (hresult.parse("E_NOINTERFACE"), hresult.signed(0x80040155))  # REGDB_E_IIDNOTREG


class Apartment(enum.Enum):
    """Where an object lives, as CoInitializeEx numbers it."""

    MTA = 0
    STA = 2

    @property
    def is_single(self) -> bool:
        """Whether all calls must come from the thread that made the object."""
        return self is Apartment.STA

    def enter(self) -> int:
        """Have this thread in the apartment, and give the HRESULT; a thread that is in it already stays so.

        Fails with RPC_E_CHANGED_MODE on a thread that is in an apartment of the other kind.
        """
        if getattr(_entered, "apartment", None) is self:
            return hresult.S_OK
        answer: int = _ole32().CoInitializeEx(None, self.value)
        if not hresult.failed(answer):
            _entered.apartment = self
        return answer

    def leave(self) -> None:
        """Take this thread out again, before it ends."""
        if getattr(_entered, "apartment", None) is self:
            _ole32().CoUninitialize()
            _entered.apartment = None


_entered = threading.local()


class Activation(NamedTuple):
    """A class, and where its objects are made."""

    clsid: uuid.UUID
    apartment: Apartment

    def factory(self, interface: Interface) -> Any:
        """`HRESULT factory(void **ppv)` as a ctypes function, as a library would export it."""
        clsid, iid = self.clsid.bytes_le, interface.guid.bytes_le

        def create(ppv: int | None) -> int:
            answer = self.apartment.enter()
            if not hresult.failed(answer):
                try:
                    answer = _ole32().CoCreateInstance(
                        clsid, None, _CLSCTX_INPROC_SERVER, iid, ctypes.c_void_p(ppv)
                    )
                except OSError as error:
                    return hresult.signed(fault(error) or _UNEXPECTED)
            return answer

        return _FACTORY(create)

    def explain(self, answer: int, interface: Interface) -> str:
        """What an answer of CoCreateInstance means for whoever named the target."""
        said = f"(CoCreateInstance answered {hresult.describe(answer)})"
        if answer == _REGDB_E_CLASSNOTREG:
            return f"no such class is registered here {said}"
        if answer == _RPC_E_CHANGED_MODE:
            return f"this thread is in an apartment of another kind than {self.apartment.name.lower()} already"
        if answer in _WITHOUT_PROXY:
            hint = (
                "" if self.apartment.is_single else "; if it does in an apartment of its own, add ?apartment=sta"
            )
            return f"the class does not speak {interface.name} {said}{hint}"
        return f"the class gives no object {said}"


def is_class_spec(spec: str) -> bool:
    """Whether a target spec names a registered class."""
    return spec.startswith(PREFIX)


def parse(spec: str) -> Activation:
    """The class that a spec names.  ValueError, in words for the end of a line, if it names none, or none here."""
    found = _SPEC.fullmatch(spec)
    if not found:
        raise ValueError(
            "write it as clsid:{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}, with ?apartment=sta if it needs one"
        )
    if sys.platform == "win32":
        return Activation(uuid.UUID(found[1]), Apartment[(found[2] or "mta").upper()])
    raise ValueError("classes are registered on Windows only; name a library as path/library.so:symbol")


def _ole32() -> Any:
    if sys.platform == "win32":
        return ctypes.WinDLL("ole32")
    raise OSError("no COM on this system")
