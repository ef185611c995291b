"""Native libraries: an exported `HRESULT symbol(void **ppv)`, and the interface pointer that it gives.

path/library.so:symbol      also .dll, .dylib; on Windows the path may begin with a drive
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from recorder import com, hresult
from recorder.errors import SynctapeError
from recorder.interface import Interface

__all__ = ["Factory", "LibraryError", "is_library"]

_SUFFIXES = (".so", ".dll", ".dylib", ".ocx")


class LibraryError(SynctapeError):
    """A library cannot be loaded, or does not give the interface that it was asked for."""


def is_library(spec: str) -> bool:
    """Whether `path:symbol` names a native library rather than a Python module."""
    location = spec.rpartition(":")[0]
    return location.lower().endswith(_SUFFIXES) or (os.sep in location and Path(location).is_file())


class Factory:
    """What a library exports under a name.  `what` is its part ("provider"), for messages.

    Raises LibraryError, in one line, if there is no such file or symbol or the library cannot be loaded.
    """

    def __init__(self, spec: str, what: str):
        self.shown = f"{what} {spec!r}"
        path, _, symbol = spec.rpartition(":")
        file = Path(path).resolve()
        if not symbol:
            raise LibraryError(f"{self.shown}: write it as {path}:symbol")
        if not file.is_file():
            raise LibraryError(f"{self.shown}: there is no file {path}")
        try:
            library = ctypes.CDLL(str(file))
        except OSError as error:
            raise LibraryError(f"{self.shown}: cannot be loaded: {_one_line(error)}") from None
        try:
            self._create: Any = getattr(library, symbol)
        except AttributeError:
            raise LibraryError(f"{self.shown}: {file.name} exports no {symbol!r}") from None
        self._create.restype = ctypes.c_int32
        self._create.argtypes = (ctypes.POINTER(ctypes.c_void_p),)

    def create(self, interface: Interface) -> com.Pointer:
        """Make an object, and ask it for the interface; the pointer's one reference is the caller's.

        Raises LibraryError if the factory fails or gives nothing, or the object does not have the interface.
        """
        address = ctypes.c_void_p()
        result = self._create(ctypes.byref(address))
        if hresult.failed(result):
            raise LibraryError(f"{self.shown}: the factory answered {hresult.describe(result)}")
        if not address.value:
            raise LibraryError(f"{self.shown}: the factory answered {hresult.describe(result)} and gave no object")
        made = com.wrap(address.value, interface)
        answer, pointer = made.QueryInterface(interface.iid)
        made.Release()
        if hresult.failed(answer) or not pointer:
            said = f"QueryInterface answered {hresult.describe(answer)}"
            raise LibraryError(f"{self.shown}: the object is no {interface.name} ({said})")
        return com.wrap(pointer, interface)


def _one_line(error: OSError) -> str:
    """What the loader said: of a library for another machine, or of one that another library is missing for."""
    return " ".join(str(error).split())
