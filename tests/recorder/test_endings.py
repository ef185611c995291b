"""How a process ended: names for codes and signals, and the faults that ctypes makes exceptions of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from recorder.endings import STATUSES, ending, fault, fault_text


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "exit code 0 (the target ended the process)"),
        (3, "exit code 3"),
        (0xC0000005, "0xC0000005 STATUS_ACCESS_VIOLATION"),
        (0xC00000FD, "0xC00000FD STATUS_STACK_OVERFLOW"),
        (0xC0000374, "0xC0000374 STATUS_HEAP_CORRUPTION"),
        (0x20474343, "0x20474343 C++ exception"),
        (0xC0001234, "0xC0001234"),
        (-1000, "signal 1000"),
    ],
)
def test_an_ending_has_its_name(code: int, told: str) -> None:
    assert ending(code) == told


def test_each_status_stands_once() -> None:
    assert len({s.code for s in STATUSES}) == len(STATUSES)
    said = [s.said for s in STATUSES if s.said]
    assert not any(a != b and b.startswith(a) for a in said for b in said), "one would be taken for the other"


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("access violation reading 0x0", 0xC0000005, "0xC0000005 STATUS_ACCESS_VIOLATION reading 0x0"),
        ("access violation writing 0x10", 0xC0000005, "0xC0000005 STATUS_ACCESS_VIOLATION writing 0x10"),
        ("stack overflow", 0xC00000FD, "0xC00000FD STATUS_STACK_OVERFLOW"),
        ("integer divide by zero", 0xC0000094, "0xC0000094 STATUS_INTEGER_DIVIDE_BY_ZERO"),
    ],
)
def test_a_fault_is_told_from_what_ctypes_says(text: str, code: int, told: str) -> None:
    error = OSError(f"exception: {text}")
    assert (fault(error), fault_text(error)) == (code, told)


def numbered(number: int) -> OSError:
    """An error as ctypes makes it of a code alone."""
    error: Any = OSError("no text for it")
    error.winerror = number
    return cast(OSError, error)


@pytest.mark.parametrize("number", [-1073740940, 0xC0000374])
def test_a_fault_is_told_from_its_number(number: int) -> None:
    error = numbered(number)
    assert fault_text(error) == "0xC0000374 STATUS_HEAP_CORRUPTION"


@pytest.mark.parametrize("number", [2, -2147467259, 0x80070005])
def test_other_errors_of_the_system_are_no_faults(number: int) -> None:
    """An HRESULT above all: ctypes raises it as an OSError, too."""
    error = numbered(number)
    assert fault(error) is None and fault_text(error) == ""


@pytest.mark.parametrize("error", [None, ValueError("exception: stack overflow"), OSError(2, "no such file")])
def test_what_is_no_fault(error: BaseException | None) -> None:
    assert fault(error) is None


if sys.platform == "win32":
    import subprocess

    SOURCE = """
    #include <windows.h>
    __declspec(dllexport) int null_read(void) { return *(volatile int *)0; }
    __declspec(dllexport) int overflow(int n) {
        volatile char page[4096];
        page[0] = (char)n;
        return overflow(n + 1) + page[0];
    }
    __declspec(dllexport) int divide(void) { volatile int one = 1, zero = 0; return one / zero; }
    __declspec(dllexport) void corrupt(void) { RaiseException(0xC0000374, 0, 0, 0); }
    __declspec(dllexport) void ends(void) { ExitProcess(0xC0000409); }
    """

    @pytest.mark.native
    @pytest.mark.parametrize(
        ("function", "name"),
        [
            ("null_read", "STATUS_ACCESS_VIOLATION"),
            ("overflow", "STATUS_STACK_OVERFLOW"),
            ("divide", "STATUS_INTEGER_DIVIDE_BY_ZERO"),
            ("corrupt", "STATUS_HEAP_CORRUPTION"),
            ("ends", "STATUS_STACK_BUFFER_OVERRUN"),
        ],
    )
    def test_a_process_that_gives_in_ends_as_its_fault_would(
        library: Callable[[str | Path], Path], tmp_path: Path, function: str, name: str
    ) -> None:
        (tmp_path / "faults.c").write_text(SOURCE)
        code = (
            "import ctypes, sys; from recorder.endings import give_in\n"
            f"try: ctypes.CDLL({str(library(tmp_path / 'faults.c'))!r}).{function}(0)\n"
            "except OSError as error: give_in(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
        assert ending(done.returncode).endswith(name)
