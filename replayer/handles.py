"""Live handles for symbolic ones, and what became of them (H14).

A Python target gets an `EventHandle`: an int that can be closed, like pywin32's PyHANDLE.  A native target gets
a real handle: an event on Windows, elsewhere one end of a socket pair standing for one.  After each call the value
of a handle that was closed is taken by a stranger at once, so that a second close hits something whose absence
shows, and never a descriptor of ours.  The stranger notices, too, when it is used.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

from recorder import events
from recorder.calls import Handle

__all__ = ["CLOSED", "EventHandle", "Handles", "NativeHandles", "PythonHandles", "native_handles"]


CLOSED: list[EventHandle] = []
"""Handles in the order in which targets closed them; who looks for closes empties it."""


class EventHandle(int):
    """An event handle as a Python host sees it: a number with `close()` (or `Close()`), and `closes` to count.

    `used` is told before it is closed, and before its value is taken.
    """

    token: int
    closes: int
    used: Callable[[], None]

    def __new__(cls, token: int, used: Callable[[], None] = lambda: None) -> EventHandle:
        handle = super().__new__(cls, token if token < 0 else 0x1000 + 4 * token)
        handle.token = token
        handle.closes = 0
        handle.used = used
        return handle

    def close(self) -> None:
        """Give the handle back; a second time is a mistake that the handle oracle reports."""
        self.used()
        self.closes += 1
        CLOSED.append(self)

    Close = close

    def __int__(self) -> int:
        self.used()
        return super().__int__()

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

    def used_closed(self) -> list[int]:
        """Tokens of handles that were used after they had been closed: whose stranger was signalled, reset, waited
        for, read or written, as far as that leaves a trace."""

    def release(self) -> None:
        """Close what is still open."""


class PythonHandles:
    """EventHandles by token.  `used` is called before a target uses one."""

    def __init__(self) -> None:
        self._given: dict[int, EventHandle] = {}
        self.used: Callable[[], None] | None = None

    def live(self, handle: Handle) -> EventHandle:
        return self._given.setdefault(handle.token, EventHandle(handle.token, self._use))

    def _use(self) -> None:
        if self.used is not None:
            self.used()

    def after_call(self) -> None:
        """An EventHandle counts for itself."""
        CLOSED.clear()

    def closed_twice(self) -> list[int]:
        return [token for token, handle in self._given.items() if handle.closes > 1]

    def left_open(self) -> list[int]:
        return [token for token, handle in self._given.items() if token >= 0 and not handle.closes]

    def used_closed(self) -> list[int]:
        """A closed EventHandle is only a number: nothing can be done with it."""
        return []

    def release(self) -> None:
        self._given.clear()


class NativeHandles:
    """Ends of socket pairs standing for events, on systems other than Windows.

    Like an event's, such a descriptor is signalled while it is readable.  The stranger is readable: who reads it
    takes away what is there, and what is written to it arrives at the other end.
    """

    def __init__(self) -> None:
        self._given: dict[int, int] = {}  # token -> descriptor
        self._identity: dict[int, tuple[int, int]] = {}
        self._other_ends: list[socket.socket] = []
        # token -> identity of what took the closed value; None where that is the target's own, which we let be
        self._strangers: dict[int, tuple[int, int] | None] = {}
        self._watched: dict[int, socket.socket] = {}  # token -> the other end of its stranger
        self._ready: dict[int, tuple[int, socket.socket]] = {}  # token -> its stranger to be, and the other end
        self._used: list[int] = []

    def live(self, handle: Handle) -> int:
        token = handle.token
        if token < 0:
            return token
        if token not in self._given:
            descriptor, _ = self._pair()
            self._given[token] = descriptor
            self._identity[token] = _identity(descriptor)
        return self._given[token]

    def after_call(self) -> None:
        for token, descriptor in self._given.items():
            if token in self._watched:
                self._look(token)
            if token in self._strangers:
                continue
            found = _identity(descriptor)
            if found == _CLOSED:
                self._plant(token, descriptor)
            elif found != self._identity[token]:
                self._strangers[token] = None

    def _pair(self) -> tuple[int, socket.socket]:
        """A descriptor, and the other end of it; neither ever blocks."""
        one, other = socket.socketpair()
        one.setblocking(False)
        other.setblocking(False)
        self._other_ends.append(other)
        return one.detach(), other

    def _plant(self, token: int, descriptor: int) -> None:
        stranger, other = self._pair()
        if stranger != descriptor:
            os.dup2(stranger, descriptor, inheritable=False)
            os.close(stranger)
        other.send(_CONTENT)
        self._strangers[token] = _identity(descriptor)
        self._watched[token] = other

    def stranger(self, token: int) -> int:
        """A descriptor for a closed handle's place, where the player cannot look after calls; see `planted`."""
        if token not in self._ready:
            stranger, other = self._pair()
            other.send(_CONTENT)
            self._ready[token] = stranger, other
        return self._ready[token][0]

    def planted(self, tokens: Iterable[int]) -> None:
        """The strangers of these handles have taken the place of what was closed."""
        for token in tokens:
            stranger, other = self._ready[token]
            self._strangers[token] = _identity(stranger)
            self._watched[token] = other

    def _look(self, token: int) -> None:
        """Whether a stranger was read or written; one that was is not watched any more, nor one that is gone."""
        descriptor, other = self._given[token], self._watched[token]
        if _identity(descriptor) != self._strangers[token]:
            del self._watched[token]
            return
        written = b""
        with contextlib.suppress(BlockingIOError):
            written = other.recv(len(_CONTENT))
        if written or not _holds_content(descriptor):
            del self._watched[token]
            self._used.append(token)

    def closed_twice(self) -> list[int]:
        return [
            token
            for token, mark in self._strangers.items()
            if mark is not None and _identity(self._given[token]) != mark
        ]

    def left_open(self) -> list[int]:
        return [token for token in self._given if token not in self._strangers]

    def used_closed(self) -> list[int]:
        return self._used

    def release(self) -> None:
        for token, descriptor in self._given.items():
            if _identity(descriptor) in (self._identity[token], self._strangers.get(token)):  # and nobody else's
                os.close(descriptor)
        for stranger, _ in self._ready.values():
            os.close(stranger)
        for other in self._other_ends:
            other.close()
        self.__init__()  # type: ignore[misc]


_CONTENT = b"stranger"  # as long as what an eventfd takes and gives


def _holds_content(descriptor: int) -> bool:
    """Whether all that a stranger was given to hold is still to be read from it."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as stranger:
            return stranger.recv(2 * len(_CONTENT), socket.MSG_PEEK) == _CONTENT
    except OSError:  # nothing is there
        return False


_CLOSED = (0, 0)


def _identity(descriptor: int) -> tuple[int, int]:
    """What a descriptor stands for; `_CLOSED` once it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return _CLOSED
    return (status.st_dev, status.st_ino)


class WindowsHandles:
    """Real events.  A closed event's value is given out again by the next CreateEvent: that is the stranger.

    The stranger resets itself when it is waited for.  At every third look it is left signalled, else not: so it
    shows that it was waited for or reset, and that it was set.  A second handle of each event, and of each
    stranger, tells whether a value still stands for it: any thread of the process may have taken a closed one.
    """

    def __init__(self) -> None:
        import ctypes

        self._kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
        self._kernel.CreateEventW.restype = ctypes.c_void_p
        self._kernel.CreateEventW.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        self._kernel.SetEvent.argtypes = (ctypes.c_void_p,)
        self._given: dict[int, int] = {}
        self._second: dict[int, int | None] = {}  # token -> another handle of what its value stands for
        self._strangers: set[int] = set()
        self._planted: set[int] = set()
        self._spare: list[int] = []
        self._watched: dict[int, int] = {}  # token -> how often its stranger was looked at
        self._used: list[int] = []

    def _event(self, *, manual: bool = True) -> int:
        return int(self._kernel.CreateEventW(None, manual, 0, None))

    def _keeps(self, token: int) -> bool:
        """Whether a token's value stands for the event, or the stranger, that was made for it."""
        second = self._second[token]
        return second is not None and events.same(self._given[token], second) is not False

    def _stands_for(self, token: int, value: int) -> None:
        before, self._second[token] = self._second.get(token), events.duplicate(value)
        if before is not None:
            events.close(before)

    def live(self, handle: Handle) -> int:
        token = handle.token
        if token < 0:
            return token
        if token not in self._given:
            self._given[token] = self._event()
            self._stands_for(token, self._given[token])
        return self._given[token]

    def after_call(self) -> None:
        for token, value in self._given.items():
            if token in self._watched:
                self._look(token, value)
            if token in self._strangers or self._keeps(token):
                continue
            self._strangers.add(token)
            for _ in range(16):
                event = self._event(manual=False)
                if event == value:
                    self._stands_for(token, value)
                    self._planted.add(token)
                    self._watched[token] = 0
                    break
                self._spare.append(event)

    def _look(self, token: int, value: int) -> None:
        """Whether a stranger was set or waited for; one that was is not watched any more, nor one that is gone."""
        looks = self._watched.pop(token)
        if not self._keeps(token):
            return
        if events.wait(value, 0) != (looks % 3 == 2):
            self._used.append(token)
            return
        self._watched[token] = looks + 1
        if self._watched[token] % 3 == 2:
            self._kernel.SetEvent(value)

    def closed_twice(self) -> list[int]:
        return [token for token in self._planted if not self._keeps(token)]

    def left_open(self) -> list[int]:
        return [token for token in self._given if token not in self._strangers]

    def used_closed(self) -> list[int]:
        return self._used

    def release(self) -> None:
        for token, value in self._given.items():
            if self._keeps(token):  # and nobody else's
                events.close(value)
        for kept in (*self._second.values(), *self._spare):
            if kept is not None:
                events.close(kept)
        self.__init__()  # type: ignore[misc]


def native_handles() -> Handles:
    """Handles for a native target on this system."""
    return WindowsHandles() if sys.platform == "win32" else NativeHandles()
