"""Reports of sanitizers for addresses, undefined behaviour and threads, as text from gcc's and clang's runtimes.

==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x...    what is wrong
WRITE of size 2 at 0x... thread T1                                    the access
    #0 0x... in __interceptor_memcpy ...                              a tool of the target
    #1 0x... in Host::Progress(char16_t const*) /src/host.cpp:12:9    the innermost frame of its own code
    #2 0x... in ffi_call (/lib/libffi.so.8+0x6b0c)                    the player: from here on not its code
freed by thread T1 here: ...
previously allocated by thread T1 here: ...

host.cpp:7:38: runtime error: signed integer overflow: ...            undefined behaviour, and its frames

WARNING: ThreadSanitizer: data race (pid=7)                           two accesses that nothing orders
  Write of size 4 at 0x... by thread T2:
    #0 Host::Progress(char16_t const*) /src/host.cpp:12 (host.so+0x12ab)
    #1 <null> <null> (libffi.so.8+0x6b0c)
  Previous read of size 4 at 0x... by thread T1: ...                  which of them is told first is chance
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["OUT_OF_MEMORY", "Frame", "SanitizerReport", "parse_report"]

OUT_OF_MEMORY = "out-of-memory"  # the kind of a report that is no finding but a limit met

_STACK_OVERFLOW = "stack-overflow"
_LONGEST = 200  # lines that are kept of a report's text
_DEEPEST = 30  # lines of one stack in it


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the code: `file` and `line` where there is debug information, else `module` and `offset`."""

    function: str = ""
    file: str = ""
    line: int = 0
    module: str = ""
    offset: int = 0

    @property
    def place(self) -> str:
        """`host.cpp:12 in Host::Progress`, or `host.so+0x12ab`, the same from run to run."""
        if self.file:
            where = os.path.basename(self.file) + (f":{self.line}" if self.line else "")
        else:
            where = f"{os.path.basename(self.module)}+{self.offset:#x}"
        return f"{where} in {self.function}" if self.function else where

    @property
    def is_the_players(self) -> bool:
        """Whether the frame is the player's, or below it: no frame further out is the target's."""
        return bool(_PLAYER_MODULE.match(os.path.basename(self.module)) or _PLAYER_FILE.search(self.file))

    @property
    def is_a_tool(self) -> bool:
        """Whether the frame is the runtime's or the language's: what it was told to do came from further out."""
        return bool(
            _TOOL_MODULE.match(os.path.basename(self.module))
            or _TOOL_FILE.search(self.file)
            or _TOOL_FUNCTION.match(self.function)
            or not (self.file or self.module)
        )


_PLAYER_MODULE = re.compile(r"(?:libffi|core\.abi3|core\.cpython|_ctypes|libpython|python)[-._\d]|python$")
_PLAYER_FILE = re.compile(
    r"replayer[/\\]_native[/\\]|Modules/_ctypes/|Objects/call\.c$|Python/(?:ceval|thread_pthread)\.[ch]$"
)
_TOOL_MODULE = re.compile(
    r"(?:libasan|libubsan|libtsan|libclang_rt|libstdc\+\+|libc\+\+|libc\+\+abi|libgcc_s|libunwind"
    r"|libc|libm|libpthread|libdl|librt|ld|ld-linux.*|ld-musl.*)[-._]"
)
_TOOL_FILE = re.compile(
    r"libsanitizer/|compiler-rt/|libstdc\+\+-v3/|/usr/include/|/include/c\+\+/|/c\+\+/v1/"
    r"|sysdeps/|^\.\./(?:csu|nptl|elf)/|^\./(?:string|stdlib|malloc|nptl|wcsmbs|libio)/"
)
_TOOL_FUNCTION = re.compile(
    r"__interceptor_|___interceptor_|__asan_|__ubsan_|__sanitizer|operator (?:new|delete)\b"
)


@dataclass(frozen=True)
class SanitizerReport:
    """What a runtime said before it ended the process.

    `kind` is the runtime's word (heap-buffer-overflow, double-free, SEGV), for undefined behaviour the whole
    sentence.  `access`: "WRITE of size 2", or "".  `frames` lead to the failure, innermost first, up to the
    player; `freed` and `allocated` belong to the memory that it is about.  Of a data race `other_access` and
    `other_frames` are the other thread's, of locks taken in two orders those of the other order.  `text` is what
    to show a reader.
    """

    kind: str
    access: str = ""
    frames: tuple[Frame, ...] = ()
    freed: tuple[Frame, ...] = ()
    allocated: tuple[Frame, ...] = ()
    text: str = ""
    undefined: bool = False
    other_access: str = ""
    other_frames: tuple[Frame, ...] = ()

    @property
    def is_race(self) -> bool:
        """Whether two threads used the same memory."""
        return self.kind.startswith(_RACE)

    @property
    def place(self) -> str:
        """The innermost frame of the target's own code, "" if there is none.

        Where a runaway recursion met the end of the stack is chance: its place is the function that comes most.
        What has two sides has two places, in an order of their own.
        """
        if self.other_frames:
            return " and ".join(sorted(filter(None, {self.innermost, _innermost(self.other_frames)})))
        own = [frame for frame in self.frames if not frame.is_a_tool]
        return _most_frequent(own) if own and self.kind == _STACK_OVERFLOW else self.innermost

    @property
    def innermost(self) -> str:
        """The same without regard to the kind."""
        return _innermost(self.frames)

    @property
    def message(self) -> str:
        """One line: `heap-buffer-overflow: WRITE of size 2 in Host::Progress`."""
        if self.undefined:
            return f"undefined behaviour: {_ADDRESS.sub('0x...', self.kind)}"
        if self.is_race:
            sides = ((self.access, self.frames), (self.other_access, self.other_frames))
            return f"{self.kind}: {' and '.join(sorted(_in_function(*side) for side in sides))}"
        place = self.place
        function = place.rpartition(" in ")[2] if " in " in place else ""
        if self.other_frames:
            function = " and ".join(side.rpartition(" in ")[2] for side in place.split(" and "))
        what = f"{self.kind}: {self.access}" if self.access else self.kind
        return f"{what} in {function}" if function else what


def _innermost(frames: Iterable[Frame]) -> str:
    return next((frame.place for frame in frames if not frame.is_a_tool), "")


def _in_function(access: str, frames: Iterable[Frame]) -> str:
    function = _innermost(frames).rpartition(" in ")[2]
    return f"{access} in {function}" if function else access or "an access"


def _most_frequent(frames: Iterable[Frame]) -> str:
    places = Counter(
        Frame(frame.function, frame.file, 0, frame.module, 0 if frame.file else frame.offset).place
        for frame in frames
    )
    return min(places, key=lambda place: (-places[place], place))


_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_RACE = "data race"
_THREADS = re.compile(r"^\s*WARNING: ThreadSanitizer: (?P<what>.*?)(?: \(pid=\d+\))?$", re.MULTILINE)
_FIRST_ACCESS = re.compile(r"^  (?P<access>(?:Atomic )?(?:[Rr]ead|[Ww]rite) of size \d+) at ", re.MULTILINE)
_OTHER_ACCESS = re.compile(r"^  Previous (?P<access>(?:atomic )?(?:read|write) of size \d+) at ", re.MULTILINE)
_TAKEN = re.compile(r"^  Mutex \S+ acquired here while holding mutex ", re.MULTILINE)
_ERROR = re.compile(r"^==\d+==\s*ERROR: \w+Sanitizer:? (?P<what>.*)$", re.MULTILINE)
_CHECK = re.compile(r"^(?:==\d+==)?\s*\w+Sanitizer: (?P<what>CHECK failed): ", re.MULTILINE)
_UNDEFINED = re.compile(
    r"^(?P<file>[^\n]*?)(?::(?P<line>\d+))?(?::\d+)?: runtime error: (?P<what>[^\n]*)$", re.MULTILINE
)
_PARENTHESIS = re.compile(r" \([^)]*\)$")  # lock-order-inversion (potential deadlock)
_SUMMARY = re.compile(r"^SUMMARY: \w+Sanitizer: (?P<kind>[^\s(:]+)", re.MULTILINE)
_KIND = re.compile(r"(?:attempting )?(?P<kind>[\w-]+)")
_ACCESS = re.compile(r"^(?:READ|WRITE) of size \S+", re.MULTILINE)
_SIGNAL_ACCESS = re.compile(r"The signal is caused by a (READ|WRITE) memory access")
_FREED = re.compile(r"^freed by thread ", re.MULTILINE)
_ALLOCATED = re.compile(r"^(?:previously )?allocated by thread ", re.MULTILINE)
_NO_MEMORY = re.compile(r"out of memory|out-of-memory|failed to allocate|hard rss limit|rss-limit-exceeded")


def parse_report(text: str) -> SanitizerReport | None:
    """The first report in a text; None if there is none.  One that was cut off is read as far as it goes."""
    found = [match for pattern in (_ERROR, _CHECK, _UNDEFINED, _THREADS) if (match := pattern.search(text))]
    if not found:
        return None
    head = min(found, key=lambda match: match.start())
    body = text[head.start() :]
    frames = _first_stack(body[head.end() - head.start() :])
    shown = _shown(body)
    if head.re is _UNDEFINED:
        if not frames and head["line"]:  # print_stacktrace=0
            frames = (Frame("", head["file"], int(head["line"])),)
        return SanitizerReport(head["what"].strip(), frames=frames, text=shown, undefined=True)
    if head.re is _THREADS:
        first, other = _FIRST_ACCESS.search(body), _OTHER_ACCESS.search(body)
        sides = [*_TAKEN.finditer(body)][:2] if other is None else []
        side = other or (sides[1] if len(sides) > 1 else None)
        return SanitizerReport(
            _PARENTHESIS.sub("", head["what"].strip()),
            first["access"].lower() if first else "",
            frames,
            text=shown,
            other_access=other["access"] if other else "",
            other_frames=_first_stack(body[side.end() :]) if side else (),
        )
    freed, allocated = _FREED.search(body), _ALLOCATED.search(body)
    return SanitizerReport(
        _kind(head["what"], body),
        _access(body),
        frames,
        _first_stack(body[freed.end() :]) if freed else (),
        _first_stack(body[allocated.end() :]) if allocated else (),
        shown,
    )


def _kind(what: str, body: str) -> str:
    """The runtime's own word for what is wrong, as its summary has it."""
    if what == "CHECK failed":
        return what
    if _NO_MEMORY.search(what):
        return OUT_OF_MEMORY
    if summary := _SUMMARY.search(body):
        return summary["kind"]
    kind = _KIND.match(what)
    return kind["kind"] if kind else what


def _access(body: str) -> str:
    if access := _ACCESS.search(body):
        return access[0]
    caused = _SIGNAL_ACCESS.search(body)
    return caused[1] if caused else ""


# --- frames -------------------------------------------------------------------------------------------------

_FRAME = re.compile(r"^\s+#\d+ (?:0x[0-9a-f]+(?: in)?(?P<rest>.*)|(?P<function>\S.*))$")
_LOADED = re.compile(r" \((?P<module>[^()]+)\+0x(?P<offset>[0-9a-f]+)\)(?: \(BuildId: \w+\))?$")
_SOURCE = re.compile(
    r" (?P<file>(?:/|\.{1,2}/|[A-Za-z]:[\\/])\S.*?|\S+?)(?::(?P<line>\d+))?(?::\d+)?$"  # a path may hold spaces
)
_NULL = "<null>"
_ANONYMOUS = "(anonymous namespace)::"  # gcc's runtime leaves it out


def _frame(line: str) -> Frame | None:
    """A line `#1 0x... in FUNCTION /path/file.cpp:12:3`, or `... in FUNCTION (/path/lib.so+0x12)`; else None."""
    found = _FRAME.match(line)
    if found is None:
        return None
    if (rest := found["function"]) is not None:
        return _frame_of_threads(rest)
    rest = found["rest"]
    if loaded := _LOADED.search(rest):
        function = rest[: loaded.start()]
        return Frame(_bare(function), module=loaded["module"], offset=int(loaded["offset"], 16))
    source = _SOURCE.search(rest)
    if source and source["line"]:
        return Frame(_bare(rest[: source.start()]), source["file"], int(source["line"]))
    return Frame(_bare(rest))


def _frame_of_threads(rest: str) -> Frame:
    """As ThreadSanitizer writes one: `FUNCTION FILE:LINE (MODULE+0x12)`, <null> for what it does not know."""
    module, offset = "", 0
    if loaded := _LOADED.search(rest):
        module, offset, rest = loaded["module"], int(loaded["offset"], 16), rest[: loaded.start()]
    if rest.endswith(_NULL):
        return Frame(_bare(rest.removesuffix(_NULL).strip().removeprefix(_NULL)), module=module, offset=offset)
    if (source := _SOURCE.search(" " + rest)) and source["line"]:
        return Frame(_bare((" " + rest)[: source.start()]), source["file"], int(source["line"]), module, offset)
    return Frame(_bare(rest), module=module, offset=offset)


def _bare(function: str) -> str:
    """A function's name without its parameters."""
    kept = function.replace(_ANONYMOUS, "").replace("operator()", "\0")
    return kept.partition("(")[0].replace("\0", "operator()").strip()


def _first_stack(text: str) -> tuple[Frame, ...]:
    """The first stack in a text, up to the player."""
    frames: list[Frame] = []
    for line in text.splitlines():
        frame = _frame(line)
        if frame is None:
            if frames:
                break
        elif frame.is_the_players:
            break
        else:
            frames.append(frame)
    return tuple(frames)


def _shown(body: str) -> str:
    """A report without the frames of player and interpreter, and without the picture of the shadow memory."""
    kept: list[str] = []
    below, deep = False, 0  # in the present stack: the player was met, frames so far
    for line in body.splitlines()[: _LONGEST * 10]:
        if line.startswith("Shadow bytes around"):
            break
        frame = _frame(line)
        below = frame is not None and (below or frame.is_the_players)
        deep = deep + 1 if frame else 0
        if not below and deep <= _DEEPEST and (line.strip() or (kept and kept[-1].strip())):
            kept.append(line.rstrip() if deep < _DEEPEST else "    ...")
    return "\n".join(kept[:_LONGEST]).strip("\n")
