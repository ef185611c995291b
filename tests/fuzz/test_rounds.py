"""Rounds in a process that keeps its children between them: told what is new, and what to do without."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sequences import GOOD, trace

from fuzz import cluster, rounds
from fuzz.pool import Batches, Knowledge, level_of_batch
from fuzz.progress import CampaignOptions
from fuzz.rounds import Answer, Round, end_campaign, play_round
from fuzz.search import Known, Played, SearchPlan, search_plan
from recorder.contract import Level
from recorder.errors import SynctapeError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK

SIZE = 30  # small enough to be the size of the first ones, too


def plan(name: str, timeout: float = 1.0) -> SearchPlan:
    options = CampaignOptions(seed=3, batch=SIZE, timeout=timeout)
    return search_plan(f"targets.{name}:Host", CALLBACK, [("good", trace(*GOOD))], options)


@pytest.fixture
def campaign() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    end_campaign(name)


def asked(campaign: str, numbers: range, **changed: object) -> Round:
    batches = [(number, level_of_batch(Level.HOSTILE, number)) for number in numbers]
    return replace(Round(campaign, 0, batches, None, 60.0, Known()), **changed)  # type: ignore[arg-type]


def sequences(answer: Answer) -> int:
    return sum(played.sequences for played in answer.played)


def test_a_process_that_knows_nothing_says_so_and_is_told_all(campaign: str) -> None:
    assert play_round(asked(campaign, range(2))) == Answer(again=True)
    first = play_round(asked(campaign, range(2), plan=plan("clean")))
    assert sequences(first) == 2 * SIZE and not first.again and first.knows == 0
    fresh = [entry for played in first.played for entry in played.fresh]
    assert play_round(asked(campaign, range(2, 3), first=len(fresh))) == Answer(again=True, knows=0)
    second = play_round(asked(campaign, range(2, 3), known=Known(fresh)))
    assert second.knows == len(fresh) and sequences(second) == SIZE
    third = play_round(asked(campaign, range(3, 4), first=len(fresh)))
    assert third.knows == len(fresh) and not third.again


def test_its_child_stays_from_round_to_round_and_ends_with_the_campaign(campaign: str) -> None:
    play_round(asked(campaign, range(1), plan=plan("clean")))
    (kept,) = [slot for key, slot in rounds._slots.items() if key[0] == campaign]
    play_round(asked(campaign, range(1, 2)))
    assert [slot for key, slot in rounds._slots.items() if key[0] == campaign] == [kept]
    end_campaign(campaign)
    assert play_round(asked(campaign, range(2, 3))).again


def test_a_child_of_which_nothing_is_asked_for_long_is_ended(
    campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked was killed."""
    monkeypatch.setattr(rounds, "_IDLE_SECONDS", 0.2)
    play_round(asked(campaign, range(1), plan=plan("clean")))
    deadline = time.monotonic() + 30
    while any(key[0] == campaign for key in rounds._slots) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert play_round(asked(campaign, range(1, 2))).again


def test_a_round_has_its_time_and_its_most_sequences(campaign: str) -> None:
    bounded = play_round(asked(campaign, range(9), most=SIZE + 7, plan=plan("clean")))
    assert sequences(bounded) == SIZE + 7
    assert sequences(play_round(asked(campaign, range(9), seconds=0.0))) == 0


def test_a_hang_ends_a_round_so_that_others_learn_of_it(campaign: str) -> None:
    hanging = replace(plan("waits", timeout=0.2), seeds=[[("Error", (-1, "gone"), 0), ("Done", (None, 0), 0)]])
    answer = play_round(asked(campaign, range(50), plan=hanging))
    assert [death.hung for played in answer.played for death in played.deaths] == [True]
    assert sequences(answer) < 50 * SIZE


def test_a_target_that_is_not_there_is_refused_with_the_reason(campaign: str) -> None:
    answer = play_round(asked(campaign, range(1), plan=plan("nowhere")))
    assert not answer.played and "no module 'targets.nowhere'" in answer.refused
    assert play_round(asked(campaign, range(1))).again, "it keeps nothing of it"


def test_slots_search_at_once(campaign: str) -> None:
    answers: list[Answer] = []

    def play(slot: int) -> None:
        answers.append(play_round(asked(campaign, range(slot, slot + 1), slot=slot, plan=plan("clean"))))

    threads = [threading.Thread(target=play, args=(slot,)) for slot in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sequences(answer) for answer in answers] == [SIZE] * 3


# --- as they are sent -----------------------------------------------------------------------------------------


def test_a_round_and_its_answer_travel_as_bytes(campaign: str) -> None:
    packed = pickle.dumps(asked(campaign, range(1), plan=plan("clean")))
    answer = pickle.loads(cluster._travelling("play_packed")(cluster._version(), packed))
    assert sequences(answer) == SIZE
    cluster._travelling("end_packed")(campaign)
    assert play_round(asked(campaign, range(1))).again


def test_another_version_is_told_before_anything_of_it_is_read() -> None:
    answer = pickle.loads(cluster.play_packed("0.0.1", b"what another version means"))
    assert "the campaign 0.0.1" in answer.refused


def test_a_worker_without_synctape_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    call = cluster._travelling("play_packed")
    monkeypatch.setitem(sys.modules, "fuzz.cluster", None)
    assert "synctape is not installed there" in call("0.1", b"")


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SynctapeError, match=r"pip install 'synctape\[cluster\]'"):
        cluster._connected("tcp://127.0.0.1:1").__enter__()


# --- on a cluster that is only played -------------------------------------------------------------------------


class FakeClient:
    """Stands for Dask's: workers by name with their threads; what is sent to "mute" ones is never answered."""

    def __init__(self, threads: dict[str, int]):
        self.threads = threads
        self.status = "running"
        self.scheduler = SimpleNamespace(ncores=None)
        self.sent: list[str] = []

    def sync(self, ask: object, **options: object) -> dict[str, int]:
        return dict(self.threads) if ask is None else {}

    def submit(
        self, task: Callable[..., bytes], *arguments: object, workers: list[str], **options: object
    ) -> object:
        self.sent += workers
        future: Future[bytes] = Future()
        if workers != ["mute"]:
            future.set_result(task(*arguments))
        return FakeFuture(future)


class FakeFuture:
    def __init__(self, future: Future[bytes]):
        self._future = future
        self.result, self.done, self.cancel = future.result, future.done, future.cancel
        self.add_done_callback = future.add_done_callback

    @property
    def status(self) -> str:
        return "cancelled" if self._future.cancelled() else "finished"


def searched(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, said: list[str] | None = None, **changed: object
) -> list[Played]:
    """What a campaign on these workers plays."""
    monkeypatch.setattr(cluster, "_connected", lambda address: contextlib.nullcontext(client))
    options = CampaignOptions(seed=3, batch=SIZE, timeout=0.2, **changed)  # type: ignore[arg-type]
    knowledge = Knowledge(Known)
    batches = Batches(options, knowledge, lambda: None)
    made = replace(plan("clean"), options=options)
    with cluster.Cluster(
        made, batches, knowledge, "tcp://x:1", said.append if said is not None else print
    ) as pool:
        played = [part for part in pool if part]
    end_campaign(pool._campaign)
    return played


def test_each_thread_of_a_worker_plays_and_all_that_may_be_played_is(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient({"one": 1, "two": 2})
    played = searched(client, monkeypatch, max_runs=7 * SIZE + 3)
    assert sum(part.sequences for part in played) == 7 * SIZE + 3
    assert set(client.sent) == {"one", "two"}
    numbers = [part.number for part in played]
    assert len(set(numbers)) == len(numbers)


def test_a_cluster_without_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_WORKER_SECONDS", 0.3)
    with pytest.raises(cluster.ClusterError, match=r"tcp://x:1: has had no workers for 0\.3 s"):
        searched(FakeClient({}), monkeypatch, max_runs=100)


def test_a_worker_that_does_not_answer_is_left_out_and_its_part_played_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_LATE_SECONDS", 0.0)
    monkeypatch.setattr(cluster, "_ROUND_SECONDS", 0.4)
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.1)
    said: list[str] = []
    played = searched(FakeClient({"mute": 1, "other": 1}), monkeypatch, said, max_runs=6 * SIZE)
    assert sum(part.sequences for part in played) == 6 * SIZE
    assert said == ["worker mute is left out: it does not answer"]


def test_a_scheduler_that_is_gone_for_long_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.3)
    client = FakeClient({"one": 1})
    client.status = "connecting"
    with pytest.raises(cluster.ClusterError, match="its scheduler is gone"):
        searched(client, monkeypatch, max_runs=100)
