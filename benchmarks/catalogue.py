"""The hosts of the benchmark, read from what each file says of itself.

A host's file begins with a docstring, in C++ with a comment, of this form:

    What it shows.

    Bug: what is wrong, "none" for a correct host
    Depth: 1 to 5
    Code: what synctape calls the finding

        the shortest sequence that shows it, a call a line; "300 x Call" is 300 of them, {n} in it their number

Depth says what a search has to get past:

1. one call with a value at a boundary
2. two calls that have to do with each other
3. a magic value, or a relation between the arguments of a few calls
4. four calls and more in a certain order, each of which shows in code or state
5. a place where code coverage sees nothing: a table's state, or a limit that only long sessions reach
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recorder.calls import Call
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.text import parse_call

__all__ = ["FOLDER", "Host", "hosts"]

FOLDER = Path(__file__).parent / "hosts"
_FIELD = re.compile(r"^(Bug|Depth|Code): ", re.MULTILINE)
_TIMES = re.compile(r"(\d+) x (.*)")


@dataclass(frozen=True)
class Host:
    """One host; `depth` is 0 and `code` empty for a correct one."""

    path: Path
    about: str
    bug: str = ""
    depth: int = 0
    code: str = ""
    shortest: tuple[str, ...] = ()

    @property
    def native(self) -> bool:
        return self.path.suffix == ".cpp"

    @property
    def name(self) -> str:
        """Its name in tables and on command lines: that of its file, behind its folder's for a native one."""
        return f"native/{self.path.stem}" if self.native else self.path.stem

    @property
    def correct(self) -> bool:
        return not self.depth

    @cached_property
    def calls(self) -> list[Call]:
        """The shortest sequence that shows the bug."""
        return [parse_call(line, IMAPI_SYNC_PROGRESS_CALLBACK) for line in self._lines()]

    def _lines(self) -> list[str]:
        lines = []
        for line in self.shortest:
            match = _TIMES.fullmatch(line)
            times, call = (int(match[1]), match[2]) if match else (1, line)
            lines += [call.replace("{n}", str(number)) for number in range(times)]
        return lines


def hosts() -> list[Host]:
    """All hosts: by depth, then by name, the correct ones last."""
    files = [*FOLDER.glob("*.py"), *FOLDER.glob("native/*.cpp")]
    return sorted(map(_read, files), key=lambda host: (host.correct, host.native, host.depth, host.name))


def _read(path: Path) -> Host:
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(source)) or ""
    else:
        comment = source.partition('#include "host.h"')[0]
        said = "\n".join(line.removeprefix("//").removeprefix(" ") for line in comment.splitlines())
    about, *fields = _FIELD.split(said)
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    code, *shortest = values.get("Code", "").split("\n")
    return Host(
        path,
        " ".join(about.split()),
        " ".join(values["Bug"].split()),
        int(values.get("Depth", 0)),
        code,
        tuple(line.strip() for line in shortest if line.strip()),
    )
