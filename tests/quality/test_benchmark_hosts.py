"""The benchmark's hosts are what they say: each bug shows at the end of its sequence; correct ones have none."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK

from corpora import folder
from recorder.calls import Call, Handle
from recorder.contract import contract_of
from replayer.corpus import find_traces, load
from replayer.isolation import Here, Isolated, Limits, Player
from replayer.oracles import Judge
from replayer.player import play
from replayer.target import load_target
from replayer.verdict import Status, replay_trace

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from benchmarks.catalogue import Host, hosts  # noqa: E402

HOSTS = hosts()
JUDGE = Judge(contract_of(CALLBACK), slow=5)  # a busy machine is not the host's fault


def some(*, native: bool, correct: bool) -> pytest.MarkDecorator:
    chosen = [host for host in HOSTS if (host.native, host.correct) == (native, correct)]
    return pytest.mark.parametrize("host", chosen, ids=lambda host: host.name)


def spec(host: Host) -> str:
    return f"benchmarks.hosts.{host.path.stem}:Host"


@pytest.fixture(scope="module", params=[".", "asan"], ids=["plain", "sanitized"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Host], str]:
    """Builds a native host with the Makefile, once, with and without sanitizers; gives it as a target."""
    if sys.platform == "win32":
        pytest.skip("sanitizers of ELF libraries")
    if not (shutil.which("c++") and shutil.which("make")):
        pytest.skip("no C++ compiler and make")
    out = tmp_path_factory.mktemp("hosts")

    def build(host: Host) -> str:
        file = out / request.param / f"{host.path.stem}.so"
        makefile = host.path.parent / "Makefile"
        subprocess.run(["make", "-s", "-f", makefile, f"OUT={out}", file], check=True)
        return f"{file}:create"

    return build


def passes_the_captures(player: Player) -> None:
    paths = find_traces([folder() / "captured"])
    assert len(paths) > 3
    for path in paths:
        verdict = replay_trace(load(path), player, JUDGE)
        assert (verdict.status, verdict.findings) == (Status.PASSED, ())


def test_there_are_hosts_of_each_depth_in_both_worlds() -> None:
    for native, least in ((False, 14), (True, 6)):
        wrong = [host for host in HOSTS if host.native is native and not host.correct]
        assert len(wrong) >= least and {host.depth for host in wrong} == {1, 2, 3, 4, 5}
    correct = [host.native for host in HOSTS if host.correct]
    assert (correct.count(False), correct.count(True)) == (4, 2)


@some(native=False, correct=False)
def test_the_bug_shows_in_the_last_call_of_its_sequence(host: Host) -> None:
    target = load_target(spec(host), CALLBACK)
    (finding,) = JUDGE.findings(play(host.calls, target))
    assert (finding.code, finding.number) == (host.code, len(host.calls) - 1)
    assert JUDGE.findings(play(host.calls[:-1], target)) == []


@some(native=False, correct=False)
def test_every_call_of_the_sequence_counts(host: Host) -> None:
    target = load_target(spec(host), CALLBACK)
    for left_out in {*range(len(host.calls))} if len(host.calls) < 50 else (0, len(host.calls) // 2):
        calls = [call for number, call in enumerate(host.calls) if number != left_out]
        assert JUDGE.findings(play(calls, target)) == []


@some(native=False, correct=False)
def test_one_who_knows_no_contract_sees_it_too(host: Host) -> None:
    """The last call raises, if only because the handle of the peers' model does."""
    handle = importlib.import_module("benchmarks.peers.model").Handle
    live: dict[Any, Any] = {}
    instance = load_target(spec(host), CALLBACK).instance().object
    *before, last = host.calls

    def make(call: Call) -> None:
        values = [live.setdefault(a, handle(1)) if isinstance(a, Handle) else a for a in call.args]
        getattr(instance, call.method)(*values)

    for call in before:
        make(call)
    with pytest.raises(Exception):  # noqa: B017 - each host's own
        make(last)


@some(native=False, correct=True)
def test_a_correct_host_passes_the_captures(host: Host) -> None:
    passes_the_captures(Here(load_target(spec(host), CALLBACK)))


@pytest.mark.native
@some(native=True, correct=False)
def test_the_bug_of_a_native_host_shows_in_the_last_call(host: Host, built: Callable[[Host], str]) -> None:
    with Isolated(target := built(host), limits=Limits(20)) as player:
        (finding,) = JUDGE.findings(player.play(host.calls))
        assert finding.code in (host.code, "X13") and (finding.code == host.code or "/asan/" in target)
        assert finding.number == len(host.calls) - 1
        assert JUDGE.findings(player.play(host.calls[:-1])) == []


@pytest.mark.native
@some(native=True, correct=True)
def test_a_correct_native_host_passes_the_captures(host: Host, built: Callable[[Host], str]) -> None:
    with Isolated(built(host), limits=Limits(20)) as player:
        passes_the_captures(player)
