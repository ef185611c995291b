"""Oracles: each looks at one run and names what is wrong.

A finding's code is the rule that is broken (H14), or an X code where no one rule is.  Its level is that of the
calls up to the failing one: on a conforming sequence the host is to blame, on a lenient one the host too, as a
weaker claim, on a hostile one it is a hardening note and the provider's rules are named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recorder import hresult
from recorder.calls import NOT_RUN, Call, Enter, Event, Leave, Opaque, Outcome, OutcomeKind, Trace
from recorder.contract import Contract, Level, Monitor, contract_of
from recorder.errors import SynctapeError
from recorder.interface import Type
from recorder.interfaces import IUNKNOWN
from recorder.rules import RULES
from replayer.faults import OWN_THREAD
from replayer.player import Run
from replayer.retained import gone_after

__all__ = ["CODES", "ORACLES", "Course", "Finding", "Judge", "Oracle", "explain"]


_, _ADD_REF, _RELEASE = (method.name for method in IUNKNOWN.methods)


@dataclass(frozen=True, slots=True)
class Finding:
    """One failure: `number` is the failing call, `broken` the provider's rules broken up to it."""

    code: str
    oracle: str
    number: int
    method: str
    message: str
    place: str = ""
    level: Level = Level.CONFORMING
    broken: tuple[str, ...] = ()

    @property
    def bucket(self) -> tuple[str, str, str]:
        """Findings with one code, method and place in the target are one bug."""
        code, place = self.code, self.place or _shape(self.message)
        if self.oracle in _BY_WHAT:  # where threads came between each other is chance, and what that came to
            code, place = "consistency", _shape(self.message.partition(":")[0])
        if self.oracle in _ANYWHERE:  # where in its loop it was stopped is chance
            place = _LINE.sub(" in ", place)
        return (code, self.method, place)

    @property
    def blame(self) -> str:
        if self.level is Level.HOSTILE:
            return f"provider ({', '.join(self.broken)}); a hardening note for the host"
        if self.level is Level.LENIENT:
            return f"host (on calls that break {', '.join(self.broken)}, as real providers do)"
        return "host"

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that stay the same from run to run."""
        return _digest(*self.bucket)

    @property
    def likeness(self) -> str:
        """Twelve hex digits that stay the same even when the target's lines move: a hint, where the fingerprint
        is an identity.  Two bugs of one kind in one function have the same."""
        if self.oracle in _BY_WHAT:
            return _digest(*self.bucket)
        return _digest(self.code, self.method, _MOVES.sub("", self.place), _shape(self.message))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:12]


_ANYWHERE = ("hang", "memory")
_BY_WHAT = ("lost-update", "linearizability")
_MOVES = re.compile(r":\d+(?= in |$)|\+0x[0-9a-f]+")  # a line, or an offset into a library
_LINE = re.compile(r":\d+ in ")


def _shape(message: str) -> str:
    """A message without its numbers and quoted parts: what it says of the kind of failure."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d+", "_", message)[:80]


_BESIDE = (
    "thread-exception",
    "identity",
    "references",
    "memory-growth",
    "handle-leak",
    "deadlock",
    "lost-update",
    "linearizability",
    "data-race",
)  # seen beside the calls, so that no one method is to blame

_Hit = tuple[str, int, str, str]  # code, call number, message, place


@dataclass(frozen=True, slots=True)
class Oracle:
    """A named check; `find` yields (code, call number, message, place) for each thing that is wrong."""

    name: str
    code: str
    meaning: str
    find: Callable[[Judge, Run], Iterator[_Hit]]


@dataclass(frozen=True)
class Judge:
    """Which oracles look, and what they need to know.

    `slow`: seconds from which a call is too slow.  `recorded`: the trace whose answers must be met (the
    mismatch oracle is silent without it).  `disabled`: names of oracles that are off.  `repeat`: how often each
    trace is played.
    """

    contract: Contract
    slow: float = 1.0
    recorded: Trace | None = None
    disabled: frozenset[str] = frozenset()
    repeat: int = 1

    @classmethod
    def of(cls, trace: Trace, **options: object) -> Judge:
        return cls(contract_of(trace.interface), **options)  # type: ignore[arg-type]

    def findings(self, run: Run) -> list[Finding]:
        """What is wrong with a run, in the order of its calls, each bug once.

        Nothing, if its calls could not be made in their order: what came of it came of other calls.
        """
        if run.unforced:
            return []
        hits = [
            (oracle.name, hit)
            for oracle in ORACLES.values()
            if oracle.name not in self.disabled
            for hit in oracle.find(self, run)
        ]
        calls = run.trace.calls
        gone = _gone(run)
        if gone is not None:  # all that comes of calls on an object that is gone is one mistake
            hits = [(name, hit) for name, hit in hits if hit[1] <= gone or name == "retained"]
        hits.sort(key=lambda item: item[1][1])
        course = Course(self.contract, run.trace.events)
        findings: dict[tuple[str, str, str], Finding] = {}
        for name, (code, number, message, place) in hits:
            level, broken = course.level(number)
            beside = name in _BESIDE or OWN_THREAD in message
            method = calls[number].method if number < len(calls) and not beside else ""
            finding = Finding(code, name, number, method, message, place, level, broken)
            findings.setdefault(finding.bucket, finding)
        return list(findings.values())

    def level(self, calls: Sequence[Call], upto: int) -> tuple[Level, tuple[str, ...]]:
        """Level of the calls up to one, and the rules that they break."""
        return Course.of_calls(self.contract, calls).level(upto)

    def state_before(self, calls: Sequence[Call], number: int) -> str:
        """The contract's state in which a call was made."""
        return Course.of_calls(self.contract, calls).state_before(number)


class Course:
    """A run as the contract sees it, followed once and only as far as it is asked.

    `events` are its enters and leaves as they happened: a call is judged by what had been called until it ended,
    so that a report on another thread while the final call runs makes both hostile (P13).  IUnknown's calls count
    where outcomes say that they were made, as on a native target.  The player has one reference before the first
    call: whoever releases that has no object any more.
    """

    def __init__(self, contract: Contract, events: Iterable[Event]):
        self._monitor = Monitor(contract)
        self._events = iter(events)
        self._held = 1
        self._counted: dict[int, Call] = {}  # calls of IUnknown's that are going on
        self._states: dict[int, str] = {}  # before each call
        self._levels: dict[int, tuple[Level, tuple[str, ...]]] = {}  # up to the end of each call
        self._led_to: dict[int, tuple[str, str]] = {}  # calls that are going on: method, state from their begin on
        self._overtaken: set[int] = set()  # calls that would have been forbidden when they ended
        self._level: tuple[Level, tuple[str, ...]] = (Level.CONFORMING, ())
        self._seen = 0  # violations

    @classmethod
    def of_calls(
        cls, contract: Contract, calls: Sequence[Call], outcomes: Sequence[Outcome | None] = ()
    ) -> Course:
        """The course of calls one after the other; IUnknown's count where they have an outcome."""
        return cls(contract, _one_after_the_other(calls, outcomes))

    def state_before(self, number: int) -> str:
        """The contract's state when a call began; behind the last one, the state at the end."""
        self._follow(number, self._states)
        return self._states.get(number, self._monitor.state)

    def level(self, number: int) -> tuple[Level, tuple[str, ...]]:
        """The level of what was called until this call ended, and the rules that make it so."""
        self._follow(number, self._levels)
        return self._levels.get(number, self._level)

    def may_be_refused(self, number: int) -> bool:
        """Whether a failure in answer to a call is right: calls break E rules, or the protocol ended in its midst.

        A host that reports wait in front of may let the final call of another thread in before them.
        """
        return self.level(number)[0] is Level.HOSTILE or number in self._overtaken

    def _follow(self, number: int, known: Mapping[int, object]) -> None:
        while number not in known and (event := next(self._events, None)) is not None:
            if isinstance(event, Enter):
                self._enter(event.number, event.call)
            else:
                self._leave(event.number, event.outcome)
            self._weigh()
            if isinstance(event, Leave):
                self._levels[event.number] = self._level

    def _enter(self, number: int, call: Call) -> None:
        monitor = self._monitor
        self._states[number] = monitor.state
        if call.method in monitor.interface.unknown:
            self._counted[number] = call
        else:
            monitor.enter(number, call)
            self._led_to[number] = call.method, monitor.state

    def _leave(self, number: int, outcome: Outcome) -> None:
        if call := self._counted.pop(number, None):
            self._count(number, call, outcome)
        else:
            method, led_to = self._led_to.pop(number)
            state = self._monitor.state
            if state != led_to and method not in self._monitor.contract.legal(state):
                self._overtaken.add(number)
            self._monitor.leave(number, outcome)

    def _weigh(self) -> None:
        """What has been broken since counts from now on."""
        violations = self._monitor.violations
        level, broken = self._level
        for violation in violations[self._seen :]:
            if violation.level > level:
                level, broken = violation.level, ()
            if violation.level == level and violation.rule.id not in broken:
                broken = (*broken, violation.rule.id)
        self._seen, self._level = len(violations), (level, broken)

    def _count(self, number: int, call: Call, outcome: Outcome) -> None:
        """A call of IUnknown's; what counts is not what the host answered but what the caller holds."""
        if outcome.kind is not OutcomeKind.RETURNED:
            return
        self._monitor.enter(number, call)
        value = outcome.value
        if call.method == _RELEASE:
            value = self._held = max(self._held - 1, 0)
        elif call.method == _ADD_REF or (isinstance(value, int) and not hresult.failed(value)):
            self._held += 1
        self._monitor.leave(number, outcome._replace(value=value))


def _one_after_the_other(calls: Sequence[Call], outcomes: Sequence[Outcome | None]) -> Iterator[Event]:
    for number, call in enumerate(calls):
        yield Enter(number, call)
        yield Leave(number, (outcomes[number] if number < len(outcomes) else None) or NOT_RUN)


# deaths of which more is known than their name
_EXPLAINED = ("string-lifetime", "string-bounds", "stack-overflow", "data-race")


def _explained(run: Run) -> set[int]:
    """The calls whose deaths have an oracle of their own."""
    return {seen.number for seen in run.observations if seen.kind in _EXPLAINED}


def _sanitizer(judge: Judge, run: Run) -> Iterator[_Hit]:
    """The death of which a sanitizer has told why."""
    explained = _explained(run)
    for number, _, outcome in run.trace.played:
        if run.report and outcome and outcome.kind is OutcomeKind.CRASHED and number not in explained:
            yield "X13", number, outcome.detail, outcome.place


def _crash(judge: Judge, run: Run) -> Iterator[_Hit]:
    explained = _explained(run)
    for number, _, outcome in run.trace.played:
        if outcome is None or outcome.kind is not OutcomeKind.CRASHED:
            continue
        if number in explained or _overflowed(outcome) or (run.report and "sanitizer" not in judge.disabled):
            continue
        if not _ended_itself(outcome) and "memory limit" not in outcome.detail:
            yield "X1", number, outcome.detail, outcome.place


def _overflowed(outcome: Outcome) -> bool:
    """Windows has a name for it."""
    return outcome.kind is OutcomeKind.CRASHED and "stack overflow" in outcome.detail.lower().replace("_", " ")


def _stack_overflow(judge: Judge, run: Run) -> Iterator[_Hit]:
    yield from _observed("stack-overflow", "X12")(judge, run)
    seen = {seen.number for seen in run.observations if seen.kind == "stack-overflow"}
    for number, _, outcome in run.trace.played:
        if outcome and number not in seen and _overflowed(outcome):
            yield "X12", number, outcome.detail, outcome.place


def _exit(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, _, outcome in run.trace.played:
        if outcome and _ended_itself(outcome):
            yield "X7", number, outcome.detail, outcome.place


def _ended_itself(outcome: Outcome) -> bool:
    if outcome.kind is OutcomeKind.CRASHED:
        return outcome.detail.startswith("exit code")
    return outcome.kind is OutcomeKind.RAISED and outcome.detail.startswith("SystemExit")


def _hang(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, _, outcome in run.trace.played:
        if outcome and outcome.kind is OutcomeKind.HUNG:
            yield "X2", number, outcome.detail, outcome.place


def _exception(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, _, outcome in run.trace.played:
        if outcome and outcome.kind is OutcomeKind.RAISED and not outcome.detail.startswith(_OTHERS):
            yield "X3", number, outcome.detail, outcome.place


_OTHERS = ("SystemExit", "MemoryError")


def _memory(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, _, outcome in run.trace.played:
        if outcome is None:
            continue
        raised = outcome.kind is OutcomeKind.RAISED and outcome.detail.startswith("MemoryError")
        if raised or (outcome.kind is OutcomeKind.CRASHED and "memory limit" in outcome.detail):
            yield "X6", number, outcome.detail, outcome.place


def _gone(run: Run) -> int | None:
    if run.trace.header.scheduled:  # the player leaves such a Release out
        return None
    return gone_after(run.trace.interface, run.trace.calls, [played.outcome for played in run.trace.played])


def _retained(judge: Judge, run: Run) -> Iterator[_Hit]:
    """What ended a call that was made after the caller's last Release."""
    gone = _gone(run)
    if gone is None:
        return
    ends = {OutcomeKind.CRASHED: "crashed", OutcomeKind.HUNG: "hung", OutcomeKind.RAISED: "raised"}
    for number, call, outcome in run.trace.played:
        if number > gone and outcome is not None and outcome.kind in ends:
            what = f"{call.method} {ends[outcome.kind]} after the caller's last Release: {outcome.detail}"
            yield "H5", number, what, outcome.place


def _observed(kind: str, code: str) -> Callable[[Judge, Run], Iterator[_Hit]]:
    def find(judge: Judge, run: Run) -> Iterator[_Hit]:
        for seen in run.observations:
            if seen.kind == kind:
                yield seen.code or code, seen.number, seen.message, seen.place

    return find


def _slow(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, call, outcome in run.trace.played:
        if outcome and outcome.kind is OutcomeKind.RETURNED and outcome.elapsed_ns > judge.slow * 1e9:
            yield "H18", number, f"{call.method} took longer than {judge.slow:g} s", ""


def _invalid_result(judge: Judge, run: Run) -> Iterator[_Hit]:
    for number, call, outcome in run.trace.played:
        if outcome is None or outcome.kind is not OutcomeKind.RETURNED:
            continue
        returns = run.trace.interface.method(call.method).returns
        value = outcome.value
        if returns is Type.VOID or value is None:
            continue
        if returns is Type.HRESULT:
            valid = hresult.is_hresult(value)
        else:
            valid = isinstance(value, int) and (not returns.is_integer or _in_range(value, returns))
        if not valid:
            kind, shown = value if isinstance(value, Opaque) else (type(value).__name__, repr(value))
            yield "H6", number, f"{call.method} returned {kind} {shown:.80}, not a 32-bit {returns.value}", ""


def _in_range(value: int, kind: Type) -> bool:
    low, high = kind.range
    return low <= value <= high


def _failure(judge: Judge, run: Run) -> Iterator[_Hit]:
    """A failure answered to a sequence that keeps to the contract, or to a lenient one."""
    course = Course(judge.contract, run.trace.events)
    for number, call, outcome in run.trace.played:
        if outcome is None or outcome.kind is not OutcomeKind.RETURNED or not hresult.is_hresult(outcome.value):
            continue
        if call.method in run.trace.interface.unknown:  # a refusal may be right: replayer.identity judges
            continue
        if run.trace.interface.method(call.method).returns is not Type.HRESULT:
            continue
        value = outcome.value
        if isinstance(value, int) and hresult.failed(value) and not course.may_be_refused(number):
            code = judge.contract.host_rule(call, course.state_before(number))
            yield code, number, f"{call.method} answered {hresult.describe(value)}", ""


def _mismatch(judge: Judge, run: Run) -> Iterator[_Hit]:
    if judge.recorded is None:
        return
    from replayer.compare import differences

    for number, message in differences(judge.recorded, run.trace):
        yield "X8", number, message, ""


ORACLES = {
    oracle.name: oracle
    for oracle in (
        Oracle("crash", "X1", "the target crashed its process", _crash),
        Oracle("sanitizer", "X13", "a sanitizer's report: misused memory or undefined behaviour", _sanitizer),
        Oracle("hang", "X2", "a call did not come back in time", _hang),
        Oracle("exception", "X3", "an exception crossed the border", _exception),
        Oracle(
            "thread-exception",
            "X4",
            "an exception that nobody caught, in a thread that the target started or in a finaliser",
            _observed("thread-exception", "X4"),
        ),
        Oracle("invariant", "X5", "the target's own invariant() does not hold", _observed("invariant", "X5")),
        Oracle("memory", "X6", "the target used up its memory", _memory),
        Oracle("exit", "X7", "the target ended the process", _exit),
        Oracle("slow", "H18", "a call took longer than --slow seconds", _slow),
        Oracle("invalid-result", "H6", "an answer that is no 32-bit HRESULT", _invalid_result),
        Oracle("failure", "H6", "a failure answered to a sequence that keeps to the contract", _failure),
        Oracle(
            "handle",
            "H14",
            "the handle given to Done was never closed, closed twice, or used after it had been closed",
            _observed("handle", "H14"),
        ),
        Oracle(
            "late-effect",
            "H15",
            "a call after the end changed what the target's own state() shows",
            _observed("late-effect", "H15"),
        ),
        Oracle(
            "identity",
            "H1",
            "QueryInterface breaks COM's rules of identity (H1 to H4)",
            _observed("identity", "H1"),
        ),
        Oracle(
            "references",
            "H5",
            "reference counts do not add up, or the object is still there after its last Release",
            _observed("references", "H5"),
        ),
        Oracle(
            "string-lifetime",
            "H11",
            "the text of a call was used after the call had returned",
            _observed("string-lifetime", "H11"),
        ),
        Oracle(
            "string-bounds",
            "X9",
            "a text was read beyond its ends, or written to",
            _observed("string-bounds", "X9"),
        ),
        Oracle("stack-overflow", "X12", "a call used up its thread's stack", _stack_overflow),
        Oracle(
            "retained",
            "H5",
            "a call after the caller's last Release ended badly (campaigns: --retained)",
            _retained,
        ),
        Oracle(
            "memory-growth",
            "X10",
            "the target keeps memory of each sequence, without end (--repeat, campaigns)",
            _observed("memory-growth", "X10"),
        ),
        Oracle(
            "handle-leak",
            "X11",
            "the target keeps a descriptor or handle of each sequence (--repeat, campaigns)",
            _observed("handle-leak", "X11"),
        ),
        Oracle(
            "deadlock",
            "X14",
            "threads that make calls wait for each other, or for what nobody does any more",
            _observed("deadlock", "X14"),
        ),
        Oracle(
            "lost-update",
            "X15",
            "calls that ran at the same time left what some of them would have left without the others",
            _observed("lost-update", "X15"),
        ),
        Oracle(
            "linearizability",
            "X16",
            "calls that ran at the same time came to what they come to in no order one after the other",
            _observed("linearizability", "X16"),
        ),
        Oracle(
            "data-race",
            "X17",
            "ThreadSanitizer's report: threads used the same memory at the same time",
            _observed("data-race", "X17"),
        ),
        Oracle(
            "time-growth",
            "X18",
            "a call takes ever more time for each unit of a longer text",
            _observed("time-growth", "X18"),
        ),
        Oracle(
            "output",
            "X19",
            "a call wrote far more than it was given to show, or ever more for each unit of a longer text",
            _observed("output", "X19"),
        ),
        Oracle("mismatch", "X8", "an answer differs from the recorded one (--match-results)", _mismatch),
    )
}


@dataclass(frozen=True, slots=True)
class _Code:
    text: str
    why: str
    mend: str


CODES = {
    "X1": _Code(
        "The process died in a call: a signal on Linux, an NTSTATUS on Windows.",
        "The host's process goes with it; in the field that is Outlook.",
        "The finding names the call, the signal and the Python stack; run its reproduce line under a debugger.",
    ),
    "X2": _Code(
        "A call did not return within --timeout seconds.",
        "The provider's worker thread stands still, and with it the sync.",
        "The stack in the finding shows where it waited or turned; bound the loop or post the work elsewhere.",
    ),
    "X3": _Code(
        "An exception left a callback method.",
        "COM has no exceptions: across a vtable it is undefined behaviour, and here the provider gets it.",
        "Catch it in the method and answer an HRESULT; mend what raised it.",
    ),
    "X4": _Code(
        "A thread that the target started, or a __del__, ended in an exception that nobody caught.",
        "It is only printed: the work that it was to do is silently missing.",
        "Catch it in the thread's own function.",
    ),
    "X5": _Code(
        "After a call the target's invariant() raised or gave False.",
        "The target contradicts what it says of its own state.",
        "Follow the minimal sequence call by call and see which one breaks it.",
    ),
    "X6": _Code(
        "The target ran into --memory MiB, or raised MemoryError.",
        "Long texts or long sessions bring the host down (compare H19).",
        "Bound what is kept of each call.",
    ),
    "X7": _Code(
        "The target ended the process: exit(), os._exit() or SystemExit.",
        "A callback is a guest in its host's process.",
        "Report the failure instead.",
    ),
    "X9": _Code(
        "A native target read before the start or past the end of a text, or wrote to it.",
        "What lies there is somebody else's: the host shows garbage, or changes the caller's memory.",
        "Stop at the NUL, and copy the text before changing it.",
    ),
    "X12": _Code(
        "A call used up the stack of its thread, by recursion or by large local variables.",
        "A provider's thread may have less stack than a test's; the process dies without a word.",
        "The place is where the recursion began: bound its depth, or keep large buffers on the heap.",
    ),
    "X8": _Code(
        "The answer to a call is not the one that was recorded.",
        "The implementation changed, or depends on more than its calls (H23).",
        "If the change is meant, record the trace anew.",
    ),
    "X10": _Code(
        "Played over and over in one process, a sequence left the target with more memory in use each time.",
        "The host's process lives for days: what each sync keeps is missing in the end.",
        "Free in the destructor what the object allocates; the finding says how much stays for each sequence.",
    ),
    "X11": _Code(
        "Played over and over in one process, a sequence left a descriptor or handle open each time.",
        "A process may have only so many; when they are used up, every file and event of the host fails.",
        "Close what the object opens, also on the paths of errors; Done's own handle is another matter (H14).",
    ),
    "X13": _Code(
        "AddressSanitizer or UndefinedBehaviorSanitizer, which the target was built with, reported an error, or "
        "ThreadSanitizer one that is no data race (X17).",
        "Memory that is not the host's was read or written, or the code means nothing by its language's rules: "
        "without the sanitizer it goes unnoticed until something else breaks, far from its cause.",
        "The report in the finding names the line, and the lines that allocated and freed the memory.",
    ),
    "X14": _Code(
        "Every thread that was in a call waited: for a lock that another one held, or for something that nobody "
        "was left to do.",
        "The provider's threads and the user interface stand still for good, and the sync never ends (H17, H18).",
        "The finding has each thread's stack. Take locks in one order, hold none while calling out, and let no "
        "call wait for another one.",
    ),
    "X15": _Code(
        "Calls of several threads ran at the same time, and what is to be seen afterwards is what it would be if "
        "one or two of them had not been made.",
        "A report or an error that the provider made is silently missing (H17).",
        "Between reading a value and storing what follows from it another thread stored its own: hold one lock "
        "from the first to the second.",
    ),
    "X16": _Code(
        "Calls of several threads ran at the same time, and what they answered or left to be seen is what no "
        "order of the same calls one after the other gives.",
        "The host shows what never was: one call's index beside another one's maximum, success beside errors "
        "(H17).",
        "The schedule shows where one thread came in between. What belongs together is read and stored under one "
        "lock; what was looked at before the lock was let go is looked at again.",
    ),
    "X17": _Code(
        "ThreadSanitizer, which the target was built with, saw two threads use the same memory without anything "
        "that orders them, and at least one of them wrote.",
        "In C and C++ that is undefined behaviour: counts go wrong, texts are torn, and what works on one "
        "processor fails on another (H5, H17).",
        "The report in the finding has both stacks: guard the memory by one lock, or make it atomic.",
    ),
    "X18": _Code(
        "The time that a call takes grows faster than its text: nearly three times as much, or more, for twice as "
        "many units, twice on end.",
        "A text of a few thousand units costs a moment, one of some ten thousand stops the provider's thread, and "
        "texts come from strangers.",
        "Cut a text before it is measured, wrapped or searched; join pieces once at the end, not one by one.",
    ),
    "X19": _Code(
        "A call wrote more than a mebibyte beyond 4 KiB for each call and 256 bytes for each unit of text, or "
        "what it writes grows faster than its text.",
        "Logs and terminals fill up, and whoever reads them waits.",
        "Bound what is drawn by the size of the window, and what is logged by the call.",
    ),
}


def explain(code: str) -> list[tuple[str, str]]:
    """What a code means, as (heading, text) pairs.  Raises SynctapeError for an unknown code."""
    code = code.upper()
    if code in CODES:
        entry = CODES[code]
        return [("Means", entry.text), ("Why it matters", entry.why), ("To mend it", entry.mend)]
    if code in RULES:
        rule = RULES[code]
        severity = {"E": "breach", "W": "suspicious", "I": "note"}[rule.severity]
        return [
            ("Rule", rule.text),
            ("Why it matters", rule.why),
            ("To mend it", rule.mend),
            ("Binds", f"the {rule.side}; severity {rule.severity} ({severity})"),
            ("Source", rule.source),
        ]
    raise SynctapeError(f"no code {code!r}; codes are {', '.join([*CODES, *RULES])}")
