"""The mail provider: what it copies, what it reports, and that both hold when things go wrong."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder import hresult
from recorder.calls import SYNC_EVENT, Call, Trace
from recorder.contract import lint
from recorder.samples import mail_folders
from recorder.samples.mail_account import FOLDERS, MBOX_FOLDERS, generate_account
from recorder.samples.mail_store import INBOX, FolderPath, MailStore, disk_name, display, true_name
from recorder.samples.mail_sync import (
    DOWNLOAD,
    STATE_FILE,
    SYNC_DOWNLOAD_CONTENTS,
    SYNC_DOWNLOAD_HIERARCHY,
    SYNC_GLOBAL_HEADERS,
    SYNC_UPLOAD_CONTENTS,
    UPLOAD,
    start_sync,
    synchronise,
)

S_OK = 0
E_ACCESSDENIED = hresult.parse("E_ACCESSDENIED")
E_FAIL = hresult.parse("E_FAIL")
E_UNEXPECTED = hresult.parse("E_UNEXPECTED")
MAPI_E_CORRUPT_STORE = hresult.parse("MAPI_E_CORRUPT_STORE")
MAPI_E_DISK_ERROR = hresult.parse("MAPI_E_DISK_ERROR")
MAPI_E_NOT_ENOUGH_DISK = hresult.parse("MAPI_E_NOT_ENOUGH_DISK")
MAPI_E_OBJECT_DELETED = hresult.parse("MAPI_E_OBJECT_DELETED")
MAPI_E_USER_CANCEL = hresult.parse("MAPI_E_USER_CANCEL")
MAPI_W_PARTIAL_COMPLETION = hresult.parse("MAPI_W_PARTIAL_COMPLETION")

DRAFTS = ("Entwürfe",)
ARCHIVE = ("Архив 2019",)

Answer = Callable[[Call], Any]


class Host:
    """Keeps the calls, and answers what `answer` makes of them."""

    def __init__(self, answer: Answer = lambda call: None) -> None:
        self.calls: list[Call] = []
        self.threads: list[int] = []
        self._answer = answer

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        return self._take(Call("Progress", (text, index, maximum)))

    def Error(self, result: int, text: str) -> Any:
        return self._take(Call("Error", (result, text)))

    def Done(self, handle: Any, result: int) -> Any:
        return self._take(Call("Done", (handle, result)))

    def _take(self, call: Call) -> Any:
        self.calls.append(call)
        self.threads.append(threading.get_ident())
        return self._answer(call)

    def of(self, method: str) -> list[tuple[Any, ...]]:
        return [call.args for call in self.calls if call.method == method]

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self.of("Progress") if text is not None]

    @property
    def broken_rules(self) -> list[str]:
        return [violation.rule.id for violation in lint(Trace.from_calls(self.calls))]


@pytest.fixture
def source(tmp_path: Path) -> MailStore:
    return generate_account(tmp_path / "source", seed=1, messages=36)


@pytest.fixture
def destination(tmp_path: Path) -> MailStore:
    return MailStore(tmp_path / "destination")


def contents(store: MailStore) -> dict[FolderPath, Counter[bytes]]:
    """What each folder of a store holds, in whatever order."""
    held: dict[FolderPath, Counter[bytes]] = {}
    for folder in store.folders():
        with store.open(folder) as opened:
            held[folder] = Counter(opened.read(identity) or b"" for identity in opened.identities())
    return held


def total(store: MailStore) -> int:
    return sum(held.total() for held in contents(store).values())


def sync(source: MailStore, destination: MailStore, **options: Any) -> Host:
    host = Host()
    synchronise(source, destination, host, **options)
    return host


def run(scenario: str) -> Host:
    host = Host()
    getattr(mail_folders, scenario)(host)
    return host


seen = functools.cache(run)


# --- Names and stores


@pytest.mark.parametrize("name", sorted({part for path in (*FOLDERS, *MBOX_FOLDERS) for part in path}))
def test_every_name_becomes_a_plain_file_name_and_comes_back(name: str) -> None:
    encoded = disk_name(name)
    assert encoded.isascii()
    assert not set(encoded) & set('<>:"/\\|?*.')
    assert encoded == encoded.strip(" ")
    assert true_name(encoded) == name


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("Drafts", "Drafts"),
        ("50% off", "50%0025 off"),
        ("..", "%002E%002E"),
        (" a ", "%0020a%0020"),
        ("  ", "%0020%0020"),
        ("é", "%00E9"),
        ("e\u0301", "e%0301"),
        ("🚀", "%D83D%DE80"),
        ("\ud800", "%D800"),
        ("\x00", "%0000"),
    ],
)
def test_disk_names(name: str, encoded: str) -> None:
    assert disk_name(name) == encoded
    assert true_name(encoded) == name


def test_a_folder_needs_a_name() -> None:
    with pytest.raises(ValueError, match="empty"):
        disk_name("")


def test_a_name_that_nobody_encoded_stands_for_itself() -> None:
    assert true_name("100% %zz %12") == "100% %zz %12"


def test_an_account_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second, other = (
        contents(generate_account(tmp_path / name, seed=seed, messages=40))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second != other


def test_an_account_has_its_folders_and_messages(source: MailStore) -> None:
    assert set(source.folders()) == {*FOLDERS, *MBOX_FOLDERS}
    assert total(source) == 36
    assert contents(source)[("Empty",)].total() == 0


def test_equal_messages_of_an_mbox_have_identities_of_their_own(source: MailStore) -> None:
    with source.open(ARCHIVE) as opened:
        before = opened.identities()
        first, second = opened.add(b"Subject: twin\n\n"), opened.add(b"Subject: twin\n\n")
        opened.remove(first)
    with source.open(ARCHIVE) as opened:
        assert len(opened.identities()) == len(before) + 1
    assert first != second


def test_a_budget_is_spent_by_what_fits(tmp_path: Path) -> None:
    store = MailStore(tmp_path / "small", budget=10)
    store.create()
    with store.open(INBOX) as opened:
        opened.add(b"123456")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            opened.add(b"12345")
        opened.add(b"1234")
    assert total(store) == 2


# --- What arrives


def test_messages_arrive_unchanged(source: MailStore, destination: MailStore) -> None:
    host = sync(source, destination)
    assert contents(destination) == contents(source)
    assert host.calls[-1] == Call("Done", (None, S_OK))
    assert host.broken_rules == []


def test_a_second_sync_copies_nothing(source: MailStore, destination: MailStore) -> None:
    sync(source, destination)
    files = sorted(destination.root.rglob("*"))
    host = sync(source, destination)
    assert sorted(destination.root.rglob("*")) == files
    assert "All folders are up to date" in host.texts
    assert not any(text.startswith("Copying") for text in host.texts)
    assert host.broken_rules == []


@pytest.mark.parametrize("folder", [INBOX, DRAFTS, ARCHIVE], ids=display)
def test_new_messages_are_copied_and_vanished_ones_removed(
    source: MailStore, destination: MailStore, folder: FolderPath
) -> None:
    sync(source, destination)
    with source.open(folder) as opened:
        for identity in opened.identities()[:1]:
            opened.remove(identity)
        opened.add(b"Subject: new\n\nnew\n")
    host = sync(source, destination)
    assert contents(destination) == contents(source)
    assert f"Copying message 1 of 1 in {display(folder)}" in host.texts
    assert f"Removing deleted messages from {display(folder)} (1)" in host.texts
    assert host.of("Progress")[-2] == (None, 2, 2)


def test_folders_alone(source: MailStore, destination: MailStore) -> None:
    host = sync(source, destination, flags=SYNC_DOWNLOAD_HIERARCHY)
    assert destination.folders() == source.folders()
    assert total(destination) == 0
    assert host.broken_rules == []


def test_contents_alone_fill_the_folders_that_are_there(source: MailStore, destination: MailStore) -> None:
    host = sync(source, destination, flags=SYNC_DOWNLOAD_CONTENTS)
    assert contents(destination) == {INBOX: contents(source)[INBOX]}
    assert host.broken_rules == []


def test_no_flags_do_nothing(source: MailStore, destination: MailStore) -> None:
    host = sync(source, destination, flags=0)
    assert total(destination) == 0
    assert host.broken_rules == []


def test_headers_come_first_and_whole_messages_later(source: MailStore, destination: MailStore) -> None:
    host = sync(source, destination, flags=DOWNLOAD | SYNC_GLOBAL_HEADERS)
    for folder, held in contents(destination).items():
        whole = contents(source)[folder]
        assert held == Counter({c.partition(b"\n\n")[0] + b"\n\n": n for c, n in whole.items()})
    assert host.broken_rules == []
    assert sync(source, destination, flags=DOWNLOAD | SYNC_GLOBAL_HEADERS).texts[-2].endswith("up to date")
    sync(source, destination)
    assert contents(destination) == contents(source)
    assert sync(source, destination).texts[-2].endswith("up to date")


def test_uploads_go_the_other_way(source: MailStore, destination: MailStore) -> None:
    destination.create()
    local, account = source, destination
    host = sync(account, local, flags=UPLOAD)
    assert contents(account) == contents(local)
    assert host.broken_rules == []
    assert sync(account, local, flags=UPLOAD).texts[-2] == "All folders are up to date"


def test_both_ways_meet(source: MailStore, destination: MailStore) -> None:
    sync(source, destination)
    with source.open(ARCHIVE) as opened:
        opened.add(b"Subject: theirs\n\nFrom the server\n")
    with destination.open(ARCHIVE) as opened:
        opened.remove(opened.identities()[0])
        opened.add(b"Subject: ours\n\nhere\n")
    both = DOWNLOAD | SYNC_UPLOAD_CONTENTS
    host = sync(source, destination, flags=both)
    assert contents(destination) == contents(source)
    assert host.broken_rules == []
    assert sync(source, destination, flags=both).texts[-2] == "All folders are up to date"


def test_nobody_has_to_listen(source: MailStore, destination: MailStore) -> None:
    assert synchronise(source, destination, None) == S_OK
    assert contents(destination) == contents(source)


def test_a_sync_runs_in_the_background(source: MailStore, destination: MailStore) -> None:
    gate = threading.Event()
    host = Host(lambda call: gate.wait(60) and None)
    thread = start_sync(source, destination, host, handle=SYNC_EVENT)
    assert thread.is_alive()
    gate.set()
    thread.join()
    assert host.calls[-1] == Call("Done", (SYNC_EVENT, S_OK))
    assert threading.get_ident() not in host.threads


# --- When things go wrong


def damaged_maildir(store: MailStore) -> FolderPath:
    cur = store.directory(DRAFTS) / "cur"
    shutil.rmtree(cur)
    cur.touch()
    return DRAFTS


def garbled_mbox(store: MailStore) -> FolderPath:
    store.mbox_file(ARCHIVE).write_bytes(b"PK\x03\x04 not mail at all")
    return ARCHIVE


@pytest.mark.parametrize("damage", [damaged_maildir, garbled_mbox])
def test_a_damaged_folder_is_reported_and_the_rest_copied(
    source: MailStore, destination: MailStore, damage: Callable[[MailStore], FolderPath]
) -> None:
    whole = contents(source)
    folder = damage(source)
    host = sync(source, destination)
    assert contents(destination) == {**whole, folder: Counter()}
    assert host.of("Error") == [(MAPI_E_CORRUPT_STORE, f"{display(folder)}: the folder is damaged")]
    assert host.of("Done") == [(None, MAPI_W_PARTIAL_COMPLETION)]
    assert host.broken_rules == []


@pytest.mark.parametrize("damage", [damaged_maildir, garbled_mbox])
def test_what_was_copied_from_a_folder_survives_its_damage(
    source: MailStore, destination: MailStore, damage: Callable[[MailStore], FolderPath]
) -> None:
    sync(source, destination)
    copied = contents(destination)
    damage(source)
    sync(source, destination)
    assert contents(destination) == copied


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (PermissionError(errno.EACCES, "no"), E_ACCESSDENIED),
        (FileNotFoundError(errno.ENOENT, "no"), MAPI_E_OBJECT_DELETED),
        (OSError(errno.EIO, "no"), MAPI_E_DISK_ERROR),
    ],
    ids=["permission", "gone", "disk"],
)
def test_failures_have_fitting_codes(
    source: MailStore, destination: MailStore, monkeypatch: pytest.MonkeyPatch, failure: OSError, code: int
) -> None:
    open_folder = source.open

    def refuse(folder: FolderPath) -> Any:
        if folder == DRAFTS:
            raise failure
        return open_folder(folder)

    monkeypatch.setattr(source, "open", refuse)
    host = sync(source, destination)
    assert [result for result, _ in host.of("Error")] == [code]
    assert host.of("Done") == [(None, MAPI_W_PARTIAL_COMPLETION)]
    assert host.broken_rules == []


def test_a_folder_that_vanishes_half_way(source: MailStore, destination: MailStore) -> None:
    whole = contents(source)

    def delete(call: Call) -> None:
        if str(call.args[0]).startswith("Copying message 1 of") and str(call.args[0]).endswith("in Entwürfe"):
            shutil.rmtree(source.directory(DRAFTS))

    host = Host(delete)
    synchronise(source, destination, host)
    codes = {result for result, _ in host.of("Error")}
    assert codes == {MAPI_E_OBJECT_DELETED}
    assert host.of("Done") == [(None, MAPI_W_PARTIAL_COMPLETION)]
    assert host.broken_rules == []
    assert contents(destination)[INBOX] == whole[INBOX]
    assert contents(destination)[DRAFTS].total() == 0


def test_a_message_that_vanishes_half_way_is_nobodys_problem(source: MailStore, destination: MailStore) -> None:
    before = total(source)

    def expunge(call: Call) -> None:
        if str(call.args[0]).startswith("Copying message 1 of"):
            for file in sorted((source.directory(DRAFTS) / "new").iterdir())[:1]:
                file.unlink()

    host = Host(expunge)
    assert synchronise(source, destination, host) == S_OK
    assert total(destination) == total(source) < before
    assert host.broken_rules == []


def test_a_full_disk_ends_the_sync(source: MailStore, tmp_path: Path) -> None:
    destination = MailStore(tmp_path / "small", budget=6000)
    host = sync(source, destination, handle=SYNC_EVENT)
    assert 0 < total(destination) < total(source)
    (error,) = host.of("Error")
    assert error[0] == MAPI_E_NOT_ENOUGH_DISK
    assert host.calls[-2:] == [Call("Error", error), Call("Done", (SYNC_EVENT, MAPI_E_NOT_ENOUGH_DISK))]
    assert host.broken_rules == []


def test_after_a_full_disk_the_next_sync_goes_on(source: MailStore, tmp_path: Path) -> None:
    small = MailStore(tmp_path / "small", budget=6000)
    sync(source, small)
    already = total(small)
    host = sync(source, MailStore(small.root))
    assert contents(small) == contents(source)
    assert host.of("Progress")[-2] == (None, 36 - already, 36 - already)


@pytest.mark.parametrize("answer", [E_FAIL, MAPI_E_USER_CANCEL, 0x80040113, "raise"])
@pytest.mark.parametrize("at", [1, 2, 10, 40])
def test_a_host_that_answers_a_failure_stops_the_sync(
    source: MailStore, destination: MailStore, answer: int | str, at: int
) -> None:
    def impatient(call: Call) -> Any:
        if call.method == "Progress" and len(host.calls) < at:
            return S_OK
        if answer == "raise":
            raise RuntimeError("the dialog is gone")
        return answer

    host = Host(impatient)
    synchronise(source, destination, host)
    assert [call.method for call in host.calls] == ["Progress"] * at + ["Error", "Done"]
    assert host.of("Error")[0][0] == MAPI_E_USER_CANCEL
    assert host.of("Done") == [(None, MAPI_E_USER_CANCEL)]
    assert host.broken_rules == []
    sync(source, destination)
    assert contents(destination) == contents(source)


@pytest.mark.parametrize("answer", [None, S_OK, 1, MAPI_W_PARTIAL_COMPLETION, "E_FAIL", 2.5, True, 2**40])
def test_other_answers_stop_nothing(source: MailStore, destination: MailStore, answer: Any) -> None:
    assert synchronise(source, destination, Host(lambda call: answer)) == S_OK


def test_a_source_that_is_not_there(tmp_path: Path, destination: MailStore) -> None:
    host = sync(MailStore(tmp_path / "nowhere"), destination)
    assert host.of("Error") == [(MAPI_E_OBJECT_DELETED, "The mail store cannot be used: the folder is gone")]
    assert host.of("Done") == [(None, MAPI_E_OBJECT_DELETED)]


@pytest.mark.parametrize("state", [b"", b"[]", b"{", b'{"links": {}}', b"\xff"])
def test_a_damaged_state_is_not_guessed_at(source: MailStore, destination: MailStore, state: bytes) -> None:
    sync(source, destination)
    (destination.root / STATE_FILE).write_bytes(state)
    host = sync(source, destination)
    assert host.of("Done") == [(None, MAPI_E_CORRUPT_STORE)]
    assert contents(destination) == contents(source)


def test_a_bug_of_the_providers_own_still_ends_in_done(
    source: MailStore, destination: MailStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(source, "open", broken)
    host = Host()
    with pytest.raises(ZeroDivisionError):
        synchronise(source, destination, host)
    assert host.of("Done") == [(None, E_UNEXPECTED)]
    assert host.broken_rules == []


# --- Scenarios

ENDS = {
    "provider": ([], SYNC_EVENT, S_OK),
    "succeeds": ([], SYNC_EVENT, S_OK),
    "empty": ([], None, S_OK),
    "large": ([], SYNC_EVENT, S_OK),
    "resync": ([], SYNC_EVENT, S_OK),
    "headers_only": ([], None, S_OK),
    "upload": ([], SYNC_EVENT, S_OK),
    "two_threads": ([], SYNC_EVENT, S_OK),
    "fails_half_way": ([MAPI_E_NOT_ENOUGH_DISK], SYNC_EVENT, MAPI_E_NOT_ENOUGH_DISK),
    "unreadable_folder": ([MAPI_E_CORRUPT_STORE] * 2, SYNC_EVENT, MAPI_W_PARTIAL_COMPLETION),
    "folder_vanishes": ([MAPI_E_OBJECT_DELETED] * 3, SYNC_EVENT, MAPI_W_PARTIAL_COMPLETION),
    "cancelled": ([MAPI_E_USER_CANCEL], SYNC_EVENT, MAPI_E_USER_CANCEL),
}


@pytest.mark.parametrize("scenario", ENDS)
def test_a_scenario_ends_as_it_should_and_breaks_no_rule(scenario: str) -> None:
    codes, handle, result = ENDS[scenario]
    host = seen(scenario)
    assert [code for code, _ in host.of("Error")] == codes
    assert host.of("Done") == [(handle, result)]
    assert host.calls[-1].method == "Done"
    assert host.broken_rules == []


@pytest.mark.parametrize("scenario", ENDS)
def test_a_scenario_makes_the_same_calls_each_time(scenario: str) -> None:
    assert run(scenario).calls == seen(scenario).calls


@pytest.mark.parametrize("scenario", ENDS)
def test_a_scenario_leaves_no_files_behind(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(scenario)
    assert list(tmp_path.iterdir()) == []


def test_every_scenario_is_tested() -> None:
    tools = {"MailStore", "generate_account", "start_sync", "synchronise"}
    assert set(ENDS) == set(mail_folders.__all__) - tools


def test_texts_and_null_texts_alternate() -> None:
    host = seen("large")
    nulls = sum(text is None for text, _, _ in host.of("Progress"))
    assert 0.3 < nulls / len(host.calls) < 0.7
    assert any(text.startswith("Copying message 6 of ") for text in host.texts)
    assert len(host.calls) < 400


def test_two_threads_take_turns() -> None:
    host = seen("two_threads")
    turns = [thread for n, thread in enumerate(host.threads) if thread not in host.threads[n - 1 : n]]
    assert len(set(host.threads)) == 2
    assert len(turns) == 3
    assert host.texts[-1] == "Finished"
