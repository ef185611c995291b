"""Coverage of native targets that were built with -fsanitize-coverage (replayer/_native/cover.h).

    built with                                                              by
    -fsanitize-coverage=trace-pc-guard,trace-cmp                            clang
    -fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp             clang
    -fsanitize=fuzzer-no-link                                               clang
    -fsanitize-coverage=trace-pc,trace-cmp                                  gcc

What such code calls is defined by a library of ours that must be in the process first, for all to see: `provide`
sees to that before a target is loaded.  The runtimes of sanitizers define the same and do nothing in it, so where
one of them is preloaded our library must stand before it (replayer.sanitizers).  Only on Linux.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path

from recorder import native
from replayer.elf import Elf, read_elf

__all__ = ["Cover", "cover_library", "is_covered", "provide"]

_CALLED = "__sanitizer_cov_"
_MOST_PLACES = 1 << 17  # that one sequence reaches


def is_covered(elf: Elf | None) -> bool:
    """Whether a library calls for coverage."""
    return elf is not None and any(symbol.startswith(_CALLED) for symbol in elf.wanted)


def cover_library() -> Path | None:
    """The file that defines what covered code calls; None if there is none, or without the compiled core."""
    module = native.core_of("replayer").module
    if module is None or sys.platform != "linux":
        return None
    core = Path(module.__file__)
    path = core.with_name(core.name.replace("core", "cover", 1))
    return path if path.is_file() else None


def provide(library: Path) -> Cover | None:
    """What counts for a library that is about to be loaded; None for one that was not built for it, or if nothing
    can count: then loading it fails."""
    path = cover_library() if is_covered(read_elf(library)) else None
    return _loaded(str(path)) if path else None


@functools.cache
def _loaded(path: str) -> Cover:
    return Cover(path)


class Cover:
    """What the covered code of this process has reached and compared.

    `functions` are the addresses of those of cover.h that say how many features are new, have comparisons noted,
    give what was noted, and say whether a sequence shows the same.
    """

    def __init__(self, path: str):
        """Raises OSError."""
        self._library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        functions = (self._library[f"syn_cover_{name}"] for name in ("collect", "watch", "operands", "shows"))
        self.functions = tuple(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)

    def forget(self) -> None:
        """Have it that what was reached since the last look was not."""
        self._library.syn_cover_forget()

    def places(self) -> list[int]:
        """The places that were reached since the last look, each with its magnitude; none is new or known by that.

        They are numbers that are the same in each process.
        """
        found = (ctypes.c_uint64 * _MOST_PLACES)()
        return found[: self._library.syn_cover_places(found, _MOST_PLACES)]

    def sites(self) -> tuple[int, int]:
        """How many places were reached so far, and of how many; gcc's are known only when they are reached."""
        reached, known = ctypes.c_uint64(), ctypes.c_uint64()
        self._library.syn_cover_sites(ctypes.byref(reached), ctypes.byref(known))
        return reached.value, known.value
