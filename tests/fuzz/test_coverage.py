"""Coverage of targets: arms are told apart, targets notice nothing, only their own modules count."""

from __future__ import annotations

import contextlib
import dis
import importlib
import importlib.util
import itertools
import py_compile
import re
import sys
import textwrap
import threading
import traceback
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fuzz.coverage
from fuzz.coverage import Coverage, coverage_for
from fuzz.instrument import CELLS, FIRST_LINE, REACHED, CellProbes, LineProbes, Probes, Site, instrument

SAMPLES = Path(__file__).parent / "coverage_samples"
METHODS = ["lines", "cells"] if sys.version_info >= (3, 12) else ["cells"]
MARKS = {CELLS, REACHED}

_numbers = itertools.count()


class Workshop:
    """A folder on sys.path for modules, and the coverage of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.coverages: list[Coverage] = []

    def write(self, source: str, name: str = "") -> str:
        """The name of a new module; dots in `name` make packages."""
        name = name or f"coverage_sample_{next(_numbers)}"
        path = self.folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return name

    def start(self, name: str, **options: Any) -> Coverage:
        coverage = coverage_for(name, **options)
        self.coverages.append(coverage)
        coverage.start()
        return coverage

    def load(self, source: str) -> tuple[Any, Coverage]:
        """A new module of that source, and its coverage."""
        name = self.write(source)
        coverage = self.start(name)
        return importlib.import_module(name), coverage

    def load_both(self, name: str) -> tuple[Any, Any, Coverage]:
        """A module bare, the same measured, and its coverage."""
        bare = importlib.import_module(name)
        del sys.modules[name]
        coverage = self.start(name)
        return bare, importlib.import_module(name), coverage


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cells":
        monkeypatch.setattr(fuzz.coverage, "_TOOLS", ())
    return str(request.param)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[Workshop]:
    for folder in (tmp_path, SAMPLES):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before, finders = set(sys.modules), list(sys.meta_path)
    shop = Workshop(tmp_path)
    yield shop
    for coverage in shop.coverages:
        coverage.stop()
    assert sys.meta_path == finders
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith((str(tmp_path), str(SAMPLES))) or name.startswith("coverage_"):
            del sys.modules[name]


# arms: each call of f, in this order, reaches what none before it did, and again reaches nothing new

ARMS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "if": ("if a: log(1)", [(0,), (1,)]),
    "if, taken first": ("if a: log(1)", [(1,), (0,)]),
    "if on its own line": ("if a:\n    log(1)\nlog(2)", [(0,), (1,)]),
    "if else": ("if a: log(1)\nelse: log(2)", [(0,), (1,)]),
    "elif": ("if a: log(1)\nelif b: log(2)", [(0, 0), (0, 1), (1, 1)]),
    "elif else": ("if a:\n  return 1\nelif b:\n  return 2\nelse:\n  return 3", [(1, 1), (0, 1), (0, 0)]),
    "not": ("if not a: return 1", [(0,), (1,)]),
    "return either": ("if a: return 1\nreturn 2", [(0,), (1,)]),
    "and": ("if a and b: log(1)", [(0, 0), (1, 0), (1, 1)]),
    "and, last first": ("if a and b: log(1)", [(1, 1), (1, 0), (0, 1)]),
    "or": ("if a or b: log(1)", [(0, 0), (0, 1), (1, 0)]),
    "or else": ("if a or b: log(1)\nelse: log(2)", [(1, 0), (0, 0), (0, 1)]),
    "not and": ("if not (a and not b): log(1)", [(0, 0), (1, 1), (1, 0)]),
    "and or": ("if a and (b or c): log(1)", [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0)]),
    "or and": ("if a or b and c: log(1)", [(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 0)]),
    "chain": ("if a < b < c: log(1)", [(1, 0, 0), (0, 1, 1), (0, 1, 2)]),
    "chain, last first": ("if a < b < c: log(1)", [(0, 1, 2), (0, 1, 1), (1, 0, 0)]),
    "chain of calls": ("if log(a) < log(b) < log(c): log(1)", [(1, 0, 0), (0, 1, 1), (0, 1, 2)]),
    "chain as value": ("x = a < b < c", [(1, 0, 0), (0, 1, 1)]),
    "chain of calls as value": ("x = log(a) < log(b) < log(c)", [(1, 0, 0), (0, 1, 1)]),
    "value and": ("return a and b", [(1, 0), (0, 0)]),
    "value or": ("return a or b", [(1, 0), (0, 0)]),
    "value or of calls": ("return log(a) or log(b) or log(c)", [(0, 0, 1), (0, 1, 0), (1, 0, 0)]),
    "value and or": ("x = log(a) and log(b) or log(c)", [(1, 1, 0), (1, 0, 0), (0, 0, 0)]),
    "value of not": ("x = not a or b", [(1, 0), (0, 0)]),
    "value of is": ("x = a is None and b", [(None, 0), (0, 0)]),
    "argument": ("log(a or b)", [(1, 0), (0, 0)]),
    "no temporaries": ("locals()\nx = log(a) or log(b)", [(1, 0), (0, 0)]),
    "conditional": ("x = 1 if a else 2", [(1,), (0,)]),
    "conditional of and": ("x = 1 if a and b else 2", [(1, 1), (1, 0), (0, 0)]),
    "conditional test": ("if (b if a else c): log(1)", [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)]),
    "f-string": ("x = f'{a or b} {1 if c else 2}'", [(1, 0, 0), (0, 0, 0), (0, 0, 1)]),
    "walrus": ("if (x := a) and (y := b): log(x)", [(0, 0), (1, 0), (1, 1)]),
    "for": ("for x in range(a): log(x)", [(0,), (1,)]),
    "for, entered first": ("for x in range(a): log(x)", [(1,), (0,)]),
    "for break": ("for x in range(a):\n  if b: break", [(0, 0), (1, 0), (1, 1)]),
    "for else": ("for x in range(a):\n  if b: break\nelse:\n  log(2)", [(1, 1), (1, 0), (0, 0)]),
    "for in for": ("for x in range(a):\n  for y in range(b * x): log(y)", [(0, 0), (1, 1), (2, 1)]),
    "for with locals": ("locals()\nfor x in range(a): log(x)", [(0,), (1,)]),
    "while": ("while a: a -= 1", [(0,), (1,)]),
    "while, entered first": ("while a: a -= 1", [(2,), (0,)]),
    "while and": ("while a and b: a -= 1", [(0, 0), (1, 0), (1, 1)]),
    "while true": ("while True:\n  a += 1\n  if a > 3: break", [(3,), (0,)]),
    "continue": ("for x in range(3):\n  if a:\n    continue\n  log(x)", [(1,), (0,)]),
    "try": ("try: 1 // a\nexcept ZeroDivisionError: pass", [(0,), (1,)]),
    "try, passed first": ("try: 1 // a\nexcept ZeroDivisionError: pass", [(1,), (0,)]),
    "handlers": (
        "try: {1: 2}[1 // a]\nexcept ZeroDivisionError: pass\nexcept KeyError: log(1)\nelse: log(2)",
        [(0,), (2,), (1,)],
    ),
    "steps in try": (
        "try:\n  log(1 // a)\n  log(1 // b)\nexcept ZeroDivisionError: pass",
        [(0, 0), (1, 0), (1, 1)],
    ),
    "finally": ("try:\n  if a: return 1\nfinally:\n  log(2)", [(1,), (0,)]),
    "handlers of groups": (
        "try:\n  if a: raise ExceptionGroup('', [a])\nexcept* KeyError: log(1)\nexcept* ValueError: log(2)",
        [(None,), (KeyError(),), (ValueError(),)],
    ),
    "with": ("with suppress(ZeroDivisionError): log(1 // a)", [(0,), (1,)]),
    "match": ("match a:\n  case 0: log(0)\n  case [x, *_]: log(x)", [(0,), ([1],), (2,)]),
    "match all": ("match a:\n  case 0: log(0)\n  case _: log(1)", [(0,), (2,)]),
    "guard": ("match a:\n  case 0 if b: log(0)\n  case 0: log(1)", [(0, 0), (0, 1), (1, 1)]),
    "guard and": ("match a:\n  case x if b and c: log(0)", [(0, 0, 0), (0, 1, 0), (0, 1, 1)]),
    "assert": ("with suppress(AssertionError):\n  assert a", [(1,), (0,)]),
    "assert and": ("with suppress(AssertionError):\n  assert a and b", [(1, 1), (1, 0), (0, 0)]),
    "comprehension": ("x = [log(y) for y in range(a)]", [(0,), (1,)]),
    "comprehension if": ("x = [y for y in range(a) if y > b]", [(0, 0), (1, 0), (2, 0)]),
    "comprehension and": ("x = {y for y in (a,) if y and y > b}", [(0, 0), (1, 1), (1, 0)]),
    "dict comprehension": ("x = {y: 1 if y else 2 for y in range(a)}", [(0,), (1,), (2,)]),
    "generator": ("x = sum(y or b for y in range(a))", [(0, 0), (1, 0), (2, 0)]),
    "yield": ("def g():\n  got = yield\n  if got: yield got\nx = g()\nnext(x)\nif a: list(x)", [(0,), (1,)]),
    "lambda": ("x = lambda y: y and b\nif a is not None: x(a)", [(None, 0), (0, 0), (1, 0)]),
    "nested function": ("def g(x):\n  if x: log(x)\nif a: g(b)", [(0, 0), (1, 0), (1, 1)]),
    "default": ("def g(x=a or b): return x", [(0, 0), (1, 0)]),
    "class in function": ("class C:\n  x = a or b\n  if a: y = 1", [(0, 0), (1, 0)]),
    "del": ("x = [1]\nif a: del x[0]", [(0,), (1,)]),
    "same line": ("x = 1; y = a or 2\nif a: x = 2; y = b and 3", [(0, 0), (1, 0), (1, 1)]),
}  # fmt: skip


@pytest.mark.parametrize("arms", ARMS)
def test_each_arm_is_told_apart(workshop: Workshop, method: str, arms: str) -> None:
    body, calls = ARMS[arms]
    module, coverage = workshop.load(
        "from contextlib import suppress\n"
        "def log(value): return value\n"
        "def f(a=None, b=None, c=None):\n" + textwrap.indent(body, "    ")
    )
    assert (coverage.method, coverage.novel()) == (method, 0)
    for call in calls:
        module.f(*call)
        assert coverage.novel() > 0, (call, coverage.sites())
        for again in calls[: calls.index(call) + 1]:
            module.f(*again)
        assert coverage.novel() == 0, call


def test_arms_in_async_code(workshop: Workshop, method: str) -> None:
    module, coverage = workshop.load("""
        import asyncio
        from contextlib import asynccontextmanager
        async def numbers(n):
            for x in range(n):
                yield x
        @asynccontextmanager
        async def silent():
            try: yield
            except KeyError: pass
        async def f(a, b):
            async for x in numbers(a):
                if await asyncio.sleep(0, b): break
            async with silent():
                {0: 1}[b]
            return [x async for x in numbers(a) if x] and (await asyncio.sleep(0, b) or 2)
        def run(a, b): return asyncio.run(f(a, b))
    """)
    for a, b in [(0, 0), (1, 0), (1, 1), (2, 1), (2, 0)]:
        module.run(a, b)
        assert coverage.novel() > 0, (a, b)
        module.run(a, b)
        assert coverage.novel() == 0


# the target notices nothing


def test_a_measured_module_behaves_as_it_does_bare(workshop: Workshop, method: str) -> None:
    bare, measured, coverage = workshop.load_both("every_syntax")
    expected, found = bare.exercise(), measured.exercise()
    for one, other in zip(expected, found, strict=True):
        assert repr(one) == repr(other)  # repr: the classes are two
    assert coverage.method == method
    assert coverage.novel() == coverage.hit() > coverage.total() * 0.7
    assert set(vars(measured)) - set(vars(bare)) == (MARKS if method == "cells" else set())
    assert list(measured.__all__) == list(bare.__all__)
    for name in ("__doc__", "__file__", "__cached__", "__name__", "__package__"):
        assert getattr(measured, name) == getattr(bare, name)
    assert type(measured.__loader__) is type(bare.__loader__)
    assert measured.__spec__.loader is measured.__loader__
    assert "get_code" not in vars(measured.__loader__)


def test_with_its_comparisons_told_of_it_still_behaves_so(workshop: Workshop, method: str) -> None:
    bare, measured, coverage = workshop.load_both("every_syntax")
    coverage.watch_comparisons(True)
    with coverage.tracing() as sites:
        found = measured.exercise()
    assert coverage.comparisons.operands, "its comparisons were told of"
    reached = set(sites)
    coverage.watch_comparisons(False)
    for one, other in zip(bare.exercise(), found, strict=True):
        frame = r"\\n  File [^ ]*comparisons.py[^ ]* line \d+, in (compared|operated|called)\\n.*?(?=\\n)"
        plain, watched = (re.sub(rf"\\n +[~^]+|{frame}", "", repr(value)) for value in (one, other))
        assert plain == watched  # but for our frame where one raises, and carets
    with coverage.tracing() as sites:
        measured.exercise()
    assert len(sites ^ reached) <= 5, (
        "both versions have the same marks; a second time some things are there already"
    )
    assert coverage.novel() >= len(reached | sites) > coverage.total() * 0.7
    assert coverage.latest >= reached | sites
    coverage.comparisons.begin()
    measured.exercise()
    assert not coverage.comparisons.operands


def test_operands_and_how_near_they_came(workshop: Workshop) -> None:
    module, coverage = workshop.load("""
        TABLE = {"open": 1, "close": 2}
        LIMIT = 7
        def f(number, text):
            if number * LIMIT == 700 or text.startswith("X-") or text in ("a", "b"):
                return 1
            if text == b"raw".decode() or number in {5, 6}:
                return 2
            return TABLE.get(text)
    """)
    comparisons = coverage.comparisons
    coverage.watch_comparisons(True)
    with coverage.tracing():
        assert module.f(3, "hello") is None
    assert set(comparisons.operands) == {
        ("Eq", 21, 700),
        ("startswith", "hello", "X-"),
        *(("Eq", "hello", word) for word in ("a", "b", "raw", "open", "close")),
        *(("Eq", 3, number) for number in (5, 6)),
    }
    new = []
    for number in (3, 50, 90, 99, 99, 101, 2):
        comparisons.begin()
        module.f(number, "y")
        new.append(any(feature.startswith("comparison 0 ") for feature in comparisons.new))
    assert new == [False, True, True, True, False, False, False], (
        "each time that it comes nearer, by powers of two"
    )
    comparisons.begin()
    module.f(100, "y")
    module.f(99, "y")
    assert not comparisons.new, "it has come out both ways"


def test_comparisons_of_functions_wherever_they_are(workshop: Workshop) -> None:
    module, coverage = workshop.load("""
        import functools
        def plain(function): return functools.wraps(function)(lambda *args: function(*args))
        class Target:
            @property
            def much(self): return self.number > 1001
            @staticmethod
            def fixed(number): return number > 1002
            @plain
            def wrapped(self, number): return number > 1003
            def inner(self, number):
                def compare(): return number > 1004
                return compare() or [n for n in (number,) if n > 1005] or (lambda: number > 1006)()
        def deferred(number):
            yield number > 1007
    """)
    coverage.watch_comparisons(True)
    target = module.Target()
    target.number = 3
    with coverage.tracing():
        assert not (target.much or target.fixed(3) or target.wrapped(3) or target.inner(3))
        assert not any(module.deferred(3))
    assert sorted(coverage.comparisons.operands) == [("Gt", 3, 1000 + number) for number in range(1, 8)]


def test_what_a_comparison_raises_and_gives_is_the_targets(workshop: Workshop) -> None:
    module, coverage = workshop.load("""
        class Odd:
            def __eq__(self, other): return "odd"
            def __lt__(self, other): raise LookupError("lt")
        def f(a, b): return a == b
        def g(a, b): return a < b
    """)
    coverage.watch_comparisons(True)
    odd = module.Odd()
    assert module.f(odd, 1) == "odd"
    with pytest.raises(LookupError, match="lt"):
        module.g(odd, 1)
    with pytest.raises(TypeError, match="not supported between instances of 'int' and 'str'"):
        module.g(1, "a")


def test_constants_are_those_that_the_code_may_compare_with(workshop: Workshop) -> None:
    _, coverage = workshop.load('''
        """A docstring."""
        from __future__ import annotations
        TABLE = {"open": 0x1234, b"raw": -77}
        def f(text: str | None, number: int = 1 << 20) -> dict[str, int]:
            """Another."""
            limit: int = 99
            match text:
                case "magic": return 4096 + 4
                case _: return f"found {number}"
    ''')
    numbers, texts = coverage.constants()
    assert {0x1234, -77, 1 << 20, 99, 4100} <= set(numbers)
    assert texts == ["open", "raw", "magic", "found "]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_syntax_of_python_3_12(workshop: Workshop, method: str) -> None:
    name = workshop.write(
        '''
        from dataclasses import dataclass
        from typing import Callable, override
        type Pair[T] = tuple[T, T] if True else T
        def first[T: (int, str) = int](*items: T, default: T = 1 or 2) -> T | None:
            """The first."""
            return items[0] if items else (default and None)
        @dataclass
        class Box[T]:
            item: T
            def get[U](self, other: U = 0 or None) -> T | U:
                return self.item or other
        class Many[*Ts, **P](Box[tuple[*Ts]]): pass
        class Sub(Box[int]):
            @override
            def get(self, other=None):
                return super().get(other) or f"{self.item if self.item else f"{other or "none"}"}"
        def exercise():
            class Inner[T](Box[T]):
                kind = "inner" if Pair else None
                def value(self) -> T: return self.item and __class__.__name__
            return [first(), first(3), first.__doc__, str(first.__annotations__), str(first.__type_params__),
                    Box(0).get(5), Sub(0).get(), Sub(2).get(), Inner(4).value(), Inner(0).value(), Inner.kind,
                    str(Pair.__value__), str(Many.__type_params__),
                    [x if x else y for x in (0, 1) if (y := x) or not x]]
    '''.replace(" = int]", "]" if sys.version_info < (3, 13) else " = int]")
    )
    bare, measured, coverage = workshop.load_both(name)
    assert measured.exercise() == bare.exercise()
    assert coverage.novel() > 10


def test_an_import_that_fails_shows_its_own_frames_only(workshop: Workshop, method: str) -> None:
    name = workshop.write("x = 1\ndef f(a):\n    return a or x // a\n\nf(0)\n")
    frames = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as raised:
            importlib.import_module(name)
        frames.append([(frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(raised.tb)])
        workshop.start(name)
    assert frames[0] == frames[1]
    assert name not in sys.modules


def test_functions_that_look_at_their_locals_get_none_of_ours(workshop: Workshop, method: str) -> None:
    module, _ = workshop.load("""
        import sys
        def f(a):
            for b in range(a): pass
            c = str(a) or "b"
            return sorted(locals())
        def g(a):
            while a: a = str(a) and 0
            return sorted(sys._getframe().f_locals)
        def h(a):
            return sorted(vars())
    """)
    assert module.f(1) == ["a", "b", "c"]
    assert (module.g(1), module.h(1)) == (["a"], ["a"])


def test_nothing_is_written_to_the_bytecode_cache(workshop: Workshop, method: str) -> None:
    name = workshop.write("def f(a):\n    return a or 1\n")
    cached = Path(importlib.util.cache_from_source(str(workshop.folder / f"{name}.py")))
    coverage = workshop.start(name)
    assert importlib.import_module(name).f(0) == 1
    assert not cached.exists()
    coverage.stop()
    del sys.modules[name]
    importlib.import_module(name)
    plain = cached.read_bytes()
    del sys.modules[name]
    again = workshop.start(name)
    assert importlib.import_module(name).f(0) == 1
    assert again.novel() > 0
    assert cached.read_bytes() == plain


def test_a_warning_of_the_compiler_stays_as_silent_as_from_the_cache(workshop: Workshop, method: str) -> None:
    module, coverage = workshop.load("def f(a):\n    return a is 1 or '\\d'\n")  # warnings are errors here
    assert (module.f(2), coverage.novel()) == ("\\d", 2)


def _read_ini(module: Any) -> Any:
    parser = module.ConfigParser()
    parser.read_string("[a]\nx = 1\ny: %(x)s2\n  more\n# no\n[b]\nz=yes\n[DEFAULT]\nd = 4\n")
    answers: list[Any] = [{name: dict(section) for name, section in parser.items()}, parser.getboolean("b", "z")]
    for source in ("[a]\n[a]", "x", "[a]\nx=1\nx=2", "[a]\nx=%(y)s"):
        try:
            broken = module.ConfigParser()
            broken.read_string(source)
            answers.append(dict(broken["a"]))
        except module.Error as error:
            answers.append(f"{type(error).__name__}: {error}")
    return answers


STDLIB: dict[str, Callable[[Any], Any]] = {
    "textwrap": lambda m: [
        m.wrap("The quick brown-fox  jumps over\tthe lazy dog" * 3, width) for width in (1, 7, 30)
    ] + [m.dedent("  a\n    b\n\n  c"), m.shorten("many words in a row", 12), m.indent("a\n\nb", "> ")],
    "heapq": lambda m: [
        list(m.merge([1, 4, 9], [2, 3], [], key=abs, reverse=False)),
        m.nsmallest(3, [5, 1, 4, 2], key=lambda x: -x), m.nlargest(2, "heap"), m.nlargest(1, []),
    ],
    "configparser": _read_ini,
    "string": lambda m: [
        m.Template("$a ${b} $$ $").safe_substitute(a=1), m.capwords("ab cd"),
        m.Formatter().format("{0[1]!r:>4}", "xy"),
    ],
    "shlex": lambda m: [m.split("a 'b c' d\\ e # f", comments=True), m.join(["a b", "c'd"]), m.quote("")],
    "difflib": lambda m: [
        list(m.unified_diff("abcdef", "abxdeg")), m.get_close_matches("appel", ["ape", "apple", "peach"]),
        list(m.ndiff(["one\n", "two\n"], ["ore\n", "tree\n"])),
    ],
    "fractions": lambda m: [str(m.Fraction("3/4") ** 2), m.Fraction(1.5) // 1, m.Fraction("1e-2")],
    "colorsys": lambda m: [m.rgb_to_hls(*rgb) for rgb in ((0, 0, 0), (1, 0.5, 0), (0.2, 0.4, 0.6))],
    "graphlib": lambda m: list(m.TopologicalSorter({1: [2, 3], 2: [3], 4: []}).static_order()),
}  # fmt: skip


@pytest.mark.parametrize("name", STDLIB)
def test_a_library_module_gives_the_same_results(workshop: Workshop, name: str) -> None:
    source = Path(str(importlib.util.find_spec(name) and importlib.import_module(name).__file__))
    copied = workshop.write(source.read_text(encoding="utf-8"), f"coverage_copy_of_{name}")
    bare, measured, coverage = workshop.load_both(copied)
    assert STDLIB[name](measured) == STDLIB[name](bare)
    assert coverage.novel() > 0


# only the target's own modules


def package(workshop: Workshop) -> str:
    """A package of modules with one branch each, where `lib` stands for a library; its name."""
    name = f"coverage_package_{next(_numbers)}"
    branch = "\ndef f(a):\n    if a: return 1\n    return 2\n"
    workshop.write(branch + "from . import near", f"{name}.__init__")
    workshop.write(branch, f"{name}.near")
    workshop.write(branch, f"{name}_lib.__init__")
    workshop.write(branch, f"{name}_lib.inner")
    workshop.write(branch, f"{name}_other")
    workshop.write("", f"{name}.sub.__init__")
    workshop.write(
        f"import json.tool, {name}_lib.inner, {name}_other\nfrom .. import near" + branch, f"{name}.sub.target"
    )
    return name


def files(coverage: Coverage, name: str) -> set[str]:
    """Where any site is, hit or not."""
    places = coverage.sites() + coverage.missed()
    return {place.rpartition(":")[0].replace(name, "p") for place in places}


def test_only_the_targets_package_is_measured(workshop: Workshop) -> None:
    name = package(workshop)
    coverage = workshop.start(f"{name}.sub.target")
    sys.modules.pop("json.tool", None)
    module = importlib.import_module(f"{name}.sub.target")
    assert files(coverage, name) == {"p/__init__.py", "p/near.py", "p/sub/target.py"}
    assert (coverage.available, coverage.reason, coverage.hit()) == (True, "", 0)
    module.near.f(1)
    sys.modules[f"{name}_other"].f(1)
    assert coverage.sites() == [f"{name}/near.py:3"]
    assert coverage.missed() == sorted(coverage.missed())


def test_extra_modules_and_packages_are_measured_too(workshop: Workshop) -> None:
    name = package(workshop)
    coverage = workshop.start(f"{name}.sub.target", extra=[f"{name}_lib", f"{name}_other"])
    importlib.import_module(f"{name}.sub.target")
    assert files(coverage, name) == {
        "p/__init__.py", "p/near.py", "p/sub/target.py", "p_lib/__init__.py", "p_lib/inner.py", "p_other.py",
    }  # fmt: skip


def test_in_a_namespace_package_the_regular_package_below_it_is_measured(workshop: Workshop) -> None:
    space = f"coverage_space_{next(_numbers)}"
    for name in ("lone", "other", "regular.__init__", "regular.target", "regular.near"):
        workshop.write("def f(a): return a or 1", f"{space}.{name}")
    lone, regular = workshop.start(f"{space}.lone"), workshop.start(f"{space}.regular.target")
    for name in ("lone", "other", "regular.near", "regular.target"):
        importlib.import_module(f"{space}.{name}")
    assert files(lone, space) == {"p/lone.py"}
    assert files(regular, space) == {"p/regular/__init__.py", "p/regular/near.py", "p/regular/target.py"}


@pytest.mark.parametrize(
    ("name", "target", "covered"),
    [
        ("replayer.samples.x", "replayer.samples.x", True),
        ("replayer.samples.send_receive", "replayer.samples", True),
        ("replayer.samples", "replayer.samples.x", True),
        ("replayer", "replayer.samples.x", False),
        ("replayer.player", "replayer.samples.x", False),
        ("replayer.player", "replayer.player", False),
        ("fuzz.coverage", "fuzz", False),
        ("json", "package.json", False),
        ("package.json", "package.json", True),
        ("package.json.inner", "package.json", True),
        ("package", "package.json", True),
        ("packages", "package.json", False),
    ],
)
def test_which_modules_belong_to_a_target(name: str, target: str, covered: bool) -> None:
    assert coverage_for(target)._covers(name) is covered


def test_synctape_itself_is_no_target(workshop: Workshop) -> None:
    coverage = workshop.start("replayer.player")
    assert not coverage.available
    assert "never measured" in coverage.reason


# what cannot be measured works all the same


def test_a_module_imported_before_cannot_be_measured(workshop: Workshop) -> None:
    name = workshop.write("def f(a): return a or 1")
    importlib.import_module(name)
    coverage = workshop.start(name)
    assert (coverage.available, coverage.reason) == (False, f"{name}: imported before coverage started")
    assert importlib.import_module(name).f(0) == 1
    assert (coverage.novel(), coverage.hit(), coverage.total(), coverage.sites()) == (0, 0, 0, [])


def test_a_package_imported_before_is_told_but_its_new_modules_are_measured(workshop: Workshop) -> None:
    name = package(workshop)
    importlib.import_module(name)
    coverage = workshop.start(f"{name}.sub.target")
    importlib.import_module(f"{name}.sub.target")
    assert coverage.available
    assert coverage.reason.count("imported before coverage started") == 2
    assert files(coverage, name) == {"p/sub/target.py"}


def test_a_module_without_source(workshop: Workshop) -> None:
    name = workshop.write("def f(a): return a or 1")
    source = workshop.folder / f"{name}.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")))
    source.unlink()
    importlib.invalidate_caches()
    coverage = workshop.start(name)
    assert importlib.import_module(name).f(0) == 1
    assert (coverage.available, coverage.total(), coverage.novel()) == (False, 0, 0)
    assert coverage.reason == f"{name}: its loader, SourcelessFileLoader, gives no source to rewrite"


def test_an_extension_module_and_a_missing_one(workshop: Workshop) -> None:
    extension = next(
        name
        for name in ("_testcapi", "_xxtestfuzz", "_ctypes_test", "_zoneinfo")
        if importlib.util.find_spec(name)
    )
    sys.modules.pop(extension, None)
    coverage = workshop.start(extension)
    importlib.import_module(extension)
    assert (coverage.total(), coverage.novel()) == (0, 0)
    missing = workshop.start("coverage_missing")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("coverage_missing")
    assert (missing.available, missing.total()) == (True, 0)


def test_a_loader_that_compiles_by_itself_is_left_alone(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loader(importlib.machinery.SourceFileLoader):
        def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> types.CodeType:  # type: ignore[override]
            return compile(bytes(data).replace(b"or 1", b"or 3"), path, "exec")

    class Finder:
        def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
            return (
                importlib.util.spec_from_loader(name, Loader(name, str(path_of_it))) if fullname == name else None
            )

    name = workshop.write("def f(a): return a or 1")
    path_of_it = workshop.folder / f"{name}.py"
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    coverage = workshop.start(name)
    assert importlib.import_module(name).f(0) == 3
    assert (coverage.available, coverage.total()) == (False, 0)
    coverage.stop()
    workshop.coverages.clear()
    monkeypatch.undo()
    sys.modules.pop(name)


def test_source_too_deep_to_rewrite_runs_bare(workshop: Workshop) -> None:
    module, coverage = workshop.load("def f(a):\n    return a" + " + 1" * 900 + "\n")
    assert module.f(0) == 900
    if not coverage.available:
        assert "RecursionError" in coverage.reason
        assert coverage.total() == 0


def test_a_syntax_error_is_the_targets(workshop: Workshop) -> None:
    name = workshop.write("def f(:\n")
    coverage = workshop.start(name)
    with pytest.raises(SyntaxError) as raised:
        importlib.import_module(name)
    assert raised.value.filename == str(workshop.folder / f"{name}.py")
    assert not coverage.available


def test_a_module_in_a_zip_file(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"coverage_zipped_{next(_numbers)}"
    archive = workshop.folder / "targets.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.py", "def f(a):\n    return a or 1\n")
    monkeypatch.syspath_prepend(archive)
    coverage = workshop.start(name)
    module = importlib.import_module(name)
    assert (module.f(0), coverage.novel(), coverage.sites()) == (1, 2, [f"{name}.py:2"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_source_in_other_encodings(workshop: Workshop, encoding: str) -> None:
    name = workshop.write("")
    cookie = "# coding: latin-1\n" if encoding == "latin-1" else ""
    source = cookie + 'def f(a):\r\n    é = "ü" if a else "ö"\r\n    return é\r\n'
    (workshop.folder / f"{name}.py").write_bytes(source.encode(encoding))
    coverage = workshop.start(name)
    if encoding == "utf-16":
        with pytest.raises((SyntaxError, ValueError, ImportError)):
            importlib.import_module(name)
        return
    assert importlib.import_module(name).f(1) == "ü"
    assert (coverage.novel(), coverage.total()) == (2, 3)


# counting


TWO_BRANCHES = """
def f(a):
    if a:
        return 1
    return 2


def g():
    return f(0)
"""


def test_what_is_counted(workshop: Workshop, method: str) -> None:
    module, coverage = workshop.load(TWO_BRANCHES)
    name = module.__name__
    assert (coverage.novel(), coverage.hit(), coverage.total(), coverage.sites()) == (0, 0, 4, [])
    assert module.f(1) == 1
    assert (coverage.novel(), coverage.novel(), coverage.hit()) == (2, 0, 2)
    assert coverage.sites() == [f"{name}.py:3", f"{name}.py:4"]
    assert coverage.missed() == [f"{name}.py:3 false", f"{name}.py:9 g entered"]
    assert module.g() == 2
    assert (coverage.novel(), coverage.hit(), coverage.total(), coverage.missed()) == (2, 4, 4, [])
    assert coverage.sites() == [f"{name}.py:{line}" for line in (3, 4, 9)]


def test_sites_are_in_the_order_of_lines(workshop: Workshop) -> None:
    module, coverage = workshop.load("def f(a):\n" + "    if a: a -= 1\n" * 12)
    module.f(6)
    lines = [int(site.rpartition(":")[2]) for site in coverage.sites()]
    assert lines == sorted(lines)
    assert len(lines) == len(set(lines)) < coverage.hit() + 1


def test_what_runs_at_import_is_not_counted(workshop: Workshop) -> None:
    _, coverage = workshop.load("""
        A = [x for x in range(3) if x] or 1
        for B in A:
            if B: C = B and 2
        class D:
            if A: E = 1 if B else 2
        try: F = 1 // 0
        except ZeroDivisionError: F = None
        match A:
            case [1]: pass
        with open(__file__) as f: pass
        while B: B -= 1
        assert A and C
    """)
    assert (coverage.total(), coverage.hit()) == (0, 0)


def test_a_module_imported_again_keeps_its_sites(workshop: Workshop) -> None:
    name = workshop.write(TWO_BRANCHES)
    coverage = workshop.start(name)
    importlib.import_module(name).f(0)
    assert (coverage.novel(), coverage.total()) == (2, 4)
    del sys.modules[name]
    module = importlib.import_module(name)
    module.f(0)
    assert (coverage.novel(), coverage.total()) == (0, 4)
    importlib.reload(module).f(1)
    assert (coverage.novel(), coverage.total()) == (1, 4)


def test_after_stop_nothing_is_counted_and_what_was_stays(workshop: Workshop, method: str) -> None:
    module, coverage = workshop.load(TWO_BRANCHES)
    module.f(1)
    coverage.stop()
    coverage.stop()
    assert module.f(0) == 2
    assert (coverage.hit(), coverage.novel(), len(coverage.sites()), coverage.total()) == (2, 2, 2, 4)
    later = workshop.write(TWO_BRANCHES)
    assert MARKS.isdisjoint(vars(importlib.import_module(later)))


def test_start_twice_is_start_once(workshop: Workshop) -> None:
    name = workshop.write(TWO_BRANCHES)
    coverage = workshop.start(name)
    finders = list(sys.meta_path)
    coverage.start()
    assert sys.meta_path == finders
    assert coverage_for(name).reason == "not started"


def test_two_targets_at_once(workshop: Workshop) -> None:
    names = [workshop.write(TWO_BRANCHES) for _ in range(3)]
    coverages = [workshop.start(name) for name in names]
    modules = [importlib.import_module(name) for name in names]
    modules[0].f(0)
    modules[1].g()
    assert [coverage.novel() for coverage in coverages] == [2, 3, 0]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12")
def test_tool_ids_are_given_back_and_missed_ones_made_do_without(workshop: Workshop) -> None:
    monitoring: Any = getattr(sys, "monitoring")  # noqa: B009
    used = [monitoring.get_tool(tool) for tool in range(6)]
    coverages = [workshop.start(workshop.write(TWO_BRANCHES)) for _ in range(7)]
    assert coverages[-1].method == "cells"
    module = importlib.import_module(coverages[-1].module)
    module.f(0)
    assert coverages[-1].novel() == 2
    for coverage in coverages:
        coverage.stop()
    assert [monitoring.get_tool(tool) for tool in range(6)] == used


def test_threads(workshop: Workshop, method: str) -> None:
    source = "def f(a):\n" + "".join(f"    if a == {n}: return {n}\n" for n in range(200))
    module, coverage = workshop.load(source)
    gate = threading.Barrier(8)
    told: list[int] = []

    def work(offset: int) -> None:
        gate.wait()
        for number in range(200):
            module.f((number * 7 + offset) % 200)

    threads = [threading.Thread(target=work, args=(offset % 3,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        told.append(coverage.novel())
    for thread in threads:
        thread.join()
    told.append(coverage.novel())
    assert sum(told) == coverage.hit() == coverage.total() - 1  # but for: nothing equal
    assert module.f(None) is None
    assert (coverage.novel(), coverage.missed()) == (1, [])


def test_threads_that_import(workshop: Workshop) -> None:
    name = f"coverage_many_{next(_numbers)}"
    workshop.write("", f"{name}.__init__")
    for number in range(12):
        workshop.write(TWO_BRANCHES, f"{name}.m{number}")
    coverage = workshop.start(f"{name}.m0")
    threads = [
        threading.Thread(target=lambda n=number: importlib.import_module(f"{name}.m{n}").f(0))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (coverage.hit(), coverage.total(), len(coverage.sites())) == (24, 48, 12)


# marks


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_code(constant)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="marks are lines from Python 3.12 on")
@pytest.mark.parametrize("name", ["argparse", "dataclasses", "difflib", "typing"])
def test_line_marks_cost_nothing_and_neither_raise_nor_jump(name: str) -> None:
    path = Path(str(importlib.import_module(name).__file__))
    source = path.read_text(encoding="utf-8")
    sites: list[Site] = []
    probes = LineProbes(source)
    code = compile(instrument(source, str(path), probes, sites), str(path), "exec", dont_inherit=True)
    seen = set()
    for inner in _all_code(code):
        line = 0
        starts = {start: line for start, _, line in inner.co_lines() if line is not None}
        for step in dis.get_instructions(inner):
            line = starts.get(step.offset, line)
            if line >= FIRST_LINE:
                seen.add(line - FIRST_LINE)
                assert step.opname in ("NOP", "LOAD_CONST", "RETURN_CONST"), (step, sites[line - FIRST_LINE])
            elif line in probes.lines:
                seen.add(probes.lines[line])
    assert len(seen) > 0.99 * len(sites)  # but for code that the compiler knows to be dead


@pytest.mark.parametrize("probes", [CellProbes, lambda: LineProbes("")])
def test_no_line_is_changed_but_a_marks(probes: Callable[[], Probes]) -> None:
    path = SAMPLES / "every_syntax.py"
    source = path.read_text(encoding="utf-8")

    def lines(code: types.CodeType) -> set[int]:
        return {line for inner in _all_code(code) for *_, line in inner.co_lines() if line and line < FIRST_LINE}

    tree = instrument(source, str(path), probes(), [])
    assert lines(compile(tree, str(path), "exec")) <= set(range(1, source.count("\n") + 1))


# any program


def _deeper(block: str) -> str:
    return textwrap.indent(block, "  ")


_names = st.sampled_from("abc")


def _tests(depth: int) -> st.SearchStrategy[str]:
    """Expressions, nested so deep."""
    leaf = st.one_of(
        _names,
        st.sampled_from(["0", "1", "2", "None", "True"]),
        st.builds("t({})".format, _names),
        st.builds("(0 <= {} < {})".format, _names, _names),
        st.builds("(t({}) <= t({}) < {})".format, _names, _names, _names),
    )
    if not depth:
        return leaf
    inner = _tests(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "==", "in (0, 1) and"]), inner),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("[{0} for {0} in r({1}) if {2}]".format, _names, _names, inner),
        st.builds("({} := {})".format, _names, inner),
        st.builds("(lambda {}={}: {})()".format, _names, inner, inner),
    )


def _blocks(depth: int) -> st.SearchStrategy[str]:
    """Statements, indented."""
    return st.lists(_statements(depth), min_size=1, max_size=3).map(lambda lines: _deeper("\n".join(lines)))


def _statements(depth: int) -> st.SearchStrategy[str]:
    test = _tests(2)
    simple = st.one_of(
        st.builds("{} = {}".format, _names, test),
        st.builds("log({}); log(1 // n({}))".format, test, test),
        st.builds("return {}".format, test),
        st.builds("assert {}, {}".format, test, test),
    )
    if not depth:
        return simple
    block = _blocks(depth - 1)
    return st.one_of(
        simple,
        st.builds("if {}:\n{}".format, test, block),
        st.builds("if {}:\n{}\nelse:\n{}".format, test, block, block),
        st.builds("if {}:\n{}\nelif {}:\n{}".format, test, block, test, block),
        st.builds("for {} in r({}):\n{}\nelse:\n{}".format, _names, _names, block, block),
        st.builds("for d in r({}):\n  if {}: continue\n{}\n  if {}: break".format, _names, test, block, test),
        st.builds("while tick() and {}:\n{}".format, test, block),
        st.builds("try:\n{}\nexcept ZeroDivisionError as e:\n  log(str(e))\n{}".format, block, block),
        st.builds("try:\n{}\nexcept TypeError:\n{}\nelse:\n{}\nfinally:\n{}".format, *[block] * 4),
        st.builds("with suppress(ZeroDivisionError):\n{}".format, block),
        st.builds(
            "match {}:\n  case 0 | None:\n{}\n  case x if {}:\n{}".format,
            *(test, block.map(_deeper), test, block.map(_deeper)),
        ),
    )


def _run(code: types.CodeType, args: tuple[int, ...], cells: list[bool]) -> list[Any]:
    """What f logs, then its result, or its exception and the lines it came from."""
    log: list[Any] = []
    budget = iter(range(20))

    def seen(value: Any) -> Any:
        log.append(("t", repr(value)))
        return value

    names: dict[str, Any] = {
        "log": lambda value: log.append(repr(value)),
        "t": seen,
        "r": lambda value: range(min(value, 3)) if isinstance(value, int) else (),
        "n": lambda value: value if isinstance(value, int) else 0,
        "tick": lambda: next(budget, None) is not None,
        "suppress": contextlib.suppress,
        CELLS: cells,
        REACHED: lambda site: cells.__setitem__(site, False) or True,
    }
    exec(code, names)
    try:
        return [log, repr(names["f"](*args))]
    except Exception as error:
        return [log, repr(error), [frame.lineno for frame in traceback.extract_tb(error.__traceback__)[1:]]]


_calls = st.lists(st.tuples(*[st.integers(-1, 3)] * 3), min_size=1, max_size=4)
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(_patient, max_examples=30)
@given(_blocks(2), _calls)
def test_any_function_does_the_same(body: str, calls: list[tuple[int, ...]]) -> None:
    _compare(body, calls)


@pytest.mark.slow
@settings(_patient, max_examples=300)
@given(_blocks(2), _calls)
def test_any_function_does_the_same_at_length(body: str, calls: list[tuple[int, ...]]) -> None:
    _compare(body, calls)


def _compare(body: str, calls: list[tuple[int, ...]]) -> None:
    source = f"def f(a, b, c):\n{body}\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler thinks of such code
        try:
            plain = compile(source, "f.py", "exec", dont_inherit=True)
        except SyntaxError:
            assume(False)
        marked: list[tuple[types.CodeType, int]] = []
        for probes in (CellProbes(), LineProbes(source)):
            sites: list[Site] = []
            tree = instrument(source, "f.py", probes, sites)
            marked.append((compile(tree, "f.py", "exec", dont_inherit=True), len(sites)))
    for args in calls:
        expected = _run(plain, args, [])
        for code, sites_there in marked:
            assert _run(code, args, [True] * sites_there) == expected
