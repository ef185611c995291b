"""Whose references an object's count shows, and whether the object goes with the last of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import CALLBACK, GOOD, QuietHost, trace

from recorder import com
from replayer.isolation import Isolated, Player
from replayer.oracles import Judge
from replayer.player import PlayOptions
from replayer.references import References


class Library:
    """An object with a count that a test changes, and a library that says how many there are."""

    def __init__(self) -> None:
        self.exposed = com.expose(QuietHost(), CALLBACK)
        self.pointer = self.exposed.pointer
        self.unknown = com.wrap(self.pointer, CALLBACK)

    def live(self) -> int:
        return 3 + self.exposed.alive


@pytest.fixture
def library() -> Library:
    return Library()


def test_all_references_are_given_back(library: Library) -> None:
    references = References(library.pointer)
    references.take(5)
    assert library.exposed.references == 6
    assert list(references.end(0)) == []
    assert not library.exposed.alive


def test_a_reference_that_is_kept(library: Library) -> None:
    references = References(library.pointer)
    references.take(2)
    library.unknown.AddRef()
    assert list(references.end(0)) == ["the last Release answered 1: references are held that nobody gives back"]


def test_a_reference_that_was_there_before_is_the_librarys(library: Library) -> None:
    library.unknown.AddRef()
    references = References(library.pointer)
    references.take(2)
    assert list(references.end(0)) == []
    assert library.exposed.references == 1


def test_a_reference_too_many_released(library: Library) -> None:
    references = References(library.pointer, library.live, 3)
    references.take(4)
    library.unknown.Release()
    library.unknown.Release()
    assert list(references.end(0)) == ["the object released 2 references that the caller holds"]
    assert not library.exposed.alive


def test_a_reference_that_a_call_of_the_sequence_gave_up(library: Library) -> None:
    references = References(library.pointer)
    library.unknown.Release()
    references.counted(-1)
    assert list(references.end(0)) == []


def test_the_librarys_own_count(library: Library) -> None:
    references = References(library.pointer, library.live, 3)
    library.unknown.AddRef()
    assert list(references.end(0)) == ["the object is still there after the last Release"]
    other = Library()
    references = References(other.pointer, lambda: 3, 3)
    references.take(1)
    assert list(references.end(0)) == ["the object is gone while the caller still holds 2 references"]


def test_a_reference_given_back_a_little_later_is_none_kept(library: Library) -> None:
    references = References(library.pointer, library.live, 3)
    library.unknown.AddRef()
    asked = iter(range(100))

    class Later:
        """Releases after the player has looked a few times."""

        def AddRef(self) -> int:
            if next(asked) == 3:
                library.unknown.Release()
            return int(library.unknown.AddRef())

        def Release(self) -> int:
            return int(library.unknown.Release())

    references._unknown = Later()  # type: ignore[assignment]
    assert list(references.end(10)) == []


class Uncounted:
    """Answers 1 to every AddRef and Release."""

    def AddRef(self) -> int:
        return 1

    Release = AddRef


def test_answers_that_are_no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.references.as_unknown", lambda pointer: Uncounted())
    assert list(References(1).end(0)) == ["AddRef answered 1 and the Release after it 1: they are no counts"]
    live = iter([1, 1, 1, 0, 0, 0])
    assert list(References(1, lambda: next(live), 0).end(0)) == [
        "the object is still there after the last Release"
    ]
    live = iter([1, 0, 0, 0, 0, 0])
    assert list(References(1, lambda: next(live), 0).end(0)) == []


# ------------------------------------------------------------------------------------------------------ in play

SAMPLES = {
    "leaks_reference": "the object is still there after the last Release",
    "never_freed": "the object is still there after the last Release",
    "releases_too_often": "the object released 1 references that the caller holds",
}
PROBLEM = (
    'Progress("Downloading", 0, 1)',
    'Error(MAPI_E_CORRUPT_STORE, "damaged")',
    "Progress(NULL, 1, 1)",
    "Done(sync-event, MAPI_W_PARTIAL_COMPLETION)",
)


@pytest.mark.native
@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_found_out(
    example: Callable[[str], Path], isolated: Callable[[str], Player], name: str
) -> None:
    player, recorded = isolated(f"{example(name)}:create"), trace(*PROBLEM)
    (finding,) = Judge.of(recorded).findings(player.play(recorded))
    assert (finding.code, finding.oracle, finding.message) == ("H5", "references", SAMPLES[name])


@pytest.mark.native
def test_a_reference_is_kept_only_where_the_sequence_makes_the_host_keep_it(
    example: Callable[[str], Path], isolated: Callable[[str], Player]
) -> None:
    recorded = trace(*GOOD)
    player = isolated(f"{example('leaks_reference')}:create")
    assert Judge.of(recorded).findings(player.play(recorded)) == []


@pytest.mark.native
def test_an_oracle_that_is_off_finds_nothing(example: Callable[[str], Path]) -> None:
    recorded = trace(*PROBLEM)
    with Isolated(f"{example('never_freed')}:create", CALLBACK, PlayOptions(skip=("references",))) as player:
        assert Judge.of(recorded, disabled=frozenset({"references"})).findings(player.play(recorded)) == []
