"""The recording callback: everything passes as it came, and all of it is in the trace."""

from __future__ import annotations

import copy
import enum
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder import hresult
from recorder.callback import RecordingCallback, ScriptedCallback, recording
from recorder.calls import Call, Enter, Handle, Leave, Opaque, Outcome, OutcomeKind, Trace
from recorder.errors import InterfaceError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.trace import read_trace
from recorder.writer import RecordingWarning, TraceWriter, live_header

OUT = Direction.OUT
IMAPI_PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method("Progress", tuple(Parameter(name, Type.U32) for name in ("ulValue", "ulCount", "ulTotal"))),
        Method("GetFlags", (Parameter("lpulFlags", Type.U32, direction=OUT),)),
        Method("GetMax", (Parameter("lpulMax", Type.U32, direction=OUT),)),
        Method("GetMin", (Parameter("lpulMin", Type.U32, direction=OUT),)),
        Method(
            "SetLimits",
            tuple(
                Parameter(n, Type.U32, nullable=True, pointer=True) for n in ("lpulMin", "lpulMax", "lpulFlags")
            ),
        ),
    ),
    base=IUNKNOWN,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.tape"


class Host:
    """Notes what it is asked, and answers what it is told to."""

    def __init__(self, answer: object = 0):
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.answer = answer
        self.cancelled = False

    def Progress(self, /, *args: Any, **keywords: Any) -> Any:
        self.asked.append((args, keywords))
        return self.answer

    Error = Done = Progress


def record(path: Path, use: Callable[[Any], object], inner: object = None, **options: Any) -> Trace:
    with recording(inner if inner is not None else Host(), path, **options) as callback:
        use(callback)
    trace = read_trace(path)
    assert trace.damage is None
    return trace


# --- arguments -----------------------------------------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    __slots__ = ()


class Hostile:
    """Whatever one asks of it, it raises."""

    def _raise(self, *args: object) -> Any:
        raise RuntimeError("no")

    __class__ = property(_raise)
    __repr__ = __hash__ = __int__ = __index__ = __eq__ = __bool__ = __len__ = _raise


HOSTILE, NO_REPR = Hostile(), Opaque("Hostile", "<repr raised RuntimeError>")


@pytest.mark.parametrize(
    ("args", "keywords", "recorded"),
    [
        (("Inbox", 1, 2), {}, ("Inbox", 1, 2)),
        ((None, 0, 0), {}, (None, 0, 0)),
        (("", 65535, 65536), {}, ("", 65535, 65536)),
        (("\ud800", 2**32 - 1, 2**32), {}, ("\ud800", 2**32 - 1, 2**32)),
        (("x", -1, 2**64), {}, ("x", -1, 2**64)),
        (("x" * 5000, 1, 2), {}, ("x" * 5000, 1, 2)),
        (("Inbox", True, False), {}, ("Inbox", 1, 0)),
        (("Inbox", Colour.RED, 2), {}, ("Inbox", 3, 2)),
        ((Text("Inbox"), 1, 2), {}, ("Inbox", 1, 2)),
        (("Inbox", 1.0, None), {}, ("Inbox", 1.0, None)),
        ((b"Inbox", "1", 2), {}, (b"Inbox", "1", 2)),
        ((5, 1, 2), {}, (5, 1, 2)),
        (([], 1, 2), {}, (Opaque("list", "[]"), 1, 2)),
        ((HOSTILE, 1, 2), {}, (NO_REPR, 1, 2)),
        (("x", HOSTILE, 2), {}, ("x", NO_REPR, 2)),
        (("x", 1, HOSTILE), {}, ("x", 1, NO_REPR)),
        ((HOSTILE,), {}, (NO_REPR,)),
        ((), {}, ()),
        (("Inbox",), {}, ("Inbox",)),
        (("Inbox", 1), {}, ("Inbox", 1)),
        (("Inbox", 1, 2, 3, "four"), {}, ("Inbox", 1, 2, 3, "four")),
        (("Inbox", 1), {"ulIndexMax": 2}, ("Inbox", 1, 2)),
        ((), {"ulIndexMax": 2, "pwcszProgress": "Inbox", "ulIndex": 1}, ("Inbox", 1, 2)),
        (("Inbox", 1, 2), {"self": 3, "a0": "x", "colour": None}, ("Inbox", 1, 2, 3, "x", None)),
        ((), {"a0": "Inbox"}, ("Inbox",)),
    ],
    ids=lambda value: "arguments",
)
def test_arguments_pass_as_they_came(
    path: Path, args: tuple[Any, ...], keywords: dict[str, Any], recorded: tuple[Any, ...]
) -> None:
    host = Host()
    trace = record(path, lambda callback: [callback.Progress(*args, **keywords) for _ in range(3)], host)
    for passed, passed_keywords in host.asked:
        assert [id(value) for value in passed] == [id(value) for value in args]
        assert passed_keywords == keywords
    assert len(host.asked) == 3
    assert repr([call.args for call in trace.calls]) == repr([recorded] * 3)


def test_handles_are_kept_as_symbols(path: Path) -> None:
    def use(callback: Any) -> None:
        for handle in (4711, None, 0, 815, -1, 4711, Handle(9)):
            callback.Done(handle, -5)

    handles = [Handle(1), None, None, Handle(2), Handle(-1), Handle(1), Handle(9)]
    assert [call.args for call in record(path, use).calls] == [(handle, -5) for handle in handles]


def test_many_handles_and_texts(path: Path) -> None:
    def use(callback: Any) -> None:
        for number in range(1, 300):
            callback.Done(number * 4, number)
            callback.Error(number, f"text {number % 290}")

    calls = record(path, use).calls
    assert [call.args[0] for call in calls[::2]] == [Handle(number) for number in range(1, 300)]
    assert [call.args[1] for call in calls[1::2]] == [f"text {number % 290}" for number in range(1, 300)]


@pytest.mark.slow
def test_more_texts_than_the_table_holds(path: Path) -> None:
    count = 66_000

    def use(callback: Any) -> None:
        for number in range(count):
            callback.Progress(f"text {number}", number, count)
        callback.Progress("text 7", 0, 0)

    calls = record(path, use).calls
    assert [call.args[0] for call in calls[:count]] == [f"text {number}" for number in range(count)]
    assert calls[count].args == ("text 7", 0, 0)


# --- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "recorded"),
    [
        (0, 0),
        (None, None),
        (1, 1),
        (-2147467259, -2147467259),
        (0x80004005, 0x80004005),
        (2**70, 2**70),
        (False, False),
        (True, True),
        (0.0, 0.0),
        ("S_OK", "S_OK"),
        (b"\0", b"\0"),
        ((), Opaque("tuple", "()")),
        ((0, 5), Opaque("tuple", "(0, 5)")),
        (Colour.RED, 3),
        (HOSTILE, NO_REPR),
    ],
    ids=lambda value: "hostile" if value is HOSTILE else None,
)
def test_answers_pass_as_they_came(path: Path, answer: object, recorded: object) -> None:
    def use(callback: Any) -> None:
        for _ in range(3):
            assert callback.Progress("x", 1, 2) is answer

    outcomes = [played.outcome for played in record(path, use, Host(answer)).played]
    assert repr([outcome and outcome.value for outcome in outcomes]) == repr([recorded] * 3)


class Problem(Exception):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("no such folder"), "ValueError: no such folder"),
        (ValueError(), "ValueError"),
        (Problem("a\nb"), f"{Problem.__module__}.Problem: a\nb"),
        (KeyError("\ud800"), "KeyError: '\\ud800'"),
        (Unspeakable(), f"{Problem.__module__}.Unspeakable: <str raised RuntimeError>"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
        (ExceptionGroup("two", [ValueError(), KeyError()]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
)
@pytest.mark.parametrize("text", ["known", ["not a text"]], ids=["fast", "general"])
def test_exceptions_pass_as_they_came(path: Path, error: BaseException, detail: str, text: object) -> None:
    class Raising:
        def Progress(self, text: object, index: int, maximum: int) -> int:
            if index:
                self.deeper()
            return 0

        def deeper(self) -> None:
            raise error

    def use(callback: Any) -> None:
        callback.Progress("known", 0, 2)
        with pytest.raises(type(error)) as caught:
            callback.Progress(text, 1, 2)
        assert caught.value is error
        assert error.__context__ is sys.exception()  # none, or what the whole run is being handled under
        assert error.__cause__ is None
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[0] == "use"
        assert names[-2:] == ["Progress", "deeper"]

    error.__traceback__ = None
    outcome = record(path, use, Raising()).played[1].outcome
    assert outcome is not None
    assert (outcome.kind, outcome.detail) == (OutcomeKind.RAISED, detail)
    assert outcome.place.startswith("test_callback.py:")
    assert outcome.place.endswith(" in deeper")


def test_a_note_is_not_the_message(path: Path) -> None:
    error = ValueError("message")
    error.add_note("a note")

    class Raising:
        def Done(self, *args: object) -> None:
            raise error

    def use(callback: Any) -> None:
        with pytest.raises(ValueError, match="message"):
            callback.Done(None, 0)

    outcome = record(path, use, Raising()).played[0].outcome
    assert outcome is not None
    assert outcome.detail == "ValueError: message"


def test_what_the_wrong_number_of_arguments_does_is_up_to_the_host(path: Path) -> None:
    class Strict:
        def Progress(self, text: str, index: int, maximum: int) -> int:
            return 0

    def use(callback: Any) -> None:
        callback.Progress("x", 1, 2)
        for args, keywords in ((("x", 1), {}), (("x", 1, 2, 3), {}), (("x", 1, 2), {"z": 1})):
            with pytest.raises(TypeError, match=r"Strict\.Progress\(\)"):
                callback.Progress(*args, **keywords)

    trace = record(path, use, Strict())
    assert [call.args for call in trace.calls] == [("x", 1, 2), ("x", 1), ("x", 1, 2, 3), ("x", 1, 2, 1)]
    details = [played.outcome.detail for played in trace.played if played.outcome]
    assert all("TypeError: " in detail and "Strict.Progress()" in detail for detail in details[1:])


def test_a_method_that_the_host_lacks_is_its_affair(path: Path) -> None:
    def use(callback: Any) -> None:
        with pytest.raises(AttributeError, match="Progress"):
            callback.Progress("x", 1, 2)

    outcome = record(path, use, object()).played[0].outcome
    assert outcome is not None
    assert outcome.detail == "AttributeError: 'object' object has no attribute 'Progress'"
    assert outcome.place == ""


def test_a_host_may_change_its_methods(path: Path) -> None:
    host = Host()

    def use(callback: Any) -> None:
        assert callback.Progress("x", 1, 2) == 0
        host.Progress = lambda *args: 7  # type: ignore[method-assign]
        assert callback.Progress("x", 1, 2) == 7

    assert [played.outcome and played.outcome.value for played in record(path, use, host).played] == [0, 7]


# --- nesting and threads -------------------------------------------------------------------------------------


def test_nested_calls_are_seen_as_they_were(path: Path) -> None:
    class Nesting:
        def Progress(self, text: str, index: int, maximum: int) -> int:
            if index < 4:
                assert self.callback.Progress(text, index + 1, maximum) == index + 1
                self.callback.Error(index, "inside")
            return index

        def Error(self, result: int, text: str) -> int:
            return 0

        callback: Any

    host = Nesting()

    def use(callback: Any) -> None:
        host.callback = callback
        for _ in range(3):
            callback.Progress("x", 0, 9)
        callback.Error(9, "after")

    events = record(path, use, host).events
    shape = [
        (event.call.method, event.call.args[1 if event.call.method == "Progress" else 0])
        if isinstance(event, Enter)
        else event.number % 9
        for event in events[:18]
    ]
    assert shape == [
        *[("Progress", n) for n in range(5)], 4,
        ("Error", 3), 5, 3, ("Error", 2), 6, 2, ("Error", 1), 7, 1, ("Error", 0), 8, 0,
    ]  # fmt: skip
    assert [event.number for event in events if isinstance(event, Leave)][-1] == 27


def test_two_callbacks_on_one_writer(path: Path) -> None:
    with TraceWriter(path) as writer:
        outer: Any
        inner: Any = RecordingCallback(Host(5), writer=writer)
        outer = RecordingCallback(inner, writer=writer)
        assert outer.Progress("x", 1, 2) == 5
        assert outer.Progress("x", 1, 2) == 5
    assert [(type(event).__name__, event.number) for event in read_trace(path).events] == [
        ("Enter", 0), ("Enter", 1), ("Leave", 1), ("Leave", 0),
        ("Enter", 2), ("Enter", 3), ("Leave", 3), ("Leave", 2),
    ]  # fmt: skip


def test_concurrent_calls_overlap_in_the_trace(path: Path) -> None:
    inside = threading.Barrier(2)

    class Waiting:
        def Progress(self, text: str, index: int, maximum: int) -> int:
            inside.wait()
            return 0

    def use(callback: Any) -> None:
        threads = [threading.Thread(target=callback.Progress, args=("x", n, 2)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    trace = record(path, use, Waiting())
    assert [type(event) for event in trace.events] == [Enter, Enter, Leave, Leave]
    assert sorted(call.thread for call in trace.calls) == [0, 1]


# --- other interfaces ----------------------------------------------------------------------------------------


class ProgressHost:
    limits = (0, 1000, 1)

    def Progress(self, value: int, count: int, total: int) -> int:
        return 0

    def GetFlags(self) -> tuple[int, int]:
        return 0, self.limits[2]

    def GetMax(self) -> tuple[int, int]:
        return 0, self.limits[1]

    def GetMin(self) -> object:
        return 0, None

    def SetLimits(self, least: int | None, most: int | None, flags: int | None) -> None:
        self.limits = (least or 0, most or 1000, flags or 0)


def test_another_interface_with_outputs_is_recorded(path: Path) -> None:
    def use(callback: Any) -> None:
        for round in range(2):
            assert callback.GetFlags() == (0, 1 - round)
            callback.SetLimits(None, 500, None)
            assert callback.GetMax() == (0, 500)
            assert callback.GetMin() == (0, None)
            callback.Progress(round, 2, 2)

    trace = record(path, use, ProgressHost(), interface=IMAPI_PROGRESS)
    assert trace.interface == IMAPI_PROGRESS
    outcomes = [
        (p.call.method, p.call.args, p.outcome and p.outcome.value, p.outcome and p.outcome.outputs)
        for p in trace.played
    ]
    assert outcomes[:5] == [
        ("GetFlags", (), 0, (1,)),
        ("SetLimits", (None, 500, None), None, ()),
        ("GetMax", (), 0, (500,)),
        ("GetMin", (), 0, (None,)),
        ("Progress", (0, 2, 2), 0, ()),
    ]


def test_methods_of_any_shape(path: Path) -> None:
    """Names that Python does not like, names of the callback's own, more parameters than fit a short record."""
    shapes = Interface(
        "IShapes",
        "{00000000-0000-0000-0000-000000000001}",
        (
            Method("close"),
            Method("not a name", (Parameter("x", Type.U32),)),
            Method("class", (Parameter("x", Type.TEXT),)),
            Method("Wide", tuple(Parameter(f"p{n}", Type.I64) for n in range(6))),
            Method("Many", tuple(Parameter(f"p{n}", Type.U32) for n in range(20))),
            Method("Texts", (Parameter("a", Type.TEXT), Parameter("b", Type.TEXT), Parameter("c", Type.I32))),
            Method(
                "Mixed", (Parameter("a", Type.HANDLE), Parameter("b", Type.TEXT), Parameter("c", Type.POINTER))
            ),
            Method("Ids", (Parameter("a", Type.IID), Parameter("b", Type.BOOL), Parameter("c", Type.U64))),
            *(Method(f"M{n}", (Parameter("x", Type.U32),)) for n in range(120)),
        ),
        base=IUNKNOWN,
    )
    calls = [
        ("close", ()),
        ("not a name", (5,)),
        ("class", ("text",)),
        ("Wide", tuple(range(-3, 3))),
        ("Many", tuple(range(20))),
        ("Texts", ("a", "b", -1)),
        ("Texts", ("b", None, 2**31 - 1)),
        ("Mixed", (Handle(1), "a", None)),
        ("Ids", ("{...}", -1, 2**16 - 1)),
        ("Ids", ("{...}", 1, 2**64 - 1)),
        ("M0", (0x8080,)),
        ("M119", (7,)),
    ]

    class Shaped:
        def __getattr__(self, name: str) -> Callable[..., tuple[str, tuple[object, ...]]]:
            return lambda *args: (name, args)

    with recording(Shaped(), path, interface=shapes) as callback:
        for _ in range(3):
            for name, args in calls:
                assert getattr(callback, name)(*args) == (name, args)
        assert callback.anything(1) == ("anything", (1,))
    trace = read_trace(path)
    assert trace.damage is None
    assert [(call.method, call.args) for call in trace.calls] == calls * 3


# --- the object ----------------------------------------------------------------------------------------------


def test_attributes_of_the_host_are_the_callbacks(path: Path) -> None:
    host = Host()
    callback: Any = RecordingCallback(host, path)
    assert callback.cancelled is False
    callback.cancelled = True
    assert host.cancelled is True
    assert isinstance(callback, RecordingCallback)
    with pytest.raises(AttributeError):
        _ = callback.missing
    callback.close()
    assert copy.copy(callback).inner is host


def test_after_closing_calls_are_forwarded_and_not_recorded(path: Path) -> None:
    host = Host(3)
    callback: Any = RecordingCallback(host, path)
    callback.Progress("x", 1, 2)
    callback.close()
    callback.close()
    assert [callback.Progress("x", n, 2) for n in range(5)] == [3] * 5
    assert len(host.asked) == 6
    trace = read_trace(path)
    assert len(trace.calls) == 1
    assert trace.damage is None


def test_closing_inside_a_call(path: Path) -> None:
    class Closing:
        def Done(self, handle: object, result: int) -> int:
            self.callback.close()
            return 0

        callback: Any

    host = Closing()
    host.callback = RecordingCallback(host, path)
    assert host.callback.Done(None, 0) == 0
    trace = read_trace(path)
    assert trace.damage is None
    assert [(played.call.method, played.outcome) for played in trace.played] == [("Done", None)]


def test_recording_ends_the_trace_when_the_provider_raises(path: Path) -> None:
    with pytest.raises(LookupError), recording(Host(), path) as callback:
        callback.Progress("x", 1, 2)
        raise LookupError
    assert len(read_trace(path).events) == 2
    assert read_trace(path).damage is None


def test_an_unwritable_path_warns_once_and_forwards(tmp_path: Path) -> None:
    host = Host(4)
    with pytest.warns(RecordingWarning, match="cannot be written: .*; calls are still forwarded") as caught:  # noqa: SIM117
        with recording(host, tmp_path / "missing" / "run.tape") as callback:
            assert callback.Progress("x", 1, 2) == 4
            assert callback.cancelled is False
    assert len(caught) == 1
    assert host.asked == [(("x", 1, 2), {})]


def test_a_callback_needs_somewhere_to_record_to() -> None:
    with pytest.raises(TypeError, match="needs a path or a writer"):
        RecordingCallback(Host())


def test_iunknown_is_told_by_the_exposed_pointer(path: Path) -> None:
    def use(callback: Any) -> None:
        done = callback.unknown_call("QueryInterface", (IMAPI_SYNC_PROGRESS_CALLBACK.iid,))
        callback.Progress("inside", 1, 2)
        done((0, 4711))
        callback.unknown_call("Release", ())(0)

    trace = record(path, use)
    assert trace.calls[0] == Call("QueryInterface", (IMAPI_SYNC_PROGRESS_CALLBACK.iid,), 0, trace.calls[0].time_ns)
    assert [event.number for event in trace.events] == [0, 1, 1, 0, 2, 2]
    assert trace.played[0].outcome is not None
    assert (trace.played[0].outcome.value, trace.played[0].outcome.outputs) == (0, (Handle(1),))


def test_the_header_is_the_one_given(path: Path) -> None:
    header = live_header(sync_flags=0x82, provenance={"who": "test"})
    assert record(path, lambda callback: None, header=header).header == header


# --- scripted answers ----------------------------------------------------------------------------------------


def test_without_a_host_answers_come_from_a_script(path: Path) -> None:
    answers = {
        "Progress": [1, None],
        "Error": -5,
        "Done": lambda handle, result: result + 1,
    }
    with RecordingCallback(None, path, answers=answers) as callback:
        assert [callback.Progress("x", n, 3) for n in range(3)] == [1, None, hresult.S_OK]
        assert [callback.Error(1, text="x") for _ in range(2)] == [-5, -5]
        assert callback.Done(None, 6) == 7
    outcomes = [played.outcome for played in read_trace(path).played]
    assert [outcome and outcome.value for outcome in outcomes] == [1, None, 0, -5, -5, 7]


def test_a_script_knows_its_interface() -> None:
    callback: Any = ScriptedCallback(IMAPI_PROGRESS, {"GetMax": (0, 5), "Progress": iter("ab")})
    assert callback.GetMax() == (0, 5)
    assert [callback.Progress(1, 2, 3) for _ in range(3)] == ["a", "b", 0]
    with pytest.raises(InterfaceError, match="did you mean 'Progress'"):
        ScriptedCallback(answers={"Progres": 0})


def test_outcomes_take_their_time_from_the_clock(path: Path) -> None:
    ticks = iter(range(1 << 30, 1 << 60, 5 << 20))
    with TraceWriter(path, clock=lambda: next(ticks)) as writer:
        callback: Any = RecordingCallback(Host(), writer=writer)
        for _ in range(4):
            callback.Progress("x", 1, 2)
    outcomes = {played.outcome for played in read_trace(path).played}
    assert outcomes == {Outcome(elapsed_ns=5 << 20)}
