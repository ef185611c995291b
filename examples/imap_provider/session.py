"""One connection to a server: folders and messages, as far as a sync needs them.  Raises what `failures` knows."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import CapabilityError

from examples.imap_provider.account import Account
from recorder.samples.mail_store import INBOX, FolderPath

__all__ = ["Folder", "Session"]

logging.getLogger("imapclient").addHandler(logging.NullHandler())  # nothing is printed in the host's process

_UNSELECTABLE: Final = {rb"\noselect", rb"\nonexistent"}


class Folder(NamedTuple):
    """A folder that is open: what its UIDs are valid for, and the UIDs of its messages in ascending order."""

    validity: int
    uids: list[int]


class Session:
    """A connection that is made; `logon` comes next, and `close` at the end, whatever happened."""

    def __init__(self, account: Account):
        self._account = account
        tls = None if account.security == "imap" else ssl.create_default_context(cafile=account.ca_file)
        self._client: Any = IMAPClient(
            account.host,
            account.port,
            ssl=account.security == "imaps",
            ssl_context=tls,
            timeout=SocketTimeout(account.timeout, account.timeout),
        )
        self._separator = "/"
        if account.security == "imap+starttls":
            try:
                self._client.starttls(tls)
            except CapabilityError:
                self.close()
                raise ssl.SSLError("the server offers no TLS") from None
            except BaseException:
                self.close()
                raise

    def logon(self) -> None:
        self._client.login(self._account.user, self._account.password)

    def close(self) -> None:
        """Say goodbye if that is possible, and end the connection."""
        self._client.__exit__(None, None, None)

    def folders(self) -> list[FolderPath]:
        """All folders that can be opened, sorted, each after the one above it."""
        found = {INBOX}
        for flags, separator, name in self._client.list_folders():
            if separator:
                self._separator = separator.decode()
            path = tuple(name.split(self._separator))
            if all(path) and not _UNSELECTABLE & {flag.lower() for flag in flags}:
                found.add(INBOX if name.upper() == "INBOX" else path)
        return sorted(found)

    def create(self, folder: FolderPath) -> None:
        self._client.create_folder(self._name(folder))
        self._client.subscribe_folder(self._name(folder))

    def open(self, folder: FolderPath, *, to_write: bool = False) -> Folder:
        answer = self._client.select_folder(self._name(folder), readonly=not to_write)
        return Folder(int(answer[b"UIDVALIDITY"]), sorted(self._client.search("ALL")))

    def fetch(self, uid: int, *, headers_only: bool) -> bytes | None:
        """A message of the open folder, None if it has gone; it does not count as read by that."""
        part = "BODY.PEEK[HEADER]" if headers_only else "BODY.PEEK[]"
        answer = self._client.fetch([uid], [part]).get(uid, {})
        content = answer.get(part.replace(".PEEK", "").encode())
        return None if content is None else content.replace(b"\r\n", b"\n")

    def append(self, folder: FolderPath, content: bytes) -> tuple[int, int]:
        """Send a message; what the folder's UIDs are valid for, and the message's UID.

        Raises CapabilityError for a server that would not tell [RFC 4315]: the message would come back as another.
        """
        if not self._client.has_capability("UIDPLUS"):
            raise CapabilityError("no UIDPLUS")
        answer: bytes = self._client.append(self._name(folder), content.replace(b"\n", b"\r\n"))
        validity, uid = answer.partition(b"[APPENDUID ")[2].partition(b"]")[0].split()
        return int(validity), int(uid)

    def remove(self, uids: Sequence[int]) -> None:
        """Remove messages of the folder that is open to be written."""
        if not self._client.has_capability("UIDPLUS"):
            raise CapabilityError("no UIDPLUS")  # others' deleted messages would go, too
        self._client.delete_messages(uids, silent=True)
        self._client.uid_expunge(uids)

    def _name(self, folder: FolderPath) -> str:
        return self._separator.join(folder) or "INBOX"
