"""Interfaces as data: the one that everything is about, descriptions that travel, names that are misspelt."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import InterfaceError
from recorder.interface import MAX_SLOTS, Direction, Interface, Method, Parameter, Type
from recorder.interfaces import (
    IMAPI_SYNC,
    IMAPI_SYNC_PROGRESS_CALLBACK,
    INTERFACES,
    IUNKNOWN,
    find_interface,
)

SYNC = IMAPI_SYNC_PROGRESS_CALLBACK


def test_the_vtable_is_the_documented_one() -> None:
    """interface.md, 1.2 and 1.3."""
    assert SYNC.iid == "{5024a386-2d44-486a-81a8-8f0ecb6071dd}"
    assert SYNC.guid.bytes_le.hex() == "86a32450442d6a4881a88f0ecb6071dd"
    assert IUNKNOWN.guid.bytes_le.hex() == "0000000000000000c000000000000046"
    assert [m.name for m in SYNC.slots] == ["QueryInterface", "AddRef", "Release", "Progress", "Error", "Done"]
    assert SYNC.slot["Done"] == 5
    assert SYNC.root is IUNKNOWN
    assert SYNC.unknown == {"QueryInterface", "AddRef", "Release"}
    assert [m.name for m in SYNC.calls] == ["Progress", "Error", "Done"]
    assert [(p.name, p.type, p.nullable) for m in SYNC.calls for p in m.parameters] == [
        ("pwcszProgress", Type.TEXT, True),
        ("ulIndex", Type.U32, False),
        ("ulIndexMax", Type.U32, False),
        ("hResult", Type.HRESULT, False),
        ("pwcszErrorStr", Type.TEXT, False),
        ("hThreadDoneEvent", Type.HANDLE, True),
        ("hResult", Type.HRESULT, False),
    ]


def test_iunknown_stands_alone() -> None:
    assert IUNKNOWN.root is IUNKNOWN
    assert IUNKNOWN.unknown == frozenset()
    assert IUNKNOWN.calls == IUNKNOWN.slots
    query = IUNKNOWN.method("QueryInterface")
    assert [p.name for p in query.inputs] == ["riid"]
    assert [p.name for p in query.outputs] == ["ppvObject"]
    assert query.outputs[0].is_out


def test_parameters_by_name() -> None:
    assert SYNC.method("Progress").index("ulIndexMax") == 2
    with pytest.raises(InterfaceError, match="no parameter 'ulMax' in Progress"):
        SYNC.method("Progress").index("ulMax")
    with pytest.raises(InterfaceError, match="no parameter 'ppvObject' in QueryInterface"):
        SYNC.method("QueryInterface").index("ppvObject")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Progres", "no method 'Progres' in IMAPISyncProgressCallback; did you mean 'Progress'?"),
        ("done", "no method 'done' in IMAPISyncProgressCallback; did you mean 'Done'?"),
        ("Zzz", "no method 'Zzz' in IMAPISyncProgressCallback"),
    ],
)
def test_misspelt_methods(name: str, message: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        SYNC.method(name)
    assert str(caught.value) == message


def test_ranges_of_types() -> None:
    assert Type.U32.range == (0, 2**32 - 1)
    assert Type.HRESULT.is_integer
    assert not Type.TEXT.is_integer
    with pytest.raises(InterfaceError, match="text is not an integer type"):
        _ = Type.TEXT.range


def test_an_iid_has_one_spelling() -> None:
    spelled = Interface("I", "5024A386-2D44-486A-81A8-8F0ECB6071DD", ())
    assert spelled.iid == SYNC.iid
    with pytest.raises(InterfaceError, match="interface I: 'no' is not an IID"):
        Interface("I", "no", ())


# --- descriptions --------------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=20)
parameters = st.builds(
    Parameter, names, st.sampled_from(Type), st.booleans(), st.sampled_from(Direction), st.booleans()
)
methods = st.lists(
    st.builds(Method, names, st.lists(parameters, max_size=4).map(tuple), st.sampled_from(Type)),
    max_size=5,
    unique_by=lambda m: m.name,
).map(tuple)


@st.composite
def interfaces(draw: st.DrawFn) -> Interface:
    base = draw(st.sampled_from([None, IUNKNOWN, SYNC]))
    own = draw(methods)
    taken = set(base.slot) if base else set()
    kept = tuple(m for m in own if m.name not in taken)
    return Interface(draw(names), str(draw(st.uuids())), kept, base)


@given(interfaces())
def test_every_description_reads_back(interface: Interface) -> None:
    assert Interface.from_description(interface.describe()) == interface


def _described(**changes: Any) -> dict[str, Any]:
    return {**SYNC.describe(), **changes}


_METHOD = {"name": "M", "returns": "hresult", "parameters": []}


@pytest.mark.parametrize(
    "description",
    [
        None,
        5,
        "IUnknown",
        [],
        {},
        _described(name=None),
        _described(name=""),
        _described(name="x" * 201),
        _described(iid=7),
        _described(iid="{no}"),
        _described(base=5),
        _described(methods=None),
        _described(methods=[{}]),
        _described(methods=[_METHOD, _METHOD]),
        _described(methods=[{**_METHOD, "name": "AddRef"}]),
        _described(methods=[{**_METHOD, "returns": "what"}]),
        _described(methods=[{**_METHOD, "parameters": [["p"]]}]),
        _described(methods=[{**_METHOD, "parameters": [["p", "u32", "sideways", False, False]]}]),
        _described(methods=[{**_METHOD, "parameters": [[1, "u32", "in", False, False]]}]),
        _described(methods=[{**_METHOD, "name": str(n)} for n in range(MAX_SLOTS)]),
    ],
)
def test_what_is_no_description(description: Any) -> None:
    with pytest.raises(InterfaceError) as caught:
        Interface.from_description(description)
    assert "\n" not in str(caught.value)


def test_a_description_without_end() -> None:
    description = _described(methods=[])
    description["base"] = description
    with pytest.raises(InterfaceError, match="too many bases"):
        Interface.from_description(description)


# --- finding one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTERFACES)
def test_known_names(name: str) -> None:
    assert find_interface(name).name == name


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    made = types.ModuleType("synctape_test_interfaces")
    vars(made).update(MINE=Interface("IMine", "{12345678-1234-1234-1234-123456789abc}", ()), NUMBER=5)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made.__name__


def test_an_interface_of_ones_own(module: str) -> None:
    assert find_interface(f"{module}:MINE").name == "IMine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("IMAPISyncProgressCalback", "unknown interface .*; did you mean 'IMAPISyncProgressCallback'"),
        ("zzz", "unknown interface 'zzz'; name one of your own as module:NAME"),
        ("MODULE:YOURS", "interface 'MODULE:YOURS': AttributeError: .*YOURS"),
        ("MODULE:NUMBER", "interface 'MODULE:NUMBER' is a int, not an Interface"),
        ("no_such_module_here:X", "interface 'no_such_module_here:X': ModuleNotFoundError: No module named"),
        (":X", "interface ':X': ValueError: "),
    ],
)
def test_unknown_interfaces(module: str, name: str, message: str) -> None:
    with pytest.raises(InterfaceError, match=message.replace("MODULE", module)):
        find_interface(name.replace("MODULE", module))


def test_the_sync_interface_is_the_documented_one() -> None:
    """interface.md, 1.2: it differs from the callback's IID in the first byte alone."""
    assert IMAPI_SYNC.iid == "{5024a385-2d44-486a-81a8-8f0ecb6071dd}"
    assert IMAPI_SYNC.guid.bytes_le.hex() == "85a32450442d6a4881a88f0ecb6071dd"
    assert IMAPI_SYNC.slot["SynchronizeInBackground"] == 3
