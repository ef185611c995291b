"""The obligations of a native provider, judged by its trace and by what only its process knew.

The trace alone is what `recorder.contract` judges.  A recording that started the sync itself knows more: that the
callback was lent for the time of SynchronizeInBackground and no longer (P2, P3), that a pointer was to be asked
for (P1), which handle is the sync's event (P15), what was answered and stored (P16, P17), and that a sync which
was started has to end (P12).
"""

from __future__ import annotations

from collections.abc import Iterator

from recorder import hresult
from recorder.calls import Call, Enter, Event, Handle, Leave, OutcomeKind
from recorder.checking import Checked, check
from recorder.contract import Contract, Violation, contract_of
from recorder.interfaces import IUNKNOWN
from recorder.native_provider import NativeRun
from recorder.trace_input import TraceInput

__all__ = ["check_native", "violations"]

_NO_EVENT = {
    "missing": "was not filled",
    "late": "was filled only when the start had returned",
    "invalid": "holds no open handle",
}
_QUERY, _ADD_REF, _RELEASE = (method.name for method in IUNKNOWN.methods)


def check_native(trace: TraceInput, run: NativeRun | None) -> Checked:
    """The rules that the provider broke; `run` is None if its process has died, and with it what it knew.

    A provider that was not at its end is not blamed for what it had not done yet.
    """
    if run is None:
        return check(trace)
    with trace.source() as source:
        contract = contract_of(source.header.interface)
        found = [*violations(contract, source.events(), run, whole=not getattr(source, "dropped", ()))]
        unowed = {"P12"} if _failed(run) else set()  # a sync that was not started has no end to report
    return check(trace, found, unowed)


def violations(
    contract: Contract, events: Iterator[Event], run: NativeRun, *, whole: bool = True
) -> Iterator[Violation]:
    """What is broken beyond what `Monitor` sees.

    Where the trace is not `whole`, since calls are missing, references cannot be counted.
    """
    walk = _Walk(contract, run, whole)
    for event in events:
        if isinstance(event, Enter):
            yield from walk.enter(event.number, event.call)
        else:
            walk.leave(event)
    yield from walk.finish()


class _Walk:
    """One pass through the trace, with the provider's references counted from none."""

    def __init__(self, contract: Contract, run: NativeRun, whole: bool):
        self.contract = contract
        self.whole = whole
        self.interface = contract.interface
        self.run = run
        self.failed = _failed(run)
        self.answer = hresult.describe(run.result or 0)
        self.references = 0
        self.taken = False
        self.begun = 0
        self.queried = False
        self.calls = 0
        self.ended = False
        self.given = -1  # number of the call that handed the event over
        self.open: dict[int, Call] = {}

    def broken(self, rule: str, number: int, message: str) -> Iterator[Violation]:
        if rule in self.contract.rules:
            yield Violation(self.contract.rules[rule], number, message)

    def enter(self, number: int, call: Call) -> Iterator[Violation]:
        self.open[number] = call
        self.begun += 1
        if call.method == _RELEASE:
            if self.references <= 0 and self.whole:
                yield from self.broken("P2", number, f"{_RELEASE} without a reference of the caller's own")
            self.references -= 1
            return
        own = call.method not in self.interface.unknown
        # the callback was lent until the start returned: it may be asked for again until then
        late = self.taken if own else self.run.result is not None and number >= self.run.early
        if self.references <= 0 and late and self.whole and not self.failed:
            yield from self.broken("P3", number, f"{call.method} with every reference given back")
        if not own:
            return
        self.calls += 1
        if self.failed:
            yield from self.broken("P17", number, f"{call.method} though the start answered {self.answer}")
        if not self.queried and self.calls == 1 and self.whole:
            yield from self.broken("P1", number, f"{call.method} before any {_QUERY} for {self.interface.name}")
        yield from self.final(number, call)

    def final(self, number: int, call: Call) -> Iterator[Violation]:
        final = self.contract.final
        if final is None or call.method != final.method:
            return
        self.ended = True
        _, handle = self.contract.shape(call)
        if isinstance(handle, Handle) and handle.token > 0:
            yield from self.broken("P15", number, f"{final.handle} is not the event in *phSyncDoneEvent")
        elif isinstance(handle, Handle) and handle.token == 0 and self.given < 0:
            self.given = number

    def leave(self, event: Leave) -> None:
        call = self.open.pop(event.number)
        succeeded = event.outcome.kind is OutcomeKind.RETURNED and event.outcome.value == 0
        if call.method == _ADD_REF or (call.method == _QUERY and succeeded):
            self.references += 1
            self.taken = True
        if call.method == _QUERY and succeeded:
            self.queried = self.queried or call.args[:1] == (self.interface.iid,)

    def finish(self) -> Iterator[Violation]:
        run, end = self.run, self.begun
        started = run.result is not None and not self.failed
        if started and run.event in _NO_EVENT:
            yield from self.broken("P16", end, f"*phSyncDoneEvent {_NO_EVENT[run.event]}")
        if run.waiting:
            return
        if not run.callback and self.failed:
            yield from self.broken("P4", end, f"without a callback the start answered {self.answer}")
        if self.contract.final and started and run.callback and not self.ended:
            yield from self.broken("P12", end, f"the sync ended without {self.contract.final.method}")
        if run.held > 0:
            yield from self.broken("P2", end, f"{run.held} references were not released")
        if run.closed and self.given >= 0 and not run.forwarded:
            yield from self.broken("P15", self.given, "the event was closed by the provider, not by the host")


def _failed(run: NativeRun) -> bool:
    return run.result is not None and hresult.failed(run.result)
