"""Hosts: the callback that a recording forwards to, where a command line names it."""

from __future__ import annotations

from recorder.interface import Interface
from recorder.library import Factory, is_library
from recorder.provider import ProviderError, load_object, one_line, place_of

__all__ = ["load_host"]


def load_host(spec: str, interface: Interface) -> object:
    """The callback that `module:factory` or `path/library.so:symbol` gives.

    Raises ProviderError or LibraryError, in one line that says what to mend.
    """
    if is_library(spec):
        return Factory(spec, "callback factory").create(interface)
    factory = load_object(spec, "callback factory")
    try:
        inner: object = factory()
    except Exception as error:
        place = place_of(error.__traceback__)
        where = f" ({place})" if place else ""
        raise ProviderError(f"callback factory {spec!r} raised {one_line(error)}{where}") from None
    missing = [m.name for m in interface.calls if not callable(getattr(inner, m.name, None))]
    if missing:
        needed = ", ".join(m.name for m in interface.calls)
        kind = type(inner).__name__
        message = f"{kind} has no method {', '.join(missing)}; {interface.name} needs {needed}"
        raise ProviderError(f"callback factory {spec!r}: {message}")
    return inner
