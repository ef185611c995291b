"""Code of every kind the rewriter meets, run by `exercise`: measured and bare it has to say the same."""

# Odd on purpose: kept as it is by the formatter, not judged by the linters.
# fmt: off
# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, wraps
from typing import Any, ClassVar

__all__ = ["Shape", "exercise"]

_COUNT = 0
TABLE = {name: (lambda value=name: value or "none") for name in ("a", "", "b")}


class Truth:
    """Counts how often its truth is asked for; raises when it has none."""

    def __init__(self, truth: bool | None) -> None:
        self.truth = truth
        self.asked = 0

    def __bool__(self) -> bool:
        self.asked += 1
        if self.truth is None:
            raise ValueError("no truth")
        return self.truth

    def __repr__(self) -> str:
        return f"Truth({self.truth})"


class Shape(Enum):
    ROUND = 1
    FLAT = 2 or 3

    @property
    def is_round(self) -> bool:
        """Whether it rolls."""
        return self is Shape.ROUND and True


@dataclass(order=True)
class Point:
    x: int = 0
    y: int = field(default=0, compare=False)
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.x < 0 <= self.y or self.x == 7:
            type(self).made += 1

    def __add__(self, other: object) -> Point:
        return Point(self.x + other.x, self.y) if isinstance(other, Point) else NotImplemented


class Base:
    def __init_subclass__(cls, tag: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.tag = tag or cls.__name__

    tag = "base"

    def who(self, *args: Any, sep: str = "-", **named: Any) -> str:
        return sep.join([str(argument) for argument in args if argument] + sorted(named))


class Derived(Base, tag="" or None):
    __slots__ = ("__hidden",)

    def __init__(self, hidden: int | None) -> None:
        self.__hidden = hidden or 5

    def who(self, *args: Any, sep: str = "+", **named: Any) -> str:
        own = __class__.__name__
        return f"{own}:{super().who(*args, sep=sep, **named)}:{self.__hidden!r:>{len(own)}}{sep and '!'}"


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def around(*args: Any, **named: Any) -> Any:
        if not args and not named:
            return ("bare", function())
        return function(*args, **named)

    return around


@logged
def match_it(value: Any = None) -> Any:
    match value:
        case None | False:
            return "nothing"
        case int(n) if n > 10 or n < -10:
            return f"big {n}"
        case [first, *rest] if rest and first:
            return first, rest
        case {"key": found, **others}:
            return found, sorted(others)
        case Point(x=0, y=y):
            return f"on the axis at {y}"
        case str() as text:
            return text.upper()
    return "no match"


def walrus(items: list[Any]) -> list[Any]:
    if (n := len(items)) > 2 and (last := items[-1]):
        return [n, last]
    return [m for item in items if (m := item and item * 2)]


def loops(limit: int) -> list[Any]:
    seen: list[Any] = []
    for number in range(limit):
        if number == 1:
            continue
        if number == 4:
            break
        seen.append(number)
    else:
        seen.append("else")
    while limit and seen:
        limit -= 1
        if limit % 2:
            continue
        seen.append(-limit)
        if limit > 20:
            break
    else:
        seen.append("done")
    for a, b in zip(seen, seen[1:], strict=False):
        for _ in ():
            seen.append("never")
        if a is b:
            seen.append("twice")
    while True:
        limit += 1
        if limit > 3:
            return seen


def tries(action: Callable[[], Any]) -> list[Any]:
    log: list[Any] = []
    try:
        log.append("try")
        log.append(action())
        log.append("after")
    except (KeyError, ZeroDivisionError) as error:
        log.append(type(error).__name__)
        try:
            raise RuntimeError("second") from error
        except RuntimeError as second:
            log.append(second.__cause__ is error)
    except ValueError:
        log.append("value")
        return log
    else:
        log.append("else")
    finally:
        log.append("finally")
    with suppress(ArithmeticError):
        log.append(action())
        log.append("not suppressed")
    return log


def groups(*errors: Exception) -> list[str]:
    log = []
    try:
        if errors:
            raise ExceptionGroup("all", list(errors))
    except* ValueError as group:
        log.append(f"value {len(group.exceptions)}")
    except* (TypeError, KeyError) as group:
        log.append(f"other {len(group.exceptions)}")
    else:
        log.append("none")
    return log


def generator(limit: int) -> Generator[int, Any, str]:
    got = None
    for number in range(limit):
        got = (yield number) or got
        if got == "stop":
            return "stopped"
    return f"{got}"


def delegating(limit: int) -> Iterator[Any]:
    result = yield from generator(limit)
    yield result if result else None


async def numbers(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        await asyncio.sleep(0)
        yield number


async def asynchronous(limit: int) -> list[Any]:
    @contextmanager
    def silent() -> Iterator[None]:
        try:
            yield
        except KeyError:
            log.append("silenced")

    async def value(of: int) -> int:
        return of and await asyncio.sleep(0, of)

    log: list[Any] = [n async for n in numbers(limit) if n % 2 or not n]
    async for n in numbers(limit):
        if n > 1:
            break
        log.append(await value(n) or "zero")
    else:
        log.append("else")
    async with asyncio.timeout(None) as clock:
        log.append(clock.when() is None and (await value(limit), "when"))
    with silent():
        log.append({}[limit])
    waiting: list[Awaitable[int]] = [value(of) for of in range(limit) if of != 1]
    return log + await asyncio.gather(*waiting)


def scopes() -> list[Any]:
    global _COUNT
    total = 0

    def add(amount: int) -> int:
        nonlocal total
        total = total + amount if 0 < amount < 100 else total
        return total

    class Inner:
        size = total or 3
        if size > 2:
            names = [total for total in range(size) if total]

        def get(self) -> int:
            return total and self.size

    _COUNT += 1
    results: list[Any] = [add(1), add(0), add(200), Inner().get(), Inner.names, _COUNT]
    results.append((lambda *a, k=total or 9, **kw: a and (k, kw) or "no args")())
    results.append((lambda *a, k=total or 9, **kw: a and (k, kw) or "no args")(1, z=2))
    results.append({k: v for k, v in zip("abc", range(3), strict=True) if v and k != "c"})
    results.append(sorted({x % 3 for x in range(9) if not x % 2 and x or x == 7}))
    return results


def sees_locals(a: int, b: int) -> list[str]:
    c = a or b
    for _ in range(b):
        pass
    return sorted(locals()) if c else []


def own_names(a: int) -> tuple[str, ...]:
    result = {"a": a or 1}
    return tuple(sorted(result)) + tuple(n for n in vars(sys.modules[__name__]) if n.startswith("__"))


def lets_go() -> list[bool]:
    """Whether objects die where they should when they went through a short-circuit."""
    log = []
    for truth in (True, False):

        def made(truth: bool = truth) -> Truth:
            thing = Truth(truth)
            dead.append(weakref.ref(thing))
            return thing

        dead: list[weakref.ref[Truth]] = []
        kept: Any = made() or made() or dead[0]() is None
        log.append([ref() is None for ref in dead] == [False] or (truth, kept))
        kept = None
        log.append(all(ref() is None for ref in dead))
        kept = made() and made() and 3
        log.append(kept)
        del kept
        log.append(all(ref() is None for ref in dead))
    return log


def truths(*states: bool | None) -> list[Any]:
    a, b, c = (Truth(state) for state in states)
    log: list[Any] = [
        (a and b or c) is a,
        (a or b) is b,
        not (a and not b or c),
        "x" if a or (b and c) else "y",
        1 if not a else 2 if (b if c else a) else 3,
    ]
    while a and len(log) < 9:
        log.append("again")
        if (not b) or c:
            break
    assert a.asked or c, "asked" and "for"
    return log


def asked(*states: bool | None) -> list[int]:
    """How often each truth was asked for.  (Where `and` and `or` are nested Pythons differ in that.)"""
    a, b, c = (Truth(state) for state in states)
    ways: list[Any] = [a and b, a or b, a and b and c, not a, not (a or b), 1 if a and (b or c) else 2]
    if a or b and c:
        ways += [b for _ in range(3) if b and not c]
    elif not (a and b) or c:
        assert not a or b, a and b
    (lambda d: ways.append(d or b))(a)
    return [a.asked, b.asked, c.asked]


def chains(a: Any, b: Any, c: Any) -> list[Any]:
    calls = []

    def of(value: Any) -> Any:
        calls.append(value)
        return value

    return [a < b < c, a <= b == c != a, of(a) < of(b) < of(c), 0 < a < _COUNT < 99, a in (1, 2) in [b], calls]


def one_line(a: int, b: int) -> Any:
    if a: x = 1; y = a and b
    else: x = 2; y = 3
    for z in range(b): x += z; y = (
        y or
        a); x += 1
    return x, y; a = 5


@lru_cache(maxsize=None if sys else 1)
def fibonacci(n: int) -> int:
    """Numbers of rabbits.

    With a docstring of its own.
    """
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def documented() -> None:
    """Nothing but this."""


def stub() -> None: ...


def deep(depth: int) -> int:
    return depth and 1 + deep(
        depth - 1
    )


def fails(how: str, depth: int = 2) -> Any:
    if depth:
        return (how and
                fails(how, depth - 1)) or None
    nothing: Any = None
    parts: Any = {"a": {"b": None}}
    unready = Truth(None)
    if how == "attribute":
        return (nothing or nothing).attribute if how else 0
    if how == "subscript":
        return [parts["a"]["b"]["c"] for part in parts if part]
    if how == "divide":
        return 1 + (depth or 1) / (depth and
                                   3)
    if how == "truth" and unready:
        return 1
    if how == "truth in value":
        return unready or 2
    if how == "truth of parameter":
        return (lambda given: (given or 1) and 2)(unready)
    if how == "truth in chain":
        return (nothing is None) < 2 and (how if unready else None)
    if how == "compare":
        return 0 < depth + 1 < nothing < 4
    if how == "compare local":
        return 0 <= depth < nothing
    if how == "unbound":
        return unbound or how
    if how == "assert":
        assert how != "assert", f"not {how}"
    if how == "assert plain":
        assert depth and how
    if how == "loop":
        for part in parts[
            "a"]["b"]:
            return part
    if how == "lambda":
        return (lambda x: x.y or 1)(depth)
    if how == "generator":
        return list(1 // n for n in (1, 0) if n < 5)
    if how == "while":
        while unready:
            depth += 1
    if how == "guard":
        match depth:
            case 0 if unready or depth:
                return 1
    if how == "with":
        with suppress(KeyError), parts["a"]["b"]:
            return 1
    if how == "from":
        try:
            return [][depth or 0]
        except IndexError as error:
            raise KeyError(how) from error
    if how == "finally":
        try:
            return nothing()
        finally:
            depth = nothing or 1
    if how == "global":
        return missing_name and 1
    unbound = None
    raise NotImplementedError(
        how or None
    )


FAILURES = [
    "assert", "assert plain", "attribute", "compare", "compare local", "divide", "finally", "from", "generator",
    "global", "guard", "lambda", "loop", "other", "subscript", "truth", "truth in chain", "truth in value",
    "truth of parameter", "unbound", "while", "with",
]


def failure(how: str) -> str:
    """The traceback, carets and all, without the frames' own local state."""
    try:
        fails(how)
    except Exception:
        return traceback.format_exc()
    return "no failure"


def exercise() -> list[Any]:
    """What all of the above says."""
    log: list[Any] = [call() for call in TABLE.values()]
    log += [[shape.is_round for shape in Shape], sorted([Point(2, 1), Point(1, 2)]), Point(-1, 0), Point(7), Point.made]
    log += [Point(1) + Point(2), Base.tag, Derived.tag, Derived(0).who(1, 0, "x", z=3), Derived(3).who(sep="")]
    log += [match_it(value) for value in (False, 11, 3, [1, 2], [0, 1], {"key": 1, "b": 2}, Point(0, 4), "s")]
    log += [match_it(), walrus([1, 2, 3]), walrus([0, 0, 0]), walrus([0, 4])]
    log += [loops(limit) for limit in (0, 1, 3, 5, 30)]
    actions: list[Callable[[], Any]] = [lambda: 1, lambda: {}[1], lambda: 1 // 0, lambda: int("x"), lambda: None]
    log += [tries(action) if number != 1 else None for number, action in enumerate(actions) if number != 2]
    log += [groups(), groups(ValueError(1), TypeError(2), KeyError(3)), groups(KeyError(3))]
    stepping = generator(3)
    log += [next(stepping), stepping.send("a"), list(stepping), list(delegating(2)), list(delegating(0))]
    log += [asyncio.run(asynchronous(limit)) for limit in (0, 1, 3)]
    log += [scopes(), sees_locals(0, 1), own_names(0), lets_go()]
    states = [True, False]
    log += [how(a, b, c) for how in (truths, asked) for a in states for b in states for c in states]
    log += [chains(a, b, c) for a in (0, 1, 2) for b in (0, 1, 2) for c in (1, 2)]
    log += [one_line(a, b) for a in (0, 1) for b in (0, 2)]
    log += [fibonacci(10), fibonacci.__doc__, documented.__doc__, documented(), stub(), deep(50)]
    log += [inspect.getsource(function) for function in (deep, fails, documented, Shape)]
    log += [str(inspect.signature(function)) for function in (deep, fails, scopes, Derived.who)]
    log += [fails.__annotations__, Point.__annotations__, fails.__code__.co_firstlineno, fails.__qualname__]
    log += [(how, failure(how)) for how in FAILURES]
    return log
