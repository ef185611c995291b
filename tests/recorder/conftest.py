"""What several tests of the recorder need."""

from __future__ import annotations

import dis
import gc
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import recorder

_OWN = os.path.dirname(os.path.abspath(recorder.__file__))
_STEPS = ("CALL", "RESUME", "JUMP_BACKWARD", "BUILD_", "BEFORE_WITH", "MAKE_FUNCTION", "GET_ITER", "FOR_ITER")


def _own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith("<recording") or os.path.dirname(name) == _OWN


class Injector:
    """Does something in the middle: at the `at`th point where the interpreter may run a handler or a finaliser.

    These points, in the recorder's own code, are after calls and returns of the interpreter's loop, and wherever
    an object is made that the garbage collector knows.
    """

    def __init__(self, action: Callable[[], object], at: int):
        self.happened = False
        self._action = action
        self._left = at
        self._last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not _own(frame):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            previous = self._last.get(frame, "RESUME")
            self._last[frame] = step = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if previous.startswith(_STEPS) and step != "PUSH_EXC_INFO" and not self.happened:
                self._left -= 1
                if self._left < 0:
                    self.happened = True
                    self._action()
        elif event == "return":
            self._last.pop(frame, None)
        return self


@pytest.fixture
def inject() -> Callable[[Callable[[], object], Callable[[], object], int], bool]:
    """`inject(scenario, action, at)` runs the scenario with the action in its middle; whether that was reached."""

    def run(scenario: Callable[[], object], action: Callable[[], object], at: int) -> bool:
        injector = Injector(action, at)
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # 3.12 looks whether any frame has asked when tracing begins
        gc.disable()  # the points are those of the scenario alone
        sys.settrace(injector)
        try:
            scenario()
        finally:
            sys.settrace(before)
            gc.enable()
        return injector.happened

    return run
