"""Statistics: the compiled core counts what is counted event by event, and gives up where it cannot."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import synctape
from recorder import counting, tally
from recorder import figures as values
from recorder.calls import (
    SYNC_EVENT,
    Call,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
)
from recorder.counting import Count
from recorder.encoding import checked
from recorder.figures import Statistics
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.native import Core, core_of
from recorder.stats import statistics
from recorder.tally import tallied
from recorder.trace import dump_trace, write_trace
from recorder.trace_input import TraceInput

_Test = TypeVar("_Test", bound=Callable[..., None])
_HAS_CORE = pytest.mark.skipif(core_of("recorder").module is None, reason="the core is not compiled")


def compiled(test: _Test) -> _Test:
    """What needs the compiled core runs with the native tests, for which it is built."""
    return pytest.mark.native(_HAS_CORE(test))  # type: ignore[no-any-return]


OTHER = Interface(
    "IOther",
    "{00000000-0000-0000-0000-000000000002}",
    (
        Method("Ask", (Parameter("which", Type.U32), Parameter("answer", Type.U64, direction=Direction.OUT))),
        Method("Note", (Parameter("one", Type.TEXT), Parameter("two", Type.TEXT)), returns=Type.U32),
        Method("Rest", ()),
    ),
    base=IUNKNOWN,
)

TEXTS = st.sampled_from([None, "", "a", "Entwürfe", "\ud800", "x" * 1500, "y" * 40])
VALUES: dict[Type, st.SearchStrategy[Any]] = {
    Type.TEXT: TEXTS,
    Type.IID: st.sampled_from(["{00000000-0000-0000-C000-000000000046}", None]),
    Type.HANDLE: st.sampled_from([SYNC_EVENT, None, Handle(3), Handle(-1)]),
    Type.POINTER: st.just(None),
    Type.HRESULT: st.sampled_from([0, -(2**31), 5]),
    Type.U32: st.integers(0, 4) | st.just(2**32 - 1),
}
OUTCOMES = st.sampled_from(
    [
        Outcome(),
        Outcome(elapsed_ns=3 * 10**9),
        Outcome(value=None, elapsed_ns=1024),
        Outcome(value=-2147467259, elapsed_ns=2048),
        Outcome(value=2**64 - 1),
        Outcome(value=True),
        Outcome(outputs=(1000, None)),
        Outcome(value=1, outputs=(7,)),
        Outcome(OutcomeKind.RAISED, None, 5000, "ValueError: bad", "host.py:3 in Note"),
        Outcome(OutcomeKind.HUNG, None, 10**10),
    ]
)
STEPS = st.sampled_from([0, 1024, 10**6, 10**9, -(10**6), 3 * 10**11])


@st.composite
def recorded(draw: st.DrawFn) -> Trace:
    """Calls as a recorder meets them: on threads, in each other, some never ending."""
    interface = draw(st.sampled_from([IMAPI_SYNC_PROGRESS_CALLBACK, OTHER]))
    events: list[Event] = []
    running: list[int] = []
    now = 0
    for number in range(draw(st.integers(0, 12))):
        now += draw(STEPS)
        method = draw(st.sampled_from(interface.slots))
        args = tuple(draw(VALUES[parameter.type]) for parameter in method.inputs)
        events.append(Enter(number, Call(method.name, args, draw(st.integers(0, 2)), now)))
        running.append(number)
        while draw(st.booleans()) and running:
            ended = running.pop(draw(st.integers(0, len(running) - 1)))
            events.append(Leave(ended, draw(OUTCOMES)))
    return Trace(Header(interface), tuple(events), (Thread(1, "sync"), Thread(2), Thread(3, "other")))


def counted(path: Path) -> Statistics:
    trace = TraceInput(path)
    with trace.source() as source:
        count = Count(source)
        count.events(source.events())
        return count.finish()


def figures(found: Statistics) -> dict[str, Any]:
    """All of it, orders too."""
    return {"rows": found.rows(), **json.loads(json.dumps(found.as_json()))}


@compiled
@settings(max_examples=25)
@given(trace=recorded(), cut=st.booleans())
def test_both_ways_count_the_same(tmp_path_factory: pytest.TempPathFactory, trace: Trace, cut: bool) -> None:
    path = tmp_path_factory.mktemp("stats") / "run.tape"
    path.write_bytes(dump_trace(trace)[:-10] + bytes(100) if cut else dump_trace(trace))
    found = tallied(TraceInput(path))
    assert found is not None
    assert figures(found) == figures(counted(path))


@compiled
def test_both_ways_agree_on_damaged_files_or_one_gives_up(tmp_path: Path) -> None:
    calls = [Call("Progress", (f"Folder {n % 7}", n, 30), n % 2, n * 10**6) for n in range(30)]
    whole = dump_trace(Trace.from_calls(calls, outcomes=[Outcome()] * 30))
    rng, path, agreed = random.Random(5), tmp_path / "run.tape", 0
    for _ in range(60):
        data = bytearray(whole)
        if rng.random() < 0.5:
            del data[rng.randrange(1000, len(data)) :]
        else:
            data[rng.randrange(1000, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        if (found := tallied(TraceInput(path))) is not None:
            assert figures(found) == figures(counted(path))
            agreed += 1
    assert agreed > 0


@compiled
@pytest.mark.parametrize(
    "call",
    [
        Call("Progress", ("x", 1.5, 2)),
        Call("Progress", ("x", True, 2)),
        Call("Progress", ("x", 1)),
        Call("Progress", ("x", 1, 2, 3)),
        Call("Progress", ("x", 2**70, 2)),
        Call("Progress", (7, 1, 2)),
        Call("Done", ("x", 0)),
    ],
)
def test_calls_that_are_not_as_declared_are_counted_event_by_event(tmp_path: Path, call: Call) -> None:
    path = write_trace(Trace.from_calls([call], outcomes=[Outcome()]), tmp_path / "run.tape")
    assert tallied(TraceInput(path)) is None
    assert statistics(TraceInput(path)) == counted(path)


def test_without_the_core_the_command_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Call("Progress", (f"Folder {n // 30}", n % 30, 30), n % 3, n * 10**7) for n in range(200)]
    outcomes = [Outcome(elapsed_ns=n * 1024) for n in range(200)]
    path = tmp_path / "run.tape"
    path.write_bytes(dump_trace(Trace.from_calls(calls, outcomes=outcomes))[:-10])
    arguments = ["show", "--stats", str(path)]
    shown = CliRunner().invoke(synctape.main, arguments).output
    monkeypatch.setattr(tally, "core_of", lambda floor: Core(None, "for a test"))
    assert tallied(TraceInput(path)) is None
    assert CliRunner().invoke(synctape.main, arguments).output == shown
    assert "busiest     101 calls in the second from 0 s on" in shown
    assert "warning: " in shown
    assert "calls 0 to 29: 0 to 29 of 30 in 290 ms" in shown


@compiled
def test_only_so_many_texts_and_answers_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counting, values, tally):
        monkeypatch.setattr(module, "TEXTS", 100)
    calls = [Call("Progress", (f"{'x' * 1500}{n}é", n, 700)) for n in range(700)]
    path = write_trace(Trace.from_calls(calls, outcomes=[Outcome()] * 700), tmp_path / "run.tape")
    found = statistics(TraceInput(path))
    assert tallied(TraceInput(path)) == counted(path) == found
    assert ("texts", "100 distinct or more") in found.rows()

    raised = [Outcome(OutcomeKind.RAISED, None, 1, f"KeyError: {n // 2}") for n in range(700)]
    path = write_trace(Trace.from_calls(calls, outcomes=raised), tmp_path / "raised.tape")
    assert tallied(TraceInput(path)) == counted(path)
    for module in (counting, tally):
        monkeypatch.setattr(module, "ANSWERS", 300)
    assert tallied(TraceInput(path)) is None
    found = statistics(TraceInput(path))
    assert (len(found.answers), found.other_answers) == (300, 100)
    assert dict(found.rows())["answers"].endswith(" 2, others 660")


def test_the_busiest_second_is_the_first_of_equal_ones(tmp_path: Path) -> None:
    times = [5, 5, 9, 9, 900, 9, 900, 900, 5, -1]
    calls = [Call("Progress", ("x", 1, 1), 0, second * 10**9 + 5000) for second in times]
    path = write_trace(Trace.from_calls(calls, outcomes=[Outcome()] * len(calls)), tmp_path / "run.tape")
    assert statistics(TraceInput(path)).busiest == (5, 3)
    assert counted(path).busiest == (5, 3)


def test_a_pipe_and_a_text_form_are_counted(tmp_path: Path) -> None:
    calls = [Call("Progress", ("x", n, 9), 0, n * 10**6) for n in range(10)]
    path = write_trace(Trace.from_calls(calls, outcomes=[Outcome()] * 10), tmp_path / "run.tape")
    text = CliRunner().invoke(synctape.main, ["show", "--text", str(path)]).output
    (tmp_path / "run.txt").write_text(text, encoding="utf-8")
    assert TraceInput(tmp_path / "run.txt").file is None
    assert statistics(TraceInput(tmp_path / "run.txt")) == statistics(TraceInput(path))


FIELDS: list[Any] = [
    0,
    1,
    2,
    5,
    -1,
    255,
    65536,
    2**63,
    2**64 - 1,
    None,
    True,
    1.5,
    "",
    "text",
    b"ab",
    b"odd",
    [],
    [1],
    {},
    {"v": 1},
]


@compiled
def test_records_that_no_writer_writes_are_never_counted_otherwise(tmp_path: Path) -> None:
    """Of any kind, with sound checks; what comes before and after them is as usual."""
    head = dump_trace(Trace())[:-10]
    before = [[1, 1, "Inbox"], [19, 5, 0, 1, 1, 2], [3, 1, 0], [19, 5, 0, 1, 2, 2]]
    rng, path, agreed = random.Random(3), tmp_path / "run.tape", 0
    for _ in range(150):
        kind = rng.choice([1, 2, 3, 3, 4, 5, 7, 16, 17, 18, 19, 19, 19, 20, 21, 22, 300])
        odd = [kind, *([5, 0] if rng.random() < 0.7 else [])]
        odd += [rng.choice(FIELDS) for _ in range(rng.randrange(6))]
        records = [*before, odd, [3, 1, 0]]
        path.write_bytes(head + b"".join(checked(msgpack.packb(record)) for record in records))
        if (found := tallied(TraceInput(path))) is not None:
            assert figures(found) == figures(counted(path)), odd
            agreed += 1
    assert agreed > 10
