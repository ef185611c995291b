"""Where a native target's texts lie, so that a mistake with one of them faults.

The compiled player has its own (`_native/texts.h`).  `GuardedTexts` does the same for calls through ctypes:
slower, and what dies of it is a plain crash, since nothing says which text it was.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from collections import deque
from typing import Any, Protocol

__all__ = ["Guard", "GuardedTexts"]


class Guard(enum.IntEnum):
    """How closely texts are watched.

    NONE: not at all.  RING: reading past the end and writing faults, and what was given to an earlier call is
    poison.  STRICT: what was given to an earlier call faults, too.
    """

    NONE = 0
    RING = 1
    STRICT = 2


_KEPT = 1024  # texts of earlier calls whose pages are not given back yet


class GuardedTexts:
    """Texts for one sequence; `place` them for a call, tell when it has `returned`, `release` all at the end."""

    def __init__(self) -> None:
        self._pages: _Pages = _WindowsPages() if sys.platform == "win32" else _PosixPages()
        self._live: list[tuple[int, int]] = []
        self._old: deque[tuple[int, int]] = deque()

    def place(self, text: str) -> ctypes.c_void_p:
        """The text with its NUL, read-only, flush at an inaccessible page.  MemoryError if there is no memory."""
        data = text.encode("utf-16-le", "surrogatepass") + b"\0\0"
        page = self._pages.size
        inner = -(-len(data) // page) * page
        base = self._pages.map(inner + page)
        address = base + inner - len(data)
        ctypes.memmove(address, data, len(data))
        self._pages.protect(base, inner, readable=True)
        self._pages.protect(base + inner, page, readable=False)
        self._live.append((base, inner + page))
        return ctypes.c_void_p(address)

    def returned(self) -> None:
        """The call has returned: nobody may use its texts any more."""
        for base, size in self._live:
            self._pages.protect(base, size, readable=False)
        self._old += self._live
        self._live.clear()
        while len(self._old) > _KEPT:
            self._pages.unmap(*self._old.popleft())

    def release(self) -> None:
        """Give all back."""
        for base, size in (*self._live, *self._old):
            self._pages.unmap(base, size)
        self._live.clear()
        self._old.clear()


class _Pages(Protocol):
    size: int

    def map(self, size: int) -> int: ...

    def protect(self, base: int, size: int, *, readable: bool) -> None: ...

    def unmap(self, base: int, size: int) -> None: ...


class _PosixPages:
    size: int
    _flags: int

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        import mmap

        library = ctypes.CDLL(None)
        self.size = mmap.PAGESIZE
        self._flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map: Any = library.mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
        self._protect: Any = library.mprotect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._unmap: Any = library.munmap
        self._unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

    def map(self, size: int) -> int:
        base = self._map(None, size, 3, self._flags, -1, 0)  # PROT_READ | PROT_WRITE
        if base is None or base == ctypes.c_void_p(-1).value:
            raise MemoryError("no memory for a text")
        return int(base)

    def protect(self, base: int, size: int, *, readable: bool) -> None:
        self._protect(base, size, int(readable))  # PROT_READ, PROT_NONE

    def unmap(self, base: int, size: int) -> None:
        self._unmap(base, size)


class _WindowsPages:
    def __init__(self) -> None:
        import mmap

        kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
        self.size = mmap.PAGESIZE
        self._before = ctypes.c_ulong()
        self._map = kernel.VirtualAlloc
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ulong, ctypes.c_ulong)
        self._protect = kernel.VirtualProtect
        self._protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ulong, ctypes.c_void_p)
        self._unmap = kernel.VirtualFree
        self._unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ulong)

    def map(self, size: int) -> int:
        base = self._map(None, size, 0x3000, 0x04)  # MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE
        if not base:
            raise MemoryError("no memory for a text")
        return int(base)

    def protect(self, base: int, size: int, *, readable: bool) -> None:
        access = 0x02 if readable else 0x01  # PAGE_READONLY, PAGE_NOACCESS
        self._protect(base, size, access, ctypes.byref(self._before))

    def unmap(self, base: int, size: int) -> None:
        self._unmap(base, 0, 0x8000)  # MEM_RELEASE
