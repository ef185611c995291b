"""HRESULTs: the table of interface.md, names both ways, and what is no HRESULT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import hresult

TABLE = {  # interface.md, 2: a second writing of the table, so that a slip in either shows
    "S_OK": 0x00000000,
    "S_FALSE": 0x00000001,
    "MAPI_W_NO_SERVICE": 0x00040203,
    "MAPI_W_ERRORS_RETURNED": 0x00040380,
    "MAPI_W_POSITION_CHANGED": 0x00040481,
    "MAPI_W_APPROX_COUNT": 0x00040482,
    "MAPI_W_CANCEL_MESSAGE": 0x00040580,
    "MAPI_W_PARTIAL_COMPLETION": 0x00040680,
    "SYNC_W_PROGRESS": 0x00040820,
    "SYNC_W_CLIENT_CHANGE_NEWER": 0x00040821,
    "BG_S_PARTIAL_COMPLETE": 0x00200017,
    "STG_S_CONVERTED": 0x00030200,
    "E_NOTIMPL": 0x80004001,
    "E_NOINTERFACE": 0x80004002,
    "E_POINTER": 0x80004003,
    "E_ABORT": 0x80004004,
    "E_FAIL": 0x80004005,
    "E_PENDING": 0x8000000A,
    "E_UNEXPECTED": 0x8000FFFF,
    "E_ACCESSDENIED": 0x80070005,
    "E_HANDLE": 0x80070006,
    "E_OUTOFMEMORY": 0x8007000E,
    "E_INVALIDARG": 0x80070057,
    "CO_E_NOTINITIALIZED": 0x800401F0,
    "CO_E_OBJNOTCONNECTED": 0x800401FD,
    "REGDB_E_CLASSNOTREG": 0x80040154,
    "RPC_E_CALL_REJECTED": 0x80010001,
    "RPC_E_CANTCALLOUT_ININPUTSYNCCALL": 0x8001010D,
    "RPC_E_DISCONNECTED": 0x80010108,
    "RPC_E_WRONG_THREAD": 0x8001010E,
    "RPC_E_SERVERFAULT": 0x80010105,
    "RPC_E_SERVERCALL_RETRYLATER": 0x8001010A,
    "MAPI_E_NO_SUPPORT": 0x80040102,
    "MAPI_E_BAD_CHARWIDTH": 0x80040103,
    "MAPI_E_STRING_TOO_LONG": 0x80040105,
    "MAPI_E_INVALID_OBJECT": 0x80040108,
    "MAPI_E_OBJECT_CHANGED": 0x80040109,
    "MAPI_E_OBJECT_DELETED": 0x8004010A,
    "MAPI_E_BUSY": 0x8004010B,
    "MAPI_E_NOT_ENOUGH_DISK": 0x8004010D,
    "MAPI_E_NOT_ENOUGH_RESOURCES": 0x8004010E,
    "MAPI_E_NOT_FOUND": 0x8004010F,
    "MAPI_E_VERSION": 0x80040110,
    "MAPI_E_LOGON_FAILED": 0x80040111,
    "MAPI_E_SESSION_LIMIT": 0x80040112,
    "MAPI_E_USER_CANCEL": 0x80040113,
    "MAPI_E_UNABLE_TO_ABORT": 0x80040114,
    "MAPI_E_NETWORK_ERROR": 0x80040115,
    "MAPI_E_DISK_ERROR": 0x80040116,
    "MAPI_E_TOO_COMPLEX": 0x80040117,
    "MAPI_E_EXTENDED_ERROR": 0x80040119,
    "MAPI_E_CORRUPT_DATA": 0x8004011B,
    "MAPI_E_UNCONFIGURED": 0x8004011C,
    "MAPI_E_FAILONEPROVIDER": 0x8004011D,
    "MAPI_E_PASSWORD_EXPIRED": 0x80040121,
    "MAPI_E_ACCOUNT_DISABLED": 0x80040124,
    "MAPI_E_RECONNECTED": 0x80040125,
    "MAPI_E_OFFLINE": 0x80040126,
    "MAPI_E_END_OF_SESSION": 0x80040200,
    "MAPI_E_UNABLE_TO_COMPLETE": 0x80040400,
    "MAPI_E_TIMEOUT": 0x80040401,
    "MAPI_E_CANCEL": 0x80040501,
    "MAPI_E_CORRUPT_STORE": 0x80040600,
    "MAPI_E_NOT_INITIALIZED": 0x80040605,
    "MAPI_E_STORE_FULL": 0x8004060C,
    "SYNC_E_CONFLICT": 0x80040802,
    "SYNC_E_UNSYNCHRONIZED": 0x80040805,
    "STG_E_MEDIUMFULL": 0x80030070,
    "STG_E_DOCFILECORRUPT": 0x80030109,
    "SEC_E_UNTRUSTED_ROOT": 0x80090325,
    "CERT_E_EXPIRED": 0x800B0101,
    "BG_E_NETWORK_DISCONNECTED": 0x80200010,
    "HRESULT_FROM_WIN32(1223)": 0x800704C7,
    "HRESULT_FROM_WIN32(1460)": 0x800705B4,
    "HRESULT_FROM_WIN32(1326)": 0x8007052E,
    "HRESULT_FROM_WIN32(1722)": 0x800706BA,
    "HRESULT_FROM_WIN32(10060)": 0x8007274C,
    "HRESULT_FROM_WIN32(10061)": 0x8007274D,
    "HRESULT_FROM_WIN32(12002)": 0x80072EE2,
    "HRESULT_FROM_WIN32(12007)": 0x80072EE7,
    "HRESULT_FROM_WIN32(12029)": 0x80072EFD,
    "IXP_E_CANT_FIND_HOST": 0x800CCC0D,
    "IXP_E_FAILED_TO_CONNECT": 0x800CCC0E,
    "IXP_E_CONNECTION_DROPPED": 0x800CCC0F,
    "IXP_E_USER_CANCEL": 0x800CCC17,
    "IXP_E_TIMEOUT": 0x800CCC19,
}


def test_the_table_is_complete() -> None:
    assert {name: hresult.unsigned(value) for value, name in hresult.NAMES.items()} == TABLE


@pytest.mark.parametrize(("name", "value"), TABLE.items())
def test_names_both_ways(name: str, value: int) -> None:
    signed = hresult.signed(value)
    assert hresult.parse(name) == signed
    assert hresult.name(signed) == hresult.name(value) == name
    assert hresult.describe(signed) == hresult.describe(value) == f"0x{value:08X} {name}"
    assert hresult.meaning(signed)
    assert hresult.failed(signed) == hresult.failed(value) == (signed < 0) == ("_E_" in name or value >= 2**31)
    if name.startswith("HRESULT_FROM_WIN32"):
        assert hresult.facility(value) == "WIN32"
        assert hresult.code(value) == int(name[19:-1])


@pytest.mark.parametrize(("alias", "name"), hresult.ALIASES.items())
def test_second_names(alias: str, name: str) -> None:
    assert hresult.parse(alias) == hresult.parse(name)
    assert hresult.name(hresult.parse(alias)) == name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x80004005", -0x7FFFBFFB),
        (" e_fail ".upper(), -0x7FFFBFFB),
        ("0X1", 1),
        ("4294967295", -1),
        ("-1", -1),
        ("-2147483648", -(2**31)),
        ("HRESULT_FROM_WIN32(5)", hresult.signed(0x80070005)),
        ("HRESULT_FROM_WIN32(0)", 0),
    ],
)
def test_other_spellings(text: str, value: int) -> None:
    assert hresult.parse(text) == value


@pytest.mark.parametrize(
    "text", ["", "E_", "e_fail", "E_FAIL E_FAIL", "0x100000000", "-2147483649", "1.5", "HRESULT_FROM_WIN32(x)"]
)
def test_what_is_no_hresult(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        hresult.parse(text)


@pytest.mark.parametrize("value", hresult.RAW_VALUES)
def test_values_of_other_kinds_have_no_name(value: int) -> None:
    assert hresult.name(value) is None
    assert hresult.meaning(value) == ""
    assert hresult.describe(value) == f"0x{value:08X}"


def test_facilities() -> None:
    assert hresult.facility(0x80004005) == "NULL"
    assert hresult.facility(0x80040111) == "ITF"
    assert hresult.facility(hresult.signed(0x80200010)) == "BITS"
    assert hresult.facility(0x87FF0000) == "2047"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (-1, True), (2**32 - 1, True), (2**32, False), (-(2**31) - 1, False)]
    + [(value, False) for value in (True, None, 0.0, "0")],
)
def test_what_a_callback_may_return(value: object, expected: bool) -> None:
    assert hresult.is_hresult(value) is expected


@given(st.integers(-(2**31), 2**32 - 1))
def test_every_value_reads_back(value: int) -> None:
    assert hresult.parse(hresult.describe(value).split()[0]) == hresult.signed(value)
    assert hresult.unsigned(hresult.signed(value)) == hresult.unsigned(value) == value % 2**32
    assert hresult.failed(value) == (hresult.signed(value) < 0)
