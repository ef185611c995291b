"""The contract: sequences as text, and the rules that they break."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recorder.calls import Call, Enter, Handle, Leave, Outcome, OutcomeKind, Trace, TraceDamage
from recorder.contract import (
    CONTRACTS,
    Contract,
    Level,
    Monitor,
    contract_of,
    fits,
    free_contract,
    level_of,
    lint,
)
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.rules import RULES
from recorder.text import from_text

SYNC = contract_of(IMAPI_SYNC_PROGRESS_CALLBACK)

QUERY = 'QueryInterface("{5024a386-2d44-486a-81a8-8f0ecb6071dd}") -> S_OK (handle(1))'
FAILED_QUERY = 'QueryInterface("{5024a385-2d44-486a-81a8-8f0ecb6071dd}") -> 0x80004002 E_NOINTERFACE (NULL)'


def trace_of(lines: str) -> Trace:
    return from_text("synctape 1\n" + lines.replace(" / ", "\n"))


def broken(lines: str) -> list[str]:
    """`rule@call` of everything that a sequence breaks."""
    return [f"{violation.rule.id}@{violation.number}" for violation in lint(trace_of(lines))]


# --- sequences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "rules"),
    [
        # order
        ("", ""),
        ("Done(NULL, S_OK)", ""),
        ('Progress("a", 0, 2) / Progress(NULL, 2, 2) / Done(NULL, S_OK)', ""),
        ('Error(E_FAIL, "bad") / Progress("a", 1, 1) / Done(NULL, E_FAIL)', ""),
        ('Error(MAPI_W_NO_SERVICE, "warning") / Done(NULL, S_OK)', ""),
        ('Error(E_FAIL, "bad") / Done(NULL, MAPI_W_PARTIAL_COMPLETION)', ""),
        ('Progress("a", 1, 1)', "P12@1"),
        ('Error(E_FAIL, "bad")', "P12@1"),
        ('Done(NULL, S_OK) / Progress("a", 1, 1)', "P13@1"),
        ('Done(NULL, S_OK) / Error(E_FAIL, "bad")', "P13@1"),
        ("Done(NULL, S_OK) / Done(NULL, S_OK)", "P14@1"),
        ('Done(NULL, S_OK) / Progress("a", 1, 1) / Done(NULL, S_OK)', "P13@1 P14@2"),
        # a late call breaks one rule, not every one that its arguments might
        ("Done(NULL, S_OK) / Progress(NULL, 9, 1)", "P13@1"),
        # position
        ("Progress(NULL, 0, 0) / Done(NULL, S_OK)", "P6@0"),
        ("Progress(NULL, 3, 2) / Progress(NULL, 2, 2) / Done(NULL, S_OK)", "P6@0 P7@1"),
        ("Progress(NULL, 2, 4) / Progress(NULL, 1, 4) / Progress(NULL, 4, 4) / Done(NULL, S_OK)", "P7@1"),
        ('Progress("a", 2, 4) / Progress("a", 1, 4) / Progress("a", 4, 4) / Done(NULL, S_OK)', "P7@1"),
        ('Progress("a", 2, 4) / Progress("b", 1, 4) / Progress("b", 4, 4) / Done(NULL, S_OK)', ""),
        ('Progress("a", 2, 4) / Progress(NULL, 1, 5) / Progress(NULL, 5, 5) / Done(NULL, S_OK)', ""),
        # NULL keeps the step's text
        ('Progress("a", 1, 4) / Progress(NULL, 2, 4) / Progress("a", 1, 4) / Done(NULL, E_FAIL)', "P7@2 P18@3"),
        ("Progress(NULL, 1, 2) / Done(NULL, S_OK)", "P8@1"),
        ("Progress(NULL, 1, 2) / Done(NULL, MAPI_W_PARTIAL_COMPLETION)", "P8@1"),
        ('Progress(NULL, 1, 2) / Error(E_FAIL, "bad") / Done(NULL, E_FAIL)', ""),
        # errors
        ('Error(S_OK, "fine") / Done(NULL, S_OK)', "P10@0"),
        ("Error(E_FAIL, NULL) / Done(NULL, E_FAIL)", "P10@0"),
        ("Error(S_OK, NULL) / Done(NULL, S_OK)", "P10@0 P10@0"),
        ('Error(E_FAIL, "bad") / Done(NULL, S_OK)', "P18@1"),
        ("Done(NULL, E_FAIL)", "P18@0"),
        ("Done(NULL, 2147500037)", "P18@0"),  # E_FAIL written unsigned
        # handles
        ("Done(sync-event, S_OK)", ""),
        ("Done(handle(1), S_OK)", ""),
        ("Done(handle(-1), S_OK)", "P15@0"),
        # types
        ('Progress(1, "a", 2) / Done(NULL, S_OK)', "T1@0 T1@0"),
        ("Progress(NULL, 1) / Done(NULL, S_OK)", "T1@0"),
        ("Progress(NULL, 1, 1, 1) / Done(NULL, S_OK)", "T1@0"),
        ("Progress(NULL, NULL, 1) / Done(NULL, S_OK)", "T1@0"),
        ("Progress(NULL, -1, 1) / Progress(NULL, 1, 1) / Done(NULL, S_OK)", "T1@0 P6@0"),
        ("Progress(NULL, 1, 4294967296) / Done(NULL, S_OK)", "T1@0 P8@1"),
        ("Progress(bytes(00), 1, 1) / Done(NULL, S_OK)", "T1@0"),
        ("Progress(NULL, 1.5, 2) / Done(NULL, S_OK)", "T1@0"),
        ("Done(5, S_OK)", "T1@0"),
        ('Done(opaque("Event", "<Event>"), S_OK)', "T1@0"),
        ("Done(NULL, 4294967296)", "T1@0"),
        ("Done(NULL, NULL)", "T1@0"),
        # overlapping calls
        ("t0 Progress(NULL, 1, 1) ... / t0 Done(NULL, S_OK) / #0 -> S_OK", ""),
        ("t0 Progress(NULL, 1, 1) ... / t1 Error(E_FAIL, NULL) / #0 -> S_OK / Done(NULL, E_FAIL)", "P20@1 P10@1"),
        ("t0 Progress(NULL, 1, 1) ... / t1 Done(NULL, S_OK) ... / #0 -> S_OK / #1 -> S_OK", "P20@1"),
        ("t0 Done(NULL, S_OK) ... / t1 Progress(NULL, 1, 1) / #0 -> S_OK", "P20@1 P13@1"),
        ("t0 Progress(NULL, 1, 1) -> S_OK / t1 Done(NULL, S_OK) -> S_OK", ""),
        # the process died in a call
        ("Progress(NULL, 1, 1) ...", "P12@1"),
        ("Done(NULL, S_OK) ...", ""),
    ],
)
def test_sequences(calls: str, rules: str) -> None:
    assert broken(calls) == rules.split()


@pytest.mark.parametrize(
    ("calls", "rules"),
    [
        (f"{QUERY} / Progress(NULL, 1, 1) / Done(NULL, S_OK) / Release() -> 1", ""),
        (f"{QUERY} / AddRef() -> 3 / Done(NULL, S_OK) / Release() -> 2 / Release() -> 1", ""),
        # P1: the first successful query comes late; later ones and failed ones are fine
        (f"Progress(NULL, 1, 1) / {QUERY} / Done(NULL, S_OK) / Release() -> 1", "P1@1"),
        (f"{QUERY} / Progress(NULL, 1, 1) / {QUERY} / Done(NULL, S_OK) / Release() -> 2 / Release() -> 1", ""),
        (f"Progress(NULL, 1, 1) / {FAILED_QUERY} / Done(NULL, S_OK)", ""),
        # P2: references left over, or given back twice
        (f"{QUERY} / Done(NULL, S_OK)", "P2@2"),
        ("AddRef() -> 2 / Done(NULL, S_OK)", "P2@2"),
        ("Release() -> 1 / Done(NULL, S_OK)", "P2@0"),
        (f"{FAILED_QUERY} / Done(NULL, S_OK) / Release() -> 1", "P2@2"),
        ("Done(NULL, S_OK) / Release() -> 0 / Release() -> 0", "P2@2"),
        ("Done(NULL, S_OK) / Release() -> 0 / Release() -> 4294967295", "P2@2"),
        # P3: calls on an object whose count was 0
        ("Done(NULL, S_OK) / Release() -> 0 / Progress(NULL, 1, 1)", "P3@2"),
        ("Done(NULL, S_OK) / Release() -> 0 / Done(NULL, S_OK)", "P3@2"),
        ("Done(NULL, S_OK) / Release() -> 0 / AddRef() -> 1", "P3@2"),
        (f"Done(NULL, S_OK) / Release() -> 0 / {QUERY}", "P3@2"),
        # P12: released in the middle of a sync
        ("Progress(NULL, 1, 1) / Release() -> 0", "P12@1"),
        ("Progress(NULL, 1, 1) / Release() -> 0 / Done(NULL, S_OK)", "P12@1 P3@2"),
        ("Release() -> 0", ""),
        # what did not return gave no reference back
        ('AddRef() -> 2 / Done(NULL, S_OK) / Release() -> crashed "SIGSEGV"', ""),
        ('AddRef() -> 2 / Done(NULL, S_OK) / Release() -> crashed "SIGSEGV" with 0 / AddRef() -> 2', "P2@4"),
        # counting beside a call is nobody's business
        ("t0 Progress(NULL, 1, 1) ... / t1 AddRef() -> 2 / t1 Release() -> 1 / #0 -> S_OK / Done(NULL, S_OK)", ""),
        ("t1 AddRef() ... / t0 Done(NULL, S_OK) -> S_OK / #0 -> 2 / Release() -> 1", ""),
    ],
)
def test_iunknown(calls: str, rules: str) -> None:
    assert broken(calls) == rules.split()


def test_a_cut_trace_is_not_blamed_for_its_end() -> None:
    trace = trace_of(f"{QUERY} / Progress(NULL, 9, 1)")
    assert [v.rule.id for v in lint(trace)] == ["P6", "P12", "P2"]
    assert [v.rule.id for v in lint(replace(trace, damage=TraceDamage(10, "cut")))] == ["P6"]


def test_messages_say_what_and_where() -> None:
    calls = "Progress(NULL, 3, 2) / Progress(NULL, 1, 2) / Done(7, S_OK)"
    assert [f"{v.rule.id} {v.number}: {v.message}" for v in lint(trace_of(calls))] == [
        "P6 0: ulIndex 3 of 2",
        "P7 1: ulIndex falls from 3 to 1 within a step",
        "T1 2: Done.hThreadDoneEvent is 7",
        "P8 2: success at 1 of 2",
    ]


def test_numbers_that_python_does_not_spell() -> None:
    huge = 10**5000
    calls = [Call("Progress", (None, n, limit)) for n, limit in ((huge, huge), (huge, 1), (1, huge), (0, -huge))]
    violations = lint(Trace.from_calls([*calls, Call("Done", (huge, 0))]))
    assert {"T1", "P6", "P7", "P8"} >= {v.rule.id for v in violations} >= {"T1", "P6"}
    assert max(len(v.message) for v in violations) < 200


# --- levels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "level"),
    [
        ("", Level.CONFORMING),
        ("Progress(NULL, 1, 1) / Done(NULL, S_OK)", Level.CONFORMING),
        ("Progress(NULL, 0, 0) / Done(NULL, S_OK)", Level.LENIENT),
        ("Progress(NULL, 1, 1)", Level.HOSTILE),
        ("Done(NULL, S_OK) / Done(NULL, S_OK)", Level.HOSTILE),
        # without outcomes, a host is taken to hold on to its object
        (f"{QUERY} / Progress(NULL, 1, 1) / Done(NULL, S_OK) / Release()", Level.CONFORMING),
        (f"{QUERY} / Release() / {QUERY} / Done(NULL, S_OK) / Release()", Level.CONFORMING),
        ("AddRef() / Done(NULL, S_OK) / Release()", Level.CONFORMING),
        ("AddRef() / Done(NULL, S_OK)", Level.HOSTILE),
        ("Release() / Done(NULL, S_OK)", Level.HOSTILE),
    ],
)
def test_levels(calls: str, level: Level) -> None:
    assert level_of(SYNC, trace_of(calls).calls) is level


def test_what_comes_later_does_not_count_up_to_a_call() -> None:
    calls = trace_of("Progress(NULL, 1, 1) / Progress(NULL, 0, 0) / Done(NULL, S_OK) / Done(NULL, S_OK)").calls
    levels = [level_of(SYNC, calls, upto=number) for number in range(4)]
    assert levels == [Level.CONFORMING, Level.LENIENT, Level.LENIENT, Level.HOSTILE]
    assert level_of(SYNC, calls) is Level.HOSTILE
    assert [str(level) for level in Level] == ["conforming", "lenient", "hostile"]


def test_a_violation_has_a_level() -> None:
    violations = lint(trace_of("Progress(NULL, 0, 0) / Done(NULL, S_OK) / Done(NULL, S_OK)"))
    assert [(v.rule.id, v.level) for v in violations] == [("P6", Level.LENIENT), ("P14", Level.HOSTILE)]


# --- the monitor ---------------------------------------------------------------------------------------------


def test_the_monitor_follows_nested_calls() -> None:
    monitor = Monitor(SYNC)
    monitor.enter(0, Call("Progress", (None, 1, 1)))
    assert monitor.state == "running"
    monitor.enter(1, Call("Done", (None, 0)))
    assert monitor.state == "finished"
    monitor.leave(1, Outcome())
    monitor.leave(0, Outcome(OutcomeKind.RAISED, None, 5, "ValueError"))
    assert monitor.finish(2) == []


def test_only_what_overlaps_breaks_p20() -> None:
    monitor = Monitor(SYNC)
    for number, thread in enumerate((0, 1, 0)):
        monitor.enter(number, Call("Progress", (None, 1, 1), thread))
    assert [v.number for v in monitor.violations] == [1, 2]
    for number in (2, 0, 1):
        monitor.leave(number, Outcome())
    monitor.enter(3, Call("Progress", (None, 1, 1), 5))
    assert len(monitor.violations) == 2


# --- blame ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "state", "rule"),
    [
        ('Progress("a", 1, 2)', "bound", "H6"),
        ('Progress("a", 1, 2)', "running", "H6"),
        ("Progress(NULL, 1, 2)", "running", "H7"),
        ("Progress(NULL, 0, 0)", "running", "H10"),
        ('Progress("a", 3, 2)', "running", "H10"),
        ('Progress("a", 3, 2)', "finished", "H15"),
        ('Error(E_FAIL, "bad")', "running", "H6"),
        ("Error(E_FAIL, NULL)", "running", "H9"),
        ('Error(S_OK, "fine")', "running", "H13"),
        ('Error(0x80041234, "of whom?")', "running", "H13"),
        ('Error(MAPI_W_NO_SERVICE, "warning")', "running", "H13"),
        ("Done(handle(1), S_OK)", "running", "H6"),
        ("Done(NULL, S_OK)", "running", "H8"),
        ("Done(NULL, S_OK)", "finished", "H15"),
        ("Progress()", "running", "H7"),
        ("AddRef()", "running", "H6"),
    ],
)
def test_the_rule_that_a_failing_host_breaks(call: str, state: str, rule: str) -> None:
    assert SYNC.host_rule(trace_of(call).calls[0], state) == rule


# --- the table -----------------------------------------------------------------------------------------------


def test_what_is_legal_where() -> None:
    everything = ("Progress", "Error", "Done")
    assert SYNC.legal("bound") == SYNC.legal("running") == everything
    assert SYNC.legal("finished") == SYNC.legal("released") == ()
    assert SYNC.terminal == {"Done"}


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.interface.name)
def test_every_contract_is_whole(contract: Contract) -> None:
    states = {contract.start, *contract.ended} | ({contract.released} if contract.released else set())
    states |= {state for state, _ in contract.transitions}
    methods = {method.name for method in contract.interface.calls}
    for state in states:
        for method in methods:
            following, rule = contract.transitions[state, method]
            assert following in states
            assert rule is None or rule in contract.rules
    for shape in (contract.series, contract.report, contract.final):
        assert shape is None or shape.method in methods


def test_rules_say_everything() -> None:
    assert [*RULES] == ["T1", *(f"P{n}" for n in range(1, 25)), *(f"H{n}" for n in range(1, 24))]
    for rule in RULES.values():
        assert rule.severity in "EWI"
        assert all((rule.text, rule.why, rule.mend, rule.source))
        assert rule.side == ("host" if rule.id[0] == "H" else "provider")
    assert RULES["P10"].documented
    assert not RULES["P14"].documented


CUSTOM = Interface(
    "ICustom",
    "{12345678-1234-1234-1234-123456789abc}",
    (Method("Step", (Parameter("value", Type.I64), Parameter("text", Type.TEXT))),),
    base=IUNKNOWN,
)


def test_an_interface_without_a_contract_is_free() -> None:
    contract = contract_of(CUSTOM)
    assert contract is free_contract(CUSTOM)
    assert contract.legal(contract.start) == ("Step",)
    calls = [Call("Step", (2**63 - 1, None)), Call("Step", (2**63, None)), Call("AddRef")]
    assert [
        (v.rule.id, v.number) for v in lint(Trace.from_calls(calls, replace(Trace().header, interface=CUSTOM)))
    ] == [("T1", 1)]
    assert contract.host_rule(calls[0], "any") == "H6"
    assert level_of(contract, calls) is Level.HOSTILE


def test_a_stranger_with_our_iid_has_no_claim_to_our_contract() -> None:
    stranger = replace(CUSTOM, iid=IMAPI_SYNC_PROGRESS_CALLBACK.iid)
    assert contract_of(stranger) is free_contract(stranger)


def test_a_root_that_is_not_iunknown_is_not_counted() -> None:
    root = Interface("IRoot", "{00000000-0000-0000-0000-000000000001}", (Method("Only"),))
    derived = Interface("IDerived", "{00000000-0000-0000-0000-000000000002}", (Method("More"),), base=root)
    events = (Enter(0, Call("Only")), Leave(0, Outcome()), Enter(1, Call("More")), Leave(1, Outcome()))
    assert lint(Trace(replace(Trace().header, interface=derived), events)) == []


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Type.U32, (0, 2**32 - 1), (-1, 2**32, None, "1", 1.0)),
        (Type.I32, (-(2**31), 2**31 - 1), (2**31, None)),
        (Type.I64, (-(2**63), 2**63 - 1), (2**63,)),
        (Type.U64, (0, 2**64 - 1), (-1, 2**64)),
        (Type.BOOL, (True, 0, -1), ("x", None)),
        (Type.HRESULT, (0, -(2**31), 2**32 - 1), (2**32, -(2**31) - 1, None)),
        (Type.TEXT, ("", "\ud800", None), (0, b"")),
        (Type.IID, ("{}", None), (0,)),
        (Type.HANDLE, (None, Handle(0), Handle(-1)), (0, "h")),
        (Type.POINTER, (None, Handle(3)), (0, "h")),
    ],
)
def test_which_values_fit(kind: Type, good: tuple[object, ...], bad: tuple[object, ...]) -> None:
    parameter = Parameter("p", kind)
    assert [value for value in good if not fits(parameter, value)] == []
    assert [value for value in bad if fits(parameter, value)] == []
    assert fits(Parameter("p", Type.U32, pointer=True), None)
