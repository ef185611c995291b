"""A search with threads: schedules of short programs, the same for a seed, found, kept and made minimal."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sequences import CALLBACK, GOOD, calls

from fuzz.buckets import finding_trace, read_finding, write_finding
from fuzz.campaign import Campaign
from fuzz.cli import fuzz
from fuzz.engine import Batch
from fuzz.minimise import minimise_trace
from fuzz.progress import CampaignOptions, Summary
from fuzz.schedule import Kept
from fuzz.schedules import changes, is_scheduled, threads_of
from fuzz.store import CampaignFolder
from fuzz.thread_engine import ThreadEngine
from fuzz.worker import pack_calls, unpack_calls
from recorder.calls import SYNC_EVENT, Call, Header, Trace
from recorder.contract import Level
from recorder.provenance import digest
from recorder.trace import read_trace
from replayer.isolation import Isolated
from replayer.native_threads import can_step
from replayer.oracles import Judge
from replayer.player import Run
from replayer.target import Instance, load_target

SEEDS = [calls(*GOOD), calls('Error(E_FAIL, "one")', "Progress(NULL, 1, 2)", "Done(handle(1), E_FAIL)")]
LOCK_ORDER = "targets.threads.lock_order:Host"


def engine(sample: str, seed: int = 0, threads: int = 2) -> ThreadEngine:
    target = load_target(f"targets.threads.{sample}:Host", CALLBACK)
    return ThreadEngine(target, [list(sequence) for sequence in SEEDS], threads=threads, seed=seed)


def batches(made: ThreadEngine, count: int, level: Level = Level.HOSTILE, size: int = 24) -> Iterator[Batch]:
    for number in range(count):
        batch = made.run(number, level, size)
        for kept in batch.fresh:
            made.keep(kept)
        yield batch


# --- batches --------------------------------------------------------------------------------------------------


def test_a_batch_is_a_pure_function_of_the_seed() -> None:
    one, other = (list(batches(engine("unlocked_pair", seed=3), 2)) for _ in range(2))

    assert one == other
    assert one != list(batches(engine("unlocked_pair", seed=4), 2))


def test_a_sequence_of_a_batch_is_made_again() -> None:
    made, again = engine("one_lock"), engine("one_lock")
    sequences = dict(made.sequences(1, Level.HOSTILE, 30))

    assert sorted(sequences) == [*range(30)]
    for index in (0, 7, 12, 29):
        assert again.sequence(1, Level.HOSTILE, 30, index) == sequences[index]


@pytest.mark.parametrize("threads", [2, 4])
def test_programs_of_several_threads_have_several_schedules(threads: int) -> None:
    sequences = [sequence for _, sequence in engine("one_lock", threads=threads).sequences(0, Level.HOSTILE, 360)]
    used = {len(threads_of(sequence)) for sequence in sequences}

    assert min(used) == 2 and max(used) == threads
    assert sum(changes(sequence) > 0 for sequence in sequences) > 120
    assert any(min(call.switches, default=0) < 0 for sequence in sequences for call in sequence)


def test_levels_say_what_may_be_at_the_same_time() -> None:
    made = engine("one_lock")
    lenient = [sequence for _, sequence in made.sequences(0, Level.LENIENT, 60)]
    conforming = [sequence for _, sequence in made.sequences(0, Level.CONFORMING, 60)]

    assert not any(call.method in made.contract.terminal for sequence in lenient for call in sequence)
    assert all(len(threads_of(sequence)) > 1 for sequence in lenient)
    assert not any(map(is_scheduled, conforming))


def test_what_kills_is_left_out() -> None:
    made = engine("one_lock")
    had = [sequence for _, sequence in made.sequences(0, Level.HOSTILE, 60)]
    deadly = had[0][0]
    made.avoid.add((deadly.method, deadly.args))

    after = [sequence for _, sequence in made.sequences(0, Level.HOSTILE, 60)]
    assert after and not any(call[:2] == deadly[:2] for sequence in after for call in sequence)


def test_hand_overs_at_new_places_are_kept_and_built_on() -> None:
    made = engine("snapshots")
    fresh = [kept for batch in batches(made, 2) for kept in batch.fresh]

    assert fresh and all(is_scheduled(kept.calls) for kept in fresh)
    assert all(any(feature.startswith("hand-over ") for feature in kept.features) for kept in fresh)
    told = engine("snapshots")
    told.restore(fresh)
    assert list(told.sequences(9, Level.HOSTILE, 24)) == list(made.sequences(9, Level.HOSTILE, 24))


def test_what_one_process_has_seen_the_next_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.thread_engine._SHOWN", 2)  # as if programs handed over at many more places
    made, told = engine("snapshots"), engine("snapshots")
    told.restore([kept for batch in batches(made, 2) for kept in batch.fresh])

    assert told.run(9, Level.HOSTILE, 24).fresh == made.run(9, Level.HOSTILE, 24).fresh


def test_a_program_is_played_once_for_all_its_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine("one_lock")
    played: list[list[Call]] = []
    scheduled = made.screen.scheduled

    def play(sequence: list[Call]) -> tuple[str, Run]:
        played.append(sequence)
        return scheduled(sequence)

    monkeypatch.setattr(made.screen, "scheduled", play)
    assert made.run(0, Level.HOSTILE, 36).done == len(played)


def test_oracles_that_are_not_to_look_cost_nothing_and_see_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("targets.threads.unlocked_pair:Host", CALLBACK)
    instance, made = target.instance, itertools.count()

    def counted() -> Instance:
        next(made)
        return instance()

    monkeypatch.setattr(target, "instance", counted)

    def search(*disabled: str) -> tuple[Batch, int]:
        engine = ThreadEngine(target, [[*one] for one in SEEDS], threads=2, seed=0, disabled=disabled)
        before = next(made)
        return engine.run(1, Level.LENIENT, 60), next(made) - before - 1

    judged, instances = search()
    assert judged.suspects and instances > judged.done
    bare, instances = search("lost-update", "linearizability")
    assert not bare.suspects and instances == bare.done == judged.done
    assert not search("linearizability")[0].suspects


def test_switches_go_to_the_searching_process_and_back() -> None:
    sequence = [Call("Progress", (None, 0, 1), 1, 0, (0, 4, -1)), Call("Done", (SYNC_EVENT, 0))]
    packed = [[method, list(args), *rest] for method, args, *rest in pack_calls(sequence)]

    assert unpack_calls([["Done", [[0], 0], 0]]) == sequence[1:]
    assert unpack_calls(packed[:1]) == sequence[:1]


def test_schedules_of_the_same_calls_are_told_apart() -> None:
    one = Call("Progress", (None, 0, 1))
    several = [one, one._replace(switches=(1,)), one._replace(switches=(2,)), one._replace(thread=1)]

    assert len({digest([call], CALLBACK) for call in several}) == 4


# --- campaigns ------------------------------------------------------------------------------------------------


def search(folder: Path, seed: int, spec: str = LOCK_ORDER, runs: int = 100) -> Summary:
    options = CampaignOptions(seed=seed, threads=2, max_runs=runs, max_time=None, exit_first=True)
    return Campaign(spec, options=options, folder=folder).run()


def test_a_deadlock_is_found_and_left_with_one_switch(tmp_path: Path) -> None:
    summary = search(tmp_path, seed=1)
    (found,) = summary.found

    assert (found.finding.code, found.scheduled, found.flaky) == ("X14", True, False)
    assert sorted(call.method for call in found.calls) == ["Error", "Progress"]
    assert (threads_of(found.calls), changes(found.calls)) == ([0, 1], 1)
    (path,) = summary.files.values()
    trace = read_trace(path)
    assert trace.header.scheduled and list(trace.calls) == found.calls
    kept = read_finding(path)
    assert (kept.scheduled, kept.calls, kept.original) == (True, found.calls, found.original)
    with Isolated(LOCK_ORDER, CALLBACK) as player:
        assert "deadlock" in {seen.kind for seen in player.play(trace).observations}
        alone = Trace.from_calls(call._replace(switches=()) for call in found.calls)
        assert not player.play(alone).observations


def test_a_scheduled_trace_is_minimised() -> None:
    error, progress = calls('Error(E_FAIL, "one")', "Progress(NULL, 1, 2)")
    schedule = [progress, error._replace(switches=(2,)), progress._replace(thread=1), error._replace(thread=2)]
    made = minimise_trace(Trace.from_calls(schedule, Header(scheduled=True)), LOCK_ORDER).found

    assert made.finding.code == "X14" and not made.flaky
    assert (len(made.calls), threads_of(made.calls), changes(made.calls)) == (2, [0, 1], 1)
    assert len(made.original) == 4 and finding_trace(made, CALLBACK, LOCK_ORDER).header.scheduled


@pytest.mark.parametrize(("spec", "code", "scheduled"), [("waits", "X14", True), ("two_bugs", "X3", False)])
def test_what_is_kept_shows_again_though_one_thread_is_left(
    spec: str, code: str, scheduled: bool, tmp_path: Path
) -> None:
    error, done, progress = calls('Error(S_OK, "")', "Done(NULL, S_OK)", "Progress(NULL, 3, 1)")
    schedule = [error, progress._replace(thread=1, switches=(1,)), done]
    made = minimise_trace(Trace.from_calls(schedule, Header(scheduled=True)), f"targets.{spec}:Host").found
    path = write_finding(made, tmp_path, CALLBACK, f"targets.{spec}:Host")
    trace = read_trace(path)

    assert made.finding.code == code and not is_scheduled(made.calls)
    assert (trace.header.scheduled, read_finding(path).needs_schedule) == (scheduled, scheduled)
    with Isolated(f"targets.{spec}:Host", CALLBACK) as player:
        assert code in {finding.code for finding in Judge.of(trace).findings(player.play(trace))}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_campaign(tmp_path: Path) -> None:
    one, other = (search(tmp_path / name, seed=1) for name in ("a", "b"))

    assert [found.calls for found in one.found] == [found.calls for found in other.found]
    assert (one.progress.runs, one.progress.calls) == (other.progress.runs, other.progress.calls)


def test_a_campaign_in_a_folder_keeps_its_schedules(tmp_path: Path) -> None:
    options = CampaignOptions(seed=1, threads=2, max_runs=40, max_time=None)
    program = [Call("Error", (-1, ""), 0, 0, (2,)), Call("Progress", (None, 0, 1), 1)]
    program += [Call("AddRef", (), 1, 0, (1,)), Call("Release", (), 1)]
    with CampaignFolder.create(tmp_path / "c", LOCK_ORDER, (), options, CALLBACK) as store:
        from fuzz.search import Played
        from fuzz.worker import pack_kept

        fresh = pack_kept(Kept(program, ["nest"], 0, ["hand-over x"]))
        store.keep(Played(0, Level.HOSTILE, 1, fresh=[fresh]))
    with CampaignFolder.open(tmp_path / "c", pytest.fail) as store:
        assert store.options.threads == 2
        assert [unpack_calls(entry[0]) for entry in store.fresh] == [program]


@pytest.mark.slow
@pytest.mark.native
def test_a_race_in_native_code_is_found_and_left_with_one_switch(
    library: Callable[[str], Path], tmp_path: Path
) -> None:
    if not can_step():
        pytest.skip("no steps of native code")
    summary = search(tmp_path, seed=1, spec=f"{library('closes_in_a_race')}:create", runs=3000)
    (found,) = summary.found

    assert (found.finding.code, found.finding.method, found.flaky) == ("H14", "Done", False)
    assert [call.method for call in found.calls] == ["Done", "Done"]
    assert (threads_of(found.calls), changes(found.calls)) == ([0, 1], 1)


# --- the command ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", LOCK_ORDER, "--threads", "2", "--cover", "json"], "--cover guides the search"),
        (["--target", LOCK_ORDER, "--threads", "5"], "not in the range 1<=x<=4"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(options: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(fuzz, [*options, "--findings", str(tmp_path / "f"), "--max-runs", "1"])

    assert result.exit_code == 2 and said in result.output
    assert not (tmp_path / "f").exists()
