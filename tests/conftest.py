"""What tests of several floors share: `targets` and `sequences` can be imported, native targets are compiled."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from replayer.isolation import Player

TESTS = Path(__file__).parent

if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))  # at the end: the floors' own folders here must not hide the floors

settings.register_profile("fixed", derandomize=True, database=None)  # the same examples in each run
settings.load_profile("fixed")

for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
    os.environ.pop(name, None)  # what is printed is the same wherever tests run


def pytest_configure(config: pytest.Config) -> None:
    """Hundreds of tests start processes: under PYTHONDONTWRITEBYTECODE each would compile all it imports anew."""
    if not hasattr(config, "workerinput"):  # once, and before xdist's workers start
        for folder in ("recorder", "replayer", "fuzz", "tests/targets"):
            compileall.compile_dir(TESTS.parent / folder, quiet=2)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | Path], Path]:
    """Compiles tests/targets/native/NAME.c, or a C file of the test's own, into a shared library, once."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    suffix = ".dll" if sys.platform == "win32" else ".so"
    headers, folder = TESTS / "targets" / "native", tmp_path_factory.mktemp("native")
    built: dict[str | Path, Path] = {}

    def build(name: str | Path) -> Path:
        if name not in built:
            source = name if isinstance(name, Path) else headers / f"{name}.c"
            built[name] = folder / f"{source.stem}-{len(built)}{suffix}"
            subprocess.run(
                [compiler, "-std=c99", "-fPIC", "-shared", f"-I{headers}", "-o", built[name], source], check=True
            )
        return built[name]

    return build


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds examples/native/NAME.cpp with its Makefile, once.

    Where SYNCTAPE_EXAMPLES names a folder, the libraries are taken from there as they are.
    """
    given = os.environ.get("SYNCTAPE_EXAMPLES")
    if given is None and not (shutil.which("c++") and shutil.which("make")):
        pytest.skip("no C++ compiler and make")
    folder = Path(given) if given else tmp_path_factory.mktemp("examples")

    def build(name: str) -> Path:
        file = folder / f"{name}{'.dll' if sys.platform == 'win32' else '.so'}"
        if given is None and not file.exists():
            makefile = TESTS.parent / "examples" / "native" / "Makefile"
            subprocess.run(["make", "-s", "-f", makefile, f"OUT={folder}", file], check=True)
        return file

    return build


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file golden/NAME beside the test; SYNCTAPE_ACCEPT=1 takes the text as it is now."""

    def compare(name: str, text: str) -> None:
        file = request.path.parent / "golden" / name
        if os.environ.get("SYNCTAPE_ACCEPT"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def isolated() -> Iterator[Callable[[str], Player]]:
    """Gives a player in a child process for a target, the same one for every test that asks for it."""
    from replayer.isolation import Isolated, Limits

    with contextlib.ExitStack() as stack:
        players: dict[str, Player] = {}

        def player(spec: str) -> Player:
            if spec not in players:
                players[spec] = Isolated(spec, limits=Limits(PATIENCE, MEMORY))
                stack.callback(players[spec].close)
            return players[spec]

        yield player


PATIENCE = 20.0  # seconds until a hang is one; a test that waits for one gives play() less
MEMORY = 200  # MiB
