"""How a process ended, in the words of its system: signals by name on POSIX, NTSTATUS by name on Windows."""

from __future__ import annotations

import signal

__all__ = ["ending"]

_CODES = {  # ntstatus.h; the last two are how MSVC and mingw throw
    0x80000003: "STATUS_BREAKPOINT",
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC000001D: "STATUS_ILLEGAL_INSTRUCTION",
    0xC0000094: "STATUS_INTEGER_DIVIDE_BY_ZERO",
    0xC00000FD: "STATUS_STACK_OVERFLOW",
    0xC0000374: "STATUS_HEAP_CORRUPTION",
    0xC0000409: "STATUS_STACK_BUFFER_OVERRUN",
    0xC0000602: "STATUS_FAIL_FAST_EXCEPTION",
    0xE06D7363: "C++ exception",
    0x20474343: "C++ exception",
}


def ending(code: int) -> str:
    """An exit code, or -n for signal n, as people know it."""
    if code == 0:
        return "exit code 0 (the target ended the process)"
    if code in _CODES or code >= 1 << 31:
        return f"0x{code:08X} {_CODES.get(code, '')}".rstrip()
    if code > 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
