"""Texts of native targets: each mistake with one is seen, and named where the core is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import GOOD, calls, trace

from recorder.native import SWITCH, core_of
from replayer.guards import Guard
from replayer.isolation import Isolated
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions, play
from replayer.target import load_target

pytestmark = pytest.mark.native

Library = Callable[[str], Path]
Found = Callable[..., list[Finding]]

compiled = pytest.mark.skipif(core_of("replayer").module is None, reason="the core is not compiled")

READ, LENGTH, LONG = 'Progress("second", 1, 2)', "Error(E_FAIL, NULL)", f'Progress("{"x" * 5000}", 0, 2)'
FIRST = 'Progress("first one", 0, 2)'

BUGS = {
    "read past the NUL": ("reads_past_end", (FIRST,), "X9", 0, "read past the end of the text of call #0"),
    "in a long text": ("writes_text", (f'Progress("{"x" * 5000} ", 0, 2)',), "X9", 0, "wrote to the const text"),
    "write": ("writes_text", ("Progress(NULL, 0, 2)", FIRST), "X9", 1, "wrote to the const text of call #1"),
    "kept, read [0]": ("keeps_pointer", (FIRST, READ), "H11", 1, "used the text of call #0 after call #0 had"),
    "kept, strlen": ("keeps_pointer", (FIRST, LENGTH), "H11", 1, "used the text of call #0 after call #0 had"),
    "kept, long": ("keeps_pointer", (LONG, READ), "H11", 1, "used the text of call #0 after call #0 had returned"),
    "other thread": ("thread_reads_later", (FIRST, LENGTH), "H11", 1, "used the text of call #0 after call #0"),
}


@pytest.fixture
def found(library: Library) -> Found:
    """The findings of a sequence on tests/targets/native/NAME.c."""

    def findings(name: str, *lines: str, **options: int) -> list[Finding]:
        with Isolated(f"{library(name)}:create", options=PlayOptions(**options)) as player:  # type: ignore[arg-type]
            run = player.play(trace(*lines), timeout=10)
        return Judge.of(run.trace).findings(run)

    return findings


@compiled
@pytest.mark.parametrize(("name", "lines", "code", "number", "said"), BUGS.values(), ids=BUGS)
def test_each_mistake_is_named(
    found: Found, name: str, lines: tuple[str, ...], code: str, number: int, said: str
) -> None:
    (finding,) = found(name, *lines)
    assert (finding.code, finding.number) == (code, number)
    assert said in finding.message


@pytest.mark.parametrize(("name", "lines", "code", "number", "said"), BUGS.values(), ids=BUGS)
def test_without_the_core_it_is_a_crash_of_the_same_call(
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    lines: tuple[str, ...],
    code: str,
    number: int,
    said: str,
) -> None:
    monkeypatch.setenv(SWITCH, "ctypes")
    (finding,) = found(name, *lines)
    assert (finding.code, finding.number) == ("X1", number)


@compiled
@pytest.mark.parametrize("bug", ["read past the NUL", "write", "kept, strlen"])
def test_the_ring_faults_too(found: Found, bug: str) -> None:
    name, lines, code, number, said = BUGS[bug]
    (finding,) = found(name, *lines, guard=Guard.RING)
    assert (finding.code, finding.number) == (code, number)
    assert said in finding.message


@compiled
def test_in_the_ring_a_kept_text_is_poison(library: Library) -> None:
    with Isolated(f"{library('keeps_pointer')}:create", options=PlayOptions(guard=Guard.RING)) as player:
        run = player.play(trace(FIRST, READ))
    assert [outcome.value for _, _, outcome in run.trace.played if outcome] == [0, 0xDDDD]


@compiled
def test_with_a_seed_reading_before_the_start_faults_sometimes(found: Found) -> None:
    empty = ('Progress("", 0, 1)',) * 20  # by chance of one in a million all at the end
    assert found("reads_before_start", *empty) == []
    (finding,) = found("reads_before_start", *empty, seed=1)
    assert finding.code == "X9"
    assert finding.message.endswith(f"read before the start of the text of call #{finding.number}")


@pytest.mark.parametrize("guard", Guard)
@pytest.mark.parametrize("core", ["", "ctypes"])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_correct_host_gives_nothing(
    library: Library, monkeypatch: pytest.MonkeyPatch, guard: Guard, core: str, seed: int
) -> None:
    monkeypatch.setenv(SWITCH, core)
    core_of.cache_clear()
    target = load_target(f"{library('good_host')}:create")
    run = play(calls(*GOOD[:-1] * 30, LONG, GOOD[-1]), target, PlayOptions(guard=guard, seed=seed))
    core_of.cache_clear()
    assert Judge.of(run.trace).findings(run) == []
