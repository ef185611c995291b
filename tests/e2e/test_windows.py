"""Nothing is skipped on Windows without a line in docs/windows.md that says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "windows.md"
_ABOUT_THE_SYSTEM = re.compile(r"win32|WINDOWS|WINE|os\.name|sys\.platform|hasattr\((?:os|signal)\b")
_ELSEWHERE = re.compile(r"^not WINDOWS$|!= 'win32'|not in \(.*'win32'.*\)$")  # these are skipped on other systems


def listed() -> set[str]:
    """The first column of the page's table."""
    section = PAGE.read_text("utf-8").partition("## What is not tested there\n")[2]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {reason for reason, why in rows if why.strip("- ")} - {"reason of the skip"}


def skips(source: str) -> Iterator[tuple[str, str]]:
    """Condition and reason of each skipif, and of each skip in code with the `if` that it stands under."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.skipif"):
            reasons = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            yield ast.unparse(node.args[0]), ast.literal_eval(reasons[0]) if reasons else ""
        if isinstance(node, ast.If):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "pytest.skip" and inner.args:
                    reason = ast.unparse(inner.args[0]).removeprefix("f").strip("'\"")
                    yield ast.unparse(node.test), re.sub(r"\{.*?\}", "...", reason)


def test_each_skip_on_windows_has_its_line() -> None:
    reasons = {
        reason: file.relative_to(TESTS).as_posix()
        for file in sorted(TESTS.rglob("*.py"))
        for condition, reason in skips(file.read_text("utf-8"))
        if _ABOUT_THE_SYSTEM.search(condition) and not _ELSEWHERE.search(condition)
    }
    missing = {reason: file for reason, file in reasons.items() if reason not in listed()}
    assert not missing
    assert listed() <= set(reasons), "lines about skips that are gone"
