"""The workflow files in docs/ci.md: what they are to their CI server, and that our command takes their lines."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

import synctape

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
_SCHEMAS = {
    "GitHub Actions": "vendor.github-workflows",
    "GitLab": "vendor.gitlab-ci",
    "Azure Pipelines": "vendor.azure-pipelines",
}


def files() -> Iterator[tuple[str, str]]:
    """(heading, text) of the page's YAML."""
    text = PAGE.read_text("utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            yield section.partition("\n")[0], block


FILES = list(files())
NAMES = [f"{heading} {number}" for number, (heading, _) in enumerate(FILES)]


def scripts(value: Any, key: str = "") -> Iterator[str]:
    """All that a shell is given, wherever it stands."""
    if isinstance(value, str) and key in ("run", "script", "before_script"):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from scripts(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from scripts(inner, key)


def command_lines(text: str) -> list[str]:
    document = YAML(typ="safe").load(text)
    lines = [line.strip() for script in scripts(document) for line in script.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("synctape ")]


def parse(line: str) -> click.Context:
    """The command line as click takes it, without running it."""
    command: click.Command = synctape.main
    words = shlex.split(line)
    context = click.Context(command, info_name=words.pop(0))
    while isinstance(command, click.Group):
        inner = command.get_command(context, words[0])
        assert inner is not None, f"{line}: no command {words[0]!r}"
        command = inner
        context = click.Context(command, parent=context, info_name=words.pop(0))
    return command.make_context(context.info_name, words, parent=context.parent)


def test_each_server_has_its_files() -> None:
    assert [heading for heading, _ in FILES] == ["GitHub Actions"] * 3 + ["GitLab", "Azure Pipelines"]


@pytest.mark.parametrize(("heading", "text"), FILES, ids=NAMES)
def test_the_command_takes_each_line(heading: str, text: str) -> None:
    lines = command_lines(text)
    assert lines
    for line in lines:
        parse(line)


def test_a_line_that_is_wrong_would_be_seen() -> None:
    for line in (
        "synctape fuzz --target a:b --odd",
        "synctape fuzz --target a:b --mode night",
        "synctape baseline prune x",
    ):
        with pytest.raises(click.UsageError):
            parse(line)


@pytest.mark.parametrize("heading", sorted(_SCHEMAS))
def test_each_server_has_all_modes_and_keeps_what_was_found(heading: str) -> None:
    texts = [text for where, text in FILES if where == heading]
    modes = {parse(line).params.get("mode") for text in texts for line in command_lines(text)}
    assert {"pr", "batch", "prune", "coverage"} <= modes
    kept = {"GitHub Actions": "if: always()", "GitLab": "when: always", "Azure Pipelines": "succeededOrFailed()"}
    assert kept[heading] in texts[0]
    for text in texts:
        for line in command_lines(text):
            if "--mode pr " in line or "--mode batch" in line:
                assert "--baseline" in line and "--junit" in line


def spelled(value: Any) -> Any:
    """Truth values and numbers as texts, which is what the schema of Azure Pipelines wants but for `inputs`."""
    if isinstance(value, dict):
        return {name: inner if name == "inputs" else spelled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [spelled(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool | int) else value


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "text"), FILES, ids=NAMES)
def test_the_server_takes_the_file(heading: str, text: str, tmp_path: Path) -> None:
    """By the schema that its makers publish, as check-jsonschema carries it."""
    document = YAML(typ="safe").load(text)
    if heading == "Azure Pipelines":
        for job in document["jobs"]:  # the schema knows this task's name, but not what it takes
            job["steps"] = [step for step in job["steps"] if step.get("task") != "PublishCodeCoverageResults@2"]
        document = spelled(document)
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(document), "utf-8")
    transform = {"GitLab": "gitlab-ci", "Azure Pipelines": "azure-pipelines"}.get(heading)
    options = ["--regex-variant", "python", *(["--data-transform", transform] if transform else [])]
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        _SCHEMAS[heading],
        *options,
        str(file),
    ]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout[-3000:] + checked.stderr
