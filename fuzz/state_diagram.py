"""A contract as a diagram: its states in a row, its transitions between them, and how often each was taken.

The row is in the order in which states are reached from the first.  What leads from one to the next is a straight
line, what stays is a loop above, everything else runs below.  Any contract can be drawn: nothing here knows its
states or methods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from fuzz.markup import Element, element
from recorder.contract import Contract
from recorder.interfaces import IUNKNOWN

__all__ = ["Way", "state_diagram", "ways_of"]

_LAST = f"last {IUNKNOWN.methods[2].name}"
_CHARACTER = 7.3  # px
_LINE = 17
_BOX = 38  # height of a state
_LOOP = 34
_PORT = 16  # between two lines that leave a state below


@dataclass(frozen=True, slots=True)
class Way:
    """A transition: from a state by a method to a state; the rule that it breaks, and how often it was taken.

    `count` is None where that was not counted.
    """

    state: str
    method: str
    to: str
    rule: str | None
    count: int | None

    @property
    def kind(self) -> str:
        if self.count is None:
            return "uncounted"
        return "seen" if self.count else "never" if self.rule is None else "unprovoked"

    @property
    def label(self) -> str:
        count = "" if self.count is None else f" {self.count:,}" if self.count else " never"
        return f"{self.method}{f' ({self.rule})' if self.rule else ''}{count}"

    @property
    def told(self) -> str:
        """The same in a sentence."""
        taken = "" if self.count is None else f", taken {self.count:,} times" if self.count else ", never taken"
        broken = f", which breaks {self.rule}" if self.rule else ""
        return f"in state {self.state}, {self.method} leads to {self.to}{broken}{taken}"


def ways_of(contract: Contract, counts: Mapping[tuple[str, str], int]) -> list[Way]:
    """The contract's transitions by state, and the way to the object's end.

    Without counts nothing was counted.  What can only be called when the object is gone is not tried as a rule,
    and left uncounted then.
    """
    gone = contract.released if not any(state == contract.released for state, _ in counts) else None
    ways = [
        Way(state, method, to, rule, counts.get((state, method), 0) if counts and state != gone else None)
        for (state, method), (to, rule) in contract.transitions.items()
    ]
    if contract.released:
        ways += [Way(s, _LAST, contract.released, None, None) for s in sorted(contract.ended)]
    order = list(dict.fromkeys(way.state for way in ways))
    return sorted(ways, key=lambda way: order.index(way.state))


def state_diagram(contract: Contract, ways: Sequence[Way]) -> Element:
    """The diagram as SVG, in its natural size."""
    return _Diagram(contract, ways).drawing()


def _order(contract: Contract, ways: Sequence[Way]) -> list[str]:
    """The states from the first on, nearest first; what cannot be reached by a call comes last."""
    order, waiting = [contract.start], deque([contract.start])
    named = [name for way in ways for name in (way.state, way.to)]
    while waiting:
        state = waiting.popleft()
        for way in ways:
            if way.state == state and way.to not in order:
                order.append(way.to)
                waiting.append(way.to)
    rest = dict.fromkeys([*named, *sorted(contract.ended), *([contract.released] if contract.released else [])])
    return order + [state for state in rest if state not in order]


def _width(texts: Sequence[str]) -> float:
    return max((cell_len(text) * _CHARACTER for text in texts), default=0.0)


class _Diagram:
    def __init__(self, contract: Contract, ways: Sequence[Way]):
        self.contract = contract
        self.states = _order(contract, ways)
        self.groups: dict[tuple[int, int], list[Way]] = {}
        for way in ways:
            pair = (self.states.index(way.state), self.states.index(way.to))
            self.groups.setdefault(pair, []).append(way)
        self.straight = {pair for pair in self.groups if pair[1] == pair[0] + 1}
        self.below = [pair for pair in self.groups if pair[0] != pair[1] and pair not in self.straight]
        self._place()

    def _place(self) -> None:
        """Where each state stands."""
        loops = [self.groups.get((n, n), []) for n in range(len(self.states))]
        self.top = 14 + max(
            (_LOOP + _LINE * len(group) for group in loops if group),
            default=0,
        )
        self.top = max(self.top, 14 + max((_LINE * len(self.groups[p]) for p in self.straight), default=0))
        self.boxes: list[tuple[float, float]] = []  # left edge and width
        x = 16.0
        for number, state in enumerate(self.states):
            ports = sum(number in pair for pair in self.below)
            box = max(_width([state]) + 30, 84, (ports + 1) * _PORT)
            slot = max(box, _width([way.label for way in loops[number]]) + 12)
            self.boxes.append((x + (slot - box) / 2, box))
            x += slot
            between = self.groups.get((number, number + 1), [])
            if number + 1 < len(self.states):
                x += max(_width([way.label for way in between]) + 34, 64)
        self.width = x + 16
        self._lay_below()

    def _lay_below(self) -> None:
        """Give each line below the row a depth at which it meets no other one, and a place at its two states."""
        self.below.sort(key=lambda pair: (abs(pair[1] - pair[0]), min(pair)))
        levels: list[list[tuple[int, int]]] = []
        for pair in self.below:
            low, high = sorted(pair)
            fitting = (lv for lv in levels if all(high <= min(o) or low >= max(o) for o in lv))
            level = next(fitting, None)
            if level is None:
                levels.append([pair])
            else:
                level.append(pair)
        y = self.top + _BOX + 26.0
        self.depth: dict[tuple[int, int], float] = {}
        for level in levels:
            for pair in level:
                self.depth[pair] = y
            y += 18 + _LINE * max(len(self.groups[pair]) for pair in level)
            for pair in level:  # a label wider than its line makes room
                left, right = sorted(self._center(n) for n in pair)
                wide = _width([way.label for way in self.groups[pair]])
                self.width = max(self.width, (left + right + wide) / 2 + 16)
        self.height = y + 6
        self.ports: dict[tuple[tuple[int, int], int], float] = {}
        for number in range(len(self.states)):
            touching = [pair for pair in self.below if number in pair]
            touching.sort(key=lambda pair, n=number: (self._other(pair, n) > n, -self.depth[pair]))  # type: ignore[misc]
            rightward = [p for p in touching if self._other(p, number) > number]
            leftward = [p for p in touching if self._other(p, number) < number]
            ordered = [
                *sorted(leftward, key=lambda p: self.depth[p]),
                *sorted(rightward, key=lambda p: -self.depth[p]),
            ]
            for at, pair in enumerate(ordered):
                self.ports[pair, number] = self._center(number) + (at - (len(ordered) - 1) / 2) * _PORT

    def _other(self, pair: tuple[int, int], number: int) -> int:
        return pair[1] if pair[0] == number else pair[0]

    def _center(self, number: int) -> float:
        left, width = self.boxes[number]
        return left + width / 2

    def drawing(self) -> Element:
        taken = sum(
            count is not None and count > 0 for count in (w.count for g in self.groups.values() for w in g)
        )
        total = sum(map(len, self.groups.values()))
        return element(
            "svg",
            element("title", f"{taken} of {total} transitions were taken; the table below has them all"),
            [self._line(pair, group) for pair, group in self.groups.items()],
            [self._state(number) for number in range(len(self.states))],
            [label for pair, group in self.groups.items() for label in self._labels(pair, group)],
            viewBox=f"0 0 {self.width:.0f} {self.height:.0f}",
            width=f"{self.width:.0f}",
            height=f"{self.height:.0f}",
            role="img",
            class_="states",
        )

    def _state(self, number: int) -> Element:
        state, (left, width) = self.states[number], self.boxes[number]
        kind = "start" if state == self.contract.start else "end" if state in self.contract.ended else ""
        return element(
            "g",
            element("rect", x=left, y=self.top, width=width, height=_BOX, rx=_BOX / 2),
            element("text", state, x=self._center(number), y=self.top + _BOX / 2 + 5, text_anchor="middle"),
            class_=f"state {kind}".rstrip(),
        )

    def _line(self, pair: tuple[int, int], group: Sequence[Way]) -> Element:
        kinds = {way.kind for way in group}
        kind = next(k for k in ("seen", "never", "unprovoked", "uncounted") if k in kinds)
        start, end = pair
        middle = self.top + _BOX / 2
        if start == end:
            c, top = self._center(start), self.top
            d = f"M{c - 16:.1f} {top}C{c - 26:.1f} {top - _LOOP} {c + 26:.1f} {top - _LOOP} {c + 16:.1f} {top - 5}"
            head = _head(c + 16, top, "down")
        elif pair in self.straight:
            left = sum(self.boxes[start])
            right = self.boxes[end][0]
            d = f"M{left:.1f} {middle}H{right - 6:.1f}"
            head = _head(right, middle, "right")
        else:
            x1, x2, y = self.ports[pair, start], self.ports[pair, end], self.depth[pair]
            bottom, turn = self.top + _BOX, 8 if x2 > x1 else -8
            d = (
                f"M{x1:.1f} {bottom}V{y - 8:.1f}Q{x1:.1f} {y:.1f} {x1 + turn:.1f} {y:.1f}"
                f"H{x2 - turn:.1f}Q{x2:.1f} {y:.1f} {x2:.1f} {y - 8:.1f}V{bottom + 6:.1f}"
            )
            head = _head(x2, bottom, "up")
        return element("g", element("path", d=d), element("path", d=head, class_="head"), class_=f"way {kind}")

    def _labels(self, pair: tuple[int, int], group: Sequence[Way]) -> Iterator[Element]:
        start, end = pair
        if start == end:
            x, y = self._center(start), self.top - _LOOP - _LINE * (len(group) - 1) + 2.0
        elif pair in self.straight:
            x = (sum(self.boxes[start]) + self.boxes[end][0]) / 2
            y = self.top + _BOX / 2 - 9 - _LINE * (len(group) - 1)
        else:
            x = (self.ports[pair, start] + self.ports[pair, end]) / 2
            y = self.depth[pair] + 15
        for number, way in enumerate(group):
            told = element("title", way.told)
            at = y + _LINE * number
            yield element("text", told, way.label, x=x, y=at, text_anchor="middle", class_=f"label {way.kind}")


def _head(x: float, y: float, way: str) -> str:
    """An arrow's head whose tip is at a place."""
    if way == "right":
        return f"M{x:.1f} {y:.1f}l-9 -5v10Z"
    back = 9 if way == "up" else -9
    return f"M{x:.1f} {y:.1f}l-5 {back}h10Z"
