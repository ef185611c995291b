"""The COM ABI through ctypes, both ways: a Python object as an interface pointer, an interface pointer as one.

`expose` gives a Python object a real vtable, `wrap` calls through anyone's.  Both follow an `Interface`
description alone.  How the types cross the border (widths: interface.md, 1.2):

    type            an exposed method receives          a wrapped method takes
    TEXT            str, None for NULL                  str, None, or a ctypes.c_void_p to placed text
    HANDLE POINTER  int, None for NULL                  int, None
    IID             "{...}", None for NULL              any spelling that uuid.UUID reads, None
    integers        int, exact width and sign           int in range; an HRESULT also unsigned
    the same,       int, None for NULL                  int, None
      by address
    outputs         returned: (result, output, ...)     returned: (result, output, ...)

Text is UTF-16-LE, lone surrogates pass both ways, and the first NUL ends it: that is the ABI.

An exposed object lives while its count is above 0, whoever holds the references.  All objects of an interface
share one vtable that is never freed, and the object is found by its `this`: so no closure is freed while it
runs, and a late call on a released pointer (rule P3) is answered with CO_E_OBJNOTCONNECTED, not with a crash.

No exception enters native code (H6), KeyboardInterrupt and SystemExit included: the caller gets an HRESULT.

A thread that native code made has no Python thread state; ctypes makes and destroys one at every call, for 17
to 30 us (limits.md, 2).  The first call on a thread therefore pins the state, see `_Thread`.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import operator
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

from recorder import hresult
from recorder.abi import MAX_TEXT_UNITS, RANGES, SCALARS, check, encoder, iid_at, prototype, reader, text_at
from recorder.errors import InterfaceError
from recorder.interface import Interface, Method, Type
from recorder.interfaces import IUNKNOWN

__all__ = ["MAX_TEXT_UNITS", "ExposedObject", "Observer", "Pointer", "expose", "pointer_of", "text_at", "wrap"]

OnException = Callable[[str, BaseException], object]

_QUARANTINE: Final = 4096  # addresses of released objects that are not given out again yet

_E_FAIL: Final = hresult.parse("E_FAIL")
_E_OUTOFMEMORY: Final = hresult.parse("E_OUTOFMEMORY")
_CO_E_OBJNOTCONNECTED: Final = hresult.parse("CO_E_OBJNOTCONNECTED")

_log = logging.getLogger("synctape")


class Observer(Protocol):
    """Sees IUnknown's calls as they come through the vtable; the owner's own `release` is not among them."""

    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        """`method` begins, on the caller's thread.  `args` is the IID's text (None for NULL) of QueryInterface.

        What this returns is called with the HRESULT or count when the call ends.  Exceptions of both are
        swallowed; the first one of each exposed object is logged.
        """


# --- threads that native code made --------------------------------------------------------------------------


class _Thread(threading.local):
    """A thread's mark: made by the first call on it, which also pins the thread's Python state.

    One PyGILState_Ensure more, and the state is not destroyed when the call returns.  On a Python thread that
    changes nothing.  The pin ends when the thread has given back as many references as it took, as a provider's
    thread does before it ends (P2); the state of one that never calls Release, about 5 KiB, stays till the end.
    """

    _ensure = ctypes.PYFUNCTYPE(ctypes.c_int)(("PyGILState_Ensure", ctypes.pythonapi))
    _release = ctypes.PYFUNCTYPE(None, ctypes.c_int)(("PyGILState_Release", ctypes.pythonapi))

    def __init__(self) -> None:
        self._ensure()
        self.pinned = True
        self.references = 0

    def took(self) -> None:
        self.references += 1

    def gave(self) -> None:
        self.references -= 1
        if self.pinned and self.references <= 0:
            self.pinned = False
            self._release(0)  # PyGILState_LOCKED: counts down, no more; the state ends with the outermost call


_thread = _Thread()


# --- a Python object as an interface pointer ----------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Live:
    """What an entry of the vtable finds by its `this`, until the count is 0."""

    block: ctypes.c_void_p  # all that native code sees of an object: the vtable's address
    iids: frozenset[str]
    methods: tuple[Callable[..., Any], ...]  # by slot, IUnknown's left out
    observer: Observer | None
    on_exception: OnException | None
    observer_failed: bool = False
    references: int = 1
    lock: threading.RLock = field(default_factory=threading.RLock)  # a finaliser or a signal may call in

    @property
    def pointer(self) -> int:
        return ctypes.addressof(self.block)

    def query_interface(self, riid: int | None, ppv: int | None) -> int:
        """H1 to H4: a set of IIDs that never changes, one pointer for all of them.  *ppv is NULL already."""
        if ppv is None:
            return hresult.parse("E_POINTER")
        if riid is None:
            return hresult.parse("E_INVALIDARG")
        if iid_at(riid) not in self.iids:
            return hresult.parse("E_NOINTERFACE")
        if not self.add_ref():
            return _CO_E_OBJNOTCONNECTED
        ctypes.c_void_p.from_address(ppv).value = self.pointer
        return hresult.S_OK

    def add_ref(self) -> int:
        with self.lock:
            if self.references:  # a count of 0 is final (H5)
                self.references += 1
                _thread.took()
            return self.references

    def release(self) -> int:
        _thread.gave()
        return self.give_up()

    def give_up(self) -> int:
        with self.lock:
            if not self.references:
                return 0
            self.references -= 1
            left = self.references
        if not left:
            _quarantine.append(self.block)
            del _live[self.pointer]
        return left

    def tell(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a part of the observer; of what it raises, the first is logged."""
        try:
            return function(*args)
        except BaseException as error:
            if not self.observer_failed:
                self.observer_failed = True
                _log.error("an observer of COM calls raised; this is said once", exc_info=error)
            return None

    def report(self, where: str, method: Method, error: BaseException) -> int:
        """Tell of a method's exception, and give the HRESULT for its caller."""
        try:
            if self.on_exception is not None:
                self.on_exception(method.name, error)
            else:
                _log.error("%s raised", where, exc_info=error)
        except BaseException as second:
            _log.error("%s: on_exception raised", where, exc_info=second)
        value: Any = getattr(error, "hresult", None)
        if hresult.is_hresult(value):
            return int(value)
        return _E_OUTOFMEMORY if isinstance(error, MemoryError) else _E_FAIL


_live: dict[int | None, _Live] = {}
_quarantine: deque[ctypes.c_void_p] = deque(maxlen=_QUARANTINE)


@functools.cache
def _vtable(interface: Interface) -> tuple[int, frozenset[str]]:
    """The vtable's address, and the IIDs it answers to."""
    check(interface)
    entries = [
        _unknown_entry("QueryInterface", _Live.query_interface, _CO_E_OBJNOTCONNECTED),
        _unknown_entry("AddRef", _Live.add_ref, 0),
        _unknown_entry("Release", _Live.release, 0),
        *(_entry(interface, slot) for slot in range(3, len(interface.slots))),
    ]
    closures = tuple(prototype(m)(entry) for m, entry in zip(interface.slots, entries, strict=True))
    slots = (ctypes.c_void_p * len(closures))(*(ctypes.cast(c, ctypes.c_void_p).value for c in closures))
    # Immortal: a provider's thread may still call while the interpreter ends and clears its modules.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object((slots, closures)))
    return ctypes.addressof(slots), frozenset(_iids(interface)) | {IUNKNOWN.iid}


def _iids(interface: Interface) -> list[str]:
    return [interface.iid, *(_iids(interface.base) if interface.base else ())]


def _unknown_entry(name: str, call: Callable[..., int], gone: int) -> Callable[..., int]:
    """One of IUnknown's three slots; `args` is empty, or riid and ppv."""

    def entry(this: int | None, *args: int | None) -> int:
        try:
            _thread.pinned  # noqa: B018  pins a new thread
            for ppv in args[1:]:
                if ppv is not None:
                    ctypes.c_void_p.from_address(ppv).value = None
            live = _live.get(this)
            if live is None:
                return gone
            if live.observer is None:
                return call(live, *args)
            shown = tuple(None if riid is None else iid_at(riid) for riid in args[:1])
            finish = live.tell(live.observer.unknown_call, name, shown)
            result = call(live, *args)
            if finish is not None:
                live.tell(finish, result)
            return result
        except BaseException:  # an IID that cannot be read (Windows), or no memory
            return _E_FAIL if gone else 0

    return entry


def _entry(interface: Interface, slot: int) -> Callable[..., int]:
    """What any other slot calls: arguments into Python, the call, the result back."""
    method = interface.slots[slot]
    where = f"{interface.name}.{method.name}"
    number = slot - 3
    readers = [(i, read) for i, p in enumerate(method.parameters) if not p.is_out and (read := reader(p))]
    inputs = [i for i, p in enumerate(method.parameters) if not p.is_out]
    outputs = [(i, SCALARS[p.type]) for i, p in enumerate(method.parameters) if p.is_out]
    encoders = [encoder(f"{where}.{p.name}", p.type) for p in method.outputs]
    encode = encoder(f"result of {where}", method.returns)
    low, high = RANGES.get(method.returns, (0, 0))
    is_void = method.returns is Type.VOID
    gone, failed = (_CO_E_OBJNOTCONNECTED, _E_FAIL) if method.returns is Type.HRESULT else (0, 0)

    def entry(this: int | None, *args: Any) -> int:
        live = None
        try:
            _thread.pinned  # noqa: B018  pins a new thread
            cells = zeroed(args) if outputs else None
            live = _live.get(this)
            if live is None:
                _log.warning("%s called on 0x%x, which is no live object", where, this or 0)
                return gone
            values: Any = args
            if readers:
                values = [*args]
                for i, read in readers:
                    if (address := values[i]) is not None:
                        values[i] = read(address)
            if cells is None:
                result = live.methods[number](*values)
            else:
                result = filled(cells, live.methods[number], values)
            if result is None or is_void:
                return 0
            if isinstance(result, int) and low <= result <= high:
                return result
            return int(encode(result))  # raises
        except BaseException as error:
            try:
                value = live.report(where, method, error) if live is not None else failed
            except BaseException:  # no stack or memory left to report with
                value = failed
            return value if failed else 0

    def zeroed(args: tuple[Any, ...]) -> list[Any]:
        """The caller's outputs, set to 0; one of our own where a pointer is NULL."""
        cells = [scalar.from_address(args[i]) if args[i] else scalar() for i, scalar in outputs]
        for cell in cells:
            cell.value = 0
        return cells

    def filled(cells: list[Any], function: Callable[..., Any], values: Any) -> Any:
        """Call it and write the outputs of its (result, output, ...), all or none; gives the result."""
        returned = function(*[values[i] for i in inputs])
        if not isinstance(returned, tuple):
            return returned
        if len(returned) != 1 + len(cells):
            raise TypeError(f"{where} returned a tuple of {len(returned)}, expected {1 + len(cells)}")
        encoded = [0 if v is None else encode(v) for encode, v in zip(encoders, returned[1:], strict=True)]
        for cell, value in zip(cells, encoded, strict=True):
            cell.value = value
        return returned[0]

    return entry


class ExposedObject:
    """Holds references of an exposed object (one, as a rule), until `release` or the end of a `with`.

    Dropping it without `release` leaks them, as it would in C.
    """

    def __init__(self, live: _Live):
        self.pointer = live.pointer
        self._block = live.block  # while it is held, no other object gets this address
        self._owns = live.references

    @property
    def references(self) -> int:
        """The count at this moment; 0 once the object is gone."""
        live = _live.get(self.pointer)
        return live.references if live else 0

    @property
    def alive(self) -> bool:
        return self.references > 0

    def release(self) -> int:
        """Give up the owner's references; again does nothing.  Returns the count."""
        live = _live.get(self.pointer)
        if live is None:
            return 0
        with live.lock:
            owned, self._owns = self._owns, 0
            for _ in range(owned):
                live.give_up()
            return live.references

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def expose(
    target: object,
    interface: Interface,
    *,
    observer: Observer | None = None,
    on_exception: OnException | None = None,
    references: int = 1,
) -> ExposedObject:
    """An interface pointer to `target`, with references (one by default) that the result holds.

    `target`'s methods are looked up here, once, by name; IUnknown's three are ours.  A method gets the inputs
    positionally and returns a result, or (result, output, ...); None is S_OK, and 0 for every output.

    When a method raises, or returns what does not fit its types, the caller gets the exception's `hresult` if
    it has a 32-bit int there, E_OUTOFMEMORY for a MemoryError, else E_FAIL; 0 where the method returns no
    HRESULT, and 0 in all outputs.  `on_exception(method name, exception)` is called once; by default the
    exception is logged to "synctape".

    Raises InterfaceError if `target` lacks a method or the interface cannot be expressed.
    """
    vtable, iids = _vtable(interface)
    try:
        methods = tuple(getattr(target, m.name) for m in interface.slots[3:])
    except AttributeError as error:
        raise InterfaceError(f"{type(target).__name__} does not implement {interface.name}: {error}") from None
    live = _Live(ctypes.c_void_p(vtable), iids, methods, observer, on_exception, references=references)
    _live[live.pointer] = live
    return ExposedObject(live)


# --- an interface pointer as a Python object ----------------------------------------------------------------


class Pointer:
    """An interface pointer with a method for each slot, named as the description names it.

    A method takes the inputs positionally and gives the result (HRESULTs signed, never raised), or a tuple
    (result, output, ...): `QueryInterface(iid)` gives (HRESULT, pointer or None).  It raises TypeError for a
    wrong number or type of arguments, OverflowError for an int that the parameter does not hold, ValueError for
    the text of no IID, and on Windows OSError ("exception: access violation ...") for a fault in the callee.

    Equal short texts go over in one shared buffer: a callee that writes into its const text spoils them for
    later calls.  Pass a c_void_p to text of your own where the callee is not trusted with that.
    """

    def __init__(self, pointer: int, interface: Interface, *, add_ref: bool):
        self.pointer = pointer
        self.interface = interface
        self._callers = _callers(interface)
        self._owns = add_ref
        if add_ref:
            self.AddRef()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._callers:
            try:
                self.interface.method(name)
            except InterfaceError as error:
                raise AttributeError(str(error)) from None
        caller = self._callers[name](self.pointer)
        setattr(self, name, caller)
        return caller

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.interface.slot]

    def close(self) -> None:
        """Release the reference that `add_ref` took, once."""
        if self._owns:
            self._owns = False
            self.Release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@functools.cache
def _callers(interface: Interface) -> dict[str, Callable[[int], Callable[..., Any]]]:
    check(interface)
    return {method.name: _caller(interface, slot) for slot, method in enumerate(interface.slots)}


def _caller(interface: Interface, slot: int) -> Callable[[int], Callable[..., Any]]:
    """What makes the Python method of a slot for an interface pointer."""
    method = interface.slots[slot]
    where = f"{interface.name}.{method.name}"
    signature = prototype(method)
    encoders = [encoder(f"{where}.{p.name}", p.type, by_address=p.pointer) for p in method.inputs]
    outputs = [(i, SCALARS[p.type]) for i, p in enumerate(method.parameters) if p.is_out]

    def bind(this: int) -> Callable[..., Any]:
        vtable = ctypes.c_void_p.from_address(this).value or 0
        entry = ctypes.c_void_p.from_address(vtable + slot * ctypes.sizeof(ctypes.c_void_p))
        function = signature(entry.value)

        def call(*args: Any) -> Any:
            if len(args) != len(encoders):
                names = ", ".join(p.name for p in method.inputs)
                raise TypeError(f"{where}({names}) takes {len(encoders)} arguments, got {len(args)}")
            if not outputs:
                return function(this, *map(operator.call, encoders, args))
            values = [*map(operator.call, encoders, args)]
            cells = [scalar() for _, scalar in outputs]
            for (i, _), cell in zip(outputs, cells, strict=True):
                values.insert(i, ctypes.byref(cell))
            return (function(this, *values), *(cell.value for cell in cells))

        return call

    return bind


def pointer_of(value: object) -> int | None:
    """The address behind an interface pointer as Python has it; None for what is none, 0 for NULL.

    That is what `expose` and `wrap` give, a ctypes.c_void_p or other ctypes pointer, an interface pointer of
    comtypes and a COMObject of comtypes, with any of its interfaces.
    """
    if isinstance(value, (ExposedObject, Pointer)):
        return value.pointer
    pointers = getattr(value, "_com_pointers_", None)  # comtypes.COMObject: IIDs to pointers
    if isinstance(pointers, dict) and pointers:
        value = next(iter(pointers.values()))
    if isinstance(value, (ctypes.c_void_p, ctypes._Pointer)):
        return ctypes.cast(value, ctypes.c_void_p).value or 0
    return None


def wrap(pointer: object, interface: Interface, *, add_ref: bool = False) -> Pointer:
    """A Python object with the methods of the interface behind `pointer`; with `add_ref` it owns a reference.

    `pointer` is an address, or what `pointer_of` takes for one; a comtypes object must outlive the result unless
    `add_ref` is said.  Whether it points to this interface cannot be checked.  Raises ValueError for NULL,
    TypeError for what is no pointer, and InterfaceError if the interface cannot be expressed.
    """
    address = pointer if isinstance(pointer, int) else pointer_of(pointer)
    if address is None:
        raise TypeError(f"{interface.name}: {type(pointer).__name__} is no interface pointer")
    if not address:
        raise ValueError(f"{interface.name}: NULL is no interface pointer")
    return Pointer(address, interface, add_ref=add_ref)
