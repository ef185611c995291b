"""What went wrong, as an HRESULT and a text: exceptions of sockets, of TLS, of IMAP and of the local disk."""

from __future__ import annotations

import errno
import re
import ssl
from typing import NamedTuple

from imapclient.exceptions import CapabilityError, IMAPClientAbortError, IMAPClientError, LoginError

from recorder import hresult

__all__ = ["FAILURES", "Failure", "failure"]

FAILURES = (OSError, EOFError, IMAPClientError)
"""What a session and a local copy raise."""


class Failure(NamedTuple):
    """`lost`: the connection has gone with it.  `final`: another connection would fare no better."""

    result: int
    text: str
    lost: bool = False
    final: bool = False


def _named(name: str, text: str, **more: bool) -> Failure:
    return Failure(hresult.parse(name), text, **more)


_CODES = {
    "AUTHENTICATIONFAILED": _named("MAPI_E_LOGON_FAILED", "the server does not accept the password", final=True),
    "AUTHORIZATIONFAILED": _named("MAPI_E_LOGON_FAILED", "the server does not accept this user", final=True),
    "EXPIRED": _named("MAPI_E_PASSWORD_EXPIRED", "the password has expired", final=True),
    "PRIVACYREQUIRED": _named("MAPI_E_LOGON_FAILED", "the server asks for an encrypted connection", final=True),
    "UNAVAILABLE": _named("MAPI_E_BUSY", "the server cannot do it now", final=True),
    "LIMIT": _named("MAPI_E_SESSION_LIMIT", "the server takes no more connections", final=True),
    "INUSE": _named("MAPI_E_BUSY", "the folder is in use"),
    "NOPERM": _named("E_ACCESSDENIED", "access was denied"),
    "OVERQUOTA": _named("MAPI_E_STORE_FULL", "the mailbox is full"),
    "TRYCREATE": _named("MAPI_E_OBJECT_DELETED", "the folder is gone"),
    "NONEXISTENT": _named("MAPI_E_OBJECT_DELETED", "the folder is gone"),
    "CORRUPTION": _named("MAPI_E_CORRUPT_STORE", "the folder is damaged on the server"),
    "SERVERBUG": _named("MAPI_E_CALL_FAILED", "the server failed"),
    "CANNOT": _named("MAPI_E_NO_SUPPORT", "the server cannot do that"),
}
"""Response codes of a refusal [RFC 5530, RFC 3501 7.1]."""

_WORDS = {
    "deleted under us": Failure(hresult.parse("MAPI_E_OBJECT_DELETED"), "the folder is gone", lost=True),
    "doesn't exist": _CODES["NONEXISTENT"],
    "too large": _named("MAPI_E_TOO_COMPLEX", "the message is too large"),
}
"""Where a server says it in words."""

_LOST = _named("MAPI_E_NETWORK_ERROR", "the connection was lost", lost=True)
_REFUSED = _named("MAPI_E_NETWORK_ERROR", "the server cannot be reached", lost=True, final=True)
_TIMEOUT = _named("MAPI_E_TIMEOUT", "the server does not answer", lost=True, final=True)
_NO_LOGON = _named("MAPI_E_LOGON_FAILED", "the server does not let this user in", final=True)
_TLS = _named("MAPI_E_NETWORK_ERROR", "no encrypted connection could be made", lost=True, final=True)
_EXPIRED = _named("CERT_E_EXPIRED", "the server's certificate has expired", lost=True, final=True)
_UNTRUSTED = _named("SEC_E_UNTRUSTED_ROOT", "the server's certificate is not trusted", lost=True, final=True)
_NO_DISK = _named("MAPI_E_NOT_ENOUGH_DISK", "the disk is full", final=True)
_DENIED = _named("E_ACCESSDENIED", "access was denied")
_DISK = _named("MAPI_E_DISK_ERROR", "the disk failed")
_REFUSAL = _named("MAPI_E_CALL_FAILED", "the server refused")

_X509_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def failure(error: BaseException) -> Failure:
    """What an exception of `FAILURES` comes to."""
    match error:
        case ssl.SSLCertVerificationError():
            return _EXPIRED if error.verify_code == _X509_EXPIRED else _UNTRUSTED
        case ssl.SSLEOFError() | ConnectionResetError() | BrokenPipeError() | EOFError():
            return _LOST
        case ssl.SSLError():
            return _TLS
        case TimeoutError():
            return _TIMEOUT
        case ConnectionError():
            return _REFUSED
        case IMAPClientError():
            return _refusal(error)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return _NO_DISK
        case PermissionError():
            return _DENIED
        case OSError() if type(error).__module__ == "socket":  # a name that nobody knows
            return _REFUSED
        case _:
            return _DISK


def _refusal(error: IMAPClientError) -> Failure:
    said = str(error)
    code = re.search(r"\[([A-Z]+)", said)
    for words, meaning in _WORDS.items():
        if words in said:
            return meaning
    if code and code[1] in _CODES:
        found = _CODES[code[1]]
        return found._replace(lost=True) if isinstance(error, IMAPClientAbortError) else found
    if isinstance(error, CapabilityError):
        return _CODES["CANNOT"]
    if isinstance(error, LoginError):
        return _NO_LOGON
    return _LOST if isinstance(error, IMAPClientAbortError) else _REFUSAL
