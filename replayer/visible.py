"""What is to be seen of an object: a picture of it as a plain value that can be compared, kept and told.

It shows what the object's own `state()` gives, if it has one, else its attributes, and theirs in turn.  What is no
state is left out: functions, locks, threads, loggers, modules.  Of events, semaphores and queues it shows what is
in them.  A picture is bounded: what lies deeper, or beyond so many values, is not in it, nor is what objects
without attributes keep to themselves; `whole` says whether it shows all there is.

Some values are different each time, though the same calls were made: times, addresses, random numbers.  `changing`
tells by two pictures which those are, and `without` leaves them out of others.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple, TypeAlias

from replayer.handles import EventHandle
from replayer.linear import Look

__all__ = ["Changing", "Node", "Word", "changing", "differences", "look_at", "merged", "paint", "without"]

_DEEPEST = 60  # objects within objects
_MOST = 2_000  # values of a picture
_LONGEST = 60  # characters of a value in a message

_OUTSIDE = (FunctionType, BuiltinFunctionType, MethodType, ModuleType)
_TOOLS = frozenset(
    ("_thread", "_weakrefset", "concurrent", "logging", "replayer.cooperative", "replayer.scheduler", "weakref")
)
_OF_THREADS = frozenset(vars(threading.Thread()))  # attributes that each thread has


class Word(NamedTuple):
    """Stands in a picture for what is no plain value: the name of a type, a constant, or how a value looks."""

    text: str


class Node(NamedTuple):
    """An object or container: `names` of its members, () where they are numbered."""

    kind: str
    names: tuple[str, ...]
    members: tuple[Tree, ...]


Tree: TypeAlias = Hashable
"""A Node, a Word, or a plain value."""

CHANGES = Word("changes")
"""Stands for what is different each time."""

Changing: TypeAlias = "Mapping[str, Changing] | Word | None"
"""Which parts of a picture are different each time: none, all of it (CHANGES), or those of members by name; `*`
stands for each member of a sequence."""

_SKIPPED = object()


def look_at(instance: Any, mask: tuple[Changing, Changing] = (None, None)) -> Look:
    """An object under test between two calls, without what changes by `mask`: of what it shows, and inside it."""
    inner, whole = paint(instance)
    own = getattr(instance, "state", None)
    if not callable(own):
        return Look(without(inner, mask[0]), None, whole)
    try:
        shown, _ = paint(own())
    except Exception as error:
        shown = Word(f"state() raises {type(error).__name__}")
    return Look(without(shown, mask[0]), without(inner, mask[1]), whole)


def paint(value: Any) -> tuple[Tree, bool]:
    """A value's picture, and whether that is all there is of it."""
    painter = _Painter()
    tree = painter.paint(value, "", 0)
    return (Word(type(value).__name__) if tree is _SKIPPED else tree), painter.whole


class _Painter:
    """Paints one picture.  An object that is met within itself is a word that says where it was met first."""

    def __init__(self) -> None:
        self.whole = True
        self._open: dict[int, str] = {}  # objects that are being painted, and where
        self._done: dict[int, tuple[Any, int]] = {}  # those that were, and how many values that took
        self._kept: list[Any] = []  # what state() has made for us, so that its address stays its own
        self._left = _MOST

    def paint(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if kind is int or kind is str or value is None or kind is bool or kind is bytes:
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else Word(repr(value))
        if isinstance(value, enum.Enum | EventHandle):
            return Word(repr(value))
        if isinstance(value, int):
            return int(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, type):
            return Word(value.__name__)
        if isinstance(value, _OUTSIDE):
            self.whole &= getattr(value, "__closure__", None) is None
            return _SKIPPED
        met = self._open.get(id(value))
        if met is not None:
            return Word(f"same as {met or 'the object'}")
        tree, size = self._done.get(id(value), (None, 1))
        if depth > _DEEPEST or self._left < size:
            self.whole = False
            return Word("...")
        if tree is not None:  # two names of one object: what is done to the one is to be seen at the other
            self.whole = False
            self._left -= size
            return tree
        self._kept.append(value)
        self._open[id(value)] = path
        before = self._left
        self._left -= 1
        tree = self._composed(value, kind, path, depth + 1)
        del self._open[id(value)]
        if not isinstance(value, tuple | frozenset):
            self._done[id(value)] = tree, before - self._left
        return tree

    def _composed(self, value: Any, kind: type, path: str, depth: int) -> Any:
        if isinstance(value, dict | MappingProxyType):
            named = ((self._name(key), member) for key, member in list(value.items()))
            return self._members("dict", sorted(named, key=lambda pair: pair[0]), path, depth)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self._members(kind.__name__, zip(kind._fields, value, strict=False), path, depth)
        if isinstance(value, list | tuple | deque):
            return self._numbered("tuple" if isinstance(value, tuple) else "list", list(value), path, depth)
        if isinstance(value, set | frozenset):
            return Node("set", (), tuple(map(Word, sorted(self._name(member) for member in list(value)))))
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        if isinstance(value, BaseException):
            return self._numbered(kind.__name__, list(value.args), path, depth)
        module = kind.__module__
        if module in _TOOLS or module.partition(".")[0] in _TOOLS:
            return _SKIPPED
        if module in ("threading", "queue", "_queue"):
            return self._tool(value, kind, path, depth)
        if module == "_io":
            return self._opaque(value, kind, path, depth)
        attributes = list(_attributes(value))
        if isinstance(value, threading.Thread):
            attributes = [(name, member) for name, member in attributes if name not in _OF_THREADS]
        if attributes or hasattr(value, "__dict__") or any("__slots__" in vars(k) for k in kind.__mro__[:-1]):
            return self._members(kind.__name__, sorted(attributes, key=lambda pair: pair[0]), path, depth)
        return self._opaque(value, kind, path, depth)

    def _tool(self, value: Any, kind: type, path: str, depth: int) -> Any:
        """What a queue holds, and how an event or a semaphore stands; of others nothing."""
        if isinstance(value, threading.Thread | threading.local):
            self.whole = False
            return _SKIPPED
        for name in ("_flag", "_value", "queue", "_queue"):
            if (content := getattr(value, name, _SKIPPED)) is not _SKIPPED:
                return self._members(kind.__name__, [(name.strip("_"), content)], path, depth)
        if hasattr(value, "qsize"):
            self.whole = False
            return Node(kind.__name__, ("size",), (value.qsize(),))
        return _SKIPPED

    def _opaque(self, value: Any, kind: type, path: str, depth: int) -> Any:
        """An object without attributes: a buffer by what is in it, others by how they look, but for addresses."""
        try:
            if callable(content := getattr(value, "getvalue", None)):
                return self._members(kind.__name__, [("value", content())], path, depth)
            text = repr(value)
        except Exception:
            text = "<"
        if " at 0x" in text or text.startswith("<"):
            self.whole = False
            return Word(kind.__name__)
        return Word(text)

    def _members(self, kind: str, named: Iterable[tuple[str, Any]], path: str, depth: int) -> Node:
        names: list[str] = []
        members: list[Tree] = []
        for name, member in named:
            tree = self.paint(member, f"{path}.{name}" if path else name, depth)
            if tree is not _SKIPPED:
                names.append(name)
                members.append(tree)
        return Node(kind, tuple(names), tuple(members))

    def _numbered(self, kind: str, values: list[Any], path: str, depth: int) -> Node:
        trees = (self.paint(value, f"{path}[{place}]", depth) for place, value in enumerate(values))
        return Node(kind, (), tuple(Word("-") if tree is _SKIPPED else tree for tree in trees))

    def _name(self, key: Any) -> str:
        """A key, or the member of a set, as text; objects without a look of their own are all alike."""
        if type(key) is str:
            return key
        tree, whole = paint(key)
        self.whole &= whole
        return _text(tree)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            own = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and name[-2:] != "__" else name
            try:
                yield own, object.__getattribute__(value, own)
            except AttributeError:  # never set
                continue


def changing(one: Tree, other: Tree) -> Changing:
    """What differs between two pictures of objects that were given the same calls."""
    if one == other:
        return None
    if not (isinstance(one, Node) and isinstance(other, Node)):
        return CHANGES
    if (one.kind, one.names, len(one.members)) != (other.kind, other.names, len(other.members)):
        return CHANGES
    found: dict[str, Changing] = {}
    for name, a, b in zip(one.names or ["*"] * len(one.members), one.members, other.members, strict=True):
        found[name] = merged(found.get(name), changing(a, b))
    return {name: part for name, part in found.items() if part is not None}


def merged(one: Changing, other: Changing) -> Changing:
    """What is different each time by the one, by the other or by both."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, Word) or isinstance(other, Word):
        return CHANGES
    return {name: merged(one.get(name), other.get(name)) for name in {**one, **other}}


def without(tree: Tree, parts: Changing) -> Tree:
    """A picture without these parts."""
    if parts is None:
        return tree
    if isinstance(parts, Word):
        return CHANGES
    if not isinstance(tree, Node):
        return tree
    named = zip(tree.names or ["*"] * len(tree.members), tree.members, strict=True)
    return Node(tree.kind, tree.names, tuple(without(member, parts.get(name)) for name, member in named))


def differences(one: Hashable, other: Hashable, name: str = "") -> list[tuple[str, str, str]]:
    """Where two pictures differ: the name of each part, as short as it tells, and how it looks in both."""
    if one == other:
        return []
    if isinstance(one, Node) and isinstance(other, Node) and one.kind == other.kind and one.names:
        found: list[tuple[str, str, str]] = []
        here, there = (dict(zip(node.names, node.members, strict=True)) for node in (one, other))
        for part in sorted({**here, **there}):
            inside = f"{name}.{part}" if name else part
            found += differences(here.get(part, Word("nothing")), there.get(part, Word("nothing")), inside)
        return found
    return [(name, _told(one), _told(other))]


def _told(tree: Hashable) -> str:
    text = _text(tree)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _text(tree: Hashable) -> str:
    if not isinstance(tree, Node):
        return tree.text if isinstance(tree, Word) else ascii(tree)
    parts = list(map(_text, tree.members))
    if tree.names:
        parts = [f"{name}={part}" for name, part in zip(tree.names, parts, strict=True)]
    kind, opening, closing = _BRACKETS.get(tree.kind, (tree.kind, "(", ")"))
    return f"{kind}{opening}{', '.join(parts)}{closing}"


_BRACKETS = {
    "dict": ("", "{", "}"),
    "list": ("", "[", "]"),
    "set": ("", "{", "}"),
    "tuple": ("", "(", ")"),
}
