"""IProgressDialog of the Windows shell, as data: a progress interface that someone else implements.

On Windows, or under Wine, from this folder (docs/findings.md says what came of it):

    synctape fuzz --interface progress_dialog:PROGRESS_DIALOG \\
        --target clsid:{f8383852-fcd3-11d1-a6b9-006097df5bd4} --max-time 60

The dialog is started, told of titles, lines and numbers, asked whether the user has cancelled, and stopped.
"""

from __future__ import annotations

from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN

__all__ = ["PROGRESS_DIALOG"]

_RESERVED = Parameter("pvReserved", Type.POINTER, nullable=True)

PROGRESS_DIALOG = Interface(
    "IProgressDialog",
    "{EBBC7C04-315E-11d2-B62F-006097DF5BD4}",
    (
        Method(
            "StartProgressDialog",
            (
                Parameter("hwndParent", Type.HANDLE, nullable=True),
                Parameter("punkEnableModless", Type.POINTER, nullable=True),
                Parameter("dwFlags", Type.U32),
                _RESERVED,
            ),
        ),
        Method("StopProgressDialog"),
        Method("SetTitle", (Parameter("pwzTitle", Type.TEXT),)),
        Method(
            "SetAnimation",
            (Parameter("hInstAnimation", Type.HANDLE, nullable=True), Parameter("idAnimation", Type.U32)),
        ),
        Method("HasUserCancelled", returns=Type.BOOL),
        Method("SetProgress", (Parameter("dwCompleted", Type.U32), Parameter("dwTotal", Type.U32))),
        Method("SetProgress64", (Parameter("ullCompleted", Type.U64), Parameter("ullTotal", Type.U64))),
        Method(
            "SetLine",
            (
                Parameter("dwLineNum", Type.U32),
                Parameter("pwzString", Type.TEXT),
                Parameter("fCompactPath", Type.BOOL),
                _RESERVED,
            ),
        ),
        Method("SetCancelMsg", (Parameter("pwzCancelMsg", Type.TEXT), _RESERVED)),
        Method("Timer", (Parameter("dwTimerAction", Type.U32), _RESERVED)),
    ),
    base=IUNKNOWN,
)
"""[shlobj_core.h]"""
