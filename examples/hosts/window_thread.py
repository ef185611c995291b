"""The thread that windows belong to: a toolkit's objects are made and used by one thread alone."""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["application", "in_window_thread", "only"]

Class = TypeVar("Class", bound=type)

if sys.version_info < (3, 12):  # PySide6 6.12 gives a reference to None away with each call, until none is left
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windows")


def in_window_thread(kind: Class) -> Class:
    """A host that the window thread makes, calls, and lets go, while who asks waits for what comes of it."""
    for name in ("__init__", "Progress", "Error", "Done"):
        setattr(kind, name, _handed_over(getattr(kind, name)))
    setattr(kind, "__del__", _handed_over(_end))  # noqa: B010 - of a class that is any to the type checker
    return kind


def _end(host: Any) -> None:
    if "end" in vars(host):  # or it could not be made
        host.end()
    vars(host).clear()


def _handed_over(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def handed_over(*args: Any, **kwargs: Any) -> Any:
        return _THREAD.submit(function, *args, **kwargs).result()

    return handed_over


_made: dict[Any, Any] = {}


def only(kind: Callable[..., Any], *arguments: Any) -> Any:
    """The one of its kind, for all hosts: PySide6 deletes widgets in the main thread, whoever made them."""
    if kind not in _made:
        _made[kind] = kind(*arguments)
    return _made[kind]


def application(kind: type, **options: Any) -> Any:
    """An application of textual's that runs in a thread of its own, with an empty screen.

    One for all hosts, since it takes long to start; a new one when the last has ended.
    """
    if kind in _made and _made[kind].is_running:
        _made[kind].call_from_thread(_made[kind].screen.remove_children)
    else:
        ready = threading.Event()
        _made[kind] = type(kind.__name__, (kind,), {"on_ready": lambda self: ready.set()})()
        threading.Thread(target=_made[kind].run, kwargs=options, daemon=True).start()
        ready.wait()
    return _made[kind]
