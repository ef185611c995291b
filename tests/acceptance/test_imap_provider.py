"""examples/imap_provider synchronises with a real Dovecot, and keeps the rules however that goes.

What is compared with what came of a sync are the server's own files.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpora import folder as corpus
from examples.imap_provider.account import Account
from examples.imap_provider.capture import main as capture
from examples.imap_provider.dovecot import PASSWORD, USER, Dovecot, free_port
from examples.imap_provider.failures import failure
from examples.imap_provider.scenarios import MAIL, SCENARIOS, Act, Host, Played, played
from examples.imap_provider.store import Store
from recorder import com, events, hresult
from recorder.calls import SYNC_EVENT, Trace
from recorder.interfaces import IUNKNOWN, MAPISIB
from recorder.native_provider import record_native
from recorder.obligations import check_native
from recorder.samples.mail_store import INBOX, FolderPath, MailStore
from recorder.trace import read_trace
from recorder.trace_input import TraceInput
from replayer.samples.send_receive import SendReceiveDialog

pytestmark = pytest.mark.dovecot

ROOT = Path(__file__).parents[2]
WHOLE = [
    *("first_sync", "second_sync", "nothing_new", "empty_account", "whole_after_headers", "upload", "both_ways"),
    *("tls", "slow_server", "numbered_anew"),
]
"""Scenarios after which both sides hold the same."""


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Played, Path]]:
    """A scenario, played; its server is still there."""
    path = tmp_path / "run.tape"
    with played(request.param, path) as done:
        yield request.param, done, path


def calls(trace: Trace, method: str) -> list[tuple[Any, ...]]:
    return [call.args for call in trace.calls if call.method == method]


def plain(trace: Trace) -> list[tuple[Any, ...]]:
    return [(call.method, *call.args) for call in trace.calls]


def of_server(server: Dovecot | None) -> dict[FolderPath, list[bytes]]:
    """Folders with what is in them, as another client sees which there are."""
    assert server is not None
    with server.client() as client:
        names = [name for _, _, name in client.list_folders()]
    folders = [INBOX if name == "INBOX" else tuple(name.split("/")) for name in names]
    return {folder: server.messages(folder) for folder in folders}


def of_local(done: Played) -> dict[FolderPath, list[bytes]]:
    return {folder: done.messages(folder) for folder in MailStore(done.account.maildir).folders()}


@pytest.mark.parametrize("run", SCENARIOS, indirect=True)
def test_however_it_goes_the_rules_are_kept_and_the_end_is_told(run: tuple[str, Played, Path]) -> None:
    name, done, path = run
    trace = read_trace(path)
    result = SCENARIOS[name].result
    assert trace.damage is None and done.happened
    assert [thread.name for thread in trace.threads] == ["host", "imap sync"]
    assert done.sync.waiting == "" and (done.sync.result, done.sync.event, done.sync.held) == (0, "open", 0)
    assert calls(trace, "Done") == [(SYNC_EVENT, result)] and trace.calls[-2].method == "Done"
    assert check_native(TraceInput(path), done.sync).broken == []
    errors = calls(trace, "Error")
    assert bool(errors) == (result != 0)
    assert not hresult.failed(result) or errors[-1][0] == result
    problems = [problem.text for problem in done.dialog.problems]
    assert all(problems) and PASSWORD not in "".join(problems)
    shipped = read_trace(corpus() / "captured" / f"store_{name}.tape")
    if name != "quota_exceeded":  # where Dovecot sees that the mailbox is full is not the same each time
        assert plain(trace) == plain(shipped), "capture the corpus anew"
    assert shipped.header.provenance == {**trace.header.provenance, "server": shipped.header.provenance["server"]}
    assert shipped.header.sync_flags == trace.header.sync_flags


@pytest.mark.parametrize("run", WHOLE, indirect=True)
def test_both_sides_hold_the_same(run: tuple[str, Played, Path]) -> None:
    name, done, _ = run
    there = of_server(done.server)
    assert of_local(done) == there
    assert any(there.values()) == (name != "empty_account")


@pytest.mark.parametrize("run", ["both_ways"], indirect=True)
def test_what_was_made_and_deleted_here_is_made_and_deleted_there(run: tuple[str, Played, Path]) -> None:
    _, done, _ = run
    there = of_server(done.server)
    assert there["Written here",] == sorted(MAIL["受信箱",])
    assert len(there[INBOX]) == len(MAIL[INBOX]) - 2 + len(MAIL["Entwürfe", "2024"])
    assert len(there["Отправленные",]) == len(MAIL["Отправленные",]) + 1


@pytest.mark.parametrize(
    "run", ["hierarchy_only", "contents_only", "these_folders", "headers_only"], indirect=True
)
def test_flags_say_what_is_synchronised(run: tuple[str, Played, Path]) -> None:
    name, done, _ = run
    here = of_local(done)
    full = {folder: sorted(messages) for folder, messages in MAIL.items()}
    expected: dict[str, Any] = {
        "hierarchy_only": {folder: [] for folder in MAIL},
        "contents_only": {INBOX: full[INBOX]},
        "headers_only": {f: sorted(m.partition(b"\n\n")[0] + b"\n\n" for m in full[f]) for f in full},
        "these_folders": {
            **{INBOX: [], ("Entwürfe",): []},
            **{folder: full[folder] for folder in (("Entwürfe", "2024"), ("受信箱",))},
        },
    }
    assert here == expected[name]


@pytest.mark.parametrize(
    ("run", "missing"),
    [
        ("folder_deleted", {("Отправленные",)}),
        ("folder_deleted_in_fetch", {("Отправленные",)}),
        ("folder_unreadable", {("Entwürfe",)}),
    ],
    indirect=["run"],
)
def test_a_folder_that_fails_leaves_the_others_alone(
    run: tuple[str, Played, Path], missing: set[FolderPath]
) -> None:
    here = of_local(run[1])
    assert {folder for folder in MAIL if here[folder] != sorted(MAIL[folder])} == missing


@pytest.mark.parametrize("run", ["cut_off", "server_restarted"], indirect=True)
def test_the_next_sync_completes_what_a_lost_connection_left(
    run: tuple[str, Played, Path], tmp_path: Path
) -> None:
    _, done, _ = run
    before = of_local(done)
    path = tmp_path / "next.tape"
    again = record_native(Store(done.account), path, flags=0x82)
    assert again.result == 0 and calls(read_trace(path), "Done")[0][1] == 0
    assert len(before[INBOX]) == 5 and before != of_local(done) == of_server(done.server)
    assert calls(read_trace(path), "Progress")[-2] == (None, 7, 7)  # no message came twice


@pytest.mark.parametrize("run", ["quota_exceeded"], indirect=True)
def test_what_exceeds_the_quota_stays_here(run: tuple[str, Played, Path]) -> None:
    there, here = of_server(run[1].server), of_local(run[1])
    assert here == {folder: sorted(messages) for folder, messages in MAIL.items()}
    assert 0 < sum(map(len, there.values())) < sum(map(len, here.values()))


@pytest.mark.parametrize("run", ["messages_vanish"], indirect=True)
def test_what_vanishes_before_it_is_fetched_is_passed_over(run: tuple[str, Played, Path]) -> None:
    here = run[1].messages(INBOX)
    assert len(here) == 5 and set(here) <= set(MAIL[INBOX])


@pytest.mark.parametrize("run", ["cancelled_in_messages", "disk_full"], indirect=True)
def test_what_came_before_the_end_stays(run: tuple[str, Played, Path]) -> None:
    assert 0 < sum(map(len, of_local(run[1]).values())) < sum(map(len, MAIL.values()))


# --- starting one ---------------------------------------------------------------------------------------------


def account(tmp_path: Path) -> Account:
    return Account("127.0.0.1", USER, PASSWORD, tmp_path / "local", port=free_port())


class Start:
    """A call of SynchronizeInBackground without a recording, and what it stored."""

    def __init__(self, store: Store, callback: int = 0, *, shorter: int = 0, place: bool = True):
        self.cell = ctypes.c_void_p()
        values = {"ulSize": MAPISIB.size() - shorter, "ulFlags": 0x82, "punkCallBack": callback}
        packed = MAPISIB.pack(values | ({"phSyncDoneEvent": ctypes.addressof(self.cell)} if place else {}))
        sib = ctypes.create_string_buffer(packed, len(packed))
        self.result = store.SynchronizeInBackground(ctypes.addressof(sib))

    def ended(self) -> None:
        """Wait for the end of the sync, and close its event."""
        assert self.result == 0 and self.cell.value
        assert events.wait(self.cell.value, 20)
        events.close(self.cell.value)


@pytest.mark.parametrize("wrong", [{"shorter": 1}, {"place": False}])
def test_a_start_that_fails_gives_no_event_and_calls_nothing(wrong: dict[str, Any], tmp_path: Path) -> None:
    start = Start(Store(account(tmp_path)), **wrong)
    assert (start.result, start.cell.value) == (hresult.parse("E_INVALIDARG"), None)
    assert Store(account(tmp_path)).SynchronizeInBackground(None) == hresult.parse("E_INVALIDARG")
    assert not (tmp_path / "local").exists()


def open_events() -> int:
    """How many handles of events this process has."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of the listing
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum("eventfd" in link for link in links)


@pytest.mark.parametrize("part", ["events.create", "events.duplicate", "Apartment"])
def test_where_there_is_no_room_for_an_event_or_a_thread(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # a duplicate that is None was none
        if part == "events.create":
            raise OSError("no more files")
        if part == "Apartment":
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(f"examples.imap_provider.store.{part}", refuse)
    before = open_events()
    start = Start(Store(account(tmp_path)))
    assert (start.result, start.cell.value) == (hresult.parse("MAPI_E_NOT_ENOUGH_RESOURCES"), None)
    assert open_events() == before


def test_one_sync_at_a_time(tmp_path: Path) -> None:
    """The second start fails while the first sync is running, and a third works when that has ended."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(replace(account(tmp_path), port=silent.getsockname()[1], timeout=1))
        first, second = Start(store), Start(store)
        assert (first.result, second.result) == (0, hresult.parse("MAPI_E_BUSY"))
        assert second.cell.value is None
        silent.accept()[0].close()
        first.ended()
        Start(store).ended()


def test_a_callback_that_is_none_is_none(tmp_path: Path) -> None:
    """P4: what is asked for the interface and does not have it is left alone, and the sync goes on."""
    with Dovecot(MAIL) as server, com.expose(object(), IUNKNOWN) as unknown:
        mine = replace(account(tmp_path), port=server.port)
        Start(Store(mine), unknown.pointer).ended()
        assert unknown.references == 1
    with MailStore(mine.maildir).open(INBOX) as opened:
        assert len(opened.identities()) == len(MAIL[INBOX])


def test_without_a_callback_it_synchronises_all_the_same(tmp_path: Path) -> None:
    with Dovecot(MAIL) as server:
        mine = replace(account(tmp_path), port=server.port)
        run = record_native(Store(mine), tmp_path / "run.tape", callback=False)
        assert (run.result, run.event, run.waiting) == (0, "open", "")
        with MailStore(mine.maildir).open(INBOX) as opened:
            assert len(opened.identities()) == len(MAIL[INBOX])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "IMAP_URL is not set"),
        ({"IMAP_URL": "imap://a:b@c"}, "IMAP_MAILDIR is not set"),
        ({"IMAP_URL": "http://a:b@c", "IMAP_MAILDIR": "m"}, "IMAP_URL: write it as"),
        ({"IMAP_URL": "imap://c", "IMAP_MAILDIR": "m"}, "IMAP_URL: write it as"),
        ({"IMAP_URL": "imap://a:b@c", "IMAP_MAILDIR": "m", "IMAP_TIMEOUT": "soon"}, "IMAP_TIMEOUT: 'soon' is no"),
    ],
)
def test_an_account_that_is_not_described(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Account.from_environment(environment)


def test_an_account_from_the_environment() -> None:
    environment = {
        "IMAP_URL": "imaps://a%40b:p%3Aw@mail.example",
        "IMAP_MAILDIR": "m",
        "IMAP_FOLDERS": "INBOX,A/B",
    }
    found = Account.from_environment(environment)
    assert (found.user, found.password, found.port, found.security) == ("a@b", "p:w", 993, "imaps")
    assert found.folders == ("INBOX", "A/B") and "p:w" not in repr(found)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("[UNAVAILABLE] Temporary authentication failure.", "MAPI_E_BUSY"),
        ("[EXPIRED] Password expired", "MAPI_E_PASSWORD_EXPIRED"),
        ("[NOPERM] Permission denied", "E_ACCESSDENIED"),
        ("[SOMETHING] else", "MAPI_E_CALL_FAILED"),
    ],
)
def test_refusals_of_other_servers(said: str, name: str) -> None:
    from imapclient.exceptions import IMAPClientError

    assert failure(IMAPClientError(said)).result == hresult.parse(name)


# --- from the command line ------------------------------------------------------------------------------------


def test_it_is_recorded_from_the_command_line(tmp_path: Path) -> None:
    """As the README shows it: in a process of its own, judged by what only that knew."""
    with Dovecot(MAIL) as server:
        environment = {**os.environ, "IMAP_URL": server.url, "IMAP_MAILDIR": str(tmp_path / "local")}
        command = [sys.executable, "-m", "synctape", "record", "examples.imap_provider:Store", "-o"]
        options = ["--forward", "replayer.samples.send_receive:SendReceiveDialog"]
        done = subprocess.run(
            [*command, str(tmp_path / "run.tape"), *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no rule broken\n")
    assert plain(read_trace(tmp_path / "run.tape")) == plain(
        read_trace(corpus() / "captured" / "store_first_sync.tape")
    )


def test_a_server_to_try_it_on_serves_until_it_is_ended(tmp_path: Path) -> None:
    """The README's session: the server ends in the middle of a sync."""
    command = [sys.executable, "-m", "examples.imap_provider.serve", "--slow", "4000"]
    path = tmp_path / "run.tape"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            name, _, url = server.stdout.readline().removeprefix("export ").strip().partition("=")
            mine = Account.from_environment({name: url, "IMAP_MAILDIR": str(tmp_path / "local")})
            host = SendReceiveDialog()

            def end() -> None:
                server.terminate()
                assert server.wait(20) == 0

            act = Act(mine, when="Getting message 1 of 6 from", then=end)
            run = record_native(Store(mine), path, inner=Host(host, act), timeout=60)
        finally:
            server.terminate()
    assert (run.waiting, host.result) == ("", hresult.parse("MAPI_E_NETWORK_ERROR"))
    assert check_native(TraceInput(path), run).broken == []


def test_scenarios_are_captured_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-o", str(tmp_path), "--only", "refused"]
    assert capture(arguments) == 0
    assert "5 calls  0x80040115 MAPI_E_NETWORK_ERROR" in capsys.readouterr().out
    before = (tmp_path / "store_refused.tape").read_bytes()
    with pytest.raises(SystemExit) as ended:
        capture(arguments)
    assert ended.value.code == 2 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "store_refused.tape").read_bytes() == before
    assert capture([*arguments, "--force"]) == 0
    with pytest.raises(SystemExit) as ended:
        capture(["-o", str(tmp_path / "store_refused.tape" / "below")])
    assert ended.value.code == 2


def test_the_corpus_has_every_scenario_and_no_other() -> None:
    shipped = {path.stem for path in (corpus() / "captured").glob("store_*.tape")}
    others = {"imap_process_killed", "imap_process_stopped"}  # of the prototype
    assert shipped - others == {f"store_{name}" for name in SCENARIOS}
