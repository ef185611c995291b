"""Each mutator does what its docstring says, leaves its base alone, and keeps to its level."""

from __future__ import annotations

import copy
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, GOOD, calls
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz import dictionary, generate
from fuzz.engine import Engine
from fuzz.environment import Environment
from fuzz.field_mutators import FIELD
from fuzz.mutators import MUTATORS, Drawing
from fuzz.values import change, fresh_call
from recorder.calls import Call
from recorder.contract import Contract, Level, contract_of, fits, level_of
from recorder.interface import Interface
from replayer.target import object_target

CONTRACT = contract_of(CALLBACK)
CORPUS = [
    calls(*GOOD),
    calls('Progress("Inbox", 3, 20)', 'Error(E_FAIL, "broken: {0}")', "Done(NULL, E_FAIL)"),
    calls('Progress("Sent", 1, 3)', "Progress(NULL, 2, 3)", 'Progress("Drafts/2021", 3, 3)'),
]

OPERANDS = [
    ("Eq", 3, 20),
    ("Lt", 8, 12345),
    ("Eq", -2147467259, 7),
    ("startswith", "Inbox", "X-"),
    ("endswith", "Inbox/Sub", "#end"),
    ("Eq", "broken", "mended"),
    ("In", "[Inbox]", "[Sent]"),
]

mutate = Drawing().mutate

steady = functools.partial(settings, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(sorted(MUTATORS))


def environment(
    seed: int = 1, contract: Contract = CONTRACT, corpus: list[list[Call]] | None = None
) -> Environment:
    env = Environment(contract, copy.deepcopy(CORPUS if corpus is None else corpus), Random(seed))
    env.operands = OPERANDS
    env.learn_values([12345, -2005270483], ["X-Sync", "#end"])
    return env


def generated(contract: Contract, level: Level, seed: int, length: int) -> list[Call]:
    return generate.sequence(contract, Random(seed), level, length)


def applied(name: str, base: list[Call], tries: int = 400) -> Iterator[list[Call]]:
    """What a mutator makes of a sequence, by many seeds; only where it says that it did something."""
    env = environment()
    for seed in range(tries):
        env.seed(Random(seed))
        changed = base[:]
        if MUTATORS[name].apply(changed, env):
            yield changed


def inserted(base: list[Call], changed: list[Call]) -> Iterator[tuple[int, list[Call]]]:
    """The ways to see `changed` as `base` with a piece put in: (place, piece)."""
    size = len(changed) - len(base)
    for at in range(len(base) + 1):
        if size > 0 and changed[:at] + changed[at + size :] == base:
            yield at, changed[at : at + size]


def different(base: list[Call], changed: list[Call]) -> list[int]:
    assert len(base) == len(changed)
    return [n for n, (one, other) in enumerate(zip(base, changed, strict=True)) if one != other]


def arguments_changed(base: list[Call], changed: list[Call]) -> list[tuple[int, int]]:
    """(call, argument) where they differ; everything else is the same."""
    places = []
    for number in different(base, changed):
        one, other = base[number], changed[number]
        assert one._replace(args=()) == other._replace(args=())
        places += [(number, n) for n, (a, b) in enumerate(zip(one.args, other.args, strict=True)) if a != b]
    return places


# --- what each mutator does -----------------------------------------------------------------------------------


def drops(base: list[Call], changed: list[Call]) -> bool:
    return any(True for _ in inserted(changed, base)) and len(changed) == len(base) - 1


def drops_run(base: list[Call], changed: list[Call]) -> bool:
    return any(True for _ in inserted(changed, base)) and 0 < len(changed) < len(base)


def duplicates(base: list[Call], changed: list[Call]) -> bool:
    return any(piece == [base[at - 1]] for at, piece in inserted(base, changed) if at)


def moves(base: list[Call], changed: list[Call]) -> bool:
    rest = [(base[:n] + base[n + 1 :], base[n]) for n in range(len(base))]
    return any(piece == [call] for left, call in rest for _, piece in inserted(left, changed))


def swaps(base: list[Call], changed: list[Call]) -> bool:
    places = different(base, changed)
    return not places or (len(places) == 2 and [changed[n] for n in places] == [base[n] for n in reversed(places)])


def splices(base: list[Call], changed: list[Call]) -> bool:
    return any(
        piece == other[start : start + len(piece)]
        for _, piece in inserted(base, changed)
        for other in CORPUS
        for start in range(len(other))
    )


def repeats(base: list[Call], changed: list[Call]) -> bool:
    return any(
        piece == base[at : at + size] * (len(piece) // size)
        for at, piece in inserted(base, changed)
        for size in range(1, len(base) + 1)
        if len(piece) % size == 0
    )


def counts_up(base: list[Call], changed: list[Call]) -> bool:
    for at, piece in inserted(base, changed):
        if at and base[at - 1].method == "Progress":
            text, start, _ = base[at - 1].args
            assert isinstance(start, int)
            last = start + len(piece)
            if [c.args for c in piece] == [(text, n, last) for n in range(start + 1, last + 1)]:
                return True
    return False


def truncates(base: list[Call], changed: list[Call]) -> bool:
    return 0 < len(changed) < len(base) and changed == base[: len(changed)]


def inserts_legal(base: list[Call], changed: list[Call]) -> bool:
    return any(
        len(piece) == 1 and "Done" not in [c.method for c in base[:at]] for at, piece in inserted(base, changed)
    )


def inserts_any(base: list[Call], changed: list[Call]) -> bool:
    return len(changed) == len(base) + 1 and any(True for _ in inserted(base, changed))


def extends(base: list[Call], changed: list[Call]) -> bool:
    if len(changed) == len(base):
        return len(different(base, changed)) <= 1
    return inserts_any(base, changed)


def repeats_changed(base: list[Call], changed: list[Call]) -> bool:
    return any(
        len({call.args for call in piece}) == len(piece)
        and all(len(arguments_changed([base[at - 1]], [call])) == 1 for call in piece)
        for at, piece in inserted(base, changed)
        if at and {call.method for call in piece} == {base[at - 1].method}
    )


def calls_after_end(base: list[Call], changed: list[Call]) -> bool:
    return any(at and base[at - 1].method == "Done" and piece for at, piece in inserted(base, changed))


def ends_twice(base: list[Call], changed: list[Call]) -> bool:
    last = [call for call in base if call.method == "Done"][-1]
    return any(piece == [last] for _, piece in inserted(base, changed))


def changes_thread(base: list[Call], changed: list[Call]) -> bool:
    places = different(base, changed)
    threads = {changed[n].thread for n in places}
    same = [c._replace(thread=0) for c in changed] == [c._replace(thread=0) for c in base]
    return same and threads <= {1, 2} and len(threads) == 1 and places == list(range(places[0], places[-1] + 1))


def changes_argument(base: list[Call], changed: list[Call]) -> bool:
    return len(arguments_changed(base, changed)) <= 1


def changes_text(base: list[Call], changed: list[Call]) -> bool:
    ((number, position),) = arguments_changed(base, changed)
    return isinstance(base[number].args[position], str) and isinstance(changed[number].args[position], str)


def nulls_argument(base: list[Call], changed: list[Call]) -> bool:
    ((number, position),) = arguments_changed(base, changed)
    parameter = CALLBACK.method(base[number].method).inputs[position]
    return changed[number].args[position] is None and not parameter.nullable


def relates(base: list[Call], changed: list[Call]) -> bool:
    for number in different(base, changed):
        text, index, limit = changed[number].args
        before, was, were = base[number].args
        assert isinstance(index, int) and isinstance(limit, int) and isinstance(was, int)
        telling = index == limit or index == limit + 1 or limit == 0 or limit == index - 1
        telling |= index == max(limit - 1, 0) or limit == max(was - 1, 0) or (index, limit) in dictionary.PAIRS
        if not telling or text != before or base[number].method != "Progress" or were is None:
            return False
    return True


def copies(base: list[Call], changed: list[Call]) -> bool:
    return all(
        changed[n].args[p] in [c.args[p] for c in base if c.method == base[n].method]
        for n, p in arguments_changed(base, changed)
    )


def releases_early(base: list[Call], changed: list[Call]) -> bool:
    return any(piece == [Call("Release")] and at < len(base) for at, piece in inserted(base, changed))


def restarts(base: list[Call], changed: list[Call]) -> bool:
    for at, piece in inserted(base, changed):
        limits = {call.args[2] for call in piece}
        indexes = [call.args[1] for call in piece]
        if at and len(limits) == 1 and limits != {base[at - 1].args[2]} and {indexes[-1]} == limits:
            return all(isinstance(n, int) and n > 0 for n in indexes)
    return False


def grows_total(base: list[Call], changed: list[Call]) -> bool:
    places = arguments_changed(base, changed)
    grown = [changed[n].args[2] for n, _ in places]
    return (
        {position for _, position in places} == {2}
        and len({base[n].args[2] for n, _ in places}) == 1
        and all(
            isinstance(new, int) and new > int(str(base[n].args[2]))
            for new, (n, _) in zip(grown, places, strict=True)
        )
        and all(int(str(one)) <= int(str(other)) for one, other in itertools.pairwise(grown))
    )


def empties(base: list[Call], changed: list[Call]) -> bool:
    return any({call.args[1:] for call in piece} == {(0, 0)} for _, piece in inserted(base, changed))


def nulls_texts(base: list[Call], changed: list[Call]) -> bool:
    return all(position == 0 and changed[n].args[0] is None for n, position in arguments_changed(base, changed))


def cuts_to_32(base: list[Call], changed: list[Call]) -> bool:
    places = arguments_changed(base, changed)
    return {position for _, position in places} <= {1, 2} and len({base[n].args[2] for n, _ in places}) == 1


def retries(base: list[Call], changed: list[Call]) -> bool:
    return any(
        at and base[at - 1].method == "Error" and piece[0].method != "Done" and piece[0] in base[:at]
        for at, piece in inserted(base, changed)
    )


def has_late_tail(base: list[Call], changed: list[Call]) -> bool:
    plain = [call._replace(thread=0) for call in changed]
    end = max(n for n, call in enumerate(base) if call.method == "Done")
    return any(plain == [*base[:at], base[end], *base[at:end], *base[end + 1 :]] for at in range(end))


def is_merged(base: list[Call], changed: list[Call], *, whole: bool) -> bool:
    for other in CORPUS:
        theirs = [call for call in other if whole or call.method != "Done"]
        if Counter(changed) - Counter(base) <= Counter(theirs) and len(changed) == len(base) + len(theirs):
            rest = iter(changed)
            if all(call in rest for call in base):
                return True
    return False


def writes_percentages(base: list[Call], changed: list[Call]) -> bool:
    return all(
        position == 0 and re.search(r"\d+%( \(\d+/\d+\))?\r$", str(changed[n].args[0]))
        for n, position in arguments_changed(base, changed)
    )


def marks_up(base: list[Call], changed: list[Call]) -> bool:
    ((number, position),) = arguments_changed(base, changed)
    one, other = str(base[number].args[position]), iter(str(changed[number].args[position]))
    return all(letter in other for letter in one)


def grows_text(base: list[Call], changed: list[Call]) -> bool:
    ((number, position),) = arguments_changed(base, changed)
    text = str(changed[number].args[position])
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    return units in (1_000, 3_000, 20_000) and text.startswith(str(base[number].args[position])[:999])


DOES: dict[str, Callable[[list[Call], list[Call]], bool]] = {
    "drop": drops,
    "drop-run": drops_run,
    "duplicate": duplicates,
    "move": moves,
    "swap": swaps,
    "splice": splices,
    "repeat-run": repeats,
    "count-up": counts_up,
    "truncate": truncates,
    "insert-legal": inserts_legal,
    "extend": extends,
    "repeat-changed": repeats_changed,
    "insert-illegal": inserts_any,
    "call-after-end": calls_after_end,
    "end-twice": ends_twice,
    "release-early": releases_early,
    "change-thread": changes_thread,
    "change-argument": changes_argument,
    "change-text": changes_text,
    "null-argument": nulls_argument,
    "relate-arguments": relates,
    "copy-argument": copies,
    "match-comparison": changes_argument,
    "restart-counter": restarts,
    "grow-total": grows_total,
    "empty-phase": empties,
    "null-texts": nulls_texts,
    "cut-to-32": cuts_to_32,
    "retry": retries,
    "late-tail": has_late_tail,
    "interleave": functools.partial(is_merged, whole=False),
    "interleave-both-ends": functools.partial(is_merged, whole=True),
    "percentage-texts": writes_percentages,
    "mark-up": marks_up,
    "grow-text": grows_text,
}


def test_every_mutator_has_its_test_and_its_docstring() -> None:
    assert set(DOES) == set(MUTATORS)
    for name, mutator in MUTATORS.items():
        assert mutator.name == name
        assert (mutator.apply.__doc__ or "").endswith((".", "trouble.")), name


@pytest.mark.parametrize("name", sorted(MUTATORS))
def test_a_mutator_does_what_it_says(name: str) -> None:
    base = [
        *calls('Progress("Inbox", 3, 20)', 'Progress("Inbox/Sub", 4, 20)', 'Error(E_FAIL, "broken")'),
        *calls("Progress(NULL, 20, 20)", 'Error(E_ABORT, "")', "Done(sync-event, E_FAIL)"),
    ]
    results = list(applied(name, base, tries=2000 if name == "change-thread" else 400))
    assert results, f"{name} never did anything"
    for changed in results:
        assert DOES[name](base, changed), (base, changed)
    assert len(set(map(tuple, results))) > 1, f"{name} always does the same"


@steady(max_examples=300)
@given(names, seeds, seeds, st.integers(1, 15), st.sampled_from(list(Level)))
def test_it_does_so_to_any_sequence(name: str, seed: int, chance: int, length: int, level: Level) -> None:
    base = generated(CONTRACT, level, seed, length)
    env = environment(chance)
    changed = base[:]
    if MUTATORS[name].apply(changed, env):
        assert DOES[name](base, changed), (name, base, changed)
    else:
        assert changed == base


@pytest.mark.parametrize("name", sorted(MUTATORS))
@pytest.mark.parametrize("base", [[], calls("Done(NULL, S_OK)"), calls('Progress("a", 4294967295, 4294967295)')])
def test_short_sequences_are_nothing_special(name: str, base: list[Call]) -> None:
    for changed in applied(name, base, tries=100):
        assert changed
        assert_fit(CALLBACK, changed)


# --- what all of them keep ------------------------------------------------------------------------------------


def assert_fit(interface: Interface, sequence: list[Call]) -> None:
    for call in sequence:
        assert type(call) is Call
        inputs = interface.method(call.method).inputs
        assert len(call.args) == len(inputs)
        assert all(map(fits, inputs, call.args)), call


@steady(max_examples=300)
@given(st.data(), seeds, st.sampled_from([CALLBACK, IMAPI_PROGRESS]), st.sampled_from(list(Level)))
def test_mutating_keeps_types_and_leaves_base_and_corpus_alone(
    data: st.DataObject, seed: int, interface: Interface, level: Level
) -> None:
    contract = contract_of(interface)
    corpus = [generated(contract, level, data.draw(seeds), data.draw(st.integers(1, 12))) for _ in range(3)]
    base = generated(contract, level, data.draw(seeds), data.draw(st.integers(1, 12)))
    before = copy.deepcopy((base, corpus))
    env = Environment(contract, corpus, Random(seed))
    for _ in range(5):
        changed = mutate(base, env, level)
        assert changed and changed is not base
        assert_fit(interface, changed)
    assert (base, corpus) == before


@steady(max_examples=200)
@given(
    st.sampled_from([m.name for m in MUTATORS.values() if m.level is Level.CONFORMING]),
    *(seeds, seeds, st.integers(1, 20)),
)
def test_a_conforming_mutator_keeps_a_sequence_conforming(name: str, seed: int, chance: int, length: int) -> None:
    sequence = generate.conforming(CONTRACT, Random(seed), length)
    env = environment(chance)
    for _ in range(8):
        MUTATORS[name].apply(sequence, env)
    assert level_of(CONTRACT, sequence) is Level.CONFORMING


@steady(max_examples=150)
@given(
    st.sampled_from([m.name for m in FIELD.values() if m.level is Level.LENIENT]),
    *(seeds, seeds, st.integers(1, 20)),
)
def test_what_real_sessions_do_is_at_worst_lenient(name: str, seed: int, chance: int, length: int) -> None:
    sequence = generate.conforming(CONTRACT, Random(seed), length)
    MUTATORS[name].apply(sequence, environment(chance))
    assert level_of(CONTRACT, sequence) <= Level.LENIENT


def test_an_interface_without_a_contract_has_counters_by_its_types() -> None:
    env = Environment(contract_of(IMAPI_PROGRESS), [], Random(1))
    base = [fresh_call(name, env) for name in env.names]
    worked = set()
    for seed in range(300):
        env.seed(Random(seed))
        for name, mutator in FIELD.items():
            changed = base[:]
            if mutator.apply(changed, env):
                worked.add(name)
                assert_fit(IMAPI_PROGRESS, changed)
    assert "restart-counter" in worked


class Retried:
    """Bug: after a problem it takes the first folder for one of those it has, and has none."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.failed = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.failed and len(self.rows) >= 3 and text == self.rows[0]:
            raise LookupError("listed twice")
        if text is not None and not self.failed and text not in self.rows:
            self.rows.append(text)
        return 0

    def Error(self, result: int, text: str | None) -> int:
        self.failed = True
        return 0

    def Done(self, handle: object, result: int) -> int:
        return 0


class OneLine:
    """Bug: it takes what stands before a carriage return for a number, but of a step with a name."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text is not None and text.endswith("\r"):
            int(text.split("%")[0])
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    Done = Error


def sequences_to(host: type, seed: int, family: bool) -> int:
    engine = Engine(object_target(host), [CORPUS[1]], seed=seed)
    if not family:
        engine.drawing.shares.base.update(dict.fromkeys(FIELD, 0))
        engine.drawing.weigh()
    played = 0
    for number in range(20):
        batch = engine.run(number, Level.LENIENT, 100)
        if batch.suspects:
            return played + batch.suspects[0].index
        played += batch.done
    return played


@pytest.mark.parametrize("host", [Retried, OneLine])
def test_a_search_comes_sooner_to_what_real_sessions_do(host: type) -> None:
    with_them, without = (sum(sequences_to(host, seed, family) for seed in range(6)) for family in (True, False))
    assert with_them < without, (with_them, without)


def test_two_steps_never_become_one_that_falls() -> None:
    """Of a text that stands in another step a conforming mutator makes no use (P7)."""
    base = calls('Progress("a", 2, 2)', 'Progress("b", 1, 2)', "Progress(NULL, 2, 2)", "Done(NULL, S_OK)")
    assert level_of(CONTRACT, base) is Level.CONFORMING
    env = environment()
    for seed in range(3000):
        env.seed(Random(seed))
        changed = base[:]
        MUTATORS["change-text"].apply(changed, env)
        assert level_of(CONTRACT, changed) is Level.CONFORMING


@steady(max_examples=200)
@given(seeds, seeds, st.integers(1, 20))
def test_mutating_at_the_conforming_level_conforms(seed: int, chance: int, length: int) -> None:
    base = generate.conforming(CONTRACT, Random(seed), length)
    assert level_of(CONTRACT, mutate(base, environment(chance), Level.CONFORMING)) is Level.CONFORMING


@steady(max_examples=200)
@given(seeds, seeds, st.integers(1, 12))
def test_a_seed_gives_the_same_mutations(seed: int, chance: int, length: int) -> None:
    base = generated(CONTRACT, Level.HOSTILE, seed, length)

    def run() -> list[tuple[list[Call], list[str]]]:
        env = environment(chance)
        made = []
        for _ in range(4):
            env.used.clear()
            made.append((mutate(base, env, Level.HOSTILE), env.used[:]))
        return made

    assert run() == run()


def test_mutating_nothing_gives_something() -> None:
    for seed in range(200):
        assert mutate([], environment(seed, corpus=[]), Level.HOSTILE)


def test_only_mutators_up_to_the_level_are_used_and_all_of_them_come() -> None:
    for level in Level:
        used: Counter[str] = Counter()
        env = environment(3)
        for _ in range(6000):
            env.used.clear()
            mutate(CORPUS[0], env, level)
            used.update(env.used)
        assert set(used) == {m.name for m in MUTATORS.values() if m.level <= level and m.share}
        assert used["change-argument"] > used["change-thread"] or level is Level.CONFORMING


def test_shares_take_effect_when_weighed() -> None:
    drawing = Drawing()
    before = [m.name for m in drawing.tables[Level.LENIENT]].count("drop")
    for _ in range(30):
        drawing.shares.earned(["drop"])
    assert [m.name for m in drawing.tables[Level.LENIENT]].count("drop") == before
    drawing.weigh()
    assert [m.name for m in drawing.tables[Level.LENIENT]].count("drop") > 2 * before
    assert "call-after-end" not in [m.name for m in drawing.tables[Level.LENIENT]]


def test_a_changed_thread_is_announced() -> None:
    env = environment()
    for seed in range(2000):
        env.seed(Random(seed))
        env.threaded = False
        changed = CORPUS[0][:]
        did = MUTATORS["change-thread"].apply(changed, env)
        assert env.threaded is did is any(c.thread for c in changed)


# --- values ---------------------------------------------------------------------------------------------------


@functools.cache
def changes_of(position: int, line: str = 'Progress("Message 3 of 20", 7, 40)') -> frozenset[object]:
    env = environment()
    (call,) = calls(line)
    return frozenset(change(call, position, env) for _ in range(6000))


def test_an_argument_takes_boundaries_neighbours_and_what_was_seen_elsewhere() -> None:
    taken = changes_of(1)
    assert set(dictionary.integers(CALLBACK.method("Progress").inputs[1].type)) <= taken
    assert {6, 8, 5, 9, 14, 3, 7 ^ 1, 7 ^ (1 << 31), 7 + 12345, 7 + 3 * 12345} <= taken
    assert {call.args[1] for sequence in CORPUS for call in sequence if call.method == "Progress"} <= taken
    assert all(isinstance(value, int) and 0 <= value < 2**32 for value in taken)


def test_a_nullable_argument_takes_null_and_another_does_not() -> None:
    assert None in changes_of(0)
    assert None in changes_of(0, "Done(sync-event, S_OK)")
    assert None not in changes_of(1) | changes_of(1, 'Error(E_FAIL, "a")')


def test_a_text_is_varied_by_its_structure() -> None:
    texts = {text for text in changes_of(0) if isinstance(text, str)}
    assert set(dictionary.TEXTS) <= texts
    numbers = {m[1] for text in texts if (m := re.fullmatch(r"Message (\d+) of 20", text))}
    assert {"0", "4294967295"} & numbers and len(numbers) > 20
    assert any(text.startswith("((Message 3 of 20))") or text.startswith("[[") for text in texts)
    assert {"Message/3 of 20", "Message 3\nof 20", "Message3 of 20"} & texts
    assert any(text != "Message 3 of 20" and "Message 3 of 20".startswith(text) and text for text in texts)
    assert {len(text) for text in texts} >= {30, 31, 79, 80, 127, 128, 255, 256, 259, 260, 261}
    assert any("%n" in text and "Message" in text for text in texts)


def test_an_hresult_takes_named_codes_and_codes_of_other_kinds() -> None:
    taken = changes_of(0, 'Error(E_FAIL, "a")')
    assert set(dictionary.HRESULTS) <= taken
    assert all(isinstance(value, int) and -(2**31) <= value < 2**31 for value in taken)


def test_values_seen_are_learned_only_for_their_own_parameter() -> None:
    env = environment(corpus=[])
    env.learn(calls('Progress("only here", 123456, 654321)'))
    (call,) = calls('Progress("x", 1, 2)')
    assert "only here" in {change(call, 0, env) for _ in range(200)}
    assert 123456 in {change(call, 1, env) for _ in range(200)}
    assert 123456 not in {change(call, 2, env) for _ in range(2000)}


def test_learning_is_bounded() -> None:
    env = environment(corpus=[])
    for number in range(1000):
        env.learn([Call("Progress", (f"text {number}", number, 0))])
    assert {len(pool) for (method, _), pool in env.seen.items() if method == "Progress"} == {400}
