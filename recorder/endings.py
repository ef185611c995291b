"""How a process ended, in the words of its system: signals by name on POSIX, NTSTATUS by name on Windows.

On Windows ctypes catches a fault in native code and raises an OSError for it, in a process that is no longer
sound.  `fault` tells such an OSError from others, and `give_in` ends the process as it would have ended without
ctypes, so that a fault is one and the same thing whoever made the call.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NamedTuple

__all__ = ["STATUSES", "Status", "ending", "fault", "fault_text", "give_in"]


class Status(NamedTuple):
    """A code that a Windows process ends with; `said`: how ctypes words it, "" if it only gives the number."""

    code: int
    name: str
    said: str = ""


STATUSES = (
    Status(0x80000002, "STATUS_DATATYPE_MISALIGNMENT", "datatype misalignment"),
    Status(0x80000003, "STATUS_BREAKPOINT", "breakpoint encountered"),
    Status(0x80000004, "STATUS_SINGLE_STEP", "single step"),
    Status(0xC0000005, "STATUS_ACCESS_VIOLATION", "access violation"),
    Status(0xC0000006, "STATUS_IN_PAGE_ERROR"),
    Status(0xC0000008, "STATUS_INVALID_HANDLE"),
    Status(0xC0000017, "STATUS_NO_MEMORY"),
    Status(0xC000001D, "STATUS_ILLEGAL_INSTRUCTION"),
    Status(0xC0000025, "STATUS_NONCONTINUABLE_EXCEPTION", "nocontinuable"),
    Status(0xC0000026, "STATUS_INVALID_DISPOSITION"),
    Status(0xC000008C, "STATUS_ARRAY_BOUNDS_EXCEEDED", "array bounds exceeded"),
    Status(0xC000008D, "STATUS_FLOAT_DENORMAL_OPERAND", "floating-point operand denormal"),
    Status(0xC000008E, "STATUS_FLOAT_DIVIDE_BY_ZERO", "float divide by zero"),
    Status(0xC000008F, "STATUS_FLOAT_INEXACT_RESULT", "float inexact"),
    Status(0xC0000090, "STATUS_FLOAT_INVALID_OPERATION", "float invalid operation"),
    Status(0xC0000091, "STATUS_FLOAT_OVERFLOW", "float overflow"),
    Status(0xC0000092, "STATUS_FLOAT_STACK_CHECK", "stack over/underflow"),
    Status(0xC0000093, "STATUS_FLOAT_UNDERFLOW", "float underflow"),
    Status(0xC0000094, "STATUS_INTEGER_DIVIDE_BY_ZERO", "integer divide by zero"),
    Status(0xC0000095, "STATUS_INTEGER_OVERFLOW", "integer overflow"),
    Status(0xC0000096, "STATUS_PRIVILEGED_INSTRUCTION", "privileged instruction"),
    Status(0xC00000FD, "STATUS_STACK_OVERFLOW", "stack overflow"),
    Status(0xC000013A, "STATUS_CONTROL_C_EXIT"),
    Status(0xC0000374, "STATUS_HEAP_CORRUPTION"),
    Status(0xC0000409, "STATUS_STACK_BUFFER_OVERRUN"),
    Status(0xC0000420, "STATUS_ASSERTION_FAILURE"),
    Status(0xC0000602, "STATUS_FAIL_FAST_EXCEPTION"),
    Status(0xE06D7363, "C++ exception"),  # as MSVC throws
    Status(0x20474343, "C++ exception"),  # as mingw-w64 throws
)
"""ntstatus.h, as far as a process ends with it."""

_BY_CODE = {status.code: status for status in STATUSES}
_PREFIX = "exception: "


def ending(code: int) -> str:
    """An exit code, or -n for signal n, as people know it."""
    if code == 0:
        return "exit code 0 (the target ended the process)"
    if code in _BY_CODE or code >= 1 << 31:
        return f"0x{code:08X} {_BY_CODE[code].name if code in _BY_CODE else ''}".rstrip()
    if code > 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def fault(error: BaseException | None) -> int | None:
    """The NTSTATUS of a fault in native code that ctypes has made an OSError of; None for any other exception."""
    if not isinstance(error, OSError):
        return None
    text = str(error)
    if text.startswith(_PREFIX):
        said = text.removeprefix(_PREFIX)
        return next((s.code for s in STATUSES if s.said and said.startswith(s.said)), None)
    number = getattr(error, "winerror", None)
    if isinstance(number, int):
        code = number & 0xFFFFFFFF
        if code in _BY_CODE or code >> 16 == 0xC000:  # an error of the system; an HRESULT begins with 8
            return code
    return None


def fault_text(error: BaseException) -> str:
    """A fault as people know it, with what ctypes says of it beyond its kind: where an access violation was."""
    code = fault(error)
    if code is None:
        return ""
    text = str(error)
    said = _BY_CODE[code].said if code in _BY_CODE else ""
    rest = text.removeprefix(_PREFIX).removeprefix(said).strip() if text.startswith(_PREFIX) else ""
    return f"{ending(code)} {rest}".rstrip()


def give_in(error: BaseException | None) -> None:
    """If the exception is a fault, end this process with it, at once and without clean-up.

    For processes that may die of a target; elsewhere than on Windows no exception is a fault.
    """
    code = fault(error)
    if code is not None and sys.platform == "win32":
        os.kill(os.getpid(), code)  # TerminateProcess
