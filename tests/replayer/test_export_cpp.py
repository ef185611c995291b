"""A trace as a C++ program: it compiles without a warning, is red while the bug lives and green after."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import ABORT_CODE, CALLBACK, GOOD, regression, trace

from corpora import folder
from fuzz.strategies import call_sequences
from recorder.calls import Call, Handle, Header, Trace
from recorder.errors import InterfaceError, SynctapeError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.corpus import find_traces, load
from replayer.export import script_of
from replayer.export_cpp import CPP, text_literal, to_cpp

CORPUS = find_traces([folder()])
STRICT = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror")

COMPILERS = ["g++"] if sys.platform == "win32" else ["g++", "clang++", "x86_64-w64-mingw32-g++"]

Build = Callable[..., Path]
Library = Callable[..., Path]

_ESCAPE = re.compile(r"\\(?:U([0-9a-f]{8})|u([0-9a-f]{4})|x([0-9a-f]+)|([0-7]{1,3})|(.))", re.DOTALL)
_SINGLE = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "?": "?"}


def exported(recorded: Trace) -> str:
    return to_cpp(script_of(recorded, CPP, "run.tape"))


def parsed(literal: str) -> str:
    """The text of a C++ literal u"..." u"...", by the rules of the language."""
    pieces = re.findall(r'u"((?:[^"\\\n]|\\.)*)"', literal)
    assert " ".join(f'u"{piece}"' for piece in pieces) == literal

    def value(found: re.Match[str]) -> str:
        *numbers, single = found.groups()
        for digits, base in zip(numbers, (16, 16, 16, 8), strict=True):
            if digits is not None:
                return chr(int(digits, base))
        return _SINGLE[single]

    return "".join(_ESCAPE.sub(value, piece) for piece in pieces)


@given(st.text(st.characters(exclude_categories=())))
def test_a_literal_is_the_text_exactly(text: str) -> None:
    literal = text_literal(text)
    assert literal.isascii() and literal.isprintable() and "??" not in literal
    units = text.encode("utf-16-le", "surrogatepass")
    assert parsed(literal).encode("utf-16-le", "surrogatepass") == units


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", 'u""'),
        ("Entwürfe", 'u"Entw\\u00fcrfe"'),
        ("\ud800", 'u"\\xd800"'),
        ("\ud800a\udc00", 'u"\\xd800" u"a\\xdc00"'),
        ("\ud83d\ude00\U0001f600", 'u"\\U0001f600\\U0001f600"'),
        ('\x011\x7f\n??/"\\', 'u"\\0011\\177\\n\\?\\?/\\"\\\\"'),
    ],
)
def test_how_a_text_is_spelled(text: str, literal: str) -> None:
    assert text_literal(text) == literal


@settings(deadline=None, max_examples=50)
@given(call_sequences(CALLBACK, level="hostile"))
def test_any_sequence_is_exported_call_by_call(calls: list[Call]) -> None:
    if not calls:
        return
    source = exported(Trace.from_calls(calls))
    assert source.isascii()
    cases = re.findall(r"^    case (\d+):", source, re.MULTILINE)
    left_out = re.findall(r"^    // (\d+): .* is not made: ", source, re.MULTILINE)
    assert sorted(map(int, cases + left_out)) == [*range(len(calls))]


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=())))
def test_whatever_a_header_says_stays_in_its_comment(text: str) -> None:
    kept = {"finding": {"code": text, "oracle": "crash", "message": text, "method": text}}
    source = to_cpp(script_of(Trace.from_calls([Call("Done", (None, 0))], Header(provenance=kept)), CPP, text))
    head = source[: source.index("#include")]
    assert source.isascii() and all(line.startswith("//") for line in head.splitlines() if line)
    assert not any(line.endswith("\\") for line in head.splitlines())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_trace_that_ships_is_exported_the_same_way_each_time(path: Path) -> None:
    source = exported(load(path))
    assert source == exported(load(path)) and source.isascii()


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (trace(), "has no calls"),
        (Trace.from_calls([Call("Progress", (1, 2, 3))]), "arguments that the ABI cannot carry"),
        (
            regression("X5", *GOOD, oracle="invariant"),
            "X5 was found by the oracle invariant.* synctape replay",
        ),
    ],
)
def test_no_program_that_could_not_keep_its_promise(recorded: Trace, said: str) -> None:
    with pytest.raises(SynctapeError, match=said):
        exported(recorded)


def test_an_interface_that_is_none_of_com() -> None:
    alone = Interface("IAlone", "{00000000-0000-0000-0000-000000000001}", (Method("Step"),))
    with pytest.raises(InterfaceError, match="does not derive from IUnknown"):
        exported(Trace.from_calls([Call("Step")], Header(interface=alone)))


# --- compiled and run -----------------------------------------------------------------------------------------


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Compiles an exported program, with sources of the test's own or alone."""

    def compiled(source: str, *more: object, compiler: str = "g++") -> Path:
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler}")
        (tmp_path / "replay.cpp").write_text(source, "ascii")
        program = tmp_path / f"replay-{compiler}.exe"
        link = ["-static"] if "mingw" in compiler or sys.platform == "win32" else ["-pthread", "-ldl"]
        command = [compiler, *STRICT, "-o", program, tmp_path / "replay.cpp", *more, *link]
        subprocess.run([str(word) for word in command], check=True)
        return program

    return compiled


EXITS = r"""
#include "callback.h"

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)result, (void)text;
    exit(0);
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, callback_progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) { return callback_create(ppv, sizeof(Callback), &vtbl); }
"""


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# What each buggy host is caught by: code, oracle, sequence, the end of what the program says.
BUGS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "null_text": ("X1", "crash", ("Progress(NULL, 0, 1)",), "0 t0 Progress\n"),
    "abort": (
        ABORT_CODE,
        "exit" if ABORT_CODE == "X7" else "crash",
        ('Error(0x00040680, "partly")',),
        "0 t0 Error\n",
    ),
    "leaky_handle": ("H14", "handle", ("Done(handle(2), S_OK)",), "RED   a handle was never closed\nred\n"),
    "hang": ("X2", "hang", ("Progress(NULL, 1, 100)",), "RED   hangs\n"),
}


@pytest.mark.native
@pytest.mark.parametrize("name", BUGS)
def test_red_while_the_bug_lives_and_green_after(name: str, build: Build, library: Library) -> None:
    code, oracle, lines, said = BUGS[name]
    source = exported(regression(code, *lines, oracle=oracle))
    program = build(source.replace("patience = 10", "patience = 1"))

    buggy, mended = (run(program, library(host), "create") for host in (name, "good_host"))

    assert buggy.returncode not in (0, 2) and buggy.stdout.endswith(said), buggy
    assert (mended.returncode, mended.stdout.splitlines()[-1]) == (0, "green"), mended


@pytest.mark.native
def test_a_host_that_ends_the_process_with_0_is_red(build: Build, library: Library, tmp_path: Path) -> None:
    (tmp_path / "exits.c").write_text(EXITS)
    done = run(build(exported(trace(*GOOD, "Error(E_FAIL, NULL)"))), library(tmp_path / "exits.c"), "create")
    assert done.returncode == 1 and done.stdout.endswith("RED   the callback ended the process\n")


THROWS = r"""
struct Host {
    virtual int QueryInterface(const void *, void **ppv) { *ppv = this; return 0; }
    virtual unsigned AddRef() { return 2; }
    virtual unsigned Release() { return 1; }
    virtual int Progress(const char16_t *, unsigned, unsigned) { return 0; }
    virtual int Error(int code, const char16_t *) { throw code; }
    virtual int Done(void *, int code) { return code; }
} host;

extern "C" int create(void **ppv) { *ppv = &host; return 0; }
"""


@pytest.mark.native
def test_exceptions_and_failures_are_red_and_all_calls_are_made(build: Build, tmp_path: Path) -> None:
    (tmp_path / "throws.cpp").write_text(THROWS)
    lines = ("Progress(NULL, 0, 1)", 'Error(E_FAIL, "e")', "Done(NULL, E_ABORT)", "Done(NULL, E_FAIL)")
    done = run(build(exported(trace(*lines)), "-DFACTORY=create", tmp_path / "throws.cpp"))
    said = [line for line in done.stdout.splitlines() if line.startswith("RED")]
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "red"
    assert (
        len(said) == 2 and "exception" in said[0] and "keep to the contract" in said[1]
    )  # the late call may fail


@pytest.mark.native
@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_compiler_takes_it_without_a_warning(compiler: str, build: Build) -> None:
    recorded = load(next(path for path in CORPUS if path.stem == "mail_two_threads"))
    build(exported(recorded), compiler=compiler)


@pytest.mark.native
def test_a_correct_host_is_green_on_traces_that_ship(build: Build, library: Library) -> None:
    for path in CORPUS[::25]:
        done = run(build(exported(load(path))), library("good_host"), "create")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "green"), path.stem


@pytest.mark.native
def test_a_factory_is_linked_by_its_name(build: Build, tmp_path: Path) -> None:
    host = tmp_path / "host.cpp"
    host.write_text('extern "C" int make_host(void **ppv) { *ppv = nullptr; return -1; }')
    done = run(build(exported(trace(*GOOD)), "-DFACTORY=make_host", host))
    assert (done.returncode, done.stderr) == (2, "the factory gives no callback\n")


@pytest.mark.native
def test_without_a_callback_it_is_not_green(build: Build, library: Library, tmp_path: Path) -> None:
    program = build(exported(trace(*GOOD)))
    for arguments in ((), (tmp_path / "none.so", "create"), (library("good_host"), "nobody")):
        done = run(program, *arguments)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    refused = run(program, library("refuses_iid"), "create")
    assert (refused.returncode, refused.stderr) == (2, "the factory's object does not speak the interface\n")


FAILS = ('Progress("a", 0, 1)', 'Error(MAPI_E_CORRUPT_STORE, "damaged ")', "Done(sync-event, E_FAIL)")
PARTLY = (*FAILS[:2], "Progress(NULL, 1, 1)", "Done(sync-event, MAPI_W_PARTIAL_COMPLETION)")

# The sample hosts in examples/native: code, oracle, sequence, what the program says.
SAMPLES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "reads_past_end": ("X9", "string-bounds", GOOD, "0 t0 Progress\n"),
    "writes_text": ("X9", "string-bounds", FAILS, "1 t0 Error\n"),
    "keeps_pointer": ("H11", "string-lifetime", GOOD, "t0 Progress\n"),
    "leaks_reference": ("H5", "references", PARTLY, "RED "),
    "never_freed": ("H5", "references", GOOD, "RED   the callback is still there after the last Release"),
    "releases_too_often": (
        "H5",
        "references",
        GOOD,
        "RED   the callback released references that its caller holds",
    ),
    "two_identities": ("H2", "identity", GOOD, "RED   QueryInterface gives IUnknown more than one pointer"),
    "answers_any_iid": ("H1", "identity", GOOD, "RED   QueryInterface does not answer E_NOINTERFACE"),
    "dangling_ppv": ("H1", "identity", GOOD, "RED   QueryInterface refuses and does not set *ppv to NULL"),
    "null_ppv": ("H1", "identity", GOOD, ""),
    "not_symmetric": ("H4", "identity", GOOD, "RED   QueryInterface is not reflexive, symmetric and transitive"),
    "changes_answer": ("H3", "identity", GOOD, "RED   QueryInterface answers otherwise than before the calls"),
    "never_closes": ("H14", "handle", FAILS, "RED   a handle was never closed"),
    "closes_twice": ("H14", "handle", GOOD, "RED   a handle was closed twice"),
    "uses_closed_handle": ("H14", "handle", GOOD, "RED   a handle was used after it had been closed"),
}


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_the_sample_hosts_are_red_and_the_correct_one_is_green(
    name: str, build: Build, example: Callable[[str], Path]
) -> None:
    code, oracle, lines, said = SAMPLES[name]
    program = build(exported(regression(code, *lines, oracle=oracle)))

    buggy, mended = (run(program, example(host), "create") for host in (name, "good_host"))

    assert buggy.returncode not in (0, 2) and said in buggy.stdout, buggy
    assert (mended.returncode, mended.stdout.splitlines()[-1]) == (0, "green"), mended


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize(("host", "red"), [("overflows_by_one", True), ("good_host", False)])
def test_linked_with_a_host_under_sanitizers(host: str, red: bool, build: Build) -> None:
    source = exported(regression("X13", 'Error(E_FAIL, "damaged")', *GOOD, oracle="sanitizer"))
    assert "// It shows where callback and program are built with it" in source
    file = Path(__file__).parents[2] / "examples" / "native" / f"{host}.cpp"
    done = run(build(source, "-fsanitize=address,undefined", "-fno-sanitize=vptr", "-DFACTORY=create", file))
    assert (done.returncode not in (0, 2)) is red, done
    assert ("heap-buffer-overflow" in done.stderr) is red


@pytest.mark.native
@pytest.mark.slow
def test_calls_of_iunknown_are_made_and_its_references_are_the_callers(build: Build, library: Library) -> None:
    asked = f'QueryInterface("{IUNKNOWN.iid}")'
    strange = 'QueryInterface("{00000000-1111-2222-3333-444444444444}")'
    lines = (asked, "AddRef()", "Release()", strange, "QueryInterface(NULL)", *GOOD, "Release()", "Release()")
    for oracle in ("references", "identity"):
        done = run(build(exported(regression("H5", *lines, oracle=oracle))), library("good_host"), "create")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "green"), done
    assert "3 t0 QueryInterface\n      -> 0x80004002\n" in done.stdout


HOST = r"""
#include "callback.h"
#include <stdio.h>

static void show(const uint16_t *text) {
    if (text == NULL)
        printf("= NULL");
    else
        for (printf("= "); *text; text++)
            printf("%04x", *text);
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    (void)self;
    show(text);
    printf(" %u %u\n", index, maximum);
    return S_OK;
}

static int32_t METHOD error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self;
    show(text);
    printf(" %d\n", result);
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, error, callback_done,
};

EXPORT int32_t create(void **ppv) { return callback_create(ppv, sizeof(Callback), &vtbl); }
"""

TEXTS = (
    "",
    "Entwürfe %s {0} ??/ \\ \" '",
    "\ud800a\udc00\ud83d\ude00 \U0001f600\ufeff\u2028\x01" + "1\x7f9\x85a",
    "x" * 1999 + "\ud800",
    "é" * 5000,
)


@pytest.mark.native
def test_arguments_arrive_as_they_were(build: Build, library: Library, tmp_path: Path) -> None:
    (tmp_path / "shows.c").write_text(HOST)
    calls = [Call("Progress", (text, n, 2**32 - 1)) for n, text in enumerate(TEXTS)]
    codes = (-(2**31), -1, 0, 1, 2**31 - 1, 0x80004005)
    calls += [Call("Error", (code, None)) for code in codes]

    done = run(build(exported(Trace.from_calls(calls))), library(tmp_path / "shows.c"), "create")

    shown = [line[2:] for line in done.stdout.splitlines() if line.startswith("= ")]
    wanted = [
        "".join(f"{unit:04x}" for unit in memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H"))
        + f" {n} 4294967295"
        for n, text in enumerate(TEXTS)
    ]
    wanted += [f"NULL {code if code < 2**31 else code - 2**32}" for code in codes]
    assert shown == wanted


CLINGING = r"""
#include "callback.h"

typedef struct Host { Callback callback; const uint16_t *kept; } Host;

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Host *host = (Host *)self;
    (void)maximum;
    if (index == 1 && host->kept[0] == 'x') return S_OK;
    if (index == 2) { volatile uint16_t beyond = text[2]; (void)beyond; }
    if (index == 3) ((uint16_t *)text)[0] = 'b';
    host->kept = text;
    return S_OK;
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, callback_release, progress, callback_error, callback_done,
};

EXPORT int32_t create(void **ppv) { return callback_create(ppv, sizeof(Host), &vtbl); }
"""


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize(
    ("oracle", "lines", "red"),
    [
        ("string-lifetime", ('Progress("a", 0, 1)', "Progress(NULL, 1, 1)"), True),
        ("string-bounds", ('Progress("a", 2, 1)',), True),
        ("string-bounds", ('Progress("a", 3, 1)',), True),
        ("string-bounds", ('Progress("a", 0, 1)', 'Progress("a", 0, 1)'), False),
    ],
)
def test_texts_are_as_strict_as_a_caller_may_be(
    oracle: str, lines: tuple[str, ...], red: bool, build: Build, library: Library, tmp_path: Path
) -> None:
    (tmp_path / "clings.c").write_text(CLINGING)
    program = build(exported(regression("X9", *lines, oracle=oracle)))
    done = run(program, library(tmp_path / "clings.c"), "create")
    assert (done.returncode != 0) is red


ODD = Interface(
    "Odd ones",  # no name for a class
    "{00000000-1111-2222-3333-444444444444}",
    (
        *(Method(f"Take{t.name}", (Parameter("default", t),)) for t in Type if t is not Type.VOID),
        Method("class", (Parameter("near", Type.U64, pointer=True), Parameter("x", Type.I64, True, pointer=True))),
        Method("Yield", (Parameter("a", Type.U32, direction=Direction.OUT), Parameter("b", Type.U32)), Type.VOID),
        Method("two words", (Parameter("p", Type.POINTER, direction=Direction.OUT),), Type.U64),
    ),
    base=IUNKNOWN,
)


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_any_interface_compiles(compiler: str, build: Build) -> None:
    calls = [
        Call(m.name, (value,))
        for m in ODD.methods[:-3]
        for value in {
            Type.TEXT: ("a", None),
            Type.IID: (IUNKNOWN.iid, None),
            Type.HANDLE: (Handle(0), Handle(-1), None),
            Type.POINTER: (Handle(7), None),
        }.get(m.inputs[0].type, m.inputs[0].type.range if m.inputs[0].type.is_integer else ())
    ]
    calls += [
        Call("class", (2**64 - 1, -(2**63))),
        Call("class", (0, None)),
        Call("Yield", (1,)),
        Call("two words"),
    ]
    build(exported(Trace.from_calls(calls, Header(interface=ODD))), compiler=compiler)
