"""The sample hosts in C++: they build without a warning, the README names each, and the correct ones are clean."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import CALLBACK, GOOD, trace

from recorder import com
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.target import load_target

FOLDER = Path(__file__).parents[2] / "examples" / "native"
NAMES = sorted(file.stem for file in FOLDER.glob("*.cpp"))
CORRECT = ("good_host", "tolerates_late_calls")


def test_the_readme_tells_of_each_file() -> None:
    told = re.findall(r"`(\w+)(?:\.\w+)?`", (FOLDER / "README.md").read_text("utf-8"))
    assert sorted({file.stem for file in FOLDER.iterdir() if file.suffix in (".cpp", ".h")} - set(told)) == []


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.parametrize("goal", ["all", "asan", "windows"])
def test_each_builds_without_a_warning(tmp_path: Path, goal: str) -> None:
    command: list[str | Path] = ["make", "-j2", "-f", FOLDER / "Makefile", f"OUT={tmp_path}", goal]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert sorted(file.stem for file in tmp_path.rglob("*.*") if file.suffix in (".so", ".dll")) == NAMES


@pytest.mark.native
@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_host_gives_nothing(example: Callable[[str], Path], name: str) -> None:
    player = Here(load_target(f"{example(name)}:create", CALLBACK))
    recorded = trace(*GOOD)
    assert Judge.of(recorded).findings(player.play(recorded)) == []


@pytest.mark.native
def test_they_say_how_many_objects_there_are(example: Callable[[str], Path]) -> None:
    import ctypes

    library = ctypes.CDLL(str(example("good_host")))
    pointer = ctypes.c_void_p()
    assert library.create(ctypes.byref(pointer)) == 0 and library.create_live() == 1
    assert pointer.value is not None
    host = com.wrap(pointer.value, CALLBACK)
    assert (host.AddRef(), host.Release(), host.Release(), library.create_live()) == (2, 1, 0, 0)
