"""The compiled core: which of its modules are in use, and why one is not.

Each floor may have a module `_native.core`, compiled when the package was built.  Without it the floor works
through ctypes, with equal outcomes.  SYNCTAPE_CORE=ctypes in the environment leaves the compiled one aside.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any, NamedTuple

__all__ = ["SWITCH", "Core", "core_of"]

SWITCH = "SYNCTAPE_CORE"
"""The environment variable: "ctypes" leaves the compiled core aside."""


class Core(NamedTuple):
    """A floor's compiled module, or None and the reason."""

    module: Any
    reason: str


@functools.cache
def core_of(floor: str) -> Core:
    """The compiled module of `recorder` or `replayer`.  Never raises."""
    if os.environ.get(SWITCH, "").lower() == "ctypes":
        return Core(None, f"{SWITCH}=ctypes is set")
    name = f"{floor}._native.core"
    try:
        return Core(importlib.import_module(name), "")
    except ModuleNotFoundError:
        return Core(None, "it was not compiled when the package was installed (no C compiler, or it does not fit)")
    except ImportError as error:  # compiled for another machine, or a library is missing
        return Core(None, f"{name} cannot be loaded: {error}")
