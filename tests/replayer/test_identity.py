"""QueryInterface's laws on objects that keep and break them; the objects are vtables made here, or C++ ones."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, QuietHost, trace

from recorder import com, hresult
from recorder.abi import iid_at
from recorder.contract import Level
from recorder.interfaces import IUNKNOWN
from replayer.identity import Identity, as_unknown, ask_without_ppv
from replayer.isolation import Isolated, Player
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions

OTHER = "{5024a385-2d44-486a-81a8-8f0ecb6071dd}"
OK, NONE, POINTER = 0, hresult.parse("E_NOINTERFACE"), hresult.parse("E_POINTER")

_FUNCTION: Any = getattr(ctypes, "WINFUNCTYPE" if sys.platform == "win32" else "CFUNCTYPE")


class Object:
    """A native object whose QueryInterface is `answer(self, IID) -> (HRESULT, pointer, or None to leave *ppv)`."""

    def __init__(self, answer: Callable[[Object, str], tuple[int, int | None]]):
        self.references = 1
        self.null = POINTER

        def query(this: int, riid: int, ppv: int | None) -> int:
            if not ppv:
                return self.null
            result, pointer = answer(self, iid_at(riid))
            if pointer is not None:
                ctypes.c_void_p.from_address(ppv).value = pointer
            return result

        def add_ref(this: int) -> int:
            self.references += 1
            return self.references

        def release(this: int) -> int:
            self.references -= 1
            return self.references

        self._functions = (
            _FUNCTION(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(query),
            _FUNCTION(ctypes.c_uint32, ctypes.c_void_p)(add_ref),
            _FUNCTION(ctypes.c_uint32, ctypes.c_void_p)(release),
        )
        self._vtable = (ctypes.c_void_p * 3)(*(ctypes.cast(f, ctypes.c_void_p).value for f in self._functions))
        self._block = ctypes.c_void_p(ctypes.addressof(self._vtable))
        self.pointer = ctypes.addressof(self._block)

    def gives(self, pointer: int | None = None) -> tuple[int, int]:
        self.references += 1
        return OK, pointer or self.pointer


def correct(it: Object, iid: str) -> tuple[int, int]:
    return it.gives() if iid in (CALLBACK.iid, IUNKNOWN.iid) else (NONE, 0)


def wrong(answer: Callable[[Object, str], tuple[int, int | None]]) -> list[str]:
    """The rules and the beginnings of what is found on an object, which has one reference before and after."""
    it = Object(answer)
    breaches = Identity(it.pointer, CALLBACK).look().breaches
    assert it.references == 1
    return [f"{breach.rule} {breach.message}" for breach in breaches]


def test_a_correct_object_keeps_the_laws() -> None:
    assert wrong(correct) == []


def test_so_does_an_exposed_python_object() -> None:
    with com.expose(QuietHost(), CALLBACK) as exposed:
        identity = Identity(exposed.pointer, CALLBACK)
        first = identity.look()
        assert (first.breaches, identity.compare(first, identity.look())) == ([], [])
        assert ask_without_ppv(exposed.pointer, CALLBACK) is None
        assert exposed.references == 1


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda it, iid: it.gives(), "H1 QueryInterface for the IID of zeros answers 0x00000000 S_OK"),
        (
            lambda it, iid: correct(it, iid) if iid != OTHER else it.gives(),
            "H1 QueryInterface for IMAPISync gives the pointer of the interface that is asked",
        ),
        (
            lambda it, iid: correct(it, iid) if correct(it, iid)[1] else (NONE, None),
            "H1 QueryInterface for the IID of zeros answers 0x80004002 E_NOINTERFACE and leaves *ppv",
        ),
        (
            lambda it, iid: (OK, None) if iid == IUNKNOWN.iid else correct(it, iid),
            "H1 QueryInterface for IUnknown answers 0x00000000 S_OK and gives no pointer",
        ),
        (
            lambda it, iid: (1, it.gives()[1]) if iid == CALLBACK.iid else correct(it, iid),
            "H1 QueryInterface for IMAPISyncProgressCallback answers 0x00000001 S_FALSE, not S_OK",
        ),
        (
            lambda it, iid: correct(it, iid) if iid != IUNKNOWN.iid else (NONE, 0),
            "H1 QueryInterface for IUnknown answers 0x80004002 E_NOINTERFACE",
        ),
        (
            lambda it, iid: (hresult.parse("E_FAIL"), 0) if correct(it, iid)[0] else it.gives(),
            "H1 QueryInterface for the IID of zeros answers 0x80004005 E_FAIL, not E_NOINTERFACE",
        ),
    ],
)
def test_each_law_of_the_answer(answer: Callable[[Object, str], tuple[int, int | None]], found: str) -> None:
    def balanced(it: Object, iid: str) -> tuple[int, int | None]:
        before = it.references
        result, pointer = answer(it, iid)
        it.references = before + (result >= 0 and bool(pointer))
        return result, pointer

    (message,) = [m for m in wrong(balanced) if m.startswith(found[:40])]
    assert message.startswith(found)


def test_a_pointer_without_a_reference_is_told_and_not_released() -> None:
    def answer(it: Object, iid: str) -> tuple[int, int]:
        return (OK, it.pointer) if iid in (CALLBACK.iid, IUNKNOWN.iid) else (NONE, 0)

    found = wrong(answer)
    assert found[0] == "H1 QueryInterface for IMAPISyncProgressCallback gives a pointer without a reference"


def test_a_second_interface_must_lead_back() -> None:
    second = Object(lambda it, iid: it.gives() if iid == OTHER else (NONE, 0))
    third = Object(lambda it, iid: it.gives() if iid in (OTHER, CALLBACK.iid) else first.gives())

    def leading_to(other: Object) -> Object:
        return Object(lambda it, iid: other.gives() if iid == OTHER else correct(it, iid))

    first = leading_to(second)
    found = Identity(first.pointer, CALLBACK).look().breaches
    assert [b.message for b in found if b.rule == "H4"] == [
        "QueryInterface is not symmetric: IMAPISync does not lead to IMAPISyncProgressCallback"
    ]
    first = leading_to(third)
    assert [b.rule for b in Identity(first.pointer, CALLBACK).look().breaches] == []
    assert third.references == 1


def test_another_interface_is_asked_for_where_a_sequence_does() -> None:
    strange = "{11111111-2222-3333-4444-555555555555}"
    it = Object(lambda it, iid: (hresult.parse("E_FAIL"), 0) if iid == strange else correct(it, iid))
    assert Identity(it.pointer, CALLBACK).look().breaches == []
    (breach,) = Identity(it.pointer, CALLBACK, [strange.upper()]).look().breaches
    assert breach.message == f"QueryInterface for {strange} answers 0x80004005 E_FAIL, not E_NOINTERFACE"


def test_an_answer_that_changes() -> None:
    it = Object(correct)
    identity = Identity(it.pointer, CALLBACK)
    first = identity.look()
    changed = Object(lambda it, iid: correct(it, iid) if iid != CALLBACK.iid else (NONE, 0))
    last = Identity(changed.pointer, CALLBACK).look()
    (breach,) = identity.compare(first, last)
    assert breach.rule == "H3" and "IMAPISyncProgressCallback gives a pointer before" in breach.message
    other = Object(correct)  # it lives as long as its pointer is asked
    again = Identity(other.pointer, CALLBACK).look()
    assert [b.rule for b in identity.compare(first, again)] == ["H2"]


@pytest.mark.parametrize(("result", "broken"), [("E_POINTER", False), ("E_INVALIDARG", False), ("E_FAIL", True)])
def test_a_null_ppv(result: str, broken: bool) -> None:
    it = Object(correct)
    it.null = hresult.parse(result)
    breach = ask_without_ppv(it.pointer, CALLBACK)
    assert (breach is not None) is broken
    as_unknown(it.pointer).Release()


# ------------------------------------------------------------------------------------------------------ in play


SAMPLES = {
    "answers_any_iid": ("H1", 0, "an interface that does not exist"),
    "dangling_ppv": ("H1", 0, "leaves *ppv as it was"),
    "null_ppv": ("H1", 0, "with a NULL ppv crashed"),
    "not_symmetric": ("H4", 0, "IMAPISync does not lead to IMAPISyncProgressCallback"),
    "two_identities": ("H2", 0, "gives another pointer when asked"),
    "changes_answer": ("H3", 3, "gives none after them"),
}


def findings(player: Player) -> list[Finding]:
    recorded = trace(*GOOD)
    return Judge.of(recorded).findings(player.play(recorded))


@pytest.mark.native
@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_found_out(
    example: Callable[[str], Path], isolated: Callable[[str], Player], name: str
) -> None:
    code, number, message = SAMPLES[name]
    player = isolated(f"{example(name)}:create")
    recorded = trace(*GOOD)
    assert isinstance(player, Isolated)
    many = [Judge.of(recorded).findings(run) for run in player.play_many([recorded, recorded])]
    for (finding,) in [*many, findings(player)]:  # the same again and again
        assert (finding.code, finding.oracle, finding.number, finding.method) == (code, "identity", number, "")
        assert message in finding.message and finding.level is Level.CONFORMING


@pytest.mark.native
@pytest.mark.parametrize("name", ["null_ppv", "two_identities"])
def test_an_oracle_that_is_off_asks_nothing(example: Callable[[str], Path], name: str) -> None:
    spec = f"{example(name)}:create"
    with Isolated(spec, CALLBACK, PlayOptions(skip=("identity",))) as player:
        assert findings(player) == []
