"""Calls that met, as lanes: one for each thread, time from left to right, and an arrow where another goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rich.cells import cell_len

from fuzz.markup import Element, element
from fuzz.swim_lanes import BOX, CHARACTER, LaneCall, call_box
from recorder.report_files import shown
from replayer.lanes import Lanes, Moment, Turn, switch_words

__all__ = ["schedule_lanes", "switch_list"]

_COLUMN = 92.0  # px, from moment to moment
_EDGE = 8.0  # a box begins so much behind its moment, and ends so much before
_LEVEL = 54.0  # from a call down to one that is nested in it


def schedule_lanes(lanes: Lanes, calls: Mapping[int, LaneCall]) -> Element:
    """The lanes as SVG, in natural size: a box from each call's enter to its leave, pale where it waits meanwhile.

    `calls` says by number how they are drawn.
    """
    deepest = {thread: max(_depths(lanes, thread)) for thread in lanes.threads}
    tops, height = {}, 3.0
    for thread in lanes.threads:
        tops[thread] = height
        height += 22 + _LEVEL * (deepest[thread] + 1)
    titles = {thread: f"thread {thread}" for thread in lanes.threads}
    head = max(cell_len(title) for title in titles.values()) * CHARACTER + 26
    width = head + len(lanes.moments) * _COLUMN + 2 * _EDGE
    places = {number: _Place(lanes, number, head, tops) for number in calls if _entered(lanes, number)}
    switches = [(n, m) for n, m in enumerate(lanes.moments) if m.turn is Turn.SWITCH]
    return element(
        "svg",
        [
            element(
                "g",
                element(
                    "rect", x=0, y=tops[thread], width=width, height=18 + _LEVEL * (deepest[thread] + 1), rx=6
                ),
                element("text", titles[thread], x=12, y=tops[thread] + 29),
                class_="lane",
            )
            for thread in lanes.threads
        ],
        [_box(calls[number], place) for number, place in places.items()],
        [
            _switch(number, moment, head + at * _COLUMN, tops)
            for number, (at, moment) in enumerate(switches, 1)
            if moment.to in tops
        ],
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="group",
        aria_label=f"{len(places)} calls on {len(lanes.threads)} threads, {_switches(len(switches))}",
        class_="lanes",
    )


def switch_list(lanes: Lanes) -> Element | None:
    """Where which thread gave way, with the line of the target's source."""
    items = []
    for moment in lanes.switches:
        thread = f"t{moment.thread}" + (f", call {moment.call}," if moment.call >= 0 else "")
        code = element("code", shown(moment.code, 200)) if moment.code else None
        items.append(element("li", f"{thread} {switch_words(replace(moment, code=''))}", code))
    return element("ol", items, class_="switches") if items else None


def _switches(count: int) -> str:
    return f"{count} switch{'es' * (count != 1)}"


def _depths(lanes: Lanes, thread: int) -> list[int]:
    return [0, *(m.depth for m in lanes.moments if m.thread == thread and m.turn is Turn.ENTER)]


def _entered(lanes: Lanes, number: int) -> bool:
    return any(m.call == number and m.turn is Turn.ENTER for m in lanes.moments)


class _Place:
    """Where a call's box is, and the pieces of it in which it waits for its turn."""

    def __init__(self, lanes: Lanes, number: int, head: float, tops: Mapping[int, float]):
        at = {m.turn: n for n, m in enumerate(lanes.moments) if m.call == number and m.turn is not Turn.SWITCH}
        first, last = at[Turn.ENTER], at.get(Turn.LEAVE, len(lanes.moments))
        enter = lanes.moments[first]
        self.x = head + first * _COLUMN + _EDGE
        self.y = tops[enter.thread] + 8 + _LEVEL * enter.depth
        self.width = (last - first) * _COLUMN - _EDGE
        self.waits: list[tuple[float, float]] = []
        for n in range(first, min(last, len(lanes.moments) - 1)):
            moment, following = lanes.moments[n], lanes.moments[n + 1]
            runs = moment.to if moment.turn is Turn.SWITCH else following.thread
            if runs != enter.thread:
                start = max(head + n * _COLUMN, self.x)
                self.waits.append((start, min(head + (n + 1) * _COLUMN, self.x + self.width) - start))


def _box(call: LaneCall, place: _Place) -> Element:
    waits = [element("rect", x=x, y=place.y + 2, width=w, height=BOX - 4, class_="waits") for x, w in place.waits]
    room = max(int((place.width - 12) / CHARACTER), 4)
    return call_box(call, place.x, place.y, place.width, room, waits=waits)


def _switch(number: int, moment: Moment, x: float, tops: Mapping[int, float]) -> Element:
    """An arrow from where the thread gives way to the lane that goes on, with its number in the list."""
    box, other = tops[moment.thread] + 8 + _LEVEL * moment.depth, tops[moment.to] + 8
    down = other > box
    start, end = (box + BOX, other) if down else (box, other + BOX)
    tip = 5 if down else -5
    return element(
        "g",
        element("title", f"t{moment.thread} {switch_words(moment)}"),
        element("path", d=f"M{x:.1f} {start:.1f}V{end:.1f}m-4 {-tip}l4 {tip}l4 {-tip}"),
        element("circle", cx=x, cy=start, r=8.0),
        element("text", str(number), x=x, y=start + 4, text_anchor="middle"),
        class_="switch",
    )
