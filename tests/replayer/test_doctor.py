"""`synctape doctor`: what it says is so, with and without the compiled core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recorder.native import SWITCH, core_of
from replayer.cli import doctor
from replayer.doctor import diagnosis, told


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


def as_json(switch: str) -> dict[str, Any]:
    code = "import synctape; synctape.main(['doctor', '--json'])"  # of the packages that this test imports
    environment = {**os.environ, SWITCH: switch, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_json_without_the_core() -> None:
    facts = as_json("ctypes")
    assert facts["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["platform"]["system"] == sys.platform
    assert facts["libraries"]["msgpack"]
    assert all(Path(path).is_file() for path in facts["c_recorder"].values())
    left_aside = {"compiled": False, "why": f"{SWITCH}=ctypes is set"}
    assert facts["core"] == {"recorder": left_aside, "replayer": left_aside}


@pytest.mark.native
def test_json_where_the_core_is_compiled() -> None:
    core = as_json("")["core"]
    assert list(core) == ["recorder", "replayer"]
    for floor in core.values():
        assert floor["compiled"] and Path(floor["why"]).is_file()


def test_what_is_not_there_is_said_so() -> None:
    facts = diagnosis()
    facts["synctape"], facts["msgpack_compiled"] = None, False
    facts["compilers"] = dict.fromkeys(facts["compilers"])
    lines = list(told(facts))
    assert "run from its folder" in lines[0]
    assert any("No C compiler" in line for line in lines)
    assert any(line.startswith("  msgpack") and "slow" in line for line in lines)
