"""A real IMAP server on 127.0.0.1, for tests and captures: Dovecot, in a folder of its own that goes away.

    with Dovecot({("INBOX",): [message]}) as server:
        print(server.url)

It needs Dovecot 2.3, in Debian 12 the package dovecot-imapd, and openssl for TLS.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from imapclient import IMAPClient
from imapclient.imap_utf7 import encode

from recorder.samples.mail_store import FolderPath

__all__ = ["HOST", "PASSWORD", "USER", "Dovecot", "certificate", "free_port", "version"]

HOST: Final = "127.0.0.1"
USER: Final = "probe"
PASSWORD: Final = "pw1"

_STARTED = 20.0  # seconds

_CONFIGURATION = """\
protocols = imap
listen = {host}
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:~/Maildir:LAYOUT=fs
mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = 1
{more}
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

_QUOTA = """\
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage={kibibytes}K
  quota_grace = 0
}}
"""


class _Owner(NamedTuple):
    """Whose the mail is: who we are, or the user mail if we are root, whom Dovecot gives no mail."""

    is_root: bool
    uid: int
    gid: int
    user: str
    group: str

    @classmethod
    def of_this_process(cls) -> _Owner:
        if sys.platform == "win32":
            raise OSError("there is no Dovecot for Windows")
        is_root = os.geteuid() == 0
        uid, gid = pwd.getpwnam("mail")[2:4] if is_root else (os.getuid(), os.getgid())
        return cls(is_root, uid, gid, pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name)


class Dovecot:
    """A server with one account, `USER`, whose folders hold `mail`; the folder () is INBOX.

    `tls` are files of a certificate and its key; without them there is no TLS.  `quota` is in KiB.
    `connections` is how many the account may have at a time.
    """

    def __init__(
        self,
        mail: Mapping[FolderPath, Sequence[bytes]] | None = None,
        *,
        tls: tuple[Path, Path] | None = None,
        quota: int | None = None,
        connections: int | None = None,
    ):
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))  # UNIX sockets have short paths
        self.folder.chmod(0o755)  # as root, the mail's owner has to get through
        self.port, self.tls_port = free_ports(2)
        self._owner = _Owner.of_this_process()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("run", "home"):
            (self.folder / name).mkdir(mode=0o755)
        (self.folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        self._configure(tls, quota, connections)
        self.maildir = self.folder / "home" / USER / "Maildir"
        for folder, messages in (mail or {}).items():
            self._fill(folder, messages)
        if self._owner.is_root:
            for path in [self.folder / "home", *(self.folder / "home").rglob("*")]:
                shutil.chown(path, self._owner.uid, self._owner.gid)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        for folder, names, _ in os.walk(self.folder):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o700)  # a test may have closed it
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"imap://{USER}:{PASSWORD}@{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers.  Raises OSError if it does not."""
        if not version().startswith("Dovecot 2.3"):
            raise OSError(f"{version()} is configured in another way; 2.3 is needed")
        command = [_program(), "-F", "-c", str(self.folder / "dovecot.conf")]
        self._process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _STARTED
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1) as client:
                if client.recv(4) == b"* OK":
                    return
            time.sleep(0.01)
        raise OSError(f"Dovecot does not answer; its log: {self.log[-2000:]}")

    def kill(self) -> None:
        """End it and all its sessions at once."""
        if self._process is not None and sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "dovecot.log").read_text("utf-8", "replace")
        return ""

    def client(self) -> Any:
        """Another client of the account, logged on: an IMAPClient, to be used in a `with`."""
        client = IMAPClient(HOST, self.port, ssl=False, timeout=10)
        client.login(USER, PASSWORD)
        return client

    def directory(self, folder: FolderPath) -> Path:
        """Where the server keeps a folder."""
        return self.maildir.joinpath(*(encode(name).decode("ascii") for name in folder))

    def messages(self, folder: FolderPath) -> list[bytes]:
        """What a folder holds, as its files are, sorted."""
        directory = self.directory(folder)
        found = [*directory.glob("cur/*"), *directory.glob("new/*")]
        return sorted(path.read_bytes().replace(b"\r\n", b"\n") for path in found)

    def _configure(self, tls: tuple[Path, Path] | None, quota: int | None, connections: int | None) -> None:
        more = [] if quota is None else [_QUOTA.format(kibibytes=quota)]
        more.append("ssl = no" if tls is None else f"ssl = yes\nssl_cert = <{tls[0]}\nssl_key = <{tls[1]}")
        if connections is not None:
            more.append(f"mail_max_userip_connections = {connections}")
        owner = self._owner
        if not owner.is_root:
            more.append(f"default_internal_user = {owner.user}\ndefault_internal_group = {owner.group}")
            more.append(f"default_login_user = {owner.user}")
        text = _CONFIGURATION.format(
            folder=self.folder,
            host=HOST,
            uid=owner.uid,
            gid=owner.gid,
            port=self.port,
            tls_port=self.tls_port,
            more="\n".join(more),
        )
        (self.folder / "dovecot.conf").write_text(text)

    def _fill(self, folder: FolderPath, messages: Sequence[bytes]) -> None:
        """Files as a delivery leaves them, in the order of their names."""
        directory = self.directory(folder)
        for name in ("cur", "new", "tmp"):
            (directory / name).mkdir(parents=True)
        for number, content in enumerate(messages):
            name = f"{1_700_000_000 + number}.M{number}P1.seed,S={len(content)}:2,"
            (directory / "cur" / name).write_bytes(content)


def _program() -> str:
    found = shutil.which("dovecot", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise OSError("no dovecot; on Debian: apt-get install dovecot-imapd")
    return found


@functools.cache
def version() -> str:
    """`Dovecot 2.3.19.1`."""
    said = subprocess.run([_program(), "--version"], check=True, capture_output=True, text=True).stdout
    return f"Dovecot {said.split()[0]}"


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens just now."""
    (port,) = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    with contextlib.ExitStack() as stack:
        unused = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in unused:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in unused]


def certificate(folder: Path, *, name: str = f"IP:{HOST}", days: int = 1) -> tuple[Path, Path]:
    """A self-signed certificate for `name` and its key; with negative `days` it has expired."""
    certificate, key, request, names = (folder / f"tls.{end}" for end in ("crt", "key", "csr", "names"))
    names.write_text(f"subjectAltName={name}\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    _openssl("req", "-new", "-nodes", *curve, "-subj", "/CN=mail.example", "-keyout", key, "-out", request)
    signed = ("-in", request, "-signkey", key, "-days", str(days), "-extfile", names)
    _openssl("x509", "-req", *signed, "-out", certificate)
    return certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
