"""Which code of a Python target a campaign has reached, cheap enough to ask after every sequence.

    coverage = coverage_for("package.module")
    coverage.start()                # before anything imports the target: its modules are rewritten as they load
    ...                             # import the target, play sequences on it
    if coverage.novel(): ...        # this sequence reached what none before it had
    coverage.stop()

fuzz/instrument.py puts a mark into each arm of the target's functions while they are imported; files and
bytecode caches stay as they are.  `method` says how a mark is reported:

- "lines" (Python 3.12 on): a mark is a line that sys.monitoring reports once and is then told to leave alone
  (LINE, DISABLE), in most arms the line of its first statement, else that of a NOP.  Steady state costs the
  NOPs: 1.05 (3.12), 1.07 to 1.09 (3.13) of the bare target, 0.02 of it the novelty test.  BRANCH events tell
  arms apart without rewriting, but before 3.14 a branch goes silent for both arms or for none: LINE and BRANCH,
  silenced when both arms were seen, cost 8.1 (3.12) and 6.3 (3.13) times the bare target.
- "cells" (Python 3.11, or no tool id of sys.monitoring free): a mark looks into a list, and calls the first
  time: 1.24 with the novelty test, which compares two numbers.  Stores of 1 cost the same, but list.count(0)
  as the test grows with the target (limits.md, section 5).  Fewer statements have marks of their own here.

benchmarks/coverage.py measures that.

What is covered: the module itself and the regular package it is in (the topmost one, below any namespace
packages), and what `extra` names; never what those import from elsewhere.  Of synctape only the `samples`
packages can be targets.  A module without source (an extension, a lone .pyc), or whose loader does its own
compiling, is left as it is and counts no sites.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple
from zipimport import zipimporter

from fuzz.comparisons import Comparisons, constants
from fuzz.instrument import (
    CALLED,
    CELLS,
    COMPARED,
    FIRST_LINE,
    OPERATED,
    REACHED,
    CellProbes,
    LineProbes,
    Site,
    instrument,
)

__all__ = ["Coverage", "CoveredFile", "coverage_for", "why_not_covered"]

_OURS = frozenset({"fuzz", "recorder", "replayer", "synctape"})
_TOOLS: tuple[int, ...] = (4, 3, 1, 2, 0)  # ids of sys.monitoring; Hypothesis wants 3, the rest have owners


def coverage_for(module: str, *, extra: Sequence[str] = ()) -> Coverage:
    """Coverage of the target `module` (a dotted name) and its package, and of the modules and packages `extra`.

    Imports nothing.
    """
    return Coverage(module, extra)


class CoveredFile(NamedTuple):
    """A file of the target: its source, and its sites that were reached and that were not."""

    name: str
    source: str
    hit: Sequence[Site]
    missed: Sequence[Site]


class Coverage:
    """What has been reached of one target's code; a site is one arm of a branch, or another place with a mark.

    `method` is "lines" or "cells" from start() on, "" before.  `latest` are the sites that novel() told of last.
    """

    def __init__(self, module: str, extra: Sequence[str] = ()):
        self.module = module
        self.method = ""
        self._targets = (module, *extra)
        self._finder = _Finder(self)
        self._monitor: _Monitor | None = None
        self._sites: list[Site] = []
        self._files: list[str] = []  # of each site
        self._sources: dict[str, str] = {}  # by file
        self._paths: list[str] = []  # the same in full
        self._hit: set[int] = set()
        self._told = 0  # how many of them novel() has told of
        self._known: set[int] = set()  # which these are
        self.latest: set[int] = set()
        self._cells: list[bool] = []
        self._codes: dict[str, tuple[str, CodeType]] = {}  # by module: source, what it became
        self.comparisons = Comparisons()
        self._unwatched: list[
            tuple[str, CodeType, str, str, int]
        ] = []  # that have no version with comparisons yet
        self._versions: dict[
            int, tuple[CodeType, CodeType]
        ] = {}  # by the id of plain code: it, and with comparisons
        self._functions: list[tuple[FunctionType, CodeType, CodeType]] = []
        self._unmeasured: dict[str, str] = {}  # by module: why
        self._names: list[str] = []  # of sites, as named() gives them
        self._alike: Counter[str] = Counter()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Measure what is imported from now on.  Once started, nothing."""
        if self.method:
            return
        for name in list(sys.modules):
            if self._covers(name):
                self._unmeasured[name] = "imported before coverage started"
        if not any(_may_be_covered(target) for target in self._targets):
            self._unmeasured[self.module] = "synctape's own code is never measured"
        self._monitor = _Monitor.with_free_tool(self._hit)
        self.method = "cells" if self._monitor is None else "lines"
        sys.meta_path.insert(0, self._finder)

    def stop(self) -> None:
        """Leave modules imported from now on alone, and count no more.  What was counted stays."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self.watch_comparisons(False)
        self._cells[:] = [False] * len(self._cells)

    @property
    def available(self) -> bool:
        """The target module's own code is measured, or will be when it is imported."""
        return bool(self.method) and self.module not in self._unmeasured

    @property
    def reason(self) -> str:
        """Why what modules are not measured; "" if there are none."""
        if not self.method:
            return "not started"
        return "; ".join(f"{name}: {reason}" for name, reason in self._unmeasured.items())

    def novel(self) -> int:
        """How many sites were reached for the first time since the last call."""
        hit = len(self._hit)
        new = hit - self._told
        if new:
            self.latest = self._hit - self._known
            self._known |= self.latest
        self._told = hit
        return new

    def hit(self) -> int:
        """How many sites were reached so far."""
        return len(self._hit)

    def total(self) -> int:
        """How many sites the modules imported so far have."""
        return len(self._sites)

    def sites(self) -> list[str]:
        """Where sites were reached, as "file.py:12", in order; a line with several of them is there once."""
        places = {(self._files[site], self._sites[site].line) for site in self._hit}
        return [f"{file}:{line}" for file, line in sorted(places)]

    def missed(self) -> list[str]:
        """The sites not reached so far, as "file.py:12 false": the line, and which way from there."""
        missed = [
            (file, *site)
            for number, (file, site) in enumerate(zip(self._files, self._sites, strict=True))
            if number not in self._hit
        ]
        return [f"{file}:{line} {way}" for file, line, way in sorted(missed)]

    def table(self) -> dict[str, list[tuple[int, str, bool]]]:
        """All sites by the path of their file, in the file's order: line, which way, whether reached."""
        files: dict[str, list[tuple[int, str, bool]]] = {}
        for number, (path, site) in enumerate(zip(self._paths, self._sites, strict=True)):
            files.setdefault(path, []).append((site.line, site.way, number in self._hit))
        return files

    def named(self, sites: Iterable[int]) -> list[str]:
        """Words for sites, sorted: "file.py:12 false" as missed() says it, the same in each process."""
        for number in range(len(self._names), len(self._sites)):
            place = f"{self._files[number]}:{self._sites[number].line} {self._sites[number].way}"
            self._alike[place] += 1
            self._names.append(place if self._alike[place] == 1 else f"{place} ({self._alike[place]})")
        return sorted(self._names[site] for site in sites)

    def constants(self) -> tuple[list[int], list[str]]:
        """Numbers and texts that stand in the code of the modules imported so far."""
        numbers: list[int] = []
        texts: list[str] = []
        for source, _ in self._codes.values():
            more = constants(ast.parse(source))
            numbers += more[0]
            texts += more[1]
        return numbers, texts

    @contextlib.contextmanager
    def tracing(self) -> Iterator[set[int]]:
        """Within it, the set given is that of all sites reached, known or not, and all operands are kept."""
        known, traced = self._hit, set[int]()
        self._listen(traced)
        self._cells[:] = [True] * len(self._cells)
        if self._monitor is not None:
            self._monitor.again()
        self.comparisons.tracing = True
        try:
            yield traced
        finally:
            self.comparisons.tracing = False
            known |= traced
            self._listen(known)
            self._cells[:] = [site not in known for site in range(len(self._cells))]

    def _listen(self, hit: set[int]) -> None:
        self._hit = hit
        if self._monitor is not None:
            self._monitor.hit = hit

    def watch_comparisons(self, watch: bool) -> None:
        """Put the version of the target's code in place that tells of comparisons, or the plain one.

        Functions that the target makes meanwhile from within others keep the version they were made with, which
        tells of nothing when nothing is watched.
        """
        if not self.method or watch is self.comparisons.watching:
            return
        self.comparisons.watching = watch
        if watch:
            self.prepare_comparisons()
        for function, plain, watched in self._functions:
            function.__code__ = watched if watch else plain

    def prepare_comparisons(self) -> None:
        """Make the other version of all that is there and has none yet: where objects are frozen after that
        (gc.freeze), their functions could not be found any more."""
        if not self._unwatched:
            return
        for module in self._unwatched:
            self._compile_comparisons(*module)
        self._unwatched.clear()
        known = {id(function) for function, _, _ in self._functions}
        self._functions += [
            (function, *self._versions[id(code)])
            for function in gc.get_objects()
            if type(function) is FunctionType
            and id(code := function.__code__) in self._versions
            and id(function) not in known
        ]

    def _compile_comparisons(self, name: str, plain: CodeType, source: str, path: str, first: int) -> None:
        """The other version of a module's code, function by function; no harm where there is none."""
        probes = CellProbes() if self._monitor is None else LineProbes(source)
        sites = self._sites[:first]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = instrument(source, path, probes, sites, self.comparisons.add)
            watched: CodeType = compile(tree, path, "exec", dont_inherit=True)
        pairs = list(zip(_with_inner(plain), _with_inner(watched), strict=False))
        if name not in sys.modules or any(_signature(one) != _signature(other) for one, other in pairs):
            return
        comparisons = self.comparisons
        given = {COMPARED: comparisons.compared, OPERATED: comparisons.operated, CALLED: comparisons.called}
        vars(sys.modules[name]).update(given)
        self._versions.update((id(one), (one, other)) for one, other in pairs)
        if self._monitor is not None and isinstance(probes, LineProbes):
            self._monitor.watch(watched, probes.lines)

    def files(self) -> list[CoveredFile]:
        """Each file that is measured, with its sites in order of lines."""
        sites: dict[str, tuple[list[Site], list[Site]]] = {}
        for number, (file, site) in enumerate(zip(self._files, self._sites, strict=True)):
            sites.setdefault(file, ([], []))[number not in self._hit].append(site)
        return [
            CoveredFile(file, self._sources[file], sorted(hit), sorted(missed))
            for file, (hit, missed) in sites.items()
        ]

    def _covers(self, name: str) -> bool:
        return any(_is_covered(name, target) for target in self._targets)

    def _prepare(self, spec: ModuleSpec) -> None:
        """Have the module's own loader run marked code, by giving this one instance another get_code."""
        loader: Any = spec.loader
        if not _compiles_plainly(loader):
            if spec.has_location:
                self._unmeasured[spec.name] = f"its loader, {type(loader).__name__}, gives no source to rewrite"
            return
        plain = loader
        loader = copy.copy(plain)

        def get_code(name: str) -> CodeType | None:
            vars(loader).pop("get_code", None)
            with self._lock:
                code = self._marked(name, loader)
            return plain.get_code(name) if code is None else code

        loader.get_code = get_code
        spec.loader = loader

    def _marked(self, name: str, loader: Any) -> CodeType | None:
        """The module's code with marks that are being listened to, or None: it has to do with its plain code."""
        try:
            source: str | None = loader.get_source(name)
            if source is None:
                self._unmeasured[name] = "no source to rewrite"
                return None
            known, code = self._codes.get(name, (None, None))
            if code is None or source != known:
                code = self._compile(name, source, loader.get_filename(name), loader.is_package(name))
        except (ImportError, MemoryError, RecursionError, SyntaxError, ValueError) as error:
            self._unmeasured[name] = f"cannot be rewritten: {type(error).__name__}: {error}"
            return None
        if self._monitor is None:
            vars(sys.modules[name]).update({CELLS: self._cells, REACHED: self._reached})
        return code

    def _compile(self, name: str, source: str, path: str, is_package: bool) -> CodeType:
        sites = self._sites.copy()
        probes = CellProbes() if self._monitor is None else LineProbes(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as when the module comes from its bytecode cache
            tree = instrument(source, path, probes, sites)
            code: CodeType = compile(tree, path, "exec", dont_inherit=True)
        self._unwatched.append((name, code, source, path, len(self._sites)))
        added = len(sites) - len(self._sites)
        depth = name.count(".") + (2 if is_package else 1)
        file = "/".join(PurePath(path).parts[-depth:])
        self._files += [file] * added
        self._sources[file] = source
        self._paths += [path] * added
        self._cells += [True] * added
        self._sites[:] = sites
        self._codes[name] = source, code
        if self._monitor is not None and isinstance(probes, LineProbes):
            self._monitor.watch(code, probes.lines)
        return code

    def _reached(self, site: int) -> bool:
        self._cells[site] = False
        self._hit.add(site)
        return True


class _Finder:
    """Finds what the finders after it find, and has the target's modules prepared."""

    def __init__(self, coverage: Coverage):
        self._coverage = coverage

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not self._coverage._covers(name):
            return None
        for finder in sys.meta_path:
            find = None if isinstance(finder, _Finder) else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find and find(name, path, target)
            if spec is not None:
                self._coverage._prepare(spec)
                return spec
        return None


class _Monitor:
    """LINE events of chosen code objects, each line told once: sys.monitoring, from Python 3.12 on."""

    def __init__(self, monitoring: Any, tool: int, hit: set[int]):
        self._monitoring = monitoring
        self._tool = tool
        self.hit = hit
        self._codes: list[CodeType] = []
        self._lines: dict[str, dict[int, int]] = {}  # by file: sites that have a line of it to themselves
        self._disable = monitoring.DISABLE
        monitoring.register_callback(tool, monitoring.events.LINE, self._line_reached)

    @classmethod
    def with_free_tool(cls, hit: set[int]) -> _Monitor | None:
        """None if this Python has no sys.monitoring, or all its tool ids are in use."""
        monitoring: Any = getattr(sys, "monitoring", None)
        for tool in _TOOLS if monitoring is not None else ():
            if monitoring.get_tool(tool) is None:
                monitoring.use_tool_id(tool, "synctape")
                return cls(monitoring, tool, hit)
        return None

    def watch(self, code: CodeType, lines: dict[int, int]) -> None:
        """Tell of the marks in `code` and all code in it; `lines` are its file's lines that are marks."""
        self._lines[code.co_filename] = lines
        for inner in _with_inner(code):
            self._monitoring.set_local_events(self._tool, inner, self._monitoring.events.LINE)
            self._codes.append(inner)

    def again(self) -> None:
        """Tell of each line once more."""
        self._monitoring.restart_events()

    def close(self) -> None:
        for code in self._codes:
            self._monitoring.set_local_events(self._tool, code, 0)
        self._monitoring.register_callback(self._tool, self._monitoring.events.LINE, None)
        self._monitoring.free_tool_id(self._tool)

    def _line_reached(self, code: CodeType, line: int) -> object:
        site = line - FIRST_LINE if line >= FIRST_LINE else self._lines[code.co_filename].get(line)
        if site is not None:
            self.hit.add(site)
        return self._disable


def why_not_covered(name: str) -> str:
    """Why code of this module or package cannot be measured, "" if it can; nothing is imported."""
    if not all(part.isidentifier() for part in name.split(".")):
        return "is no name of a package"
    if not _may_be_covered(name):
        return "synctape's own code is never measured"
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [os.getcwd(), *sys.path])
    return "" if spec is not None or top in sys.modules else f"no package {top!r} here or on sys.path"


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _signature(code: CodeType) -> tuple[object, ...]:
    """What two versions of a function's code have in common."""
    return code.co_name, code.co_firstlineno, code.co_freevars, code.co_argcount, code.co_flags


def _may_be_covered(name: str) -> bool:
    top, *rest = name.split(".")
    return top not in _OURS or rest[:1] == ["samples"]


def _is_covered(name: str, target: str) -> bool:
    """`name` is the target, around it, below it, or beside it in a regular package (one with a file)."""
    if not (_may_be_covered(name) and _may_be_covered(target)):
        return False
    if _is_within(name, target) or _is_within(target, name):
        return True
    common = ""
    for part, other in zip(name.split("."), target.split("."), strict=False):
        if part != other:
            break
        common = f"{common}.{part}" if common else part
        if _may_be_covered(common) and getattr(sys.modules.get(common), "__file__", None) is not None:
            return True
    return False


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _compiles_plainly(loader: object) -> bool:
    """The loader runs what its get_code gives, and does nothing of its own to the source."""
    for base in (SourceFileLoader, zipimporter):
        if isinstance(loader, base):
            methods = ("exec_module", "get_code", "source_to_code")
            return all(getattr(type(loader), name, None) is getattr(base, name, None) for name in methods)
    return False
