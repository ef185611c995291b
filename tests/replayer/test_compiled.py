"""The compiled player: what arrives and what comes back is what goes through ctypes, and nothing in a stream is
believed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, GOOD, calls

from recorder.calls import SYNC_EVENT, Call, Handle, Outcome, OutcomeKind
from recorder.encoding import Encoder
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from recorder.native import SWITCH, core_of
from replayer.compiled import describe, open_compiled
from replayer.guards import Guard
from replayer.player import PlayOptions, play
from replayer.target import load_target

CORE: Any = core_of("replayer").module
NATIVE = Path(__file__).parents[2] / "replayer" / "_native"

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(CORE is None, reason="the core is not compiled"),
]

Library = Callable[[str], Path]
Both = Callable[..., tuple[list[Outcome], str]]

QUICK = PlayOptions(join_seconds=0, skip=("identity", "references"))


def _out(name: str, kind: Type) -> Parameter:
    return Parameter(name, kind, direction=Direction.OUT)


def _at(name: str, kind: Type) -> Parameter:
    return Parameter(name, kind, pointer=True)


_MANY = ("u32", "u32", "i64", "u32", "u32", "i32", "u32", "u32", "u64", "u32", "i32", "u32")
ALL = Interface(
    "IAll",
    "{0002031f-0000-0000-c000-0000000000bb}",
    (
        Method(
            "Integers",
            tuple(
                Parameter(t.value, t) for t in (Type.BOOL, Type.I32, Type.U32, Type.I64, Type.U64, Type.HRESULT)
            ),
            Type.I64,
        ),
        Method("ByAddress", (_at("i", Type.I32), _at("m", Type.U64), Parameter("iid", Type.IID)), Type.U64),
        Method(
            "Outputs",
            (_out("i", Type.I32), Parameter("base", Type.U32), _out("m", Type.U64), _out("p", Type.POINTER)),
        ),
        Method(
            "Texts",
            (Parameter("a", Type.TEXT), Parameter("b", Type.TEXT), Parameter("p", Type.POINTER)),
            Type.U32,
        ),
        Method("Many", tuple(Parameter(f"p{n}", Type(t)) for n, t in enumerate(_MANY)), Type.BOOL),
        Method("Nothing", (), Type.VOID),
        Method("TooMany", tuple(Parameter(f"p{n}", Type.U32) for n in range(13))),
    ),
    base=IUNKNOWN,
)


@pytest.fixture(scope="module")
def both(library: Library) -> Both:
    """Plays calls compiled and through ctypes; the outcomes and what the host stored, if they are equal."""

    def played(name: str, sequence: list[Call], interface: Interface = CALLBACK) -> tuple[list[Outcome], str]:
        path = library(name)
        target = load_target(f"{path}:create", interface)
        stored = ctypes.CDLL(str(path)).stored
        stored.restype = ctypes.c_char_p
        seen = []
        for core in ("", "ctypes"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(SWITCH, core)
                core_of.cache_clear()
                run = play(sequence, target, QUICK)
            outcomes = [(outcome or Outcome())._replace(elapsed_ns=0) for _, _, outcome in run.trace.played]
            seen.append((outcomes, stored().decode(), run.observations))
        core_of.cache_clear()
        assert seen[0] == seen[1]
        return seen[0][0], seen[0][1]

    return played


def values(outcomes: list[Outcome]) -> list[Any]:
    return [outcome.value for outcome in outcomes]


# -------------------------------------------------------------------------------------------------- arguments

texts = st.one_of(
    st.none(),
    st.text(st.characters(exclude_characters="\0", codec=None), max_size=40),
    st.text("aä\ud800\udc00€😀 ", max_size=60),
    st.integers(0, 3000).map(lambda count: "x" * count),
)
hresults = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(2**31, 2**32 - 1))
u32 = st.integers(0, 2**32 - 1)
handles = st.sampled_from([None, SYNC_EVENT, Handle(1), Handle(-1)])
odd = st.sampled_from(
    [Call("Progress", ("x", -1, 1)), Call("Progress", ("x",)), Call("Done", (3, 0)), Call("Error", (1.5, ""))]
)
sequences = st.lists(
    st.one_of(
        st.builds(lambda *args: Call("Progress", args), texts, u32, u32),
        st.builds(lambda *args: Call("Error", args), hresults, texts),
        st.builds(lambda *args: Call("Done", args), handles, hresults),
        odd,
        st.just(Call("AddRef")),
        st.just(Call("QueryInterface", (IUNKNOWN.iid,))),
        st.just(Call("QueryInterface", (CALLBACK.iid.upper()[1:-1],))),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(sequences)
@example([Call("AddRef"), Call("Release"), *calls(*GOOD)])
def test_both_ways_give_the_same(both: Both, sequence: list[Call]) -> None:
    both("echo_host", sequence)


def test_what_arrives(both: Both) -> None:
    sequence = [
        Call("Progress", ("ä\ud800", 2**32 - 1, 0)),
        Call("Error", (0x80004005, None)),
        Call("Done", (SYNC_EVENT, -1)),
    ]
    outcomes, stored = both("echo_host", sequence)
    assert stored == "P 00e4d800 4294967295 0\nE -2147467259 NULL\nD handle -1\n"
    assert values(outcomes) == [-1, 2147467259, -1]


def test_calls_of_every_type(both: Both) -> None:
    sequence = [
        Call("Integers", (-1, -(2**31), 2**32 - 1, -(2**63), 2**64 - 1, 0x80004005)),
        Call("Integers", (2**31 - 1, 0, 0, 2**63 - 1, 0, -1)),
        Call("ByAddress", (-5, 2**64 - 1, ALL.iid)),
        Call("ByAddress", (None, None, None)),
        Call("Outputs", (7,)),
        Call("Outputs", (0,)),
        Call("Texts", ("one", "two", Handle(-1))),
        Call("Many", (1, 2, -3, 4, 5, -6, 7, 8, 2**64 - 9, 10, -11, 12)),
        Call("Nothing"),
        Call("TooMany", tuple(range(13))),
    ]
    outcomes, _ = both("all_types", sequence, ALL)
    assert values(outcomes[:6]) == [-(2**63), 2**63 - 1, 2**64 - 1, 0, 7, 0]
    assert outcomes[4].outputs == (-7, 7 << 40, 21)
    assert outcomes[5].outputs == (0, 0, None)
    assert values(outcomes[7:]) == [-11, None, 12]


@pytest.mark.parametrize(
    ("call", "stored"),
    [
        (Call("Integers", (-1, -2, 3, -4, 5, -6)), "-1 -2 3 -4 5 -6"),
        (
            Call("ByAddress", (-5, 6, ALL.iid)),
            "-5 6 1f030200 0000 0000 c000 0000000000bb".replace(" 0000", "0000", 1),
        ),
        (Call("Outputs", (7,)), "0 0 1"),
        (Call("Texts", (None, "", None)), "0 0"),
        (
            Call("Many", (1, 2, -3, 4, 5, -6, 7, 8, 2**64 - 9, 10, -11, 12)),
            "1 2 -3 4 5 -6 7 8 18446744073709551607 10 -11 12",
        ),
    ],
    ids=lambda value: value.method if isinstance(value, Call) else "",
)
def test_every_argument_arrives(both: Both, call: Call, stored: str) -> None:
    assert both("all_types", [call], ALL)[1].replace(" ", "") == stored.replace(" ", "")


def test_calls_of_iunknown_are_made_and_counted(both: Both) -> None:
    sequence = [
        Call("AddRef"),
        Call("QueryInterface", (CALLBACK.iid,)),
        Call("QueryInterface", ("{00000000-0000-0000-0000-000000000001}",)),
        Call("Release"),
        Call("Release"),
        Call("Release"),
    ]
    outcomes, _ = both("echo_host", sequence)
    assert values(outcomes) == [2, 0, -2147467262, 2, 1, 0]  # the last one is gone, and not released again
    assert all(outcome.outputs == () for outcome in outcomes)


def test_the_text_of_no_iid_is_not_carried(both: Both) -> None:
    outcomes, _ = both("echo_host", [Call("QueryInterface", ("no IID",)), *calls(*GOOD)])
    assert [outcome.kind.value for outcome in outcomes] == ["not run", *["returned"] * 4]


def test_a_long_sequence_with_a_handle_at_its_beginning(library: Library) -> None:
    sequence = [Call("Progress", (f"text {n % 700}", n, 2**32 - 1)) for n in range(5000)]
    run = play([*calls(GOOD[3]), *sequence], load_target(f"{library('echo_host')}:create"), QUICK)
    assert [outcome.value for _, _, outcome in run.trace.played if outcome] == [0, *(~n for n in range(5000))]


def test_elapsed_time_is_that_of_the_call(library: Library) -> None:
    run = play(calls(*GOOD), load_target(f"{library('echo_host')}:create"), QUICK)
    assert all(outcome is not None and 0 < outcome.elapsed_ns < 10**9 for _, _, outcome in run.trace.played)


def test_several_threads_take_turns(both: Both) -> None:
    sequence = [Call("Progress", ("text", n, 9), thread=n % 3) for n in range(9)]
    outcomes, stored = both("echo_host", sequence)
    assert [line.split()[-2] for line in stored.splitlines()] == list("012345678")
    assert all(outcome.kind is OutcomeKind.RETURNED for outcome in outcomes)


# ----------------------------------------------------------------------------------------------------- streams

FULL, MALFORMED, UNFIT, NO_HANDLE = 2, 3, 4, 5


@pytest.fixture(scope="module")
def stream(library: Library) -> Callable[..., tuple[int, int, int]]:
    """Plays a stream of records on an object: status, how many calls were made, how many bytes were read."""
    library_ = ctypes.CDLL(str(library("echo_host")))
    player = CORE.player(describe(CALLBACK), Guard.RING, 0, 0)
    pointer = ctypes.c_void_p()

    def played(records: bytes, room: int = 64) -> tuple[int, int, int]:
        assert library_.create(ctypes.byref(pointer)) == 0
        CORE.forget(player)
        answers, handles = array("q", bytes(8 * room)), array("q", (0, 0))
        status, made, read, references, _ = CORE.play(
            player, pointer.value, 1, records, 0, handles, answers, None, None, None, 0, False
        )
        CORE.release(pointer.value, references)
        return status, made, read

    return played


def spelled(*sequence: Call, thread: bool = False) -> bytes:
    records: list[bytes] = []
    encoder = Encoder(records.append)
    if thread:
        encoder.thread(0, 1, "main")
    for call in sequence:
        slot, inputs = CALLBACK.slot[call.method], CALLBACK.method(call.method).inputs
        encoder.enter(slot, 5, 0, encoder.arguments(inputs, call.args))
    return b"".join(records)


Stream = Callable[..., tuple[int, int, int]]


def test_a_stream_is_played_to_its_end(stream: Stream) -> None:
    records = spelled(*calls(*GOOD), thread=True)
    assert stream(records) == (0, 4, len(records))
    assert stream(b"") == (0, 0, 0)


def test_no_more_calls_are_made_than_there_is_room_for(stream: Stream) -> None:
    records = spelled(*calls(*GOOD))
    assert stream(records, 2) == (FULL, 2, len(spelled(*calls(*GOOD[:2]))))


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (Call("Progress", ("x", 2**32, 1)), UNFIT),
        (Call("Progress", ("x", True, 1)), UNFIT),
        (Call("Progress", ("x", 1)), UNFIT),
        (Call("Progress", ("x", 1, 1, 1)), UNFIT),
        (Call("Done", (Handle(3), 0)), NO_HANDLE),
        (Call("QueryInterface", ("no IID",)), UNFIT),
    ],
    ids=repr,
)
def test_what_cannot_be_carried_ends_the_stream_before_the_call(stream: Stream, call: Call, status: int) -> None:
    good = calls(*GOOD[:2])
    assert stream(spelled(*good, call, *good))[:2] == (status, 2)


@pytest.mark.parametrize(
    "records",
    [
        "95",
        "00",
        "961305000909 01cc01",
        "dd ffffffff 13",
        "93 01 01 a1 ff cc 00",
        "93 01 00 a1 61 cc 00",
    ],
)
def test_what_is_malformed_ends_the_stream(stream: Stream, records: str) -> None:
    assert stream(bytes.fromhex(records)) == (MALFORMED, 0, 0)


def test_a_text_is_defined_once_and_before_it_is_used(stream: Stream) -> None:
    whole, enter_size = spelled(*calls(GOOD[0])), len(spelled(Call("Progress", (None, 0, 2))))
    text, enter = whole[:-enter_size], whole[-enter_size:]
    assert stream(whole)[:2] == (0, 1)
    assert stream(enter)[:2] == (MALFORMED, 0)
    assert stream(whole + text)[:2] == (MALFORMED, 1)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken(stream: Stream, data: bytes) -> None:
    status, _, read = stream(data)
    assert 0 <= status <= NO_HANDLE and 0 <= read <= len(data)


@settings(max_examples=300, deadline=None)
@given(sequences, st.data())
def test_a_stream_with_changed_bytes_is_taken(stream: Stream, sequence: list[Call], data: st.DataObject) -> None:
    records = bytearray(spelled(*(call for call in sequence if call.method not in ("AddRef", "QueryInterface"))))
    assume(records)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(records) - 1))
        change = data.draw(st.integers(0, 255))
        records[at] = change if change not in (0x10, 0x11, 0x12) else 0  # IUnknown's calls are not for chance
    status, _, read = stream(bytes(records[: data.draw(st.integers(0, len(records)))]))
    assert 0 <= status <= NO_HANDLE and read <= len(records)


@given(st.binary(max_size=64))
def test_any_description_is_taken_or_refused(description: bytes) -> None:
    try:
        CORE.player(description, Guard.NONE, 0, 0)
    except ValueError:
        return
    assert len(description) >= 9


def test_an_interface_that_is_not_on_iunknown_is_not_for_the_core() -> None:
    alone = Interface("IAlone", "{0002031f-0000-0000-c000-0000000000cc}", (Method("Do"),))
    with open_compiled(alone, Guard.STRICT) as compiled:
        assert compiled is None


# ------------------------------------------------------------------------------------------------------ sources


@pytest.mark.skipif(sys.platform == "win32", reason="compilers of another system are on the path under Wine")
@pytest.mark.parametrize(
    "compiler", [name for name in ("cc", "gcc", "clang", "x86_64-w64-mingw32-gcc") if shutil.which(name)] or ["cc"]
)
def test_sources_give_no_warnings(compiler: str) -> None:
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    elsewhere = {"module.c", "cover.c"} if "mingw" in compiler else {"module.c"}  # cover.c is Linux's
    sources = sorted(path for path in NATIVE.glob("*.c") if path.name not in elsewhere)
    subprocess.run([compiler, *flags, *sources], check=True)
