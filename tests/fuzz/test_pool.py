"""Several searchers at once: no batch is played twice, all is counted, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import GOOD, limits_memory, trace

from fuzz.campaign import Campaign
from fuzz.pool import Alone, Batches, Jobs, Knowledge, Part, cores, level_of_batch
from fuzz.progress import CampaignOptions, Progress, Summary
from fuzz.search import Known, Played, SearchPlan, search_plan
from recorder.contract import Level
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from replayer.target import TargetError

SEED = ("good", trace(*GOOD))
LATER = 9  # a number from which on batches have their full size


def options(**changed: object) -> CampaignOptions:
    fixed = {"seed": 1, "max_time": None, "max_runs": 1500, "timeout": 1.0, "batch": 100, "jobs": 3, **changed}
    return CampaignOptions(**fixed)  # type: ignore[arg-type]


def search(name: str, **changed: object) -> Summary:
    return Campaign(f"targets.{name}:Host", [SEED], options(**changed)).run()


def batches(left: Callable[[], float | None] = lambda: None, **changed: object) -> Batches:
    return Batches(options(**changed), Knowledge(Known), left, first=LATER)


def plan(name: str, **changed: object) -> SearchPlan:
    return search_plan(f"targets.{name}:Host", CALLBACK, [SEED], options(**changed))


def done(part: Part, sequences: int | None = None) -> Played:
    count = part.until - part.batch.start if sequences is None else sequences
    return Played(part.batch.number, part.batch.level, part.until, runs=count)


# --- what is handed out ---------------------------------------------------------------------------------------


def test_numbers_go_up_and_each_is_handed_out_once() -> None:
    given = Batches(options(max_runs=None), Knowledge(Known), lambda: None)
    parts = [given.part() for _ in range(7)]
    assert [part.batch.number for part in parts if part] == [0, 1, 2, 3, 4, 5, 6]
    assert [part.batch.level for part in parts if part] == [level_of_batch(Level.HOSTILE, n) for n in range(7)]
    assert [part.until for part in parts if part] == [32, 64, 100, 100, 100, 100, 100]
    later = Batches(options(max_runs=None), Knowledge(Known), lambda: None, first=7).part()
    assert later and later.batch.number == 7


def test_a_batch_is_gone_on_with_where_a_part_ended() -> None:
    given = batches(max_runs=None)
    part = given.part()
    assert part and (part.batch.start, part.until) == (0, 100)
    played = done(part)
    played.next = 41
    given.played(part, played)
    more = given.part(part.batch)
    assert more and (more.batch.number, more.batch.start, more.until) == (LATER, 41, 100)


def test_no_more_runs_are_handed_out_than_there_may_be_and_what_was_not_played_is_handed_out_again() -> None:
    given = batches(max_runs=150)
    first, second = given.part(), given.part()
    assert first and second and second.until == 50
    given.played(first, done(first, 80))  # 20 were not made: they hold calls that kill
    given.played(second, None)  # whoever had it is gone
    third = given.part(first.batch)
    assert third and third.batch.number == LATER + 2 and third.until == 70
    given.played(third, done(third))
    assert given.part(third.batch) is None


def test_who_asks_while_all_is_handed_out_waits_for_what_comes_of_it() -> None:
    given = batches(max_runs=60)
    part = given.part()
    assert part is not None
    got: list[Part | None] = []
    waiting = threading.Thread(target=lambda: got.append(given.part()))
    waiting.start()
    given.played(part, done(part, 50))
    waiting.join(10)
    assert got[0] is not None and got[0].until == 10


def test_nothing_is_handed_out_when_the_time_is_over_or_it_is_stopped() -> None:
    assert batches(lambda: 0.0).part() is None
    given = batches()
    given.stop()
    assert given.part() is None


def test_a_batch_builds_on_what_was_known_when_it_was_handed_out() -> None:
    knowledge = Knowledge(Known)
    given = Batches(options(), knowledge, lambda: None)
    before = given.part()
    knowledge.learn(Played(0, Level.HOSTILE, 0, fresh=[([], ["drop"])]), 0)
    after = given.part()
    assert before and after and (before.batch.settled, after.batch.settled) == (0, 1)
    assert not knowledge.known(0).fresh and knowledge.known(1).fresh == knowledge.since(0) == [([], ["drop"])]


def test_what_others_have_found_in_the_meantime_is_not_new() -> None:
    def fresh(name: str, *features: str) -> list[object]:
        return [[(name, (), 0)], ["drop"], 0, list(features)]

    def learnt(settled: int, *entries: list[object]) -> list[str]:
        played = Played(0, Level.HOSTILE, 0, fresh=list(entries))
        knowledge.learn(played, settled)
        return [entry[0][0][0] for entry in played.fresh]

    knowledge = Knowledge(Known, [fresh("before", "code 1")])
    assert learnt(1, fresh("first", "code 1", "code 2"), fresh("same", "code 2")) == ["first", "same"]
    assert learnt(1, fresh("late", "code 2"), fresh("more", "code 2", "code 3")) == ["more"]
    assert learnt(1, fresh("unknown")) == ["unknown"], "a native target does not say what it showed"
    assert learnt(5, fresh("alone", "code 1")) == ["alone"], "nobody else has found anything"
    assert [entry[0][0][0] for entry in knowledge.since(1)] == ["first", "same", "more", "unknown", "alone"]


# --- campaigns ------------------------------------------------------------------------------------------------


def test_several_jobs_find_what_one_does_and_count_all_of_it() -> None:
    summary = search("two_bugs", max_runs=900)
    assert {"KeyError", "IndexError"} <= {f.finding.message.partition(":")[0] for f in summary.found}
    progress = summary.progress
    assert summary.stopped == "runs" and progress.runs == 900 == sum(progress.levels.values())
    assert progress.kept and progress.earned and progress.failures == len(summary.found)


def test_deaths_do_not_end_any_of_them() -> None:
    summary = search("crashes_and_raises", max_runs=40)
    assert "X1" in {f.finding.code for f in summary.found}
    assert summary.progress.runs == 40 and summary.progress.deaths > 5


def test_the_search_goes_on_while_a_failure_is_looked_at() -> None:
    waited: list[bool] = []

    def wait(found: object, path: Path | None) -> None:
        """Called while the failure is in hand: batches are handed out all the same."""
        before, deadline = campaign.batches.next, time.monotonic() + 30
        while campaign.batches.next < before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        waited.append(campaign.batches.next >= before + 3)

    changed = options(max_runs=None, max_time=30.0, jobs=2, exit_first=True)
    campaign = Campaign("targets.raises_after_done:Host", [SEED], changed, announce=wait)
    assert campaign.run().stopped == "first failure" and waited == [True]


def test_the_time_ends_all_of_them() -> None:
    started = time.monotonic()
    summary = search("clean", max_time=0.5, max_runs=None)
    assert summary.stopped == "time" and summary.progress.runs and time.monotonic() - started < 20


def test_what_one_finds_new_the_others_build_on() -> None:
    """Of two that play in turn, the second finds less that is new."""
    knowledge = Knowledge(Known)
    new = []
    for _ in range(2):
        given = Batches(options(max_runs=600), knowledge, lambda: None)
        with Alone(plan("clean"), given, knowledge) as alone:
            new.append(sum(len(played.fresh) for played in alone if played))
    assert new[0] > 2 * new[1] and len(knowledge) == sum(new)


def test_the_first_failure_ends_all_of_them() -> None:
    summary = search("bad_hresult", exit_first=True)
    assert summary.stopped == "first failure" and len(summary.found) == 1
    assert not searching()


def searching() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("synctape-search")]


def test_ctrl_c_ends_all_of_them_at_once_and_what_they_had_found_is_counted() -> None:
    """Both hang for a minute when it comes."""
    pressed: list[float] = []

    def press(progress: Progress) -> None:
        if not pressed and progress.runs:
            pressed.append(time.monotonic())
            raise KeyboardInterrupt

    seen = trace('Progress("100% of %s", 1, 2)', "Done(NULL, S_OK)")
    campaign = Campaign("targets.clean:Host", [("seen", seen)], options(max_runs=None, timeout=60.0), watch=press)
    summary = campaign.run()
    assert summary.stopped == "interrupted" and summary.progress.runs and not searching()
    assert time.monotonic() - pressed[0] < 10


def test_a_request_under_way_is_given_up_at_once() -> None:
    knowledge = Knowledge(Known)
    given = Batches(options(max_runs=None, timeout=60.0, batch=20), knowledge, lambda: None)
    jobs = Jobs(plan("hangs_on_text", timeout=60.0), given, knowledge, 2)
    with jobs:
        time.sleep(0.5)  # by now they play, or one of them hangs
        started = time.monotonic()
    assert time.monotonic() - started < 10 and not searching()
    assert all(isinstance(played, Played) for played in jobs.rest())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_searching_process_that_is_killed_is_replaced() -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if len(killed) < 2 and progress.runs > 400 * (len(killed) + 1):
            for pid in workers():
                os.kill(pid, getattr(signal, "SIGKILL"))  # noqa: B009 - Windows has no such signal
                killed.append(pid)

    campaign = Campaign("targets.clean:Host", [SEED], options(max_runs=2000), watch=kill)
    summary = campaign.run()
    assert killed and summary.stopped == "runs" and summary.progress.runs == 2000 and not summary.found


def workers() -> list[int]:
    """Those that search: the first process that was started looks at suspects."""
    return [worker for template in sorted(children(os.getpid()))[1:] for worker in children(template)]


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@limits_memory
@pytest.mark.slow
def test_each_has_the_memory_limit() -> None:
    from recorder.calls import Call, Trace

    long = Trace.from_calls([Call("Progress", ("x" * 70_000, 1, 2)), Call("Done", (None, 0))])
    changed = options(max_runs=100, memory=150, jobs=2)
    summary = Campaign("targets.memory_hog:Host", [("long", long)], changed).run()
    assert [f.finding.code for f in summary.found] == ["X6"] and summary.progress.runs == 100


def test_what_goes_wrong_in_one_of_them_ends_the_campaign() -> None:
    knowledge = Knowledge(Known)
    jobs = Jobs(plan("factory_fails"), Batches(options(), knowledge, lambda: None), knowledge, 2)
    with jobs, pytest.raises(TargetError, match="factory_fails"):
        list(jobs)
    assert not searching()


def test_there_are_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
