"""The house: imports go one way, heavy libraries stay where they belong, public names are listed."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FLOORS = ("recorder", "replayer", "fuzz", "synctape")  # from the ground up
MODULES = [*sorted(p for floor in FLOORS[:3] for p in (ROOT / floor).rglob("*.py")), ROOT / "synctape.py"]
NAMES = [str(p.relative_to(ROOT)) for p in MODULES]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_go_down_only(path: Path) -> None:
    own = FLOORS.index(path.relative_to(ROOT).parts[0].removesuffix(".py"))
    assert not [name for name in imports(path) if name in FLOORS and FLOORS.index(name) > own]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    floor, name, found = path.relative_to(ROOT).parts[0], path.name, imports(path)
    assert "hypothesis" not in found or floor == "fuzz"
    assert "click" not in found or name.endswith("cli.py") or name in ("synctape.py", "demo.py")
    assert "pytest" not in found or name in ("pytest_plugin.py", "strategies.py")
    assert "fsspec" not in found or name == "locations.py"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_each_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name not in ("__init__.py", "pytest_plugin.py")], ids=str
)
def test_public_names_are_listed_and_exist(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    names = module.__all__
    assert all(hasattr(module, name) for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import recorder.callback, recorder.trace, recorder.com", ("hypothesis", "click", "rich", "replayer")),
        ("import replayer.player, replayer.isolation, replayer.pytest_plugin", ("hypothesis", "click", "fuzz")),
        ("import synctape", ("hypothesis", "msgpack", "rich", "fuzz", "replayer")),
        ("import recorder.cli, replayer.cli", ("hypothesis", "fuzz")),
    ],
)
def test_what_starts_fast_imports_little(statement: str, unwanted: tuple[str, ...]) -> None:
    check = f"import sys; {statement}; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_no_command_waits_for_hypothesis() -> None:
    """It costs as much as fifteen bare interpreters to import; only tests need it."""
    commands = ["record", "show", "check", "diff", "trim", "edit", "redact", "watch"]
    commands += ["replay", "export", "explain", "fuzz", "minimise", "corpus", "report"]
    check = (
        "import sys, synctape\n"
        "for command in sys.argv[1:]:\n"
        "    synctape.main([command, '--help'], standalone_mode=False)\n"
        "    print('loaded:', command, [m for m in ('hypothesis', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, *commands],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert sum(line.startswith("Usage: ") for line in lines) == len(commands)
    assert [line for line in lines if line.startswith("loaded: ")] == [f"loaded: {name} []" for name in commands]


def test_no_module_imports_itself_by_a_detour() -> None:
    """Imports at a module's top; those inside functions and for type checkers start nothing."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[name] = {
            node.module for node in parsed(path).body if isinstance(node, ast.ImportFrom) and node.module
        }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for imported in sorted(graph[name] & set(graph)):
                visit(imported, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())
