"""Line charts: drawn inside their frame whatever the values, and read back by who points at them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.charts import chart, duration, short
from fuzz.markup import Element


def drawing(figure: Element) -> Element:
    found = figure.find("svg")
    assert found is not None
    return found


def labels(figure: Element) -> list[str]:
    return [text.text or "" for text in figure.iter("text")]


def test_a_chart_says_what_it_shows_in_words_and_numbers() -> None:
    figure = chart("Sites", [(0.0, 0), (1.0, 30), (10.0, 34)], told="34 of 51")
    svg = drawing(figure)
    assert svg.get("aria-label") == "Sites: 34 of 51, after 10 s" and svg.get("tabindex") == "0"
    assert json.loads(svg.get("data-points") or "") == [[0, 0], [1, 30], [10, 34]]
    assert {"0", "10", "20", "30", "40", "0 s", "10 s"} <= set(labels(figure))


def test_a_count_is_drawn_in_steps_and_a_rate_is_not() -> None:
    points = [(0.0, 0.0), (5.0, 7.0), (10.0, 9.0)]
    lines = [
        drawing(chart("x", points, told="", rate=rate)).findall("path")[1].get("d") or "" for rate in (False, True)
    ]
    assert "H" in lines[0] and "V" in lines[0]
    assert re.fullmatch(r"M[\d. ]+(L[\d. ]+)+", lines[1])


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 10**15) | st.floats(0, 1e9)), max_size=30).map(sorted))
def test_whatever_the_values_everything_is_inside_the_frame(points: list[tuple[float, float]]) -> None:
    svg = drawing(chart("x", points, told=""))
    _, _, width, height = map(float, (svg.get("viewBox") or "").split())
    places = json.loads(svg.get("data-places") or "")
    assert len(places) == len(json.loads(svg.get("data-points") or "")) >= 2
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert len(list(svg.iter("text"))) < 30


def test_many_points_are_thinned_to_what_can_be_told_apart_and_the_last_stays() -> None:
    points = [(float(n), n) for n in range(10_000)]
    kept = json.loads(drawing(chart("x", points, told="")).get("data-points") or "")
    assert len(kept) <= 600 and kept[0] == [0, 0] and kept[-1] == [9999, 9999]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (1234, "1,234"), (12_500, "12.5k"), (3.1e6, "3.1M"), (0.25, "0.25")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (59.4, "59.4 s"), (65, "1:05"), (7265, "2:01:05"), (266_460, "3d 2:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
