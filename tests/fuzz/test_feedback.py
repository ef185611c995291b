"""What sequences show beside code, and that a search which is told of it reaches what chance does not."""

from __future__ import annotations

import enum
import importlib
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from sequences import CALLBACK

from fuzz import generate
from fuzz.campaign import Campaign
from fuzz.coverage import coverage_for, why_not_covered
from fuzz.engine import TRIES_SHIFT, Engine
from fuzz.feedback import Outcomes, States, dimensions
from fuzz.progress import CampaignOptions
from fuzz.protocol import Protocol
from fuzz.schedule import Kept, Seeds, Shares
from recorder.calls import Call
from recorder.contract import Level, contract_of
from replayer.target import object_target

CONTRACT = contract_of(CALLBACK)


# --- what it finds --------------------------------------------------------------------------------------------


@pytest.fixture
def deep() -> Iterator[tuple[ModuleType, Any]]:
    """The hosts of targets/deep.py, with coverage."""
    coverage = coverage_for("targets.deep")
    coverage.start()
    yield importlib.import_module("targets.deep"), coverage
    coverage.stop()
    del sys.modules["targets.deep"]


@pytest.mark.parametrize(
    ("host", "most"),
    [
        ("Table", 10_000),
        pytest.param("Names", 15_000, marks=pytest.mark.slow),
        ("Session", 6_000),
        ("Remembers", 6_000),
        ("Prefix", 8_000),
        ("Magic", 15_000),
        pytest.param("MidSync", 8_000, marks=pytest.mark.slow),
        ("Exactly", 8_000),
        ("Checksum", 4_000),
        ("Lookup", 6_000),
    ],
)
def test_bugs_are_found_that_only_feedback_leads_to(deep: tuple[ModuleType, Any], host: str, most: int) -> None:
    module, coverage = deep
    seeds = [generate.conforming(CONTRACT, Random(seed), 12) for seed in range(4)]
    engine = Engine(object_target(getattr(module, host)), seeds, seed=1, slow=60, coverage=coverage)
    wanted = module.BUGS[host].__name__
    levels = itertools.cycle((Level.HOSTILE, Level.LENIENT))
    for number, level in zip(range(most // 250), levels, strict=False):
        batch = engine.run(number, level, 250)
        if any(suspect.signature.startswith(wanted) for suspect in batch.suspects):
            return
        assert not batch.suspects
        engine.restore(batch.fresh)
    pytest.fail(f"not within {most} sequences")


def test_a_campaign_in_a_child_process_is_told_of_comparisons_too() -> None:
    options = CampaignOptions(seed=1, max_time=None, max_runs=4000, exit_first=True)
    summary = Campaign("targets.deep:Checksum", (), options).run()
    assert [found.finding.message for found in summary.found] == ["RuntimeError"]


# --- the target's state ---------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Machine:
    def __init__(self) -> None:
        self.place = 3
        self._part = Part()


class Part:
    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = True


class Host:
    def __init__(self) -> None:
        self.machine = Machine()
        self.colour = Colour.RED
        self.folders = {"Inbox": 12, "Sent": 40}
        self.texts = ["a", "b"]
        self.text = None
        self.convert = int
        self.lookup = self.texts.index


def test_a_state_is_seen_through_objects_and_tables() -> None:
    assert dimensions(Host()) == {
        "machine": "Machine",
        "machine.place": 3,
        "machine._part": "Part",
        "machine._part.open": True,
        "colour": "Colour.RED",
        "folders.len": 2,
        "folders.max": 40,
        "texts.len": 2,
        "texts[-1]": "b",
        "text": None,
    }


def test_few_values_are_told_apart_and_many_by_their_magnitude() -> None:
    states = States()
    few = [states.new({"place": place}) for place in (0, 5, 0, -5)]
    assert few == [["place=0"], ["place=5"], [], ["place=-5"]]
    for number in range(100, 200):
        states.new({"place": number})
    assert states.new({"place": 1_000_000}) == ["place 2^20+"]
    assert states.new({"place": 1_000_001}) == []
    assert states.new({"place": -1_000_001}) == ["place -2^20+"]


def test_a_counter_brings_a_feature_for_each_power_of_two() -> None:
    states = States()
    new = sum(len(states.new({"count": count})) for count in range(100_000))
    assert 64 + 2 * (17 - 7) <= new <= 90


def test_values_of_several_attributes_are_new_together() -> None:
    states = States()
    for a, b in ((0, 0), (1, 0), (0, 1)):
        states.new({"a": a, "b": b})
    assert states.new({"a": 1, "b": 1}) == ["a=1&b=1"]
    assert states.new({"a": 1, "b": 1}) == []


def test_no_target_brings_more_than_so_many() -> None:
    random, states = Random(3), States()
    for _ in range(30_000):
        states.new({f"attribute {n % 90}": random.randrange(1 << random.randrange(40)) for n in range(5)})
        states.new({name: random.randrange(8) for name in "abcdef"})
        states.new({f"attribute {random.randrange(1 << 30)}": "value"})
    assert states.count < 64 * 120 + 1000


# --- what calls come to ---------------------------------------------------------------------------------------


def test_pairs_of_calls_and_outcomes_are_new_once() -> None:
    outcomes = Outcomes()
    assert outcomes.new([("Progress", 0), ("Done", 0)]) == [": > Progress:0", "Progress:0 > Done:0"]
    assert outcomes.new([("Progress", 0), ("Progress", 0), ("Done", 0)]) == ["Progress:0 > Progress:0"]
    assert outcomes.new([("Progress", 0), ("Done", -1)]) == ["Progress:0 > Done:-1"]


def test_outcomes_without_end_are_one_at_last() -> None:
    outcomes = Outcomes()
    assert sum(len(outcomes.new([("Done", -number)])) for number in range(10_000)) < 80


# --- the contract ---------------------------------------------------------------------------------------------


def test_transitions_are_counted_by_state_and_method() -> None:
    protocol = Protocol(CONTRACT)
    counted = protocol.transitions([("Progress", "Done"), ("Progress", "Done"), ("Done", "Error", "Progress")])
    assert counted == {
        ("bound", "Progress"): 2,
        ("running", "Done"): 2,
        ("bound", "Done"): 1,
        ("finished", "Error"): 1,
        ("finished", "Progress"): 1,
    }
    assert protocol["Progress", "Done"].legal == 2
    assert protocol["Done", "Error", "Progress"].legal == 1


def test_a_batch_tells_the_transitions_that_it_made() -> None:
    engine = Engine(object_target(Quiet), [], seed=1)
    batch = engine.run(0, Level.HOSTILE, 300)
    assert sum(batch.transitions.values()) == batch.calls
    assert {state for state, _ in batch.transitions} >= {"bound", "running", "finished"}
    lenient = engine.run(0, Level.LENIENT, 300).transitions
    assert not any(state == "finished" for state, _ in lenient)


class Quiet:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0


# --- other packages -------------------------------------------------------------------------------------------


def test_other_packages_count_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown_by.py").write_text(
        "def show(text):\n    if text == 'covered':\n        raise LookupError\n"
    )
    lines = [
        "import shown_by, sequences",
        "class Host(sequences.QuietHost):",
        "    def Progress(self, text, index, maximum):",
        "        shown_by.show(text)",
    ]
    (tmp_path / "shows.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert why_not_covered("shown_by") == ""
    assert "shown_bi" in why_not_covered("shown_bi")
    assert why_not_covered("fuzz.engine") and why_not_covered("a-b")
    options = CampaignOptions(seed=1, max_time=None, max_runs=500)
    plain, covered = (
        Campaign("shows:Host", (), replace(options, cover=cover)).run() for cover in ((), ("shown_by",))
    )
    assert covered.progress.sites == plain.progress.sites + 3
    assert [found.finding.message for found in covered.found] == ["LookupError"]
    assert not plain.found, "nobody knew the word"


# --- turns ----------------------------------------------------------------------------------------------------


def kept(name: str, *features: str, batch: int = 0, size: int = 1, mutators: tuple[str, ...] = ()) -> Kept:
    return Kept([Call(name, ())] * size, list(mutators), batch, list(features))


def drawn(seeds: Seeds) -> dict[str, float]:
    seeds.weigh()
    names = [seeds.draw(n / 1000).calls[0].method for n in range(1000)]
    return {name: names.count(name) / 1000 for name in names}


def test_what_is_rare_is_drawn_more_often() -> None:
    seeds = Seeds()
    for _ in range(9):
        seeds.add(kept("common", "a", "b"))
    seeds.add(kept("rare", "a", "c"))
    shares = drawn(seeds)
    assert shares["rare"] > 3 * shares["common"] / 9


def test_what_is_new_or_short_is_drawn_more_often() -> None:
    seeds = Seeds()
    seeds.add(kept("old", "a"))
    seeds.add(kept("long", "b", batch=100, size=500))
    seeds.add(kept("new", "c", batch=100))
    shares = drawn(seeds)
    assert shares["new"] > 2 * shares["long"] > 0
    assert shares["new"] > 2 * shares["old"] > 0


def test_mutators_are_drawn_by_what_they_earned_of_late_and_none_is_given_up() -> None:
    shares = Shares({"one": 4, "other": 4, "third": 8, "never": 0})
    names = ["one", "other", "third", "never"]
    for _ in range(40):
        shares.earned(["one"])
        shares.weigh()
    table = shares.table(names)
    assert table.count("one") > 2 * table.count("other") > 0
    assert table.count("third") > table.count("other")
    assert "never" not in table
    for _ in range(200):
        shares.earned(["other"])
        shares.weigh()
    table = shares.table(names)
    assert table.count("other") > 2 * table.count("one") > 0


# --- what is kept ---------------------------------------------------------------------------------------------


def test_what_is_kept_is_short_and_still_shows_what_was_new() -> None:
    class Opens(Quiet):
        def __init__(self) -> None:
            self.opened = False

        def Error(self, result: int, text: str | None) -> int:
            self.opened = self.opened or result == 7
            return 0

    quiet = [Call("Progress", ("a", n, 300)) for n in range(300)]
    engine = Engine(object_target(Opens), [], seed=1)
    for new in engine.run(0, Level.LENIENT, 250).fresh:
        engine.restore([new])
    trimmed = engine.trimmed(Kept([*quiet, Call("Error", (7, None)), *quiet], []), ["opened=True"], Level.LENIENT)
    assert len(trimmed.calls) <= 20
    assert "opened=True" in trimmed.features
    assert Call("Error", (7, None)) in trimmed.calls


def test_a_slow_sequence_is_kept_as_it_is_and_the_journal_tells_of_tries() -> None:
    class Noted:
        def __init__(self) -> None:
            self.positions: list[tuple[int, int]] = []

        def note(self, number: int, index: int) -> None:
            self.positions.append((number, index))

    class Waits(Quiet):
        seconds = 0.0

        def __init__(self) -> None:
            self.ended = False

        def Done(self, handle: Any, result: int) -> int:
            time.sleep(Waits.seconds)
            self.ended = True
            return 0

    journal: Any = Noted()
    engine = Engine(object_target(Waits), [], seed=1, journal=journal)
    engine.run(0, Level.LENIENT, 60)
    before = len(journal.positions)
    long = Kept([*[Call("Progress", ("a", 1, 2))] * 30, Call("Done", (None, 0))], [])
    assert len(engine.trimmed(long, ["ended=True"], Level.LENIENT).calls) < 12
    tried = journal.positions[before:]
    assert len(set(tried)) == len(tried) > 2
    assert {index & (1 << TRIES_SHIFT) - 1 for _, index in tried} == {59}
    Waits.seconds = 0.25
    assert engine.trimmed(long, ["ended=True"], Level.LENIENT).calls == long.calls


def test_what_other_processes_found_makes_the_same_batches(deep: tuple[ModuleType, Any]) -> None:
    module, coverage = deep

    def engine() -> Engine:
        return Engine(object_target(module.Lookup), [], seed=3, coverage=coverage)

    finder, other = engine(), engine()
    fresh = finder.run(0, Level.HOSTILE, 250).fresh
    assert any(new.operands for new in fresh) and any(new.features for new in fresh)
    finder.restore(fresh)
    other.restore(fresh)
    for index in (0, 100, 249):
        assert finder.sequence(1, Level.LENIENT, 250, index) == other.sequence(1, Level.LENIENT, 250, index)
