"""Rewrite the source of a module so that each arm of its functions runs past a mark of its own.

    if test: A                     if test: <1> A
                                   else: <2>
    while test: A                  entered = False
                                   while test: <1> entered = True; A
                                   else: <2> if entered else <3>         (the same for `for`)
    try: A                         try: A; <1> B        a step where A may raise
    except E: C                    except E: <2> C
                                   else: <3>
    with f(): A                    with f(): A <1>                       (f() may swallow an exception)
    match x:                       match x:
        case P if test: A              case P if test(<1> when false): <2> A
                                       case _: <3>
    a and b, as a test             (<> True if a else <1> False) and ...  until every way through has its own
    a and b, as a value            (<1> b if a else <2> a), a evaluated once
    a if test else b               <1> a if test else <2> b
    a < b < c                      a < b and b < c if b is a local, else a < b < (<1> c)
    lambda: a, [a for ...]         <1> a

and, in the version for fuzz.comparisons, a < b becomes compared(n, a, b), a / b and a[b] operated(n, a, b),
and x.get(a) called(n, x.get, a).
Only what runs inside functions is marked: the rest runs once, while the module is imported, and no campaign
can reach more of it.  Annotations, type parameters and patterns stay as they are.

A mark is made by one of two kinds of `Probes`:

- `LineProbes` (Python 3.12 on), for sys.monitoring to report once: the line of the arm's first statement, or a
  NOP on a line of its own beyond the file's end (`FIRST_LINE` + site number).  Where an expression is marked,
  `x` becomes `x if True else None` with the `True` on that line, which the compiler folds to the NOP.  Nothing
  that can raise or jump is on such a line.
- `CellProbes`: `if cells[site]: reached(site)`, both found as globals of the module.

Every node that was there keeps its position, so tracebacks, their carets and `inspect` see the file.  What a
target could notice: a trace function sees the marks' lines; frames hold a temporary per nested loop and one for
`and`/`or` (`_synctape_...`, none where a function asks for its locals, none in class bodies and comprehensions,
where fewer ways are told apart for it); two names more in the module with cells and three with comparisons, and a
function made anew over other globals lacks them; what a comparison raises has one frame more.  In `a and b or c`
the truth of `a` may be asked once more or less, as among Pythons.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

__all__ = [
    "CALLED",
    "CELLS",
    "COMPARED",
    "FIRST_LINE",
    "OPERATED",
    "REACHED",
    "CellProbes",
    "LineProbes",
    "Probes",
    "Site",
    "instrument",
]

CELLS = "_synctape_sites"
REACHED = "_synctape_reached"
COMPARED = "_synctape_compared"
OPERATED = "_synctape_operated"
CALLED = "_synctape_called"
_VALUE = "_synctape_value"
_ENTERED = "_synctape_entered"

FIRST_LINE = 1 << 24
"""The line of mark 0: more lines than any source file has."""

_LOOKS_AT_LOCALS = frozenset({"locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe"})
_MAY_RAISE = (
    ast.Await, ast.BinOp, ast.Call, ast.Delete, ast.Import, ast.ImportFrom, ast.Subscript, ast.Yield,
    ast.YieldFrom,
)  # fmt: skip
_RUNS_ON_ITS_LINE = (
    ast.Assign, ast.AugAssign, ast.Delete, ast.Expr, ast.For, ast.If, ast.Import, ast.ImportFrom, ast.Raise,
    ast.Return, ast.While,
)  # fmt: skip
_COMPARED = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_DIVIDES = (ast.Div, ast.FloorDiv, ast.Mod)
_CALLED = frozenset({"startswith", "endswith", "get"})
_ENDS_BLOCK = (ast.Return, ast.Raise, ast.Continue, ast.Break)

_Node = TypeVar("_Node", bound=ast.expr | ast.stmt)
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_Loop = ast.For | ast.AsyncFor | ast.While
_SCOPES = _Function | _Comprehension | ast.ClassDef


class Site(NamedTuple):
    """A place a mark is for: the line it tells of, and which way was taken there."""

    line: int
    way: str


class Probes(Protocol):
    """How a mark is made.  `everywhere` says that marks are free, so each statement may have one."""

    everywhere: bool

    def statement(self, site: int, at: ast.stmt) -> list[ast.stmt]:
        """What to run where the site is, at the position of `at`."""
        ...

    def entry(self, site: int, first: ast.stmt) -> list[ast.stmt]:
        """What to run right before `first` where that is the site; nothing if `first` itself will tell."""
        ...

    def before(self, site: int, value: ast.expr) -> ast.expr:
        """An expression that makes the mark, then is `value`."""
        ...


class LineProbes:
    """Marks as lines: FIRST_LINE + site, or a line of the file that only the site runs, from `lines`."""

    everywhere = True

    def __init__(self, source: str):
        self.lines: dict[int, int] = {}
        self._source = source.split("\n")

    def statement(self, site: int, at: ast.stmt) -> list[ast.stmt]:
        return [self._put(ast.Pass(), site)]

    def entry(self, site: int, first: ast.stmt) -> list[ast.stmt]:
        if not self._tells(first):
            return self.statement(site, first)
        self.lines[first.lineno] = site
        return []

    def _tells(self, node: ast.stmt) -> bool:
        """It is the first thing on its line, and starts to run there."""
        start = getattr(node, "test", getattr(node, "iter", node))
        if isinstance(start, ast.Constant) or not isinstance(node, _RUNS_ON_ITS_LINE):
            return False
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return False
        if not node.lineno == start.lineno == start.end_lineno or node.lineno > len(self._source):
            return False
        return not self._source[node.lineno - 1].encode()[: node.col_offset].strip()

    def before(self, site: int, value: ast.expr) -> ast.expr:
        never = _at(value, ast.Constant(None))
        return _at(value, ast.IfExp(self._put(ast.Constant(True), site), value, never))

    def _put(self, node: _Node, site: int) -> _Node:
        node.lineno = node.end_lineno = FIRST_LINE + site
        node.col_offset = node.end_col_offset = 0
        return node


class CellProbes:
    """Marks as a look into the list CELLS (true while not reached) and, the first time, a call of REACHED."""

    everywhere = False

    def statement(self, site: int, at: ast.stmt) -> list[ast.stmt]:
        return [_at(at, ast.If(self._is_new(site, at), [_at(at, ast.Expr(self._tell(site, at)))], []))]

    entry = statement

    def before(self, site: int, value: ast.expr) -> ast.expr:
        told = ast.IfExp(self._is_new(site, value), self._tell(site, value), _at(value, ast.Constant(True)))
        return _at(value, ast.IfExp(_at(value, told), value, _at(value, ast.Constant(None))))

    def _is_new(self, site: int, at: ast.stmt | ast.expr) -> ast.expr:
        return _at(at, ast.Subscript(_load(CELLS, at), _at(at, ast.Constant(site)), ast.Load()))

    def _tell(self, site: int, at: ast.stmt | ast.expr) -> ast.expr:
        return _at(at, ast.Call(_load(REACHED, at), [_at(at, ast.Constant(site))], []))


def instrument(
    source: str, path: str, probes: Probes, sites: list[Site], compare: Callable[[str], int] | None = None
) -> ast.Module:
    """The module's syntax tree with marks, to be compiled; the marks' sites are appended to `sites`.

    The first mark's number is the length of `sites`.  With `compare`, comparisons in functions become calls of
    COMPARED, OPERATED and CALLED; it is given the kind of each, and gives its number.  SyntaxError, ValueError or
    RecursionError as from ast.parse.
    """
    tree = ast.parse(source, path)
    rewriter = _Rewriter(probes, sites, _rebound(tree), compare)
    rewriter.visit(tree)
    return tree


def _at(place: ast.stmt | ast.expr, node: _Node) -> _Node:
    return ast.copy_location(node, place)


def _load(name: str, at: ast.stmt | ast.expr) -> ast.expr:
    return _at(at, ast.Name(name, ast.Load()))


def _rebound(tree: ast.AST) -> frozenset[str]:
    """Names that some function can rebind in another's scope or in the module's."""
    declared: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global | ast.Nonlocal):
            declared.update(node.names)
    return frozenset(declared)


@dataclass(frozen=True)
class _Scope:
    """What may be done where the rewriter is.

    `locals` are names that nothing but the code at hand binds, so that a second look finds the same value;
    `bound` are those of them that always have one.
    """

    temporaries: bool = False
    in_try: bool = False
    loops: int = 0
    locals: frozenset[str] = frozenset()
    bound: frozenset[str] = frozenset()


def _function_scope(node: _Function, rebound: frozenset[str]) -> _Scope:
    stored: set[str] = set()
    deleted: set[str] = set()
    for inner in _own(node):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            (stored if isinstance(inner.ctx, ast.Store) else deleted).add(inner.id)
        elif isinstance(inner, ast.ExceptHandler) and inner.name:
            deleted.add(inner.name)
    parameters = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    looks = any(getattr(inner, "id", getattr(inner, "attr", None)) in _LOOKS_AT_LOCALS for inner in ast.walk(node))
    return _Scope(
        temporaries=not looks,
        locals=frozenset(stored | parameters) - rebound,
        bound=frozenset(parameters - deleted) - rebound,
    )


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a function and binds names there: not what is inside another scope."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _own(child)


class _Tested(NamedTuple):
    """A test.  `true` says that each way to a true outcome is marked inside, `false` the same of a false one."""

    node: ast.expr
    true: bool
    false: bool


class _Rewriter(ast.NodeTransformer):
    """Visiting an expression gives one of the same value; visiting a statement gives statements."""

    def __init__(
        self,
        probes: Probes,
        sites: list[Site],
        rebound: frozenset[str],
        compare: Callable[[str], int] | None = None,
    ):
        self._probes = probes
        self._sites = sites
        self._rebound = rebound
        self._compare = compare
        self._scope: _Scope | None = None  # None: runs while the module is imported

    # marks

    def _site(self, line: int, way: str) -> int:
        self._sites.append(Site(line, way))
        return len(self._sites) - 1

    def _mark(self, way: str, at: ast.stmt) -> list[ast.stmt]:
        """A mark that ends a block: what follows it is at `at`, for jumps take the line before them."""
        return [*self._probes.statement(self._site(at.lineno, way), at), _at(at, ast.Pass())]

    def _entry(self, way: str, first: ast.stmt) -> list[ast.stmt]:
        return self._probes.entry(self._site(first.lineno, way), first)

    def _before(self, way: str, value: ast.expr) -> ast.expr:
        return self._probes.before(self._site(value.lineno, way), value)

    def _arm(self, way: str, body: Sequence[ast.stmt], owner: ast.stmt) -> list[ast.stmt]:
        """`body` rewritten, and a mark before it; a mark alone, at its owner, if it is empty."""
        return [*self._entry(way, body[0]), *self._block(body)] if body else self._mark(way, owner)

    # scopes

    @contextmanager
    def _inside(self, scope: _Scope | None) -> Iterator[None]:
        outer, self._scope = self._scope, scope
        yield
        self._scope = outer

    def _block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """The statements rewritten, with a mark after each that may raise, where marks are wanted."""
        result: list[ast.stmt] = []
        steps = self._scope is not None and (self._probes.everywhere or self._scope.in_try)
        raising = [steps and _may_raise(statement) for statement in body]  # as it was written
        for number, statement in enumerate(body):
            if number and raising[number - 1]:
                result += self._entry("step", statement)
            result += self._statements(statement)
            if isinstance(statement, _ENDS_BLOCK):
                return [*result, *body[number + 1 :]]
        return result

    def _statements(self, node: ast.stmt) -> list[ast.stmt]:
        rewritten = self.visit(node)
        return rewritten if isinstance(rewritten, list) else [rewritten]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.stmt:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        self._defaults(node.args)
        with self._inside(_function_scope(node, self._rebound)):
            documented = ast.get_docstring(node, clean=False) is not None
            head, body = node.body[:documented], node.body[documented:]
            node.body = [*head, *self._arm(f"{node.name} entered", body, head[0] if head else node)]
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        self._defaults(node.args)
        with self._inside(_function_scope(node, self._rebound)):
            node.body = self._before("lambda entered", self.visit(node.body))
        return node

    def _defaults(self, arguments: ast.arguments) -> None:
        arguments.defaults = [self.visit(value) for value in arguments.defaults]
        arguments.kw_defaults = [value and self.visit(value) for value in arguments.kw_defaults]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        if not getattr(node, "type_params", None):
            node.bases = [self.visit(base) for base in node.bases]
            for keyword in node.keywords:
                keyword.value = self.visit(keyword.value)
        with self._inside(self._scope and _Scope()):
            node.body = self._block(node.body)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_TypeAlias(self, node: ast.stmt) -> ast.stmt:
        return node

    # statements

    def visit_If(self, node: ast.If) -> ast.AST:
        if self._scope is None or _is_constant(node.test):
            node.test = self.visit(node.test)
            node.body, node.orelse = self._block(node.body), self._block(node.orelse)
            return node
        node.test, true, false = self._test(node.test)
        node.body = self._block(node.body) if true else self._arm("true", node.body, node)
        if false or (len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)):  # elif: its own arms tell
            node.orelse = self._block(node.orelse)
        else:
            node.orelse = self._arm("false", node.orelse, node)
        return node

    def visit_While(self, node: ast.While) -> ast.AST | list[ast.stmt]:
        if self._scope is None:
            return self.generic_visit(node)
        if _is_constant(node.test):
            node.body, node.orelse = self._block(node.body), self._block(node.orelse)
            return node
        node.test, entered, ended = self._test(node.test)
        return self._loop(node, self._scope, entered, ended)

    def visit_For(self, node: ast.For) -> ast.AST | list[ast.stmt]:
        return self._for(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST | list[ast.stmt]:
        return self._for(node)

    def _for(self, node: ast.For | ast.AsyncFor) -> ast.AST | list[ast.stmt]:
        if self._scope is None:
            return self.generic_visit(node)
        node.iter = self.visit(node.iter)
        return self._loop(node, self._scope, False, False)

    def _loop(self, node: _Loop, scope: _Scope, entered: bool, ended: bool) -> list[ast.stmt]:
        """The loop with its arms; `entered` and `ended` say which of them its test has marked."""
        with self._inside(replace(scope, loops=scope.loops + 1)):
            body = self._block(node.body) if entered else self._arm("entered", node.body, node)
        rest = self._block(node.orelse)
        if not scope.temporaries:
            node.body = body
            node.orelse = rest if ended else [*self._mark("ended", node), *rest]
            return [node]
        name = f"{_ENTERED}{scope.loops}"
        node.body = [_assign(name, True, node), *body]
        arms = self._arm("ended", (), node), self._arm("never entered", (), node)
        node.orelse = [_at(node, ast.If(_load(name, node), *arms)), *rest]
        return [_assign(name, False, node), node]

    def visit_Try(self, node: ast.Try) -> ast.stmt:
        return self._try(node)

    def visit_TryStar(self, node: ast.TryStar) -> ast.stmt:
        return self._try(node)

    def _try(self, node: ast.Try | ast.TryStar) -> ast.stmt:
        scope = self._scope
        with self._inside(scope and replace(scope, in_try=True)):
            body = self._block(node.body)
        if scope is None:
            for handler in node.handlers:
                handler.body = self._block(handler.body)
            node.orelse = self._block(node.orelse)
        else:
            for handler in node.handlers:
                handler.body = self._arm("exception caught", handler.body, handler.body[0])
            if node.handlers and not isinstance(node.body[-1], _ENDS_BLOCK):
                node.orelse = self._arm("no exception", node.orelse, node)
        node.body = body
        node.finalbody = self._block(node.finalbody)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        return self._with(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        return self._with(node)

    def _with(self, node: ast.With | ast.AsyncWith) -> ast.AST:
        for item in node.items:
            item.context_expr = self.visit(item.context_expr)
        last = node.body[-1]
        node.body = self._block(node.body)
        called = any(isinstance(item.context_expr, ast.Call | ast.Await) for item in node.items)
        if self._scope is not None and called and not isinstance(last, _ENDS_BLOCK):
            node.body += self._mark("with left", last)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        if self._scope is None:
            return self.generic_visit(node)
        node.subject = self.visit(node.subject)
        complete = False
        for case in node.cases:
            complete = case.guard is None and _is_irrefutable(case.pattern)
            true = False
            if case.guard is not None:
                guard = self._test(case.guard)
                case.guard, true = self._marked(guard, true=False), guard.true
            case.body = self._block(case.body) if true else self._arm("matched", case.body, node)
        if not complete:
            node.cases.append(ast.match_case(_wildcard(node), None, self._arm("no match", (), node)))
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if self._scope is None or _is_constant(node.test):
            return self.generic_visit(node)
        node.test = self._marked(self._test(node.test), true=False)
        if node.msg is not None:
            node.msg = self.visit(node.msg)
        return node

    # tests: only the truth of the outcome is used

    def _test(self, node: ast.expr) -> _Tested:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._test(node.operand)
            node.operand = inner.node
            return _Tested(node, inner.false, inner.true)
        if isinstance(node, ast.Compare):
            node = self._unchained(node)
        if isinstance(node, ast.BoolOp):
            return self._tested_operands(node)
        if isinstance(node, ast.IfExp) and not _is_constant(node.test):
            node.test = self._test(node.test).node
            node.body = self._marked(self._test(node.body))
            node.orelse = self._marked(self._test(node.orelse))
            return _Tested(node, True, True)
        return _Tested(self.visit(node), False, False)

    def _tested_operands(self, node: ast.BoolOp) -> _Tested:
        """Mark each outcome that ends the test early, and the last operand's equal one."""
        stops_on = isinstance(node.op, ast.Or)
        operands = [self._test(operand) for operand in node.values]
        node.values = [self._marked(operand, true=stops_on, false=not stops_on) for operand in operands]
        return _Tested(node, stops_on or operands[-1].true, not stops_on or operands[-1].false)

    def _marked(self, tested: _Tested, *, true: bool = True, false: bool = True) -> ast.expr:
        """The test with the wanted outcomes marked, where they are not yet."""
        node = tested.node
        true, false = true and not tested.true, false and not tested.false
        if not (true or false) or _is_constant(node):
            return node
        arms: list[ast.expr] = [_at(node, ast.Constant(True)), _at(node, ast.Constant(False))]
        if true:
            arms[0] = self._before("true", arms[0])
        if false:
            arms[1] = self._before("false", arms[1])
        return _at(node, ast.IfExp(node, *arms))

    # values

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if self._scope is None:
            return self.generic_visit(node)
        return self._short_circuit(node, node.values, self._scope)

    def _short_circuit(self, node: ast.BoolOp, values: Sequence[ast.expr], scope: _Scope) -> ast.expr:
        """`values` joined by the operator of `node`; each is evaluated and tested once, as ever."""
        first, *more = values
        if not more:
            return self._before("operand reached", self.visit(first))
        is_or = isinstance(node.op, ast.Or)
        test: ast.expr
        kept: ast.expr
        if isinstance(first, ast.Name) and first.id in scope.bound:
            test, kept = _load(first.id, node), first
        elif _is_bool(first):
            test, kept = self.visit(first), _at(first, ast.Constant(is_or))
        elif scope.temporaries:
            test, kept = _bind(_VALUE, self.visit(first), node), _take(_VALUE, node)
        else:
            return _at(node, ast.BoolOp(node.op, [self.visit(first), self._short_circuit(node, more, scope)]))
        stopped = self._before("operand short-circuits", kept)
        rest = self._short_circuit(node, more, scope)
        if isinstance(test, ast.NamedExpr):  # let go of the value before the next operand runs
            nothing = _at(node, ast.Constant(None))
            rest = _at(node, ast.IfExp(_bind(_VALUE, nothing, node), _at(node, ast.Constant(None)), rest))
        return _at(node, ast.IfExp(test, stopped, rest) if is_or else ast.IfExp(test, rest, stopped))

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if self._scope is None or _is_constant(node.test):
            return self.generic_visit(node)
        node.test, true, false = self._test(node.test)
        body, orelse = self.visit(node.body), self.visit(node.orelse)
        node.body = body if true else self._before("true", body)
        node.orelse = orelse if false else self._before("false", orelse)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if self._scope is None:
            return self.generic_visit(node)
        unchained = self._unchained(node)
        if isinstance(unchained, ast.BoolOp):
            return self._short_circuit(unchained, unchained.values, self._scope)
        self.generic_visit(node)
        node.comparators[1:] = [self._before("operand reached", value) for value in node.comparators[1:]]
        if self._compare is None or len(node.ops) > 1 or not isinstance(node.ops[0], _COMPARED):
            return node
        number = self._compare(type(node.ops[0]).__name__)
        return _call(COMPARED, number, [node.left, node.comparators[0]], node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if self._scope is None or self._compare is None or not isinstance(node.op, _DIVIDES):
            return node
        return _call(OPERATED, self._compare(type(node.op).__name__), [node.left, node.right], node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        plain = isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Slice | ast.Tuple)
        if self._scope is None or self._compare is None or not plain:
            return node
        return _call(OPERATED, self._compare("Subscript"), [node.value, node.slice], node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        function = node.func
        if (
            self._scope is None
            or self._compare is None
            or node.keywords
            or not node.args
            or not isinstance(function, ast.Attribute)
            or function.attr not in _CALLED
        ):
            return node
        return _call(CALLED, self._compare(function.attr), [function, *node.args], node)

    def _unchained(self, node: ast.Compare) -> ast.expr:
        """`a < b < c` as `a < b and b < c`, where a second look at each operand between gives the same."""
        known = self._scope.locals if self._scope is not None else frozenset[str]()
        between = node.comparators[:-1]
        repeatable = all(
            isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and value.id in known)
            for value in between
        )
        if not between or not repeatable:
            return node
        lefts = [node.left, *(_copy(value) for value in between)]
        links: list[ast.expr] = [
            _at(node, ast.Compare(left, [operator], [right]))
            for left, operator, right in zip(lefts, node.ops, node.comparators, strict=True)
        ]
        return _at(node, ast.BoolOp(ast.And(), links))

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node)

    def _comprehension(self, node: _Comprehension) -> ast.AST:
        if self._scope is None:
            return self.generic_visit(node)
        scope = replace(self._scope, temporaries=False)
        with self._inside(scope):
            node.generators[0].iter = self.visit(node.generators[0].iter)
        targets = (inner for generator in node.generators for inner in ast.walk(generator.target))
        bound = {inner.id for inner in targets if isinstance(inner, ast.Name)} - self._rebound
        with self._inside(replace(scope, locals=scope.locals | bound, bound=scope.bound | bound)):
            for number, generator in enumerate(node.generators):
                if number:
                    generator.iter = self.visit(generator.iter)
                generator.ifs = [self._marked(self._test(test), true=False) for test in generator.ifs]
            if isinstance(node, ast.DictComp):
                node.key = self._before("entered", self.visit(node.key))
                node.value = self.visit(node.value)
            else:
                node.elt = self._before("entered", self.visit(node.elt))
        return node


# small questions and small nodes


def _may_raise(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(isinstance(inner, _MAY_RAISE) for inner in ast.walk(node))


def _is_constant(node: ast.expr) -> bool:
    """The compiler knows the outcome, and may drop an arm."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id == "__debug__")


def _is_bool(node: ast.expr) -> bool:
    """It gives True or False, whatever its operands are."""
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1 and isinstance(node.ops[0], ast.Is | ast.IsNot | ast.In | ast.NotIn)
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _is_irrefutable(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchOr):
        return any(_is_irrefutable(choice) for choice in pattern.patterns)
    return isinstance(pattern, ast.MatchAs) and (pattern.pattern is None or _is_irrefutable(pattern.pattern))


def _call(name: str, number: int, args: list[ast.expr], at: ast.expr) -> ast.expr:
    return _at(at, ast.Call(_load(name, at), [_at(at, ast.Constant(number)), *args], []))


def _copy(node: ast.expr) -> ast.expr:
    """Another node for the same name or constant."""
    return _load(node.id, node) if isinstance(node, ast.Name) else node


def _wildcard(at: ast.stmt) -> ast.pattern:
    return ast.copy_location(ast.MatchAs(), at)


def _assign(name: str, value: bool, at: ast.stmt) -> ast.stmt:
    return _at(at, ast.Assign([_at(at, ast.Name(name, ast.Store()))], _at(at, ast.Constant(value))))


def _bind(name: str, value: ast.expr, at: ast.expr) -> ast.expr:
    return _at(at, ast.NamedExpr(_at(at, ast.Name(name, ast.Store())), value))


def _take(name: str, at: ast.expr) -> ast.expr:
    """The name's value, which the name then no longer holds."""
    pair = ast.Tuple([_load(name, at), _bind(name, _at(at, ast.Constant(None)), at)], ast.Load())
    return _at(at, ast.Subscript(_at(at, pair), _at(at, ast.Constant(0)), ast.Load()))
