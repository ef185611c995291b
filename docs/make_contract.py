"""Write the parts of these pages that stand elsewhere: contract, codes, oracles, mutators, what each room is for.

The interfaces that ship are written for the C recorder, too, as a header.

    python docs/make_contract.py            rewrite the pages
    python docs/make_contract.py --check    exit 1, naming them, if pages are not up to date

A generated part stands between two marks and is replaced as a whole:

    <!-- generated: states -->
    ...
    <!-- /generated -->
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # the clone's own data, whatever is installed

from fuzz.mutator import Mutator  # noqa: E402
from fuzz.mutators import MUTATORS  # noqa: E402
from fuzz.schedule_mutators import SCHEDULE  # noqa: E402
from recorder import contract as contract_module  # noqa: E402
from recorder import hresult  # noqa: E402
from recorder.calls import SYNC_EVENT, Argument, Call  # noqa: E402
from recorder.contract import CONTRACTS, Contract, Level  # noqa: E402
from recorder.interface import Method, Parameter, Type  # noqa: E402
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as INTERFACE  # noqa: E402
from recorder.interfaces import INTERFACES  # noqa: E402
from recorder.rules import RULES, Rule  # noqa: E402
from replayer.oracles import CODES, ORACLES  # noqa: E402

CONTRACT = CONTRACTS[INTERFACE.iid]
SEVERITIES = {"E": "E, a breach", "W": "W, suspicious", "I": "I, a note"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


# --- contract.md ---------------------------------------------------------------------------------------------


def vtable() -> Iterator[str]:
    return table(
        ("slot", "method", "NULL is documented for"),
        (
            (
                str(slot),
                f"`{_signature(method)}`",
                ", ".join(f"`{p.name}`" for p in method.parameters if p.nullable) or "",
            )
            for slot, method in enumerate(INTERFACE.slots)
        ),
    )


_C_TYPES = {
    Type.U32: "ULONG",
    Type.HRESULT: "HRESULT",
    Type.TEXT: "const WCHAR*",
    Type.HANDLE: "HANDLE",
    Type.IID: "REFIID",
    Type.POINTER: "void*",
}


def _signature(method: Method) -> str:
    def declared(parameter: Parameter) -> str:
        stars = "*" if parameter.is_out or parameter.pointer else ""
        return f"{_C_TYPES[parameter.type]}{stars} {parameter.name}"

    return f"{_C_TYPES[method.returns]} {method.name}({', '.join(map(declared, method.parameters))})"


def states() -> Iterator[str]:
    """The transitions as a diagram; the last Release is the monitor's, from any state to the released one."""
    arrows: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (state, method), (following, rule) in CONTRACT.transitions.items():
        arrows[state, following, f" (breaks {rule})" if rule else ""].append(method)
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {CONTRACT.start} : QueryInterface"
    for (state, following, note), methods in arrows.items():
        yield f"    {state} --> {following} : {', '.join(methods)}{note}"
    for state in dict.fromkeys(state for state, _ in CONTRACT.transitions if state != CONTRACT.released):
        note = "" if state in CONTRACT.ended or state == CONTRACT.start else " (breaks P12)"
        yield f"    {state} --> {CONTRACT.released} : last Release{note}"
    yield f"    {CONTRACT.released} --> [*]"
    yield "```"


def rules_of(side: str) -> Iterator[str]:
    readers = _readers(CONTRACT)
    return table(
        ("id", "severity", "rule", "source", "looked for by"),
        (
            (
                f"[{rule.id}](codes.md#{rule.id.lower()})",
                SEVERITIES[rule.severity],
                rule.text,
                rule.source if rule.documented else f"*{rule.source}*",
                ", ".join(f"`{name}`" for name in readers[rule.id]) or "nobody yet",
            )
            for rule in RULES.values()
            if rule.side == side
        ),
    )


def _readers(contract: Contract) -> dict[str, list[str]]:
    """Who can name a rule, by rule: `check` those that the monitor knows, an oracle those that it blames by."""
    readers: dict[str, list[str]] = defaultdict(list)
    tree = ast.parse(inspect.getsource(contract_module))
    known = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for rule in RULES.values():
        if rule.side == "provider" and rule.id in known:
            readers[rule.id].append("check")
    for oracle in ORACLES.values():
        readers[oracle.code].append(oracle.name)
    for rule_id in _host_rules(contract) - {ORACLES["failure"].code}:
        readers[rule_id].append("failure")
    return readers


def _host_rules(contract: Contract) -> set[str]:
    """The rules that a failing host is blamed by, found by asking for telling calls in every state."""
    return {
        contract.host_rule(Call(method, args), state)
        for (state, method), (_, broken) in contract.transitions.items()
        if broken is None
        for args in itertools.product(*(_TELLING[p.type] for p in contract.interface.method(method).inputs))
    }


_TELLING: dict[Type, tuple[Argument, ...]] = {
    Type.TEXT: (None, "text"),
    Type.U32: (0, 1, 2),
    Type.HRESULT: (0, hresult.parse("E_FAIL"), hresult.parse("MAPI_W_ERRORS_RETURNED")),
    Type.HANDLE: (None, SYNC_EVENT),
}


def failing_rules() -> Iterator[str]:
    """Which rules fail `synctape check`."""

    def ids(wanted: Callable[[Rule], bool]) -> str:
        readers = _readers(CONTRACT)
        return ", ".join(r.id for r in RULES.values() if "check" in readers[r.id] and wanted(r)) or "none"

    def notes(rule: Rule) -> bool:
        return not rule.fails and not rule.timed

    yield f"- Fail the check: {ids(lambda rule: rule.fails)}."
    yield f"- Are notes: {ids(notes)}."
    yield f"- Judge rates and gaps, notes unless the limits are given to `check`: {ids(lambda rule: rule.timed)}."


# --- codes.md ------------------------------------------------------------------------------------------------


def oracles() -> Iterator[str]:
    return table(
        ("oracle", "code", "finds"),
        ((f"`{o.name}`", f"[{o.code}](#{o.code.lower()})", o.meaning) for o in ORACLES.values()),
    )


def codes() -> Iterator[str]:
    for name, code in CODES.items():
        yield from (
            f"### {name}",
            "",
            code.text,
            "",
            f"- Why it matters: {code.why}",
            f"- To mend it: {code.mend}",
            "",
        )


def rule_codes() -> Iterator[str]:
    for rule in RULES.values():
        documented = "documented" if rule.documented else "implied"
        yield from (f"### {rule.id}", "", rule.text, "")
        yield f"- Binds the {rule.side}; severity {SEVERITIES[rule.severity]}; {documented}: {rule.source}"
        yield from (f"- Why it matters: {rule.why}", f"- To mend it: {rule.mend}", "")


# --- fuzzing.md ----------------------------------------------------------------------------------------------


def mutators() -> Iterator[str]:
    levels = [(str(level), _named(m for m in MUTATORS.values() if m.level is level)) for level in Level]
    return table(("from level", "mutators"), [*levels, ("lenient, with `--threads`", _named(SCHEDULE.values()))])


def _named(mutators: Iterable[Mutator]) -> str:
    return ", ".join(f"`{mutator.name}`" for mutator in mutators)


# --- architecture.md -----------------------------------------------------------------------------------------


def rooms() -> Iterator[str]:
    for floor in ("recorder", "replayer", "fuzz"):
        yield from ("", f"### {floor}", "")
        yield from table(("room", "what it is for"), _rooms_of(DOCS.parent / floor))


def _rooms_of(floor: Path) -> Iterator[tuple[str, str]]:
    """(module, first paragraph of its docstring), each after those that it imports when it is imported."""
    trees = {p.stem: ast.parse(p.read_text("utf-8")) for p in sorted(floor.glob("*.py")) if p.stem != "__init__"}
    needed = {
        name: {n.module.partition(".")[2] for n in tree.body if isinstance(n, ast.ImportFrom) and n.module}
        for name, tree in trees.items()
    }
    while trees:
        name = next((n for n in trees if not needed[n] & trees.keys() - {n}), next(iter(trees)))
        paragraph = (ast.get_docstring(trees.pop(name)) or "").partition("\n\n")[0]
        yield f"`{name}`", " ".join(paragraph.split())


# --- the C recorder ------------------------------------------------------------------------------------------


def c_interfaces() -> Iterator[str]:
    """The interfaces that ship, as the C recorder takes them."""
    yield "/* Generated by docs/make_contract.py from recorder/interfaces.py, for synctape_record.c. */"
    for interface in sorted(INTERFACES.values(), key=lambda i: len(i.slots)):
        for method in interface.methods:
            if method.parameters:
                yield f"static const synctape_parameter {interface.name}_{method.name}[] = {{"
                for p in method.parameters:
                    flags = ", ".join(str(int(flag)) for flag in (p.is_out, p.nullable, p.pointer))
                    yield f'    {{"{p.name}", {_c_type(p.type)}, {flags}}},'
                yield "};"
        yield f"static const synctape_method {interface.name}_methods[] = {{"
        for method in interface.methods:
            parameters = f"{interface.name}_{method.name}" if method.parameters else "NULL"
            yield f'    {{"{method.name}", {_c_type(method.returns)}, {len(method.parameters)}, {parameters}}},'
        base = f"&synctape_{interface.base.name}" if interface.base else "NULL"
        yield "};"
        yield f"const synctape_interface synctape_{interface.name} = {{"
        yield f'    "{interface.name}", "{interface.iid}", {base},'
        yield f"    {len(interface.methods)}, {interface.name}_methods"
        yield "};"


def _c_type(kind: Type) -> str:
    return f"SYNCTAPE_{kind.name}"


FILES: dict[str, Callable[[], Iterator[str]]] = {"recorder/_native/synctape_interfaces.h": c_interfaces}

# -------------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "vtable": vtable,
    "states": states,
    "provider rules": lambda: rules_of("provider"),
    "host rules": lambda: rules_of("host"),
    "failing rules": failing_rules,
    "oracles": oracles,
    "codes": codes,
    "rule codes": rule_codes,
    "mutators": mutators,
    "rooms": rooms,
}

_PART = re.compile(r"(<!-- generated: (?P<name>[^>]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def up_to_date(page: str) -> str:
    """A page with its generated parts as they should be.  Raises KeyError for a part that has no source."""

    def generated(match: re.Match[str]) -> str:
        lines = "\n".join(PARTS[match["name"]]()).strip("\n")
        return f"{match[1]}\n{lines}\n\n{match[3]}"

    return _PART.sub(generated, page)


def main(arguments: Sequence[str]) -> int:
    stale = []
    wanted = {path: up_to_date(path.read_text("utf-8")) for path in sorted(DOCS.glob("*.md"))}
    wanted |= {DOCS.parent / name: "\n".join((*lines(), "")) for name, lines in FILES.items()}
    for path, text in wanted.items():
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(text, "utf-8", newline="\n")
    for path in stale:
        shown = path.relative_to(DOCS.parent).as_posix()
        print(f"{shown}: {'not up to date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
