"""HRESULTs: 32 bits of severity, facility and code, and their names both ways (interface.md, 2).

Everywhere in synctape an HRESULT is a signed 32-bit int, `hr < 0` meaning failure, as in pywin32 and
comtypes.  People read it as a name and 0x%08X.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = [
    "ALIASES",
    "NAMES",
    "RAW_VALUES",
    "S_OK",
    "code",
    "describe",
    "facility",
    "failed",
    "is_hresult",
    "meaning",
    "name",
    "parse",
    "signed",
    "unsigned",
]

S_OK = 0

_TABLE = {
    0x00000000: ("S_OK", "success"),
    0x00000001: ("S_FALSE", "success, meaning no"),
    0x00040203: ("MAPI_W_NO_SERVICE", "no service, warning"),
    0x00040380: ("MAPI_W_ERRORS_RETURNED", "done, some errors"),
    0x00040481: ("MAPI_W_POSITION_CHANGED", "cursor moved"),
    0x00040482: ("MAPI_W_APPROX_COUNT", "count is a guess"),
    0x00040580: ("MAPI_W_CANCEL_MESSAGE", "skip message"),
    0x00040680: ("MAPI_W_PARTIAL_COMPLETION", "partly done"),
    0x00040820: ("SYNC_W_PROGRESS", "ICS more to do; Outlook showed it as an error"),
    0x00040821: ("SYNC_W_CLIENT_CHANGE_NEWER", "local copy newer"),
    0x00200017: ("BG_S_PARTIAL_COMPLETE", "BITS partial"),
    0x00030200: ("STG_S_CONVERTED", "converted"),
    0x80004001: ("E_NOTIMPL", "not implemented"),
    0x80004002: ("E_NOINTERFACE", "interface not supported"),
    0x80004003: ("E_POINTER", "bad pointer"),
    0x80004004: ("E_ABORT", "aborted"),
    0x80004005: ("E_FAIL", "unspecified failure"),
    0x8000000A: ("E_PENDING", "not ready yet"),
    0x8000FFFF: ("E_UNEXPECTED", "catastrophic"),
    0x80070005: ("E_ACCESSDENIED", "no access"),
    0x80070006: ("E_HANDLE", "bad handle"),
    0x8007000E: ("E_OUTOFMEMORY", "not enough memory"),
    0x80070057: ("E_INVALIDARG", "invalid parameter"),
    0x800401F0: ("CO_E_NOTINITIALIZED", "thread lacks CoInitialize"),
    0x800401FD: ("CO_E_OBJNOTCONNECTED", "stub gone"),
    0x80040154: ("REGDB_E_CLASSNOTREG", "class missing"),
    0x80010001: ("RPC_E_CALL_REJECTED", "callee busy"),
    0x8001010D: ("RPC_E_CANTCALLOUT_ININPUTSYNCCALL", "call out of a SendMessage"),
    0x80010108: ("RPC_E_DISCONNECTED", "proxy's object gone"),
    0x8001010E: ("RPC_E_WRONG_THREAD", "wrong apartment"),
    0x80010105: ("RPC_E_SERVERFAULT", "callee threw"),
    0x8001010A: ("RPC_E_SERVERCALL_RETRYLATER", "retry"),
    0x80040102: ("MAPI_E_NO_SUPPORT", "unsupported"),
    0x80040103: ("MAPI_E_BAD_CHARWIDTH", "ANSI/Unicode mix"),
    0x80040105: ("MAPI_E_STRING_TOO_LONG", "text too long"),
    0x80040108: ("MAPI_E_INVALID_OBJECT", "object not usable"),
    0x80040109: ("MAPI_E_OBJECT_CHANGED", "conflict"),
    0x8004010A: ("MAPI_E_OBJECT_DELETED", "deleted"),
    0x8004010B: ("MAPI_E_BUSY", "busy"),
    0x8004010D: ("MAPI_E_NOT_ENOUGH_DISK", "disk full"),
    0x8004010E: ("MAPI_E_NOT_ENOUGH_RESOURCES", "resources"),
    0x8004010F: ("MAPI_E_NOT_FOUND", "not found; seen in Send/Receive"),
    0x80040110: ("MAPI_E_VERSION", "version"),
    0x80040111: ("MAPI_E_LOGON_FAILED", "logon"),
    0x80040112: ("MAPI_E_SESSION_LIMIT", "sessions"),
    0x80040113: ("MAPI_E_USER_CANCEL", "user cancelled"),
    0x80040114: ("MAPI_E_UNABLE_TO_ABORT", "cannot stop"),
    0x80040115: ("MAPI_E_NETWORK_ERROR", "network"),
    0x80040116: ("MAPI_E_DISK_ERROR", "disk"),
    0x80040117: ("MAPI_E_TOO_COMPLEX", "too complex"),
    0x80040119: ("MAPI_E_EXTENDED_ERROR", "ask GetLastError"),
    0x8004011B: ("MAPI_E_CORRUPT_DATA", "corrupt"),
    0x8004011C: ("MAPI_E_UNCONFIGURED", "not configured"),
    0x8004011D: ("MAPI_E_FAILONEPROVIDER", "this provider only"),
    0x80040121: ("MAPI_E_PASSWORD_EXPIRED", "password"),
    0x80040124: ("MAPI_E_ACCOUNT_DISABLED", "account"),
    0x80040125: ("MAPI_E_RECONNECTED", "retry the call"),
    0x80040126: ("MAPI_E_OFFLINE", "offline"),
    0x80040200: ("MAPI_E_END_OF_SESSION", "disconnected"),
    0x80040400: ("MAPI_E_UNABLE_TO_COMPLETE", "incomplete"),
    0x80040401: ("MAPI_E_TIMEOUT", "timeout"),
    0x80040501: ("MAPI_E_CANCEL", "cancelled"),
    0x80040600: ("MAPI_E_CORRUPT_STORE", "store damaged"),
    0x80040605: ("MAPI_E_NOT_INITIALIZED", "not initialised"),
    0x8004060C: ("MAPI_E_STORE_FULL", "quota"),
    0x80040802: ("SYNC_E_CONFLICT", "conflict"),
    0x80040805: ("SYNC_E_UNSYNCHRONIZED", "never synced"),
    0x80030070: ("STG_E_MEDIUMFULL", "disk full"),
    0x80030109: ("STG_E_DOCFILECORRUPT", "file damaged"),
    0x80090325: ("SEC_E_UNTRUSTED_ROOT", "TLS chain"),
    0x800B0101: ("CERT_E_EXPIRED", "certificate"),
    0x80200010: ("BG_E_NETWORK_DISCONNECTED", "no network"),
    0x800704C7: ("HRESULT_FROM_WIN32(1223)", "cancelled"),
    0x800705B4: ("HRESULT_FROM_WIN32(1460)", "timeout"),
    0x8007052E: ("HRESULT_FROM_WIN32(1326)", "bad password"),
    0x800706BA: ("HRESULT_FROM_WIN32(1722)", "RPC server down"),
    0x8007274C: ("HRESULT_FROM_WIN32(10060)", "socket timeout"),
    0x8007274D: ("HRESULT_FROM_WIN32(10061)", "refused"),
    0x80072EE2: ("HRESULT_FROM_WIN32(12002)", "HTTP timeout"),
    0x80072EE7: ("HRESULT_FROM_WIN32(12007)", "name not resolved"),
    0x80072EFD: ("HRESULT_FROM_WIN32(12029)", "cannot connect"),
    0x800CCC0D: ("IXP_E_CANT_FIND_HOST", "no host"),
    0x800CCC0E: ("IXP_E_FAILED_TO_CONNECT", "no connection"),
    0x800CCC0F: ("IXP_E_CONNECTION_DROPPED", "dropped"),
    0x800CCC17: ("IXP_E_USER_CANCEL", "cancelled"),
    0x800CCC19: ("IXP_E_TIMEOUT", "timeout"),
}

NAMES: Mapping[int, str] = {value - (value >> 31 << 32): entry[0] for value, entry in _TABLE.items()}
"""Signed value -> name.  Where one value has two names, MAPI's own or the general one leads."""

ALIASES: Mapping[str, str] = {
    "MAPI_E_INTERFACE_NOT_SUPPORTED": "E_NOINTERFACE",
    "MAPI_E_CALL_FAILED": "E_FAIL",
    "MAPI_E_NO_ACCESS": "E_ACCESSDENIED",
    "MAPI_E_NOT_ENOUGH_MEMORY": "E_OUTOFMEMORY",
    "MAPI_E_INVALID_PARAMETER": "E_INVALIDARG",
}
"""Second names of the same values."""

RAW_VALUES = (0x0000052E, 0x000003EB, 0x00001133, 0xC0000005, 0xE06D7363, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Values of other kinds that reach HRESULT parameters by mistake (interface.md, 2), unsigned."""

_FACILITIES = {
    0: "NULL",
    1: "RPC",
    2: "DISPATCH",
    3: "STORAGE",
    4: "ITF",
    7: "WIN32",
    8: "WINDOWS",
    9: "SECURITY",
    11: "CERT",
    12: "INTERNET",
    32: "BITS",
}

_VALUES = {name: value for value, name in NAMES.items()}
_VALUES |= {alias: _VALUES[name] for alias, name in ALIASES.items()}


def signed(value: int) -> int:
    """The low 32 bits as a signed int."""
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value


def unsigned(value: int) -> int:
    """The low 32 bits as an unsigned int, as people write them."""
    return value & 0xFFFFFFFF


def failed(value: int) -> bool:
    """Bit 31 decides; a nonzero value without it is a warning, a success (interface.md, 1.5)."""
    return bool(value & 0x80000000)


def facility(value: int) -> str:
    """The facility's name, or its number."""
    number = value >> 16 & 0x7FF
    return _FACILITIES.get(number, str(number))


def code(value: int) -> int:
    return value & 0xFFFF


def is_hresult(value: object) -> bool:
    """Whether a callback may return this: a 32-bit int, signed or unsigned, not a bool."""
    return type(value) is int and -0x80000000 <= value <= 0xFFFFFFFF


def name(value: int) -> str | None:
    """The name, or None for a value without one."""
    return NAMES.get(signed(value))


def meaning(value: int) -> str:
    """A few words, empty for a value without a name."""
    entry = _TABLE.get(unsigned(value))
    return entry[1] if entry else ""


def describe(value: int) -> str:
    """For people: `0x80004005 E_FAIL`; without a name the hexadecimal value alone."""
    known = name(value)
    return f"0x{unsigned(value):08X}" + (f" {known}" if known else "")


def parse(text: str) -> int:
    """A signed value from a name or alias, `0x...`, `HRESULT_FROM_WIN32(n)` or a decimal number.

    Raises ValueError for anything else.
    """
    text = text.strip()
    if text in _VALUES:
        return _VALUES[text]
    if win32 := re.fullmatch(r"HRESULT_FROM_WIN32\((\d{1,5})\)", text):
        number = int(win32[1])
        return signed(0x80070000 | number & 0xFFFF) if number else 0
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no HRESULT; write its name, or 0x and eight digits") from None
    if not -0x80000000 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{text} is not a 32-bit HRESULT")
    return signed(value)
