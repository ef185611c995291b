"""A sequence of calls as lanes: one for each thread, the calls in their order from left to right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from fuzz.markup import Element, element

__all__ = ["BOX", "CHARACTER", "LaneCall", "call_box", "swim_lanes"]

CHARACTER, BOX = 7.3, 32  # px: of a text's width, and a box's height
_LANE = 74  # its height
_GAP = 14


@dataclass(frozen=True, slots=True)
class LaneCall:
    """A call as it is drawn: its number, lane, method, what came of it in a word, and how that is to be taken.

    `kind` is "good", "failed" (it answered a failure), "bad" (an exception, a crash ...) or "idle" (not run).
    `tip` is what is shown when it is pointed at, `row` the id of the element that tells all of it.
    """

    number: int
    thread: int
    method: str
    answer: str
    kind: str
    failing: bool
    tip: str
    row: str


def swim_lanes(calls: Sequence[LaneCall], names: Sequence[str]) -> Element:
    """The lanes as SVG, in natural size; `names` are those of the threads by number."""
    threads = sorted({call.thread for call in calls})
    titles = [names[t] if t < len(names) and names[t] else f"thread {t}" for t in threads]
    head = max(cell_len(title) for title in titles) * CHARACTER + 26
    box = max(
        64.0,
        max(min(max(cell_len(c.method) + 2 * c.failing, cell_len(c.answer)), 24) for c in calls) * CHARACTER + 20,
    )
    width, height = head + len(calls) * (box + _GAP) + _GAP, len(threads) * _LANE + 6
    lanes = [
        element(
            "g",
            element("rect", x=0, y=n * _LANE + 3, width=float(width), height=_LANE - 4, rx=6),
            element("text", title, x=12, y=n * _LANE + 3 + _LANE / 2),
            class_="lane",
        )
        for n, title in enumerate(titles)
    ]
    centers: list[tuple[float, float]] = []
    boxes = []
    for at, call in enumerate(calls):
        x, y = head + _GAP + at * (box + _GAP), threads.index(call.thread) * _LANE + 11.0
        centers.append((x, y + BOX / 2))
        boxes.append(call_box(call, x, y, box, 24, middle=True))
    order = "".join(
        f"M{x + box:.1f} {y:.1f}L{x2:.1f} {y2:.1f}" for (x, y), (x2, y2) in itertools.pairwise(centers)
    )
    return element(
        "svg",
        lanes,
        element("path", d=order, class_="order") if order else None,
        boxes,
        viewBox=f"0 0 {width:.0f} {height}",
        width=f"{width:.0f}",
        height=height,
        role="group",
        aria_label=f"{len(calls)} calls on {len(threads)} thread{'s' * (len(threads) > 1)}",
        class_="lanes",
    )


def call_box(
    call: LaneCall,
    x: float,
    y: float,
    width: float,
    cells: int,
    *,
    middle: bool = False,
    waits: Sequence[Element] = (),
) -> Element:
    """A call's box with its method, and its answer below; texts are cut to `cells`.  `waits` lie in the box."""
    mark = "✗ " if call.failing else ""
    label = f"call {call.number}, {call.method}, {call.answer}{', the failing one' if call.failing else ''}"
    left, anchor = (x + width / 2, "middle") if middle else (x + 8, None)
    return element(
        "g",
        element("rect", x=x, y=y, width=width, height=BOX, rx=6),
        waits,
        element("text", mark + _cut(call.method, cells), x=left, y=y + 21, text_anchor=anchor),
        element("text", _cut(call.answer, cells), x=left, y=y + BOX + 14, class_="answer", text_anchor=anchor),
        class_=f"call {call.kind}{' failing' if call.failing else ''}",
        tabindex=0,
        role="button",
        aria_label=label,
        data_tip=call.tip,
        data_row=call.row,
    )


def _cut(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1) + "…"
