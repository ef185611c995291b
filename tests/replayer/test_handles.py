"""Live handles for symbolic ones: what was closed, how often, and never a descriptor of ours."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sequences import GOOD, trace

from recorder.calls import SYNC_EVENT, Handle
from replayer.handles import EventHandle, Handles, PythonHandles, native_handles
from replayer.isolation import Player
from replayer.oracles import Judge

OTHER = Handle(1)


class TestPython:
    def test_a_handle_is_a_number_that_can_be_closed(self) -> None:
        handle = PythonHandles().live(SYNC_EVENT)
        assert int(handle) > 0 and repr(handle) == "<EventHandle 0>"
        handle.Close()
        assert handle.closed and repr(handle) == "<EventHandle 0 closed>"

    def test_different_tokens_are_different_handles(self) -> None:
        handles = PythonHandles()
        assert handles.live(SYNC_EVENT) is handles.live(SYNC_EVENT) != handles.live(OTHER)

    def test_pseudo_handles_keep_their_value(self) -> None:
        assert PythonHandles().live(Handle(-2)) == -2

    def test_what_became_of_them(self) -> None:
        handles = PythonHandles()
        once, twice, never = (handles.live(Handle(token)) for token in range(3))
        handles.live(Handle(-1))
        once.close()
        twice.close()
        twice.close()
        handles.after_call()
        assert (handles.closed_twice(), handles.left_open()) == ([1], [2])
        assert not never.closed
        handles.release()
        assert handles.left_open() == []

    def test_a_handle_can_be_copied(self) -> None:
        handle = EventHandle(3)
        assert copy.deepcopy(handle) == pickle.loads(pickle.dumps(handle)) == handle


# What a host does with a handle: an event on Windows, elsewhere a descriptor that is readable once signalled.
if sys.platform == "win32":
    import ctypes

    _kernel = ctypes.WinDLL("kernel32")
    for _name in ("CloseHandle", "SetEvent", "ResetEvent", "GetHandleInformation", "CreateEventW"):
        getattr(_kernel, _name).argtypes = (ctypes.c_void_p,) * (4 if _name == "CreateEventW" else 1)
    _kernel.WaitForSingleObject.argtypes = (ctypes.c_void_p, ctypes.c_ulong)
    _kernel.CreateEventW.restype = ctypes.c_void_p

    def close(handle: int) -> None:
        assert _kernel.CloseHandle(handle)

    def signal(handle: int) -> None:
        assert _kernel.SetEvent(handle)

    def wait(handle: int) -> None:
        _kernel.WaitForSingleObject(handle, 0)

    def take(value: int) -> list[int]:
        """Make an event whose handle is this one; also made are the handles that are given back."""
        made: list[int] = []
        while (event := _kernel.CreateEventW(None, 1, 0, None)) != value:
            made.append(event)
            assert len(made) < 64
        return made

    def open_handles() -> object:
        """Cannot be listed here: GetProcessHandleCount answers 0 under Wine."""
        return None
else:

    def close(handle: int) -> None:
        os.close(handle)

    def signal(handle: int) -> None:
        os.write(handle, b"\1" * 8)

    def wait(handle: int) -> None:
        os.read(handle, 8)

    def take(value: int) -> list[int]:
        """Open a file whose descriptor is this one."""
        assert os.open(os.devnull, os.O_RDONLY) == value
        return []

    def open_handles() -> set[int]:
        return {int(name) for name in os.listdir("/dev/fd")}


class TestNative:
    @pytest.fixture
    def handles(self) -> Iterator[Handles]:
        before = open_handles()
        handles = native_handles()
        yield handles
        handles.release()
        assert open_handles() == before

    def fate(self, handles: Handles) -> tuple[list[int], list[int], list[int]]:
        handles.after_call()
        return handles.left_open(), handles.closed_twice(), handles.used_closed()

    def test_a_handle_is_open_until_it_is_closed(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        assert handles.live(SYNC_EVENT) == handle != handles.live(OTHER)
        assert self.fate(handles) == ([0, 1], [], [])
        close(handle)
        assert self.fate(handles) == ([1], [], [])

    def test_a_second_close_hits_a_stranger(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        close(handle)
        handles.after_call()
        close(handle)  # taken at once
        assert self.fate(handles) == ([], [0], [])

    def test_what_is_done_to_an_open_handle_is_the_hosts_business(self, handles: Handles) -> None:
        signal(handles.live(SYNC_EVENT))
        assert self.fate(handles) == ([0], [], [])
        close(handles.live(SYNC_EVENT))
        assert self.fate(handles) == self.fate(handles) == ([], [], [])

    def test_a_handle_that_is_signalled_after_it_was_closed(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        close(handle)
        handles.after_call()
        signal(handle)
        assert self.fate(handles) == ([], [], [0])
        assert self.fate(handles) == ([], [], [0])  # told once, and not taken for a second close

    def test_a_handle_that_is_waited_for_after_it_was_closed(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        close(handle)
        handles.after_call()
        if sys.platform == "win32":
            handles.after_call()  # a stranger is signalled only every third time
            handles.after_call()
        wait(handle)
        assert self.fate(handles) == ([], [], [0])

    def test_a_stranger_that_was_used_and_closed(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        close(handle)
        handles.after_call()
        signal(handle)
        handles.after_call()
        close(handle)
        assert self.fate(handles) == ([], [0], [0])

    def test_what_took_the_value_of_a_closed_one_is_let_be(self, handles: Handles) -> None:
        handle = handles.live(SYNC_EVENT)
        close(handle)
        others = take(handle)
        assert self.fate(handles) == ([], [], [])
        handles.release()
        for other in (handle, *others):
            close(other)  # each was still there

    def test_pseudo_handles_keep_their_value(self, handles: Handles) -> None:
        assert handles.live(Handle(-1)) == -1


# ------------------------------------------------------------------------------------------------------ in play

FAILED = ('Error(MAPI_E_CORRUPT_STORE, "damaged")', "Done(sync-event, E_FAIL)")
SAMPLES = {
    "never_closes": (FAILED, 1, "handle 0 was never closed"),
    "closes_twice": (GOOD, 3, "handle 0 was closed more than once"),
    "uses_closed_handle": (GOOD, 3, "handle 0 was used after it had been closed"),
}


@pytest.mark.native
@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_found_out(
    example: Callable[[str], Path], isolated: Callable[[str], Player], name: str
) -> None:
    lines, number, message = SAMPLES[name]
    recorded = trace(*lines)
    run = isolated(f"{example(name)}:create").play(recorded)
    (finding,) = Judge.of(recorded).findings(run)
    assert (finding.code, finding.oracle, finding.number, finding.message) == ("H14", "handle", number, message)
    assert Judge.of(recorded, disabled=frozenset({"handle"})).findings(run) == []
