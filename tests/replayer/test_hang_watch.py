"""The watch for hangs, each time in a process of its own: faulthandler has one timer, and the watch no end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BEFORE = """
import ctypes, os, sys, time
from replayer.hang_watch import HangWatch

stack = open(sys.argv[1], "ab", buffering=0)
step = 0
watch = HangWatch(stack, lambda: (step, 0))

def written():
    with open(sys.argv[1], "rb") as file:
        return b" in stands_still" in file.read()

def stands_still():
    end = time.monotonic() + 20
    while not written() and time.monotonic() < end:
        pass

def goes_on(seconds):
    global step
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step += 1

def holds_the_interpreter(seconds):
    if os.name == "nt":
        ctypes.PyDLL("kernel32").Sleep(int(1000 * seconds))
    else:
        ctypes.PyDLL(None).usleep(int(1_000_000 * seconds))
"""


def stack_of(folder: Path, script: str) -> str:
    """What the watch has written when the script is through."""
    file = folder / "stack"
    command = [sys.executable, "-c", f"{BEFORE}\n{script}\nos._exit(0)", str(file)]
    subprocess.run(command, check=True, timeout=60)
    return file.read_text("utf-8")


def test_a_request_that_stands_still_shows_where_it_is(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "with watch.request(0.4): stands_still()")
    assert stack.startswith("Timeout (") and " in stands_still\n" in stack


def test_native_code_that_holds_the_interpreter_shows_too(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, "with watch.request(0.2): holds_the_interpreter(0.4)")
    assert stack.startswith("Timeout (0:00:00.2") and " in holds_the_interpreter\n" in stack


@pytest.mark.parametrize(
    "script",
    [
        "with watch.request(0.8): goes_on(1.0)",
        "for _ in range(10):\n    with watch.request(0.8): time.sleep(0.1)",
        "with watch.request(0.2): pass\ntime.sleep(0.4)",
        "with watch.request(0.2): pass\ntime.sleep(0.1)\nwith watch.request(20): holds_the_interpreter(0.3)",
    ],
    ids=["it goes on", "each is soon done", "none is under way", "a short one before it"],
)
def test_nothing_is_written_where_nothing_hangs(tmp_path: Path, script: str) -> None:
    assert stack_of(tmp_path, script) == ""


@pytest.mark.parametrize("first", ["with watch.request(30): pass", "with watch.request(30): goes_on(0.1)"])
def test_each_request_has_its_own_time(tmp_path: Path, first: str) -> None:
    stack = stack_of(tmp_path, f"{first}\nwith watch.request(0.2): stands_still()")
    assert stack.startswith("Timeout (") and " in stands_still\n" in stack


def test_what_went_on_again_and_stands_still_again_is_written_again(tmp_path: Path) -> None:
    script = (
        "with watch.request(0.2):\n    stands_still()\n    goes_on(0.2)\n    stack.truncate(0)\n    stands_still()"
    )
    assert " in stands_still\n" in stack_of(tmp_path, script)
