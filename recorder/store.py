"""Stores in Python: a class with IMAPISync's method, exposed and started as a native provider is.

    class Store:
        def SynchronizeInBackground(self, psib: int | None) -> int: ...

The class is made without arguments.  `psib` is the address of a MAPISIB, as in C: `recorder.interfaces.MAPISIB`
unpacks it, `recorder.com.wrap` makes the callback of what is in it, `recorder.events` has the event.
"""

from __future__ import annotations

import inspect
from typing import Any

from recorder import com
from recorder.interfaces import IMAPI_SYNC
from recorder.library import LibraryError
from recorder.provider import load_object, one_line, place_of

__all__ = ["expose_store", "is_store", "load_store"]


def is_store(provider: object) -> bool:
    """Whether it is a class of stores, rather than a provider that takes the callback itself."""
    return inspect.isclass(provider) and all(callable(getattr(provider, m.name, None)) for m in IMAPI_SYNC.calls)


def load_store(spec: str) -> com.Pointer:
    """The store that `module:Class` names, as `expose_store` gives it.

    Raises ProviderError if there is no such class, LibraryError if it is none of stores or cannot be made.
    """
    made: Any = load_object(spec, "provider")
    if not is_store(made):
        needed = ", ".join(method.name for method in IMAPI_SYNC.calls)
        raise LibraryError(f"provider {spec!r} is no class with {IMAPI_SYNC.name}'s method, {needed}")
    try:
        store = made()
    except Exception as error:
        where = place_of(error.__traceback__)
        raise LibraryError(f"provider {spec!r} raised {one_line(error)}{f' ({where})' if where else ''}") from None
    return expose_store(store)


def expose_store(store: object) -> com.Pointer:
    """An IMAPISync pointer to a Python object; its one reference is the caller's."""
    return com.wrap(com.expose(store, IMAPI_SYNC).pointer, IMAPI_SYNC)
