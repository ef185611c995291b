"""Switch points: where, inside a target's own code, a scheduled thread may lose the baton.

One lies before each line, before each turn of a loop and, within a line, before each access to an attribute, an
item or a variable of an outer function, and each store to a global, but the first on that line.  From 3.12 on the
interpreter is told which instructions these are (sys.monitoring), so that all others cost nothing; before that
each instruction of the target is traced (sys.settrace).
"""

from __future__ import annotations

import contextlib
import dis
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, ClassVar

__all__ = ["SwitchPoints", "points_of"]

_ACCESSES = frozenset(
    (
        *("LOAD_ATTR", "STORE_ATTR", "DELETE_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"),
        *("BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR", "BINARY_SLICE", "STORE_SLICE"),
        *("LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF", "STORE_GLOBAL", "DELETE_GLOBAL"),
    )
)
_BEGINNING = frozenset(("RESUME", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR"))
_TOOLS = (1, 0, 2, 4, 3)  # ids of sys.monitoring, other than those that coverage takes first
_SUBSCRIPT = "[]"  # 3.14 spells BINARY_SUBSCR as an operator


def points_of(code: CodeType) -> frozenset[int]:
    """The offsets of a code object's instructions before which a switch point lies."""
    points: set[int] = set()
    line: int | None = None
    accessed = False
    instructions = list(dis.get_instructions(code))
    again = {at.argval for at in instructions if at.opcode in dis.hasjrel and at.argval <= at.offset}
    for instruction in instructions:
        if instruction.opname in _BEGINNING:
            continue
        positions = instruction.positions
        at = positions.lineno if positions is not None else None
        access = instruction.opname in _ACCESSES or (
            instruction.opname == "BINARY_OP" and instruction.argrepr == _SUBSCRIPT
        )
        if (at is not None and at != line) or instruction.offset in again:
            points.add(instruction.offset)
            line, accessed = at, False
        elif access and accessed:
            points.add(instruction.offset)
        accessed |= access
    return frozenset(points)


class SwitchPoints:
    """Calls `step` before each step of the code that `owns` (by its file) calls the target's own."""

    def __init__(self, owns: Callable[[str], bool]):
        self._owns = owns
        self._step: Callable[[], None] | None = None
        self._local: dict[int, tuple[CodeType, Callable[..., Any] | None]] = {}  # by id(), see below
        self._modules = 0  # when their functions were looked for
        self._monitor = _Monitor.shared()

    @contextlib.contextmanager
    def calling(self, step: Callable[[], None]) -> Iterator[None]:
        """Call this before each step meanwhile, of the threads that are inside `on_this_thread`.

        With sys.monitoring these are all threads, and the caller has to see which one it is.
        """
        if self._monitor is not None:
            self._look(self._monitor)
            with self._monitor.telling(self._owns, step):
                yield
            return
        before, self._step = self._step, step
        try:
            yield
        finally:
            self._step = before

    @contextlib.contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """The calling thread makes steps meanwhile."""
        if self._monitor is not None:
            yield
            return
        before = sys.gettrace()
        sys.settrace(self._begins)
        try:
            yield
        finally:
            sys.settrace(before)

    def _look(self, monitor: _Monitor) -> None:
        """Have all functions of the target's modules known: where one begins it may be too late for that time."""
        if self._modules != len(sys.modules):
            self._modules = len(sys.modules)
            monitor.begin()
            for module in list(sys.modules.values()):
                if self._owns(getattr(module, "__file__", None) or ""):
                    for code in _functions_in(vars(module)):
                        if self._owns(code.co_filename):
                            monitor.know(code)

    def _begins(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if id(code) not in self._local:
            tracer = self._tracer(points_of(code)) if self._owns(code.co_filename) else None
            self._local[id(code)] = code, tracer
        local = self._local[id(code)][1]
        if local is not None:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    def _tracer(self, points: frozenset[int]) -> Callable[..., Any]:
        def local(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
            if event == "opcode" and frame.f_lasti in points and (step := self._step) is not None:
                step()
            return local

        return local


class _Monitor:
    """What sys.monitoring tells of instructions; one for the process, since there are few tools."""

    _one: ClassVar[_Monitor | None] = None

    def __init__(self, monitoring: Any, tool: int):
        self._monitoring = monitoring
        self._tool = tool
        self._disable = monitoring.DISABLE
        self._points: dict[int, frozenset[int]] = {}  # by id(): equal code may be another function's
        self._known: list[CodeType] = []
        self._owns: Callable[[str], bool] | None = None
        self._step: Callable[[], None] | None = None
        monitoring.use_tool_id(tool, "synctape switch points")
        monitoring.register_callback(tool, monitoring.events.PY_START, self._begins)
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, self._instruction)

    @classmethod
    def shared(cls) -> _Monitor | None:
        """None if this Python has no sys.monitoring, or all its tool ids are in use."""
        monitoring: Any = getattr(sys, "monitoring", None)
        if cls._one is None and monitoring is not None:
            tool = next((tool for tool in _TOOLS if monitoring.get_tool(tool) is None), None)
            cls._one = None if tool is None else cls(monitoring, tool)
        return cls._one

    @contextlib.contextmanager
    def telling(self, owns: Callable[[str], bool], step: Callable[[], None]) -> Iterator[None]:
        before = self._owns, self._step
        self._owns, self._step = owns, step
        try:
            yield
        finally:
            self._owns, self._step = before

    def begin(self) -> None:
        """Be told of each function that begins, once: it may be a new target's."""
        self._monitoring.set_events(self._tool, self._monitoring.events.PY_START)
        self._monitoring.restart_events()

    def know(self, code: CodeType) -> None:
        """Have the instructions of a function told, and of those inside it."""
        if id(code) not in self._points:
            self._known.append(code)
            self._points[id(code)] = points_of(code)
            self._monitoring.set_local_events(self._tool, code, self._monitoring.events.INSTRUCTION)
            for inner in code.co_consts:
                if isinstance(inner, CodeType):
                    self.know(inner)

    def _begins(self, code: CodeType, offset: int) -> object:
        if self._owns is not None and self._owns(code.co_filename):
            self.know(code)
        return self._disable

    def _instruction(self, code: CodeType, offset: int) -> object:
        if offset not in self._points[id(code)]:
            return self._disable
        if (step := self._step) is not None:
            step()
        return None


def _functions_in(names: Mapping[str, Any], seen: set[int] | None = None) -> Iterator[CodeType]:
    """The code of functions, methods and properties by the names of a module or a class."""
    seen = set() if seen is None else seen
    for value in list(names.values()):
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            yield from _functions_in(vars(value), seen)
            continue
        parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
        for part in parts:
            plain = inspect.unwrap(part) if callable(part) else getattr(part, "__func__", None)
            for function in (part, plain):
                if isinstance(code := getattr(function, "__code__", None), CodeType):
                    yield code
