"""Native providers in this process: examples/native/provider.cpp keeps the rules, and breaks one at a time."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder import events
from recorder.calls import SYNC_EVENT, Call, OutcomeKind, Trace
from recorder.checking import Checked
from recorder.errors import SynctapeError, TraceError
from recorder.library import LibraryError, is_library
from recorder.native_provider import NativeRun, record_native
from recorder.obligations import check_native
from recorder.trace import read_trace
from recorder.trace_input import TraceInput

E_FAIL = -2147467259
IID = "{5024a386-2d44-486a-81a8-8f0ecb6071dd}"


@pytest.fixture
def provider(example: Callable[[str], Path]) -> Callable[[str], str]:
    """The specs of the sample providers."""
    return lambda symbol: f"{example('provider')}:{symbol}"


@pytest.fixture
def planned(example: Callable[[str], Path]) -> Iterator[Callable[..., None]]:
    """What the sample providers of this process do: steps, error, null_every, pause in milliseconds."""
    library = ctypes.CDLL(str(example("provider")))
    library.SetPlan.argtypes = (ctypes.c_uint32, ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint32)
    yield library.SetPlan
    library.SetPlan(3, 0, 0, 0)


@pytest.fixture
def native_host(example: Callable[[str], Path], tmp_path: Path) -> str:
    """The spec of a correct host, in a library of this test's own: some providers leave its objects behind."""
    built = example("good_host")
    own = tmp_path / f"host{built.suffix}"
    shutil.copyfile(built, own)
    return f"{own}:create"


class Host:
    """A host in Python; it closes the event, as Outlook may."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.seen.append((text, index, maximum))
        return 1

    def Error(self, result: int, text: str) -> int:
        self.seen.append((result, text))
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.seen.append((type(handle), result))
        handle.close()
        return 0


def run(spec: str, path: Path, **options: Any) -> tuple[NativeRun, Trace, Checked]:
    done = record_native(spec, path, **options)
    return done, read_trace(path), check_native(TraceInput(path), done)


def plain(trace: Trace) -> list[tuple[Any, ...]]:
    return [(call.method, *call.args) for call in trace.calls]


@pytest.mark.native
def test_a_correct_provider(provider: Callable[[str], str], tmp_path: Path) -> None:
    done, trace, checked = run(provider("create"), tmp_path / "run.tape", flags=0x20000002, timeout=20)
    assert plain(trace) == [
        ("QueryInterface", IID),
        ("Progress", "message 1", 1, 3),
        ("Progress", "message 2", 2, 3),
        ("Progress", "message 3", 3, 3),
        ("Done", SYNC_EVENT, 0),
        ("Release",),
    ]
    assert trace.damage is None and trace.header.sync_flags == 0x20000002
    assert len({call.thread for call in trace.calls}) == 2
    assert (done.result, done.event, done.held, done.closed, done.waiting) == (0, "open", 0, False, "")
    assert not checked.broken and done.notes == ()


@pytest.mark.native
def test_what_the_plan_asks_for(
    provider: Callable[[str], str], planned: Callable[..., None], tmp_path: Path
) -> None:
    planned(4, E_FAIL, 2, 1)
    _, trace, checked = run(provider("create"), tmp_path / "run.tape", timeout=20)
    assert plain(trace)[1:-1] == [
        ("Progress", "message 1", 1, 4),
        ("Progress", None, 2, 4),
        ("Progress", "message 3", 3, 4),
        ("Progress", None, 4, 4),
        ("Error", E_FAIL, "message 4"),
        ("Done", SYNC_EVENT, E_FAIL),
    ]
    assert not checked.broken


@pytest.mark.native
@pytest.mark.parametrize(
    ("symbol", "rules"),
    [
        ("skips_query", {"P1"}),
        ("leaks_reference", {"P2"}),
        ("releases_twice", {"P2"}),
        ("calls_after_release", {"P3", "P13"}),
        ("no_done", {"P12"}),
        ("calls_after_done", {"P13"}),
        ("done_twice", {"P14"}),
        ("no_event", {"P16"}),
        ("late_event", {"P16"}),
        ("fails_but_calls", {"P17"}),
    ],
)
def test_each_mistake_is_told_by_its_rule(
    provider: Callable[[str], str], tmp_path: Path, symbol: str, rules: set[str]
) -> None:
    done, trace, checked = run(provider(symbol), tmp_path / "run.tape", timeout=20)
    assert {broken.rule.id for broken in checked.broken} == rules
    assert checked.fails
    assert done.waiting == "" and trace.damage is None


@pytest.mark.native
@pytest.mark.parametrize("symbol", ["foreign_handle", "closes_event"])
def test_what_becomes_of_the_event_is_a_note(provider: Callable[[str], str], tmp_path: Path, symbol: str) -> None:
    _, _, checked = run(provider(symbol), tmp_path / "run.tape", timeout=20)
    assert [broken.rule.id for broken in checked.broken] == ["P15"]
    assert not checked.fails


@pytest.mark.native
def test_a_start_that_fails_and_keeps_quiet_breaks_nothing(provider: Callable[[str], str], tmp_path: Path) -> None:
    done, trace, checked = run(provider("fails"), tmp_path / "run.tape", timeout=20)
    assert (done.result, done.event, done.waiting) == (E_FAIL, "missing", "")
    assert trace.calls == () and not checked.broken


@pytest.mark.native
def test_nobody_wants_reports(provider: Callable[[str], str], tmp_path: Path) -> None:
    done, trace, checked = run(provider("create"), tmp_path / "run.tape", callback=False, timeout=20)
    assert (done.result, done.event, done.waiting, trace.calls) == (0, "open", "", ())
    assert not checked.broken
    done, _, checked = run(provider("needs_callback"), tmp_path / "no.tape", callback=False, timeout=20)
    assert [(b.rule.id, b.message) for b in checked.broken] == [
        ("P4", "without a callback the start answered 0x80070057 E_INVALIDARG")
    ]
    assert not checked.fails


@pytest.mark.native
def test_an_event_that_fires_before_it_is_given_back_is_noted(
    provider: Callable[[str], str], tmp_path: Path
) -> None:
    done, _, checked = run(provider("signals_first"), tmp_path / "run.tape", timeout=20)
    assert not checked.broken
    assert done.notes == ("the event was signalled before its handle was given back (U1 leaves that open)",)


@pytest.mark.native
@pytest.mark.parametrize(
    ("symbol", "waiting", "calls"),
    [
        ("never_signals", "the event has not been signalled", 6),
        ("never_ends", "the event has not been signalled", 4),
        ("never_returns", "SynchronizeInBackground has not returned", 0),
    ],
)
def test_a_provider_that_does_not_end(
    provider: Callable[[str], str], tmp_path: Path, symbol: str, waiting: str, calls: int
) -> None:
    done, trace, checked = run(provider(symbol), tmp_path / "run.tape", timeout=2.5)
    assert done.waiting == waiting
    assert len(trace.calls) == calls
    assert trace.damage is not None and trace.damage.reason == f"recording stopped: {waiting}"
    assert not checked.broken  # nobody knows what it would have done yet


@pytest.mark.native
def test_a_host_in_python_answers_and_closes_the_event(provider: Callable[[str], str], tmp_path: Path) -> None:
    host = Host()
    done, trace, checked = run(provider("create"), tmp_path / "run.tape", inner=host, timeout=20)
    assert host.seen == [*((f"message {n}", n, 3) for n in (1, 2, 3)), (events.OpenHandle, 0)]
    assert [p.outcome.value for p in trace.played if p.call.method == "Progress" and p.outcome] == [1, 1, 1]
    assert plain(trace)[4] == ("Done", SYNC_EVENT, 0)
    assert done.closed and done.forwarded and not checked.broken


@pytest.mark.native
def test_a_host_that_raises_is_in_the_trace(provider: Callable[[str], str], tmp_path: Path) -> None:
    class Broken(Host):
        def Done(self, handle: Any, result: int) -> int:
            raise ValueError("no display")

    _, trace, _ = run(provider("create"), tmp_path / "run.tape", inner=Broken(), timeout=20)
    outcome = trace.played[4].outcome
    assert outcome is not None and outcome.kind is OutcomeKind.RAISED
    assert outcome.detail == "ValueError: no display"


@pytest.mark.native
def test_a_native_host_gets_the_calls(provider: Callable[[str], str], native_host: str, tmp_path: Path) -> None:
    done, trace, checked = run(provider("create"), tmp_path / "run.tape", forward=native_host, timeout=20)
    assert plain(trace)[1:5] == [
        *(("Progress", f"message {n}", n, 3) for n in (1, 2, 3)),
        ("Done", SYNC_EVENT, 0),
    ]
    assert trace.damage is None and not checked.broken
    assert done.forwarded and done.waiting == ""
    alive = ctypes.CDLL(native_host.removesuffix(":create")).create_live
    assert alive() == 0


@pytest.mark.native
@pytest.mark.parametrize(
    ("symbol", "rules"),
    [
        ("leaks_reference", {"P2"}),
        ("releases_twice", {"P2"}),
        ("calls_after_release", {"P3", "P13"}),
        ("done_twice", {"P14"}),
        ("foreign_handle", {"P15"}),
        ("no_event", {"P16"}),
    ],
)
def test_mistakes_on_the_way_to_a_native_host(
    provider: Callable[[str], str], native_host: str, tmp_path: Path, symbol: str, rules: set[str]
) -> None:
    _, _, checked = run(provider(symbol), tmp_path / "run.tape", forward=native_host, timeout=20)
    assert {broken.rule.id for broken in checked.broken} == rules


@pytest.mark.native
def test_an_event_that_the_host_has_closed_is_not_waited_for(
    provider: Callable[[str], str], native_host: str, tmp_path: Path
) -> None:
    done, _, checked = run(provider("never_signals"), tmp_path / "run.tape", forward=native_host, timeout=20)
    assert done.waiting == "" and not checked.broken
    if done.event == "open":  # else the host was faster than the first look
        assert done.notes == ("the host closed the event before it was signalled (U1 leaves that open)",)


@pytest.mark.native
def test_answers_by_script(provider: Callable[[str], str], tmp_path: Path) -> None:
    answers = {"Progress": iter([1, E_FAIL])}
    _, trace, _ = run(provider("create"), tmp_path / "run.tape", answers=answers, timeout=20)
    assert [p.outcome.value for p in trace.played[1:4] if p.outcome] == [1, E_FAIL, 0]


@pytest.mark.native
def test_a_file_that_is_there(provider: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    path.write_text("precious")
    with pytest.raises(TraceError, match="exists already"):
        record_native(provider("create"), path, timeout=20)
    assert path.read_text() == "precious"
    with pytest.raises(SynctapeError, match="factory answered"):
        record_native(provider("refuses"), path, timeout=20, overwrite=True)
    assert path.read_text() == "precious"
    record_native(provider("create"), path, timeout=20, overwrite=True)
    assert isinstance(read_trace(path).calls[0], Call)
    assert [file.name for file in tmp_path.iterdir()] == ["run.tape"]


@pytest.mark.native
@pytest.mark.parametrize(
    ("name", "symbol", "message"),
    [
        ("provider", "refuses", "the factory answered 0x80004005 E_FAIL"),
        ("provider", "nothing", "exports no 'nothing'"),
        ("provider", "", "write it as "),
        ("good_host", "create", "the object is no IMAPISync (QueryInterface answered 0x80004002 E_NOINTERFACE)"),
    ],
)
def test_libraries_that_give_no_provider(
    example: Callable[[str], Path], tmp_path: Path, name: str, symbol: str, message: str
) -> None:
    with pytest.raises(LibraryError) as caught:
        record_native(f"{example(name)}:{symbol}", tmp_path / "run.tape")
    assert str(caught.value).startswith("provider ") and message in str(caught.value)
    assert not (tmp_path / "run.tape").exists()


def test_files_that_are_no_libraries(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    for spec, message in (("missing.so:create", "there is no file"), ("text.so:create", "cannot be loaded: ")):
        with pytest.raises(LibraryError) as caught:
            record_native(f"{tmp_path / spec}", tmp_path / "run.tape")
        assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run.tape").exists()


@pytest.mark.native
def test_a_library_for_another_machine(provider: Callable[[str], str], tmp_path: Path) -> None:
    path = Path(provider("").removesuffix(":"))
    data = bytearray(path.read_bytes())
    if path.suffix == ".dll":
        machine = int.from_bytes(data[0x3C:0x40], "little") + 4  # IMAGE_FILE_HEADER.Machine
        data[machine : machine + 2] = (0x14C).to_bytes(2, "little")  # IMAGE_FILE_MACHINE_I386
    else:
        data[4] = 1  # EI_CLASS: ELFCLASS32
    other = tmp_path / f"other{path.suffix}"
    other.write_bytes(data)
    with pytest.raises(LibraryError, match=r"^provider '.*other.*': cannot be loaded: [^\n]+$"):
        record_native(f"{other}:create", tmp_path / "run.tape")


def test_which_specs_name_a_library(tmp_path: Path) -> None:
    (tmp_path / "provider").write_bytes(b"")
    assert is_library("a/b.so:create") and is_library("C:\\x\\B.DLL:create") and is_library("x.dylib:f")
    assert is_library(f"{tmp_path / 'provider'}:create")
    assert not is_library("package.module:provider") and not is_library("package.so") and not is_library("module")
