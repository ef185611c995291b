"""What the compiled core writes, byte for byte and call for call: as the page says, and as Python does."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder import com, recorded_pointer
from recorder.calls import Trace
from recorder.encoding import checked
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.interfaces import IUNKNOWN
from recorder.native import Core
from recorder.recorded_pointer import record_pointer
from recorder.trace import dump_trace, read_trace

pytestmark = pytest.mark.native

MIXED = Interface(
    "IMixed",
    "{00000000-0000-0000-0000-0000000000ab}",
    (
        Method("Text", (Parameter("a", Type.TEXT, nullable=True), Parameter("b", Type.TEXT, nullable=True))),
        Method("Small", (Parameter("a", Type.I32), Parameter("b", Type.U32), Parameter("c", Type.BOOL))),
        Method("Large", (Parameter("a", Type.I64), Parameter("b", Type.U64)), returns=Type.U64),
        Method("Symbols", (Parameter("a", Type.HANDLE), Parameter("b", Type.POINTER)), returns=Type.POINTER),
        Method("At", (Parameter("a", Type.I32, pointer=True), Parameter("b", Type.U64, pointer=True))),
        Method("Iid", (Parameter("a", Type.IID),), returns=Type.I32),
        Method(
            "Filled",
            (
                Parameter("a", Type.U32, direction=Direction.OUT),
                Parameter("b", Type.HANDLE, direction=Direction.OUT),
            ),
        ),
        Method("Nothing", returns=Type.VOID),
    ),
    base=IUNKNOWN,
)


class Host:
    """Answers with what comes next."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers = iter(answers)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: next(self.answers)


Calls = Sequence[tuple[str, tuple[Any, ...], Any]]


def recorded(path: Path, interface: Interface, calls: Calls, *, compiled: bool = True, **options: Any) -> Trace:
    """Make the calls (method, arguments, answer) on a recorded pointer; every answer must come back."""
    path.unlink(missing_ok=True)
    module = importlib.import_module("recorder._native.core") if compiled else None
    with (
        mock.patch.object(recorded_pointer, "core_of", lambda floor: Core(module, "for a test")),
        com.expose(Host([answer for *_, answer in calls]), interface) as inner,
        record_pointer(inner.pointer, path, interface=interface, **options) as pointer,
    ):
        assert pointer.compiled == compiled
        callback = com.wrap(pointer.pointer, interface)
        for method, args, answer in calls:
            assert getattr(callback, method)(*args) == answer
    trace = read_trace(path)
    assert trace.damage is None
    return trace


def seen(trace: Trace) -> list[tuple[Any, ...]]:
    return [(p.call.method, p.call.args, p.outcome and (p.outcome.value, p.outcome.outputs)) for p in trace.played]


def ticks(*steps: int) -> list[int]:
    """Readings of a clock: the start and the first thread at once, then steps in ticks."""
    start = 5_000_000
    return [start * 1024, *(1024 * (start + at) for at in itertools.accumulate((0, *steps)))]


# --- the page ------------------------------------------------------------------------------------------------


def record_of(*fields: Any) -> bytes:
    return checked(msgpack.packb(fields))


def test_the_vectors_of_the_page(tmp_path: Path) -> None:
    """Those of docs/trace-format.md that a callback can give: they are written in just these bytes."""
    calls: Calls = [
        ("Progress", ("Inbox", 17, 2000), 0),
        ("Progress", (None, 0, 4294967295), 0),
        ("Error", (1, "Entwürfe"), 0),
        ("Error", (1, "a\ud800"), 0),
        ("Done", (0x99, -2147467259), 0),
        *[("Error", (1, f"{number}"), 0) for number in range(4, 7)],
        ("Progress", ("Downloading message 17 of 2000", 1, 2), 0),
    ]
    steps = [5, 2, 3, 300, *[1, 2] * 2, -5, 2, *[1, 2] * 4]
    trace = recorded(tmp_path / "a.tape", SYNC, calls, clock=ticks(*steps), sync_event=0x99)
    data = (tmp_path / "a.tape").read_bytes()
    for vector in (
        bytes.fromhex("93 03 02 00 cc 99"),
        bytes.fromhex("93 03 cd 01 2c 00 cc 91"),
        bytes.fromhex("93 01 07 be") + b"Downloading message 17 of 2000" + bytes.fromhex("ce 26 02 ac a2"),
        bytes.fromhex("93 01 01 a5 49 6e 62 6f 78 cc 3b"),
        bytes.fromhex("93 01 02 a9 45 6e 74 77 c3 bc 72 66 65 cc 9a"),
        bytes.fromhex("93 01 03 c4 04 61 00 00 d8 cc 99"),
        bytes.fromhex("96 13 05 00 01 11 cd 07 d0 cc 65"),
        bytes.fromhex("95 15 fd 00 00 d2 80 00 40 05 cc 3f"),
    ):
        assert vector in data
    assert record_of(19, 5, 0, 0, 0, 4294967295)[5:-2] in data
    assert data == dump_trace(trace)


def test_results_and_outputs_in_the_bytes_of_the_page(tmp_path: Path) -> None:
    calls: Calls = [("Filled", (), (0, 1000, None)), ("Nothing", (), None)]
    trace = recorded(tmp_path / "a.tape", MIXED, calls, clock=ticks(5, 2, 3, 2))
    data = (tmp_path / "a.tape").read_bytes()
    assert bytes.fromhex("96 03 02 00 00 00 92 cd 03 e8 c0 cc a6") in data
    assert bytes.fromhex("94 03 02 00 c0 cc 5a") in data
    assert data == dump_trace(trace)


# --- any calls -----------------------------------------------------------------------------------------------

units = st.lists(
    st.sampled_from([0x41, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF])
)
texts = st.one_of(
    st.none(),
    units.map(lambda found: b"".join(unit.to_bytes(2, "little") for unit in found)).map(
        lambda data: data.decode("utf-16-le", "surrogatepass")
    ),
    st.sampled_from(
        ["x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 1024, "é" * 1024, "x" * 1025, "\ud800" * 1500]
    ),
    st.integers(1020, 70_000).map(lambda length: "ab€"[length % 3] * length),
)
EDGES = [0, 32, *(2**bits for bits in (7, 8, 15, 16, 31, 32, 63, 64))]


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    edges = [
        e for edge in (*EDGES, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, high) for e in (edge, -edge, -edge - 1)
    ]
    return st.one_of(st.sampled_from([e for e in edges if low <= e <= high]), st.integers(low, high))


i32, u32 = integers(-(2**31), 2**31 - 1), integers(0, 2**32 - 1)
i64, u64 = integers(-(2**63), 2**63 - 1), integers(0, 2**64 - 1)
handles = st.one_of(st.none(), st.integers(1, 20), st.sampled_from([2**64 - 1, 2**64 - 2, 2**63, 2**32]))
iids = st.one_of(st.none(), st.uuids().map(lambda u: f"{{{u}}}"))


def call(name: str, args: st.SearchStrategy[Any], answers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), args, answers)


calls = st.one_of(
    call("Text", st.tuples(texts, texts), i32),
    call("Small", st.tuples(i32, u32, i32), i32),
    call("Large", st.tuples(i64, u64), u64),
    call("Symbols", st.tuples(handles, handles), handles),
    call("At", st.tuples(st.one_of(st.none(), i32), st.one_of(st.none(), u64)), st.just(0)),
    call("Iid", st.tuples(iids), i32),
    call("Filled", st.just(()), st.tuples(i32, u32, handles)),
    call("Nothing", st.just(()), st.none()),
)
sequences = st.lists(calls, min_size=1, max_size=12)
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


EDGE_TEXTS = [
    *("\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U000103ff", "\U0010fc00"),
    *("\U0010ffff", "\ud800", "\udbff", "\udc00", "\udfff", "\udfff\ud800", "\ud800\ud800", "\ud800x", "x\udc00"),
]


def test_texts_at_the_edges_of_utf_16(tmp_path: Path) -> None:
    calls: Calls = [("Text", (text, f"<{text}>"), 0) for text in EDGE_TEXTS]
    trace = recorded(tmp_path / "a.tape", MIXED, calls, clock=ticks(*[1] * (2 * len(calls))))
    assert [call.args for call in trace.calls] == [args for _, args, _ in calls]
    assert dump_trace(trace) == (tmp_path / "a.tape").read_bytes()


@quick
@given(sequences, st.lists(integers(-(2**40), 2**40), min_size=24, max_size=24))
def test_any_calls_in_the_bytes_of_write_trace(tmp_path: Path, sequence: Calls, steps: list[int]) -> None:
    """And as a trace from Python says it."""
    readings = ticks(*steps)
    trace = recorded(tmp_path / "c.tape", MIXED, sequence, clock=readings, sync_event=7)
    assert dump_trace(trace) == (tmp_path / "c.tape").read_bytes()
    for number, played in enumerate(trace.played):
        assert played.outcome is not None
        begun, ended = readings[2 + 2 * number], readings[3 + 2 * number]
        assert (played.call.time_ns, played.outcome.elapsed_ns) == (begun - readings[0], ended - begun)
    python = recorded(tmp_path / "python.tape", MIXED, sequence, compiled=False, sync_event=7)
    assert seen(trace) == seen(python)


@settings(quick, max_examples=20)
@given(st.lists(st.lists(texts, min_size=1, max_size=30), min_size=2, max_size=8))
def test_many_threads(tmp_path: Path, plans: list[list[str | None]]) -> None:
    path = tmp_path / "threads.tape"
    path.unlink(missing_ok=True)

    class Echo:
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return index

        Error = Done = Progress

    with com.expose(Echo(), SYNC) as inner, record_pointer(inner.pointer, path) as pointer:
        barrier = threading.Barrier(len(plans))

        def provide(number: int) -> None:
            barrier.wait()
            callback: Any = com.wrap(pointer.pointer, SYNC)
            for index, text in enumerate(plans[number]):
                assert callback.Progress(text, index, number) == index

        threads = [threading.Thread(target=provide, args=(number,)) for number in range(len(plans))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trace = read_trace(path)
    assert trace.damage is None and len(trace.threads) == len(plans)
    by_thread: dict[int, list[tuple[Any, ...]]] = {}
    for played in trace.played:
        assert played.outcome is not None
        by_thread.setdefault(played.call.thread, []).append((*played.call.args, played.outcome.value))
    expected = [[(text, i, n, i) for i, text in enumerate(plan)] for n, plan in enumerate(plans)]
    assert sorted(by_thread.values(), key=lambda own: own[0][2]) == expected


def test_more_texts_than_the_table_holds(tmp_path: Path) -> None:
    """All of it stays readable: what has no number stands in the events themselves."""
    path = tmp_path / "texts.tape"
    count = 66_000
    with com.expose(Host(itertools.repeat(0)), SYNC) as inner, record_pointer(inner.pointer, path) as pointer:  # type: ignore[arg-type]
        callback: Any = com.wrap(pointer.pointer, SYNC)
        for number in range(count):
            callback.Error(number, f"text {number}")
        callback.Error(1, "text 1")
    trace = read_trace(path)
    assert trace.damage is None
    assert [call.args for call in trace.calls[:-1]] == [(number, f"text {number}") for number in range(count)]
    assert trace.calls[-1].args == (1, "text 1")


def test_a_text_without_end_is_cut(tmp_path: Path) -> None:
    text = (ctypes.c_uint16 * (com.MAX_TEXT_UNITS + 5))(*b"x" * 100)
    ctypes.memset(text, 0x41, 2 * com.MAX_TEXT_UNITS + 8)

    class Silent:
        Progress = Error = Done = staticmethod(lambda *args: 0)

    path = tmp_path / "long.tape"
    with com.expose(Silent(), SYNC) as inner, record_pointer(inner.pointer, path) as pointer:
        com.wrap(pointer.pointer, SYNC).Progress(ctypes.c_void_p(ctypes.addressof(text)), 1, 2)
    (call,) = read_trace(path).calls
    assert call.args[0] == "\u4141" * com.MAX_TEXT_UNITS
