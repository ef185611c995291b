"""Which calls of two traces differ, aligned as a text diff aligns lines.

Calls are aligned by method and arguments.  Calls that are aligned may differ in their answer or their thread; of
what stands between aligned calls, those of the same method are set against each other, in order, and told argument
by argument; the rest is in one of the traces alone.  Times are compared only on request.
"""

from __future__ import annotations

import difflib
import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from recorder.calls import Argument, Header, PlayedCall, pair
from recorder.interface import Interface, Method, Parameter
from recorder.json_lines import call_json
from recorder.short import Parts
from recorder.text import argument_text, call_text, duration_text, outcome_text, switches_text
from recorder.trace_input import TraceInput

__all__ = ["Compared", "Difference", "Pair", "Side", "Sign", "compare", "difference_json", "difference_lines"]

_WINDOW = 1000  # calls that are aligned at a time


class Sign(enum.StrEnum):
    SAME = "same"
    CHANGED = "changed"
    REMOVED = "removed"  # in the first trace alone
    ADDED = "added"  # in the second alone


class Difference(NamedTuple):
    """What differs in a call that both traces have.

    `what` is an argument by name, `answer`, `thread`, `switches`, `time` or `took`.
    """

    what: str
    first: str
    second: str


class Pair(NamedTuple):
    """A call of the first trace beside one of the second; None where the other stands alone."""

    sign: Sign
    first: PlayedCall | None
    second: PlayedCall | None
    differences: tuple[Difference, ...] = ()


class Side(NamedTuple):
    """One of the traces, read."""

    path: str
    header: Header
    calls: list[PlayedCall]


@dataclass
class Compared:
    """Two traces side by side; `header` are differences of what they are recordings of."""

    first: Side
    second: Side
    header: list[Difference]
    pairs: list[Pair]
    counts: Counter[Sign] = field(default_factory=Counter)

    @property
    def same(self) -> bool:
        return not self.header and self.counts.total() == self.counts[Sign.SAME]


def compare(first: TraceInput, second: TraceInput, *, times: bool = False, threads: bool = True) -> Compared:
    """Two traces, aligned.

    `times`: when calls began and how long they took counts; `threads`: on which one, and how they are scheduled.
    """
    one, two = _read(first), _read(second)
    interfaces = one.header.interface, two.header.interface
    keys = [[call_text(call, side.header.interface) for _, call, _ in side.calls] for side in (one, two)]
    pairs = []
    for tag, a, b, c, d in _aligned(*keys):
        lefts, rights = one.calls[a:b], two.calls[c:d]
        met = zip(lefts, rights, strict=True) if tag == "equal" else _by_method(lefts, rights)
        for left, right in met:
            if left is None or right is None:
                pairs.append(Pair(Sign.REMOVED if right is None else Sign.ADDED, left, right))
                continue
            found = tuple(_differences(left, right, interfaces, times=times, threads=threads))
            pairs.append(Pair(Sign.CHANGED if found else Sign.SAME, left, right, found))
    header = [*_of_headers(one.header, two.header, threads=threads)]
    return Compared(one, two, header, pairs, Counter(pair.sign for pair in pairs))


def _read(trace: TraceInput) -> Side:
    with trace.source() as source:
        return Side(trace.path, source.header, [*pair(source.events())])


def _of_headers(one: Header, two: Header, *, threads: bool) -> Iterator[Difference]:
    if one.interface != two.interface:
        names = one.interface.name, two.interface.name
        yield Difference("interface", names[0], f"another {names[1]}" if names[0] == names[1] else names[1])
    if one.sync_flags != two.sync_flags:
        yield Difference("sync_flags", str(one.sync_flags), str(two.sync_flags))
    if threads and one.scheduled != two.scheduled:
        yield Difference("scheduled", *("yes" if side.scheduled else "no" for side in (one, two)))


def _aligned(one: Sequence[str], two: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """difflib's opcodes; equal beginnings and ends, most of two similar traces, are not left to its search."""
    start = 0
    while start < min(len(one), len(two)) and one[start] == two[start]:
        start += 1
    end = 0
    while end < min(len(one), len(two)) - start and one[-1 - end] == two[-1 - end]:
        end += 1
    middle_one, middle_two = one[start : len(one) - end], two[start : len(two) - end]
    if start:
        yield "equal", 0, start, 0, start
    for tag, a, b, c, d in _by_windows(middle_one, middle_two):
        yield tag, a + start, b + start, c + start, d + start
    if end:
        yield "equal", len(one) - end, len(one), len(two) - end, len(two)


def _by_windows(one: Sequence[str], two: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """difflib's opcodes, piece by piece, so that long traces of few different calls take no square of their time.

    Of each window the pieces that begin in its first half are taken, as what follows would not change them much.
    Where a window has nothing equal, the rest is left to difflib, which then aligns nothing by frequent calls.
    """
    at, to = 0, 0
    while max(len(one) - at, len(two) - to) > _WINDOW:
        found = difflib.SequenceMatcher(None, one[at : at + _WINDOW], two[to : to + _WINDOW], False).get_opcodes()
        taken = [code for code in found if max(code[1], code[3]) < _WINDOW // 2]
        if not any(code[0] == "equal" for code in taken):
            break
        while taken[-1][0] != "equal":
            taken.pop()
        yield from ((tag, a + at, b + at, c + to, d + to) for tag, a, b, c, d in taken)
        at, to = at + taken[-1][2], to + taken[-1][4]
    long = max(len(one) - at, len(two) - to) > _WINDOW
    for tag, a, b, c, d in difflib.SequenceMatcher(None, one[at:], two[to:], long).get_opcodes():
        yield tag, a + at, b + at, c + to, d + to


def _by_method(
    lefts: Sequence[PlayedCall], rights: Sequence[PlayedCall]
) -> Iterator[tuple[PlayedCall | None, PlayedCall | None]]:
    """Calls that no key aligns: those of the same method in the same order belong together."""
    names = [[call.method for _, call, _ in side] for side in (lefts, rights)]
    junk = max(len(lefts), len(rights)) > _WINDOW
    for tag, a, b, c, d in difflib.SequenceMatcher(None, names[0], names[1], junk).get_opcodes():
        if tag == "equal":
            yield from zip(lefts[a:b], rights[c:d], strict=True)
        else:
            yield from ((left, None) for left in lefts[a:b])
            yield from ((None, right) for right in rights[c:d])


def _differences(
    left: PlayedCall, right: PlayedCall, interfaces: tuple[Interface, Interface], *, times: bool, threads: bool
) -> Iterator[Difference]:
    methods = [
        _method(interface, side.call.method) for interface, side in zip(interfaces, (left, right), strict=True)
    ]
    inputs = methods[0].inputs if methods[0] else ()
    for position, (a, b) in enumerate(zip_longest(left.call.args, right.call.args, fillvalue=_NOTHING)):
        parameter = inputs[position] if position < len(inputs) else None
        shown = _argument(a, parameter), _argument(b, parameter)
        if shown[0] != shown[1]:
            yield Difference(parameter.name if parameter else f"argument {position}", *shown)
    answers = _answer(left, methods[0]), _answer(right, methods[1])
    if answers[0] != answers[1]:
        yield Difference("answer", *answers)
    if threads and left.call.thread != right.call.thread:
        yield Difference("thread", f"t{left.call.thread}", f"t{right.call.thread}")
    if threads and left.call.switches != right.call.switches:
        yield Difference("switches", *(switches_text(side.call) or "none" for side in (left, right)))
    if times:
        moments = left.call.time_ns, right.call.time_ns
        if moments[0] != moments[1]:
            yield Difference("time", *map(duration_text, moments))
        took = [None if side.outcome is None else side.outcome.elapsed_ns for side in (left, right)]
        if None not in took and took[0] != took[1]:
            yield Difference("took", *(duration_text(ns or 0) for ns in took))


_NOTHING: Any = object()


def _argument(value: Argument, parameter: Parameter | None) -> str:
    return "none" if value is _NOTHING else argument_text(value, parameter.type if parameter else None)


def _method(interface: Interface, name: str) -> Method | None:
    slot = interface.slot.get(name)
    return None if slot is None else interface.slots[slot]


def _answer(played: PlayedCall, method: Method | None) -> str:
    return "still running" if played.outcome is None else outcome_text(played.outcome, method)


# --- telling -------------------------------------------------------------------------------------------------


def difference_lines(compared: Compared, context: int) -> Iterator[Parts]:
    """As a unified diff: differing calls with so many equal ones around, and a line for what differs in one."""
    yield [(f"--- {compared.first.path}", "bold")]
    yield [(f"+++ {compared.second.path}", "bold")]
    for difference in compared.header:
        yield [(f"? {difference.what}: {difference.first} | {difference.second}", "yellow")]
    for first, last in _hunks(compared.pairs, context):
        pairs = compared.pairs[first:last]
        told = " ".join(f"{sign}{_range([*side])}" for sign, side in _numbers(pairs))
        yield [(f"@@ {told} @@", "cyan")]
        for one in pairs:
            yield from _pair_lines(one, compared)
    counts = compared.counts
    yield [
        (
            f"{counts[Sign.SAME]} same, {counts[Sign.CHANGED]} changed, "
            f"{counts[Sign.REMOVED]} only in the first, {counts[Sign.ADDED]} only in the second",
            "bold",
        )
    ]


def _hunks(pairs: Sequence[Pair], context: int) -> Iterator[tuple[int, int]]:
    """Runs of pairs to show, none touching the next."""
    hunk: tuple[int, int] | None = None
    for position, one in enumerate(pairs):
        if one.sign is Sign.SAME:
            continue
        first, last = max(position - context, 0), min(position + 1 + context, len(pairs))
        if hunk and first <= hunk[1]:
            hunk = hunk[0], last
        else:
            if hunk:
                yield hunk
            hunk = first, last
    if hunk:
        yield hunk


def _numbers(pairs: Sequence[Pair]) -> Iterator[tuple[str, Iterator[int]]]:
    yield "-", (one.first.number for one in pairs if one.first)
    yield "+", (one.second.number for one in pairs if one.second)


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}..{numbers[-1]}"


def _pair_lines(one: Pair, compared: Compared) -> Iterator[Parts]:
    if one.sign is Sign.SAME:
        yield _line(" ", one.first, compared.first, "dim")
        return
    if one.first:
        yield _line("-", one.first, compared.first, "red")
    if one.second:
        yield _line("+", one.second, compared.second, "green")
    for difference in one.differences:
        yield [(f"?     {difference.what}: {difference.first} | {difference.second}", "yellow")]


def _line(sign: str, played: PlayedCall | None, side: Side, style: str) -> Parts:
    assert played is not None
    interface = side.header.interface
    answer = _answer(played, _method(interface, played.call.method))
    call = call_text(played.call, interface)
    switches = f" {switches_text(played.call)}" if played.call.switches else ""
    return [(f"{sign}{played.number:>4} t{played.call.thread} {call}{switches} -> {answer}", style)]


def difference_json(compared: Compared) -> Iterator[dict[str, Any]]:
    """One object for each pair that differs, and a summary at last."""
    for one in compared.pairs:
        if one.sign is not Sign.SAME:
            yield {
                "kind": one.sign.value,
                "first": call_json(one.first) if one.first else None,
                "second": call_json(one.second) if one.second else None,
                "differences": [difference._asdict() for difference in one.differences],
            }
    yield {
        "kind": "summary",
        "first": compared.first.path,
        "second": compared.second.path,
        "same": compared.same,
        "header": [difference._asdict() for difference in compared.header],
        "counts": {sign.value: compared.counts[sign] for sign in Sign},
    }
