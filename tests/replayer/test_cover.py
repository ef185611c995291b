"""Coverage of native targets, as gcc's and clang's instrumentation report it, and what shows without any."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sequences import CALLBACK, calls

from recorder import native
from recorder.calls import Call
from replayer.batches import Fragments
from replayer.cover import Cover
from replayer.isolation import Isolated, Limits
from replayer.sandbox import Death
from replayer.screening import Screened, Screening, screened
from replayer.shared import SharedList
from replayer.target import NativeTarget, TargetError, load_target

HERE = Path(__file__).parent.parent / "targets" / "native"

KINDS = {
    "gcc": "gcc -fsanitize-coverage=trace-pc,trace-cmp",
    "clang guards": "clang -fsanitize-coverage=trace-pc-guard,trace-cmp",
    "clang counters": "clang -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp",
    "clang for libFuzzer": "clang -fsanitize=fuzzer-no-link",
}
SANITIZED = {
    "gcc, ASan": "gcc -fsanitize=address -fsanitize-coverage=trace-pc,trace-cmp",
    "clang, ASan": "clang -fsanitize=address -shared-libasan -fsanitize-coverage=trace-pc-guard,trace-cmp",
    "clang, UBSan": "clang -fsanitize=undefined -fsanitize-coverage=inline-8bit-counters,trace-cmp",
}

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(sys.platform != "linux", reason="coverage of ELF libraries"),
]


def covered(command: str, folder: Path, source: Path = HERE / "deep.c") -> Path:
    """A library with coverage, built by this compiler with these options."""
    if shutil.which(command.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {command.split(maxsplit=1)[0]}")
    library = folder / f"{source.stem}.so"
    options = ["-std=c99", "-g", "-O1", "-fPIC", "-shared", f"-I{HERE}"]
    subprocess.run([*command.split(), *options, "-o", library, source], check=True)
    return library


Screen = Callable[..., list[Screened]]


@pytest.fixture
def lists() -> Iterator[tuple[SharedList, SharedList]]:
    made = SharedList(), SharedList()
    yield made
    for each in made:
        each.close()


class Played:
    """One target, on which sequences are screened here."""

    def __init__(self, library: Path, lists: tuple[SharedList, SharedList]):
        target = load_target(f"{library}:create")
        assert isinstance(target, NativeTarget)
        self.cover = target.cover
        self._screening, self._lists = Screening(target), lists

    def __call__(self, *sequences: list[Call]) -> list[Screened]:
        for shared in self._lists:
            shared.clear()
        self._lists[0].extend(map(Fragments(CALLBACK).sequence, sequences))
        self._screening.play(*self._lists)
        return list(map(screened, self._lists[1]))


def fresh(played: Played, *sequences: list[Call]) -> list[bool]:
    return [seen.fresh > 0 for seen in played(*sequences)]


PLAIN = calls('Progress("FIN", 1, 2)', "Error(0x7, NULL)")
OPENS = calls("Progress(NULL, 48879, 0)", "Error(0x7, NULL)")
READS = calls("Progress(NULL, 48879, 0)", 'Progress("X", 1, 2)', "Error(0x7, NULL)")


@pytest.mark.parametrize("command", KINDS.values(), ids=KINDS)
def test_a_sequence_is_fresh_if_it_reaches_what_none_before_it_has(
    command: str, tmp_path: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(covered(command, tmp_path), lists)
    assert isinstance(played.cover, Cover)
    before, _ = played.cover.sites()
    assert fresh(played, PLAIN, PLAIN, OPENS, PLAIN, OPENS, READS, READS) == [
        *(True, False, True, False),
        *(False, True, False),
    ]
    reached, known = played.cover.sites()
    assert before < reached <= known
    assert fresh(played, READS, [*READS, *READS]) == [False, True]  # as often it was reached by none


@pytest.mark.parametrize("command", KINDS.values(), ids=KINDS)
def test_each_character_in_common_is_fresh(
    command: str, tmp_path: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(covered(command, tmp_path), lists)
    texts = ["X", "F", "G", "FI", "FX", "FIN", "FIX"]
    sequences = [calls("Progress(NULL, 48879, 0)", f'Progress("{text}", 1, 2)') for text in texts]
    assert fresh(played, *sequences) == [True, True, False, True, False, True, False]


@pytest.mark.parametrize("command", KINDS.values(), ids=KINDS)
def test_a_fresh_sequence_tells_what_was_compared_in_it(
    command: str, tmp_path: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(covered(command, tmp_path), lists)
    (seen, again) = played(calls('Progress("X", 4711, 2)'), calls('Progress("X", 4712, 2)'))
    assert (48879, 4711) in {(max(one, other), min(one, other)) for one, other, _ in seen.compared}
    assert not again.fresh and again.compared == ()
    (seen,) = played(calls("Progress(NULL, 48879, 0)", 'Progress("X", 1, 2)'))
    if "gcc" in command:  # clang says nothing of a comparison on which a loop depends
        assert {ord("F"), ord("X")} in [{one, other} for one, other, _ in seen.compared]
    (seen,) = played(calls("Progress(NULL, 48879, 0)", 'Progress("FIND", 1, 2)', "Error(0x7, NULL)"))
    assert {0x0BADF00D, 7} in [{one, other} for one, other, _ in seen.compared]


@pytest.mark.parametrize("command", KINDS.values(), ids=KINDS)
def test_a_fresh_sequence_tells_which_calls_it_needs_for_new_places(
    command: str, tmp_path: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(covered(command, tmp_path), lists)
    noise, opens = calls('Progress("X", 1, 2)', "Error(0x7, NULL)"), calls("Progress(NULL, 48879, 0)")
    reads = calls('Progress("F", 3, 4)')
    played(noise * 40)
    long = [*noise * 11, *opens, *noise * 9, *reads, *noise * 12]
    (seen,) = played(long)
    assert 2 <= len(seen.needed) <= 6 and {22, 41} & set(seen.needed)
    needed = [long[at] for at in seen.needed]
    assert needed.index(opens[0]) < len(needed) - 1
    assert len(seen.values) == len(long)
    assert played(needed)[0].places == 0


def test_what_was_reached_meanwhile_can_be_forgotten(tmp_path: Path, lists: tuple[SharedList, SharedList]) -> None:
    target = load_target(f"{covered(KINDS['clang guards'], tmp_path)}:create")
    assert isinstance(target, NativeTarget) and target.cover is not None
    target.cover.forget()
    before = target.cover.sites()
    target.instance().close()
    target.cover.forget()
    assert target.cover.sites() == before


@pytest.mark.parametrize("command", SANITIZED.values(), ids=SANITIZED)
def test_coverage_and_a_sanitizer_go_together(command: str, tmp_path: Path) -> None:
    """Its runtime defines what covered code calls, too; and still ends the process at a mistake."""
    library = covered(command, tmp_path)
    sequences = [PLAIN, PLAIN, OPENS, OPENS, calls("Progress(NULL, 48879, 0)", 'Progress("FIND", 1, 2)')]
    deadly = [*sequences[-1], *calls("Error(0x0BADF00D, NULL)")]
    with Isolated(f"{library}:create", limits=Limits(20)) as player:
        *seen, death = player.screen_many(map(Fragments(CALLBACK).sequence, [*sequences, deadly]))
    assert [isinstance(each, Screened) and each.fresh > 0 for each in seen] == [True, False, True, False, True]
    assert isinstance(death, Death) and death.position == (0, 2)
    assert ("AddressSanitizer" in death.report) == ("address" in command)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A host that answers its index, and says that its state is half its limit."""
    source = tmp_path / "answers.c"
    source.write_text("""
#include "callback.h"
typedef struct Host { Callback callback; uint32_t maximum; } Host;
static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)text;
    ((Host *)self)->maximum = maximum;
    return (int32_t)index;
}
static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)result, (void)text;
    return S_OK;
}
static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};
EXPORT int32_t create(void **ppv) {
    return callback_create(ppv, sizeof(Host), &vtbl);
}
EXPORT uint64_t create_state(void *object) {
    return ((Host *)object)->maximum / 2;
}
""")
    return source


def progress(*indexes: int, maximum: int = 0) -> list[Call]:
    return [Call("Progress", (None, index, maximum)) for index in indexes]


def test_without_coverage_what_calls_answer_in_a_row_is_new(
    library: Callable[[str | Path], Path], answers: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(library(answers), lists)
    assert played.cover is None
    sequences = [progress(1), progress(1), progress(2), progress(1, 2), progress(2, 1), progress(1, 2)]
    assert fresh(played, *sequences) == [True, False, True, True, True, False]


def test_a_state_that_the_target_names_is_new(
    library: Callable[[str | Path], Path], answers: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(library(answers), lists)
    states = [progress(1, maximum=maximum) for maximum in (0, 1, 2, 3, 4, 0)]
    assert fresh(played, *states) == [True, False, True, False, True, False]


def test_a_sequence_tells_which_calls_it_needs_for_a_new_state(
    library: Callable[[str | Path], Path], answers: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(library(answers), lists)
    played(progress(1, 1, maximum=2))
    (seen,) = played([*progress(*[1] * 30, maximum=2), *progress(1, maximum=10), *progress(*[1] * 30, maximum=2)])
    assert len(seen.needed) <= 4 and 30 in seen.needed


def test_a_target_that_counts_upward_is_not_new_for_ever(
    library: Callable[[str | Path], Path], answers: Path, lists: tuple[SharedList, SharedList]
) -> None:
    played = Played(library(answers), lists)
    assert sum(fresh(played, *[progress(n) for n in range(500)])) < 30
    assert sum(fresh(played, *[progress(0, maximum=2 * n) for n in range(4000)])) <= 1500


def test_without_the_core_the_message_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = covered("gcc -Wl,-z,now -fsanitize-coverage=trace-pc", tmp_path)
    monkeypatch.setenv(native.SWITCH, "ctypes")
    with (
        pytest.raises(TargetError, match="-fsanitize-coverage needs the compiled core"),
        Isolated(f"{library}:create") as player,
    ):
        player.play([])
