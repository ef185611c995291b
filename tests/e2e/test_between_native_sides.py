"""A recording callback between a native provider and a native host: both talk COM, the trace shows all of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder import com
from recorder.callback import RecordingCallback
from recorder.calls import SYNC_EVENT
from recorder.contract import lint
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as INTERFACE
from recorder.trace import read_trace

pytestmark = pytest.mark.native

TESTS = Path(__file__).parent.parent


def library(source: Path, folder: Path) -> ctypes.CDLL:
    target = folder / f"{source.stem}.so"
    command = ["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", str(target), str(source), "-pthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(target))


def test_every_call_and_every_reference_is_in_the_trace(tmp_path: Path) -> None:
    host = library(TESTS / "targets" / "native" / "good_host.c", tmp_path)
    provider = library(TESTS / "recorder" / "c" / "provider.c", tmp_path)
    provider.synchronize.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
    address = ctypes.c_void_p()
    host.create.argtypes = (ctypes.POINTER(ctypes.c_void_p),)
    assert host.create(ctypes.byref(address)) == 0 and address.value
    inner = com.wrap(address.value, INTERFACE)

    path = tmp_path / "between.tape"
    callback = RecordingCallback(inner, path)
    with callback.expose() as exposed:
        native = com.wrap(exposed.pointer, INTERFACE)
        answer, pointer = native.QueryInterface(INTERFACE.iid)
        assert answer == 0 and pointer == exposed.pointer
        assert native.QueryInterface("{5024a385-2d44-486a-81a8-8f0ecb6071dd}") == (-2147467262, None)
        assert provider.synchronize(exposed.pointer, 1, 20) == 0
        native.Release()
    callback.close()
    inner.Release()

    trace = read_trace(path)
    assert trace.damage is None
    counted = Counter(call.method for call in trace.calls)
    assert counted["Progress"] == 20 and counted["Done"] == 1
    assert counted["QueryInterface"] == 2 and counted["AddRef"] == 1 and counted["Release"] >= 2
    played = {p.call.method: p for p in trace.played}
    progress = [p for p in trace.played if p.call.method == "Progress"]
    assert [p.call.args for p in progress[:2]] == [(None, 0, 0), ("Step \U0001f600 \ud800", 1, 0)]
    assert all(p.outcome is not None and p.outcome.value == 0 for p in progress)
    assert {p.call.thread for p in progress} != {played["QueryInterface"].call.thread}
    queried = [p for p in trace.played if p.call.method == "QueryInterface"]
    assert [p.call.args for p in queried] == [(INTERFACE.iid,), ("{5024a385-2d44-486a-81a8-8f0ecb6071dd}",)]
    assert [p.outcome.value for p in queried if p.outcome] == [0, -2147467262]
    assert "P2" not in {violation.rule.id for violation in lint(trace)}


@pytest.mark.parametrize("core", ["", "ctypes"])
def test_from_a_native_provider_to_a_replay_on_native_hosts(
    example: Callable[[str], Path], tmp_path: Path, core: str
) -> None:
    """record between a provider and a host, check, replay on that host, and on one that forgets the event."""

    def synctape(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "synctape", *arguments],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"SYNCTAPE_CORE": core, "SYNC_PLAN": "steps=4 null=2 error=0x8004010F"},
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    provider, host = f"{example('provider')}:create", f"{example('good_host')}:create"
    code, said = synctape("record", provider, "--forward", host, "-o", "run.tape")
    assert code == 0 and said.startswith("run.tape: 8 calls in ") and said.endswith("; no rule broken\n")
    trace = read_trace(tmp_path / "run.tape")
    assert [call.method for call in trace.calls] == [
        "QueryInterface",
        *["Progress"] * 4,
        "Error",
        "Done",
        "Release",
    ]
    assert [call.args for call in trace.calls[4:7]] == [
        (None, 4, 4),
        (-2147221233, "message 4"),
        (SYNC_EVENT, -2147221233),
    ]
    assert synctape("check", "run.tape") == (0, "run.tape: ok, 8 calls, conforming\n")
    code, said = synctape("replay", "run.tape", "--target", host)
    assert code == 0 and said.startswith("PASSED  run.tape  8 calls\n")
    code, said = synctape("replay", "run.tape", "--target", f"{example('never_closes')}:create")
    assert code == 1 and "H14" in said
