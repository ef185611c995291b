"""A searching child: what it gives is a value, the same for the same request, whatever ended before."""

from __future__ import annotations

import pickle

import pytest
from sequences import GOOD, trace

from fuzz.progress import CampaignOptions
from fuzz.schedule import Kept
from fuzz.search import Known, Played, Searcher, SearchPlan, search_plan
from fuzz.worker import pack_kept
from recorder.calls import Call
from recorder.contract import Level
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from replayer.target import TargetError

SIZE = 32  # of a first batch


def plan(name: str) -> SearchPlan:
    options = CampaignOptions(seed=3, batch=SIZE, timeout=1.0)
    return search_plan(f"targets.{name}:Host", CALLBACK, [("good", trace(*GOOD)), ("empty", trace())], options)


def play(searcher: Searcher, number: int = 0, known: Known | None = None) -> list[Played]:
    """A whole batch, in as many parts as it takes."""
    parts, start = [], 0
    while start < SIZE:
        parts.append(searcher.play(number, Level.HOSTILE, start, SIZE, known or Known()))
        assert parts[-1].next > start
        start = parts[-1].next
    return parts


def test_what_a_batch_gives_can_travel() -> None:
    with Searcher(pickle.loads(pickle.dumps(plan("two_bugs")))) as searcher:
        (played,) = play(searcher)
    assert played.runs == SIZE and played.calls > SIZE and played.fresh and played.suspects and not played.deaths
    assert pickle.loads(pickle.dumps(played)) == played


def test_two_searchers_give_the_same_for_the_same_request() -> None:
    with Searcher(plan("clean")) as one, Searcher(plan("clean")) as other:
        (first,) = play(one)
        known = Known(first.fresh)
        play(one, 1, known)
        assert play(one, 5, known)[0].applied == play(other, 5, known)[0].applied
        assert not play(other, 5, known)[0].fresh, "what is known is not new"


def test_a_schedule_that_was_kept_is_built_on_call_by_call() -> None:
    alone = [Call("Error", (-1, "")), Call("Progress", ("x", 3, 1))]
    scheduled = [Call("AddRef"), alone[0]._replace(switches=(2,)), alone[1]._replace(thread=1), Call("Release")]
    with Searcher(plan("two_bugs")) as one, Searcher(plan("two_bugs")) as other:
        first, second = (
            play(searcher, 1, Known([pack_kept(Kept(calls, []))]))
            for searcher, calls in ((one, alone), (other, scheduled))
        )
    assert first == second and first[0].suspects


def test_a_death_ends_a_part_and_its_calls_are_told() -> None:
    with Searcher(plan("segfaults")) as searcher:
        parts = play(searcher)
    deaths = [death for part in parts for death in part.deaths]
    assert deaths and all(len(part.deaths) <= 1 for part in parts) and parts[0].deaths
    assert sum(part.runs for part in parts) + len(deaths) == SIZE
    told = [death for death in deaths if death.calls]
    assert told and all("SIGSEGV" in death.signature or "ACCESS_VIOLATION" in death.signature for death in told)


def test_calls_that_kill_are_not_made_once_they_are_known() -> None:
    with Searcher(plan("segfaults")) as searcher:
        killers = [death.calls for part in play(searcher) for death in part.deaths if death.calls]
        assert killers
        deadly = [call for calls in killers for call in calls]
        assert not [death for part in play(searcher, 0, Known(deadly=deadly)) for death in part.deaths]


def test_a_target_that_gives_no_instance_is_refused() -> None:
    with Searcher(plan("factory_fails")) as searcher, pytest.raises(TargetError, match="factory_fails"):
        play(searcher)
