"""The fault record: what a child that died of a native fault wrote before it was gone (`_native/fault.h`).

The child's compiled core writes it into a file that both processes map; the parent reads it and finds names for
addresses, for which there is time after the death.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from replayer.symbols import symbols_of

__all__ = [
    "OWN_THREAD",
    "Fault",
    "FaultFile",
    "Meaning",
    "NativeFrame",
    "frames_of",
    "parse_fault",
    "watch_faults",
]

_HEAD = struct.Struct("=IIQQIIII")  # state, code, address, call, access, meaning, playing, length
_BYTES = 16384
_OTHER_THREAD = 2  # SynPlaying
_ACCESS = ("", "reading", "writing", "executing")
_SYSTEM = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/", "linux-vdso")
_WINDOWS = (
    "ntdll.dll",
    "kernel32.dll",
    "kernelbase.dll",
    "msvcrt.dll",
    "ucrtbase.dll",
    "combase.dll",
    "ole32.dll",
)

OWN_THREAD = ", in a thread of the target's own"
"""Ends the text of a death for which the call that was under way is not to blame."""


class Meaning(enum.IntEnum):
    """What a fault's address says of it."""

    NOTHING = 0
    PAST_END = 1
    BEFORE_START = 2
    WROTE = 3
    USED_LATER = 4
    STACK_OVERFLOW = 5


_SENTENCES = {
    Meaning.PAST_END: "read past the end of the text of call #{0}",
    Meaning.BEFORE_START: "read before the start of the text of call #{0}",
    Meaning.WROTE: "wrote to the const text of call #{0}",
    Meaning.USED_LATER: "used the text of call #{0} after call #{0} had returned",
    Meaning.STACK_OVERFLOW: "the stack is used up",
}


class NativeFrame(NamedTuple):
    """A frame of native code: the library's file, the address in it, the function if its name is known."""

    path: str
    offset: int
    function: str

    @property
    def library(self) -> str:
        return self.path.replace("\\", "/").rpartition("/")[2]

    @property
    def is_system(self) -> bool:
        """Whether it is of a system's library, which the target uses."""
        return self.path.startswith(_SYSTEM) or self.library.lower() in _WINDOWS

    def __str__(self) -> str:
        return f"{self.library}+0x{self.offset:x} {self.function}".rstrip()

    @property
    def place(self) -> str:
        """As a finding names it: the offset only where there is no name."""
        return f"{self.library} in {self.function}" if self.function else f"{self.library}+0x{self.offset:x}"


@dataclass(frozen=True, slots=True)
class Fault:
    """`code` is the signal or NTSTATUS, `call` the call whose text it was where `meaning` is of a text.

    `own_thread`: it was in a thread of the target's own, while a call was under way in another.  `frames` are the
    native stack, innermost first, down to the player's.
    """

    code: int
    address: int
    access: str = ""
    meaning: Meaning = Meaning.NOTHING
    call: int = 0
    own_thread: bool = False
    frames: tuple[NativeFrame, ...] = ()

    @property
    def sentence(self) -> str:
        """What it means, "" if nothing is known."""
        return _SENTENCES.get(self.meaning, "").format(self.call)

    def place(self, library: str = "") -> str:
        """The innermost frame of the target: of its library if that is given, else of no system library.

        Of an endless recursion the outermost one: which was innermost is chance.
        """
        own = [frame for frame in self.frames if library and frame.library == os.path.basename(library)]
        own = own or [frame for frame in self.frames if frame.path != "?" and not frame.is_system]
        own = own or [frame for frame in self.frames[:1] if frame.path != "?"]  # an address alone is chance
        if not own:
            return ""
        return own[-1 if self.meaning is Meaning.STACK_OVERFLOW else 0].place

    @property
    def stack(self) -> str:
        return "".join(f"  {frame}\n" for frame in self.frames)


def parse_fault(data: bytes) -> Fault | None:
    """The record's bytes, written by a process in any state; None if there is nothing of use in them."""
    state, code, address, call, access, meaning, playing, length = _HEAD.unpack_from(data)
    if state not in (1, 2):
        return None
    frames = frames_of(data[_HEAD.size : _HEAD.size + length].decode("utf-8", "replace"))
    return Fault(
        code,
        address,
        _ACCESS[access] if access < len(_ACCESS) else "",
        Meaning(meaning) if meaning in Meaning._value2member_map_ else Meaning.NOTHING,
        call,
        playing == _OTHER_THREAD,
        tuple(frames),
    )


def frames_of(text: str) -> list[NativeFrame]:
    """A stack as the compiled core writes it, without the core's own frames."""
    frames = []
    for line in text.splitlines():
        location, _, function = line.partition(" ") if "+0x" in line.partition(" ")[0] else _with_blanks(line)
        path, _, offset = location.rpartition("+0x")
        with contextlib.suppress(ValueError):
            frames.append(_named(path, int(offset, 16), function))
    return [frame for frame in frames if not _is_core(frame.path)]


def _with_blanks(line: str) -> tuple[str, str, str]:
    """A line whose path has blanks."""
    path, _, rest = line.rpartition("+0x")
    offset, blank, function = rest.partition(" ")
    return f"{path}+0x{offset}", blank, function


def _named(path: str, offset: int, function: str) -> NativeFrame:
    return NativeFrame(path, offset, symbols_of(path).name(offset) or function)


def _is_core(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return parts[-2:-1] == ["_native"] and parts[-1].startswith("core.")


class FaultFile:
    """The parent's side of a record."""

    def __init__(self, path: Path):
        path.write_bytes(bytes(_BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _BYTES)

    @property
    def record(self) -> bytes:
        """What was written since `forget`; `parse_fault` reads it."""
        return self._memory[:]

    def forget(self) -> None:
        _HEAD.pack_into(self._memory, 0, *[0] * 8)

    def close(self) -> None:
        self._memory.close()


def watch_faults(core: object, path: str) -> None:
    """In the child: have its faults written there, if it has a compiled core."""
    if core is not None and os.path.exists(path):
        with open(path, "r+b") as file:
            core.watch(mmap.mmap(file.fileno(), _BYTES))  # type: ignore[attr-defined]
