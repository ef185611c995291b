"""Endurance: what a target keeps of each sequence, seen over many of them in one process (X10, X11).

A sequence is played again and again.  The first fifth only warms up: caches fill, pools grow.  The rest is cut
into windows, and what grows in every one of them, and no slower at the end than at the beginning, grows without
end.

    memory     bytes that are allocated: what malloc has given out, where glibc or a sanitizer tells it, and for a
               target in Python the least that the interpreter's own small blocks are; else the private bytes of
               the process, which are known by the page only
    handles    open descriptors; on Windows handles of any kind
"""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recorder.calls import Outcome, OutcomeKind, Trace
from replayer.guards import Guard
from replayer.player import Journal, Observation, PlayOptions, Run, play
from replayer.target import Target

__all__ = [
    "GAUGES",
    "LEAST",
    "NATIVE_GAUGES",
    "Gauge",
    "allocated",
    "counted_by_page",
    "endure",
    "handles_left",
    "is_worn",
    "make_room",
    "open_handles",
    "play_repeatedly",
    "steady",
]

LEAST = 50
"""Fewer repetitions say nothing."""

_DESCRIPTORS = 1 << 14  # that a process with a target may have, where the system lets it
_FEW = 512  # descriptors: no more than one in two may be gone where there are but 1024
_SMALLEST = 16  # bytes of a block that the interpreter gives out
_WINDOWS = 4  # after the first fifth, which warms up


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that may grow: `oracle` reports it.

    `read` gives how much there is now, None where that cannot be told.  Growth of less than `least` for each
    sequence, or less than `grain` in a window, is none.
    """

    oracle: str
    what: str
    read: Callable[[], int | None]
    least: float
    grain: Callable[[], int]


def endure(play: Callable[[], object], times: int, gauges: Sequence[Gauge] = ()) -> list[tuple[str, str]]:
    """Play so many times, at least `LEAST` to see anything; gives (oracle, message) for each gauge that rises."""
    rounds = times // (_WINDOWS + 1)
    gauges = gauges or GAUGES
    levels: list[list[int]] = [[] for _ in gauges]
    for number in range(times):
        play()
        left = times - 1 - number
        if times >= LEAST and left % rounds == 0 and left // rounds <= _WINDOWS:
            gc.collect()
            for seen, gauge in zip(levels, gauges, strict=True):
                level = gauge.read()
                if level is not None:
                    seen.append(level)
    return [
        (gauge.oracle, f"{_shown(rate)} {gauge.what} with each sequence, {times} times on end")
        for seen, gauge in zip(levels, gauges, strict=True)
        if len(seen) == _WINDOWS + 1 and (rate := steady(seen, rounds, gauge.least, gauge.grain()))
    ]


def steady(levels: Sequence[int], rounds: int, least: float, grain: int = 0) -> float:
    """How much a gauge rises with each round if it rises steadily, 0.0 if it does not.

    `levels` were read every `rounds` rounds.
    """
    steps = [later - earlier for earlier, later in itertools.pairwise(levels)]
    if not steps or min(steps) < max(least * rounds, grain):
        return 0.0
    half = len(steps) // 2
    if 2 * sum(steps[-half:]) < sum(steps[:half]):  # it slows down: something fills up
        return 0.0
    return sum(steps) / (len(steps) * rounds)


def _shown(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def play_repeatedly(
    trace: Trace, target: Target, options: PlayOptions, journal: Journal | None = None, *, times: int
) -> Run:
    """Play a trace so many times; gives one run for all of them.

    Its outcomes are those of the first time, or of the first time that the target answered otherwise; its
    observations are all that were made, and what `endure` sees at the end.
    """
    runs: list[Run] = []
    seen: dict[Observation, None] = {}
    often = options
    if counted_by_page():
        often = replace(often, guard=Guard.NONE)  # guarded texts take new pages for some thousand sequences

    def once() -> None:
        nonlocal often
        run = play(trace, target, often if runs else options, journal)
        if not runs or (len(runs) == 1 and _answers(run) != _answers(runs[0])):
            runs.append(run)
        if any(observation.kind == "references" for observation in run.observations):
            often = replace(often, join_seconds=0.0)  # nothing comes of waiting for it again
        seen.update(dict.fromkeys(run.observations))

    last = max(len(trace.calls) - 1, 0)
    gauges = NATIVE_GAUGES if target.native else GAUGES
    seen.update((Observation(oracle, last, message), None) for oracle, message in endure(once, times, gauges))
    return replace(runs[-1], observations=tuple(seen))


def _answers(run: Run) -> list[tuple[OutcomeKind, object] | None]:
    return [outcome and _answer(outcome) for _, _, outcome in run.trace.played]


def _answer(outcome: Outcome) -> tuple[OutcomeKind, object]:
    return outcome.kind, outcome.value


# --- memory ---------------------------------------------------------------------------------------------------


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@functools.cache
def _malloc() -> Callable[[], int] | None:
    """What tells how many bytes malloc has given out, if anything does."""
    if sys.platform == "win32":
        return None
    library = ctypes.CDLL(None)
    if sanitizer := getattr(library, "__sanitizer_get_current_allocated_bytes", None):
        sanitizer.restype = ctypes.c_size_t
        return lambda: int(sanitizer())
    if glibc := getattr(library, "mallinfo2", None):
        glibc.restype = _MallInfo
        return lambda: int((info := glibc()).uordblks + info.hblkhd)
    return None


def counted_by_page() -> bool:
    """Whether memory is known by the page only."""
    return _malloc() is None


def allocated() -> int | None:
    """Bytes in use; None where nothing tells.  The interpreter's small blocks are not among them."""
    malloc = _malloc()
    return malloc() if malloc else _private_bytes()


def _with_blocks() -> int | None:
    bytes_in_use = allocated()
    small = 0 if bytes_in_use is None or counted_by_page() else _SMALLEST * sys.getallocatedblocks()
    return None if bytes_in_use is None else bytes_in_use + small


if sys.platform == "win32":

    class _Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS_EX."""

        _fields_ = [
            ("cb", ctypes.c_uint32),
            ("PageFaultCount", ctypes.c_uint32),
            *(
                (name, ctypes.c_size_t)
                for name in (
                    *("PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage"),
                    *("QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage"),
                    *("PeakPagefileUsage", "PrivateUsage"),
                )
            ),
        ]

    def _private_bytes() -> int | None:
        counters = _Counters(cb=ctypes.sizeof(_Counters))
        kernel = ctypes.WinDLL("kernel32")
        current = ctypes.c_void_p(-1)
        if not kernel.K32GetProcessMemoryInfo(current, ctypes.byref(counters), counters.cb):
            return None
        return int(counters.PrivateUsage or counters.PagefileUsage) or None  # Wine knows only the second

    def open_handles() -> int | None:
        """How many handles this process has; None where the system does not tell."""
        ntdll = ctypes.WinDLL("ntdll")
        size = ctypes.c_uint32(1 << 16)
        for _ in range(8):
            table = ctypes.create_string_buffer(size.value)
            status = ntdll.NtQuerySystemInformation(_HANDLES, table, size, ctypes.byref(size)) & 0xFFFFFFFF
            if status != _TOO_SMALL:
                break
            size.value += 1 << 14  # others go on opening
        if status:
            return None
        count = ctypes.c_uint32.from_buffer(table).value
        entries = (_Handle * count).from_buffer(table, ctypes.sizeof(ctypes.c_void_p))
        own = os.getpid()
        return sum(bool(entry.process == own) for entry in entries)

    _HANDLES = 16  # SystemHandleInformation
    _TOO_SMALL = 0xC0000004  # STATUS_INFO_LENGTH_MISMATCH

    class _Handle(ctypes.Structure):
        """SYSTEM_HANDLE_TABLE_ENTRY_INFO, whose process id has 16 bits and another 16 behind them."""

        _fields_ = [
            ("process", ctypes.c_uint32),
            ("type", ctypes.c_uint8),
            ("attributes", ctypes.c_uint8),
            ("value", ctypes.c_uint16),
            ("object", ctypes.c_void_p),
            ("access", ctypes.c_uint32),
        ]

else:

    def _private_bytes() -> int | None:
        try:
            with open("/proc/self/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return None

    def open_handles() -> int | None:
        """How many descriptors this process has open; None where the system does not tell."""
        try:
            return len(os.listdir("/dev/fd")) - 1  # the folder's own
        except OSError:
            return None


def make_room() -> None:
    """Let this process have more descriptors, so that one leaked by each sequence is no end before it is seen."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def handles_left() -> int | None:
    """How many handles this process may still open; None where there is no limit, or none is known."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    handles = open_handles()
    if handles is None:
        return 0
    return None if soft == resource.RLIM_INFINITY else max(0, soft - handles)


def is_worn() -> bool:
    """Whether this process has too few descriptors left for anything to be learnt in it."""
    left = handles_left()
    return left is not None and left < _FEW


def _memory_grain() -> int:
    """Less than that in a window may be chance."""
    return 1 << 15 if counted_by_page() else 1 << 10


GAUGES = (
    Gauge("memory-growth", "bytes more are in use", _with_blocks, 16, _memory_grain),
    Gauge("handle-leak", "handles more are open", open_handles, 0.05, lambda: 1),
)

NATIVE_GAUGES = (replace(GAUGES[0], read=allocated), *GAUGES[1:])
"""For targets in native code: what the interpreter has in use is the player's own."""
