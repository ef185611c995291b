"""Places: the file that a finding names by its base name is found, below the source root or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from sequences import trace

from recorder.sarif_format import Location, source_root
from replayer.oracles import Finding
from replayer.places import Places
from replayer.player import Run
from replayer.verdict import Status, Verdict


def at(place: str) -> Finding:
    return Finding("X3", "exception", 0, "Progress", "bad", place)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", "utf-8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def located(places: Places, place: str, stack: str = "") -> Location:
    return places.of(at(place), Verdict("a.tape", Status.FAILED, run=Run(trace("Done(NULL, S_OK)"), (), stack)))


TRACE = Location("a.tape", is_source=False)


def test_the_targets_own_module_comes_before_others_of_its_name(root: Path) -> None:
    write(root, "src/host.py", "app/host.py", "app/__init__.py", "app/beside.py")
    places = Places("app.host:Host")
    assert located(places, "host.py:12 in f") == Location("app/host.py", 12)
    assert located(places, "beside.py:3 in g") == Location("app/beside.py", 3)
    assert located(Places("app:Host"), "__init__.py:1 in <module>") == Location("app/__init__.py", 1)


def test_a_file_of_which_there_is_one_is_found_wherever_it_lies(root: Path) -> None:
    write(root, "native/src/host.cpp", "native/src/twice.cpp", "old/twice.cpp")
    places = Places("native/host.so:make")
    assert located(places, "host.cpp:41 in Host::Progress") == Location("native/src/host.cpp", 41)
    assert located(places, "host.cpp in f") == Location("native/src/host.cpp", 1)
    assert located(places, "twice.cpp:1 in f") == TRACE  # nobody knows which


def test_environments_and_hidden_folders_are_no_sources(root: Path) -> None:
    write(root, ".git/host.cpp", "env/pyvenv.cfg", "env/host.cpp", "node_modules/host.cpp")
    assert located(Places("host.so:make"), "host.cpp:1 in f") == TRACE


def test_the_stack_says_which_one_it_was(root: Path) -> None:
    write(root, "one/step.py", "other/step.py")
    player = 'File "/x/replayer/player.py", line 1 in call'
    stack = f'Thread 0x1:\n  File "{root / "other" / "step.py"}", line 7 in go\n  {player}\n'
    assert located(Places("app.host:Host"), "step.py:7 in go", stack) == Location("other/step.py", 7)


def test_in_a_checkout_paths_begin_at_its_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "part/app.py")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root))
    monkeypatch.chdir(root / "part")
    assert source_root() == root
    assert located(Places("app:Host"), "app.py:2 in f") == Location("part/app.py", 2)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root / "elsewhere"))
    assert source_root() == root / "part"
