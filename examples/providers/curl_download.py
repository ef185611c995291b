"""Downloads by libcurl: its XFERINFOFUNCTION reports to a progress callback.

    export CURL_URLS="https://mail.example/a https://mail.example/b"
    synctape record examples.providers.curl_download:provider -o run.tape

libcurl counts bytes in 64 bits, from 0 for each transfer, and says 0 of 0 until it knows how many there are, which
for some answers is never.  All that goes on as it is, but for what a ULONG does not hold.  It needs pycurl (the
extra `engines`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

import pycurl

from examples.providers.answers import Cancelled, heed
from recorder import hresult

__all__ = ["download", "provider"]

_ULONG: Final = 0xFFFFFFFF

_RESULTS: Final = {
    pycurl.E_COULDNT_RESOLVE_HOST: "HRESULT_FROM_WIN32(12007)",
    pycurl.E_COULDNT_CONNECT: "HRESULT_FROM_WIN32(12029)",
    pycurl.E_PARTIAL_FILE: "IXP_E_CONNECTION_DROPPED",
    pycurl.E_GOT_NOTHING: "IXP_E_CONNECTION_DROPPED",
    pycurl.E_RECV_ERROR: "IXP_E_CONNECTION_DROPPED",
    pycurl.E_SEND_ERROR: "IXP_E_CONNECTION_DROPPED",
    pycurl.E_OPERATION_TIMEDOUT: "HRESULT_FROM_WIN32(12002)",
    pycurl.E_SSL_CONNECT_ERROR: "MAPI_E_NETWORK_ERROR",
    pycurl.E_PEER_FAILED_VERIFICATION: "SEC_E_UNTRUSTED_ROOT",
    pycurl.E_BAD_CONTENT_ENCODING: "MAPI_E_CORRUPT_DATA",
    pycurl.E_WRITE_ERROR: "MAPI_E_NOT_ENOUGH_DISK",
    pycurl.E_TOO_MANY_REDIRECTS: "MAPI_E_TOO_COMPLEX",
    pycurl.E_RANGE_ERROR: "MAPI_E_NO_SUPPORT",
}
_STATUS: Final = {401: "MAPI_E_LOGON_FAILED", 403: "E_ACCESSDENIED", 404: "MAPI_E_NOT_FOUND", 503: "MAPI_E_BUSY"}
_LOST: Final = (pycurl.E_PARTIAL_FILE, pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR)
"""After these the rest is asked for once more."""


def download(
    callback: Any,
    urls: Iterable[str],
    folder: Path,
    *,
    attempts: int = 1,
    timeout: float = 30,
    room: int | None = None,
) -> int:
    """Download each URL into a file of `folder`, and give what Done says.

    `attempts` is how often a transfer is taken up whose connection was lost, `timeout` the seconds without a byte
    after which it is given up, `room` the bytes that the folder may hold; None: as many as there is space for.
    """
    result = hresult.S_OK
    left = room
    try:
        for url in urls:
            file = folder / (url.rstrip("/").rpartition("/")[2] or "index")
            fetched = _fetched(callback, url, file, attempts, timeout, left)
            result = min(result, fetched) or max(result, fetched)  # a failure rather than a warning
            left = None if left is None else left - file.stat().st_size
    except Cancelled as cancelled:
        result = cancelled.result
        callback.Error(result, str(cancelled))
    callback.Done(None, result)
    return result


def _fetched(callback: Any, url: str, file: Path, attempts: int, timeout: float, room: int | None) -> int:
    """Fetch one, and take it up where it stands; failures are reported.

    Gives S_OK, MAPI_W_ERRORS_RETURNED if it is whole in spite of them, or the last of them.
    """
    result = hresult.S_OK
    heed(callback.Progress(file.name, 0, 0))
    with file.open("wb") as out:
        while True:
            transfer = _Transfer(callback, out, room)
            try:
                transfer.perform(url, timeout)
                return hresult.parse("MAPI_W_ERRORS_RETURNED") if result else hresult.S_OK
            except pycurl.error as error:
                code, said = error.args
                transfer.raise_what_a_callback_raised()
                result = transfer.result(code)
                heed(callback.Error(result, f"{file.name}: {said}"))
                attempts -= 1
                if code not in _LOST or attempts <= 0:
                    return result
            finally:
                transfer.curl.close()


class _Transfer:
    """One transfer: what libcurl calls while it lasts."""

    def __init__(self, callback: Any, out: io.BufferedWriter, room: int | None):
        self.curl = pycurl.Curl()
        self._callback = callback
        self._out = out
        self._room = room
        self._last = (0, 0)
        self._raised: Exception | None = None

    def perform(self, url: str, timeout: float) -> None:
        """Raises pycurl.error."""
        set_ = self.curl.setopt
        set_(pycurl.URL, url)
        set_(pycurl.FOLLOWLOCATION, True)
        set_(pycurl.MAXREDIRS, 5)
        set_(pycurl.FAILONERROR, True)
        set_(pycurl.ACCEPT_ENCODING, "")
        set_(pycurl.RESUME_FROM_LARGE, self._out.tell())
        set_(pycurl.LOW_SPEED_LIMIT, 1)
        set_(pycurl.LOW_SPEED_TIME, max(1, round(timeout)))
        set_(pycurl.CONNECTTIMEOUT_MS, round(timeout * 1000))
        set_(pycurl.WRITEFUNCTION, self._write)
        set_(pycurl.NOPROGRESS, False)
        set_(pycurl.XFERINFOFUNCTION, self._moved)
        self.curl.perform()

    def _write(self, data: bytes) -> int:
        if self._room is not None and self._out.tell() + len(data) > self._room:
            return 0  # less than was given is an error of writing
        return self._out.write(data)

    def _moved(self, total: int, now: int, _up_total: int, _up: int) -> int:
        """libcurl calls this many times for one number; what has not changed is not news."""
        if (now, total) == self._last:
            return 0
        self._last = (now, total)
        try:
            heed(self._callback.Progress(None, *_in_ulongs(now, total)))
        except Exception as error:
            self._raised = error
            return 1  # ends the transfer
        return 0

    def raise_what_a_callback_raised(self) -> None:
        if self._raised is not None:
            raise self._raised

    def result(self, code: int) -> int:
        """What libcurl's error comes to."""
        if code == pycurl.E_HTTP_RETURNED_ERROR:
            name = _STATUS.get(self.curl.getinfo(pycurl.RESPONSE_CODE), "MAPI_E_CALL_FAILED")
        else:
            name = _RESULTS.get(code, "MAPI_E_CALL_FAILED")
        return hresult.parse(name)


def _in_ulongs(now: int, total: int) -> tuple[int, int]:
    """Both in the smallest unit (bytes, KiB, MiB ...) in which they fit."""
    while max(now, total) > _ULONG:
        now, total = now >> 10, total >> 10
    return now, total


def provider(callback: Any) -> None:
    """Downloads $CURL_URLS, separated by spaces, into $CURL_FOLDER (`.` unless it is set)."""
    urls = os.environ.get("CURL_URLS", "").split()
    if not urls:
        _unset("CURL_URLS")
    download(callback, urls, Path(os.environ.get("CURL_FOLDER", ".")), attempts=3)


def _unset(name: str) -> NoReturn:
    raise ValueError(f"{name} is not set; examples/providers/README.md says to what")
