"""Live handles for symbolic ones, and what became of them (H14).

A Python target gets an `EventHandle`: an int that can be closed, like pywin32's PyHANDLE.  A native target gets
a real handle: an event on Windows, elsewhere the read end of a pipe standing for one.  After each call the
value of a handle that was closed is taken by a stranger at once, so that a second close hits something whose
absence shows, and never a descriptor of ours.
"""

from __future__ import annotations

import os
import sys
from typing import Protocol

from recorder.calls import Handle

__all__ = ["CLOSED", "EventHandle", "Handles", "NativeHandles", "PythonHandles", "native_handles"]


CLOSED: list[EventHandle] = []
"""Handles in the order in which targets closed them; who looks for closes empties it."""


class EventHandle(int):
    """An event handle as a Python host sees it: a number with `close()` (or `Close()`), and `closes` to count."""

    token: int
    closes: int

    def __new__(cls, token: int) -> EventHandle:
        handle = super().__new__(cls, token if token < 0 else 0x1000 + 4 * token)
        handle.token = token
        handle.closes = 0
        return handle

    def close(self) -> None:
        """Give the handle back; a second time is a mistake that the handle oracle reports."""
        self.closes += 1
        CLOSED.append(self)

    Close = close

    @property
    def closed(self) -> bool:
        return self.closes > 0

    def __repr__(self) -> str:
        return f"<EventHandle {self.token}{' closed' if self.closes else ''}>"

    def __reduce__(self) -> tuple[type[EventHandle], tuple[int]]:
        return EventHandle, (self.token,)


class Handles(Protocol):
    """The handles of one sequence."""

    def live(self, handle: Handle) -> int:
        """What the target is given for a symbolic handle; the same one gives the same."""

    def after_call(self) -> None:
        """A call has returned: look what it closed."""

    def closed_twice(self) -> list[int]:
        """Tokens of handles that were closed more than once."""

    def left_open(self) -> list[int]:
        """Tokens of handles that were given out and never closed."""

    def release(self) -> None:
        """Close what is still open."""


class PythonHandles:
    """EventHandles by token."""

    def __init__(self) -> None:
        self._given: dict[int, EventHandle] = {}

    def live(self, handle: Handle) -> EventHandle:
        return self._given.setdefault(handle.token, EventHandle(handle.token))

    def after_call(self) -> None:
        """An EventHandle counts for itself."""
        CLOSED.clear()

    def closed_twice(self) -> list[int]:
        return [token for token, handle in self._given.items() if handle.closes > 1]

    def left_open(self) -> list[int]:
        return [token for token, handle in self._given.items() if token >= 0 and not handle.closes]

    def release(self) -> None:
        self._given.clear()


class NativeHandles:
    """Descriptors of pipes standing for events, on systems other than Windows."""

    def __init__(self) -> None:
        self._given: dict[int, int] = {}  # token -> descriptor
        self._identity: dict[int, tuple[int, int]] = {}
        self._other_ends: list[int] = []
        # token -> identity of what took the closed value; None where that is the target's own, which we let be
        self._strangers: dict[int, tuple[int, int] | None] = {}

    def live(self, handle: Handle) -> int:
        token = handle.token
        if token < 0:
            return token
        if token not in self._given:
            descriptor, other = os.pipe()
            self._other_ends.append(other)
            self._given[token] = descriptor
            self._identity[token] = _identity(descriptor)
        return self._given[token]

    def after_call(self) -> None:
        for token, descriptor in self._given.items():
            if token in self._strangers:
                continue
            found = _identity(descriptor)
            if found == _CLOSED:
                self._plant(token, descriptor)
            elif found != self._identity[token]:
                self._strangers[token] = None

    def _plant(self, token: int, descriptor: int) -> None:
        stranger, other = os.pipe()
        self._other_ends.append(other)
        if stranger != descriptor:
            os.dup2(stranger, descriptor)
            os.close(stranger)
        self._strangers[token] = _identity(descriptor)

    def closed_twice(self) -> list[int]:
        return [
            token
            for token, mark in self._strangers.items()
            if mark is not None and _identity(self._given[token]) != mark
        ]

    def left_open(self) -> list[int]:
        return [token for token in self._given if token not in self._strangers]

    def release(self) -> None:
        for token, descriptor in self._given.items():
            if _identity(descriptor) in (self._identity[token], self._strangers.get(token)):  # and nobody else's
                os.close(descriptor)
        for descriptor in self._other_ends:
            os.close(descriptor)
        self.__init__()  # type: ignore[misc]


_CLOSED = (0, 0)


def _identity(descriptor: int) -> tuple[int, int]:
    """What a descriptor stands for; `_CLOSED` once it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return _CLOSED
    return (status.st_dev, status.st_ino)


class WindowsHandles:
    """Real events.  A closed event's value is given out again by the next CreateEvent: that is the stranger."""

    def __init__(self) -> None:
        import ctypes

        self._kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
        self._kernel.CreateEventW.restype = ctypes.c_void_p
        self._kernel.CreateEventW.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        self._kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        self._kernel.GetHandleInformation.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_ulong))
        self._flags = ctypes.c_ulong()
        self._given: dict[int, int] = {}
        self._strangers: set[int] = set()
        self._planted: set[int] = set()
        self._spare: list[int] = []

    def _event(self) -> int:
        return int(self._kernel.CreateEventW(None, 1, 0, None))

    def _open(self, value: int) -> bool:
        import ctypes

        return bool(self._kernel.GetHandleInformation(value, ctypes.byref(self._flags)))

    def live(self, handle: Handle) -> int:
        if handle.token < 0:
            return handle.token
        if handle.token not in self._given:
            self._given[handle.token] = self._event()
        return self._given[handle.token]

    def after_call(self) -> None:
        for token, value in self._given.items():
            if token in self._strangers or self._open(value):
                continue
            self._strangers.add(token)
            for _ in range(16):
                event = self._event()
                if event == value:
                    self._planted.add(token)
                    break
                self._spare.append(event)

    def closed_twice(self) -> list[int]:
        return [token for token in self._planted if not self._open(self._given[token])]

    def left_open(self) -> list[int]:
        return [token for token in self._given if token not in self._strangers]

    def release(self) -> None:
        for value in {*self._given.values(), *self._spare}:
            if self._open(value):
                self._kernel.CloseHandle(value)
        self._given.clear()
        self._strangers.clear()
        self._planted.clear()
        self._spare.clear()


def native_handles() -> Handles:
    """Handles for a native target on this system."""
    return WindowsHandles() if sys.platform == "win32" else NativeHandles()
