"""Providers: naming one, its flags, running it until its threads have ended."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.calls import Opaque, Outcome, OutcomeKind
from recorder.errors import TraceError
from recorder.provider import (
    SYNC_FLAGS,
    ProviderError,
    current_folder_importable,
    flag_names,
    load_object,
    load_provider,
    module_version,
    parse_flags,
    record,
    run_provider,
)
from recorder.trace import read_trace

# --- flags ---------------------------------------------------------------------------------------------------


def test_the_flags_are_the_documented_ones() -> None:
    """interface.md, 1.4."""
    assert SYNC_FLAGS == {
        "SYNC_UPLOAD_HIERARCHY": 0x1,
        "SYNC_DOWNLOAD_HIERARCHY": 0x2,
        "SYNC_UPLOAD_CONTENTS": 0x40,
        "SYNC_DOWNLOAD_CONTENTS": 0x80,
        "SYNC_OUTGOING_MAIL": 0x200,
        "SYNC_BACKGROUND": 0x1000,
        "SYNC_THESE_FOLDERS": 0x20000,
        "SYNC_GLOBAL_HEADERS": 0x02000000,
        "SYNC_HEADERS": 0x02000000,
        "SYNC_ON_DEMAND": 0x20000000,
    }


@pytest.mark.parametrize(
    ("text", "mask", "names"),
    [
        ("", 0, ()),
        ("SYNC_DOWNLOAD_CONTENTS", 0x80, ("SYNC_DOWNLOAD_CONTENTS",)),
        (
            "SYNC_ON_DEMAND, SYNC_DOWNLOAD_CONTENTS,0x2",
            0x20000082,
            ("SYNC_DOWNLOAD_HIERARCHY", "SYNC_DOWNLOAD_CONTENTS", "SYNC_ON_DEMAND"),
        ),
        ("SYNC_HEADERS", 0x02000000, ("SYNC_GLOBAL_HEADERS",)),
        ("12,0x80000000", 0x8000000C, ("0x8000000c",)),
        ("4294967295", 0xFFFFFFFF, (*(name for name in SYNC_FLAGS if name != "SYNC_HEADERS"), "0xddfded3c")),
    ],
)
def test_flags_both_ways(text: str, mask: int, names: tuple[str, ...]) -> None:
    assert parse_flags(text) == mask
    assert flag_names(mask) == names


@given(st.integers(0, 2**32 - 1))
def test_every_mask_reads_back(mask: int) -> None:
    assert parse_flags(",".join(flag_names(mask))) == mask


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "SYNC_DOWNLOAD_CONTENT",
            "unknown sync flag 'SYNC_DOWNLOAD_CONTENT'; did you mean 'SYNC_DOWNLOAD_CONTENTS'?",
        ),
        ("sync_on_demand", "unknown sync flag 'sync_on_demand'; did you mean 'SYNC_ON_DEMAND'?"),
        ("SYNC_ON_DEMAND,zzz", "unknown sync flag 'zzz'; the flags are SYNC_UPLOAD_HIERARCHY, "),
        ("0x100000000", "sync flag 0x100000000 is not a 32-bit number"),
        ("-1", "sync flag -1 is not a 32-bit number"),
    ],
)
def test_what_is_no_flag(text: str, message: str) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_flags(text)
    assert str(caught.value).startswith(message)


# --- loading -------------------------------------------------------------------------------------------------

_numbers = itertools.count()
Maker = Callable[..., str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Makes a module in the current folder, gives its name."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def make(source: str, package: str | None = None) -> str:
        name = package or f"synctape_test_provider_{next(_numbers)}"
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, "utf-8")
        return name

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("synctape_test_"):
            del sys.modules[name]


PROVIDER = """
__version__ = "1.2"
NUMBER = 5
def provider(callback): return "ran"
class Kind:
    @staticmethod
    def provider(callback): return "nested"
"""


def test_the_current_folder_is_importable_while_importing(module: Maker, tmp_path: Path) -> None:
    name = module(PROVIDER)
    path = list(sys.path)
    assert load_provider(f"{name}:provider")(None) == "ran"
    assert load_provider(f"{name}:Kind.provider")(None) == "nested"
    assert load_provider(f"{name}.provider")(None) == "ran"
    assert load_provider(f"{name}.Kind.provider")(None) == "nested"
    assert sys.path == path
    with current_folder_importable():
        assert sys.path == [str(tmp_path), *path]


def test_packages(module: Maker) -> None:
    package = f"synctape_test_package_{next(_numbers)}"
    module("", f"{package}.__init__")
    module(PROVIDER, f"{package}.inner")
    assert load_provider(f"{package}.inner:provider")(None) == "ran"
    assert load_provider(f"{package}.inner.provider")(None) == "ran"
    assert module_version(f"{package}.inner:provider") == "1.2"
    assert module_version(f"{package}.inner.provider") == "1.2"


def test_the_version_of_a_module_or_its_package(module: Maker) -> None:
    name = module("")
    load_object("recorder.provider:load_object", "anything")
    assert module_version("recorder.provider:load_object") is None
    assert module_version(f"{name}:x") is None
    assert module_version("pytest:main") == pytest.__version__


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "provider '': write it as module:callable"),
        ("module", "provider 'module': write it as module:callable"),
        (":provider", "provider ':provider': write it as module:callable"),
        ("module:", "provider 'module:': write it as module:callable"),
        ("folder/file.py:run", "provider 'folder/file.py:run': name the module, not its file: folder.file:run"),
        (r".\file.py:run", r"name the module, not its file: file:run"),
        ("no_such_module_here:run", "there is no module 'no_such_module_here'; the current folder is {folder}"),
        ("no_such_module_here.run", "there is no module 'no_such_module_here'; the current folder is {folder}"),
        ("{name}.more:run", "there is no module '{name}.more'; the current folder is"),
        ("{name}:provide", "provider '{name}:provide': {name} has no 'provide'; did you mean 'provider'?"),
        ("{name}.zzz", "provider '{name}.zzz': {name} has no 'zzz'"),
        ("{name}:Kind.zzz", "provider '{name}:Kind.zzz': Kind has no 'zzz'"),
        ("{name}:NUMBER", "provider '{name}:NUMBER' is of type int, it cannot be called"),
        ("{name}:NUMBER.zzz", "provider '{name}:NUMBER.zzz': int has no 'zzz'"),
    ],
)
def test_what_cannot_be_loaded(module: Maker, tmp_path: Path, spec: str, message: str) -> None:
    name = module(PROVIDER)
    with pytest.raises(ProviderError) as caught:
        load_provider(spec.format(name=name))
    assert message.format(name=name, folder=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nraise ValueError('not\\ntoday')", "raised ValueError: not today ({name}.py:2 in <module>)"),
        (
            "import no_such_module_here",
            "raised ModuleNotFoundError: No module named 'no_such_module_here' ({name}.py:1",
        ),
        ("def f(:", "raised SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "raised SystemExit: 3 ({name}.py:1 in <module>)"),
        ("import sys; sys.exit()", "raised SystemExit ({name}.py:1 in <module>)"),
        ("raise ValueError('x' * 1000)", "xxx..."),
        ("def __getattr__(name): raise OSError('lazy')", "raised OSError: lazy ({name}.py:1 in __getattr__)"),
    ],
)
def test_modules_that_fail(module: Maker, source: str, message: str) -> None:
    name = module(source)
    with pytest.raises(ProviderError) as caught:
        load_provider(f"{name}:provider")
    shown = str(caught.value)
    assert shown.startswith(f"provider '{name}:provider': importing {name} raised ")
    assert message.format(name=name) in shown
    assert "\n" not in shown
    assert len(shown) < 700


def test_an_interrupted_import_is_no_error_of_the_module(module: Maker) -> None:
    name = module("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_provider(f"{name}:provider")


# --- running -------------------------------------------------------------------------------------------------


class Callback:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def Progress(self, *args: Any) -> None:
        self.told.append(args)


def test_a_provider_runs_and_returns() -> None:
    callback = Callback()
    outcome = run_provider(lambda c: c.Progress("x", 1, 2), callback)  # type: ignore[attr-defined]
    assert outcome == Outcome(value=None, elapsed_ns=outcome.elapsed_ns)
    assert outcome.elapsed_ns >= 0
    assert callback.told == [("x", 1, 2)]
    assert isinstance(run_provider(lambda c: object(), callback).value, Opaque)


def test_flags_go_to_those_who_take_them() -> None:
    got: list[Any] = []

    def takes(callback: object, *, flags: int) -> None:
        got.append(flags)

    def may_take(callback: object, flags: int | None = 7) -> None:
        got.append(flags)

    def takes_anything(callback: object, **options: Any) -> None:
        got.append(options)

    def takes_none(callback: object) -> None:
        got.append("none")

    providers: tuple[Callable[..., object], ...] = (takes, may_take, takes_anything, takes_none, got.append)
    for flags in (None, 0x80):
        for provider in providers:
            run_provider(provider, None, flags=flags)
    assert got == [0, 7, {}, "none", None, 0x80, 0x80, {"flags": 0x80}, "none", None]


def _fails(callback: object) -> None:
    raise ValueError("first\nsecond")


def _exits(callback: object) -> None:
    sys.exit("enough")


@pytest.mark.parametrize(
    ("provider", "detail"), [(_fails, "ValueError: first second"), (_exits, "SystemExit: enough")]
)
def test_what_a_provider_raises_is_an_outcome(provider: Callable[[object], None], detail: str) -> None:
    outcome = run_provider(provider, None)
    assert outcome.kind is OutcomeKind.RAISED
    assert outcome.detail == detail
    assert outcome.place.startswith("test_provider.py:")
    assert outcome.place.endswith(f"in {provider.__name__}")


def test_an_interrupt_goes_through() -> None:
    def interrupted(callback: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_provider(interrupted, None)


@pytest.mark.parametrize("how", ["returned", "returned among others", "started", "started by a started one"])
def test_threads_are_waited_for(how: str) -> None:
    callback, go = Callback(), threading.Event()

    def work() -> None:
        assert go.wait(60)
        callback.Progress(how)

    def provider(_: object) -> object:
        thread = threading.Thread(target=work, daemon=how.startswith("returned"))
        if how == "started by a started one":
            threading.Thread(target=thread.start).start()
        else:
            thread.start()
        threading.Thread(target=go.set).start()
        return {"returned": thread, "returned among others": (1, [], thread)}.get(how)

    outcome = run_provider(provider, callback)
    assert outcome.kind is OutcomeKind.RETURNED
    assert callback.told == [(how,)]


def test_a_thread_that_fails_is_the_providers_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def provider(callback: object) -> None:
        threading.Thread(target=_fails, args=(None,)).start()

    hook = threading.excepthook
    outcome = run_provider(provider, None)
    assert outcome.kind is OutcomeKind.RAISED
    assert outcome.detail == "ValueError: first second"
    assert threading.excepthook is hook
    assert capsys.readouterr().err == ""


def test_a_thread_that_is_never_started_is_not_waited_for() -> None:
    assert run_provider(lambda callback: threading.Thread(target=print), None).kind is OutcomeKind.RETURNED


# --- recording -----------------------------------------------------------------------------------------------


def _three_calls(callback: Any) -> None:
    callback.Progress("x", 1, 2)
    callback.Progress(None, 2, 2)
    callback.Done(None, 0)


def test_record(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    outcome = record(_three_calls, path, flags=0x80, provenance={"kind": "captured"})
    assert outcome.kind is OutcomeKind.RETURNED
    trace = read_trace(path)
    assert trace.damage is None
    assert trace.header.sync_flags == 0x80
    assert trace.header.provenance == {"kind": "captured"}
    assert trace.header.created_ns > 0
    assert [call.method for call in trace.calls] == ["Progress", "Progress", "Done"]
    assert [played.outcome.value for played in trace.played if played.outcome] == [0, 0, 0]


def test_record_keeps_the_calls_of_a_provider_that_raises(tmp_path: Path) -> None:
    def provider(callback: Any) -> None:
        callback.Progress("x", 1, 2)
        raise ValueError("no")

    path = tmp_path / "run.tape"
    assert record(provider, path).kind is OutcomeKind.RAISED
    trace = read_trace(path)
    assert trace.damage is None
    assert len(trace.calls) == 1


def test_record_forwards_and_answers(tmp_path: Path) -> None:
    callback = Callback()
    callback.Done = lambda *args: -1  # type: ignore[attr-defined]
    callback.Error = None  # type: ignore[attr-defined]
    record(_three_calls, tmp_path / "forwarded.tape", inner=callback)
    assert callback.told == [("x", 1, 2), (None, 2, 2)]
    record(_three_calls, tmp_path / "answered.tape", answers={"Progress": iter([5, 6])})
    answers = {
        name: [played.outcome.value for played in read_trace(tmp_path / name).played if played.outcome]
        for name in ("forwarded.tape", "answered.tape")
    }
    assert answers == {"forwarded.tape": [None, None, -1], "answered.tape": [5, 6, 0]}


def test_record_overwrites_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    path.write_text("precious")
    ran: list[object] = []
    with pytest.raises(TraceError, match="exists already"):
        record(ran.append, path)
    assert ran == []
    assert path.read_text() == "precious"
    record(_three_calls, path, overwrite=True)
    assert len(read_trace(path).calls) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["run.tape"]
    record(_three_calls, tmp_path / "new.tape", overwrite=True)
    with pytest.raises(TraceError, match="is no ordinary file"):
        record(ran.append, tmp_path, overwrite=True)


def test_what_is_replaced_comes_back_if_nothing_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.tape"
    path.write_text("precious")

    def no_writer(*args: object, **options: object) -> object:
        raise TraceError("cannot be written: disk full", path=path)

    monkeypatch.setattr("recorder.provider.open_writer", no_writer)
    with pytest.raises(TraceError, match="disk full"):
        record(_three_calls, path, overwrite=True)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["run.tape"]
