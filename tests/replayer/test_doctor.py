"""`synctape doctor`: what it says is so, with and without the compiled core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from recorder.native import SWITCH, core_of
from replayer.cli import doctor
from replayer.doctor import diagnosis, told

ROOT = Path(__file__).parents[2]


def test_it_says_what_is_in_use_and_why() -> None:
    done = CliRunner().invoke(doctor)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert any(line.startswith("Python ") and f" on {sys.platform} " in line for line in lines)
    for floor in ("recorder", "replayer"):
        (line,) = (line for line in lines if line.startswith(f"  {floor} "))
        core = core_of(floor)
        expected = f"the compiled core: {core.module.__file__}" if core.module else f"ctypes: {core.reason}"
        assert line.split(maxsplit=1)[1] == expected
    header, source = (Path(line.strip()) for line in lines if line.endswith(("_record.h", "_record.c")))
    assert "synctape_record(" in header.read_text("utf-8")
    assert '#include "synctape_record.h"' in source.read_text("utf-8")


@pytest.mark.parametrize("switch", ["ctypes", ""])
def test_json(switch: str) -> None:
    command = [sys.executable, "-m", "synctape", "doctor", "--json"]
    environment = {**os.environ, SWITCH: switch}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    facts = json.loads(done.stdout)
    assert facts["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["platform"]["system"] == sys.platform
    assert facts["libraries"]["msgpack"]
    assert all(Path(path).is_file() for path in facts["c_recorder"].values())
    if switch:
        assert facts["core"] == {
            floor: {"compiled": False, "why": f"{SWITCH}=ctypes is set"} for floor in ("recorder", "replayer")
        }
    else:
        assert set(facts["core"]) == {"recorder", "replayer"}


@pytest.mark.native
def test_where_there_is_a_compiler_the_core_is_compiled() -> None:
    facts = diagnosis()
    assert {floor: core["compiled"] for floor, core in facts["core"].items()} == {
        "recorder": True,
        "replayer": True,
    }


def test_what_is_not_there_is_said_so() -> None:
    facts = diagnosis()
    facts["synctape"], facts["msgpack_compiled"] = None, False
    facts["compilers"] = dict.fromkeys(facts["compilers"])
    lines = list(told(facts))
    assert "run from its folder" in lines[0]
    assert any("No C compiler" in line for line in lines)
    assert any(line.startswith("  msgpack") and "slow" in line for line in lines)
