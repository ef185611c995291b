"""Variants that the compiled core makes: what the mutators would make, packed as Python packs it."""

from __future__ import annotations

import itertools
from array import array
from random import Random

import pytest
from sequences import CALLBACK, calls

from fuzz import generate
from fuzz.environment import Environment
from fuzz.mutators import MUTATORS, Drawing
from fuzz.variants import EACH, Made, Source, Variants
from recorder.calls import Call, Handle
from recorder.contract import Level, contract_of, fits, level_of
from recorder.interface import Interface, Method, Parameter, Type
from replayer.batches import Fragments, unpack_calls
from replayer.shared import LENGTH

pytestmark = pytest.mark.native

EVERY_TYPE = Interface(
    "IEvery",
    "{12345678-0000-0000-c000-000000000046}",
    (
        Method("Numbers", tuple(Parameter(t.name, t) for t in Type if t.is_integer)),
        Method("Others", (Parameter("t", Type.TEXT), Parameter("h", Type.HANDLE), Parameter("i", Type.IID))),
        Method("Address", (Parameter("a", Type.I32, pointer=True), Parameter("u", Type.U64, pointer=True))),
        Method("Nothing", ()),
    ),
    base=CALLBACK.root,
)


class Maker:
    def __init__(self, interface: Interface, level: Level, seed: int = 1):
        random = Random(seed)
        self.interface, self.level = interface, level
        self.contract = contract_of(interface)
        self.fragments = Fragments(interface)
        self.sequences = [generate.sequence(self.contract, random, level, 3 + n % 12) for n in range(40)]
        self.environment = Environment(self.contract, self.sequences, random)
        self.environment.learn_values((31337, -5), ("known", "\ud800"))
        self.variants = Variants(self.contract, self.environment, Drawing().tables, self.fragments)

    def make(self, seed: int = 7, avoid: tuple[Call, ...] = (), **about: object) -> Made:
        given = [
            Source(self.fragments.sequence(each), n * EACH, 0, EACH, True, [], **about)  # type: ignore[arg-type]
            for n, each in enumerate(self.sequences)
        ]
        return self.variants.make(given, seed, self.level, avoid)


def blobs(made: Made) -> list[bytes]:
    found, at = [], 0
    while at < len(made.packed):
        (size,) = LENGTH.unpack_from(made.packed, at)
        found.append(made.packed[at + LENGTH.size : at + LENGTH.size + size])
        at += LENGTH.size + size
    return found


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("interface", [CALLBACK, EVERY_TYPE], ids=lambda i: i.name)
def test_variants_are_packed_as_python_packs_calls_that_fit(interface: Interface, level: Level) -> None:
    maker = Maker(interface, level)
    made = maker.make()
    methods = {method.name: method for method in interface.calls}
    different = 0
    for number, blob in zip(array("I", made.numbers), blobs(made), strict=True):
        sequence = unpack_calls(blob, interface)
        assert sequence and maker.fragments.sequence(sequence) == blob
        for call in sequence:
            inputs = methods[call.method].inputs
            assert len(inputs) == len(call.args) and all(map(fits, inputs, call.args))
        source = maker.sequences[number // EACH]
        different += sequence != source
        if number % EACH == 0:
            assert sequence == source
    assert different > 20 or interface is EVERY_TYPE


def test_levels_are_kept() -> None:
    for level in (Level.CONFORMING, Level.LENIENT):
        maker = Maker(CALLBACK, level)
        for blob in blobs(maker.make()):
            sequence = unpack_calls(blob, CALLBACK)
            if level is Level.CONFORMING:
                assert level_of(maker.contract, sequence, len(sequence) - 1) is Level.CONFORMING
            else:
                assert [call.method for call in sequence[:-1]].count("Done") == 0  # nothing comes after the end


def test_what_is_said_of_them_is_true() -> None:
    maker = Maker(CALLBACK, Level.HOSTILE)
    made = maker.make()
    sequences = [unpack_calls(blob, CALLBACK) for blob in blobs(made)]
    assert list(array("I", made.calls)) == list(map(len, sequences))
    assert list(made.ends) == [any(call.method == "Done" for call in each) for each in sequences]
    slots = [CALLBACK.slot[call.method] for each in sequences for call in each]
    assert list(array("H", made.slots)) == slots
    assert sum(times for *_, times in made.steps) == len(slots)
    assert ("finished", "Done") in {(state, method) for state, method, _ in made.steps}
    assert list(array("I", made.origins)) == [n // EACH for n in range(40 * EACH)]
    used = [name for place in range(len(sequences)) for name in made.used_in(place)]
    assert made.applied().total() == len(used) > 200
    assert set(used) <= set(MUTATORS) and len(set(used)) >= 18


def test_a_seed_gives_the_same_and_another_others() -> None:
    one, again, other = (Maker(CALLBACK, Level.LENIENT).make(seed) for seed in (7, 7, 8))
    assert one == again
    assert sum(map(bytes.__eq__, blobs(one), blobs(other))) < 100


def test_calls_to_avoid_are_not_made() -> None:
    maker = Maker(CALLBACK, Level.HOSTILE)
    common = Call("Progress", (None, 0, 0))
    maker.sequences = [[*each, common] if n % 2 else each for n, each in enumerate(maker.sequences)]
    made = maker.make(avoid=(common,))
    assert 100 < len(made.ends) < 40 * EACH
    assert all(common not in unpack_calls(blob, CALLBACK) for blob in blobs(made))


def test_what_the_target_compared_is_put_in_its_place() -> None:
    maker = Maker(CALLBACK, Level.LENIENT)
    maker.sequences = [calls('Progress("a text", 4711, 9)', "Error(0x1, NULL)")] * 40
    made = maker.make(operands=(("Eq", 4711, 48879), ("Eq", "text", "FIND")))
    args = [call.args for blob in blobs(made) for call in unpack_calls(blob, CALLBACK)]
    assert any(48879 in each for each in args)
    assert any("a FIND" in each for each in args)


def test_values_that_are_known_are_tried() -> None:
    maker = Maker(CALLBACK, Level.HOSTILE)
    made = [blob for seed in range(4) for blob in blobs(maker.make(seed))]
    args = list(itertools.chain.from_iterable(c.args for blob in made for c in unpack_calls(blob, CALLBACK)))
    assert 31337 in args and "known" in args and None in args
    assert any(isinstance(value, Handle) for value in args)
    assert any(isinstance(value, str) and len(value) > 200 for value in args)
