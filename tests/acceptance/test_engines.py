"""examples/providers: what engines report of real transfers, in runs that go well and runs that do not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pygit2
import pytest

from corpora import folder as corpus
from examples.imap_provider.dovecot import Dovecot
from examples.imap_provider.scenarios import SMALL
from examples.providers import servers
from examples.providers.capture import main as capture
from examples.providers.curl_download import download
from examples.providers.gate import Gate
from examples.providers.git_clone import clone
from examples.providers.scenarios import SCENARIOS, offlineimap_config
from examples.providers.servers import BODY, Web
from recorder import hresult
from recorder.calls import Trace
from recorder.contract import lint
from recorder.samples.mail_store import INBOX
from recorder.trace import read_trace

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[2]
CANCEL = hresult.parse("MAPI_E_USER_CANCEL")


class Listener:
    """A host that keeps what it is told, and answers `answer` from the call numbered `at` on."""

    def __init__(self, at: int = -1, answer: int = CANCEL) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._at, self._answer = at, answer

    def _hear(self, *call: Any) -> int:
        self.told.append(call)
        return self._answer if 0 <= self._at < len(self.told) else 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return self._hear("Progress", text, index, maximum)

    def Error(self, result: int, text: str | None) -> int:
        return self._hear("Error", result, text)

    def Done(self, handle: object, result: int) -> int:
        return self._hear("Done", handle, result)


def calls(trace: Trace, method: str) -> list[tuple[Any, ...]]:
    return [call.args for call in trace.calls if call.method == method]


def series(positions: list[tuple[Any, ...]]) -> list[tuple[int, list[int]]]:
    """Runs of one maximum, each with its indexes."""
    grouped = itertools.groupby(positions, key=lambda args: args[2])
    return [(maximum, [args[1] for args in group]) for maximum, group in grouped]


def play(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A scenario in a process of its own, as captures are made."""
    command = [sys.executable, "-m", "examples.providers.capture", "-o", str(folder), "--only", name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCENARIOS)
def test_however_it_goes_the_rules_are_kept_and_the_end_is_told(name: str, tmp_path: Path) -> None:
    done = play(name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    trace = read_trace(tmp_path / f"{name}.tape")
    assert trace.damage is None
    assert [call.method for call in trace.calls].index("Done") == len(trace.calls) - 1
    handle, result = calls(trace, "Done")[0]
    assert handle is None and result in SCENARIOS[name].results
    assert [str(violation) for violation in lint(trace) if violation.rule.severity == "E"] == []
    errors = calls(trace, "Error")
    assert bool(errors) == (result != 0) and all(text for _, text in errors)
    assert not hresult.failed(result) or result in {code for code, _ in errors}
    shipped = read_trace(corpus() / "captured" / f"{name}.tape")
    if len(SCENARIOS[name].results) == 1:
        assert sorted(code for code, _ in errors) == sorted(code for code, _ in calls(shipped, "Error"))
    assert calls(shipped, "Done")[0][1] in SCENARIOS[name].results
    assert shipped.header.provenance == {**trace.header.provenance, "engine": shipped.header.provenance["engine"]}


def test_the_corpus_has_every_scenario_and_no_other() -> None:
    engines = {name.partition("_")[0] for name in SCENARIOS}
    shipped = {path.stem for path in (corpus() / "captured").glob("*.tape")}
    assert {name for name in shipped if name.partition("_")[0] in engines} == set(SCENARIOS)


def test_a_capture_replaces_nothing_unless_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-o", str(tmp_path), "--only", "curl_refused"]
    assert capture(arguments) == 0
    before = (tmp_path / "curl_refused.tape").read_bytes()
    with pytest.raises(SystemExit) as ended:
        capture(arguments)
    assert ended.value.code == 2 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "curl_refused.tape").read_bytes() == before
    assert capture([*arguments, "--force"]) == 0
    assert (tmp_path / "curl_refused.tape").read_bytes() != before


# --- libcurl --------------------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[Web]:
    pages = {"/whole": servers.whole(), "/pieces": servers.piecewise(), "/small": servers.whole(BODY[:10])}
    pages["/twice-cut"] = servers.cut_off(90_000, times=2)
    pages["/huge"] = servers.cut_off(200_000, length=6_000_000_000)
    with Web(pages) as server:
        yield server


def curl(web: Web, *paths: str, host: Listener, folder: Path, **options: Any) -> int:
    return download(host, [web.url(path) for path in paths], folder, **options)


def test_libcurl_counts_each_file_from_nothing(web: Web, tmp_path: Path) -> None:
    host = Listener()
    assert curl(web, "/whole", "/small", host=host, folder=tmp_path) == 0
    assert (tmp_path / "whole").read_bytes() == BODY and (tmp_path / "small").read_bytes() == BODY[:10]
    positions = series([call[1:] for call in host.told if call[0] == "Progress"])
    assert [maximum for maximum, _ in positions] == [0, len(BODY), 0, 10]
    assert all(indexes == sorted(set(indexes)) for _, indexes in positions)
    assert [indexes[-1] for _, indexes in positions] == [0, len(BODY), 0, 10]
    assert [call[1] for call in host.told if call[0] == "Progress" and call[1]] == ["whole", "small"]


def test_libcurl_never_knows_how_much_comes_in_pieces(web: Web, tmp_path: Path) -> None:
    host = Listener()
    assert curl(web, "/pieces", host=host, folder=tmp_path) == 0
    assert (tmp_path / "pieces").read_bytes() == BODY
    assert {call[3] for call in host.told[:-1]} == {0} and host.told[-2][2] == len(BODY)


def test_a_download_is_taken_up_where_it_was_cut_off(web: Web, tmp_path: Path) -> None:
    host = Listener()
    assert curl(web, "/twice-cut", host=host, folder=tmp_path, attempts=3) == hresult.parse(
        "MAPI_W_ERRORS_RETURNED"
    )
    assert (tmp_path / "twice-cut").read_bytes() == BODY
    maxima = [maximum for maximum, _ in series([c[1:] for c in host.told if c[0] == "Progress"])]
    assert maxima == [0, 300_000, 210_000, 120_000]
    assert [call[0] for call in host.told].count("Error") == 2


def test_bytes_that_no_ulong_holds_are_counted_in_kibibytes(web: Web, tmp_path: Path) -> None:
    host = Listener()
    curl(web, "/huge", host=host, folder=tmp_path)
    told = [call for call in host.told if call[0] == "Progress"]
    assert told[-1][2:] == (200_000 >> 10, 6_000_000_000 >> 10)


@pytest.mark.parametrize("at", range(1, 5))
def test_libcurl_stops_at_an_answer_that_is_a_failure(at: int, web: Web, tmp_path: Path) -> None:
    host = Listener(at - 1)
    assert curl(web, "/whole", "/small", host=host, folder=tmp_path) == CANCEL
    assert host.told[at:] == [("Error", CANCEL, "cancelled by the host"), ("Done", None, CANCEL)]


# --- libgit2 --------------------------------------------------------------------------------------------------


def test_libgit2_tells_of_objects_and_then_of_deltas(tmp_path: Path) -> None:
    servers.commit(tmp_path / "served" / "notes", 12)
    host = Listener()
    with servers.GitDaemon(tmp_path / "served") as daemon:
        assert clone(host, daemon.url("notes"), tmp_path / "clone") == 0
    source, copy = (pygit2.Repository(str(tmp_path / name)) for name in ("served/notes", "clone"))
    assert len(list(copy.walk(copy.head.target))) == 12 and copy.head.target == source.head.target
    objects = sum(1 for _ in copy)
    told = [call[1:] for call in host.told if call[0] == "Progress"]
    said = "".join(text for text, _, maximum in told if text and not maximum)
    assert f"Counting objects: 100% ({objects}/{objects})\r" in said
    (_, unknown), (count, received), (deltas, resolved) = series(told)
    assert set(unknown) == {0} and count == objects and received[-1] == objects == len(set(received)) - 1
    assert deltas > 0 and sorted(set(resolved)) == list(range(1, deltas + 1)) and resolved == sorted(resolved)
    steps = ["Receiving objects", "Resolving deltas", "refs/remotes/origin/main"]
    assert [text for text, _, _ in told if text in steps] == steps and told[-1][0] == steps[-1]


def test_libgit2_stops_at_an_answer_that_is_a_failure(tmp_path: Path) -> None:
    servers.commit(tmp_path / "served" / "notes", 3)
    with servers.GitDaemon(tmp_path / "served") as daemon:
        everything = Listener()
        clone(everything, daemon.url("notes"), tmp_path / "clone")
        positions = [n for n, call in enumerate(everything.told) if call[0] == "Progress" and call[3]]
        for number, at in enumerate((0, *positions[:2])):
            host = Listener(at)
            assert clone(host, daemon.url("notes"), tmp_path / f"clone {number}") == CANCEL
            assert host.told[-2:] == [("Error", CANCEL, "cancelled by the host"), ("Done", None, CANCEL)]
            assert sum(call[0] == "Progress" for call in host.told) == len(host.told) - 2 <= at + 1


# --- OfflineIMAP ----------------------------------------------------------------------------------------------


def test_offlineimap_tells_of_two_folders_at_a_time(tmp_path: Path) -> None:
    assert play("offlineimap_sync", tmp_path).returncode == 0
    trace = read_trace(tmp_path / "offlineimap_sync.tape")
    copied = [(call.thread, call.args) for call in trace.calls if call.method == "Progress" and call.args[2]]
    by_thread = {thread: [args[1:] for number, args in copied if number == thread] for thread, _ in copied}
    assert sorted(by_thread.values()) == sorted(
        [(index, len(messages)) for index in range(1, len(messages) + 1)] for messages in SMALL.values()
    )
    assert trace.calls[-1].thread not in by_thread  # Done is said by the thread that called


def test_one_thread_is_enough_for_offlineimap(tmp_path: Path) -> None:
    assert play("offlineimap_one_thread", tmp_path).returncode == 0
    assert len({call.thread for call in read_trace(tmp_path / "offlineimap_one_thread.tape").calls}) == 1


def test_what_offlineimap_has_under_way_when_it_is_cancelled_comes_to_an_end(tmp_path: Path) -> None:
    assert play("offlineimap_cancelled", tmp_path).returncode == 0
    trace = read_trace(tmp_path / "offlineimap_cancelled.tape")
    copied = [args for args in calls(trace, "Progress") if args[2]]
    assert max(index for _, index, _ in copied) == 3 and len(copied) < sum(map(len, SMALL.values())) / 2


def test_nothing_passes_a_gate_that_is_shut() -> None:
    gate, inside, leave = Gate(), threading.Event(), threading.Event()
    passed: list[bool] = []

    def call() -> None:
        with gate.passing() as passes:
            passed.append(passes)
            inside.set()
            leave.wait(10)

    def shut() -> None:
        gate.shut()
        passed.append(False)  # after the call that was under way

    threads = [threading.Thread(target=call), threading.Thread(target=shut)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.05)
    assert threads[1].is_alive() and passed == [True]
    leave.set()
    for thread in threads:
        thread.join(10)
    with gate.passing() as passes:
        assert (passes, passed) == (False, [True, False])


# --- from the command line ------------------------------------------------------------------------------------


def record(provider: str, tape: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "synctape",
        "record",
        f"examples.providers.{provider}:provider",
        "-o",
        str(tape),
    ]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_download_is_recorded_as_the_readme_says(web: Web, tmp_path: Path) -> None:
    urls = f"{web.url('/whole')} {web.url('/small')}"
    done = record("curl_download", tmp_path / "run.tape", CURL_URLS=urls, CURL_FOLDER=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "small").read_bytes() == BODY[:10]
    assert calls(read_trace(tmp_path / "run.tape"), "Done") == [(None, 0)]


def test_a_clone_and_then_a_fetch_are_recorded_as_the_readme_says(tmp_path: Path) -> None:
    servers.commit(tmp_path / "served" / "notes", 2)
    with servers.GitDaemon(tmp_path / "served") as daemon:
        for number in range(2):
            tape = tmp_path / f"{number}.tape"
            done = record("git_clone", tape, GIT_URL=daemon.url("notes"), GIT_FOLDER=str(tmp_path / "clone"))
            assert (done.returncode, done.stderr) == (0, "")
            assert calls(read_trace(tape), "Done") == [(None, 0)]
            served, copy = (pygit2.Repository(str(tmp_path / name)) for name in ("served/notes", "clone"))
            assert copy.references["refs/remotes/origin/main"].target == served.head.target
            servers.commit(tmp_path / "served" / "notes", 1)


def test_mail_is_recorded_as_the_readme_says(tmp_path: Path) -> None:
    config = tmp_path / "offlineimaprc"
    with Dovecot(SMALL) as server:
        config.write_text(offlineimap_config(tmp_path, server.port))
        done = record("offlineimap_sync", tmp_path / "run.tape", OFFLINEIMAP_CONFIG=str(config))
        assert (done.returncode, done.stderr) == (0, "")
        assert calls(read_trace(tmp_path / "run.tape"), "Done") == [(None, 0)]
        for name, folder in (("INBOX", INBOX), ("Entw&APw-rfe", ("Entwürfe",))):
            here = [path.read_bytes() for path in (tmp_path / "mail" / name).glob("*/*") if path.is_file()]
            assert len(here) == len(server.messages(folder)) > 0


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("curl_download", "CURL_URLS"), ("git_clone", "GIT_URL"), ("offlineimap_sync", "OFFLINEIMAP_CONFIG")],
)
def test_what_is_not_set_is_named(provider: str, variable: str, tmp_path: Path) -> None:
    done = record(provider, tmp_path / "run.tape", **{variable: ""})
    assert done.returncode == 1 and f"{variable} is not set" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = record("offlineimap_sync", tmp_path / "run.tape", OFFLINEIMAP_CONFIG=str(tmp_path / "none"))
    assert done.returncode == 1 and "none: no such configuration" in done.stdout + done.stderr
