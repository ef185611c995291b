"""Exports: a trace as a program or a test that stands alone, and what it promises.

For a trace that was kept for a finding the exported file is red while the bug lives and green after; for any
other it is red when the callback crashes, hangs, lets an exception out, fails a call that it had to take, or
mistreats a handle.  What is asked of each call is settled here, from the contract, and written down in the file,
so that the file needs no contract.  How a form spells it is in `export_cpp` and `export_pytest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recorder.calls import Argument, Call, Handle, Opaque, Trace
from recorder.contract import Level, contract_of, fits
from recorder.errors import SynctapeError
from recorder.interface import Interface, Method, Type
from recorder.report_files import shown
from recorder.text import call_text
from replayer.oracles import Course
from replayer.order import overlaps

__all__ = ["Finding", "Form", "Script", "Step", "Unmade", "script_of"]

_IID: Final = re.compile(r"\{[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}")
_LONGEST_LINE: Final = 300  # characters


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of exported file.

    `oracles` are those whose findings show in it as well.  `exact`: it can only pass what the ABI can carry, and
    IUnknown's calls are made, too, as a native target has them.  `scheduled`: its threads run at the same time,
    and synctape's player makes the calls, on whatever target.
    """

    name: str
    oracles: frozenset[str]
    exact: bool
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A call to make.  `succeeds`: a failure in answer is wrong, since the calls up to here break no E rule."""

    number: int
    call: Call
    method: Method
    text: str
    succeeds: bool


@dataclass(frozen=True, slots=True)
class Unmade:
    """A call of the trace that an exported file does not make, and why."""

    number: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trace was kept for, as its header tells it: lines to show, and names to decide by."""

    code: str
    oracle: str
    message: str
    method: str
    flaky: bool


@dataclass(frozen=True)
class Script:
    """What an exported file does.

    `closes` are the tokens of the handles that the callback has to close.  `overlapped`: calls of the trace did,
    those of the file do not.
    """

    name: str
    interface: Interface
    steps: tuple[Step | Unmade, ...]
    closes: tuple[int, ...]
    finding: Finding | None
    spec: str
    overlapped: bool = False

    @property
    def made(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if isinstance(step, Step))

    def kept_for(self, *oracles: str) -> bool:
        """Whether the trace was kept for a finding of one of these oracles."""
        return self.finding is not None and self.finding.oracle in oracles

    def promise(self) -> Iterator[str]:
        """What the file is for, in lines of printable ASCII."""
        count = f"{len(self.made)} call{'' if len(self.made) == 1 else 's'}"
        yield f"Replays {count} of {_plain(self.interface.name)} on a callback of yours."
        yield f"From {_plain(self.name)} by synctape export."
        if self.overlapped:
            yield "Calls that overlapped in it are made one after the other here, each on its thread;"
            yield "synctape replay makes them overlap."
        yield ""
        if self.finding is None:
            yield "Red if the callback crashes, hangs, lets an exception out, fails a call that keeps to"
            yield "the contract, or closes a handle never or twice. Green otherwise."
            return
        where = f" in {_plain(self.finding.method)}" if self.finding.method else ""
        yield f"Kept for {_plain(self.finding.code)} ({_plain(self.finding.oracle)}){where}:"
        yield f"    {_plain(self.finding.message)}"
        yield "Red while that bug lives, green after."
        if self.kept_for("sanitizer"):
            yield "It shows where callback and program are built with it: -fsanitize=address,undefined"
            yield "-fno-sanitize=vptr (an interface's class is another one to each side)."
        if self.finding.flaky:
            yield "When it was found it did not show each time: run this more than once."


def script_of(trace: Trace, form: Form, name: str) -> Script:
    """What a file of this form does for a trace.

    Raises SynctapeError, in one line, where the file could not keep its promise: no call could be made, or what
    the trace was kept for would not show.
    """
    interface = trace.interface
    if not trace.calls:
        raise SynctapeError(f"{name}: has no calls")
    if trace.header.scheduled and not form.scheduled:
        raise SynctapeError(
            f"{name}: its threads run at the same time by a schedule, which a file for {form.name} cannot follow; "
            "use --to pytest, or synctape replay"
        )
    course = Course.of_calls(contract_of(interface), trace.calls)
    steps = tuple(_step(number, call, interface, form, course) for number, call in enumerate(trace.calls))
    finding = _finding(trace.header.provenance.get("finding"))
    unmade = [step for step in steps if isinstance(step, Unmade)]
    if len(unmade) == len(steps):
        raise SynctapeError(f"{name}: none of its {len(steps)} calls can be exported: {unmade[0].reason}")
    if finding is not None:
        missing = [u for u in unmade if trace.calls[u.number].method not in interface.unknown]
        if missing:
            raise SynctapeError(f"{name}: call {missing[0].number} cannot be exported: {missing[0].reason}")
        if finding.oracle not in form.oracles:
            raise SynctapeError(
                f"{name}: {finding.code} was found by the oracle {finding.oracle}, which a file for {form.name} "
                "does not have; use synctape replay"
            )
    spec = str(trace.header.target.get("spec", "")) if finding is not None else ""
    overlapped = not form.scheduled and overlaps(trace.events)
    return Script(name, interface, steps, _closes(steps, interface), finding, spec, overlapped)


def _step(number: int, call: Call, interface: Interface, form: Form, course: Course) -> Step | Unmade:
    text = shown(call_text(call, interface), _LONGEST_LINE).encode("ascii", "backslashreplace").decode("ascii")
    if call.method not in interface.slot:
        return Unmade(number, text, f"{interface.name} has no {call.method}")
    method = interface.method(call.method)
    reason = _unmakeable(call, method, interface, form)
    if reason:
        return Unmade(number, text, reason)
    judged = method.returns is Type.HRESULT and call.method not in interface.unknown
    succeeds = judged and course.level(number)[0] < Level.HOSTILE
    return Step(number, call, method, text, succeeds)


def _unmakeable(call: Call, method: Method, interface: Interface, form: Form) -> str:
    """Why a call cannot be made in a file of this form, as the player says it; "" if it can."""
    if call.method in interface.unknown and not (form.exact or form.scheduled):
        return "it is IUnknown's: a Python object has none"
    if any(isinstance(value, Opaque) for value in call.args):
        return "an argument was recorded only as it looked"
    if form.exact and not (
        len(call.args) == len(method.inputs)
        and all(fits(p, a) and (p.type is not Type.IID or _is_iid(a)) for p, a in _paired(method, call))
    ):
        return "arguments that the ABI cannot carry"
    return ""


def _paired(method: Method, call: Call) -> Iterator[tuple[Any, Argument]]:
    return zip(method.inputs, call.args, strict=True)


def _is_iid(value: Argument) -> bool:
    return value is None or (isinstance(value, str) and _IID.fullmatch(value) is not None)


def _closes(steps: tuple[Step | Unmade, ...], interface: Interface) -> tuple[int, ...]:
    """Tokens of the handles given up to the end of the protocol: a late call's handle is nobody's to close."""
    terminal, tokens = contract_of(interface).terminal, set[int]()
    for step in steps:
        if isinstance(step, Step):
            tokens.update(a.token for a in step.call.args if isinstance(a, Handle) and a.token >= 0)
            if step.call.method in terminal:
                break
    return tuple(sorted(tokens))


def _finding(kept: Any) -> Finding | None:
    if not isinstance(kept, Mapping):
        return None
    code, oracle, message, method = (str(kept.get(key, "")) for key in ("code", "oracle", "message", "method"))
    return Finding(code or "a finding", oracle, message, method, bool(kept.get("flaky")))


def _plain(text: str) -> str:
    """A text as printable ASCII that ends no comment and continues no line."""
    line = shown(text, _LONGEST_LINE).encode("ascii", "backslashreplace").decode("ascii")
    return line.replace('"""', "'''").rstrip("\\ ")
