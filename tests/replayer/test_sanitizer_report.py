"""Reports of sanitizers are read: real ones of gcc 12 and clang 14, in golden/sanitizers, on tests/targets/native.

Each is what a runtime wrote when Misuses (misuses.cpp) was played; process numbers, folders and the outermost
frames were taken out.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from replayer.sanitizer_report import Frame, SanitizerReport, parse_report

REPORTS = Path(__file__).parent / "golden" / "sanitizers"
FILE = "misuses.cpp"

# file: kind, access, place
READ = {
    "gcc12-heap-buffer-overflow": ("heap-buffer-overflow", "WRITE of size 4", ":22 in writes_behind"),
    "gcc12-heap-use-after-free": ("heap-use-after-free", "READ of size 4", ":29 in uses_freed"),
    "gcc12-double-free": ("double-free", "", ":36 in frees_twice"),
    "gcc12-memcpy-overflow": ("heap-buffer-overflow", "READ of size 9", ":43 in copies_too_much"),
    "gcc12-stack-buffer-overflow": ("stack-buffer-overflow", "READ of size 4", ":52 in overruns_stack"),
    "gcc12-global-buffer-overflow": ("global-buffer-overflow", "READ of size 4", ":58 in overruns_global"),
    "gcc12-alloc-dealloc-mismatch": ("alloc-dealloc-mismatch", "", ":64 in mixes_new_and_free"),
    "gcc12-segv": ("SEGV", "WRITE", ":67 in writes_nowhere"),
    "gcc12-fpe": ("FPE", "", ":71 in divides"),
    "gcc12-stack-overflow": ("stack-overflow", "", " in recurses"),
    "gcc12-signed-overflow": (
        "signed integer overflow: 9 + 2147483640 cannot be represented in type 'int'",
        "",
        ":69 in overflows",
    ),
    "clang14-heap-buffer-overflow": ("heap-buffer-overflow", "WRITE of size 4", ":22 in writes_behind"),
    "clang14-heap-use-after-free": ("heap-use-after-free", "READ of size 4", ":29 in uses_freed"),
    "clang14-double-free": ("double-free", "", ":36 in frees_twice"),
    "clang14-memcpy-overflow": ("heap-buffer-overflow", "READ of size 9", ":43 in copies_too_much"),
    "clang14-segv": ("SEGV", "WRITE", ":67 in writes_nowhere"),
    "clang14-stack-overflow": ("stack-overflow", "", " in recurses"),
    "clang14-signed-overflow": (
        "signed integer overflow: 9 + 2147483640 cannot be represented in type 'int'",
        "",
        ":69 in overflows",
    ),
    "clang14-use-after-free-in-a-header": (
        "heap-use-after-free",
        "READ of size 4",
        ":100 in reads_old_element",
    ),
}


# the same of what has two sides
TWO_SIDED = {
    "gcc12-data-race": (
        "data race: write of size 4 in progress and write of size 4 in progress",
        "stores_a_pair.c:17 in progress",
    ),
    "clang14-data-race": (
        "data race: write of size 4 in progress and write of size 4 in progress",
        "stores_a_pair.c:17 in progress",
    ),
    "gcc12-lock-order-inversion": (
        "lock-order-inversion in progress and error",
        "locks_crosswise.c:21 in progress and locks_crosswise.c:33 in error",
    ),
}


def text(name: str) -> str:
    return (REPORTS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", READ)
def test_what_where_and_how(name: str) -> None:
    report = parse_report(text(name))
    assert report is not None
    kind, access, place = READ[name]
    assert (report.kind, report.access, report.place) == (kind, access, FILE + place)


def test_every_report_here_is_read() -> None:
    assert {path.stem for path in REPORTS.glob("*.txt")} == {*READ, *TWO_SIDED, "gcc12-out-of-memory"}


@pytest.mark.parametrize("name", READ)
def test_a_report_is_shown_without_the_player_and_the_shadow_memory(name: str) -> None:
    report = parse_report(text(name))
    assert report is not None
    assert FILE in report.text
    assert not re.search(r"ffi_call|_PyEval|Shadow bytes", report.text)
    assert len(report.text.splitlines()) < 60


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gcc12-heap-buffer-overflow", "heap-buffer-overflow: WRITE of size 4 in writes_behind"),
        ("clang14-double-free", "double-free in frees_twice"),
        (
            "clang14-signed-overflow",
            "undefined behaviour: signed integer overflow: 9 + 2147483640 cannot be represented in type 'int'",
        ),
    ],
)
def test_a_report_in_one_line(name: str, message: str) -> None:
    report = parse_report(text(name))
    assert report is not None
    assert report.message == message


@pytest.mark.parametrize("name", ["gcc12-heap-use-after-free", "clang14-heap-use-after-free"])
def test_who_freed_and_who_allocated(name: str) -> None:
    report = parse_report(text(name))
    assert report is not None
    freed = [frame.place for frame in report.freed if not frame.is_a_tool]
    allocated = [frame.place for frame in report.allocated if not frame.is_a_tool]
    assert freed[0] == f"{FILE}:28 in uses_freed"
    assert allocated[0] == f"{FILE}:27 in uses_freed"
    assert freed[-1] == allocated[-1]
    assert freed[-1].endswith("in Misuses::Progress")


def test_memory_that_is_used_up_has_its_own_kind_though_the_report_is_cut_off() -> None:
    report = parse_report(text("gcc12-out-of-memory"))
    assert report is not None
    assert report.kind == "out-of-memory"


@pytest.mark.parametrize("name", TWO_SIDED)
def test_what_two_threads_did(name: str) -> None:
    report = parse_report(text(name))
    assert report is not None
    assert (report.message, report.place) == TWO_SIDED[name]
    assert report.is_race == ("race" in name)
    assert not re.search(r"ffi_call|syn_call|_PyEval", report.text)


def race(first: str, second: str) -> str:
    return (
        "==================\nWARNING: ThreadSanitizer: data race (pid=7)\n"
        f"  {first} at 0x7b08 by thread T1 (mutexes: write M1):\n"
        "    #0 Host::Progress(char16_t const*, unsigned int) /src/my host.cpp:12:9 (a.so+0x1) (BuildId: 0bad)\n"
        "    #1 syn_call replayer/_native/words.h:36 (core.abi3.so+0x61f1)\n\n"
        f"  Previous {second} at 0x7b08 by thread T2:\n"
        "    #0 memcpy <null> (libtsan.so.2+0x3ee50)\n"
        "    #1 <null> <null> (host.so+0x12ab)\n"
    )


def test_which_of_two_threads_is_told_first_is_chance() -> None:
    one = parse_report(race("Write of size 8", "atomic read of size 4"))
    assert one is not None
    assert (one.kind, one.access, one.other_access) == ("data race", "write of size 8", "atomic read of size 4")
    assert one.place == "host.so+0x12ab and my host.cpp:12 in Host::Progress"
    other = SanitizerReport(
        one.kind, one.other_access, one.other_frames, other_access=one.access, other_frames=one.frames
    )
    assert (one.place, one.message) == (other.place, other.message)


# --- lines -------------------------------------------------------------------------------------------------------


HEAD = "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x60 at pc 0x1\nREAD of size 1 at 0x60\n"


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["#0 0x1 in Host::Progress(char16_t const*, unsigned int) /src/my host.cpp:12:3"],
         "my host.cpp:12 in Host::Progress"),
        (["#0 0x1 in Host::Progress(char16_t const*) host.cpp:12"], "host.cpp:12 in Host::Progress"),
        (["#0 0x1  (/build/host.so+0x12ab) (BuildId: 0badf00d)"], "host.so+0x12ab"),
        (["#0 0x1 in create (/build/host.so+0x12ab)"], "host.so+0x12ab in create"),
        (["#0 0x1 in wcslen (/lib/libc.so.6+0x12)", "#1 0x1 in f /src/a.c:3"], "a.c:3 in f"),
        (["#0 0x1 in __strlen_avx2 ../sysdeps/x86_64/strlen.S:76", "#1 0x1 in f /src/a.c:3"], "a.c:3 in f"),
        (["#0 0x1 in operator delete(void*) (/x/libclang_rt.asan-x86_64.so+0x9)", "#1 0x1 in f /src/a.c:3"],
         "a.c:3 in f"),
        (["#0 0x1 in Call::operator()(int) const /src/a.cpp:3"], "a.cpp:3 in Call::operator()"),
        (["#0 0x1 in (anonymous namespace)::f(int) /src/a.cpp:3:1"], "a.cpp:3 in f"),
        (["#0 0x1  (<unknown module>)"], ""),
        (["#0 0x1 in ffi_call (/lib/libffi.so.8+0x6b0c)", "#1 0x1 in main /src/main.c:3"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_innermost_frame_of_the_targets_own_code(lines: list[str], place: str) -> None:
    report = parse_report(HEAD + "".join(f"    {line}\n" for line in lines))
    assert report is not None
    assert report.place == place
    assert report.message.startswith("heap-use-after-free: READ of size 1")


def test_a_recursion_has_one_place_wherever_it_ended() -> None:
    def overflow(*names: str) -> str:
        frames = "".join(f"    #{n} 0x1 in {name} /src/a.c:{n}\n" for n, name in enumerate(names))
        report = parse_report(f"==1==ERROR: AddressSanitizer: stack-overflow on address 0x7f\n{frames}")
        assert report is not None
        return report.place

    assert overflow("copy", *["parse", "walk"] * 9) == "a.c in parse"
    assert overflow(*["walk", "parse"] * 9) == "a.c in parse"


def test_undefined_behaviour_without_a_stack_has_the_place_of_its_line() -> None:
    report = parse_report("/src/host.cpp:7:38: runtime error: load of null pointer of type 'int'\n")
    assert report is not None
    assert (report.place, report.message) == (
        "host.cpp:7",
        "undefined behaviour: load of null pointer of type 'int'",
    )


def test_addresses_are_no_part_of_a_message() -> None:
    report = parse_report("a.c:7:1: runtime error: store to misaligned address 0x602000000012 for type 'int'\n")
    assert report is not None
    assert report.message == "undefined behaviour: store to misaligned address 0x... for type 'int'"


@pytest.mark.parametrize(
    "line",
    [
        "==9==ERROR: AddressSanitizer failed to allocate 0x1000 (4096) bytes of stack (error code: 12)",
        "==9==ERROR: AddressSanitizer: allocator is out of memory trying to allocate 0x100000 bytes",
        "==9==AddressSanitizer: hard rss limit exhausted\n==9==ERROR: AddressSanitizer: out of memory",
    ],
)
def test_memory_that_is_used_up(line: str) -> None:
    report = parse_report(line + "\n")
    assert report is not None
    assert report.kind == "out-of-memory"


def test_a_runtime_that_failed_itself_is_a_report_too() -> None:
    report = parse_report('AddressSanitizer: CHECK failed: asan_x.cpp:320 "((real)) != (0)" (0x0, 0x0) (tid=1)\n')
    assert report is not None
    assert report.kind == "CHECK failed"


@pytest.mark.parametrize(
    "text", ["", "\n", "Segmentation fault", "==1==WARNING: AddressSanitizer: odd", "\0" * 99]
)
def test_what_is_no_report(text: str) -> None:
    assert parse_report(text) is None


@pytest.mark.parametrize("name", READ)
def test_a_report_that_is_cut_off_or_damaged_is_read_as_far_as_it_goes(name: str) -> None:
    whole, chance = text(name), random.Random(7)
    for _ in range(60):
        parse_report(whole[: chance.randrange(len(whole))])
        damaged = list(whole)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] = chr(chance.randrange(0x110))
        parse_report("".join(damaged))


def test_a_frame_that_says_nothing_is_a_tool() -> None:
    assert Frame().is_a_tool
