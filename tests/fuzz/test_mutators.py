"""Mutators: each does what its name says, none spoils what it was given."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import calls
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz import generate
from fuzz.mutators import MUTATORS, Environment, mutate
from recorder.calls import Call
from recorder.contract import Level, contract_of, fits, level_of
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK

CONTRACT = contract_of(CALLBACK)
BASE = calls(
    'Progress("Folder 1 of 2", 1, 2)',
    'Error(0x80004005, "Entwürfe: damaged")',
    'Progress("Folder 2 of 2", 2, 2)',
    "Done(sync-event, 0x80004005)",
)
OTHER = calls('Progress("other", 7, 9)', "Done(NULL, S_OK)")


def environment(seed: int = 1, interface: Interface = CALLBACK) -> Environment:
    contract = contract_of(interface)
    corpus = [BASE, OTHER] if interface is CALLBACK else [generate.conforming(contract, Random(3), 8)]
    return Environment(contract, corpus, Random(seed))


def outcomes(name: str, tries: int = 300) -> list[list[Call]]:
    """What a mutator makes of BASE in many tries, where it does anything."""
    env, results = environment(), []
    for _ in range(tries):
        sequence = BASE[:]
        if MUTATORS[name].apply(sequence, env):
            results.append(sequence)
    return results


def methods(sequence: list[Call]) -> list[str]:
    return [call.method for call in sequence]


PROPERTIES = {
    "drop": lambda s: len(s) == 3 and all(c in BASE for c in s),
    "drop-run": lambda s: 1 <= len(s) < 4 and all(c in BASE for c in s),
    "duplicate": lambda s: len(s) == 5 and any(a == b for a, b in itertools.pairwise(s)),
    "move": lambda s: sorted(map(repr, s)) == sorted(map(repr, BASE)),
    "swap": lambda s: sorted(map(repr, s)) == sorted(map(repr, BASE)) and s != BASE,
    "splice": lambda s: len(s) > 4,
    "repeat-run": lambda s: len(s) > 4 and all(c in BASE for c in s),
    "count-up": lambda s: len(s) >= 6 and all(c.method == "Progress" for c in s if c not in BASE),
    "truncate": lambda s: s == BASE[: len(s)] and 1 <= len(s) < 4,
    "insert-legal": lambda s: len(s) == 5 and level_of(CONTRACT, s[:-1]) <= Level.HOSTILE,
    "insert-illegal": lambda s: len(s) == 5,
    "call-after-end": lambda s: s[:4] == BASE and len(s) > 4,
    "end-twice": lambda s: methods(s).count("Done") == 2,
    "change-thread": lambda s: any(c.thread for c in s) and [c.args for c in s] == [c.args for c in BASE],
    "change-text": lambda s: sum(a != b for a, b in zip(s, BASE, strict=True)) <= 1,
    "change-argument": lambda s: sum(a != b for a, b in zip(s, BASE, strict=True)) <= 1,
    "null-argument": lambda s: any(None in c.args for c in s),
    "relate-arguments": lambda s: sum(a != b for a, b in zip(s, BASE, strict=True)) <= 1,
    "copy-argument": lambda s: sum(a != b for a, b in zip(s, BASE, strict=True)) <= 1,
}


def test_each_mutator_is_described_here() -> None:
    assert set(PROPERTIES) == set(MUTATORS)


@pytest.mark.parametrize("name", MUTATORS)
def test_a_mutator_does_what_its_name_says(name: str) -> None:
    results = outcomes(name, 4000 if name == "change-thread" else 300)
    assert results
    assert all(PROPERTIES[name](sequence) for sequence in results)  # type: ignore[no-untyped-call]
    assert any(sequence != BASE for sequence in results)


def test_arguments_reach_their_boundaries() -> None:
    seen = {c.args[1:] for s in outcomes("relate-arguments", 2000) for c in s if c.method == "Progress"}
    assert {(2, 2), (3, 2), (1, 0), (0, 0), (0xFFFFFFFF, 0)} <= seen
    changed = [c for s in outcomes("change-argument", 6000) for c in s if c not in BASE]
    assert {None, "", "%s", "\ud800"} <= {c.args[0] for c in changed if c.method == "Progress"}
    assert {0, 0xFFFFFFFF, 2**31} <= {c.args[1] for c in changed if c.method == "Progress"}
    assert {None, 0} & {c.args[0] for c in changed if c.method == "Done"}


def test_texts_are_varied_by_their_structure() -> None:
    texts = {c.args[0] for s in outcomes("change-text", 4000) for c in s if c.method == "Progress"}
    varied = [t for t in texts if isinstance(t, str)]
    assert any(t.endswith(" of 2") and t != "Folder 1 of 2" and "Folder" in t for t in varied)  # numbers
    assert any("((" in t or "[[" in t or "<<" in t for t in varied)  # nesting
    assert any(len(t) >= 1000 for t in varied)  # length
    assert any("Folder/" in t or "Folder\\" in t or "Folder:" in t for t in varied)  # separators


def test_sessions_of_hundreds_of_calls_occur() -> None:
    env = environment()
    assert max(len(mutate(BASE, env, Level.HOSTILE)) for _ in range(5000)) > 200


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32), st.sampled_from(Level), st.sampled_from([CALLBACK, IMAPI_PROGRESS]))
def test_mutations_are_valid_never_empty_and_leave_their_base_alone(
    seed: int, level: Level, interface: Interface
) -> None:
    env = environment(seed, interface)
    before = [list(c) for c in env.corpus]
    for base in env.corpus:
        sequence = mutate(base, env, level)
        assert sequence
        for call in sequence:
            inputs = interface.method(call.method).inputs
            assert len(call.args) == len(inputs)
            if level is not Level.HOSTILE:
                assert all(fits(p, v) for p, v in zip(inputs, call.args, strict=True)), call
    assert [list(c) for c in env.corpus] == before


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_conforming_mutators_keep_a_conforming_sequence_so(seed: int) -> None:
    env = environment(seed)
    base = generate.conforming(CONTRACT, Random(seed), 12)
    assert level_of(CONTRACT, mutate(base, env, Level.CONFORMING)) is Level.CONFORMING


def test_a_seed_gives_the_same_mutations() -> None:
    def some(seed: int) -> list[list[Call]]:
        env = environment(seed)
        return [mutate(BASE, env, Level.HOSTILE) for _ in range(200)]

    assert some(5) == some(5) != some(6)
