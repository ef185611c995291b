"""What a target has before it is played: locks of its modules, wherever they lie, and what makes further ones.

They lie in variables of modules and classes, in containers and instances that these hold, in closures (where a
decorator has its lock, and a dataclass its factories), and in what is built on them: Condition, Event, Queue.  One
lock may lie in several places; the same one comes to stand for it in each.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["adopt"]

_MOST = 100_000  # things that are looked through
_HOLDING = (dict, list, tuple, set, frozenset, CellType, MethodType, classmethod, staticmethod, property)
_BUILT_ON_LOCKS = frozenset(("threading", "queue", "functools", "concurrent.futures.thread"))  # modules of classes

_Place = tuple[Any, Callable[[Any], object]]  # a value, and what puts another one in its place


def adopt(modules: Iterable[ModuleType], own: Collection[str], stand_in: Callable[[Any], Any]) -> None:
    """Put in the place of each value of the modules what `stand_in` gives for it, where that is not None.

    `own` names the modules whose functions, classes and instances are looked into.  A condition for which a thread
    waits already keeps its lock, and so do others that share it.
    """
    left: list[Any] = list(modules)
    seen: dict[int, Any] = {}
    places: list[_Place] = []
    conditions: list[Any] = []
    while left and len(seen) < _MOST:
        thing = left.pop()
        if id(thing) in seen or not _may_hold_locks(thing, own):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, threading.Condition):
            conditions.append(thing)
            continue
        places += _places_in(thing)
        left += _parts_of(thing)
    awaited = {id(condition._lock) for condition in conditions if condition._waiters}
    for value, put in places:
        if id(value) not in awaited and (other := stand_in(value)) is not None:
            with contextlib.suppress(AttributeError, TypeError):  # it takes no other
                put(other)
    for condition in conditions:
        if id(condition._lock) not in awaited and (other := stand_in(condition._lock)) is not None:
            threading.Condition.__init__(condition, other)


def _may_hold_locks(thing: Any, own: Collection[str]) -> bool:
    if isinstance(thing, ModuleType):
        return thing.__name__ in own
    if isinstance(thing, FunctionType | type):
        return thing.__module__ in own
    of = type(thing).__module__
    return isinstance(thing, _HOLDING) or of in own or of in _BUILT_ON_LOCKS or isinstance(thing, logging.Logger)


def _parts_of(thing: Any) -> Iterable[Any]:
    if isinstance(thing, logging.Logger):  # it knows all others, too
        return thing.handlers
    if isinstance(thing, type):
        return vars(thing).values()
    return [*gc.get_referents(thing), getattr(thing, "__dict__", None)]


def _places_in(thing: Any) -> Iterator[_Place]:
    if isinstance(thing, dict):
        yield from ((value, partial(thing.__setitem__, key)) for key, value in thing.items())
    elif isinstance(thing, list):
        yield from ((value, partial(thing.__setitem__, at)) for at, value in enumerate(thing))
    elif isinstance(thing, type):
        yield from ((value, partial(setattr, thing, name)) for name, value in vars(thing).items())
    elif isinstance(thing, CellType):
        with contextlib.suppress(ValueError):  # it is empty
            yield thing.cell_contents, partial(setattr, thing, "cell_contents")
    if isinstance(thing, defaultdict):
        yield thing.default_factory, partial(setattr, thing, "default_factory")
