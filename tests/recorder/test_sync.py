"""What is handed to the disk, and when."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from recorder.appending import AppendFile
from recorder.callback import RecordingCallback
from recorder.session import LEAST, Bounds
from recorder.session_input import parts
from recorder.trace import read_trace
from recorder.writer import RecordingWarning


class Host:
    """Notes how often the file was flushed before it is called."""

    def __init__(self, flushes: list[str]):
        self.flushes = flushes
        self.before: list[int] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.before.append(len(self.flushes))
        return 0


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by each flush."""
    done: list[str] = []
    real = AppendFile.flush

    def flush(self: AppendFile) -> None:
        real(self)
        done.append(self._path)

    monkeypatch.setattr(AppendFile, "flush", flush)
    return done


def test_each_event_is_on_the_disk_before_its_call_goes_on(tmp_path: Path, flushes: list[str]) -> None:
    host = Host(flushes)
    with RecordingCallback(host, tmp_path / "run.tape", sync=0) as callback:
        for number in range(5):
            callback.Progress("text", number, 5)
    assert host.before == [2, 4, 6, 8, 10]  # the header, then enters and leaves
    assert len(flushes) == 11
    assert len(read_trace(tmp_path / "run.tape").calls) == 5


def test_without_sync_nothing_is_flushed(tmp_path: Path, flushes: list[str]) -> None:
    with RecordingCallback(Host(flushes), tmp_path / "run.tape") as callback:
        callback.Progress("text", 1, 5)
    assert not flushes


def test_it_is_flushed_now_and_then(tmp_path: Path, flushes: list[str]) -> None:
    before = threading.active_count()
    with RecordingCallback(Host(flushes), tmp_path / "run.tape", sync=0.01) as callback:
        callback.Progress("text", 1, 5)
        deadline = threading.Event()
        while len(flushes) < 4:
            deadline.wait(0.005)
    count = len(flushes)
    while threading.active_count() > before:  # its thread ends with the trace
        deadline.wait(0.005)
    assert len(flushes) <= count + 1
    assert read_trace(tmp_path / "run.tape").damage is None


def test_the_end_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def fsync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_size)

    with RecordingCallback(Host([]), tmp_path / "run.tape", sync=1000) as callback:
        callback.Progress("text", 1, 5)
        monkeypatch.setattr(os, "fsync", fsync)
    assert synced[-1] == (tmp_path / "run.tape").stat().st_size


def test_all_files_of_a_session_are_flushed(tmp_path: Path, flushes: list[str]) -> None:
    path = tmp_path / "run.tape"
    with RecordingCallback(Host(flushes), path, sync=1000, bounds=Bounds(LEAST)) as callback:
        for number in range(6000):
            callback.Progress("text", number, 5)
    assert len(parts(path)) > 1
    assert {os.path.basename(flushed) for flushed in flushes} == {part.name for _, part in parts(path)}


def test_a_disk_that_fails_stops_recording_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host([])
    callback: Any = RecordingCallback(host, tmp_path / "run.tape", sync=0)
    callback.Progress("text", 1, 5)

    def failing(self: AppendFile) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(AppendFile, "flush", failing)
    with pytest.warns(RecordingWarning, match="calls are still forwarded") as told:
        for number in range(2, 5):
            assert callback.Progress("text", number, 5) == 0
    assert len(told) == 1 and len(host.before) == 4
    trace = read_trace(tmp_path / "run.tape")
    assert [call.args[1] for call in trace.calls] == [1, 2]
    assert trace.damage is not None and "recording stopped" in trace.damage.reason
    callback.close()
