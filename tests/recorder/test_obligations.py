"""A native provider's obligations, judged by a trace and by what only its process knew."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.native_provider import NativeRun
from recorder.obligations import check_native
from recorder.trace_input import TraceInput

QUERY = 'QueryInterface("{5024a386-2d44-486a-81a8-8f0ecb6071dd}") -> S_OK\n'
STEP = 'Progress("x", 1, 1) -> S_OK\n'
DONE = "Done(sync-event, S_OK) -> S_OK\n"
RELEASE = "Release() -> 16\n"
CONFORMING = QUERY + STEP + DONE + RELEASE
FINE = NativeRun(result=0, early=1, event="open")
E_FAIL = -2147467259


def judged(path: Path, calls: str, run: NativeRun | None) -> dict[str, tuple[str, str]]:
    """By rule id: where it is broken, and how."""
    (path / "run.txt").write_text(f"synctape 1\n{calls}", "utf-8")
    checked = check_native(TraceInput(path / "run.txt"), run)
    return {broken.rule.id: (checked.where(broken), broken.message) for broken in checked.broken}


@pytest.mark.parametrize(
    "run",
    [
        FINE,
        NativeRun(result=0, early=4, event="open"),
        NativeRun(result=0, early=1, event="open", closed=True, forwarded=True),
        None,
    ],
)
def test_a_conforming_run(tmp_path: Path, run: NativeRun | None) -> None:
    assert judged(tmp_path, CONFORMING, run) == {}


@pytest.mark.parametrize(
    ("calls", "run", "rule", "where", "message"),
    [
        (
            "AddRef() -> 17\n" + STEP + DONE + RELEASE,
            FINE,
            "P1",
            "call 1",
            "Progress before any QueryInterface for IMAPISyncProgressCallback",
        ),
        (
            'QueryInterface("{00000000-0000-0000-c000-000000000046}") -> S_OK\n' + STEP + DONE + RELEASE,
            FINE,
            "P1",
            "call 1",
            "Progress before any QueryInterface for IMAPISyncProgressCallback",
        ),
        (CONFORMING + RELEASE, FINE, "P2", "call 4", "Release without a reference of the caller's own"),
        # the last reference, which the caller only borrowed: the trace alone could not tell
        (
            CONFORMING + "Release() -> 0\n",
            NativeRun(result=0, early=1, event="open", held=-1),
            "P2",
            "call 4",
            "Release without a reference of the caller's own",
        ),
        (QUERY + STEP + DONE, FINE, "P2", "the end", "1 references were not released"),
        (
            CONFORMING + "AddRef() -> 17\n" + RELEASE,
            FINE,
            "P3",
            "call 4",
            "AddRef with every reference given back",
        ),
        (QUERY + RELEASE, FINE, "P12", "the end", "the sync ended without Done"),
        ("", FINE, "P12", "the end", "the sync ended without Done"),
        (
            CONFORMING.replace("sync-event", "handle(1)"),
            FINE,
            "P15",
            "call 2",
            "hThreadDoneEvent is not the event in *phSyncDoneEvent",
        ),
        (
            CONFORMING,
            NativeRun(result=0, early=1, event="open", closed=True),
            "P15",
            "call 2",
            "the event was closed by the provider, not by the host",
        ),
        (CONFORMING, NativeRun(result=0, early=1), "P16", "the end", "*phSyncDoneEvent was not filled"),
        (
            CONFORMING,
            NativeRun(result=0, early=1, event="late"),
            "P16",
            "the end",
            "*phSyncDoneEvent was filled only when the start had returned",
        ),
        (
            CONFORMING,
            NativeRun(result=0, early=1, event="invalid"),
            "P16",
            "the end",
            "*phSyncDoneEvent holds no open handle",
        ),
        (
            QUERY + STEP + RELEASE,
            NativeRun(result=E_FAIL, early=3),
            "P17",
            "call 1",
            "Progress though the start answered 0x80004005 E_FAIL",
        ),
    ],
)
def test_each_rule(tmp_path: Path, calls: str, run: NativeRun, rule: str, where: str, message: str) -> None:
    assert judged(tmp_path, calls, run) == {rule: (where, message)}


def test_a_call_after_the_last_release_is_told_whenever_it_comes(tmp_path: Path) -> None:
    for early in (1, 5):
        found = judged(tmp_path, CONFORMING + STEP, NativeRun(result=0, early=early, event="open"))
        assert found["P3"] == ("call 4", "Progress with every reference given back")


def test_the_callback_is_lent_until_the_start_returns(tmp_path: Path) -> None:
    """It may be asked for twice meanwhile, but not afterwards."""
    calls = QUERY + RELEASE + CONFORMING
    assert judged(tmp_path, calls, NativeRun(result=0, early=3, event="open")) == {}
    late = judged(tmp_path, calls, NativeRun(result=0, early=2, event="open"))
    assert late == {"P3": ("call 2", "QueryInterface with every reference given back")}


def test_a_failed_start_owes_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, QUERY + RELEASE, NativeRun(result=E_FAIL, early=2)) == {}
    assert judged(tmp_path, QUERY, NativeRun(result=E_FAIL, early=1, held=1)).keys() == {"P2"}


def test_whoever_is_not_at_the_end_is_not_blamed_for_it(tmp_path: Path) -> None:
    run = NativeRun(result=0, early=1, event="open", held=1, waiting="the event has not been signalled")
    assert judged(tmp_path, "", run) == {}
    unfilled = NativeRun(result=0, waiting="no event was given, and references are held")
    assert judged(tmp_path, "", unfilled).keys() == {"P16"}
    assert judged(tmp_path, "", NativeRun(waiting="SynchronizeInBackground has not returned")) == {}
