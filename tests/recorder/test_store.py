"""Stores in Python: started through IMAPISync as a native provider is, and judged as one."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from recorder import com, events
from recorder.calls import SYNC_EVENT
from recorder.errors import SynctapeError, TraceError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN, MAPISIB
from recorder.library import LibraryError
from recorder.native_provider import record_native
from recorder.obligations import check_native
from recorder.session import LEAST, Bounds
from recorder.session_input import parts
from recorder.store import is_store, load_store
from recorder.trace import read_trace
from recorder.trace_input import TraceInput


class Store:
    """Three calls from a thread of its own."""

    event = True

    def SynchronizeInBackground(self, psib: int | None) -> int:
        assert psib
        sib = MAPISIB.unpack(ctypes.string_at(psib, MAPISIB.size()))
        _, pointer = com.wrap(sib["punkCallBack"], IUNKNOWN).QueryInterface(IMAPI_SYNC_PROGRESS_CALLBACK.iid)
        handle = events.create()
        own = events.duplicate(handle)
        if self.event:
            ctypes.c_void_p.from_address(sib["phSyncDoneEvent"]).value = handle
        arguments = com.wrap(pointer, IMAPI_SYNC_PROGRESS_CALLBACK), handle, own, sib["ulFlags"]
        threading.Thread(target=self._run, args=arguments).start()
        return 0

    def _run(self, callback: Any, handle: int, own: int, flags: int) -> None:
        callback.Progress("flags", flags, 0x82)
        callback.Progress(None, 0x82, 0x82)
        callback.Done(handle, 0)
        callback.Release()
        events.signal(own)
        events.close(own)


class Busy(Store):
    """As many calls as fill several files of the smallest session."""

    def _run(self, callback: Any, handle: int, own: int, flags: int) -> None:
        for index in range(CALLS):
            callback.Progress(None, index, CALLS)
        super()._run(callback, handle, own, flags)


CALLS = 9000


class Forgetful(Store):
    event = False


class Refusing:
    def __init__(self) -> None:
        raise OSError("no account")

    def SynchronizeInBackground(self, psib: int | None) -> int:
        return 0


def test_it_is_started_with_a_mapisib_and_keeps_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    run = record_native(Store(), path, flags=0x82)
    calls = read_trace(path).calls
    plain = [(call.method, *call.args) for call in calls if call.method != "QueryInterface"]
    assert plain == [
        ("Progress", "flags", 0x82, 0x82),
        ("Progress", None, 0x82, 0x82),
        ("Done", SYNC_EVENT, 0),
        ("Release",),
    ]
    assert (run.result, run.event, run.held) == (0, "open", 0)
    assert check_native(TraceInput(path), run).broken == []


def test_it_is_recorded_in_several_files(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    for _ in range(2):  # again, over those that are there
        record_native(Busy(), path, bounds=Bounds(LEAST), sync=60, overwrite=True)
        assert not path.exists() and len(parts(path)) > 1
        trace = TraceInput(path).read()
        assert trace.damage is None and trace.header.provenance["session"]["files"] == [n for n, _ in parts(path)]
        assert [call.args[1] for call in trace.calls if call.method == "Progress"][:-2] == list(range(CALLS))
        assert [call.method for call in trace.calls[-2:]] == ["Done", "Release"]
        assert trace.calls[-2].args == (SYNC_EVENT, 0)
    with pytest.raises(TraceError, match="exists already"):
        record_native(Busy(), path, bounds=Bounds(LEAST))


def test_its_mistakes_are_seen(tmp_path: Path) -> None:
    run = record_native(Forgetful(), tmp_path / "run.tape")
    assert "P16" in [broken.rule.id for broken in check_native(TraceInput(tmp_path / "run.tape"), run).broken]


def test_what_is_a_store() -> None:
    assert is_store(Store)
    assert not is_store(Store()) and not is_store(object) and not is_store(len)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class S: ...", r"is no class with IMAPISync's method, SynchronizeInBackground"),
        ("S = 1 / 0", "ZeroDivision"),
    ],
)
def test_what_is_none(source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"no_store_{len(message)}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SynctapeError, match=message):
        load_store(f"no_store_{len(message)}:S")


def test_one_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stores_of_this_test", sys.modules[__name__])
    with pytest.raises(LibraryError, match="raised OSError: no account"):
        load_store("stores_of_this_test:Refusing")


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "my_store.py").write_text(Path(__file__).read_text("utf-8"), "utf-8")
    command = [sys.executable, "-m", "synctape", "record", "my_store:Store", "-o", "run.tape", "--flags", "0x82"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no rule broken" in done.stdout
    assert read_trace(tmp_path / "run.tape").calls[-1].method == "Release"


@pytest.mark.slow
def test_a_ring_from_the_command_line(tmp_path: Path) -> None:
    store = Path(__file__).read_text("utf-8").replace("CALLS = 9000", "CALLS = 50_000")
    (tmp_path / "my_store.py").write_text(store, "utf-8")
    command = [sys.executable, "-m", "synctape", "record", "my_store:Busy", "-o", "run.tape", "--ring", "1M"]
    done = subprocess.run([*command, "--sync", "9"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"run.tape: \d+ calls, after \d+ files that were dropped in ", done.stdout)
    numbers = [number for number, _ in parts(tmp_path / "run.tape")]
    assert len(numbers) == 8 and numbers[0] > 1
    assert sum(path.stat().st_size for _, path in parts(tmp_path / "run.tape")) <= 1 << 20
