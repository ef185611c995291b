"""Occasions: where a target calls out to its caller's side in the middle of a call, and can be called again.

A target in Python does so when it uses a handle that it was given, by closing it or taking its value, and when it
calls its own `pump()`: an attribute for this, None or a function, in whose place a message loop would stand.  A
native target exports `void SYMBOL_pump(void (*pump)(void))`, SYMBOL being its factory's name: it keeps the
function that it is given, until it is given NULL, and calls it where it would pump messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from replayer.handles import PythonHandles
from replayer.target import Instance

__all__ = ["occasions"]

_HOOK = "pump"


@contextmanager
def occasions(instance: Instance, called_out: Callable[[], None]) -> Iterator[None]:
    """Have `called_out` called at each occasion, meanwhile, on the thread that calls out.  It must not raise."""
    with contextlib.ExitStack() as stack:
        if isinstance(instance.handles, PythonHandles):
            instance.handles.used = called_out
            stack.callback(setattr, instance.handles, "used", None)
        if instance.pump is not None:
            instance.pump(called_out)
            stack.callback(instance.pump, None)
        elif not instance.native and _HOOK not in instance.methods and hasattr(instance.object, _HOOK):
            _hook(stack, instance.object, called_out)
        yield


def _hook(stack: contextlib.ExitStack, target: Any, called_out: Callable[[], None]) -> None:
    """Have a target's own hook call out before it does what it does anyway."""
    own = getattr(target, _HOOK)

    def pump(*args: Any, **named: Any) -> Any:
        called_out()
        return own(*args, **named) if callable(own) else None

    kept = vars(target).get(_HOOK, stack) if hasattr(target, "__dict__") else own
    with contextlib.suppress(AttributeError, TypeError):  # an object that takes no attribute has no hook
        setattr(target, _HOOK, pump)
        if kept is stack:
            stack.callback(delattr, target, _HOOK)
        else:
            stack.callback(setattr, target, _HOOK, kept)
