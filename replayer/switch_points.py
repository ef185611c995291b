"""Switch points: where, inside a target's own code, a scheduled thread may lose the baton.

One lies before each line and, within a line, before each access to an attribute, an item or a variable of an outer
function, and before each store to a global, but the first on that line.  From 3.12 on the interpreter is told
which instructions these are (sys.monitoring), so that all others cost nothing; before that each instruction of the
target is traced (sys.settrace).
"""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

__all__ = ["SwitchPoints", "points_of"]

_ACCESSES = frozenset(
    (
        *("LOAD_ATTR", "STORE_ATTR", "DELETE_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"),
        *("BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR", "BINARY_SLICE", "STORE_SLICE"),
        *("LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF", "STORE_GLOBAL", "DELETE_GLOBAL"),
    )
)
_BEGINNING = frozenset(("RESUME", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR", "CACHE", "NOP"))
_TOOLS = (1, 0, 2, 4, 3)  # ids of sys.monitoring, other than those that coverage takes first
_SUBSCRIPT = "[]"  # 3.14 spells BINARY_SUBSCR as an operator


def points_of(code: CodeType) -> frozenset[int]:
    """The offsets of a code object's instructions before which a switch point lies."""
    points: set[int] = set()
    line: int | None = None
    accessed = False
    for instruction in dis.get_instructions(code):
        if instruction.opname in _BEGINNING:
            continue
        positions = instruction.positions
        at = positions.lineno if positions is not None else None
        access = instruction.opname in _ACCESSES or (
            instruction.opname == "BINARY_OP" and instruction.argrepr == _SUBSCRIPT
        )
        if at is not None and at != line:
            points.add(instruction.offset)
            line, accessed = at, False
        elif access and accessed:
            points.add(instruction.offset)
        accessed |= access
    return frozenset(points)


class SwitchPoints:
    """Calls `step` before each step of the code that `owns` (by its file) calls the target's own.

    With sys.monitoring the instructions that are no switch points are told apart once, for as long as this lives.
    """

    def __init__(self, owns: Callable[[str], bool]):
        self._owns = owns
        self._step: Callable[[], None] | None = None
        self._local: dict[CodeType, Callable[..., Any] | None] = {}
        self._points: dict[CodeType, frozenset[int]] = {}
        self._tool: int | None = None
        self._begin_monitoring()

    @property
    def monitors(self) -> bool:
        """Whether the interpreter tells of instructions; else each thread is traced."""
        return self._tool is not None

    @contextlib.contextmanager
    def calling(self, step: Callable[[], None]) -> Iterator[None]:
        """Call this before each step meanwhile, of the threads that are inside `on_this_thread`.

        With sys.monitoring these are all threads, and the caller has to see which one it is.
        """
        before, self._step = self._step, step
        try:
            yield
        finally:
            self._step = before

    @contextlib.contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """The calling thread makes steps meanwhile."""
        if self.monitors:
            yield
            return
        before = sys.gettrace()
        sys.settrace(self._begins_traced)
        try:
            yield
        finally:
            sys.settrace(before)

    def close(self) -> None:
        """There are no switch points any more; another one may have the interpreter's attention."""
        tool, self._tool = self._tool, None
        if tool is None:
            return
        monitoring: Any = getattr(sys, "monitoring")  # noqa: B009
        for code in self._points:
            monitoring.set_local_events(tool, code, 0)
        monitoring.set_events(tool, 0)
        for event in (monitoring.events.PY_START, monitoring.events.INSTRUCTION):
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)

    # --- sys.settrace ---------------------------------------------------------------------------------------

    def _begins_traced(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if code not in self._local:
            self._local[code] = self._tracer(points_of(code)) if self._owns(code.co_filename) else None
        local = self._local[code]
        if local is not None:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    def _tracer(self, points: frozenset[int]) -> Callable[..., Any]:
        def local(frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
            if event == "opcode" and frame.f_lasti in points and (step := self._step) is not None:
                step()
            return local

        return local

    # --- sys.monitoring -------------------------------------------------------------------------------------

    def _begin_monitoring(self) -> None:
        monitoring: Any = getattr(sys, "monitoring", None)
        for tool in _TOOLS if monitoring is not None else ():
            if monitoring.get_tool(tool) is None:
                self._tool = tool
                break
        else:
            return
        self._disable = monitoring.DISABLE
        events = monitoring.events
        monitoring.use_tool_id(tool, "synctape switch points")
        monitoring.register_callback(tool, events.PY_START, self._begins)
        monitoring.register_callback(tool, events.INSTRUCTION, self._instruction)
        monitoring.set_events(tool, events.PY_START)
        monitoring.restart_events()

    def _begins(self, code: CodeType, offset: int) -> object:
        """A function begins; it is not told again."""
        if self._owns(code.co_filename) and code not in self._points:
            self._points[code] = points_of(code)
            monitoring: Any = getattr(sys, "monitoring")  # noqa: B009
            monitoring.set_local_events(self._tool, code, monitoring.events.INSTRUCTION)
        return self._disable

    def _instruction(self, code: CodeType, offset: int) -> object:
        if offset not in self._points[code]:
            return self._disable
        if (step := self._step) is not None:
            step()
        return None
