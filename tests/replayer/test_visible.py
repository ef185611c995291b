"""Pictures of objects: all that is state is in them, what is none is not, and they can be compared."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import functools
import io
import itertools
import logging
import queue
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replayer.handles import EventHandle
from replayer.samples.send_receive import SendReceiveDialog
from replayer.visible import Node, Word, changing, differences, look_at, paint, without


class Shape(enum.Enum):
    ROUND = 1
    FLAT = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Plain:
    value: Any
    names: list[str] = field(default_factory=list)


class Slotted:
    __slots__ = ("__hidden", "value")

    def __init__(self, value: Any):
        self.value = value
        self.__hidden = value


class Named(str):
    """A text that is more than one."""


def event(*, is_set: bool) -> threading.Event:
    made = threading.Event()
    if is_set:
        made.set()
    return made


def filled(holder: Any, *values: Any) -> Any:
    for value in values:
        holder.put(value)
    return holder


def closed(handle: EventHandle) -> EventHandle:
    handle.closes = 1  # what `close` puts on a list for others is opened again by them
    return handle


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (None, 0),
        ("a", "b"),
        (Named("a"), Named("b")),
        (1.5, 2.5),
        (float("nan"), float("inf")),
        (b"a", b"b"),
        (bytearray(b"a"), bytearray(b"b")),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({1, 2}, {1, 3}),
        (Point(1, 2), Point(2, 1)),
        (Shape.ROUND, Shape.FLAT),
        (Plain(1), Plain(2)),
        (Plain(Plain([{"a": 1}])), Plain(Plain([{"a": 2}]))),
        (Slotted(1), Slotted(2)),
        (collections.deque([1]), collections.deque([2])),
        (collections.Counter("aab"), collections.Counter("ab")),
        (ValueError("a"), ValueError("b")),
        (ValueError("a"), KeyError("a")),
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.1")),
        (Path("a"), Path("b")),
        (uuid.UUID(int=1), uuid.UUID(int=2)),
        (io.StringIO("a"), io.StringIO("b")),
        (event(is_set=True), event(is_set=False)),
        (threading.Semaphore(1), threading.Semaphore(2)),
        (filled(queue.Queue(), 1), filled(queue.Queue(), 2)),
        (filled(queue.SimpleQueue(), 1), queue.SimpleQueue()),
        (EventHandle(1), closed(EventHandle(1))),
        (itertools.count(1), itertools.count(2)),
    ],
)
def test_what_differs_looks_different(one: Any, other: Any) -> None:
    assert paint(Plain(one))[0] != paint(Plain(other))[0]
    assert paint(Plain(one)) == paint(Plain(one))
    hash(paint(Plain(one)))


def adds(number: int) -> Callable[[], int]:
    return lambda: number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (adds(1), adds(2)),
        (len, print),
        (Plain(1).names.append, Plain(2).names.append),
        (threading.Lock(), threading.RLock()),
        (threading.Condition(), threading.Lock()),
        (threading.Thread(), threading.Thread()),
        (threading.local(), threading.local()),
        (logging.getLogger("a"), logging.getLogger("b")),
        (logging, threading),
        (weakref.WeakSet(), weakref.WeakValueDictionary()),
    ],
)
def test_what_is_no_state_is_not_in_it(one: Any, other: Any) -> None:
    assert paint(Plain(one))[0] == paint(Plain(other))[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (object(), object()),
        (iter([1]), iter([2])),
        ({Shape.ROUND, Shape.FLAT}, {Shape.FLAT, Shape.ROUND}),
    ],
)
def test_what_shows_no_difference_looks_alike(one: Any, other: Any) -> None:
    assert paint(one)[0] == paint(other)[0]


def test_a_host_that_is_a_thread_is_seen_but_for_what_threads_have() -> None:
    class Worker(threading.Thread):
        def __init__(self, count: int):
            super().__init__()
            self.count = count

    assert paint(Worker(1))[0] == Node("Worker", ("count",), (1,))


def test_it_knows_whether_something_hides() -> None:
    assert paint(Plain({"a": [1, "b", None, Point(1, 2), Shape.ROUND]}))[1]
    shared = [1]
    for hiding in (object(), iter([1]), adds(1), threading.Thread(), [shared, shared]):
        assert not paint(Plain(hiding))[1]


def test_objects_within_themselves_and_very_deep_and_very_many_are_looked_at_in_bounds() -> None:
    loop = Plain(1)
    loop.value = {"again": loop}
    assert paint(loop)[0] == Node(
        "Plain",
        ("names", "value"),
        (
            Node("list", (), ()),
            Node("dict", ("again",), (Word("same as the object"),)),
        ),
    )
    chain: Any = None
    for _ in range(5_000):
        chain = Plain(chain)
    diamonds: Any = 1
    for _ in range(60):
        diamonds = [diamonds, diamonds]
    for large in (chain, diamonds, [[n] for n in range(5_000)]):
        tree, whole = paint(large)
        assert not whole and (tree, whole) == paint(large) and hash(tree) == hash(paint(large)[0])
    while chain is not None:  # deeper than Python would free it by itself
        chain = chain.value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(JSON, JSON)
def test_plain_values_look_alike_exactly_if_they_are_equal(one: Any, other: Any) -> None:
    alike = paint(one)[0] == paint(other)[0]
    assert alike == (one == other)
    assert alike == (not differences(paint(one)[0], paint(other)[0]))
    assert alike == (changing(paint(one)[0], paint(other)[0]) is None)


@settings(max_examples=40)
@given(JSON, JSON)
def test_what_changes_is_left_out(one: Any, other: Any) -> None:
    a, b = paint(Plain(one))[0], paint(Plain(other))[0]
    parts = changing(a, b)
    assert without(a, parts) == without(b, parts)
    assert without(a, None) == a


# ------------------------------------------------------------------------------------------------- what changes


class Stamped:
    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.names: dict[str, int] = {}
        self.number = 0

    def add(self, text: str) -> None:
        self.entries.append({"text": text, "at": time.perf_counter_ns(), "id": uuid.uuid4().hex})
        self.names[uuid.uuid4().hex] = 1
        self.number += 1


def stamped(*texts: str) -> Any:
    made = Stamped()
    for text in texts:
        made.add(text)
    return paint(made)[0]


def test_times_and_random_names_are_left_out_wherever_they_stand() -> None:
    parts = changing(stamped("a", "b"), stamped("a", "b"))
    assert parts == {"entries": {"*": {"at": Word("changes"), "id": Word("changes")}}, "names": Word("changes")}
    for texts in ((), ("a",), ("a", "b", "c")):
        assert without(stamped(*texts), parts) == without(stamped(*texts), parts)
    (difference,) = differences(without(stamped("b", "a"), parts), without(stamped("a", "b"), parts))
    assert difference[0] == "entries"


def test_where_pictures_differ_is_told_by_name() -> None:
    one, other = Plain({"a": 1, "b": [1]}), Plain({"a": 1, "b": [1, 2], "c": 3})
    assert differences(paint(one)[0], paint(other)[0]) == [
        ("value.b", "[1]", "[1, 2]"),
        ("value.c", "nothing", "3"),
    ]
    assert differences(paint(Point(1, 2))[0], paint(Point(1, 3))[0]) == [("y", "2", "3")]
    ((_, long, _),) = differences(paint("a" * 100)[0], paint(1)[0])
    assert len(long) == 60 and long.endswith("...")


# ------------------------------------------------------------------------------------------------- under test


def test_its_own_state_is_what_it_shows_and_its_attributes_are_its_inside() -> None:
    dialog = SendReceiveDialog()
    dialog.Progress("a", 1, 2)
    look = look_at(dialog)
    dialog.Progress("a", 1, 2)  # the pace knows of one more report, which is not to be seen
    assert look_at(dialog).shown == look.shown and look_at(dialog).inner != look.inner
    dialog.Progress("a", 2, 2)
    ((name, *_), *_) = differences(look_at(dialog).shown, look.shown)
    assert name == "calls_left"


def test_without_a_state_its_attributes_are_what_it_shows() -> None:
    assert look_at(Plain(1)).shown != look_at(Plain(2)).shown and look_at(Plain(1)).inner is None
    stands = Plain(1)
    stands.state = "running"  # type: ignore[attr-defined]
    assert look_at(stands).shown != look_at(Plain(1)).shown


def test_a_state_that_fails_shows_just_that() -> None:
    class Fails(Plain):
        def state(self) -> Any:
            raise ValueError(self.value)

    assert look_at(Fails(1)).shown == look_at(Fails(2)).shown == Word("state() raises ValueError")


def test_what_changes_is_left_out_of_both() -> None:
    class Shows(Plain):
        def state(self) -> Any:
            return {"at": self.value, "names": self.names}

    mask = (
        changing(paint({"at": 1, "names": []})[0], paint({"at": 2, "names": []})[0]),
        {"value": Word("changes")},
    )
    assert look_at(Shows(1), mask) == look_at(Shows(2), mask)
    assert look_at(Shows(1), mask) != look_at(Shows(1, ["a"]), mask)


def test_partial_functions_are_told_by_what_they_hold() -> None:
    assert paint(functools.partial(print, 1))[0] == paint(functools.partial(print, 1))[0]
