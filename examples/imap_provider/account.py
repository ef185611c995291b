"""Whose mail, where from and where to.

IMAP_URL      imap://user:password@host:port     plain, imaps: for TLS, imap+starttls: for TLS once connected
IMAP_MAILDIR  the folder of the local copy
IMAP_CA       a file of certificates to trust, instead of the system's
IMAP_TIMEOUT  seconds to wait for the server (30)
IMAP_FOLDERS  the folders of a sync with SYNC_THESE_FOLDERS, with commas between them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Account"]

_PORTS = {"imap": 143, "imap+starttls": 143, "imaps": 993}


@dataclass(frozen=True)
class Account:
    """`security` is "imap", "imaps" or "imap+starttls"; `disk` is how many bytes the local copy may take.

    `disk` None: any number.
    """

    host: str
    user: str
    password: str = field(repr=False)
    maildir: Path
    port: int = 143
    security: str = "imap"
    ca_file: str | None = None
    timeout: float = 30.0
    folders: tuple[str, ...] = ()
    disk: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Account:
        """Raises ValueError, which names the variable to set."""
        for name in ("IMAP_URL", "IMAP_MAILDIR"):
            if not environment.get(name):
                raise ValueError(f"{name} is not set; see examples/imap_provider/README.md")
        url = urlsplit(environment["IMAP_URL"])
        if url.scheme not in _PORTS or not url.hostname or url.username is None or url.password is None:
            raise ValueError(
                "IMAP_URL: write it as imap://user:password@host:port; or with imaps: or imap+starttls:"
            )
        timeout = environment.get("IMAP_TIMEOUT") or "30"
        if not timeout.replace(".", "", 1).isdecimal():
            raise ValueError(f"IMAP_TIMEOUT: {timeout!r} is no number of seconds")
        return cls(
            host=url.hostname,
            user=unquote(url.username),
            password=unquote(url.password),
            maildir=Path(environment["IMAP_MAILDIR"]).expanduser(),
            port=url.port or _PORTS[url.scheme],
            security=url.scheme,
            ca_file=environment.get("IMAP_CA") or None,
            timeout=float(timeout),
            folders=tuple(filter(None, environment.get("IMAP_FOLDERS", "").split(","))),
        )
