"""The interfaces that ship with synctape, as values (interface.md, 1.2 and 1.3)."""

from __future__ import annotations

import difflib
import importlib

from recorder.errors import InterfaceError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.structure import Structure

__all__ = [
    "IMAPI_SYNC",
    "IMAPI_SYNC_PROGRESS_CALLBACK",
    "INTERFACES",
    "IUNKNOWN",
    "MAPISIB",
    "find_interface",
]

IUNKNOWN = Interface(
    "IUnknown",
    "{00000000-0000-0000-c000-000000000046}",
    (
        Method(
            "QueryInterface",
            (Parameter("riid", Type.IID), Parameter("ppvObject", Type.POINTER, direction=Direction.OUT)),
        ),
        Method("AddRef", returns=Type.U32),
        Method("Release", returns=Type.U32),
    ),
)
"""The root of every COM interface [S:nn-unknwn-iunknown.md]."""

IMAPI_SYNC_PROGRESS_CALLBACK = Interface(
    "IMAPISyncProgressCallback",
    "{5024a386-2d44-486a-81a8-8f0ecb6071dd}",
    (
        Method(
            "Progress",
            (
                Parameter("pwcszProgress", Type.TEXT, nullable=True),
                Parameter("ulIndex", Type.U32),
                Parameter("ulIndexMax", Type.U32),
            ),
        ),
        Method("Error", (Parameter("hResult", Type.HRESULT), Parameter("pwcszErrorStr", Type.TEXT))),
        Method(
            "Done",
            (Parameter("hThreadDoneEvent", Type.HANDLE, nullable=True), Parameter("hResult", Type.HRESULT)),
        ),
    ),
    base=IUNKNOWN,
)
"""How a store provider reports a background sync [imapisyncprogresscallbackiunknown.md]."""

IMAPI_SYNC = Interface(
    "IMAPISync",
    "{5024a385-2d44-486a-81a8-8f0ecb6071dd}",
    (Method("SynchronizeInBackground", (Parameter("psib", Type.POINTER),)),),
    base=IUNKNOWN,
)
"""How a host starts the sync of a store provider [imapisyncsynchronizeinbackground.md]."""

MAPISIB = Structure(
    "MAPISIB",
    (
        Parameter("ulSize", Type.U32),
        Parameter("ulFlags", Type.U32),
        Parameter("psesSync", Type.POINTER, nullable=True),
        Parameter("punkCallBack", Type.POINTER, nullable=True),
        Parameter("phSyncDoneEvent", Type.POINTER),
    ),
)
"""What a sync is started with: the callback goes in, the event that fires at its end comes out [mapisib.md]."""

INTERFACES = {i.name: i for i in (IMAPI_SYNC_PROGRESS_CALLBACK, IMAPI_SYNC, IUNKNOWN)}


def find_interface(name: str) -> Interface:
    """An interface that ships here by its name, or any other by `module:NAME`.

    Raises InterfaceError if there is none.
    """
    if name in INTERFACES:
        return INTERFACES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, INTERFACES, 1)
        hint = f"did you mean {near[0]!r}?" if near else "name one of your own as module:NAME"
        raise InterfaceError(f"unknown interface {name!r}; {hint}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing runs foreign code
        raise InterfaceError(f"interface {name!r}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Interface):
        raise InterfaceError(f"interface {name!r} is a {type(found).__name__}, not an Interface")
    return found
