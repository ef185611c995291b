"""Events by their handles: waiting, second handles, and which handles are of one event."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator

import pytest

from recorder import events


def _made() -> tuple[int, Callable[[], object]]:
    """An event's handle, and what signals it whoever has closed that."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.CreateEventW.restype = ctypes.c_void_p
        handle = kernel.CreateEventW(None, True, False, None)
        own = events.duplicate(handle)
        assert own is not None

        def signal() -> None:
            kernel.SetEvent(ctypes.c_void_p(own))
            events.close(own)

        return handle, signal
    reader, writer = os.pipe()

    def write() -> None:
        os.write(writer, b"!")
        os.close(writer)

    return reader, write


@pytest.fixture
def event() -> Iterator[tuple[int, Callable[[], object]]]:
    handle, signal = _made()
    yield handle, signal
    events.close(handle)


def test_an_event_is_signalled_for_good(event: tuple[int, Callable[[], object]]) -> None:
    handle, signal = event
    assert not events.wait(handle, 0)
    assert not events.wait(handle, 0.01)
    signal()
    assert events.wait(handle, 10)
    assert events.wait(handle, 0)


def test_a_second_handle_outlives_the_first(event: tuple[int, Callable[[], object]]) -> None:
    handle, signal = event
    second = events.duplicate(handle)
    assert second is not None
    stranger, signal_stranger = _made()
    assert events.same(handle, second) in (True, None)
    assert events.same(stranger, second) in (False, None)
    events.close(handle)
    assert events.same(handle, second) is False
    signal()
    assert events.wait(second, 10)
    events.close(second)
    signal_stranger()
    events.close(stranger)


@pytest.mark.parametrize("value", [0x7FFFFFF0, 2**40])
def test_what_is_no_handle(value: int) -> None:
    assert events.duplicate(value) is None
    assert not events.wait(value, 0)
    assert events.same(value, value) is False
    events.close(value)


def test_a_host_closes_what_it_is_given() -> None:
    handle, signal = _made()
    second = events.duplicate(handle)
    assert second is not None
    given = events.OpenHandle(handle)
    assert given == handle
    given.close()
    assert events.same(handle, second) is False
    signal()
    events.close(second)


def test_a_created_event_is_signalled_through_any_of_its_handles() -> None:
    handle = events.create()
    own = events.duplicate(handle)
    assert own is not None and handle > 0
    assert not events.wait(handle, 0)
    events.close(handle)
    events.signal(own)
    assert events.wait(own, 10) and events.wait(own, 0)
    events.close(own)
