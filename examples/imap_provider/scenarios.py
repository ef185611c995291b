"""Runs of the provider, good and failing ones, each against a server that is started for it.

    with played("first_sync", path) as run:
        run.sync, run.server, run.account

plays and records one.  A scenario prepares what it takes and gives an `Act`: what is synced, and what happens in
its middle, at the first Progress whose text begins in a certain way.  So the calls are the same every time.
"""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from examples.imap_provider.account import Account
from examples.imap_provider.dovecot import HOST, PASSWORD, USER, Dovecot, certificate, free_port, version
from examples.imap_provider.network import Relay
from examples.imap_provider.store import Store
from examples.imap_provider.sync import Reporter, synchronise
from recorder import hresult
from recorder.native_provider import NativeRun, record_native
from recorder.provenance import captured
from recorder.provider import SYNC_FLAGS
from recorder.samples.mail_account import generate_message
from recorder.samples.mail_store import INBOX, FolderPath, MailStore
from replayer.samples.send_receive import SendReceiveDialog

__all__ = ["MAIL", "SCENARIOS", "Act", "Host", "Played", "Scenario", "played"]

Mail = Mapping[FolderPath, list[bytes]]

_SEED: Final = 1143
_PROVIDER: Final = "examples.imap_provider:Store"

_DOWN: Final = SYNC_FLAGS["SYNC_DOWNLOAD_HIERARCHY"] | SYNC_FLAGS["SYNC_DOWNLOAD_CONTENTS"]
_UP: Final = SYNC_FLAGS["SYNC_UPLOAD_HIERARCHY"] | SYNC_FLAGS["SYNC_UPLOAD_CONTENTS"]
_HEADERS: Final = SYNC_FLAGS["SYNC_GLOBAL_HEADERS"]


def _mail(counts: Mapping[FolderPath, int]) -> Mail:
    rng = random.Random(_SEED)
    return {folder: [generate_message(rng) for _ in range(count)] for folder, count in counts.items()}


MAIL: Final = _mail(
    {
        INBOX: 12,
        ("Empty",): 0,
        ("Entwürfe",): 6,
        ("Entwürfe", "2024"): 3,
        ("Отправленные",): 5,
        ("受信箱",): 2,
        ("100% {0} %s",): 1,
        ("\"quotes\" and 'apostrophes'",): 1,
        ("a\\b: <c> & | d?*",): 2,
        ("emoji 🚀👩‍🚀",): 1,
    }
)
"""Folders and messages of an account, with invented names; the same every time."""

SMALL: Final = {folder: MAIL[folder] for folder in (INBOX, ("Entwürfe",), ("Отправленные",))}


# --- what a scenario is made of -------------------------------------------------------------------------------


@dataclass
class Act:
    """A sync of `account` by `flags`; at the first Progress whose text begins with `when`, `then` is called.

    What `then` gives is answered to that call, None: what the host answers.
    """

    account: Account
    flags: int = _DOWN
    when: str = ""
    then: Callable[[], int | None] = lambda: None


class Stage:
    """What scenarios are prepared with; all that was started ends with it."""

    def __init__(self, stack: contextlib.ExitStack):
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imap-")))
        self.server: Dovecot | None = None

    def account(self, mail: Mail | None = None, **options: Any) -> Account:
        """An account on a server of its own."""
        self.server = self._stack.enter_context(Dovecot(mail, **options))
        return Account(HOST, USER, PASSWORD, self.folder / "local", port=self.server.port, timeout=10)

    def elsewhere(self, port: int, **options: Any) -> Account:
        """An account where no server of ours is."""
        return Account(HOST, USER, PASSWORD, self.folder / "local", port=port, **{"timeout": 10, **options})

    def relay(self, account: Account, **options: Any) -> tuple[Account, Relay]:
        """The same account by way of a relay."""
        relay = self._stack.enter_context(Relay(account.port, **options))
        return replace(account, port=relay.port), relay

    def another(self) -> Any:
        """Another client of the account, logged on to the end."""
        assert self.server is not None
        return self._stack.enter_context(self.server.client())

    def keep(self, opened: Any) -> Any:
        return self._stack.enter_context(opened)


def _synced(account: Account, flags: int = _DOWN) -> None:
    """A sync before the one that is recorded."""
    result = synchronise(account, Reporter(None), flags)
    assert result == hresult.S_OK, hresult.describe(result)


class Scenario(NamedTuple):
    """`result` is what Done says in the end."""

    make: Callable[[Stage], Act]
    result: int


SCENARIOS: dict[str, Scenario] = {}
"""By name; the docstring of `make` says what happens."""


def _scenario(result: str) -> Callable[[Callable[[Stage], Act]], Callable[[Stage], Act]]:
    def add(make: Callable[[Stage], Act]) -> Callable[[Stage], Act]:
        SCENARIOS[make.__name__] = Scenario(make, hresult.parse(result))
        return make

    return add


# --- runs that go well ----------------------------------------------------------------------------------------


@_scenario("S_OK")
def first_sync(stage: Stage) -> Act:
    """Everything comes down."""
    return Act(stage.account(MAIL))


@_scenario("S_OK")
def second_sync(stage: Stage) -> Act:
    """Since the last one messages have come and gone."""
    account = stage.account(MAIL)
    _synced(account)
    client = stage.another()
    client.select_folder("INBOX")
    client.delete_messages(client.search()[:3], silent=True)
    client.expunge()
    for content in MAIL["Отправленные",]:
        client.append("Entwürfe", content.replace(b"\n", b"\r\n"))
    client.create_folder("New")
    return Act(account)


@_scenario("S_OK")
def nothing_new(stage: Stage) -> Act:
    """Everything is there already."""
    account = stage.account(MAIL)
    _synced(account)
    return Act(account)


@_scenario("S_OK")
def empty_account(stage: Stage) -> Act:
    """A new account."""
    return Act(stage.account())


@_scenario("S_OK")
def hierarchy_only(stage: Stage) -> Act:
    """Folders, and nothing in them."""
    return Act(stage.account(MAIL), SYNC_FLAGS["SYNC_DOWNLOAD_HIERARCHY"])


@_scenario("S_OK")
def contents_only(stage: Stage) -> Act:
    """Messages of the folders that are here already; that is INBOX."""
    return Act(stage.account(MAIL), SYNC_FLAGS["SYNC_DOWNLOAD_CONTENTS"] | SYNC_FLAGS["SYNC_ON_DEMAND"])


@_scenario("S_OK")
def headers_only(stage: Stage) -> Act:
    """Headers of all messages."""
    return Act(stage.account(MAIL), _DOWN | _HEADERS)


@_scenario("S_OK")
def whole_after_headers(stage: Stage) -> Act:
    """What had come as headers comes as a whole."""
    account = stage.account(SMALL)
    _synced(account, _DOWN | _HEADERS)
    return Act(account)


@_scenario("S_OK")
def these_folders(stage: Stage) -> Act:
    """Two folders of many."""
    account = replace(stage.account(MAIL), folders=("Entwürfe/2024", "受信箱"))
    return Act(account, _DOWN | SYNC_FLAGS["SYNC_THESE_FOLDERS"])


@_scenario("S_OK")
def upload(stage: Stage) -> Act:
    """Local folders and messages go up to an account that has none."""
    account = stage.account()
    _fill_local(account, SMALL)
    return Act(account, _UP)


@_scenario("S_OK")
def both_ways(stage: Stage) -> Act:
    """Messages were made and deleted on both sides."""
    account = stage.account(SMALL)
    _synced(account)
    local = MailStore(account.maildir)
    with local.open(INBOX) as opened:
        for identity in opened.identities()[:2]:
            opened.remove(identity)
    _fill_local(account, {INBOX: MAIL["Entwürfe", "2024"], ("Written here",): MAIL["受信箱",]})
    stage.another().append("Отправленные", MAIL[INBOX][0].replace(b"\n", b"\r\n"))
    return Act(account, _DOWN | _UP)


@_scenario("S_OK")
def tls(stage: Stage) -> Act:
    """Over TLS, with a certificate that is trusted."""
    pair = certificate(stage.folder)
    account = stage.account(SMALL, tls=pair)
    assert stage.server is not None
    return Act(replace(account, port=stage.server.tls_port, security="imaps", ca_file=str(pair[0])))


@_scenario("S_OK")
def slow_server(stage: Stage) -> Act:
    """Answers come at 20 kB a second."""
    account, _ = stage.relay(stage.account(SMALL), rate=20_000)
    return Act(account)


@_scenario("S_OK")
def messages_vanish(stage: Stage) -> Act:
    """Another client empties INBOX while it is being read: nobody's fault."""
    account = stage.account(SMALL)
    client = stage.another()

    def empty() -> None:
        client.select_folder("INBOX")
        client.delete_messages(client.search(), silent=True)
        client.expunge()

    return Act(account, when="Getting message 6 of 12 from INBOX", then=empty)


@_scenario("S_OK")
def numbered_anew(stage: Stage) -> Act:
    """A folder was deleted and made again: its UIDs mean other messages now."""
    account = stage.account(SMALL)
    _synced(account)
    client = stage.another()
    client.delete_folder("Entwürfe")
    client.create_folder("Entwürfe")
    for content in MAIL["受信箱",]:
        client.append("Entwürfe", content.replace(b"\n", b"\r\n"))
    return Act(account)


# --- the server does not let us in ----------------------------------------------------------------------------


@_scenario("MAPI_E_LOGON_FAILED")
def wrong_password(stage: Stage) -> Act:
    """The password is another one."""
    return Act(replace(stage.account(SMALL), password="pw2"))


@_scenario("MAPI_E_SESSION_LIMIT")
def session_limit(stage: Stage) -> Act:
    """The account has as many connections as it may."""
    account = stage.account(SMALL, connections=1)
    stage.another()
    return Act(account)


@_scenario("MAPI_E_NETWORK_ERROR")
def refused(stage: Stage) -> Act:
    """Nobody listens."""
    return Act(stage.elsewhere(free_port()))


@_scenario("MAPI_E_NETWORK_ERROR")
def no_imap_server(stage: Stage) -> Act:
    """Somebody listens who speaks something else."""
    return Act(stage.elsewhere(_answering(stage, b"220 mail.example ESMTP\r\n")))


@_scenario("MAPI_E_TIMEOUT")
def silent_server(stage: Stage) -> Act:
    """Somebody listens and says nothing."""
    return Act(stage.elsewhere(_answering(stage, b""), timeout=3))


@_scenario("SEC_E_UNTRUSTED_ROOT")
def tls_untrusted(stage: Stage) -> Act:
    """Nobody we trust has signed the certificate."""
    account = stage.account(SMALL, tls=certificate(stage.folder))
    assert stage.server is not None
    return Act(replace(account, port=stage.server.tls_port, security="imaps"))


@_scenario("SEC_E_UNTRUSTED_ROOT")
def tls_wrong_name(stage: Stage) -> Act:
    """The certificate is another server's."""
    pair = certificate(stage.folder, name="DNS:mail.example")
    account = stage.account(SMALL, tls=pair)
    assert stage.server is not None
    return Act(replace(account, port=stage.server.tls_port, security="imaps", ca_file=str(pair[0])))


@_scenario("CERT_E_EXPIRED")
def tls_expired(stage: Stage) -> Act:
    """The certificate has expired."""
    pair = certificate(stage.folder, days=-1)
    account = stage.account(SMALL, tls=pair)
    assert stage.server is not None
    return Act(replace(account, port=stage.server.tls_port, security="imaps", ca_file=str(pair[0])))


@_scenario("MAPI_E_NETWORK_ERROR")
def tls_refused(stage: Stage) -> Act:
    """The account wants TLS, and the server has none."""
    return Act(replace(stage.account(SMALL), security="imap+starttls"))


@_scenario("MAPI_E_NETWORK_ERROR")
def tls_on_plain_port(stage: Stage) -> Act:
    """TLS is spoken to a server that answers in plain text."""
    return Act(replace(stage.account(SMALL), security="imaps"))


# --- it fails on the way --------------------------------------------------------------------------------------

_MIDDLE: Final = "Getting message 6 of 12 from INBOX"


@_scenario("MAPI_E_NETWORK_ERROR")
def server_killed(stage: Stage) -> Act:
    """The server and all its processes are killed while a message is being fetched; it stays away."""
    account = stage.account(SMALL)
    assert stage.server is not None
    return Act(account, when=_MIDDLE, then=stage.server.kill)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def server_restarted(stage: Stage) -> Act:
    """The server is killed while a message is being fetched, and is back at once."""
    account = stage.account(SMALL)
    server = stage.server
    assert server is not None

    def restart() -> None:
        server.kill()
        server.start()

    return Act(account, when=_MIDDLE, then=restart)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def cut_off(stage: Stage) -> Act:
    """The connection ends in the middle of a message."""
    account, relay = stage.relay(stage.account(SMALL))
    return Act(account, when=_MIDDLE, then=lambda: relay.cut("close"))


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def garbled(stage: Stage) -> Act:
    """Nonsense comes in place of a message."""
    account, relay = stage.relay(stage.account(SMALL))
    return Act(account, when=_MIDDLE, then=lambda: relay.cut("garble"))


@_scenario("MAPI_E_NETWORK_ERROR")
def cut_off_twice(stage: Stage) -> Act:
    """The connection is reset in the middle of a message, and so is the next one."""
    account, relay = stage.relay(stage.account(MAIL))
    act = Act(account, when=_MIDDLE)

    def reset() -> None:
        relay.cut("reset")
        act.when, act.then = "Getting message 1 of 5 from", lambda: relay.cut("reset")

    act.then = reset
    return act


@_scenario("MAPI_E_TIMEOUT")
def stalled(stage: Stage) -> Act:
    """In the middle of a message the server falls silent."""
    account, relay = stage.relay(replace(stage.account(SMALL), timeout=3))
    return Act(account, when=_MIDDLE, then=lambda: relay.cut("stall"))


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def folder_deleted(stage: Stage) -> Act:
    """A folder is deleted by another client after folders were listed."""
    account = stage.account(MAIL)
    return Act(account, when="Looking at INBOX", then=_deleting(stage.another(), "Отправленные"))


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def folder_deleted_in_fetch(stage: Stage) -> Act:
    """A folder is deleted by another client while its messages are being fetched."""
    account = stage.account(MAIL)
    act = _deleting(stage.another(), "Отправленные")
    return Act(account, when="Getting message 1 of 5 from Отправленные", then=act)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def folder_unreadable(stage: Stage) -> Act:
    """The server cannot read one of its folders."""
    account = stage.account(MAIL)
    assert stage.server is not None
    stage.server.directory(("Entwürfe",)).joinpath("cur").chmod(0)
    return Act(account)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def mail_unreachable(stage: Stage) -> Act:
    """The password is good, and the server cannot get at the user's mail, to which some is to be added."""
    account = stage.account()
    assert stage.server is not None
    (stage.server.folder / "home").chmod(0)
    _fill_local(account, SMALL)
    return Act(account, _UP)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def quota_exceeded(stage: Stage) -> Act:
    """More is sent than the account may hold."""
    account = stage.account(quota=8)
    _fill_local(account, MAIL)
    return Act(account, _UP)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def name_refused(stage: Stage) -> Act:
    """A local folder has a name that the server does not take."""
    account = stage.account()
    _fill_local(account, {("line\nbreak",): MAIL["受信箱",], ("Entwürfe",): MAIL["受信箱",]})
    return Act(account, _UP)


@_scenario("MAPI_E_NOT_ENOUGH_DISK")
def disk_full(stage: Stage) -> Act:
    """The local disk is full after some messages."""
    return Act(replace(stage.account(MAIL), disk=5000))


@_scenario("MAPI_E_DISK_ERROR")
def state_damaged(stage: Stage) -> Act:
    """What the last sync knew cannot be read."""
    account = stage.account(SMALL)
    _synced(account)
    (account.maildir / "imap-state.json").write_text("{")
    return Act(account)


@_scenario("MAPI_E_USER_CANCEL")
def cancelled_in_folders(stage: Stage) -> Act:
    """The host answers E_ABORT while folders are counted."""
    return Act(stage.account(MAIL), when="Folder Entwürfe", then=lambda: hresult.parse("E_ABORT"))


@_scenario("MAPI_E_USER_CANCEL")
def cancelled_in_messages(stage: Stage) -> Act:
    """The host answers MAPI_E_USER_CANCEL in the middle of a folder."""
    return Act(stage.account(MAIL), when=_MIDDLE, then=lambda: hresult.parse("MAPI_E_USER_CANCEL"))


@_scenario("MAPI_E_USER_CANCEL")
def cancelled_in_upload(stage: Stage) -> Act:
    """The host answers E_ABORT while messages are sent."""
    account = stage.account()
    _fill_local(account, SMALL)
    return Act(account, _UP, "Sending message 6 of 12 to INBOX", lambda: hresult.parse("E_ABORT"))


def _deleting(client: Any, folder: str) -> Callable[[], None]:
    def delete() -> None:
        client.delete_folder(folder)

    return delete


def _fill_local(account: Account, mail: Mail) -> None:
    store = MailStore(account.maildir)
    store.create()
    for folder, messages in mail.items():
        for depth in range(1, len(folder) + 1):
            store.create(folder[:depth])
        with store.open(folder) as opened:
            for content in messages:
                opened.add(content)


def _answering(stage: Stage, greeting: bytes) -> int:
    """A port where somebody greets, and says nothing after that."""
    listener = stage.keep(socket.create_server((HOST, 0)))

    def serve() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client:
                client.sendall(greeting)
                while client.recv(1024):
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


# --- playing one ----------------------------------------------------------------------------------------------


class Host:
    """A Send/Receive dialog, in the middle of whose sync something happens."""

    def __init__(self, dialog: SendReceiveDialog, act: Act):
        self._dialog = dialog
        self._act = act
        self.happened = not act.when
        self.Error = dialog.Error
        self.Done = dialog.Done

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        answer = self._dialog.Progress(text, index, maximum)
        if self._act.when and text and text.startswith(self._act.when):
            self.happened, self._act.when = True, ""
            given = self._act.then()
            return answer if given is None else given
        return answer


@dataclass
class Played:
    """A scenario that was played: how the sync went, and what it left on both sides."""

    sync: NativeRun
    dialog: SendReceiveDialog
    account: Account
    server: Dovecot | None
    happened: bool  # what was to happen in the middle

    def messages(self, folder: FolderPath) -> list[bytes]:
        """The messages of a local folder, sorted."""
        with MailStore(self.account.maildir).open(folder) as opened:
            return sorted(content for content in map(opened.read, opened.identities()) if content is not None)


@contextlib.contextmanager
def played(name: str, path: Path) -> Iterator[Played]:
    """Play a scenario through IMAPISync, as a host does, and record it to `path`; within, its server is there."""
    scenario = SCENARIOS[name]
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        act = scenario.make(stage)
        dialog = SendReceiveDialog()
        host = Host(dialog, act)
        run = record_native(
            Store(act.account),
            path,
            inner=host,
            flags=act.flags,
            timeout=60,
            target={"spec": f"{SendReceiveDialog.__module__}:{SendReceiveDialog.__qualname__}"},
            provenance=captured(provider=_PROVIDER, scenario=f"store_{name}", server=version()),
        )
        yield Played(run, dialog, act.account, stage.server, host.happened)
