"""Which lines of a file ran, told from the sites that were reached in it.

A site is a place with a mark: an arm of a branch, mostly (fuzz.instrument).  A statement without one of its own
ran when the one before it in its block did; what a block begins with has a mark as a rule, and where it has none
nothing is said.  Lines outside functions are not told of: they run while the module is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fuzz.coverage import CoveredFile

__all__ = ["Line", "covered_lines", "ranges"]

_ENDS_BLOCK = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ALSO_RUN = ("body", "finalbody")  # of a `try` or `with`, whenever it runs


@dataclass(frozen=True, slots=True)
class Line:
    """`kind` is "hit", "missed", or "partial" where it ran and went not all the ways it can: those in `missed`."""

    kind: str
    missed: tuple[str, ...] = ()


def covered_lines(file: CoveredFile) -> dict[int, Line]:
    """By number from 1; a line of which nothing is known is not there."""
    missed: dict[int, list[str]] = {}
    for line, way in file.missed:
        missed.setdefault(line, []).append(way)
    ran = {line: True for line, _ in file.hit} | {line: False for line in missed if line not in _lines(file.hit)}
    try:
        tree = ast.parse(file.source)
    except (SyntaxError, ValueError, RecursionError):
        tree = ast.Module([], [])
    _Reader(_lines(file.hit), set(missed), ran).block(tree.body, None)
    return {line: _line(known, missed.get(line, ())) for line, known in sorted(ran.items())}


def _lines(sites: Iterable[tuple[int, str]]) -> set[int]:
    return {line for line, _ in sites}


def _line(ran: bool, ways: Sequence[str]) -> Line:
    if not ran:
        return Line("missed")
    return Line("partial", tuple(dict.fromkeys(ways))) if ways else Line("hit")


class _Reader:
    """Fills `ran`, from lines with sites that were reached and lines with sites that were not."""

    def __init__(self, hit: set[int], missed: set[int], ran: dict[int, bool]):
        self._hit = hit
        self._missed = missed
        self._ran = ran

    def block(self, body: Sequence[ast.stmt], ran: bool | None) -> None:
        """`ran`: whether the block's beginning did, None where only its own sites can tell."""
        for statement in body:
            if isinstance(statement, _SCOPES):
                self._tell(statement.lineno, statement.body[0].lineno - 1, ran)
                self.block(statement.body, None)
                continue
            span = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
            if not self._hit.isdisjoint(span):
                ran = True
            elif not self._missed.isdisjoint(span):
                ran = False
            blocks = _blocks(statement)
            first = min((one[0].lineno for _, one in blocks), default=span.stop)
            self._tell(span.start, max(first - 1, span.start), ran)
            for name, inner in blocks:
                always = isinstance(statement, ast.Try | ast.With | ast.AsyncWith) and name in _ALSO_RUN
                self.block(inner, ran if always or ran is False else None)
            if isinstance(statement, _ENDS_BLOCK):
                ran = None

    def _tell(self, first: int, last: int, ran: bool | None) -> None:
        if ran is not None:
            for line in range(first, last + 1):
                self._ran[line] = ran


def _blocks(statement: ast.stmt) -> list[tuple[str, list[ast.stmt]]]:
    """The blocks directly inside a statement, with the names of their places."""
    found = [(name, getattr(statement, name, [])) for name in ("body", "orelse", "finalbody")]
    parts = (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ()))
    found += [("part", part.body) for part in parts]
    return [(name, body) for name, body in found if body]


def ranges(lines: Mapping[int, Line], kinds: Sequence[str]) -> list[tuple[int, int]]:
    """Runs of lines of these kinds, as first and last; lines of which nothing is known do not part them."""
    found: list[tuple[int, int]] = []
    joined = False
    for number, line in sorted(lines.items()):
        if line.kind not in kinds:
            joined = False
        elif joined:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
            joined = True
    return found
