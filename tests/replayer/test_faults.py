"""The fault record: what a process that died of native code still says, and what its parent makes of it."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sequences import GOOD, trace

from recorder.native import core_of
from replayer.faults import Fault, FaultFile, Meaning, NativeFrame, parse_fault
from replayer.isolation import Isolated
from replayer.oracles import Finding, Judge
from replayer.player import Run
from replayer.symbols import demangled, symbols_of

Library = Callable[[str], Path]

compiled = pytest.mark.skipif(core_of("replayer").module is None, reason="the core is not compiled")


def record(stack: str = "", *, state: int = 2, meaning: int = 0, playing: int = 1) -> bytes:
    text = stack.encode()
    return struct.pack("=IIQQIIII", state, 11, 0x10, 3, 2, meaning, playing, len(text)) + text


def test_a_record() -> None:
    fault = parse_fault(record("/x/a library.so+0x1f helper\n/x/host.so+0x20\n", meaning=4))
    assert fault == Fault(
        11,
        0x10,
        "writing",
        Meaning.USED_LATER,
        3,
        False,
        (NativeFrame("/x/a library.so", 0x1F, "helper"), NativeFrame("/x/host.so", 0x20, "")),
    )
    assert fault.sentence == "used the text of call #3 after call #3 had returned"
    assert fault.place("/somewhere/host.so") == "host.so+0x20"
    assert fault.stack == "  a library.so+0x1f helper\n  host.so+0x20\n"


def test_the_players_own_frames_are_not_in_it() -> None:
    fault = parse_fault(record("/x/host.so+0x1 f\n/y/replayer/_native/core.abi3.so+0x2 syn_play\n"))
    assert fault is not None and [frame.library for frame in fault.frames] == ["host.so"]


def test_system_libraries_are_tools_of_the_target() -> None:
    fault = parse_fault(record("/usr/lib/libc.so.6+0x1 strlen\n/x/other.so+0x2 f\n"))
    assert fault is not None and fault.place("host.so") == "other.so in f"


def test_an_address_without_a_library_is_no_place() -> None:
    fault = parse_fault(record("?+0x55550000\n"))
    assert fault is not None and fault.place() == ""


def test_a_thread_of_the_targets_own() -> None:
    seen = [parse_fault(record(playing=playing)) for playing in range(3)]
    assert [fault is not None and fault.own_thread for fault in seen] == [False, False, True]


def test_no_fault() -> None:
    assert parse_fault(record(state=0)) is None


@given(st.binary(min_size=40, max_size=400))
def test_any_bytes_are_taken(data: bytes) -> None:
    parse_fault(data)
    parse_fault(struct.pack("=I", 2) + data[4:])


def test_what_was_forgotten_is_gone(tmp_path: Path) -> None:
    file = FaultFile(tmp_path / "fault")
    with (tmp_path / "fault").open("r+b") as other:
        other.write(record())
    assert parse_fault(file.record) is not None
    file.forget()
    assert parse_fault(file.record) is None
    file.close()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("progress", "progress"),
        ("_ZN4Host8ProgressEPKDsjj", "Host::Progress"),
        ("_ZNK4Host5shareEjj", "Host::share"),
        ("_ZN4HostC2Ev", "Host::Host"),
        ("_ZN4HostD0Ev", "Host::~Host"),
        ("_Z6helperi", "helper"),
        ("_ZNSt6vectorIiE9push_backERKi", "_ZNSt6vectorIiE9push_backERKi"),
        ("_ZN", "_ZN"),
    ],
)
def test_names_of_cpp(name: str, shown: str) -> None:
    assert demangled(name) == shown


@given(st.binary(max_size=300))
@example(bytes(41) + b"\x80" + bytes(12) + b"\x01" + bytes(15))  # a section further on than an index can be
def test_files_that_are_no_libraries_have_no_symbols(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{abs(hash(data))}.so"
    for start in (b"", b"\x7fELF\x02\x01", b"MZ"):
        path.write_bytes(start + data)
        symbols_of.cache_clear()
        assert symbols_of(str(path)).name(0) == ""
    path.unlink()


@pytest.mark.native
@compiled
class TestNative:
    @pytest.fixture
    def play(self, library: Library) -> Callable[..., Run]:
        def run(name: str, *lines: str) -> Run:
            with Isolated(f"{library(name)}:create") as player:
                played: Run = player.play(trace(*lines), timeout=10)
            return played

        return run

    def the_finding(self, run: Run) -> Finding:
        (finding,) = Judge.of(run.trace).findings(run)
        return finding

    def test_the_place_is_the_innermost_function_of_the_target(
        self, play: Callable[..., Run], library: Library
    ) -> None:
        run = play("crashes_deep", GOOD[0], 'Progress("x", 1, 2)')
        finding = self.the_finding(run)
        assert (finding.code, finding.number) == ("X1", 1)
        assert finding.place == f"{library('crashes_deep').name} in read_null"
        names = [line.split()[-1] for line in run.stack.splitlines()[1:4]]
        assert names == ["read_null", "helper", "progress"]

    def test_it_is_the_same_bucket_in_every_process(self, play: Callable[..., Run]) -> None:
        runs = [play("crashes_deep", *GOOD[:1] * count, 'Progress("x", 1, 2)') for count in (1, 2)]
        assert len({self.the_finding(run).bucket for run in runs}) == 1

    def test_a_jump_to_nowhere_is_the_callers(self, play: Callable[..., Run], library: Library) -> None:
        finding = self.the_finding(play("crashes_deep", "Error(E_FAIL, NULL)"))
        assert finding.place == f"{library('crashes_deep').name} in error"

    def test_abort(self, play: Callable[..., Run], library: Library) -> None:
        run = play("abort", *GOOD, "Done(NULL, S_OK)", "Error(S_OK, NULL)", "Progress(NULL, 0, 0)")
        finding = self.the_finding(run)
        if sys.platform == "win32":  # there abort() of msvcrt is an exit
            assert finding.code == "X7"
        else:
            assert finding.message == "SIGABRT" and finding.place.startswith(library("abort").name + " in ")

    def test_what_a_thread_of_the_target_does_is_no_methods(self, play: Callable[..., Run]) -> None:
        finding = self.the_finding(play("thread_reads_later", GOOD[0], "Error(E_FAIL, NULL)"))
        assert (finding.code, finding.number, finding.method) == ("H11", 1, "")
        assert "in a thread of the target's own: used the text of call #0" in finding.message

    def test_a_used_up_stack(self, play: Callable[..., Run], library: Library) -> None:
        finding = self.the_finding(play("endless_recursion", GOOD[0], "Error(E_FAIL, NULL)"))
        assert (finding.code, finding.number) == ("X12", 1)
        assert finding.message.endswith(": the stack is used up")
        assert finding.place == f"{library('endless_recursion').name} in error"
