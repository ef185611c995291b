"""Native targets built with sanitizers play as others do, and what the sanitizer says is the finding."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from recorder.calls import SYNC_EVENT, Call, OutcomeKind, Trace
from recorder.contract import Level, contract_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.trace import write_trace
from replayer import sanitizers
from replayer.isolation import Isolated, Limits, open_player
from replayer.oracles import Finding, Judge
from replayer.player import Run
from replayer.sanitizers import environment, runtimes
from replayer.target import TargetError, load_target
from replayer.verdict import require_target
from synctape import main

TESTS = Path(__file__).parent.parent
EXAMPLES = TESTS.parent / "examples" / "native"
MISUSES = TESTS / "targets" / "native" / "misuses.cpp"

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(sys.platform != "linux", reason="sanitizers of ELF libraries"),
]

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles C++ into a library with a sanitizer, once."""
    folder = tmp_path_factory.mktemp("sanitized")
    built: dict[tuple[object, ...], Path] = {}

    def compile_(source: Path = MISUSES, compiler: str = "g++", sanitize: str = "address", *more: str) -> Path:
        key = (source, compiler, sanitize, more)
        if key not in built:
            if shutil.which(compiler) is None:
                pytest.skip(f"no {compiler}")
            built[key] = folder / f"{source.stem}-{len(built)}.so"
            command = [compiler, "-std=c++17", "-g", "-O1", "-w", "-fno-omit-frame-pointer", "-fPIC", "-shared"]
            command += [f"-fsanitize={sanitize}", f"-I{EXAMPLES}", "-o", str(built[key]), str(source), *more]
            subprocess.run(command, check=True)
        return built[key]

    return compile_


BUILDS = [
    pytest.param(("g++", "address"), id="gcc-address"),
    pytest.param(("g++", "address,undefined"), id="gcc-both"),
    pytest.param(("g++", "undefined"), id="gcc-undefined"),
    pytest.param(("clang++", "address,undefined"), id="clang-both"),
    pytest.param(("clang++", "address", "-shared-libasan"), id="clang-shared"),
    pytest.param(("clang++", "undefined"), id="clang-undefined"),
]
ADDRESS = [param for param in BUILDS if "address" in param.values[0][1]]  # type: ignore[index]
UNDEFINED = [param for param in BUILDS if "undefined" in param.values[0][1]]  # type: ignore[index]


@pytest.fixture(scope="module")
def played(build: Build) -> Iterator[Callable[[tuple[str, ...], int], Run]]:
    """Plays mistake `n` on Misuses in a child process, the same one for every test of a build."""
    players: dict[tuple[str, ...], Isolated] = {}

    def play(how: tuple[str, ...], n: int) -> Run:
        if how not in players:
            spec = f"{build(MISUSES, *how)}:create"
            players[how] = Isolated(spec, limits=Limits(timeout=20, memory=300))
        return players[how].play(sequence(n))

    yield play
    for player in players.values():
        player.close()


def sequence(n: int) -> list[Call]:
    return [Call("Progress", ("a", 0, 20)), Call("Progress", ("b", n, 20)), Call("Done", (SYNC_EVENT, 0))]


def line(code: str) -> str:
    """The place of a piece of misuses.cpp."""
    text = MISUSES.read_text(encoding="utf-8")
    return f"misuses.cpp:{text[: text.index(code)].count(chr(10)) + 1}"


def findings(run: Run) -> list[Finding]:
    return Judge(contract_of(CALLBACK)).findings(run)


def only(run: Run) -> Finding:
    (finding,) = findings(run)
    return finding


@pytest.mark.parametrize("how", BUILDS)
def test_a_host_without_a_mistake_gives_nothing(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    run = played(how, 0)
    assert findings(run) == []
    assert [outcome.value for _, _, outcome in run.trace.played if outcome] == [0, 0, 0]


@pytest.mark.parametrize("how", ADDRESS)
@pytest.mark.parametrize(
    ("n", "message", "code"),
    [
        (2, "heap-use-after-free: READ of size 4 in uses_freed", "sink = block[n - 1]"),
        (3, "double-free in frees_twice", "if (n) std::free(block)"),
        (
            7,
            "alloc-dealloc-mismatch in mixes_new_and_free",
            "    std::free(block);\n}\n\nAPART void writes_nowhere",
        ),
        (8, "SEGV: WRITE in writes_nowhere", "void writes_nowhere"),
        (16, "heap-use-after-free: READ of size 4 in reads_old_element", "sink = *first"),
    ],
)
def test_misused_memory_is_x13_at_its_line(
    played: Callable[..., Run], how: tuple[str, ...], n: int, message: str, code: str
) -> None:
    run = played(how, n)
    finding = only(run)
    assert (finding.code, finding.oracle, finding.number) == ("X13", "sanitizer", 1)
    assert (finding.method, finding.message) == ("Progress", message)
    assert finding.place == f"{line(code)} in {message.rpartition(' ')[2]}"
    assert run.trace.played[1].outcome
    assert run.trace.played[1].outcome.kind is OutcomeKind.CRASHED
    assert "misuses.cpp" in run.report


@pytest.mark.parametrize("how", UNDEFINED)
def test_undefined_behaviour_is_x13_at_its_line(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    finding = only(played(how, 9))
    assert (finding.code, finding.place) == ("X13", f"{line('int overflows')} in overflows")
    assert finding.message == (
        "undefined behaviour: signed integer overflow: 9 + 2147483640 cannot be represented in type 'int'"
    )


@pytest.mark.parametrize("how", [BUILDS[0], BUILDS[3]])
def test_the_same_bug_has_the_same_fingerprint_each_time(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    assert only(played(how, 2)).fingerprint == only(played(how, 2)).fingerprint
    assert only(played(how, 2)).fingerprint != only(played(how, 3)).fingerprint


@pytest.mark.parametrize("how", ADDRESS)
def test_what_no_sanitizer_reports_is_told_as_ever(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    assert findings(played(how, 13)) == []  # an exception that is caught where it is thrown
    assert only(played(how, 14)).code == "X1"
    assert only(played(how, 15)).code == "X7"


@pytest.mark.parametrize("how", ADDRESS)
def test_the_memory_limit_holds(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    finding = only(played(how, 12))
    assert (finding.code, finding.message) == ("X6", "memory limit of 300 MiB")


@pytest.mark.parametrize("how", ADDRESS)
def test_a_stack_that_is_used_up(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    finding = only(played(how, 11))
    assert finding.code in ("X12", "X13")  # without the compiled core only the sanitizer knows
    assert finding.place == "misuses.cpp in recurses"


@pytest.mark.parametrize("how", BUILDS)
def test_nothing_of_it_gets_to_what_the_target_starts(played: Callable[..., Run], how: tuple[str, ...]) -> None:
    before = dict(os.environ)
    assert findings(played(how, 17)) == []
    assert dict(os.environ) == before


@pytest.mark.parametrize("how", [BUILDS[3]])
def test_the_symbolizer_is_not_left_behind(build: Build, how: tuple[str, ...]) -> None:
    others = symbolizers()  # of players of other builds: their processes live on, and so do these
    with Isolated(f"{build(MISUSES, *how)}:create", limits=Limits(timeout=20, memory=300)) as player:
        for _ in range(3):
            player.play(sequence(2))
        deadline = time.monotonic() + 20
        while (left := symbolizers() - others) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not left


def symbolizers() -> set[tuple[int, str]]:
    """Process ids and names of those among this process' children and their children, zombies too."""
    parents, names = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, name, rest = re.fullmatch(r"(\d+) \((.*)\) (.*)", status.read_text().strip(), re.S).groups()  # type: ignore[union-attr]
        except OSError:
            continue
        parents[int(pid)], names[int(pid)] = int(rest.split()[1]), name
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return {(pid, name) for pid, name in names.items() if pid in own and re.search("symbolizer|addr2line", name)}


def test_frames_have_lines_without_clangs_symbolizer(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAN_OPTIONS", f"external_symbolizer_path={shutil.which('addr2line')}")
    with Isolated(f"{build(MISUSES, 'clang++', 'address,undefined')}:create") as player:
        assert only(player.play(sequence(2))).place == f"{line('sink = block[n - 1]')} in uses_freed"


def test_without_any_symbolizer_the_place_is_an_offset(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAN_OPTIONS", "symbolize=0")
    library = build(MISUSES, "clang++", "address,undefined")
    with Isolated(f"{library}:create") as player:
        first, second = only(player.play(sequence(2))), only(player.play(sequence(2)))
    assert re.fullmatch(rf"{re.escape(library.name)}\+0x[0-9a-f]+", first.place)
    assert first.fingerprint == second.fingerprint


# --- texts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize(
    ("name", "code", "place"),
    [
        ("keeps_pointer", "H11", "host.h"),
        ("reads_past_end", "X9", "reads_past_end.cpp"),
        ("writes_text", "X9", "writes_text.cpp"),
    ],
)
def test_a_mistake_with_a_text_is_told_as_that(
    build: Build, compiler: str, name: str, code: str, place: str
) -> None:
    """The sanitizer only sees an address that is not there; the fault record knows whose text it was."""
    pytest.importorskip("replayer._native.core")
    library = build(EXAMPLES / f"{name}.cpp", compiler, "address,undefined")
    calls = [Call("Progress", ("abc", 0, 2)), Call("Error", (-2147467259, "x ")), Call("Progress", ("", 1, 2))]
    with Isolated(f"{library}:create") as player:
        found = findings(player.play([*calls, Call("Done", (SYNC_EVENT, 0))]))
    assert [finding.code for finding in found] == [code]
    assert found[0].place.startswith(place)
    assert "text of call #" in found[0].message


# --- options -----------------------------------------------------------------------------------------------------


def test_the_users_own_options_are_kept(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASAN_OPTIONS", "alloc_dealloc_mismatch=0:abort_on_error=0:exitcode=1")
    with Isolated(f"{build()}:create") as player:
        assert findings(player.play(sequence(7))) == []
        assert only(player.play(sequence(2))).code == "X13"  # what has to be stays as it has to be


def test_an_ordinary_library_needs_nothing(library: Callable[[str], Path]) -> None:
    assert environment(library("good_host"), "/tmp/report", {}) == {}


def test_a_library_that_the_target_needs_may_be_the_one(build: Build, tmp_path: Path) -> None:
    """Only the core of an application is built with a sanitizer, its callback is not."""
    core, host = tmp_path / "core.cpp", tmp_path / "host.cpp"
    core.write_text('extern "C" int core(int n) { int *p = new int[1]; delete[] p; return p[n]; }\n')
    host.write_text(
        '#include "host.h"\n'
        'extern "C" int core(int);\n'
        "struct Uses : Host {\n"
        "    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *, ULONG, ULONG) override { return core(0) & 0; }\n"
        "};\n"
        "EXPORT_OBJECT(Uses)\n"
    )
    subprocess.run(
        ["g++", "-g", "-w", "-fsanitize=address", "-fPIC", "-shared", "-o", tmp_path / "libcore.so", core],
        check=True,
    )
    command = [
        "g++",
        "-std=c++17",
        "-fPIC",
        "-shared",
        f"-I{EXAMPLES}",
        "-o",
        str(tmp_path / "host.so"),
        str(host),
    ]
    subprocess.run([*command, f"-L{tmp_path}", "-lcore", "-Wl,-rpath,$ORIGIN"], check=True)
    with Isolated(f"{tmp_path / 'host.so'}:create") as player:
        finding = only(player.play(sequence(0)))
    assert (finding.code, finding.place) == ("X13", "core.cpp:1 in core")


# --- threads -----------------------------------------------------------------------------------------------------

C_BUILDS = [pytest.param("gcc", id="gcc-thread"), pytest.param("clang", id="clang-thread")]


@pytest.fixture(scope="session")
def racing(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Compiles tests/targets/native/NAME.c with ThreadSanitizer."""
    folder = tmp_path_factory.mktemp("threads")

    def compile_(name: str, compiler: str) -> Path:
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler}")
        library, source = folder / f"{name}-{compiler}.so", MISUSES.parent / f"{name}.c"
        if not library.exists():
            command = [compiler, "-std=c99", "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=thread", "-fPIC"]
            subprocess.run([*command, "-shared", "-o", library, source], check=True)
        return library

    return compile_


@pytest.mark.parametrize("compiler", C_BUILDS)
def test_locks_that_are_taken_in_two_orders_are_reported_though_nobody_waited(
    racing: Callable[[str, str], Path], compiler: str
) -> None:
    calls = [Call("Progress", (None, 1, 2)), Call("Error", (5, None)), Call("Done", (None, 0))]
    with Isolated(f"{racing('locks_crosswise', compiler)}:create") as player:
        finding = only(player.play(calls))
        assert (finding.code, finding.oracle, finding.number) == ("X13", "sanitizer", 1)
        assert finding.message == "lock-order-inversion in progress and error"
        assert findings(player.play(calls[::2])) == []


@pytest.mark.parametrize("compiler", C_BUILDS)
def test_a_host_without_a_race_gives_nothing(racing: Callable[[str, str], Path], compiler: str) -> None:
    with Isolated(f"{racing('good_host', compiler)}:create") as player:
        assert findings(player.play(sequence(1))) == []


def scheduled(*calls: Call) -> Trace:
    trace = Trace.from_calls(call._replace(thread=thread) for thread, call in enumerate(calls))
    return replace(trace, header=replace(trace.header, scheduled=True))


@pytest.mark.parametrize("compiler", C_BUILDS)
def test_a_data_race_is_x17_with_the_places_of_both_threads(
    racing: Callable[[str, str], Path], compiler: str
) -> None:
    progress = Call("Progress", (None, 1, 2))
    with Isolated(f"{racing('stores_a_pair', compiler)}:create") as player:
        run = player.play(scheduled(progress, progress))
        finding = only(run)
        assert (finding.code, finding.oracle, finding.method) == ("X17", "data-race", "")
        assert (finding.level, finding.broken) == (Level.LENIENT, ("P20",))
        assert finding.message == "data race: write of size 4 in progress and write of size 4 in progress"
        assert re.fullmatch(r"stores_a_pair\.c:\d+ in progress", finding.place)
        assert "Previous write of size 4" in run.report
        assert findings(player.play(scheduled(progress))) == []
    with Isolated(f"{racing('good_host', compiler)}:create") as player:
        assert findings(player.play(scheduled(progress, progress, progress))) == []


def test_a_runtime_with_which_no_process_starts(
    racing: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sanitizers, "_starts", lambda path: False)
    library = racing("good_host", "gcc")
    with pytest.raises(sanitizers.UnplayableError) as caught:
        runtimes(library)
    assert str(caught.value).startswith(
        f"{library.name} is built with ThreadSanitizer, and no process starts with"
    )
    assert "vm.mmap_rnd_bits" in str(caught.value)


# --- what cannot be played ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (("clang++", "memory"), "MemorySanitizer"),
        (("clang++", "undefined", "-fsanitize-minimal-runtime"), "-fsanitize-minimal-runtime"),
    ],
)
def test_a_sanitizer_that_python_cannot_bear(build: Build, how: tuple[str, ...], name: str) -> None:
    with Isolated(f"{build(MISUSES, *how)}:create") as player, pytest.raises(TargetError) as caught:
        require_target(player)
    assert f"is built with {name}, which cannot be brought into Python" in str(caught.value)
    assert str(caught.value).endswith("build it with -fsanitize=address,undefined")


def test_gccs_runtime_that_is_not_here(build: Build, tmp_path: Path) -> None:
    library = tmp_path / "old.so"
    library.write_bytes(re.sub(rb"libasan\.so\.\d", b"libasan.so.0", build().read_bytes()))
    with Isolated(f"{library}:create") as player, pytest.raises(TargetError) as caught:
        require_target(player)
    assert str(caught.value) == (
        f"target {library}:create: old.so is built with AddressSanitizer, whose runtime libasan.so.0 is not here: "
        "install it (Debian: libasan0), or build with this system's gcc"
    )


def test_clangs_runtime_that_is_not_here(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = build(MISUSES, "clang++", "address,undefined")
    monkeypatch.setattr(sanitizers, "_CLANG_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        Isolated(f"{library}:create") as player,
        pytest.raises(TargetError, match=r"install it \(Debian: libclang-rt-"),
    ):
        require_target(player)


def test_in_process_says_how_to_start(build: Build) -> None:
    with pytest.raises(TargetError, match=r"must be in a process from its start.*LD_PRELOAD=\S*libasan"):
        load_target(f"{build()}:create")


def test_in_process_with_the_runtime_there(build: Build) -> None:
    """As the message says: for a debugger."""
    library = build()
    code = (
        "import sys; from replayer.isolation import open_player; from recorder.calls import Call\n"
        f"with open_player({str(library) + ':create'!r}, isolate=False) as player:\n"
        "    run = player.play([Call('Progress', ('a', 0, 1))])\n"
        "print(run.trace.played[0].outcome.value)\n"
    )
    preload = ":".join(map(str, runtimes(library)))
    env = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert said.stdout == "0\n"


def test_a_factory_that_misuses_memory_is_no_target(build: Build, tmp_path: Path) -> None:
    source = tmp_path / "factory.cpp"
    source.write_text(
        '#include "host.h"\n'
        'extern "C" HRESULT create(void **ppv) { int *p = new int[1]; delete[] p; return *ppv = nullptr, p[0]; }\n'
    )
    with open_player(f"{build(source)}:create") as player, pytest.raises(TargetError, match="heap-use-after-free"):
        require_target(player)


# --- commands ----------------------------------------------------------------------------------------------------


def test_replay_shows_the_report(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "freed.tape"
    write_trace(Trace.from_calls(sequence(2)), path)
    result = CliRunner().invoke(main, ["replay", str(path), "--target", f"{build()}:create"])
    assert result.exit_code == 1
    assert "X13  heap-use-after-free: READ of size 4 in uses_freed" in result.output
    assert "freed by thread" in result.output
    assert "PyThread_start_new_thread" not in result.output


def test_a_target_that_cannot_be_played_is_one_line_and_exit_code_2(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "any.tape"
    write_trace(Trace.from_calls(sequence(0)), path)
    target = f"{build(MISUSES, 'clang++', 'memory')}:create"
    for command in (["replay", str(path), "--target", target], ["fuzz", "--target", target, "--max-runs", "9"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert "is built with MemorySanitizer" in result.stderr
        assert "Traceback" not in result.output
