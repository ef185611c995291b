"""The protocol of an interface as one table: states, transitions, shapes of arguments, rules by id.

    state      Progress   Error      Done         last Release
    bound      running    running    finished     released
    running    running    running    finished     released (P12)
    finished   P13        P13        P14          released
    released   P3         P3         P3           P2

Four readers share it: `lint` judges a provider's trace, `level_of` a sequence, the generator in fuzz makes
sequences that keep to it, and the oracles blame by it.  An interface without a contract has `free_contract`:
one state in which every call is legal.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from recorder import hresult
from recorder.calls import (
    SYNC_EVENT,
    Argument,
    Call,
    Enter,
    Event,
    Handle,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Trace,
)
from recorder.interface import Interface, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.rules import RULES, Rule

__all__ = [
    "CONTRACTS",
    "Contract",
    "Final",
    "Level",
    "Monitor",
    "Pace",
    "Report",
    "Series",
    "Violation",
    "contract_of",
    "free_contract",
    "level_of",
    "lint",
]


_QUERY, _, _RELEASE = (method.name for method in IUNKNOWN.methods)


class Level(enum.IntEnum):
    """How far a sequence keeps to the contract.

    conforming: breaks no E or W rule.  lenient: breaks W or I rules, as real providers do.  hostile: breaks E.
    """

    CONFORMING = 0
    LENIENT = 1
    HOSTILE = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Series:
    """`method` reports a position: `index` runs up to `limit` within a step named by `text` (P6, P7, P8)."""

    method: str
    text: str | None
    index: str
    limit: str


@dataclass(frozen=True, slots=True)
class Report:
    """`method` reports a problem: a code and a text (P10)."""

    method: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Final:
    """`method` ends the protocol with a result, and hands a handle over (P8, P15, P18)."""

    method: str
    result: str
    handle: str | None


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `rate` calls of `method` within a second, and no gap over `gap_ns` while a sync goes on.

    `rule` asks for it.  The limits are our own, wide ones; no page states any.
    """

    rule: str
    method: str
    rate: int
    gap_ns: int


@dataclass(frozen=True)
class Contract:
    """States, transitions and shapes.

    `transitions` maps (state, method) to (next state, id of the rule that the call breaks or None).
    """

    interface: Interface
    start: str
    ended: frozenset[str]
    released: str | None
    transitions: Mapping[tuple[str, str], tuple[str, str | None]]
    series: Series | None = None
    report: Report | None = None
    final: Final | None = None
    pace: Pace | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)

    def legal(self, state: str) -> tuple[str, ...]:
        """Methods that may be called in a state without breaking a rule."""
        return tuple(
            method for (at, method), (_, rule) in self.transitions.items() if at == state and rule is None
        )

    @functools.cached_property
    def terminal(self) -> frozenset[str]:
        """Methods that lead to an end state."""
        return frozenset(m for (_, m), (to, rule) in self.transitions.items() if rule is None and to in self.ended)

    @functools.cached_property
    def _positions(self) -> Mapping[str, tuple[int, ...]]:
        """For each method with a shape, where among its arguments the shape's parameters stand (-1: nowhere)."""
        shapes: list[tuple[str, tuple[str | None, ...]]] = []
        if self.series:
            shapes.append((self.series.method, (self.series.text, self.series.index, self.series.limit)))
        if self.report:
            shapes.append((self.report.method, (self.report.code, self.report.text)))
        if self.final:
            shapes.append((self.final.method, (self.final.result, self.final.handle)))
        return {
            name: tuple(-1 if p is None else self.interface.method(name).index(p) for p in parameters)
            for name, parameters in shapes
        }

    def shape(self, call: Call) -> list[Argument]:
        """The arguments that the call's Series, Report or Final names, in its order; None for a missing one."""
        args = call.args
        return [args[p] if 0 <= p < len(args) else None for p in self._positions[call.method]]

    def host_rule(self, call: Call, state: str) -> str:
        """Which rule a host breaks that fails on this call in this state: the most telling one, else H6."""
        for rule, applies in self._host_rules(call, state):
            if applies:
                return rule
        return "H6"

    def _host_rules(self, call: Call, state: str) -> Iterator[tuple[str, bool]]:
        yield "H15", state in self.ended
        if self.series and call.method == self.series.method:
            text, index, limit = self.shape(call)
            yield "H10", isinstance(index, int) and isinstance(limit, int) and (limit == 0 or index > limit)
            yield "H7", self.series.text is not None and text is None
        elif self.report and call.method == self.report.method:
            code, text = self.shape(call)
            yield "H9", text is None
            yield "H13", isinstance(code, int) and (not hresult.failed(code) or hresult.name(code) is None)
        elif self.final and call.method == self.final.method and self.final.handle:
            yield "H8", self.shape(call)[1] is None


def _sync_progress() -> Contract:
    table: dict[tuple[str, str], tuple[str, str | None]] = {}
    for state in ("bound", "running"):
        table[state, "Progress"] = ("running", None)
        table[state, "Error"] = ("running", None)
        table[state, "Done"] = ("finished", None)
    for method in ("Progress", "Error", "Done"):
        table["finished", method] = ("finished", "P14" if method == "Done" else "P13")
        table["released", method] = ("released", "P3")
    return Contract(
        IMAPI_SYNC_PROGRESS_CALLBACK,
        start="bound",
        ended=frozenset({"finished"}),
        released="released",
        transitions=table,
        series=Series("Progress", "pwcszProgress", "ulIndex", "ulIndexMax"),
        report=Report("Error", "hResult", "pwcszErrorStr"),
        final=Final("Done", "hResult", "hThreadDoneEvent"),
        pace=Pace("P5", "Progress", rate=100, gap_ns=60 * 10**9),
        rules=RULES,
    )


CONTRACTS: Mapping[str, Contract] = {c.interface.iid: c for c in (_sync_progress(),)}
"""Contracts by IID."""


@functools.lru_cache(maxsize=64)
def free_contract(interface: Interface) -> Contract:
    """The contract of an interface that has none: every call is legal at any time."""
    return Contract(
        interface,
        start="any",
        ended=frozenset(),
        released=None,
        transitions={("any", m.name): ("any", None) for m in interface.calls},
        rules={"T1": RULES["T1"]},
    )


def contract_of(interface: Interface) -> Contract:
    """The contract of an interface, its own or the free one."""
    known = CONTRACTS.get(interface.iid)
    return known if known is not None and known.interface == interface else free_contract(interface)


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: at call `number`, or at the trace's end where `number` is the number of calls."""

    rule: Rule
    number: int
    message: str

    @property
    def level(self) -> Level:
        return Level.HOSTILE if self.rule.severity == "E" else Level.LENIENT


class Monitor:
    """Follows one sequence call by call; `state` is the contract's state, `violations` what it broke.

    One that is not `whole`, since calls are missing, is not blamed for what they may have done.
    """

    def __init__(self, contract: Contract, *, whole: bool = True):
        self.contract = contract
        self._whole = whole
        self.interface = contract.interface
        self.state = contract.start
        self.violations: list[Violation] = []
        self._open: dict[int, Call] = {}
        self._step: tuple[object, int, int] | None = None  # text, index, limit last reported
        self._failures = 0
        self._references = 0
        self._queried = False
        self._protocol_calls = 0

    def enter(self, number: int, call: Call) -> None:
        running = self._open
        if call.method in self.interface.unknown:
            running[number] = call
            if self.state == self.contract.released:
                broken = "P2" if call.method == _RELEASE else "P3"
                self._break(broken, number, f"{call.method} in state {self.state}")
            return
        if running and any(self._overlaps(call, other) for other in running.values()):
            self._break("P20", number, f"{call.method} overlaps a call on another thread")
        running[number] = call
        self._check_types(number, call)
        self._protocol_calls += 1
        following, rule = self.contract.transitions.get((self.state, call.method), (self.state, None))
        if rule:
            self._break(rule, number, f"{call.method} in state {self.state}")
        else:
            self._check_shape(number, call)
        self.state = following

    def leave(self, number: int, outcome: Outcome) -> None:
        call = self._open.pop(number)
        if call.method in self.interface.unknown:
            self._count(number, call, outcome)

    def step(self, number: int, call: Call) -> None:
        """A call with no outcome to judge by: it succeeds, on an object that its host holds on to."""
        self.enter(number, call)
        count = max(self._references, 0) if call.method == _RELEASE else 0
        self.leave(number, Outcome(value=count))

    def finish(self, number: int, *, cut: bool = False) -> list[Violation]:
        """The sequence ends after `number` calls; `cut` if it was torn, so that its end says nothing."""
        contract = self.contract
        if not cut:
            if contract.final and self._protocol_calls and self.state not in {*contract.ended, contract.released}:
                self._break("P12", number, f"ends in state {self.state}, without {contract.final.method}")
            if self._references > 0:
                self._break("P2", number, f"{self._references} references were not released")
        return self.violations

    def _overlaps(self, call: Call, other: Call) -> bool:
        return other.thread != call.thread and other.method not in self.interface.unknown

    def _break(self, rule: str, number: int, message: str) -> None:
        if rule in self.contract.rules:
            self.violations.append(Violation(self.contract.rules[rule], number, message))

    def _check_types(self, number: int, call: Call) -> None:
        inputs = self.interface.method(call.method).inputs
        if len(call.args) != len(inputs):
            self._break("T1", number, f"{call.method} takes {len(inputs)} arguments, got {len(call.args)}")
        for parameter, value in zip(inputs, call.args, strict=False):
            if not fits(parameter, value):
                self._break("T1", number, f"{call.method}.{parameter.name} is {_shown(value)}")

    def _check_shape(self, number: int, call: Call) -> None:
        contract = self.contract
        if contract.series and call.method == contract.series.method:
            self._check_series(number, call, contract.series)
        elif contract.report and call.method == contract.report.method:
            code, text = contract.shape(call)
            if code == 0:
                self._break("P10", number, f"{call.method} reports S_OK")
            if text is None:
                self._break("P10", number, f"{call.method} has no text")
            self._failures += isinstance(code, int) and hresult.failed(code)
        elif contract.final and call.method == contract.final.method:
            self._check_final(number, call, contract.final)

    def _check_series(self, number: int, call: Call, series: Series) -> None:
        text, index, limit = self.contract.shape(call)
        if not isinstance(index, int) or not isinstance(limit, int):
            return
        if limit <= 0:
            self._break("P6", number, f"{series.limit} is {_shown(limit)}")
        elif not 0 <= index <= limit:
            self._break("P6", number, f"{series.index} {_shown(index)} of {_shown(limit)}")
        last_text, last_index, last_limit = self._step or (text, index, limit)
        same_step = limit == last_limit and (text is None or text == last_text)
        if same_step and index < last_index:
            fall = f"from {_shown(last_index)} to {_shown(index)}"
            self._break("P7", number, f"{series.index} falls {fall} within a step")
        self._step = (last_text if text is None else text, index, limit)

    def _check_final(self, number: int, call: Call, final: Final) -> None:
        result, handle = self.contract.shape(call)
        if isinstance(handle, Handle) and handle.token < SYNC_EVENT.token:
            self._break("P15", number, f"{final.handle} is the pseudo-handle {handle.token}")
        if not isinstance(result, int):
            return
        if hresult.failed(result):
            if not self._failures and self._whole:
                self._break("P18", number, f"{final.method} fails though no failure was reported")
        elif result == 0 and self._failures:
            self._break("P18", number, f"{final.method}(S_OK) after {self._failures} reported failures")
        if not hresult.failed(result) and self._step and self._step[1] != self._step[2]:
            self._break("P8", number, f"success at {_shown(self._step[1])} of {_shown(self._step[2])}")

    def _count(self, number: int, call: Call, outcome: Outcome) -> None:
        """Reference counting, as far as the trace shows it (P1, P2, P3)."""
        if self.interface.root != IUNKNOWN or self.state == self.contract.released or not self._whole:
            return
        succeeded = outcome.kind is OutcomeKind.RETURNED and outcome.value == 0
        if call.method == _RELEASE:
            self._references -= 1
            if succeeded:
                self._released(number)
            elif self._references < 0:
                self._break("P2", number, f"{call.method} without a reference of the caller's own")
        elif call.method != _QUERY:
            self._references += 1
        elif succeeded:
            self._references += 1
            if self._protocol_calls and not self._queried:
                first = f"the first successful {call.method}"
                self._break("P1", number, f"{first} comes after {self._protocol_calls} calls")
            self._queried = True

    def _released(self, number: int) -> None:
        """The object's count is 0."""
        contract = self.contract
        if contract.final and self._protocol_calls and self.state not in contract.ended:
            self._break("P12", number, f"released in state {self.state}, without {contract.final.method}")
        if running := [call.method for call in self._open.values() if call.method not in self.interface.unknown]:
            self._break("P3", number, f"released while {running[0]} is running")
        if contract.released:
            self.state = contract.released


def lint(trace: Trace) -> list[Violation]:
    """The rules that a trace's caller broke, in the order in which they broke."""
    return _follow(contract_of(trace.interface), trace.events, cut=trace.damage is not None).violations


def level_of(contract: Contract, calls: Iterable[Call], upto: int | None = None) -> Level:
    """The level of calls made one after the other.

    With `upto` only what happens up to that call counts: how a host should have taken the call does not
    depend on what would have come after it.
    """
    monitor = Monitor(contract)
    number = -1
    for number, call in enumerate(calls):
        monitor.step(number, call)
        if number == upto:
            break
    if upto is None:
        monitor.finish(number + 1)
    return max((v.level for v in monitor.violations), default=Level.CONFORMING)


def fits(parameter: Parameter, value: object) -> bool:
    """Whether a value is one that the parameter's type can carry."""
    if value is None:
        return not parameter.type.is_integer or parameter.pointer
    if parameter.type.is_integer:
        low, high = parameter.type.range
        if parameter.type is Type.HRESULT:
            high = 2**32 - 1  # callers write failures unsigned, too
        return isinstance(value, int) and low <= value <= high
    if parameter.type in (Type.TEXT, Type.IID):
        return isinstance(value, str)
    return isinstance(value, Handle) and not isinstance(value, Opaque)


def _shown(value: object) -> str:
    """A value in a message; Python refuses to spell very large numbers in decimal."""
    return (hex(value) if isinstance(value, int) and abs(value) >= 2**64 else repr(value))[:60]


def _follow(contract: Contract, events: Iterable[Event], *, cut: bool) -> Monitor:
    monitor = Monitor(contract)
    entered = 0
    for event in events:
        if isinstance(event, Enter):
            monitor.enter(event.number, event.call)
            entered += 1
        elif isinstance(event, Leave):
            monitor.leave(event.number, event.outcome)
    monitor.finish(entered, cut=cut)
    return monitor
