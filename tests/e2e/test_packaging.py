"""What is shipped: built here, looked into, and run where nothing of the clone can be seen."""

from __future__ import annotations

import configparser
import email
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import synctape

ROOT = Path(__file__).parents[2]
PACKAGES = ("recorder", "replayer", "fuzz", "corpora")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Built:
    """A wheel and an sdist made from a copy of the tree, and the interpreter that made them."""

    wheel: Path
    sdist: Path
    python: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "findings", "venv")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=ignored)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    requires = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    subprocess.run([python, "-m", "pip", "install", "-q", *requires], check=True, cwd=folder)
    return Built(build(python, tree, "wheel"), build(python, tree, "sdist"), python)


def build(python: Path, tree: Path, what: str) -> Path:
    """A wheel or an sdist of a tree, as a build frontend has it made."""
    out = tree.parent / f"{what}-of-{tree.name}"
    out.mkdir()
    code = f"import sys; from setuptools.build_meta import build_{what}; build_{what}(sys.argv[1])"
    subprocess.run([python, "-c", code, out], cwd=tree, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (p for p in archive.namelist() if p.endswith(f".dist-info/{name}"))
        return archive.read(path).decode("utf-8")


def of_the_tree() -> set[str]:
    """What of the tree belongs into a wheel: modules, type markers, traces and what tells of them."""
    suffixes = (".py", ".typed", ".tape", ".md", ".txt", ".c", ".h", ".in", ".css", ".js")
    return {"synctape.py"} | {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in suffixes
    }


def test_the_wheel_holds_the_packages_and_the_traces_and_nothing_else(built: Built) -> None:
    held = names(built.wheel)
    compiled = {name for name in held if name.endswith((".so", ".pyd"))}
    assert held - compiled == of_the_tree()
    cover = {"replayer/_native/cover"} if sys.platform == "linux" else set()
    assert {name.partition(".")[0] for name in compiled} == cover | {f"{p}/_native/core" for p in PACKAGES[:3]}
    assert {f"{package}/py.typed" for package in PACKAGES[:3]} <= held
    assert {"recorder/samples/mail_folders.py", "replayer/samples/send_receive.py"} <= held
    assert sum(name.endswith(".tape") for name in held) >= 64  # 52 imported, 11 captured, a regression
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/", "examples/")) for name in held)


def test_the_sdist_builds_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    assert (tree / "LICENSE").exists() and (tree / "README.md").exists()
    assert not (tree / "tests").exists()
    assert names(build(built.python, tree, "wheel")) == names(built.wheel)


def test_entry_points(built: Built) -> None:
    points = configparser.ConfigParser()
    points.read_string(metadata(built.wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"synctape": "synctape:main"}
    assert dict(points["pytest11"]) == {"synctape": "replayer.pytest_plugin"}


def test_metadata(built: Built) -> None:
    fields = email.message_from_string(metadata(built.wheel, "METADATA"))
    assert (fields["Name"], fields["Version"]) == ("synctape", synctape.__version__)
    assert fields["License-Expression"] == "MIT"
    assert fields["Requires-Python"] == ">=3.11"
    required = [r.split(">")[0] for r in fields.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert sorted(required) == ["click", "hypothesis", "msgpack", "rich"]
    assert "# synctape" in metadata(built.wheel, "METADATA")  # the README is the description


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where it is found before any other synctape; dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [built.python, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, built.wheel], check=True
    )
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_installed_package_finds_its_traces(installed: Path, tmp_path: Path) -> None:
    code = "import corpora; print(*sorted(corpora.folder().rglob('*.tape')), sep='\\n')"
    found = run(installed, tmp_path, "-c", code).stdout.splitlines()
    assert found and all(Path(line).is_relative_to(installed) for line in found)

    shown = run(installed, tmp_path, "-m", "synctape", "show", "--stats", found[0])
    assert (shown.returncode, shown.stderr) == (0, "")


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    demo = run(installed, tmp_path, "-m", "synctape", "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert not list(tmp_path.iterdir())
