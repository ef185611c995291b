"""Line charts of a campaign over time, as SVG; what its points are is in the drawing, for a script to show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from fuzz.markup import Element, element

__all__ = ["chart", "duration", "short"]

Point = tuple[float, float]  # seconds, value

_WIDTH, _HEIGHT = 380, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 12, 24
_DRAWN = 600  # points


def chart(title: str, points: Sequence[Point], *, told: str, rate: bool = False) -> Element:
    """A figure with a line through the points, from the left edge at 0 seconds; `told` is what it comes to.

    A count stays what it is until the next point; a `rate` is drawn straight from point to point.
    """
    points = _thinned(points)
    end = max(points[-1][0], 1e-3)
    steps = _steps(max(value for _, value in points))
    top = steps[-1]

    def place(point: Point) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * point[0] / end
        return x, _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * point[1] / top

    placed = [place(point) for point in points]
    line = _path(placed, rate)
    base = _HEIGHT - _BOTTOM
    area = f"{line}L{placed[-1][0]:.1f} {base}L{placed[0][0]:.1f} {base}Z"
    label = f"{title}: {told}, after {duration(points[-1][0])}"
    drawing = element(
        "svg",
        element("title", f"{label}. Left and right arrows go through the values."),
        element("g", list(_grid(steps, end, place)), class_="grid"),
        element("path", d=area, class_="area"),
        element("path", d=line, class_="line"),
        element("g", element("line", y1=_TOP, y2=base), element("circle", r=4), class_="cursor"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        tabindex=0,
        aria_label=label,
        class_="chart",
        data_points=json.dumps([[round(x, 3), round(y, 3)] for x, y in points]),
        data_places=json.dumps([[round(x, 1), round(y, 1)] for x, y in placed]),
    )
    caption = element(
        "figcaption",
        element("strong", title),
        element("output", told, data_told=told),
    )
    return element("figure", caption, drawing)


def _grid(steps: Sequence[float], end: float, place: object) -> Iterator[Element]:
    assert callable(place)
    for value in steps:
        _, y = place((0.0, value))
        yield element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=float(y), y2=float(y))
        yield element("text", short(value), x=_LEFT - 6, y=float(y) + 4, text_anchor="end")
    for second in _times(end):
        x, _ = place((second, 0.0))
        anchor = "end" if x > _WIDTH - 30 else "middle"
        yield element("text", duration(second), x=float(x), y=_HEIGHT - 6, text_anchor=anchor)


def _path(placed: Sequence[tuple[float, float]], straight: bool) -> str:
    parts = [f"M{placed[0][0]:.1f} {placed[0][1]:.1f}"]
    for x, y in placed[1:]:
        parts.append(f"L{x:.1f} {y:.1f}" if straight else f"H{x:.1f}V{y:.1f}")
    return "".join(parts)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At least two points, from 0 seconds on, and no more than can be told apart."""
    kept = [*points]
    if not kept or kept[0][0] > 0:
        kept.insert(0, (0.0, 0.0 if not kept else min(kept[0][1], 0.0)))
    if len(kept) > _DRAWN:
        step = len(kept) / (_DRAWN - 1)
        kept = [kept[int(number * step)] for number in range(_DRAWN - 1)] + [kept[-1]]
    return kept if len(kept) > 1 else [*kept, kept[0]]


def _steps(highest: float) -> list[float]:
    """Round values from 0 to at least the highest, for lines to read a value by."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    if highest >= 1 and step < 1:
        step = 1.0
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _times(end: float) -> list[float]:
    units = (0.001, 0.01, 0.1, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((unit for unit in units if end / unit <= 5), math.ceil(end / 86400 / 5) * 86400)
    return [step * number for number in range(int(end / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number in few characters: `950`, `12.5k`, `3.1M`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            divided = value / (1e3 if unit == "k" else limit)
            return f"{divided:.4g}{unit}"
    return f"{value:.4g}" if value != int(value) else f"{int(value):,}"


def duration(seconds: float) -> str:
    """`0.5 s`, `1:05`, `2:01:05`, `3d 2:01`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}:{minute:02d}"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"
