"""Clones and fetches by libgit2: its remote callbacks report to a progress callback.

    export GIT_URL=git://git.example/notes GIT_FOLDER=notes
    synctape record examples.providers.git_clone:provider -o run.tape

libgit2 tells of three things.  What the server says (`sideband_progress`) are texts with a carriage return at the
end of each, cut anywhere: they go on as they came, at the last known position.  Objects received, and then deltas
resolved, are positions (`transfer_progress`): the second count begins anew with a total of its own.  The names
that moved (`update_tips`) are the last texts.  It needs pygit2 (the extra `engines`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pygit2

from examples.providers.answers import Cancelled, heed
from recorder import hresult

__all__ = ["clone", "fetch", "provider"]

_MEANINGS: Final = (
    (r"refused|failed to connect|resolve address", "IXP_E_FAILED_TO_CONNECT"),
    (r"not exported|not found|does not exist", "MAPI_E_NOT_FOUND"),
    (r"timed out|timeout", "MAPI_E_TIMEOUT"),
    (r"EOF|reset|closed|disconnected|hung up|could not read", "MAPI_E_NETWORK_ERROR"),
    (r"exists and is not", "MAPI_E_NO_ACCESS"),
    (r"No space left", "MAPI_E_NOT_ENOUGH_DISK"),
)
"""libgit2 says what is wrong in words only."""


class _Series(NamedTuple):
    """Where a count stands; `step` names it at its beginning."""

    step: str
    position: int
    maximum: int


class Reporter(pygit2.RemoteCallbacks):  # type: ignore[misc]
    """Remote callbacks that report, and give up when the host answers with a failure."""

    def __init__(self, callback: Any):
        super().__init__()
        self._callback = callback
        self._at = _Series("", 0, 0)

    def sideband_progress(self, string: str) -> None:
        heed(self._callback.Progress(string, *self._at[1:]))

    def transfer_progress(self, stats: Any) -> None:
        if stats.received_objects < stats.total_objects or not stats.indexed_deltas:
            now = _Series("Receiving objects", stats.received_objects, stats.total_objects)
        else:
            now = _Series("Resolving deltas", stats.indexed_deltas, stats.total_deltas)
        if now == self._at:
            return  # more bytes of the same object
        text = now.step if now.step != self._at.step else None
        self._at = now
        heed(self._callback.Progress(text, now.position, now.maximum))

    def update_tips(self, refname: str, old: Any, new: Any) -> None:
        heed(self._callback.Progress(refname, *self._at[1:]))


def clone(callback: Any, url: str, folder: Path, *, depth: int = 0, timeout: float = 30) -> int:
    """Clone into a folder that is not there yet, and give what Done says.

    `depth` is how many commits of each branch to fetch, 0: all; `timeout` is in seconds.
    """
    return _done(
        callback,
        lambda reporter: pygit2.clone_repository(url, str(folder), bare=True, callbacks=reporter, depth=depth),
        timeout,
    )


def fetch(callback: Any, folder: Path, *, timeout: float = 30) -> int:
    """Fetch what is new into a clone, and give what Done says."""
    return _done(
        callback,
        lambda reporter: pygit2.Repository(str(folder)).remotes["origin"].fetch(callbacks=reporter),
        timeout,
    )


def _done(callback: Any, work: Callable[[Reporter], object], timeout: float) -> int:
    pygit2.settings.server_timeout = pygit2.settings.server_connect_timeout = round(timeout * 1000)
    result = hresult.S_OK
    try:
        work(Reporter(callback))
    except Cancelled as cancelled:
        result = cancelled.result
        callback.Error(result, str(cancelled))
    except (pygit2.GitError, OSError, ValueError, KeyError) as error:
        result = _result(str(error))
        callback.Error(result, str(error))
    callback.Done(None, result)
    return result


def _result(said: str) -> int:
    name = next((name for words, name in _MEANINGS if re.search(words, said, re.IGNORECASE)), "MAPI_E_CALL_FAILED")
    return hresult.parse(name)


def provider(callback: Any) -> None:
    """Clones $GIT_URL into $GIT_FOLDER, or fetches what is new where that is there already."""
    missing = [name for name in ("GIT_URL", "GIT_FOLDER") if not os.environ.get(name)]
    if missing:
        raise ValueError(f"{missing[0]} is not set; examples/providers/README.md says to what")
    folder = Path(os.environ["GIT_FOLDER"])
    if folder.exists():
        fetch(callback, folder)
    else:
        clone(callback, os.environ["GIT_URL"], folder)
