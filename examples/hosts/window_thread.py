"""The thread that windows belong to: a toolkit's objects are made and used by one thread alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["in_window_thread"]

P = ParamSpec("P")
R = TypeVar("R")

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="windows")


def in_window_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Have the window thread do it, and wait for what comes of it."""

    @functools.wraps(function)
    def handed_over(*args: P.args, **kwargs: P.kwargs) -> R:
        return _THREAD.submit(function, *args, **kwargs).result()

    return handed_over
