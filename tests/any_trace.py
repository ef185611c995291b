"""Any trace at all that a file can hold, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from recorder.calls import (
    Argument,
    Call,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
)
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN

__all__ = ["OTHER", "SYNC", "TICK", "traces"]

SYNC = IMAPI_SYNC_PROGRESS_CALLBACK
OTHER = Interface(
    "IOther",
    "{12345678-0000-0000-0000-000000000000}",
    (
        Method("Limits", (Parameter("min", Type.U64, pointer=True), Parameter("iid", Type.IID))),
        Method("Get", (Parameter("a", Type.I32), Parameter("out", Type.U32, direction=Direction.OUT))),
        Method("Texts", (Parameter("a", Type.TEXT), Parameter("b", Type.TEXT), Parameter("c", Type.POINTER))),
        Method("Nothing", (), Type.VOID),
    ),
    base=IUNKNOWN,
)
TICK = 1024


def utf16(text: str) -> str:
    """The text as UTF-16 knows it: a surrogate pair is one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=8).map(utf16)
INTEGERS = st.integers(-(2**70), 2**70) | st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**64])
HANDLES = st.integers(-(2**63), 2**63 - 1).map(Handle)
SWITCHES = st.lists(st.integers(-9, 99) | st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple)
ANYTHING: st.SearchStrategy[Argument] = st.one_of(
    st.none(),
    INTEGERS,
    TEXTS,
    HANDLES,
    st.booleans(),
    st.floats(),
    st.binary(max_size=8),
    st.builds(Opaque, TEXTS, TEXTS),
)
TYPICAL: dict[Type, st.SearchStrategy[Any]] = {
    Type.TEXT: TEXTS,
    Type.IID: TEXTS,
    Type.HANDLE: HANDLES,
    Type.POINTER: HANDLES,
}
OUTCOMES = st.one_of(
    st.just(Outcome()),
    st.builds(
        Outcome,
        st.just(OutcomeKind.RETURNED),
        ANYTHING,
        st.integers(0, 2**40).map(lambda ticks: ticks * TICK),
        detail=st.just(""),
        place=st.just(""),
        outputs=st.lists(ANYTHING, max_size=3).map(tuple),
    ),
    st.builds(
        Outcome,
        st.sampled_from([kind for kind in OutcomeKind if kind is not OutcomeKind.RETURNED]),
        st.none(),
        st.integers(0, 2**40).map(lambda ticks: ticks * TICK),
        TEXTS,
        TEXTS,
        st.just(()),
    ),
)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Calls of several threads, nested and overlapping in any way, with any arguments; some never end."""
    interface = draw(st.sampled_from([SYNC, OTHER]))
    threads = draw(st.lists(st.builds(Thread, st.integers(0, 2**63), TEXTS), min_size=1, max_size=3))
    events: list[Event] = []
    open_calls: list[int] = []
    number = 0
    for _ in range(draw(st.integers(0, 12))):
        ends = draw(st.booleans())
        if open_calls and ends:
            ended = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
            events.append(Leave(ended, draw(OUTCOMES)))
            continue
        method = draw(st.sampled_from(interface.slots))
        args = [draw(st.one_of(TYPICAL.get(p.type, INTEGERS), ANYTHING)) for p in method.inputs]
        if draw(st.integers(0, 9)) == 0:  # an odd arity
            args = draw(st.lists(ANYTHING, max_size=5))
        time = draw(st.integers(0, 2**45)) * TICK
        switches = draw(st.just(()) | SWITCHES)
        call = Call(method.name, tuple(args), draw(st.integers(0, len(threads) - 1)), time, switches)
        events.append(Enter(number, call))
        open_calls.append(number)
        number += 1
    return Trace(Header(interface, scheduled=draw(st.booleans())), tuple(events), tuple(threads))
