"""Targets: each mistake in naming one is a line that says what to mend; each sequence gets a fresh instance."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, QuietHost, calls, trace

from recorder import com
from recorder.calls import Handle
from recorder.interfaces import IUNKNOWN
from replayer.player import play
from replayer.target import TargetError, is_library_spec, load_target, object_target, one_line


def problem(spec: str) -> str:
    """The one line that a target which gives no instance is refused with."""
    with pytest.raises(TargetError) as refused:
        load_target(spec).instance()
    message = str(refused.value)
    assert "\n" not in message
    return message


MISTAKES = {
    "clean": "target 'clean': write it as package.module:factory or path/library.so:symbol",
    ":Host": "target ':Host': write it as package.module:factory or path/library.so:symbol",
    "targets.clean:": "target 'targets.clean:': write it as package.module:factory or path/library.so:symbol",
    "tests/targets/clean.py:Host": (
        "target 'tests/targets/clean.py:Host': name the module, not its file: tests.targets.clean:Host"
    ),
    "targets.nowhere:Host": "target targets.nowhere:Host: no module 'targets.nowhere' here or on sys.path",
    "nowhere.at.all:Host": "target nowhere.at.all:Host: no module 'nowhere' here or on sys.path",
    "targets.clean:Hots": "target targets.clean:Hots: targets.clean has no 'Hots'",
    "targets.clean:__doc__": "target targets.clean:__doc__: __doc__ is a str, not a class or function",
    "targets.module_raises:Host": (
        "target targets.module_raises:Host: importing it raised RuntimeError: this module does not load"
    ),
    "targets.wrong_methods:Host": (
        "target targets.wrong_methods:Host: Host has no method Done; "
        "IMAPISyncProgressCallback needs Progress, Error, Done"
    ),
    "nowhere/host.so:create": "target nowhere/host.so:create: no file nowhere/host.so",
}


@pytest.mark.parametrize("spec", MISTAKES)
def test_a_mistake_in_the_name_is_told_in_a_line(spec: str) -> None:
    assert problem(spec) == MISTAKES[spec]


def test_a_factory_that_raises_is_told_with_its_place() -> None:
    message = problem("targets.factory_fails:Host")
    assert message.startswith("target targets.factory_fails:Host: the factory raised RuntimeError: this host ")
    assert "at factory_fails.py:" in message and message.endswith(" in __init__")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import a_dependency_that_is_missing", "importing it raised ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "importing it raised SystemExit: 3"),
        ("raise ValueError", "importing it raised ValueError"),
        ("raise ValueError('two\\nlines')", "importing it raised ValueError: two lines"),
        ("def f(:", "importing it raised SyntaxError: "),
    ],
)
def test_whatever_an_import_does_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "host_of_this_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert said in problem("host_of_this_test:Host")


def test_a_long_message_is_cut() -> None:
    assert len(one_line(ValueError("x" * 5000))) == 300


def test_the_current_folder_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "host_in_this_folder.py").write_text("from targets.clean import Host\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load_target("host_in_this_folder:Host").instance().object is not None


def test_a_factory_may_be_an_attribute_of_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "host_with_factory.py").write_text(
        "from targets.clean import Host\nclass Shop:\n    make = staticmethod(lambda: Host())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert set(load_target("host_with_factory:Shop.make").instance().methods) == {"Progress", "Error", "Done"}


def test_each_instance_is_a_fresh_one() -> None:
    target = load_target("targets.clean:Host")
    first, second = target.instance(), target.instance()
    assert first.object is not second.object
    assert first.methods["Progress"]("step", 1, 2) == 0
    assert (first.object.percent, second.object.percent) == (50, 0)
    assert first.handles.live(Handle(1)) is not second.handles.live(Handle(1))


def test_an_instance_says_what_it_offers_beyond_the_interface() -> None:
    assert load_target("targets.clean:Host").instance().invariant is not None
    assert load_target("targets.slow:Host").instance().invariant is None
    assert load_target("targets.leaks_handle:Host").instance().promises == {"closes-handle"}


def test_libraries_are_told_from_modules() -> None:
    assert is_library_spec("build/host.so:create") and is_library_spec("host.dll:create")
    assert not is_library_spec("package.module:factory")


# ----------------------------------------------------------------------------------------------------- places


class Raises(QuietHost):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if text == "itself":
            raise ValueError(text)
        if text == "in a library":
            return int(Path(text).stat().st_size)
        return self.Progress(text, index, maximum)


@pytest.mark.parametrize("how", ["itself", "in a library", "by endless recursion"])
def test_a_place_is_in_the_targets_own_code(how: str) -> None:
    (played,) = play(calls(f'Progress("{how}", 0, 1)'), object_target(Raises)).trace.played
    place = played.outcome.place if played.outcome else ""
    assert place.startswith("test_target.py:") and place.endswith(" in Progress")


def test_no_place_without_a_traceback() -> None:
    assert object_target(Raises).place(None) == ""


# ------------------------------------------------------------------------------- interface pointers of a factory


def exposed() -> Any:
    return com.expose(QuietHost(), CALLBACK)


def bare() -> Any:
    """A pointer with a reference that goes to whoever gets it."""
    return ctypes.c_void_p(com.expose(QuietHost(), CALLBACK).pointer)


def wrapped() -> Any:
    with com.expose(QuietHost(), CALLBACK) as first:
        return com.wrap(first.pointer, CALLBACK, add_ref=True)


WITHOUT_HANDLE = (*GOOD[:3], "Done(NULL, S_OK)")


@pytest.mark.parametrize("factory", [exposed, bare, wrapped])
def test_a_factory_may_give_an_interface_pointer(factory: Callable[[], Any]) -> None:
    run = play(trace(*WITHOUT_HANDLE), object_target(factory))
    assert [played.outcome and played.outcome.value for played in run.trace.played] == [0] * 4
    assert run.observations == ()  # no reference is left


def test_a_factory_that_gives_null() -> None:
    with pytest.raises(TargetError, match=r"the factory gave NULL$"):
        object_target(ctypes.c_void_p).instance()


def test_a_pointer_to_something_else() -> None:
    target = object_target(lambda: com.expose(object(), IUNKNOWN_ONLY))
    with pytest.raises(TargetError, match="does not speak IMAPISyncProgressCallback"):
        target.instance()


IUNKNOWN_ONLY = type(IUNKNOWN)("INothing", "{00000000-1111-2222-3333-444444444444}", (), base=IUNKNOWN)


# ----------------------------------------------------------------------------------------------------- native

BROKEN_FACTORIES = """
#include "callback.h"
EXPORT int32_t out_of_memory(void **ppv) { *ppv = NULL; return E_OUTOFMEMORY; }
EXPORT int32_t gives_nothing(void **ppv) { *ppv = NULL; return S_OK; }
"""


@pytest.fixture
def broken(library: Callable[[str | Path], Path], tmp_path: Path) -> Path:
    (tmp_path / "broken.c").write_text(BROKEN_FACTORIES)
    return library(tmp_path / "broken.c")


@pytest.mark.native
class TestNative:
    def test_a_library_gives_instances(self, library: Callable[[str], Path]) -> None:
        instance = load_target(f"{library('good_host')}:create").instance()
        assert instance.methods["Progress"]("step", 1, 2) == 0
        assert "closes-handle" in instance.promises
        instance.close()

    def test_a_symbol_that_is_not_there(self, library: Callable[[str], Path]) -> None:
        path = library("good_host")
        assert problem(f"{path}:make") == f"target {path}:make: {path.name} exports no 'make'"

    def test_a_file_that_is_no_library(self, tmp_path: Path) -> None:
        (tmp_path / "text.so").write_text("not a library")
        assert "cannot be loaded: " in problem(f"{tmp_path}/text.so:create")

    def test_an_object_that_refuses_the_interface(self, library: Callable[[str], Path]) -> None:
        message = problem(f"{library('refuses_iid')}:create")
        assert "the object does not speak IMAPISyncProgressCallback" in message
        assert message.endswith("(QueryInterface answered 0x80004002 E_NOINTERFACE)")

    def test_a_factory_that_fails(self, broken: Path) -> None:
        assert problem(f"{broken}:out_of_memory").endswith("the factory answered 0x8007000E E_OUTOFMEMORY")

    def test_a_factory_that_gives_nothing(self, broken: Path) -> None:
        assert problem(f"{broken}:gives_nothing").endswith("the factory gave no object, only 0x00000000 S_OK")

    def test_another_interface_of_the_same_object(self, library: Callable[[str], Path]) -> None:
        nothing = type(IUNKNOWN)("IUnknown", IUNKNOWN.iid, (), base=IUNKNOWN)
        load_target(f"{library('refuses_iid')}:create", nothing).instance().close()
