"""Runs of the engines, good and failing ones, each against a server that is started for it.

    played("git_clone", path)

plays and records one.  A scenario prepares what it takes and gives an `Act`: what is run, and what happens at the
first Progress of which `when` holds.  How many calls come before and after it depends on how the system cuts a
stream in pieces; two runs of a scenario differ in that, and in nothing else.
"""

from __future__ import annotations

import contextlib
import mailbox
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pycurl
import pygit2

from examples.imap_provider.dovecot import HOST, PASSWORD, USER, Dovecot, free_port
from examples.imap_provider.network import Relay
from examples.imap_provider.scenarios import MAIL, SMALL
from examples.providers import curl_download, servers
from examples.providers.curl_download import download
from examples.providers.git_clone import clone, fetch
from examples.providers.servers import BODY
from recorder import hresult
from recorder.callback import ScriptedCallback, recording
from recorder.provenance import captured
from recorder.samples.mail_store import FolderPath
from recorder.writer import live_header
from replayer.samples.send_receive import SendReceiveDialog

Mail = Mapping[FolderPath, list[bytes]]

__all__ = ["SCENARIOS", "Act", "Played", "Scenario", "offlineimap_config", "played"]


# --- what a scenario is made of -------------------------------------------------------------------------------


@dataclass
class Act:
    """What is run with the callback; `then` is called at the first Progress of which `when` holds.

    What `then` gives is answered to that call, None: what the host answers.
    """

    run: Callable[[Any], object]
    when: Callable[[str | None, int, int], bool] | None = None
    then: Callable[[], int | None] = lambda: None


class Stage:
    """What scenarios are prepared with; all that was started ends with it."""

    def __init__(self, stack: contextlib.ExitStack):
        self._stack = stack
        # an engine that has failed may leave threads that still write
        self.folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="engines-", ignore_cleanup_errors=True))
        )

    def keep(self, opened: Any) -> Any:
        return self._stack.enter_context(opened)

    def repository(self, commits: int = 12, *, blob: int = 0) -> servers.GitDaemon:
        """A server with the repository `notes`, and one that is empty."""
        servers.commit(self.folder / "served" / "notes", commits, blob=blob)
        servers.commit(self.folder / "served" / "empty", 0)
        daemon: servers.GitDaemon = self.keep(servers.GitDaemon(self.folder / "served"))
        return daemon

    def relay(self, port: int) -> Relay:
        relay: Relay = self.keep(Relay(port))
        return relay

    def dovecot(self, mail: Mail) -> Dovecot:
        server: Dovecot = self.keep(Dovecot(mail))
        return server

    def offlineimap(self, port: int, *, password: str = PASSWORD) -> Path:
        """OfflineIMAP's configuration for an account on a port of this machine."""
        config = self.folder / "offlineimaprc"
        config.write_text(offlineimap_config(self.folder, port, password))
        return config

    @property
    def clone(self) -> Path:
        """Where clones go."""
        return self.folder / "clone"

    def downloads(self, pages: Mapping[str, servers.Page], *names: str, **options: Any) -> Callable[[Any], int]:
        """Download from a server with these pages; `names`: other paths than those of the pages."""
        web = self.keep(servers.Web(pages))
        urls = [web.url(path) for path in names or pages]
        return lambda callback: curl_download.download(callback, urls, self.folder, timeout=10, **options)


class Scenario(NamedTuple):
    """`results` is what Done may say: several where it is open which thread of the engine's fails first."""

    make: Callable[[Stage], Act]
    results: tuple[int, ...]


SCENARIOS: dict[str, Scenario] = {}
"""By name, which begins with that of the engine's module; the docstring of `make` says what happens."""


def _scenario(*results: str) -> Callable[[Callable[[Stage], Act]], Callable[[Stage], Act]]:
    def add(make: Callable[[Stage], Act]) -> Callable[[Stage], Act]:
        SCENARIOS[make.__name__] = Scenario(make, tuple(map(hresult.parse, results)))
        return make

    return add


def _received(objects: int) -> Callable[[str | None, int, int], bool]:
    return lambda text, index, maximum: index >= objects


# --- libgit2 --------------------------------------------------------------------------------------------------


@_scenario("S_OK")
def git_clone(stage: Stage) -> Act:
    """Everything comes, deltas too."""
    daemon = stage.repository()
    return Act(lambda callback: clone(callback, daemon.url("notes"), stage.clone))


@_scenario("S_OK")
def git_clone_shallow(stage: Stage) -> Act:
    """Only the last two commits."""
    daemon = stage.repository()
    return Act(lambda callback: clone(callback, daemon.url("notes"), stage.clone, depth=2))


@_scenario("S_OK")
def git_clone_empty(stage: Stage) -> Act:
    """There is nothing to fetch, and nothing is reported but the end."""
    daemon = stage.repository()
    return Act(lambda callback: clone(callback, daemon.url("empty"), stage.clone))


@_scenario("S_OK")
def git_fetch(stage: Stage) -> Act:
    """Three commits are new."""
    daemon = stage.repository()
    clone(ScriptedCallback(), daemon.url("notes"), stage.clone)
    servers.commit(stage.folder / "served" / "notes", 3)
    return Act(lambda callback: fetch(callback, stage.clone))


@_scenario("S_OK")
def git_fetch_nothing_new(stage: Stage) -> Act:
    """All is there."""
    daemon = stage.repository()
    clone(ScriptedCallback(), daemon.url("notes"), stage.clone)
    return Act(lambda callback: fetch(callback, stage.clone))


@_scenario("IXP_E_FAILED_TO_CONNECT")
def git_refused(stage: Stage) -> Act:
    """Nobody listens."""
    url = f"git://{HOST}:{free_port()}/notes"
    return Act(lambda callback: clone(callback, url, stage.clone))


@_scenario("MAPI_E_NOT_FOUND")
def git_no_repository(stage: Stage) -> Act:
    """The server has no repository of this name."""
    daemon = stage.repository()
    return Act(lambda callback: clone(callback, daemon.url("nötes"), stage.clone))


@_scenario("MAPI_E_NO_ACCESS")
def git_folder_taken(stage: Stage) -> Act:
    """Something else is where the clone is to go."""
    daemon = stage.repository()
    stage.clone.mkdir()
    (stage.clone / "mine").touch()
    return Act(lambda callback: clone(callback, daemon.url("notes"), stage.clone))


@_scenario("MAPI_E_NETWORK_ERROR")
def git_server_killed(stage: Stage) -> Act:
    """The server dies while it sends what no buffer between the two can hold."""
    daemon = stage.repository(2, blob=12 << 20)
    return Act(lambda callback: clone(callback, daemon.url("notes"), stage.clone), _received(1), daemon.kill)


@_scenario("MAPI_E_NETWORK_ERROR")
def git_reset(stage: Stage) -> Act:
    """The connection is reset before a word has come."""
    relay = stage.relay(stage.repository().port)
    relay.cut("reset")
    return Act(lambda callback: clone(callback, f"git://{HOST}:{relay.port}/notes", stage.clone))


@_scenario("MAPI_E_NETWORK_ERROR")
def git_cut_off(stage: Stage) -> Act:
    """The connection is closed in the middle of an object."""
    relay = stage.relay(stage.repository(2, blob=12 << 20).port)
    url = f"git://{HOST}:{relay.port}/notes"
    return Act(lambda callback: clone(callback, url, stage.clone), _received(1), lambda: relay.cut("close"))


@_scenario("MAPI_E_TIMEOUT")
def git_stalled(stage: Stage) -> Act:
    """The server falls silent."""
    relay = stage.relay(stage.repository().port)
    relay.cut("stall")
    return Act(lambda callback: clone(callback, f"git://{HOST}:{relay.port}/notes", stage.clone, timeout=1))


@_scenario("MAPI_E_USER_CANCEL")
def git_cancelled(stage: Stage) -> Act:
    """The host answers MAPI_E_USER_CANCEL in the middle of the objects."""
    daemon = stage.repository()
    return Act(
        lambda callback: clone(callback, daemon.url("notes"), stage.clone),
        lambda text, index, maximum: 0 < index >= maximum // 2,
        lambda: hresult.parse("MAPI_E_USER_CANCEL"),
    )


@_scenario("E_ABORT")
def git_cancelled_by_the_first_answer(stage: Stage) -> Act:
    """The host answers E_ABORT to the server's first words."""
    daemon = stage.repository()
    return Act(
        lambda callback: clone(callback, daemon.url("notes"), stage.clone),
        lambda *_: True,
        lambda: hresult.parse("E_ABORT"),
    )


# --- libcurl --------------------------------------------------------------------------------------------------


@_scenario("S_OK")
def curl_download_one(stage: Stage) -> Act:
    """One file, its length known."""
    return Act(stage.downloads({"/letters.zip": servers.whole()}))


@_scenario("S_OK")
def curl_length_unknown(stage: Stage) -> Act:
    """The server never says how much there is."""
    return Act(stage.downloads({"/feed": servers.piecewise()}))


@_scenario("S_OK")
def curl_several(stage: Stage) -> Act:
    """Each file has a total of its own, one has nothing in it."""
    bodies = {"/a.eml": BODY[:50_000], "/empty.eml": b"", "/c.eml": BODY[:120_000]}
    return Act(stage.downloads({path: servers.whole(body) for path, body in bodies.items()}))


@_scenario("S_OK")
def curl_redirected(stage: Stage) -> Act:
    """The first answer names another place."""
    pages = {"/old": servers.status(302, Location="/new"), "/new": servers.whole()}
    return Act(stage.downloads(pages, "/old"))


@_scenario("MAPI_W_ERRORS_RETURNED")
def curl_taken_up_again(stage: Stage) -> Act:
    """The connection is lost twice, and the rest asked for each time."""
    return Act(stage.downloads({"/backup.pst": servers.cut_off(90_000, times=2)}, attempts=3))


@_scenario("MAPI_E_NOT_FOUND")
def curl_one_of_three_is_gone(stage: Stage) -> Act:
    """The second of three files is not there; the third comes all the same."""
    pages = {"/a.eml": servers.whole(BODY[:50_000]), "/c.eml": servers.whole(BODY[:120_000])}
    return Act(stage.downloads(pages, "/a.eml", "/b.eml", "/c.eml"))


@_scenario("HRESULT_FROM_WIN32(12029)")
def curl_refused(stage: Stage) -> Act:
    """Nobody listens."""
    url = f"http://{HOST}:{free_port()}/letters.zip"
    return Act(lambda callback: download(callback, [url], stage.folder))


@_scenario("IXP_E_CONNECTION_DROPPED")
def curl_truncated(stage: Stage) -> Act:
    """The connection is closed before all has come."""
    return Act(stage.downloads({"/letters.zip": servers.cut_off(200_000)}))


@_scenario("IXP_E_CONNECTION_DROPPED")
def curl_reset(stage: Stage) -> Act:
    """The connection is reset, each of the three times."""
    page = servers.cut_off(30_000, "reset")
    return Act(stage.downloads({"/letters.zip": page}, attempts=3))


@_scenario("MAPI_E_NO_SUPPORT")
def curl_without_ranges(stage: Stage) -> Act:
    """The connection is lost, and the server begins anew when it is asked for the rest."""
    return Act(stage.downloads({"/letters.zip": servers.without_ranges}, attempts=3))


@_scenario("IXP_E_CONNECTION_DROPPED")
def curl_beyond_32_bits(stage: Stage) -> Act:
    """Six thousand million bytes are announced, and a few come."""
    return Act(stage.downloads({"/disk.img": servers.cut_off(200_000, length=6_000_000_000)}))


@_scenario("HRESULT_FROM_WIN32(12002)")
def curl_stalled(stage: Stage) -> Act:
    """The server falls silent in the middle."""
    web = stage.keep(servers.Web({"/letters.zip": servers.cut_off(40_000, "stall")}))
    return Act(lambda callback: download(callback, [web.url("/letters.zip")], stage.folder, timeout=1))


@_scenario("MAPI_E_BUSY")
def curl_server_busy(stage: Stage) -> Act:
    """The server cannot do it now."""
    return Act(stage.downloads({"/letters.zip": servers.status(503)}))


@_scenario("MAPI_E_TOO_COMPLEX")
def curl_redirected_in_a_circle(stage: Stage) -> Act:
    """Each answer names the place that was asked for."""
    return Act(stage.downloads({"/round": servers.status(302, Location="/round")}))


@_scenario("MAPI_E_CORRUPT_DATA")
def curl_garbled(stage: Stage) -> Act:
    """What is said to be compressed is not."""
    return Act(stage.downloads({"/letters.json": servers.garbled}))


@_scenario("MAPI_E_NOT_ENOUGH_DISK")
def curl_no_room(stage: Stage) -> Act:
    """Of the second file only a part can be kept."""
    pages = {"/a.eml": servers.whole(BODY[:50_000]), "/b.eml": servers.whole()}
    return Act(stage.downloads(pages, room=150_000))


@_scenario("MAPI_E_USER_CANCEL")
def curl_cancelled(stage: Stage) -> Act:
    """The host answers MAPI_E_USER_CANCEL in the middle of the second of three files."""
    pages = {
        f"/{name}.eml": servers.whole(BODY[:size]) for name, size in (("a", 50_000), ("b", 300_000), ("c", 9))
    }
    run = stage.downloads(pages)
    return Act(run, lambda text, index, maximum: maximum == 300_000, lambda: hresult.parse("MAPI_E_USER_CANCEL"))


# --- OfflineIMAP ----------------------------------------------------------------------------------------------

_OFFLINEIMAP = """\
[general]
accounts = Ada
metadata = {folder}/metadata
socktimeout = 2
[Account Ada]
localrepository = Here
remoterepository = There
[Repository Here]
type = Maildir
localfolders = {folder}/mail
[Repository There]
type = IMAP
remotehost = {host}
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = no
starttls = no
maxconnections = 2
"""


def offlineimap_config(folder: Path, port: int, password: str = PASSWORD) -> str:
    """A configuration for the account of a Dovecot, to be synchronised into `mail` in a folder."""
    return _OFFLINEIMAP.format(folder=folder, host=HOST, port=port, user=USER, password=password)


def _offlineimap(config: Path, *options: str) -> Callable[[Any], int]:
    def run(callback: Any) -> int:
        from examples.providers.offlineimap_sync import synchronise  # it changes the process that imports it

        return synchronise(callback, config, *options)

    return run


def _synced(config: Path) -> None:
    """A sync before the one that is recorded."""
    subprocess.run(["offlineimap", "-c", str(config), "-o", "-u", "quiet"], check=True, capture_output=True)


def _third_message(text: str | None, index: int, maximum: int) -> bool:
    return index >= 3


@_scenario("S_OK")
def offlineimap_sync(stage: Stage) -> Act:
    """Everything comes, two folders at a time."""
    return Act(_offlineimap(stage.offlineimap(stage.dovecot(SMALL).port)))


@_scenario("S_OK")
def offlineimap_one_thread(stage: Stage) -> Act:
    """Everything comes, one thing after the other."""
    return Act(_offlineimap(stage.offlineimap(stage.dovecot(SMALL).port), "-1"))


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def offlineimap_names_that_it_cannot_take(stage: Stage) -> Act:
    """Two folders have names that OfflineIMAP fails on; the others come."""
    return Act(_offlineimap(stage.offlineimap(stage.dovecot(MAIL).port)))


@_scenario("S_OK")
def offlineimap_nothing_new(stage: Stage) -> Act:
    """A second sync."""
    config = stage.offlineimap(stage.dovecot(SMALL).port)
    _synced(config)
    return Act(_offlineimap(config))


@_scenario("S_OK")
def offlineimap_upload(stage: Stage) -> Act:
    """Messages were written here since the last sync, and go there."""
    config = stage.offlineimap(stage.dovecot(SMALL).port)
    _synced(config)
    for folder, messages in (("INBOX", MAIL["Entwürfe", "2024"]), ("Entw&APw-rfe", MAIL["受信箱",])):
        opened = mailbox.Maildir(stage.folder / "mail" / folder)
        for content in messages:
            opened.add(content)
    return Act(_offlineimap(config))


@_scenario("MAPI_E_LOGON_FAILED")
def offlineimap_wrong_password(stage: Stage) -> Act:
    """The server takes no logon."""
    return Act(_offlineimap(stage.offlineimap(stage.dovecot(SMALL).port, password="wrong")))


@_scenario("IXP_E_FAILED_TO_CONNECT")
def offlineimap_refused(stage: Stage) -> Act:
    """Nobody listens."""
    return Act(_offlineimap(stage.offlineimap(free_port())))


_MAY_FAIL = (
    *("MAPI_W_PARTIAL_COMPLETION", "MAPI_E_CALL_FAILED", "MAPI_E_NETWORK_ERROR", "MAPI_E_TIMEOUT"),
    "IXP_E_FAILED_TO_CONNECT",
)


@_scenario(*_MAY_FAIL)
def offlineimap_server_killed(stage: Stage) -> Act:
    """The server dies while messages come."""
    server = stage.dovecot(SMALL)
    return Act(_offlineimap(stage.offlineimap(server.port)), _third_message, server.kill)


@_scenario(*_MAY_FAIL)
def offlineimap_cut_off(stage: Stage) -> Act:
    """One connection is closed in the middle of an answer."""
    relay = stage.relay(stage.dovecot(SMALL).port)
    return Act(_offlineimap(stage.offlineimap(relay.port)), _third_message, lambda: relay.cut("close"))


@_scenario(*_MAY_FAIL)
def offlineimap_stalled(stage: Stage) -> Act:
    """The server falls silent."""
    relay = stage.relay(stage.dovecot(SMALL).port)
    return Act(_offlineimap(stage.offlineimap(relay.port)), _third_message, lambda: relay.cut("stall"))


@_scenario("MAPI_W_PARTIAL_COMPLETION", "MAPI_E_OBJECT_DELETED", "MAPI_E_NETWORK_ERROR", "MAPI_E_CALL_FAILED")
def offlineimap_folder_deleted(stage: Stage) -> Act:
    """Another client deletes the folder whose messages come."""
    server = stage.dovecot(SMALL)

    def delete() -> None:
        with server.client() as client:
            client.delete_folder("Отправленные")

    return Act(_offlineimap(stage.offlineimap(server.port)), _third_message, delete)


@_scenario("MAPI_W_PARTIAL_COMPLETION")
def offlineimap_folder_unreadable(stage: Stage) -> Act:
    """The server cannot read one of its folders."""
    server = stage.dovecot(SMALL)
    (server.directory(("Отправленные",)) / "cur").chmod(0)
    return Act(_offlineimap(stage.offlineimap(server.port)))


@_scenario("MAPI_E_CALL_FAILED")
def offlineimap_no_place(stage: Stage) -> Act:
    """A file is where the mail is to go."""
    (stage.folder / "mail").touch()
    return Act(_offlineimap(stage.offlineimap(stage.dovecot(SMALL).port)))


@_scenario("MAPI_E_USER_CANCEL")
def offlineimap_cancelled(stage: Stage) -> Act:
    """The host answers MAPI_E_USER_CANCEL; what is under way comes to its end."""
    run = _offlineimap(stage.offlineimap(stage.dovecot(SMALL).port))
    return Act(run, _third_message, lambda: hresult.parse("MAPI_E_USER_CANCEL"))


# --- playing one ----------------------------------------------------------------------------------------------


def _offlineimap_version() -> str:
    from examples.providers.offlineimap_sync import version

    return version()


_ENGINES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "git": ("git_clone", lambda: f"libgit2 {pygit2.LIBGIT2_VERSION}"),
    "curl": ("curl_download", lambda: pycurl.version.split()[1].replace("/", " ")),
    "offlineimap": ("offlineimap_sync", _offlineimap_version),
}
"""By the first word of a scenario's name: its module, and which version of the engine is here."""


class _Host:
    """A Send/Receive dialog to which something happens."""

    def __init__(self, act: Act):
        self.dialog = SendReceiveDialog()
        self._act = act
        self._once = threading.Lock()
        self.happened = act.when is None
        self.Error = self.dialog.Error
        self.Done = self.dialog.Done

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        answer = self.dialog.Progress(text, index, maximum)
        with self._once:
            now = not self.happened and self._act.when is not None and self._act.when(text, index, maximum)
            self.happened |= now
        given = self._act.then() if now else None
        return answer if given is None else given


@dataclass
class Played:
    """A scenario that was played: what came of it, and whether what was to happen in its middle did."""

    dialog: SendReceiveDialog
    happened: bool


def played(name: str, path: Path) -> Played:
    """Play a scenario, and record it to `path`."""
    module, version = _ENGINES[name.partition("_")[0]]
    header = live_header(
        target={"spec": f"{SendReceiveDialog.__module__}:{SendReceiveDialog.__qualname__}"},
        provenance=captured(provider=f"examples.providers.{module}:provider", scenario=name, engine=version()),
    )
    with contextlib.ExitStack() as stack:
        act = SCENARIOS[name].make(Stage(stack))
        host = _Host(act)
        with recording(host, path, header=header) as callback:
            act.run(callback)
        return Played(host.dialog, host.happened)
