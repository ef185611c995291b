"""What a sequence showed that none before it had, beside code: the target's visible state, and what calls come to.

Code coverage is blind where a target keeps its states in tables, counts, or remembers what it was told.  So its
attributes are looked at between the calls, as *dimensions*: `place`, `folders.len`, `machine.open`.  A dimension
is new with each value while it has few (`_EXACT`: states, flags, small counts), then with each magnitude (by
powers of two, two to each): a counter to a million brings 100, and no dimension more than `_MOST`.  Values of
dimensions that have very few (`_FEW`) are new together, too, up to `_TOGETHER` in all.  So a target that counts
upward cannot flood the corpus, however much it counts.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

__all__ = ["Feature", "Outcomes", "States", "dimensions"]

Feature: TypeAlias = str
"""What was seen, as a word that is the same in each process."""

_EXACT = 64  # values of a dimension that are told apart
_FEW = 24  # values of a dimension that are new together with those of others
_MOST = 120  # features that one dimension brings
_TOGETHER = 1000  # combinations that are new
_REMEMBERED = 4000  # values of a dimension
_DIMENSIONS = 64  # that are looked at
_DEPTH = 2  # objects within objects
_PLAIN = (str, bytes, bytearray, list, tuple, dict, set, frozenset, deque)
_SIMPLE = frozenset((int, bool, str, float, type(None)))
_SEQUENCES = frozenset((list, tuple, deque))
_NO_STATE = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, type)

Value: TypeAlias = "int | str | bool | float | None"


class _Names(dict[str, tuple[str, str]]):
    """Of a sequence's name those of its length and of its last member."""

    def __missing__(self, name: str) -> tuple[str, str]:
        if len(self) >= _REMEMBERED:
            self.clear()
        names = self[name] = f"{name}.len", f"{name}[-1]"
        return names


_OF_SEQUENCE = _Names()


def dimensions(instance: Any) -> dict[str, Value]:
    """The visible state of a target: what its state() gives, else its attributes.  Nothing where that fails."""
    found: dict[str, Value] = {}
    try:
        own = getattr(instance, "state", None)
        if callable(own):
            given = own()
            for name, value in given.items() if isinstance(given, dict) else (("", given),):
                _add(str(name), value, _DEPTH, found)
        else:
            for name, value in _attributes(instance):
                if type(value) in _SIMPLE:
                    found[name] = value
                else:
                    _add(name, value, _DEPTH, found)
    except Exception:  # a state() that fails, or changes while it is looked at
        return {}
    return found


def _attributes(instance: Any) -> Iterable[tuple[str, Any]]:
    found = getattr(instance, "__dict__", None)
    if found is not None:
        return list(found.items())
    slots = [name for kind in type(instance).__mro__ for name in _slots(kind)]
    return [(name, getattr(instance, name)) for name in slots if hasattr(instance, name)]


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _add(name: str, value: Any, depth: int, found: dict[str, Value]) -> None:
    """Add what a value shows, under its name."""
    if len(found) >= _DIMENSIONS:
        return
    kind = type(value)
    if kind in _SIMPLE:
        found[name] = value
    elif kind in _SEQUENCES:
        length, last = _OF_SEQUENCE[name]
        found[length] = len(value)
        if depth and value:
            _add(last, value[-1], depth - 1, found)
    elif isinstance(value, enum.Enum):
        found[name] = f"{kind.__name__}.{value.name}"
    elif isinstance(value, int):
        found[name] = int(value)
    elif isinstance(value, _PLAIN):
        found[f"{name}.len"] = len(value)
        if depth and value:
            _add_members(name, value, depth - 1, found)
    elif isinstance(value, _NO_STATE):
        pass
    elif depth and kind.__module__ != "builtins":
        found[name] = kind.__name__
        for inner, member in _attributes(value):
            _add(f"{name}.{inner}", member, depth - 1, found)
    else:
        found[name] = kind.__name__


def _add_members(name: str, value: Any, depth: int, found: dict[str, Value]) -> None:
    """Of a mapping its largest number, of a sequence its last member."""
    if isinstance(value, Mapping):
        numbers = [member for _, member in zip(range(32), value.values(), strict=False) if type(member) is int]
        if numbers:
            found[f"{name}.max"] = max(numbers)
        if len(value) <= 4:
            for key, member in list(value.items()):
                if isinstance(key, str | int) and type(member) is not int:
                    _add(f"{name}[{key!s:.20}]", member, depth, found)
    elif isinstance(value, list | tuple | deque):
        _add(f"{name}[-1]", value[-1], depth, found)


def _magnitude(value: Value) -> Feature:
    """Sign and size of a number by powers of two and their halves, a text's length so."""
    if isinstance(value, str):
        return f"text of {len(value).bit_length()}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{'-' if value < 0 else ''}2^{math.frexp(value)[1] if value else 'none'}"
    if isinstance(value, int) and not isinstance(value, bool):
        size = abs(value)
        bits = size.bit_length()
        return f"{'-' if value < 0 else ''}2^{bits}{'+' if size & (1 << bits >> 2) else ''}"
    return str(value)


def _size(value: Any) -> int | None:
    """What numbers and texts of one magnitude have in common, quickly told."""
    kind = type(value)
    if kind is int:
        bits: int = int(value).bit_length()
        if bits < 2:
            return int(value)
        half = int(abs(value) >> bits - 2) & 1
        return 2 * bits + half if value > 0 else -2 * bits - half
    return 1000 + len(value).bit_length() if kind is str else None


class _Dimension:
    """The values that one dimension has had."""

    __slots__ = ("exact", "known", "magnitudes", "name", "sizes")

    def __init__(self, name: str):
        self.name = name
        self.exact: set[Value] | None = set()  # None: too many
        self.magnitudes: set[Feature] = set()
        self.known: set[Value] = set()  # values that are not new; not all
        self.sizes: set[int | None] = set()  # the same for sizes, once there are many values

    def feature(self, value: Value) -> Feature:
        if self.exact is None or type(value) is float:
            return f"{self.name} {_magnitude(value)}"
        return f"{self.name}={value!s:.40}"

    def is_new(self, value: Value) -> bool:
        exact = self.exact
        if exact is not None and type(value) is not float:
            if value in exact:
                return False
            exact.add(value)
            self.magnitudes.add(_magnitude(value))
            self.known.add(value)
            if len(exact) > _EXACT:
                self.exact = None
            return True
        magnitude = _magnitude(value)
        if len(self.known) < _REMEMBERED:
            self.known.add(value)
        if (size := _size(value)) is not None:
            self.sizes.add(size)
        if magnitude in self.magnitudes or len(self.magnitudes) >= _MOST - _EXACT:
            return False
        self.magnitudes.add(magnitude)
        return True


class States:
    """The states that a target was seen in; `count` is how many features they had."""

    def __init__(self) -> None:
        self.count = 0
        self._last: Mapping[str, Value] = {}
        self._plain: dict[type, bool] = {}  # by class: its state is its attributes
        self._known: dict[str, _Dimension] = {}
        self._few: tuple[str, ...] = ()  # dimensions that have had few values, more than one
        self._together: set[tuple[Value, ...]] = set()
        self._room = _TOGETHER

    def look(self, instance: Any) -> list[Feature]:
        """The features of the instance's state that are seen for the first time."""
        return self.new(dimensions(instance))

    def knows(self, instance: Any) -> bool:
        """Whether a quick look at an instance tells that its state is not new."""
        kind = type(instance)
        if kind not in self._plain:
            self._plain[kind] = not callable(getattr(kind, "state", None))
        known = self._known
        try:
            attributes: dict[str, Any] = instance.__dict__
            for name, value in attributes.items():
                dimension = known[name]
                if value not in dimension.known and _size(value) not in dimension.sizes:
                    return False
            if len(self._few) > 1 and self._room > 0:
                return self._plain[kind] and tuple(map(attributes.get, self._few)) in self._together
        except (AttributeError, KeyError, TypeError):  # a new attribute, or one that is no plain value
            return False
        return self._plain[kind]

    def new(self, state: Mapping[str, Value]) -> list[Feature]:
        """The same of a state as `dimensions` gives it."""
        if state == self._last:
            return []
        self._last = state
        new: list[Feature] = []
        known = self._known
        changed = False
        for name, value in state.items():
            dimension = known.get(name)
            if dimension is None:
                if len(known) >= _DIMENSIONS:
                    continue
                dimension = known[name] = _Dimension(name)
            if value in dimension.known:
                continue
            exact = dimension.exact
            if dimension.is_new(value):
                new.append(dimension.feature(value))
                changed |= exact is not None
        if changed:
            self._sort()
        few = self._few
        if len(few) > 1 and self._room > 0:
            together = tuple(map(state.get, few))
            if together not in self._together:
                self._together.add(together)
                self._room -= 1
                new.append(_together(few, together))
        self.count += len(new)
        return new

    def features(self, state: Mapping[str, Value]) -> Iterator[Feature]:
        """All features of a state, known or not."""
        for name, value in state.items():
            if name in self._known:
                yield self._known[name].feature(value)
        if len(self._few) > 1:
            yield _together(self._few, tuple(map(state.get, self._few)))

    def _sort(self) -> None:
        """Find the dimensions that have few values, and keep of the combinations known what these say."""
        few = tuple(name for name, d in self._known.items() if d.exact is not None and 1 < len(d.exact) <= _FEW)
        if few != self._few:
            places = {name: place for place, name in enumerate(self._few)}
            self._together = {
                tuple(old[places[name]] if name in places else None for name in few) for old in self._together
            }
            self._few = few


def _together(names: Iterable[str], values: Iterable[Value]) -> Feature:
    return "&".join(f"{name}={value!s:.20}" for name, value in zip(names, values, strict=True))


class Outcomes:
    """What calls come to: each kind of call with its outcome, after the one before it.

    Fed with (kind of call, outcome) lists; where the protocol stands may be part of the kind.  An outcome is an
    HRESULT, or a word such as "raised".  Of each kind `_EXACT` outcomes are told apart.
    """

    def __init__(self) -> None:
        self._outcomes: dict[object, set[object]] = {}
        self._known: set[tuple[object, object]] = set()

    def new(self, sequence: Iterable[tuple[object, object]]) -> list[Feature]:
        """The pairs of calls in a row that are seen for the first time."""
        new: list[Feature] = []
        before: tuple[object, object] = ("", "")
        known = self._known
        sequence = list(sequence)
        if known.issuperset(zip([before, *sequence], sequence, strict=False)):
            return new
        for call in sequence:
            pair = before, call
            if pair not in known:
                pair = before, self._told_apart(call)
                if pair not in known and len(known) < _TOGETHER:
                    known.add(pair)
                    new.append(f"{_word(before)} > {_word(pair[1])}")
            before = pair[1]
        return new

    def features(self, sequence: Iterable[tuple[object, object]]) -> Iterator[Feature]:
        """All pairs of calls in a row, known or not."""
        before: tuple[object, object] = ("", "")
        for call in sequence:
            yield f"{_word(before)} > {_word(call)}"
            before = call

    def _told_apart(self, call: tuple[object, object]) -> tuple[object, object]:
        kind, outcome = call
        outcomes = self._outcomes.setdefault(kind, set())
        if outcome not in outcomes:
            if len(outcomes) >= _EXACT:
                return kind, "another"
            outcomes.add(outcome)
        return call


def _word(call: tuple[object, object]) -> str:
    kind, outcome = call
    return f"{' '.join(map(str, kind)) if isinstance(kind, tuple) else kind}:{outcome!s:.20}"
