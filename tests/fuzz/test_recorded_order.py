"""Recorded orders as schedules: where the baton went, and what came inside other calls."""

from __future__ import annotations

from sequences import recorded

from fuzz.recorded_order import as_schedule
from replayer.player import PlayOptions, play
from replayer.scheduler import HandOver
from replayer.target import load_target


def test_calls_get_change_points_where_they_handed_over() -> None:
    handed = [
        HandOver(-1, 0, "", 1, "blocked"),
        HandOver(0, 3, "host.py:7 in Progress", 1, "woken"),
        HandOver(1, 2, "host.py:9 in Progress", 0, "blocked"),
        HandOver(0, 5, "host.py:8 in Progress", 1, "woken"),
    ]
    calls = as_schedule(recorded("0( 1( 1) 0)"), handed)
    assert [call.switches for call in calls] == [(3, 5), ()]


def test_calls_inside_others_are_made_at_their_occasions() -> None:
    calls = as_schedule(recorded("0( 1( 2( 2) 1) 3( 3) 0)", threads="0000"), ())
    assert [call.switches for call in calls] == [(-2, -1), (-1,), (), ()]


def test_a_thread_lets_others_go_first_that_came_between_its_calls() -> None:
    calls = as_schedule(recorded("0( 0) 1( 1) 2( 2) 3( 3)", threads="2112"), ())
    assert [(call.thread, call.switches) for call in calls] == [(0, ()), (1, ()), (1, ()), (0, (0,))]


def test_the_schedule_gives_the_same_order_again() -> None:
    target = load_target("targets.threads.one_lock:Host")
    lines = {0: "Error(E_FAIL, NULL)", 3: "Error(E_FAIL, NULL)", 5: "Done(sync-event, S_OK)"}
    trace = recorded("0( 1( 1) 2( 2) 3( 0) 4( 3) 4) 5( 5)", lines, threads="010101")
    schedule = as_schedule(trace, play(trace, target).schedule)
    again = play(schedule, target, PlayOptions(concurrent=True)).trace
    assert [event.number for event in again.events] == [event.number for event in trace.events]
