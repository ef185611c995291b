"""A pointer that records, by the compiled core and through ctypes: the same answers, the same trace."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder import com, recorded_pointer
from recorder.calls import SYNC_EVENT, Call, Handle, Trace
from recorder.errors import TraceError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.interfaces import IUNKNOWN
from recorder.native import SWITCH, Core
from recorder.recorded_pointer import RecordedPointer, record_pointer
from recorder.session import LEAST, Bounds
from recorder.session_input import parts
from recorder.trace import read_trace
from recorder.trace_input import TraceInput

E_NOINTERFACE, E_POINTER, E_INVALIDARG = -2147467262, -2147467261, -2147024809

Record = Callable[..., RecordedPointer]


class Host:
    """Answers each call by what `answers` says, S_OK else."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any) -> Any:
            self.calls.append((name, *args))
            answer = self.answers.pop(0) if self.answers else 0
            return answer() if callable(answer) else answer

        return method


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.tape"


@pytest.fixture(params=["ctypes", pytest.param("compiled", marks=pytest.mark.native)])
def record(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Record:
    """`record_pointer` by one of the two."""
    module = None if request.param == "ctypes" else importlib.import_module("recorder._native.core")
    monkeypatch.setattr(recorded_pointer, "core_of", lambda floor: Core(module, "for a test"))

    def record(*args: Any, **options: Any) -> RecordedPointer:
        recorded = record_pointer(*args, **options)
        assert recorded.compiled == (request.param == "compiled")
        return recorded

    return record


def seen(trace: Trace) -> list[tuple[Any, ...]]:
    """Each call with its answer and outputs."""
    assert trace.damage is None
    return [
        (p.call.method, p.call.args, *((p.outcome.value, p.outcome.outputs) if p.outcome else ("open",)))
        for p in trace.played
    ]


def test_calls_go_through_and_are_recorded(record: Record, path: Path) -> None:
    host = Host(0, 1, -2147467260, 5)
    with com.expose(host, SYNC) as inner, record(inner.pointer, path) as recorded:
        callback: Any = com.wrap(recorded.pointer, SYNC)
        answers = [
            callback.Progress("Inbox", 1, 4_000_000_000),
            callback.Progress(None, 0, 0),
            callback.Error(-2147467259, "no \ud800 way \U0001f600"),
            callback.Done(4711, 0),
        ]
    assert answers == [0, 1, -2147467260, 5]
    assert host.calls == [
        ("Progress", "Inbox", 1, 4_000_000_000),
        ("Progress", None, 0, 0),
        ("Error", -2147467259, "no \ud800 way \U0001f600"),
        ("Done", 4711, 0),
    ]
    assert seen(read_trace(path)) == [
        ("Progress", ("Inbox", 1, 4_000_000_000), 0, ()),
        ("Progress", (None, 0, 0), 1, ()),
        ("Error", (-2147467259, "no \ud800 way \U0001f600"), -2147467260, ()),
        ("Done", (Handle(1), 0), 5, ()),
    ]


def test_handles_are_symbols(record: Record, path: Path) -> None:
    cell = ctypes.c_void_p(0x700)
    with (
        com.expose(Host(), SYNC) as inner,
        record(inner.pointer, path, sync_event=0x600, sync_event_at=ctypes.addressof(cell)) as recorded,
    ):
        callback: Any = com.wrap(recorded.pointer, SYNC)
        for handle in (0x500, 0x600, 0x501, None, 0x500, -1, -2, 0x700):
            callback.Done(handle, 0)
        cell.value = 0x800
        callback.Done(0x800, 0)
        recorded.set_sync_event(0x900)
        recorded.set_sync_event(0x500)  # seen before: it stays what it is
        callback.Done(0x900, 0)
        callback.Done(0x500, 0)
    expected = [Handle(1), SYNC_EVENT, Handle(2), None, Handle(1), Handle(-1), Handle(-2), *[SYNC_EVENT] * 3]
    assert [call.args[0] for call in read_trace(path).calls] == [*expected, Handle(1)]


@pytest.mark.parametrize("sync", [None, 0.01])
def test_several_files(record: Record, path: Path, sync: float | None) -> None:
    """A call is in the file in which it began, and a handle is the same in all of them."""
    callback: Any = None

    def in_the_middle() -> int:
        for index in range(CALLS):
            callback.Progress("Inbox", index, CALLS)
        return callback.Done(4711, 0) or 1

    with (
        com.expose(Host(0, in_the_middle), SYNC) as inner,
        record(inner.pointer, path, bounds=Bounds(LEAST), sync=sync) as recorded,
    ):
        callback = com.wrap(recorded.pointer, SYNC)
        callback.Done(4711, 0)
        assert callback.Error(1, "all of it") == 1
        assert recorded.stopped is None
    trace = TraceInput(path).read()
    assert trace.damage is None and len(parts(path)) > 1
    first, *rest = (read_trace(part) for _, part in parts(path))
    assert first.played[1].outcome and first.played[1].outcome.value == 1
    assert [call.args for call in trace.calls[2:-1]] == [("Inbox", index, CALLS) for index in range(CALLS)]
    assert [call.args for call in (trace.calls[0], rest[-1].calls[-1])] == [(Handle(1), 0)] * 2
    with com.expose(Host(), SYNC) as inner, pytest.raises(TraceError, match="exists already"):
        record_pointer(inner.pointer, path, bounds=Bounds(LEAST))


CALLS = 4000


def test_references_and_identity(record: Record, path: Path) -> None:
    with com.expose(Host(), SYNC) as inner:
        assert inner.references == 1
        recorded = record(inner.pointer, path)
        callback: Any = com.wrap(recorded.pointer, SYNC)
        assert (inner.references, recorded.references) == (2, 1)
        assert callback.QueryInterface(IUNKNOWN.iid) == (0, recorded.pointer)
        assert callback.QueryInterface(SYNC.iid) == (0, recorded.pointer)
        assert callback.QueryInterface("{5024a385-2d44-486a-81a8-8f0ecb6071dd}") == (E_NOINTERFACE, None)
        assert callback.QueryInterface(None) == (E_INVALIDARG, None)
        assert callback.AddRef() == 4
        assert [callback.Release(), callback.Release(), callback.Release()] == [3, 2, 1]
        recorded.close()
        recorded.close()
        gc.collect()
        assert (recorded.references, inner.references) == (0, 1)
    assert seen(read_trace(path)) == [
        ("QueryInterface", (IUNKNOWN.iid,), 0, ()),
        ("QueryInterface", (SYNC.iid,), 0, ()),
        ("QueryInterface", ("{5024a385-2d44-486a-81a8-8f0ecb6071dd}",), E_NOINTERFACE, ()),
        ("QueryInterface", (None,), E_INVALIDARG, ()),
        ("AddRef", (), 4, ()),
        ("Release", (), 3, ()),
        ("Release", (), 2, ()),
        ("Release", (), 1, ()),
    ]


def test_who_holds_a_reference_calls_on_after_the_end(record: Record, path: Path) -> None:
    host = Host()
    with com.expose(host, SYNC) as inner:
        recorded = record(inner.pointer, path)
        callback: Any = com.wrap(recorded.pointer, SYNC)
        callback.AddRef()
        recorded.close()
        assert callback.Progress("late", 1, 2) == 0
        assert host.calls == [("Progress", "late", 1, 2)]
        assert inner.references == 2
        assert callback.Release() == 0
        gc.collect()
        assert inner.references == 1
        assert callback.Progress("too late", 1, 2) == -2147220995  # CO_E_OBJNOTCONNECTED
    assert [call.method for call in read_trace(path).calls] == ["AddRef"]


def test_calls_nest(record: Record, path: Path) -> None:
    def again() -> int:
        callback.Error(7, "inner")
        return 3

    with com.expose(Host(again), SYNC) as inner, record(inner.pointer, path) as recorded:
        callback: Any = com.wrap(recorded.pointer, SYNC)
        assert callback.Progress("outer", 1, 2) == 3
    trace = read_trace(path)
    assert seen(trace) == [("Progress", ("outer", 1, 2), 3, ()), ("Error", (7, "inner"), 0, ())]
    assert [event.number for event in trace.events] == [0, 1, 1, 0]


def test_one_may_stand_before_another(record: Record, tmp_path: Path) -> None:
    with (
        com.expose(Host(5), SYNC) as inner,
        record(inner.pointer, tmp_path / "near.tape") as near,
        record(near.pointer, tmp_path / "far.tape") as far,
    ):
        assert com.wrap(far.pointer, SYNC).Progress("x", 1, 2) == 5
    assert inner.references == 0
    for name in ("near", "far"):
        trace = read_trace(tmp_path / f"{name}.tape")
        assert ("Progress", ("x", 1, 2), 5, ()) in seen(trace)


WIDE = Interface(
    "IWide",
    "{00000000-0000-0000-0000-0000000000aa}",
    (
        Method(
            "All",
            (
                Parameter("a", Type.BOOL),
                Parameter("b", Type.I32),
                Parameter("c", Type.U32),
                Parameter("d", Type.I64),
                Parameter("e", Type.U64),
                Parameter("f", Type.POINTER),
                Parameter("g", Type.IID),
                Parameter("h", Type.U32, pointer=True),
                Parameter("i", Type.I64, pointer=True),
                Parameter("j", Type.TEXT),
                Parameter("k", Type.U32, direction=Direction.OUT),
                Parameter("l", Type.HANDLE, direction=Direction.OUT),
            ),
        ),
        Method("Count", returns=Type.U32),
        Method("Far", (Parameter("x", Type.I64),), returns=Type.I64),
        Method("Tell", (Parameter("x", Type.TEXT),), returns=Type.VOID),
        Method("Opened", returns=Type.HANDLE),
    ),
    base=IUNKNOWN,
)


def test_any_interface_of_words(record: Record, path: Path) -> None:
    host = Host((-1, 4_000_000_000, 0x123), (1, 0, None), 3_000_000_000, -(2**63), None, 0x123, None)
    big = (-1, -(2**31), 2**32 - 1, -(2**63), 2**64 - 1, 0x10, WIDE.iid, 7, -(2**63), "x")
    nothing = (0, 0, 0, 0, 0, None, None, None, None, None)
    with (
        com.expose(host, WIDE) as inner,
        record(inner.pointer, path, interface=WIDE) as recorded,
    ):
        wide: Any = com.wrap(recorded.pointer, WIDE)
        assert wide.All(*big) == (-1, 4_000_000_000, 0x123)
        assert wide.All(*nothing) == (1, 0, None)
        assert wide.Count() == 3_000_000_000
        assert wide.Far(-1) == -(2**63)
        assert wide.Tell("x") is None
        assert [wide.Opened(), wide.Opened()] == [0x123, None]
    assert host.calls[:2] == [("All", *big), ("All", *nothing)]
    trace = read_trace(path)
    assert trace.interface == WIDE
    assert seen(trace) == [
        ("All", (*big[:5], Handle(1), *big[6:]), -1, (4_000_000_000, Handle(2))),
        ("All", nothing, 1, (0, None)),
        ("Count", (), 3_000_000_000, ()),
        ("Far", (-1,), -(2**63), ()),
        ("Tell", ("x",), None, ()),
        ("Opened", (), Handle(2), ()),
        ("Opened", (), None, ()),
    ]


FILLS = Interface(
    "IFills",
    "{00000000-0000-0000-0000-0000000000ad}",
    (Method("Fill", (Parameter("a", Type.U32, direction=Direction.OUT),)),),
    base=IUNKNOWN,
)


def test_an_output_that_is_not_filled_is_0(record: Record, path: Path) -> None:
    """What the caller's variable held before is nobody's business."""
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
    count, fail = function(lambda this, nothing: 1), function(lambda this, output: -1)
    vtable = (ctypes.c_void_p * 4)(*(ctypes.cast(f, ctypes.c_void_p).value for f in (fail, count, count, fail)))
    host, cell = ctypes.c_void_p(ctypes.addressof(vtable)), ctypes.c_uint32(77)
    with record(ctypes.addressof(host), path, interface=FILLS) as recorded:
        table = ctypes.c_void_p.from_address(recorded.pointer).value or 0
        fill = function((ctypes.c_size_t * 4).from_address(table)[3])
        assert fill(recorded.pointer, ctypes.addressof(cell)) == -1
    assert cell.value == 0
    assert seen(read_trace(path)) == [("Fill", (), -1, (0,))]


def test_a_file_that_cannot_be_made_is_an_error_before_anything_is_called(record: Record, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with com.expose(Host(), SYNC) as inner:
        with pytest.raises(TraceError, match="exists already; it is left as it is"):
            record(inner.pointer, tmp_path / "mine")
        with pytest.raises(TraceError, match=r"cannot be written: "):
            record(inner.pointer, tmp_path / "missing" / "run.tape")
        with pytest.raises(ValueError, match="NULL"):
            record(0, tmp_path / "null.tape")
        assert inner.references == 1
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_first_event_is_in_the_file_when_the_call_arrives(record: Record, path: Path) -> None:
    arrived: list[tuple[Call, ...]] = []

    def look() -> int:
        arrived.append(read_trace(path).calls)
        return 0

    with com.expose(Host(look), SYNC) as inner, record(inner.pointer, path) as recorded:
        com.wrap(recorded.pointer, SYNC).Progress("x", 1, 2)
    assert [call.args for call in arrived[0]] == [("x", 1, 2)]


# --- in a process of its own ---------------------------------------------------------------------------------

ENDS = """
import sys
from recorder import com
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.recorded_pointer import record_pointer

class Host:
    Progress = Error = Done = staticmethod(lambda *args: args[1])

inner = com.expose(Host(), SYNC)
recorded = record_pointer(inner.pointer, sys.argv[1])
callback = com.wrap(recorded.pointer, SYNC)
"""

FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for index in range(100_000):
    assert callback.Progress("x", index, 9) == index
recorded.close()
print(recorded.compiled, recorded.stopped)
"""


def run(switch: str, code: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, SWITCH: switch}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)


switches = pytest.mark.parametrize("switch", ["ctypes", pytest.param("", marks=pytest.mark.native)])


@switches
def test_a_process_that_ends_without_closing_leaves_a_whole_trace(switch: str, path: Path) -> None:
    run(switch, ENDS + "callback.Progress('x', 1, 2)", path)
    assert seen(read_trace(path)) == [("Progress", ("x", 1, 2), 1, ())]


@switches
@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
def test_when_the_disk_is_full_recording_stops_and_calls_go_on(switch: str, path: Path) -> None:
    done = run(switch, ENDS + FULL, path)
    assert done.stdout.split(maxsplit=1) == [str(switch == ""), "File too large\n"]
    assert done.stderr.count("recording stopped (File too large); calls are still forwarded") == 1
    trace = read_trace(path)
    assert trace.damage is not None and trace.damage.reason == "recording stopped: File too large"
    assert [call.args[1] for call in trace.calls] == list(range(len(trace.calls)))
    assert 10_000 < len(trace.calls) < 100_000


# --- one description -----------------------------------------------------------------------------------------


def test_the_types_of_c_are_those_of_python() -> None:
    """In the same order, which is how their numbers go over; what interfaces look like in C is generated."""
    native = Path(recorded_pointer.__file__).parent / "_native"
    header, source = ((native / name).read_text("utf-8") for name in ("synctape_record.h", "synctape_record.c"))
    (enumeration,) = re.findall(r"typedef enum synctape_type \{(.*?)\}", header, re.S)
    assert re.findall(r"SYNCTAPE_(\w+)", enumeration) == [kind.name for kind in Type]
    (names,) = re.findall(r"TYPE_NAMES\[\] = \{(.*?)\}", source, re.S)
    assert re.findall(r'"(\w+)"', names) == [kind.value for kind in Type]
