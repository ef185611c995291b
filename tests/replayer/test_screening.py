"""Screening: what it sees of a native target, with the compiled core and without, here and in a sandbox."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from sequences import CALLBACK, GOOD, calls

from fuzz import generate
from recorder import native
from recorder.calls import Call, Handle, OutcomeKind
from recorder.contract import Level, contract_of
from replayer.batches import Fragments, position
from replayer.isolation import Isolated, Limits
from replayer.player import Phase
from replayer.sandbox import Death
from replayer.sandbox_child import Journal
from replayer.screening import SYMBOLS, Screened, Screening, screened
from replayer.shared import SharedList
from replayer.target import NativeTarget, TargetError, load_target

pytestmark = pytest.mark.native

E_FAIL = -2147467259


@pytest.fixture(params=["compiled", "ctypes"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Whether the compiled core is in use: what comes of a sequence is the same."""
    if request.param == "ctypes":
        monkeypatch.setenv(native.SWITCH, "ctypes")
    native.core_of.cache_clear()
    yield request.param == "compiled"
    monkeypatch.undo()
    native.core_of.cache_clear()


@pytest.fixture
def lists() -> Iterator[tuple[SharedList, SharedList]]:
    made = SharedList(), SharedList()
    yield made
    for each in made:
        each.close()


Screen = Callable[..., list[Screened]]


@pytest.fixture
def screen(library: Callable[[str | Path], Path], core: bool, lists: tuple[SharedList, SharedList]) -> Screen:
    def screen(
        host: str | Path, *sequences: list[Call], start: int = 0, stop: int | None = None
    ) -> list[Screened]:
        screening = Screening(native_target(library(host)))
        assert screening.compiled is core
        lists[0].clear()
        lists[1].clear()
        lists[0].extend(map(Fragments(CALLBACK).sequence, sequences))
        screening.play(*lists, start, stop)
        return list(map(screened, lists[1]))

    return screen


def native_target(path: Path) -> NativeTarget:
    target = load_target(f"{path}:create")
    assert isinstance(target, NativeTarget)
    return target


@pytest.fixture
def talking(tmp_path: Path) -> Path:
    """A host that answers what it is told as index, closes what it is told as result, and never goes at the end.

    Done(handle, n) closes the handle n times.
    """
    source = tmp_path / "talking.c"
    source.write_text("""
#include "callback.h"
static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self;
    return maximum == 7 ? (int32_t)index : text == NULL || text[0] == 0 ? 0 : text[0] << 16 | text[1];
}
static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)text;
    if (result == 1)
        self->references++;
    return result;
}
static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    (void)self;
    while (result-- > 0)
        close_handle(handle);
    return S_OK;
}
static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, done,
};
EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Callback), &vtbl);
}
""")
    return source


def test_answers_come_back_with_their_sign(screen: Screen, talking: Path) -> None:
    (seen,) = screen(
        talking, calls("Progress(NULL, 0x80004005, 7)", "Error(E_FAIL, NULL)", "Progress(NULL, 5, 7)", GOOD[3])
    )
    assert seen.values == (E_FAIL, E_FAIL, 5, 0)
    assert seen.complete and seen.released == 0 and seen.elapsed_ns > 0


@pytest.mark.parametrize("text", ["A", "é\ud800", "x" * 5000, ""])
def test_texts_arrive(screen: Screen, talking: Path, text: str) -> None:
    (seen,) = screen(talking, [Call("Progress", (text, 1, 1))])
    first, second = [*map(ord, text[:2]), 0, 0][:2]
    assert seen.values == (struct.unpack("i", struct.pack("I", first << 16 | second))[0],)


def test_an_object_that_stays_shows(screen: Screen, talking: Path) -> None:
    assert [seen.released for seen in screen(talking, calls("Error(1, NULL)"), calls("Error(0, NULL)"))] == [1, 0]


@pytest.mark.parametrize(
    ("lines", "left", "twice"),
    [
        (["Done(sync-event, 1)"], 0, 0),
        (["Done(sync-event, 0)"], 1, 0),
        (["Done(sync-event, 2)"], 0, 0),  # the second close comes before anyone could take the value
        (["Done(sync-event, 1)", "Done(sync-event, 1)"], 0, 1),
        (["Done(handle(2), 0)", "Done(handle(1), 1)", "Done(handle(2), 1)", "Done(handle(2), 1)"], 0, 4),
        (["Done(handle(2), 0)", "Done(handle(5), 0)", "Done(handle(5), 1)"], 4, 0),
        (["Done(NULL, 0)", "Done(handle(-1), 0)"], 0, 0),
    ],
)
def test_what_becomes_of_handles(screen: Screen, talking: Path, lines: list[str], left: int, twice: int) -> None:
    """And what one sequence does to a handle is no matter to the next."""
    for seen in screen(talking, calls(*lines), calls(*lines)):
        assert (seen.left_open, seen.closed_twice, seen.complete) == (left, twice, True)
    after = screen(talking, calls(*lines), calls("Done(handle(2), 1)"))[1]
    assert (after.left_open, after.closed_twice) == (0, 0)


@pytest.mark.parametrize("odd", [Call("Done", (Handle(SYMBOLS), 0)), Call("Progress", ("x", 2**32, 1))])
def test_a_sequence_ends_at_a_call_that_cannot_be_made(screen: Screen, talking: Path, odd: Call) -> None:
    one, other = screen(talking, [*calls("Progress(NULL, 5, 7)"), odd, *calls(GOOD[3])], calls(*GOOD[1:]))
    assert (one.values, one.complete) == ((5,), False)
    assert other.complete


def test_a_part_of_a_list(screen: Screen, talking: Path) -> None:
    many = [[Call("Progress", (None, number, 7))] for number in range(9)]
    assert [seen.values for seen in screen(talking, *many, start=2, stop=5)] == [(2,), (3,), (4,)]
    assert [seen.values for seen in screen(talking, *many, start=7)] == [(7,), (8,)]
    assert screen(talking, *many, start=9) == []


def test_results_that_outgrow_their_list(screen: Screen, talking: Path) -> None:
    many = [[Call("Progress", (None, number, 7))] * 100 for number in range(400)]
    assert [seen.values for seen in screen(talking, *many)] == [(number,) * 100 for number in range(400)]


def test_a_factory_that_gives_no_object(screen: Screen) -> None:
    with pytest.raises(TargetError, match=r"IMAPISyncProgressCallback .*E_NOINTERFACE"):
        screen("refuses_iid", calls(*GOOD))


def test_both_cores_see_the_same(library: Callable[[str], Path], screen: Screen, core: bool) -> None:
    """On sequences of every kind and a host that answers them in many ways."""
    random = Random(4)
    contract = contract_of(CALLBACK)
    many = [generate.sequence(contract, random, level, 9) for level in Level for _ in range(60)]
    seen = [each._replace(elapsed_ns=0, fresh=0, places=0) for each in screen("leaky_handle", *many)]
    assert [len(each.values) for each in seen] == list(map(len, many))
    _kept.append(seen)
    assert len({each.left_open for each in seen}) > 1
    assert all(each == _kept[0] for each in _kept)


_kept: list[list[Screened]] = []


# ------------------------------------------------------------------------------------------------- journal, deaths


def test_the_journal_has_the_call_under_way(
    library: Callable[[str | Path], Path], core: bool, lists: tuple[SharedList, SharedList], tmp_path: Path
) -> None:
    noted = tmp_path / "journal"
    noted.write_bytes(bytes(16))
    journal = Journal(str(noted))
    lists[0].extend(map(Fragments(CALLBACK).sequence, [calls(*GOOD)] * 3))
    Screening(native_target(library("good_host")), journal).play(*lists)
    assert position(journal.position) == (Phase.ENDING, 2, 3)
    journal.close()


@pytest.mark.parametrize("batch", [4, 100])
def test_each_death_is_named_by_its_call(library: Callable[[str], Path], core: bool, batch: int) -> None:
    fragments = Fragments(CALLBACK)
    fatal = {0: 2, 1: 0, 6: 4, 9: 1}  # sequences, and their calls
    many = [calls(*[GOOD[0]] * fatal.get(n, 3), *[GOOD[1]] * (n in fatal), GOOD[3]) for n in range(10)]
    with Isolated(f"{library('null_text')}:create", limits=Limits(20)) as player:
        ends = list(player.screen_many(map(fragments.sequence, many), batch=batch))
    assert len(ends) == 10
    for number, end in enumerate(ends):
        if number in fatal:
            assert isinstance(end, Death)
            assert (end.kind, end.position) == (OutcomeKind.CRASHED, (Phase.CALLS, fatal[number]))
        else:
            assert isinstance(end, Screened) and len(end.values) == 4


def test_a_hang_is_named_by_its_call(library: Callable[[str], Path], core: bool) -> None:
    hangs = calls(GOOD[0], "Progress(NULL, 1, 100)")
    with Isolated(f"{library('hang')}:create", limits=Limits(0.3)) as player:
        ends = list(player.screen_many(map(Fragments(CALLBACK).sequence, [calls(*GOOD), hangs, calls(*GOOD)])))
    assert isinstance(ends[0], Screened) and isinstance(ends[2], Screened)
    assert isinstance(ends[1], Death)
    assert (ends[1].kind, ends[1].position) == (OutcomeKind.HUNG, (Phase.CALLS, 1))
