"""Live handles for symbolic ones: what was closed, how often, and never a descriptor of ours."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Iterator

import pytest

from recorder.calls import SYNC_EVENT, Handle
from replayer.handles import EventHandle, Handles, NativeHandles, PythonHandles, native_handles

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


def open_descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors stand for events")
class TestNative:
    @pytest.fixture
    def handles(self) -> Iterator[Handles]:
        before = open_descriptors()
        handles = native_handles()
        assert isinstance(handles, NativeHandles)
        yield handles
        handles.release()
        assert open_descriptors() == before

    def test_a_handle_is_open_until_it_is_closed(self, handles: Handles) -> None:
        descriptor = handles.live(SYNC_EVENT)
        assert handles.live(SYNC_EVENT) == descriptor != handles.live(OTHER)
        os.close(descriptor)
        handles.after_call()
        assert (handles.left_open(), handles.closed_twice()) == ([1], [])

    def test_a_second_close_hits_a_stranger(self, handles: Handles) -> None:
        descriptor = handles.live(SYNC_EVENT)
        os.close(descriptor)
        handles.after_call()
        os.fstat(descriptor)  # taken at once
        os.close(descriptor)
        handles.after_call()
        assert handles.closed_twice() == [0]

    def test_a_file_that_the_target_opened_in_its_place_is_let_be(self, handles: Handles) -> None:
        descriptor = handles.live(SYNC_EVENT)
        os.close(descriptor)
        own = os.open(os.devnull, os.O_RDONLY)
        assert own == descriptor
        handles.after_call()
        identity = os.fstat(own)
        assert (handles.left_open(), handles.closed_twice()) == ([], [])
        handles.release()
        assert os.fstat(own) == identity
        os.close(own)

    def test_pseudo_handles_keep_their_value(self, handles: Handles) -> None:
        assert handles.live(Handle(-1)) == -1
