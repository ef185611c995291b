"""Native targets built with a sanitizer: which runtime they need, and how a process must start to have it.

AddressSanitizer must be in a process before anything else allocates, ThreadSanitizer before anything makes a
thread, and Python is not built with them: the sandbox's child is started with the runtime in LD_PRELOAD.

    built with                         says so                        its runtime
    gcc -fsanitize=address             needs libasan.so.N             as the loader finds it
    gcc -fsanitize=undefined           needs libubsan.so.N            as the loader finds it
    gcc -fsanitize=thread              needs libtsan.so.N             as the loader finds it
    clang -shared-libasan              needs libclang_rt.asan-*.so    in clang's folders
    clang -fsanitize=address           wants __asan_init              in clang's folders
    clang -fsanitize=undefined         wants __ubsan_handle_*         in clang's folders; ASan's has it, too
    clang -fsanitize=thread            wants __tsan_init              there; gcc's, if no process starts with it

ThreadSanitizer wants its memory at certain addresses.  Where the system has put something else there, a process
does not even start with it, which is tried before.

A runtime finds fault by ending the process; its report goes to a file (replayer.sanitizer_report reads it).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recorder.errors import SynctapeError
from replayer.cover import cover_library, is_covered
from replayer.elf import Elf, read_elf

__all__ = ["UnplayableError", "environment", "has_runtime", "require_runtime", "runtimes"]

_OPTIONS = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")

# What the user's own options may change, and what they may not.
_DEFAULTS = "print_legend=0:print_stacktrace=1:handle_sigill=1:allow_addr2line=1:quarantine_size_mb=32"
_FIXED = (
    "detect_leaks=0"  # Python's own would drown the target's
    ":halt_on_error=1:abort_on_error=1"  # each report is followed by a death that is no exit of the target's
    ":handle_segv=1:allow_user_segv_handler=1"  # a handler that is installed later sees a fault first
    ":log_exe_name=0"
)
_FIXED_THREADS = (
    ":die_after_fork=0"  # the sandbox forks; it has one thread then
    ":second_deadlock_stack=1"  # where each of two locks was taken
    ":report_thread_leaks=0:report_signal_unsafe=0"  # Python's and ours, not the target's
)

_LIBRARY = re.compile(r"lib(?:clang_rt\.)?(?P<kind>asan|ubsan|tsan|msan|hwasan)(?:_standalone)?(?P<rest>[-.].*)$")
_WANTED = {"__asan_init": "asan", "__tsan_init": "tsan", "__msan_init": "msan", "__hwasan_init": "hwasan"}
_UNPLAYABLE = {
    "msan": "MemorySanitizer",
    "hwasan": "HWAddressSanitizer",
    "minimal": "-fsanitize-minimal-runtime",
}
_NAMES = {"asan": "AddressSanitizer", "ubsan": "UndefinedBehaviorSanitizer", "tsan": "ThreadSanitizer"}
_ENTRY = {"asan": "__asan_init", "ubsan": "__ubsan_handle_add_overflow", "tsan": "__tsan_init"}
_THROWING = re.compile(
    r"(?:libstdc\+\+|libc\+\+|libc\+\+abi)\.so\b"
)  # what the runtime must see to pass exceptions on
_SYSTEM = ("/lib", "/usr/lib")


class UnplayableError(SynctapeError):
    """A target built with a sanitizer whose runtime is not here, or with one that Python cannot bear."""


def environment(library: Path, log: str, base: Mapping[str, str], *, names: bool = True) -> dict[str, str]:
    """What to add to the environment of a process that loads a library; nothing for an ordinary one.

    `log`: the reports' path, to which a process adds its number.  `base`: the environment otherwise, whose own
    options are kept where they can be.  `names`: whether reports name functions and lines, which takes most of the
    time of a death, or only offsets.  Raises UnplayableError.
    """
    needed = runtimes(library)
    before = base.get("LD_PRELOAD", "")
    if not needed and not _LIBRARY.search(before):
        return {}
    ours, fixed = _cover(library), _FIXED
    if ours:  # it comes before a runtime, whose own functions of these names do nothing
        fixed += ":verify_asan_link_order=0"
    added = {"LD_PRELOAD": ":".join([*ours, *map(str, needed), *filter(None, [before])])}
    for name in _OPTIONS:
        added[name] = ":".join(
            filter(
                None,
                [
                    _DEFAULTS,
                    base.get(name),
                    fixed + (_FIXED_THREADS if name == "TSAN_OPTIONS" else ""),
                    "" if names else "symbolize=0",
                    f"log_path={log}",
                ],
            )
        )
    if symbolizer := _symbolizer(needed, base):
        added |= dict.fromkeys(
            ("ASAN_SYMBOLIZER_PATH", "UBSAN_SYMBOLIZER_PATH", "TSAN_SYMBOLIZER_PATH"), symbolizer
        )
    return added


def _cover(library: Path) -> list[str]:
    """What counts for a library that is built for coverage."""
    path = cover_library() if is_covered(read_elf(library)) else None
    return [str(path)] if path else []


def require_runtime(library: Path) -> None:
    """Raises UnplayableError if loading a library here would end this process for want of a runtime."""
    elf = read_elf(library)
    kinds = _kinds(library, elf) if elf else set()
    missing = [kind for kind in _NAMES if kind in kinds and not has_runtime(kind)]
    if missing == ["ubsan"] and _linked_runtime("ubsan", elf.needed if elf else ()):
        missing = []  # comes with the library, in time
    if missing or not kinds.isdisjoint(_UNPLAYABLE):
        preload = ":".join(map(str, runtimes(library)))
        raise UnplayableError(
            f"{library.name} is built with {_NAMES[missing[0]]}, which must be in a process from its start: leave "
            f"out --in-process, or start Python with LD_PRELOAD={preload}"
        )
    if elf and (name := _linked_runtime("ubsan", elf.needed)):
        _direct_reports(name)


def has_runtime(kind: str) -> bool:
    """Whether this process has the runtime of "asan", "ubsan" or "tsan"."""
    try:
        return hasattr(ctypes.CDLL(None), _ENTRY[kind])
    except (OSError, TypeError):  # Windows has no library None
        return False


def _direct_reports(name: str) -> None:
    """Tell gcc's UBSan where its reports go.

    It sets its log_path through a function that ASan has, too, so that with both in a process ASan is told twice
    and UBSan never: its reports would go to stderr.
    """
    log = re.search(r"(?:^|:)log_path=([^:]+)", os.environ.get("UBSAN_OPTIONS", ""))
    if log:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(name).__sanitizer_set_report_path(os.fsencode(log[1]))


# --- what is needed -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Linked:
    """A library's dependencies as the loader finds them: None where it finds none."""

    paths: Mapping[str, Path | None]

    @property
    def own(self) -> Iterator[Path]:
        """Those that are no part of the system, and may be built with a sanitizer."""
        for path in self.paths.values():
            if path is not None and not str(path).startswith(_SYSTEM):
                yield path


def runtimes(library: Path) -> tuple[Path, ...]:
    """What a process must preload to load a library, in this order; () for an ordinary one.

    Raises UnplayableError, in one line that says what to install or how to build.
    """
    elf = read_elf(library)
    if elf is None:
        return ()
    linked = _linked(library, elf)
    kinds, compilers = _kinds(library, elf), elf.compilers
    for path in linked.own:
        if other := read_elf(path):
            kinds |= _kinds(path, other)
            compilers += other.compilers
    kinds |= {found["kind"] for name in linked.paths if (found := _LIBRARY.match(name))}
    for kind, name in _UNPLAYABLE.items():
        if kind in kinds:
            raise UnplayableError(
                f"{library.name} is built with {name}, which cannot be brought into Python: build it with "
                "-fsanitize=address,undefined"
            )
    needed = list(_found(kinds, linked, compilers, library))
    if needed:
        needed += [path for name, path in linked.paths.items() if path and _THROWING.match(name)]
    return tuple(needed)


def _kinds(library: Path, elf: Elf) -> set[str]:
    """The sanitizers that a file needs or wants."""
    kinds = {_WANTED[symbol] for symbol in elf.wanted if symbol in _WANTED}
    kinds |= {found["kind"] for name in elf.needed if (found := _LIBRARY.match(name))}
    handlers = [symbol for symbol in elf.wanted if symbol.startswith("__ubsan_handle_")]
    if any(symbol.endswith("_minimal") for symbol in handlers):
        kinds.add("minimal")
    elif handlers:
        kinds.add("ubsan")
    return kinds


def _found(kinds: set[str], linked: _Linked, compilers: str, library: Path) -> Iterator[Path]:
    clang = ""
    if found := re.search(r"clang version (\d+)", compilers):
        clang = found[1]
    for kind in _NAMES:
        if kind not in kinds:
            continue
        name = _linked_runtime(kind, linked.paths)
        if name is None and kind == "ubsan" and not kinds.isdisjoint(("asan", "tsan")):
            continue  # in the other one
        path = linked.paths[name] if name else None
        if path is None and (clang or (name and "clang_rt" in name)):
            path = _clangs(kind, name, clang)
        elif path is None:
            path = _gccs(kind, name)
        if path is None:
            raise UnplayableError(_hint(kind, name, clang, library))
        yield path if kind != "tsan" else _startable(path, library, others=name is None)


def _startable(path: Path, library: Path, *, others: bool) -> Path:
    """A runtime of ThreadSanitizer with which a process starts; `others`: gcc's will do, too."""
    if _starts(path):
        return path
    if others and (gccs := _gccs("tsan", None)) is not None and _starts(gccs):
        return gccs
    raise UnplayableError(
        f"{library.name} is built with ThreadSanitizer, and no process starts with its runtime {path.name} here: "
        "set vm.mmap_rnd_bits to 28 (sysctl), or build it with this system's gcc"
    )


@functools.lru_cache(maxsize=8)
def _starts(path: Path) -> bool:
    """Whether a process starts with a runtime."""
    program = shutil.which("true")
    if program is None:
        return True
    clean = {name: value for name, value in os.environ.items() if name not in _OPTIONS}
    try:
        ended = subprocess.run(
            [program], env={**clean, "LD_PRELOAD": str(path)}, capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return ended.returncode == 0


def _linked_runtime(kind: str, names: Iterable[str]) -> str | None:
    return next((name for name in names if (found := _LIBRARY.match(name)) and found["kind"] == kind), None)


def _hint(kind: str, name: str | None, clang: str, library: Path) -> str:
    what = f"{library.name} is built with {_NAMES[kind]}, whose runtime"
    if clang or (name and "clang_rt" in name):
        which = name or f"libclang_rt.{_STEM[kind]}-{platform.machine()}.so"
        install = f"libclang-rt-{clang}-dev" if clang else "libclang-rt-dev"
        return f"{what} {which} is not here: install it (Debian: {install}), or put its clang on PATH"
    which = name or f"lib{kind}.so"
    number = found[1] if (found := re.search(r"\.so\.(\d+)", which)) else ""
    return f"{what} {which} is not here: install it (Debian: lib{kind}{number}), or build with this system's gcc"


# --- where it is ----------------------------------------------------------------------------------------------


def _linked(library: Path, elf: Elf) -> _Linked:
    """What the loader of this Python says of a library; what the file itself says where there is no asking."""
    own = read_elf(Path(sys.executable).resolve())
    said = ""
    if own is not None and own.interpreter:
        clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        said = _output([own.interpreter, "--list", str(library.resolve())], clean)
    paths = {name: None if path == "not" else Path(path) for name, path in re.findall(r"(\S+) => (\S+)", said)}
    return _Linked({**dict.fromkeys(elf.needed), **paths})


_STEM = {"asan": "asan", "ubsan": "ubsan_standalone", "tsan": "tsan"}


def _clangs(kind: str, name: str | None, version: str) -> Path | None:
    """clang's runtime: the one of the clang that compiled if it is here, else of another."""
    machine = platform.machine()
    names = [name] if name else [f"libclang_rt.{_STEM[kind]}-{machine}.so", f"libclang_rt.{_STEM[kind]}.so"]
    for clang in (f"clang-{version}", f"clang++-{version}", "clang"):
        if shutil.which(clang):
            for each in names:
                said = _output([clang, f"-print-file-name={each}"]).strip()
                if os.path.isabs(said) and os.path.exists(said):
                    return Path(said)
    found = [path for each in names for folder in _CLANG_FOLDERS for path in Path("/").glob(f"{folder}/{each}")]
    return min(found, key=lambda path: (f"/{version}" not in str(path), str(path)), default=None)


_CLANG_FOLDERS = (
    "usr/lib/llvm-*/lib/clang/*/lib/*",
    "usr/lib/clang/*/lib/*",
    "usr/lib64/clang/*/lib/*",
    "usr/local/lib/clang/*/lib/*",
    "opt/*/lib/clang/*/lib/*",
)


def _gccs(kind: str, name: str | None) -> Path | None:
    """gcc's runtime: where a library was linked with its static one, or the loader does not find it."""
    said = _output(["gcc", f"-print-file-name={name or f'lib{kind}.so'}"]).strip() if shutil.which("gcc") else ""
    return Path(said).resolve() if os.path.isabs(said) and os.path.exists(said) else None


def _symbolizer(needed: Iterable[Path], base: Mapping[str, str]) -> str:
    """clang's runtime has others look up its frames; "" where it finds them by itself or nothing is here."""
    clangs = [path for path in needed if "clang_rt" in path.name]
    if not clangs or any(f"{kind}_SYMBOLIZER_PATH" in base for kind in ("ASAN", "UBSAN", "TSAN")):
        return ""
    if shutil.which("llvm-symbolizer"):
        return ""
    beside = (parent / "bin" / "llvm-symbolizer" for parent in clangs[0].parents)
    return next((str(path) for path in beside if path.exists()), "")


def _output(command: list[str], env: Mapping[str, str] | None = None) -> str:
    """What a program prints, "" if it cannot be run."""
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout.decode("utf-8", "replace")
