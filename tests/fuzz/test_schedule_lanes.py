"""Calls that met, drawn: boxes from enter to leave, pale where a thread waits, arrows where another goes on."""

from __future__ import annotations

import re
from dataclasses import replace

from campaigns import found_scheduled, report

from fuzz.html_report import to_html
from fuzz.markup import Element
from fuzz.schedule_lanes import schedule_lanes, switch_list
from fuzz.swim_lanes import LaneCall
from replayer.lanes import Lanes, Moment, Turn

SWITCH = Moment(Turn.SWITCH, 0, 0, 0, 1, 4, "gauge.py:2 in Progress", "self.done < 1", "change")
MET = Lanes(
    (0, 1),
    (
        Moment(Turn.ENTER, 0, 0),
        SWITCH,
        Moment(Turn.ENTER, 1, 1),
        Moment(Turn.LEAVE, 1, 1),
        Moment(Turn.LEAVE, 0, 0),
    ),
)


def call(number: int, thread: int = 0, *, failing: bool = False) -> LaneCall:
    return LaneCall(number, thread, "Progress", "S_OK", "good", failing, f"tip {number}", f"row-{number}")


def picture(lanes: Lanes) -> Element:
    numbers = {m.call for m in lanes.moments}
    return schedule_lanes(lanes, {n: call(n, failing=n == 1) for n in numbers})


def boxes(svg: Element) -> list[Element]:
    return [group for group in svg.iter("g") if (group.get("class") or "").startswith("call")]


def edges(rect: Element | None) -> tuple[float, float, float]:
    assert rect is not None
    x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
    return x, x + float(rect.get("width", 0)), y


def test_a_call_s_box_goes_around_what_happened_before_it_ended() -> None:
    outer, inner = (edges(group.find("rect")) for group in boxes(picture(MET)))
    assert outer[0] < inner[0] < inner[1] < outer[1]
    assert outer[2] < inner[2]  # the second thread's lane is below the first's


def test_where_it_waits_for_its_turn_it_is_pale() -> None:
    svg = picture(MET)
    outer, inner = boxes(svg)
    switch = next(group for group in svg.iter("g") if group.get("class") == "switch")
    circle = switch.find("circle")
    assert circle is not None
    at = float(circle.get("cx", 0))
    pale = [edges(rect)[:2] for rect in outer.findall("rect[@class='waits']")]
    assert round(pale[0][0]) == round(at)
    assert sum(end - start for start, end in pale) < edges(outer.find("rect"))[1] - at
    assert not inner.findall("rect[@class='waits']")


def test_a_switch_is_an_arrow_that_says_what_it_is() -> None:
    (switch,) = [group for group in picture(MET).iter("g") if group.get("class") == "switch"]
    assert switch.findtext("title") == ("t0 gives way to t1 before step 4, gauge.py:2 in Progress: self.done < 1")
    assert switch.findtext("text") == "1"
    items = switch_list(MET)
    assert items is not None
    assert [(item.text, item.findtext("code")) for item in items] == [
        ("t0, call 0, gives way to t1 before step 4, gauge.py:2 in Progress", "self.done < 1")
    ]


def test_a_nested_call_is_drawn_below_the_one_around_it_and_one_without_an_end_goes_on() -> None:
    moments = (Moment(Turn.ENTER, 0, 0), Moment(Turn.ENTER, 0, 1, 1), Moment(Turn.LEAVE, 0, 1, 1))
    svg = picture(Lanes((0,), moments))
    outer, inner = (edges(group.find("rect")) for group in boxes(svg))
    assert outer[2] < inner[2] and outer[1] > inner[1]
    assert outer[1] <= float(svg.get("width", 0))


def test_a_call_of_a_deadlock_never_ended() -> None:
    failing = found_scheduled()
    assert failing.run is not None
    trace = failing.run.trace
    failing.run = replace(failing.run, trace=replace(trace, events=trace.events[:2]))
    page = to_html(report(failing))
    assert 'aria-label="call 1, Done, never ended, the failing one"' in page
    assert 'aria-label="call 0, Progress, never ended"' in page


def test_of_threads_that_change_places_for_long_the_start_and_the_end_are_drawn() -> None:
    failing = found_scheduled()
    assert failing.run is not None
    between = failing.run.schedule[0]
    turns = (between, between._replace(call=1, to=0, why="blocked"))
    failing.run = replace(failing.run, schedule=turns * 500)
    page = to_html(report(failing))
    assert 40 < page.count('class="switch"') < 80 and " enters, leaves and switches between these" in page


def test_the_report_of_a_campaign_draws_a_failure_s_schedule() -> None:
    page = to_html(report(found_scheduled()))
    assert page.count('class="switch"') == 1 and 'aria-label="2 calls on 2 threads, 1 switch"' in page
    assert re.search(
        r'<ol class="switches"><li>t0, call 0, gives way .*<code>self.done &lt; 1</code></li></ol>', page
    )
    assert 'aria-label="call 1, Done, S_OK, the failing one"' in page
