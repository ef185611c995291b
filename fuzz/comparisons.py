"""What a target compares, while it runs: how near two operands came, and what the other one was.

fuzz/instrument.py makes a second version of the target's code, in which a comparison is a call of
`Comparisons.compared` (`a / b` and `a[b]` one of `operated`, `text.startswith(x)` and `table.get(x)` of `called`).
fuzz/coverage.py puts it in place for the sequences that are watched closely.  A comparison is open as long as it
came out only one way; of an open one is new each step by which two numbers come nearer to each other (from afar
each power of two), each character that two texts begin with in common.  That leads to counters that must stand at
37, to sums of arguments, to divisors that are 0 and indexes that are too large.

Its operands are handed to the mutator `match-comparison` (fuzz.mutators), which puts the one where it takes the
other for an argument.
"""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Callable
from typing import Any, Final

from fuzz.feedback import Feature

__all__ = ["COMPARISONS", "Comparisons", "Operands", "constants"]

Operands = tuple[str, Any, Any]
"""How two values are compared, and both of them."""

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "In": lambda one, other: one in other,
    "NotIn": lambda one, other: one not in other,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
    "Subscript": operator.getitem,
}
"""Operators by the names that `ast` has for them."""

_MOST = 24  # operands kept of a sequence
_MEMBERS = 16  # of a table that something is looked for in
_LONGEST = 300  # characters of a text that is an operand
_LONGEST_WORD = 64
_FAR = 1 << 10
_NEAR = 64  # numbers so far apart come nearer step by step, others by powers of two


class Comparisons:
    """What was seen of each comparison of the target's code, by its number.

    `new` is what the sequence at hand brought, and while `tracing`, `operands` are those of its comparisons, each
    with how late that was first met, 0 if it is not open, and `distances` how near the open ones came; `begin`
    forgets all three.  Nothing is noted unless `watching`.
    """

    def __init__(self) -> None:
        self.new: list[Feature] = []
        self.operands: dict[Operands, int] = {}
        self.distances: dict[int, int] = {}
        self.watching = False
        self.tracing = False
        self._kinds: list[str] = []
        self._functions: list[Callable[[Any, Any], Any]] = []
        self._outcomes: list[int] = []  # 1: was false, 2: was true
        self._nearest: list[int] = []
        self._met: dict[int, int] = {}

    def add(self, kind: str) -> int:
        """The number of a comparison of that kind."""
        self._kinds.append(kind)
        self._functions.append(COMPARISONS.get(kind, operator.eq))
        self._outcomes.append(0)
        self._nearest.append(_FAR)
        return len(self._kinds) - 1

    def begin(self) -> None:
        """The next sequence."""
        self.new.clear()
        self.operands.clear()
        self.distances.clear()

    @property
    def open(self) -> int:
        """How many have come out only one way so far."""
        return sum(outcome in (1, 2) for outcome in self._outcomes)

    # --- called by the target's code ----------------------------------------------------------------------------

    def compared(self, number: int, one: Any, other: Any) -> Any:
        """What comparing two values gives."""
        result = self._functions[number](one, other)
        if self.watching and (self.tracing or self._outcomes[number] != 3):
            self._note(number, one, other, result)
        return result

    def operated(self, number: int, one: Any, other: Any) -> Any:
        """What an operation gives that some operands make fail."""
        if self.watching:
            if self._kinds[number] != "Subscript":
                if type(other) is int and (type(one) is int or type(one) is float):
                    self._note(number, other, 0, False)
            elif type(one) is dict:
                if self.tracing:
                    self._looked_for(number, _comparable(other), one)
            elif type(other) is int and other >= 0 and type(one) in (str, list, tuple):
                self._note(number, len(one), other, False)
        return self._functions[number](one, other)

    def called(self, number: int, function: Callable[..., Any], *args: Any) -> Any:
        """What a method gives that compares the object it belongs to with its argument."""
        result = function(*args)
        if self.watching and (self.tracing or self._outcomes[number] != 3):
            owner = getattr(function, "__self__", None)
            if self._kinds[number] == "get":
                if type(owner) is dict:
                    self._note(number, args[0], owner, args[0] in owner)
            elif type(owner) is str:
                for part in args[0] if type(args[0]) is tuple else args[:1]:
                    self._note(number, owner, part, result)
        return result

    def _note(self, number: int, one: Any, other: Any, result: Any) -> None:
        if result is not True and result is not False:
            return
        self._outcomes[number] |= 1 + result
        first, second = _comparable(one), _comparable(other)
        if self.tracing and self._kinds[number] != "Subscript":
            self._keep(number, one, other, first, second)
        if self._outcomes[number] == 3:
            return
        kind = self._kinds[number]
        if type(first) is int and type(second) is int:
            distance = abs(first - second)
            if distance > _NEAR:
                distance = _NEAR + distance.bit_length()
        elif type(first) is str and type(second) is str and kind in ("Eq", "NotEq", "startswith"):
            distance = 64 - _in_common(first, second)
        else:
            return
        if self.tracing and distance < self.distances.get(number, _FAR):
            self.distances[number] = distance
        if distance < self._nearest[number]:
            if self._nearest[number] != _FAR or kind in ("Eq", "NotEq"):
                self.new.append(f"comparison {number} within {distance}")
            self._nearest[number] = distance

    def _keep(self, number: int, one: Any, other: Any, first: int | str | None, second: int | str | None) -> None:
        """Keep two operands."""
        if second is None and isinstance(other, dict | set | frozenset | list | tuple):
            self._looked_for(number, first, other)
        elif type(first) is not type(second) or first == second or len(self.operands) >= _MOST:
            pass
        elif not isinstance(first, str) or max(len(first), len(str(second))) <= _LONGEST:
            self.operands[self._kinds[number], first, second] = self._rank(number)

    def _rank(self, number: int) -> int:
        return self._met.setdefault(number, len(self._met) + 1) if self._outcomes[number] != 3 else 0

    def _looked_for(self, number: int, value: Any, table: Any) -> None:
        if value is None or len(table) > 1000:
            return
        for member in map(_comparable, itertools.islice(table, _MEMBERS)):
            if type(member) is type(value) and len(self.operands) < _MOST:
                self.operands["Eq", value, member] = self._met.setdefault(number, len(self._met) + 1)


def _comparable(value: Any) -> int | str | None:
    """A value as an operand of ours: an integer that an argument could carry, a text; else None."""
    kind = type(value)
    if isinstance(value, int):  # IntEnum and the like, too
        return int(value) if kind is not bool and -(1 << 63) <= value < 1 << 63 else None
    if kind is str:
        return str(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("latin-1") if len(value) <= _LONGEST else None
    return None


def _in_common(one: str, other: str) -> int:
    """How many characters two texts begin with in common, up to 32."""
    number = 0
    for mine, theirs in zip(one[:32], other, strict=False):
        if mine != theirs:
            break
        number += 1
    return number


def constants(tree: ast.AST) -> tuple[list[int], list[str]]:
    """Numbers and texts that stand in a module, in order: what it may compare its arguments with.

    Those of annotations and docstrings are left out.
    """
    numbers: dict[int, None] = {}
    texts: dict[str, None] = {}
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Constant):
            value = _comparable(node.value)
            if type(value) is int and not -2 <= value <= 2:
                numbers[value] = None
            elif type(value) is str and 0 < len(value) <= _LONGEST_WORD:
                texts[value] = None
        elif isinstance(node, ast.BinOp | ast.UnaryOp):
            number = _folded(node)
            if number is not None and not -2 <= number <= 2:
                numbers[number] = None
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            children = [
                *node.decorator_list,
                *node.args.defaults,
                *filter(None, node.args.kw_defaults),
                *node.body,
            ]
        elif isinstance(node, ast.AnnAssign):
            children = [node.value] if node.value is not None else []
        waiting += reversed(children)
    return list(numbers), list(texts)


def _folded(node: ast.expr, depth: int = 4) -> int | None:
    """The number that an expression of numbers comes to, such as -5 or 1 << 20."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int and abs(node.value) < 1 << 64 else None
    if depth and isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _folded(node.operand, depth - 1)
        return None if value is None else -value
    if depth and isinstance(node, ast.BinOp):
        one, other = _folded(node.left, depth - 1), _folded(node.right, depth - 1)
        if one is not None and other is not None:
            if isinstance(node.op, ast.LShift) and 0 <= other <= 64:
                return one << other
            if isinstance(node.op, ast.Pow) and 0 <= other <= 64 and abs(one) <= 16:
                return int(one**other)
            simple = {
                ast.Add: operator.add,
                ast.Sub: operator.sub,
                ast.Mult: operator.mul,
                ast.BitOr: operator.or_,
            }
            if type(node.op) in simple:
                return int(simple[type(node.op)](one, other))
    return None
