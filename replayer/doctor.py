"""What this installation works with: the compiled core or ctypes and why, versions, where the C recorder lies."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

import recorder
from recorder.native import core_of

__all__ = ["diagnosis", "told"]

FLOORS = ("recorder", "replayer")
LIBRARIES = ("click", "hypothesis", "msgpack", "rich", "pytest", "comtypes", "zstandard")
COMPILERS = ("cc", "gcc", "clang", "c++", "cl", "x86_64-w64-mingw32-gcc")
C_FILES = {"header": "synctape_record.h", "source": "synctape_record.c", "interfaces": "synctape_interfaces.h"}


def diagnosis() -> dict[str, Any]:
    """All facts as plain values; None stands for what is not there.  Never raises."""
    native = Path(recorder.__file__).parent / "_native"
    return {
        "synctape": _version("synctape"),
        "python": {
            "version": ".".join(map(str, sys.version_info[:3])),
            "implementation": sys.implementation.name,
            "executable": sys.executable,
            "pointer_size": struct.calcsize("P"),
        },
        "platform": {"system": sys.platform, "machine": _machine()},
        "core": {floor: _core(floor) for floor in FLOORS},
        "libraries": {name: _version(name) for name in LIBRARIES},
        "msgpack_compiled": msgpack.Packer.__module__ != "msgpack.fallback",
        "c_recorder": {part: str(native / name) for part, name in C_FILES.items()},
        "compilers": {name: shutil.which(name) for name in COMPILERS},
    }


def told(facts: dict[str, Any]) -> Iterator[str]:
    """The lines that tell a person."""
    python, platform = facts["python"], facts["platform"]
    yield f"synctape {facts['synctape'] or '(not installed: run from its folder)'}"
    yield (
        f"Python {python['version']} ({python['implementation']}, {8 * python['pointer_size']} bits) "
        f"on {platform['system']} {platform['machine']}"
    )
    yield f"  {python['executable']}"
    yield ""
    yield "Native code is recorded and played by"
    for floor, core in facts["core"].items():
        yield f"  {floor:<10}{'the compiled core' if core['compiled'] else 'ctypes'}: {core['why']}"
    yield ""
    yield "Libraries"
    for name, version in facts["libraries"].items():
        if version is not None:
            slow = "" if name != "msgpack" or facts["msgpack_compiled"] else " (in pure Python: slow)"
            yield f"  {name:<12}{version}{slow}"
    yield ""
    yield "The recorder for C and C++ (docs/recording.md): add these to a provider's project"
    for path in facts["c_recorder"].values():
        yield f"  {path}"
    yield ""
    found = {name: path for name, path in facts["compilers"].items() if path is not None}
    yield "C compilers" if found else "No C compiler: native tests and benchmarks need one, the rest does not"
    for name, path in found.items():
        yield f"  {name:<24}{path}"


def _core(floor: str) -> dict[str, Any]:
    core = core_of(floor)
    compiled = core.module is not None
    return {"compiled": compiled, "why": str(core.module.__file__) if compiled else core.reason}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> str:
    """As the system calls it; `platform` would start a program or a service on some systems."""
    if sys.platform == "win32":
        return os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return os.uname().machine
