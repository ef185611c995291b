"""A message store provider of ours that synchronises an IMAP account into a local Maildir, through IMAPISync.

    account     whose mail, where from and where to: read from URLs and the environment
    session     one connection to a server, and what its failures are called
    failures    what went wrong, as an HRESULT and a text
    local       the local copy: a Maildir tree, and what the last sync knew
    sync        the sync itself: steps by the flags of MAPISIB, and what is reported when
    store       the store object: IMAPISync, the event, the thread

    dovecot     a real server on 127.0.0.1, for tests and captures
    network     what may be wrong between the two: slow, cut off, stalled
    scenarios   good and failing runs, made from nothing and the same every time
    capture     records them: python -m examples.imap_provider.capture -o FOLDER
    serve       a server to try it on: python -m examples.imap_provider.serve

It needs `imapclient` (the extra `imap`).  README.md shows how it is recorded.
"""

from __future__ import annotations

__all__ = ["Store"]


def __getattr__(name: str) -> object:
    if name == "Store":
        from examples.imap_provider.store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
