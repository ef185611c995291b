"""What is wrong in a corpus is found, and said so that a person can act on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from sequences import CALLBACK, GOOD, calls, regression, save, trace

from fuzz.soundness import leftovers, unsound
from recorder.calls import Call, Header, Trace
from recorder.interface import Interface, Method
from recorder.interfaces import IUNKNOWN
from recorder.provenance import captured, finding, merged, mutated, origin_of
from recorder.trace import dump_trace
from replayer.corpus import read_corpus

OTHER = Interface("IOther", "{0002031f-0000-0000-c000-0000000000aa}", (Method("Go", ()),), base=IUNKNOWN)
ORIGIN = captured(provider="a:b")
WHOLE = dump_trace(trace(*GOOD, **ORIGIN))


def newer() -> bytes:
    return bytes(msgpack.packb(["synctape", 9, {}])) + b"\xcc\x01"


def flipped() -> bytes:
    data = bytearray(WHOLE)
    data[-40] ^= 0x55
    return bytes(data)


@pytest.fixture
def wrong(tmp_path: Path) -> Callable[..., list[str]]:
    """The problems of a corpus of one good trace and one more."""

    def look(odd: Trace | bytes, interface: Interface | None = None) -> list[str]:
        (tmp_path / "good.tape").write_bytes(WHOLE)
        (tmp_path / "same.tape").write_bytes(WHOLE)
        (tmp_path / "odd.tape").write_bytes(odd if isinstance(odd, bytes) else dump_trace(odd))
        found = unsound(read_corpus([tmp_path]), interface)
        assert all(problem.path == str(tmp_path / "odd.tape") for problem in found)
        return [f"{problem.kind}: {problem.message}; {problem.advice}" for problem in found]

    return look


def test_a_sound_corpus_has_no_problems(wrong: Callable[..., list[str]]) -> None:
    assert wrong(trace(*GOOD, GOOD[-1], **ORIGIN)) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "unreadable: is empty or ends inside its header; not a trace; take it out of the corpus"),
        (b'{"kind": "meta"}', "unreadable: is not a synctape trace (it looks like JSON)"),
        (b"\xff" * 99, "unreadable: is not a synctape trace"),
        (newer(), "unreadable: is of format 9, this synctape reads up to 1; upgrade synctape"),
        (WHOLE[:200], "unreadable: is empty or ends inside its header"),
        (WHOLE[:-12], "damaged: ends without an end record at byte "),
        (flipped(), "damaged: damaged record ("),
        (WHOLE + b"more", "damaged: data after the end record at byte "),
    ],
    ids=["empty", "JSON", "noise", "newer", "torn header", "torn", "flipped", "longer"],
)
def test_what_does_not_read_is_told_with_its_place(
    wrong: Callable[..., list[str]], data: bytes, said: str
) -> None:
    problem = next(line for line in wrong(data) if said in line)
    if problem.startswith("damaged"):
        assert "synctape corpus merge keeps the " in problem


@pytest.mark.parametrize("length", range(0, len(WHOLE), 7))
def test_a_torn_file_is_never_sound(wrong: Callable[..., list[str]], length: int) -> None:
    assert len(wrong(WHOLE[:length])) == 1


def test_another_interface_is_told(wrong: Callable[..., list[str]]) -> None:
    (line,) = wrong(Trace.from_calls([Call("Go")], Header(interface=OTHER, provenance=ORIGIN)))
    assert line.startswith("interface: was recorded from IOther {") and "the corpus is of" in line
    assert wrong(trace(*GOOD, **ORIGIN), CALLBACK) == []


def test_provenance_has_to_say_where_a_trace_comes_from(wrong: Callable[..., list[str]]) -> None:
    assert wrong(trace(*GOOD)) == ["provenance: provenance is missing; say in its header where it comes from"]
    assert "(mutated) has no mutators" in wrong(trace(*GOOD, kind="mutated", parents=[]))[0]


def test_a_parent_has_to_be_there(wrong: Callable[..., list[str]]) -> None:
    there, gone = origin_of("good", trace(*GOOD)), origin_of("gone", trace(*GOOD[1:]))
    assert wrong(trace(*GOOD[:1], **mutated([there], ["cut"]))) == []
    assert wrong(trace(*GOOD[:1], **mutated([there._replace(name="renamed")], ["cut"]))) == []
    (line,) = wrong(trace(*GOOD[:1], **mutated([there, gone], ["splice"])))
    assert f"parent: was made from gone ({gone.digest}), which is not there" in line
    assert wrong(trace(*GOOD[:1], **mutated([there._replace(digest="")], ["cut"]))) == []
    assert wrong(trace(*GOOD[:1], **merged([gone], ORIGIN))) == []


def test_a_level_in_the_header_is_held_against_the_calls(wrong: Callable[..., list[str]]) -> None:
    late = (*GOOD, GOOD[0])
    assert wrong(trace(*late, **mutated([], ["repeat"]), level="hostile")) == []
    (line,) = wrong(trace(*late, **mutated([], ["repeat"]), level="conforming"))
    assert line.startswith("level: says that it is conforming, and is hostile")


def test_the_level_of_a_finding_is_that_of_one_of_its_calls(wrong: Callable[..., list[str]]) -> None:
    late = (*GOOD, GOOD[0])
    for level in ("conforming", "hostile"):
        assert wrong(trace(*late, **finding("batch 1", {"code": "X3", "level": level}, minimised=True))) == []
    (line,) = wrong(trace(*GOOD, **finding("batch 1", {"code": "X3", "level": "hostile"}, minimised=True)))
    assert line.startswith("level: says that its finding is hostile, and is conforming up to its last call")
    original = finding("batch 1", {"code": "X3", "level": "hostile"}, minimised=False)
    assert wrong(trace(*GOOD, **original)) == [], "the level is that of its minimal form"


def test_a_provenance_of_any_shape_is_taken(wrong: Callable[..., list[str]]) -> None:
    for odd in (
        {"kind": 3},
        {"kind": "finding", "finding": [1]},
        {"kind": "mutated", "parents": 5, "mutators": {}},
    ):
        assert wrong(trace(*GOOD, **odd))
    assert wrong(Trace.from_calls(calls(*GOOD), Header(provenance=regression("X3").header.provenance)))


def test_what_an_interrupted_write_left_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "deep", "good", trace(*GOOD, **ORIGIN))
    assert leftovers([str(tmp_path), str(path)]) == []
    (tmp_path / "deep" / ".synctape-0123").write_bytes(WHOLE[:100])
    (problem,) = leftovers([str(tmp_path)])
    assert str(problem).endswith(".synctape-0123: is left of a write that was interrupted; delete it")
