"""A campaign over time: what is kept of it, and how little of a long one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from fuzz.history import History
from fuzz.progress import Progress, Summary


def campaign(seconds: float, *, step: float, news_every: int) -> Iterator[Progress]:
    """Progress after each batch of a campaign of so many seconds, something new in each `news_every`th."""
    progress = Progress()
    for number in range(int(seconds / step)):
        progress.seconds = number * step
        progress.runs += 250
        progress.kept += number % news_every == 0
        progress.note()
        yield progress


def test_a_snapshot_is_plain_values_under_the_names_of_the_json_report() -> None:
    progress = Progress(runs=10, calls=70, kept=3, corpus=2, failures=1, seconds=1.23456, last_new=0.5)
    snapshot = json.loads(json.dumps(progress.snapshot()))
    assert {key: snapshot[key] for key in ("seconds", "traces", "runs", "new", "failures")} == {
        "seconds": 1.235,
        "traces": 2,
        "runs": 10,
        "new": 3,
        "failures": 1,
    }


def test_what_is_new_is_kept_and_what_is_not_only_now_and_then() -> None:
    progress = Progress()
    for seconds, kept in ((0.0, 0), (0.1, 1), (0.3, 1), (1.0, 1), (1.5, 2), (3.0, 2), (7.0, 2)):
        progress.seconds, progress.kept = seconds, kept
        progress.note()
    assert [(s["seconds"], s["new"]) for s in progress.history.snapshots] == [(0, 0), (0.3, 1), (1.5, 2), (7, 2)]


def test_the_summary_ends_with_how_it_ended() -> None:
    progress = Progress()
    progress.note()
    progress.seconds, progress.runs = 0.05, 250
    progress.note()
    summary = Summary(progress, [], "time")
    assert [s["runs"] for s in summary.history] == [0, 250]
    assert summary.history == summary.history


def test_days_take_hardly_more_than_minutes_and_never_more_than_the_bound() -> None:
    *_, minutes = campaign(600, step=0.05, news_every=1)
    *_, days = campaign(5 * 86_400, step=20, news_every=1)
    assert 150 < len(minutes.history.snapshots) <= 400
    assert 150 < len(days.history.snapshots) <= 400
    for progress in (minutes, days):
        seconds = [s["seconds"] for s in progress.history.snapshots]
        assert seconds == sorted(set(seconds)) and seconds[0] == 0
        assert max(b - a for a, b in itertools.pairwise(seconds)) < progress.seconds / 10


def test_thinning_keeps_the_first_and_the_last() -> None:
    history = History(most=8)
    for number in range(200):
        history.note({"seconds": float(number * number), "new": number})
        assert len(history.snapshots) <= 8
        assert history.snapshots[0]["new"] == 0
    assert history.snapshots[-1]["new"] > 100
