"""The pages say what is so: commands, options, links and code in them exist and work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import synctape
from recorder.calls import Trace
from recorder.trace import read_trace
from replayer import pytest_plugin

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "corpora" / "README.md",
        *ROOT.glob("examples/*/README.md"),
    ]
)

_FENCED = re.compile(r"^( *)```(?P<language>\w*)\n(?P<text>.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of the fenced blocks."""
    for match in _FENCED.finditer(page.read_text("utf-8")):
        yield match["language"], match["text"]


def prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What a heading is linked as: lower case, punctuation gone, hyphens for spaces."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """The command lines of ours that a page shows: in blocks, after `$` where output follows, and in its prose."""
    for language, text in blocks(page):
        if language in ("", "sh", "console"):
            joined = text.replace("\\\n", " ")
            for line in joined.splitlines():
                command = line.strip().removeprefix("$ ")
                if command.startswith("synctape ") and (language != "console" or line.strip() != command):
                    yield re.split(r"  +|\s+#", command)[0]
    for inline in _INLINE.findall(prose(page)):
        if inline.startswith("synctape ") and "->" not in inline:
            yield " ".join(inline.split())


def section(page: Path, title: str) -> str:
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert match, f"{page.name} has no section {title!r}"
    return match[1]


def test_quick_start_is_two_commands() -> None:
    found = [m["text"].splitlines() for m in _FENCED.finditer(section(ROOT / "README.md", "Quick start"))]
    assert [len(lines) for lines in found] == [1, 1]
    demo, tests = (lines[0] for lines in found)
    assert demo.endswith("synctape demo")
    assert "[test]" in tests and tests.endswith("pytest")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_resolve(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_exist(page: Path) -> None:
    for line in commands(page):
        check_command(line)


def check_command(line: str) -> None:
    """Fails where a command, a subcommand or an option does not exist."""
    command: click.Command = synctape.main
    context = click.Context(command)
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None and re.fullmatch(r"[A-Z.\[\]|]+", words[0]):  # `synctape COMMAND`
            return
        assert found is not None, f"{line}: no command {words[0]!r}"
        command, words = found, words[1:]
    context = click.Context(command)
    options = {name for p in command.get_params(context) for name in (*p.opts, *p.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in options, f"{line}: no option {word!r}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_options_of_the_pytest_plugin_exist(page: Path) -> None:
    known = {f"--synctape-{s.name}" for s in pytest_plugin._SETTINGS}
    known |= {s.ini for s in pytest_plugin._SETTINGS}
    text = page.read_text("utf-8")
    shown = {*re.findall(r"--synctape-[a-z-]+", text), *re.findall(r"^(synctape_\w+) *=", text, re.MULTILINE)}
    assert shown <= known | {"--synctape-"}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    """Scripts and sources that a page tells to run or to look at, in code, with a folder of ours before them."""
    folders = "benchmarks|corpora|docs|fuzz|recorder|replayer|tests"
    for name in re.findall(rf"\b((?:{folders})/[\w./-]+\.\w+)\b", page.read_text("utf-8")):
        assert (ROOT / name).exists(), f"{name}: no such file"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_compiles(page: Path) -> None:
    for language, text in blocks(page):
        if language == "python":
            compile(text, str(page), "exec")


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=page_id)
def test_python_runs(page: Path) -> None:
    """Every import and definition in the examples works."""
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), {"__name__": "example"})


def test_generated_parts_are_up_to_date() -> None:
    script = [sys.executable, str(ROOT / "docs" / "make_contract.py"), "--check"]
    checked = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_changelog_begins_with_what_is_to_come_or_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] in ("Unreleased", synctape.__version__)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    typed = [str(Path(sysconfig.get_path("scripts"), "synctape"))]  # as a reader types it
    command = [*(typed if sys.platform != "win32" else [sys.executable, "-m", "synctape"]), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_the_other_interface_goes_all_the_way(tmp_path: Path) -> None:
    """docs/architecture.md: record, show, replay and fuzz an interface that the page declares."""
    (example,) = (text for language, text in blocks(ROOT / "docs" / "architecture.md") if language == "python")
    (tmp_path / "action.py").write_text(example, "utf-8")
    lines = commands(ROOT / "docs" / "architecture.md")
    shown = [shlex.split(line)[1:] for line in lines if "copy.tape" in line]
    assert [words[0] for words in shown] == ["record", "show", "replay", "fuzz"]

    results = [run(tmp_path, *words) for words in shown]

    assert [(r.returncode, r.stderr[:300] if r.returncode == 2 else "") for r in results] == [
        (0, ""),
        (0, ""),
        (0, ""),
        (1, ""),
    ]
    recorded = read_trace(tmp_path / "copy.tape")
    assert [c.method for c in recorded.calls[:4]] == ["Begin", "UpdateText", "UpdateProgress", "QueryCancel"]
    found: list[Trace] = [read_trace(path) for path in sorted((tmp_path / "findings").glob("*.tape"))]
    assert any([(c.method, c.args) for c in trace.calls] == [("UpdateProgress", (0, 0))] for trace in found)
