"""The COM ABI: IUnknown's laws (H1-H5), every type both ways, and real C on the other side (`-m native`)."""

from __future__ import annotations

import ctypes
import logging
import subprocess
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import abi, com, hresult
from recorder.com import MAX_TEXT_UNITS, Pointer, expose, text_at, wrap
from recorder.errors import InterfaceError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.interfaces import IUNKNOWN

E_FAIL = hresult.parse("E_FAIL")
E_INVALIDARG = hresult.parse("E_INVALIDARG")
E_NOINTERFACE = hresult.parse("E_NOINTERFACE")
E_OUTOFMEMORY = hresult.parse("E_OUTOFMEMORY")
E_POINTER = hresult.parse("E_POINTER")
GONE = hresult.parse("CO_E_OBJNOTCONNECTED")

STRANGERS = {
    "IMAPISync, one bit off": "{5024a385-2d44-486a-81a8-8f0ecb6071dd}",
    "all zero": "{00000000-0000-0000-0000-000000000000}",
    "all FF": "{ffffffff-ffff-ffff-ffff-ffffffffffff}",
    "own, byte-swapped": "{86a32450-442d-6a48-81a8-8f0ecb6071dd}",
}


def out(name: str, type_: Type) -> Parameter:
    return Parameter(name, type_, direction=Direction.OUT)


def by_address(name: str, type_: Type) -> Parameter:
    return Parameter(name, type_, nullable=True, pointer=True)


PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method(
            "Progress", (Parameter("value", Type.U32), Parameter("count", Type.U32), Parameter("total", Type.U32))
        ),
        Method("GetFlags", (out("flags", Type.U32),)),
        Method("GetMax", (out("max", Type.U32),)),
        Method("GetMin", (out("min", Type.U32),)),
        Method(
            "SetLimits", (by_address("min", Type.U32), by_address("max", Type.U32), by_address("flags", Type.U32))
        ),
    ),
    base=IUNKNOWN,
)

DIALOG = Interface(
    "IProgressDialog",
    "{EBBC7C04-315E-11d2-B62F-006097DF5BD4}",
    (
        Method(
            "StartProgressDialog",
            (
                Parameter("hwndParent", Type.HANDLE, nullable=True),
                Parameter("punkEnableModless", Type.POINTER, nullable=True),
                Parameter("dwFlags", Type.U32),
                Parameter("pvReserved", Type.POINTER, nullable=True),
            ),
        ),
        Method("StopProgressDialog"),
        Method("HasUserCancelled", returns=Type.BOOL),
        Method("SetProgress64", (Parameter("ullCompleted", Type.U64), Parameter("ullTotal", Type.U64))),
        Method("Notify", (Parameter("pNotification", Type.POINTER),), returns=Type.VOID),
        Method("Count", returns=Type.U64),
        Method("Window", returns=Type.HANDLE),
    ),
    base=IUNKNOWN,
)

KINDS = (Type.BOOL, Type.I32, Type.U32, Type.I64, Type.U64, Type.HRESULT)
TAKE = (
    Parameter("text", Type.TEXT, nullable=True),
    *(Parameter(k.value, k) for k in KINDS),
    Parameter("handle", Type.HANDLE, nullable=True),
    Parameter("iid", Type.IID, nullable=True),
    Parameter("pointer", Type.POINTER, nullable=True),
    *(by_address(f"{k.value}_at", k) for k in KINDS),
)
EVERYTHING = Interface(
    "IEverything",
    "{b1946ac9-2492-4d23-84aa-0a4f3e1e1f01}",
    (
        Method("Take", TAKE),
        # Outputs and inputs in turn: the ABI's order is not Python's.
        Method(
            "Mix", (out("a", Type.I64), Parameter("x", Type.TEXT), out("b", Type.HANDLE), Parameter("y", Type.U32))
        ),
        *(
            Method(f"Return_{k.value}", (Parameter("v", k),), returns=k)
            for k in (*KINDS, Type.HANDLE, Type.POINTER)
        ),
    ),
    base=CALLBACK,
)


class Host:
    """Keeps its calls; answers `results[method]`, raising it if it is an exception."""

    def __init__(self, **results: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.results = results

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args: Any) -> Any:
            self.calls.append((name, *args))
            result = self.results.get(name)
            if isinstance(result, BaseException):
                raise result
            return result(*args) if callable(result) else result

        return method


def raw(pointer: int, slot: int, result: Any, *types: Any) -> Callable[..., Any]:
    """A slot as C sees it, this included: nothing of `wrap` in between."""
    vtable = ctypes.c_void_p.from_address(pointer).value or 0
    address = ctypes.c_void_p.from_address(vtable + slot * ctypes.sizeof(ctypes.c_void_p)).value
    prototype = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
    function: Callable[..., Any] = prototype(result, ctypes.c_void_p, *types)(address or 0)
    return lambda *args: function(pointer, *args)


def query(pointer: int, riid: bytes | None, ppv: Any) -> int:
    return int(raw(pointer, 0, ctypes.c_int32, ctypes.c_char_p, ctypes.c_void_p)(riid, ppv))


def references(pointer: int) -> int:
    """The count, by the only way that COM offers."""
    raw(pointer, 1, ctypes.c_uint32)()
    return int(raw(pointer, 2, ctypes.c_uint32)())


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def pointer(host: Host) -> Iterator[Pointer]:
    """`host`, exposed and wrapped again."""
    with expose(host, EVERYTHING) as exposed:
        yield wrap(exposed.pointer, EVERYTHING)
        assert exposed.references == 1
    assert not exposed.alive


# --- IUnknown: H1 to H5 -------------------------------------------------------------------------------------


def test_own_base_and_unknown_iids_give_the_one_pointer_and_a_reference(pointer: Pointer) -> None:
    for iid in (EVERYTHING.iid, CALLBACK.iid, IUNKNOWN.iid, EVERYTHING.iid.upper()):
        before = references(pointer.pointer)
        assert pointer.QueryInterface(iid) == (0, pointer.pointer)
        assert references(pointer.pointer) == before + 1
        assert pointer.Release() == before


def test_iunknown_alone_can_be_exposed() -> None:
    with expose(object(), IUNKNOWN) as exposed:
        unknown = wrap(exposed.pointer, IUNKNOWN)
        assert unknown.QueryInterface(IUNKNOWN.iid) == (0, exposed.pointer)
        assert unknown.Release() == 1
        assert unknown.QueryInterface(CALLBACK.iid) == (E_NOINTERFACE, None)


@pytest.mark.parametrize("iid", STRANGERS.values(), ids=STRANGERS)
def test_other_iids_give_no_interface_and_null(pointer: Pointer, iid: str) -> None:
    ppv = ctypes.c_void_p(0xDEAD)
    assert query(pointer.pointer, uuid.UUID(iid).bytes_le, ctypes.byref(ppv)) == E_NOINTERFACE
    assert ppv.value is None
    assert references(pointer.pointer) == 1


def test_null_ppv_and_null_riid_are_refused(pointer: Pointer) -> None:
    ppv = ctypes.c_void_p(0xDEAD)
    assert query(pointer.pointer, CALLBACK.guid.bytes_le, None) == E_POINTER
    assert query(pointer.pointer, None, None) == E_POINTER
    assert query(pointer.pointer, None, ctypes.byref(ppv)) == E_INVALIDARG
    assert ppv.value is None
    assert references(pointer.pointer) == 1


def test_query_interface_is_an_equivalence_and_static(pointer: Pointer) -> None:
    """H2 to H4: from whatever interface one asks, at whatever time, the answer is the same."""
    known = (EVERYTHING, CALLBACK, IUNKNOWN)
    for _ in range(2):
        for start in known:
            view = wrap(pointer.pointer, start)
            for iid, expected in [(i.iid, pointer.pointer) for i in known] + [
                (i, None) for i in STRANGERS.values()
            ]:
                hr, found = view.QueryInterface(iid)
                assert (hr, found) == (0 if expected else E_NOINTERFACE, expected)
                if found:
                    view.Release()
        pointer.Done(None, 0)


def test_counts_from_eight_threads_balance(host: Host) -> None:
    exposed = expose(host, CALLBACK)
    start = threading.Barrier(8)

    def provider() -> None:
        start.wait()
        pointer = wrap(exposed.pointer, CALLBACK)
        for _ in range(300):
            pointer.AddRef()
            pointer.QueryInterface(IUNKNOWN.iid)
            pointer.Release()
            pointer.Release()

    threads = [threading.Thread(target=provider) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exposed.references == 1
    assert exposed.release() == 0


def test_eight_threads_racing_for_the_last_release_free_it_once() -> None:
    freed: list[bool] = []
    host = Host()
    weakref.finalize(host, freed.append, True)
    exposed = expose(host, CALLBACK)
    del host
    for _ in range(7):
        wrap(exposed.pointer, CALLBACK).AddRef()
    counts: list[int] = []
    start = threading.Barrier(8)

    def release() -> None:
        function = raw(exposed.pointer, 2, ctypes.c_uint32)
        start.wait()
        counts.append(function())

    threads = [threading.Thread(target=release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(8))
    assert freed == [True]
    assert not exposed.alive


# --- life and death -----------------------------------------------------------------------------------------


def test_a_reference_keeps_the_target_after_its_owner_has_gone() -> None:
    host = Host()
    gone = weakref.ref(host)
    with expose(host, CALLBACK) as exposed:
        pointer = wrap(exposed.pointer, CALLBACK)
        assert pointer.AddRef() == 2
    del exposed, host
    assert pointer.Progress("on", 1, 2) == 0
    assert gone() is not None
    assert pointer.Release() == 0
    assert gone() is None


def test_the_owner_releases_once_however_often_it_asks(host: Host) -> None:
    exposed = expose(host, CALLBACK)
    wrap(exposed.pointer, CALLBACK).AddRef()
    with exposed:
        assert exposed.release() == 1
        assert exposed.release() == 1
    assert exposed.references == 1
    assert wrap(exposed.pointer, CALLBACK).Release() == 0
    assert exposed.release() == 0


def test_a_provider_that_releases_too_often_leaves_a_dead_object(host: Host) -> None:
    with expose(host, CALLBACK) as exposed:
        pointer = wrap(exposed.pointer, CALLBACK)
        assert pointer.Release() == 0
        assert pointer.Release() == 0
        assert not exposed.alive
    assert exposed.references == 0


def test_a_call_on_a_dead_pointer_is_answered(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    exposed = expose(host, DIALOG)
    pointer = wrap(exposed.pointer, DIALOG)
    exposed.release()
    ppv = ctypes.c_void_p(0xDEAD)
    with caplog.at_level(logging.CRITICAL, "synctape"):
        assert pointer.StopProgressDialog() == GONE
        assert pointer.HasUserCancelled() == 0
        assert pointer.Count() == 0
        assert pointer.Window() is None
        assert pointer.Notify(1) is None
    assert query(exposed.pointer, DIALOG.guid.bytes_le, ctypes.byref(ppv)) == GONE
    assert ppv.value is None
    assert pointer.AddRef() == pointer.Release() == 0
    assert host.calls == []
    pointer.StopProgressDialog()
    assert f"IProgressDialog.StopProgressDialog called on 0x{exposed.pointer:x}" in caplog.text


def test_a_dead_pointer_zeroes_outputs(host: Host) -> None:
    exposed = expose(host, PROGRESS)
    flags = ctypes.c_uint32(7)
    get_flags = raw(exposed.pointer, 4, ctypes.c_int32, ctypes.c_void_p)
    exposed.release()
    assert get_flags(ctypes.byref(flags)) == GONE
    assert flags.value == 0


def test_a_new_object_does_not_get_a_dead_ones_address(host: Host) -> None:
    dead = expose(host, CALLBACK).pointer
    wrap(dead, CALLBACK).Release()
    seen = set()
    for _ in range(500):
        with expose(host, CALLBACK) as exposed:
            seen.add(exposed.pointer)
    assert dead not in seen
    assert wrap(dead, CALLBACK).Progress(None, 0, 0) == GONE


def test_the_last_release_may_come_from_inside_a_call() -> None:
    """As another thread's Release would: the running call ends, then the target goes."""

    class Suicidal(Host):
        def Progress(self, text: str | None, index: int, index_max: int) -> int:
            assert last.Release() == 0
            return 1 if text == "still here" else 0

    host = Suicidal()
    gone = weakref.ref(host)
    last = wrap(expose(host, CALLBACK).pointer, CALLBACK)
    del host
    assert last.Progress("still here", 0, 0) == 1
    assert gone() is None


def test_a_call_may_re_enter() -> None:
    def again(text: str | None, index: int, index_max: int) -> int:
        return int(nested.Progress(text, index - 1, index_max)) + 1 if index else 0

    with expose(Host(Progress=again), CALLBACK) as exposed:
        nested = wrap(exposed.pointer, CALLBACK)
        assert nested.Progress("x", 20, 20) == 20


# --- values into Python and back ----------------------------------------------------------------------------

TEXTS = {
    "empty": "",
    "one": "x",
    "latin": "Downloading 17 of 2000",
    "low bytes 0, high bytes 0 in turn": "a\u6100" * 700,
    "only halves of NULs": "\u0100\u4141" * 100 + "A" + "\u4100" * 3,
    "high surrogate alone": "\ud800",
    "low surrogate alone": "\udc00",
    "swapped pair": "\udc00\ud800",
    "high surrogate last": "text\ud83d",
    "last code point": "\U0010ffff",
    "non-characters": "\ufffe\uffff\ufeff",
    "controls": "\x01\x1f\x7f\x85\u2028",
} | {f"{n} units": "x" * n for n in (127, 128, 129, 2047, 2048, 4095, 4096, 4097, 70000)}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_arrive(host: Host, pointer: Pointer, text: str) -> None:
    for _ in range(2):  # the second time from the memo
        assert pointer.Progress(text, 1, 2) == 0
    assert host.calls == [("Progress", text, 1, 2)] * 2


def test_null_text_is_none(host: Host, pointer: Pointer) -> None:
    pointer.Progress(None, 0, 0)
    pointer.Error(-1, None)
    assert host.calls == [("Progress", None, 0, 0), ("Error", -1, None)]


def test_a_surrogate_pair_is_one_character_even_across_blocks(host: Host, pointer: Pointer) -> None:
    pointer.Progress("\ud83d\ude00", 0, 0)
    assert host.calls == [("Progress", "\U0001f600", 0, 0)]
    for lead in (126, 127, 128, 2046, 2047, 2048):
        text = "x" * lead + "\U0001f600" * 3
        buffer = ctypes.create_string_buffer(text.encode("utf-16-le") + b"\0\0")
        assert text_at(ctypes.addressof(buffer)) == text


def test_an_embedded_nul_ends_the_text(host: Host, pointer: Pointer) -> None:
    pointer.Progress("seen\0unseen", 0, 0)
    assert host.calls == [("Progress", "seen", 0, 0)]


def test_placed_text_goes_over_by_its_address(host: Host, pointer: Pointer) -> None:
    buffer = ctypes.create_string_buffer("placed".encode("utf-16-le") + b"\0\0")
    pointer.Progress(ctypes.c_void_p(ctypes.addressof(buffer)), 0, 0)
    assert host.calls == [("Progress", "placed", 0, 0)]


def test_text_at_an_odd_address_crosses_pages() -> None:
    text = "\u0141dd \ud83d " * 1500
    data = text.encode("utf-16-le", "surrogatepass") + b"\0\0"
    buffer = ctypes.create_string_buffer(len(data) + 2)
    for shift in (0, 1):
        ctypes.memmove(ctypes.addressof(buffer) + shift, data, len(data))
        assert text_at(ctypes.addressof(buffer) + shift) == text


def test_text_at_null_is_an_error() -> None:
    with pytest.raises(ValueError, match="NULL"):
        text_at(0)


@pytest.mark.parametrize("bound", [0, 1, 20, 128, 129, 3000])
def test_text_is_cut_at_the_bound(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    buffer = ctypes.create_string_buffer(b"x\0" * 5000 + b"\0\0")
    monkeypatch.setattr(abi, "MAX_TEXT_UNITS", bound)
    assert text_at(ctypes.addressof(buffer)) == "x" * bound


def test_the_bound_is_that_of_the_longest_boundary_value() -> None:
    assert MAX_TEXT_UNITS == 16 * 1024 * 1024  # interface.md, 4


@pytest.mark.skipif(sys.platform != "linux", reason="uses mprotect")
@pytest.mark.parametrize("units", [0, 1, 127, 128, 129, 2047, 2048, 4095, 4096, 4097])
@pytest.mark.parametrize("odd", [0, 1])
def test_text_may_end_flush_against_an_inaccessible_page(units: int, odd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size, guard = 4 * 65536, 65536  # bytes; whole pages, however large they are
    base = libc.mmap(None, size + guard, 3, 0x22, -1, 0)  # PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS
    try:
        assert libc.mprotect(base + size, guard, 0) == 0
        text = "\u0158" * units
        data = text.encode("utf-16-le") + b"\0\0"
        start = base + size - len(data) - odd
        ctypes.memmove(start, data, len(data))
        if odd:  # nothing but one byte between the NUL and the guard
            ctypes.memset(base + size - 1, 0xFF, 1)
        assert text_at(start) == text
    finally:
        libc.munmap(base, size + guard)


def test_outputs_come_back_in_python_and_in_memory() -> None:
    host = Host(GetFlags=(0, 1), GetMax=(1, 0xFFFFFFFF), GetMin=lambda: (None, None))
    with expose(host, PROGRESS) as exposed:
        pointer = wrap(exposed.pointer, PROGRESS)
        assert pointer.GetFlags() == (0, 1)
        assert pointer.GetMax() == (1, 0xFFFFFFFF)
        assert pointer.GetMin() == (0, 0)
        assert raw(exposed.pointer, 4, ctypes.c_int32, ctypes.c_void_p)(None) == 0  # NULL: nothing is written


@pytest.mark.parametrize("result", [None, 5, (), (5,), (5, 1, 2), (5, "x"), (5, 2**32), (5, -1), ("x", 1), [5, 1]])
def test_any_other_result_leaves_outputs_at_zero(result: object) -> None:
    seen: list[BaseException] = []
    with expose(Host(GetFlags=result), PROGRESS, on_exception=lambda _, e: seen.append(e)) as exposed:
        flags = ctypes.c_uint32(77)
        hr = raw(exposed.pointer, 4, ctypes.c_int32, ctypes.c_void_p)(ctypes.byref(flags))
    if result is None or result == 5:
        assert (hr, seen) == (result or 0, [])
    else:
        assert hr == E_FAIL
        assert isinstance(seen[0], (TypeError, OverflowError))
        assert "IMAPIProgress.GetFlags" in str(seen[0])
    assert flags.value == (1 if result == ("x", 1) else 0)


def test_outputs_and_inputs_keep_the_order_of_the_abi() -> None:
    host = Host(Mix=lambda x, y: (0, -(2**63), y))
    with expose(host, EVERYTHING) as exposed:
        assert wrap(exposed.pointer, EVERYTHING).Mix("x", 9) == (0, -(2**63), 9)
        assert host.calls == [("Mix", "x", 9)]
        a, b = ctypes.c_int64(), ctypes.c_void_p()
        mix = raw(exposed.pointer, EVERYTHING.slot["Mix"], ctypes.c_int32, *[ctypes.c_void_p] * 3, ctypes.c_uint32)
        assert mix(ctypes.byref(a), None, ctypes.byref(b), 5) == 0
        assert (a.value, b.value) == (-(2**63), 5)
        assert host.calls[1] == ("Mix", None, 5)


def test_integers_by_address_may_be_null(host: Host) -> None:
    with expose(host, PROGRESS) as exposed:
        assert wrap(exposed.pointer, PROGRESS).SetLimits(0, None, 0xFFFFFFFF) == 0
    assert host.calls == [("SetLimits", 0, None, 0xFFFFFFFF)]


def test_returns_that_are_no_hresult() -> None:
    host = Host(HasUserCancelled=True, Count=2**64 - 1, Window=-1, Notify="ignored")
    with expose(host, DIALOG) as exposed:
        pointer = wrap(exposed.pointer, DIALOG)
        assert pointer.HasUserCancelled() == 1
        assert pointer.Count() == 2**64 - 1
        assert pointer.Window() == ctypes.c_void_p(-1).value
        assert pointer.Notify(0x1234) is None
        assert pointer.SetProgress64(2**64 - 1, 2**63) == 0
        assert pointer.StartProgressDialog(-1, None, 1, None) == 0
    assert ("Notify", 0x1234) in host.calls
    assert ("SetProgress64", 2**64 - 1, 2**63) in host.calls
    assert host.calls[-1] == ("StartProgressDialog", ctypes.c_void_p(-1).value, None, 1, None)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, 0),
        (0, 0),
        (1, 1),
        (E_FAIL, E_FAIL),
        (0x80004005, E_FAIL),
        (0xFFFFFFFF, -1),
        (-(2**31), -(2**31)),
        (True, 1),
    ],
)
def test_hresults_of_either_sign_are_returned(returned: object, expected: int) -> None:
    with expose(Host(Done=returned), CALLBACK) as exposed:
        assert wrap(exposed.pointer, CALLBACK).Done(None, 0x80004005) == expected


SURROGATES = st.characters(codec=None, categories=["Cs"])
WIDE_TEXT = st.text(st.characters() | SURROGATES, max_size=300)


def values(p: Parameter) -> st.SearchStrategy[Any]:
    if p.type is Type.TEXT:
        return st.none() | WIDE_TEXT
    if p.type is Type.IID:
        return st.none() | st.uuids().map(lambda u: f"{{{u}}}")
    if not p.type.is_integer:
        return st.none() | st.integers(1, 2 * sys.maxsize + 1)
    integers = st.integers(*p.type.range)
    return st.none() | integers if p.pointer else integers


def arrived(value: object) -> object:
    """What is left of a text on the other side: pairs joined, all up to the NUL."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass").partition("\0")[0]


@settings(deadline=None)
@given(st.tuples(*map(values, TAKE)))
def test_every_value_of_every_type_arrives(args: tuple[object, ...]) -> None:
    host = Host()
    with expose(host, EVERYTHING) as exposed:
        assert wrap(exposed.pointer, EVERYTHING).Take(*args) == 0
    assert host.calls == [("Take", *map(arrived, args))]


@settings(deadline=None)
@given(st.data())
def test_every_value_of_every_type_is_returned(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from([m for m in EVERYTHING.methods if m.name.startswith("Return_")]))
    value = data.draw(values(method.parameters[0]))
    with expose(Host(**{method.name: lambda v: v}), EVERYTHING) as exposed:
        assert getattr(wrap(exposed.pointer, EVERYTHING), method.name)(value) == value


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda p: p.Progress("x", 1),
            TypeError,
            r"Progress\(pwcszProgress, ulIndex, ulIndexMax\) takes 3 .* got 2",
        ),
        (lambda p: p.AddRef(1), TypeError, r"AddRef\(\) takes 0 arguments, got 1"),
        (lambda p: p.Progress(1, 1, 1), TypeError, r"Progress.pwcszProgress: expected str or None, got 1"),
        (lambda p: p.Progress(b"x", 1, 1), TypeError, r"Progress.pwcszProgress: .*b'x'"),
        (lambda p: p.Progress("x", "1", 1), TypeError, r"Progress.ulIndex: expected int, got '1'"),
        (lambda p: p.Progress("x", None, 1), TypeError, r"Progress.ulIndex: expected int, got None"),
        (lambda p: p.Progress("x", 1.0, 1), TypeError, r"Progress.ulIndex: expected int, got 1.0"),
        (lambda p: p.Progress("x", 1, 2**32), OverflowError, r"Progress.ulIndexMax: 4294967296 is outside u32"),
        (lambda p: p.Progress("x", -1, 1), OverflowError, r"Progress.ulIndex: -1 is outside u32"),
        (lambda p: p.Done(2**64, 0), OverflowError, r"Done.hThreadDoneEvent: 18446744073709551616"),
        (lambda p: p.Done("h", 0), TypeError, r"Done.hThreadDoneEvent"),
        (lambda p: p.Error(2**32, ""), OverflowError, r"Error.hResult: 4294967296 is outside hresult"),
        (lambda p: p.QueryInterface("no"), ValueError, r"QueryInterface.riid: 'no' is not an IID"),
        (lambda p: p.QueryInterface(1), TypeError, r"QueryInterface.riid"),
        (lambda p: p.Progess("x", 1, 1), AttributeError, r"no method 'Progess' .* did you mean 'Progress'\?"),
    ],
)
def test_wrong_arguments_never_reach_the_callee(
    host: Host, pointer: Pointer, call: Callable[[Pointer], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(pointer)
    assert host.calls == []


def test_a_wrapper_lists_and_owns(host: Host) -> None:
    with expose(host, CALLBACK) as exposed:
        with wrap(exposed.pointer, CALLBACK, add_ref=True) as pointer:
            assert exposed.references == 2
            assert set(CALLBACK.slot) <= set(dir(pointer))
            assert not hasattr(pointer, "__fspath__")
        assert exposed.references == 1
        pointer.close()
        with wrap(exposed.pointer, CALLBACK):
            pass
        assert exposed.references == 1


def test_null_is_no_interface_pointer() -> None:
    with pytest.raises(ValueError, match="IMAPISyncProgressCallback: NULL"):
        wrap(0, CALLBACK)


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (Interface("IAlone", IUNKNOWN.iid, (Method("Step"),)), "IAlone does not derive from IUnknown"),
        (
            Interface("IBad", CALLBACK.iid, (Method("F", returns=Type.TEXT),), IUNKNOWN),
            "IBad.F cannot return text",
        ),
        (
            Interface("IBad", CALLBACK.iid, (Method("F", (out("o", Type.TEXT),)),), IUNKNOWN),
            "IBad.F.o: text cannot",
        ),
        (Interface("IBad", CALLBACK.iid, (Method("F", (by_address("i", Type.IID),)),), IUNKNOWN), "IBad.F.i: iid"),
        (
            Interface("IBad", CALLBACK.iid, (Method("F", (Parameter("v", Type.VOID),)),), IUNKNOWN),
            "IBad.F.v: void",
        ),
    ],
)
def test_descriptions_without_an_abi_are_refused(interface: Interface, message: str, host: Host) -> None:
    with pytest.raises(InterfaceError, match=message):
        expose(host, interface)
    with pytest.raises(InterfaceError, match=message):
        wrap(1, interface)


def test_a_target_without_a_method_is_refused() -> None:
    with pytest.raises(InterfaceError, match=r"object does not implement IMAPISyncProgressCallback: .*'Progress'"):
        expose(object(), CALLBACK)


# --- exceptions and observers -------------------------------------------------------------------------------


class WithHresult(Exception):
    def __init__(self, value: object) -> None:
        self.hresult = value


class Malicious(Exception):
    @property
    def hresult(self) -> int:
        raise KeyError("hresult")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), E_FAIL),
        (KeyboardInterrupt(), E_FAIL),
        (SystemExit(3), E_FAIL),
        (MemoryError(), E_OUTOFMEMORY),
        (WithHresult(-5), -5),
        (WithHresult(0x80004002), E_NOINTERFACE),
        (WithHresult(1), 1),
        (WithHresult("x"), E_FAIL),
        (WithHresult(True), E_FAIL),
        (WithHresult(2**32), E_FAIL),
        (Malicious(), E_FAIL),
    ],
    ids=repr,
)
def test_an_exception_is_reported_and_becomes_an_hresult(error: BaseException, expected: int) -> None:
    seen: list[tuple[str, BaseException]] = []
    with expose(Host(Progress=error), CALLBACK, on_exception=lambda *a: seen.append(a)) as exposed:
        assert wrap(exposed.pointer, CALLBACK).Progress(None, 0, 0) == expected
    assert seen == [("Progress", error)]


@pytest.mark.parametrize("result", ["S_OK", 1.0, 2**32, -(2**31) - 1, (0,), b""])
def test_a_result_that_is_no_hresult_is_an_exception(result: object) -> None:
    seen: list[BaseException] = []
    with expose(Host(Done=result), CALLBACK, on_exception=lambda _, e: seen.append(e)) as exposed:
        assert wrap(exposed.pointer, CALLBACK).Done(None, 0) == E_FAIL
    assert "result of IMAPISyncProgressCallback.Done" in str(seen[0])


def test_where_no_hresult_is_returned_an_exception_gives_zero() -> None:
    seen: list[str] = []
    boom = WithHresult(5)
    host = Host(HasUserCancelled=boom, Notify=boom, Count=boom, Window=boom)
    with expose(host, DIALOG, on_exception=lambda name, _: seen.append(name)) as exposed:
        pointer = wrap(exposed.pointer, DIALOG)
        assert [pointer.HasUserCancelled(), pointer.Notify(None), pointer.Count(), pointer.Window()] == [
            0,
            None,
            0,
            None,
        ]
    assert seen == ["HasUserCancelled", "Notify", "Count", "Window"]


def test_by_default_each_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with expose(Host(Progress=ValueError("planted")), CALLBACK) as exposed:
        wrap(exposed.pointer, CALLBACK).Progress(None, 0, 0)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("synctape", logging.ERROR)
    assert record.getMessage() == "IMAPISyncProgressCallback.Progress raised"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "planted"


def test_an_on_exception_that_raises_is_contained(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str, error: BaseException) -> None:
        raise RuntimeError("reporter")

    with expose(Host(Progress=ValueError()), CALLBACK, on_exception=broken) as exposed:
        assert wrap(exposed.pointer, CALLBACK).Progress(None, 0, 0) == E_FAIL
    assert "on_exception raised" in caplog.text


def test_exhausted_recursion_stays_inside() -> None:
    def endless(*args: object) -> int:
        return endless(*args)

    seen: list[BaseException] = []
    with expose(Host(Progress=endless), CALLBACK, on_exception=lambda _, e: seen.append(e)) as exposed:
        assert wrap(exposed.pointer, CALLBACK).Progress(None, 0, 0) == E_FAIL
    assert [type(e) for e in seen] == [RecursionError]


class Recorder:
    """An observer that notes both ends of a call."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        self.log.append(("enter", method, *args))
        return lambda result: self.log.append(("leave", method, result))


def test_an_observer_sees_unknowns_calls_from_both_ends(host: Host) -> None:
    recorder = Recorder()
    with expose(host, CALLBACK, observer=recorder) as exposed:
        pointer = wrap(exposed.pointer, CALLBACK)
        pointer.QueryInterface(CALLBACK.iid)
        pointer.QueryInterface(None)
        pointer.AddRef()
        pointer.Progress(None, 0, 0)
        pointer.Release()
        pointer.Release()
        query(exposed.pointer, CALLBACK.guid.bytes_le, None)
    assert recorder.log == [
        ("enter", "QueryInterface", CALLBACK.iid),
        ("leave", "QueryInterface", 0),
        ("enter", "QueryInterface", None),
        ("leave", "QueryInterface", E_INVALIDARG),
        ("enter", "AddRef"),
        ("leave", "AddRef", 3),
        ("enter", "Release"),
        ("leave", "Release", 2),
        ("enter", "Release"),
        ("leave", "Release", 1),
        ("enter", "QueryInterface", CALLBACK.iid),
        ("leave", "QueryInterface", E_POINTER),
    ]


def test_an_observer_sees_the_last_release_and_is_let_go() -> None:
    recorder = Recorder()
    gone = weakref.ref(recorder)
    pointer = wrap(expose(Host(), CALLBACK, observer=recorder).pointer, CALLBACK)
    log = recorder.log
    del recorder
    assert pointer.Release() == 0
    assert log == [("enter", "Release"), ("leave", "Release", 0)]
    log.clear()  # the notes' closures hold the observer no longer
    assert gone() is None


class Raises:
    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        raise ZeroDivisionError


class RaisesLater:
    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        def finish(result: object) -> None:
            raise ZeroDivisionError

        return finish


class Indifferent:
    def unknown_call(self, method: str, args: tuple[object, ...]) -> Callable[[object], None] | None:
        return None


@pytest.mark.parametrize(("observer", "messages"), [(Raises(), 1), (RaisesLater(), 1), (Indifferent(), 0)])
def test_an_observers_exceptions_change_nothing(
    host: Host, observer: com.Observer, messages: int, caplog: pytest.LogCaptureFixture
) -> None:
    with expose(host, CALLBACK, observer=observer) as exposed:
        pointer = wrap(exposed.pointer, CALLBACK)
        assert [pointer.AddRef(), pointer.AddRef(), pointer.Release(), pointer.Release()] == [2, 3, 2, 1]
    assert len(caplog.records) == messages


# --- C on the other side ------------------------------------------------------------------------------------


def build(source: str, folder: Path) -> ctypes.CDLL:
    library = folder / f"{source}.so"
    c_file = Path(__file__).with_name("c") / f"{source}.c"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-shared", "-fPIC"]
    subprocess.run([*command, "-pthread", str(c_file), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = build("provider", tmp_path_factory.mktemp("native"))
    library.synchronize.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
    library.count.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
    library.rubbish_above.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64]
    return library


@pytest.fixture(scope="module")
def c_host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build("host", tmp_path_factory.mktemp("native"))


@pytest.mark.native
def test_concurrent_threads_of_a_c_provider_arrive_whole(provider: ctypes.CDLL, host: Host) -> None:
    threads, calls = 8, 200
    with expose(host, CALLBACK) as exposed:
        assert provider.synchronize(exposed.pointer, threads, calls) == 0
        assert exposed.references == 1
    text = "Step \U0001f600 \ud800"
    for n in range(threads):
        own = [call for call in host.calls if call[0] == "Progress" and call[3] == n]
        assert own == [("Progress", text if i % 2 else None, i, n) for i in range(calls)]
    assert sorted(c for c in host.calls if c[0] == "Done") == [("Done", n + 1, -1) for n in range(threads)]


@pytest.mark.native
def test_counts_from_c_threads_balance(provider: ctypes.CDLL, host: Host) -> None:
    with expose(host, CALLBACK) as exposed:
        provider.count(exposed.pointer, 8, 200)
        assert exposed.references == 1


def thread_states() -> int:
    """How many thread states the interpreter keeps."""
    api = ctypes.pythonapi
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Get", api))
    head = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyInterpreterState_ThreadHead", api))
    after = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyThreadState_Next", api))
    count, state = 0, head(get())
    while state:
        count, state = count + 1, after(state)
    return count


@pytest.mark.native
def test_a_c_thread_keeps_its_python_state_until_its_release(provider: ctypes.CDLL) -> None:
    """The state is what makes a second call cheap; that it lives on shows in a threading.local."""
    local = threading.local()
    known: list[bool] = []

    def progress(*args: object) -> None:
        known.append(hasattr(local, "seen"))
        local.seen = True

    before = thread_states()
    with expose(Host(Progress=progress), CALLBACK) as exposed:
        for _ in range(20):
            assert provider.synchronize(exposed.pointer, 1, 3) == 0
    assert known == [False, True, True] * 20
    assert thread_states() == before


@pytest.mark.native
def test_what_lies_above_a_32_bit_argument_is_ignored(provider: ctypes.CDLL, host: Host) -> None:
    rubbish = 0xDEADBEEF << 32
    with expose(host, CALLBACK) as exposed:
        assert (
            provider.rubbish_above(exposed.pointer, rubbish | 7, rubbish | 0xFFFFFFFF, rubbish | 0x80004005) == 0
        )
    assert [call[-2:] for call in host.calls] == [(7, 0xFFFFFFFF), (E_FAIL, None)]


@pytest.mark.native
def test_a_provider_may_call_while_the_interpreter_ends(provider: ctypes.CDLL) -> None:
    code = f"""
import ctypes, threading
from recorder.com import expose
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
called = threading.Event()
class Host:
    def Progress(self, *args): called.set()
    Error = Done = Progress
provider = ctypes.CDLL({provider._name!r})
provider.call_for_ever.argtypes = [ctypes.c_void_p]
provider.call_for_ever(expose(Host(), IMAPI_SYNC_PROGRESS_CALLBACK).pointer)
called.wait()
"""
    root = Path(com.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


class CHost(ctypes.Structure):
    """The fields of host.c's Host."""

    _fields_ = (
        ("vtable", ctypes.c_void_p),
        ("references", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("max", ctypes.c_uint32),
        ("text_units", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("result", ctypes.c_int32),
        ("event", ctypes.c_void_p),
        ("text", ctypes.c_uint16 * 64),
    )


@pytest.mark.native
def test_a_c_host_is_called_through_its_vtable(c_host: ctypes.CDLL) -> None:
    created = ctypes.c_void_p()
    assert c_host.create(ctypes.byref(created)) == 0
    assert created.value
    host = CHost.from_address(created.value)
    with wrap(created.value, CALLBACK, add_ref=True) as pointer:
        assert host.references == 2
        assert pointer.QueryInterface(CALLBACK.iid) == (0, created.value)
        assert pointer.QueryInterface(STRANGERS["IMAPISync, one bit off"]) == (E_NOINTERFACE, None)
        assert pointer.Release() == 2

        text = "Sch\u00f6n \U0001f600 \udc00"
        assert pointer.Progress(text, 0xFFFFFFFF, 0) == 1
        units = text.encode("utf-16-le", "surrogatepass")
        assert bytes(host.text)[: len(units)] == units
        assert (host.text_units, host.index, host.max) == (len(units) // 2, 0xFFFFFFFF, 0)
        assert pointer.Progress(None, 0, 0xFFFFFFFF) == 0
        assert (host.text_units, host.index, host.max) == (0xFFFFFFFF, 0, 0xFFFFFFFF)

        assert pointer.Progress("x" * 100_000, 0, 0) == 0
        assert host.text_units == 100_000
        assert pointer.Error(0x80004005, "") == E_FAIL
        assert (host.text_units, host.error) == (0, E_FAIL)
        assert pointer.Done(-1, -(2**31)) == 0
        assert (host.event, host.result) == (ctypes.c_void_p(-1).value, -(2**31))
    assert host.references == 1
    assert wrap(created.value, CALLBACK).Release() == 0
    assert c_host.hosts_alive() == 0
