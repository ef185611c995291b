"""Hypothesis strategies: sequences of calls from an interface and its contract, and from recorded traces.

    call_sequences(interface, level=...)     fresh sequences
    mutated(traces, level=...)               recorded ones, changed in a few places
    test_host = fuzz_callback(Host)          a pytest test in one line

No method is known by name: which call may follow which, which arguments count up to which, and what ends the
protocol is the contract's data.  An interface without a contract is fuzzed by its types alone.

Hypothesis shrinks the choices that a sequence was drawn from, so how they are drawn decides where shrinking
ends.  Four habits make it the fewest calls with the simplest arguments:

1. A number in the sequence is itself a choice.  What makes good values likely (boundaries, an index that
   advances, what was recorded) is a selector drawn before it, which only narrows the range that it is drawn
   from.  Selector 0 leaves the whole range: the shrinker sets it to 0, keeps the value, and lowers that.
2. The lowest choice is the one that keeps to the contract (index <= max, a failure code in an error report), so
   that the minimal sequence breaks no rule without need, and the right side is blamed.
3. What ties a call to its neighbours (the planned length, the place in a recording) hangs on one selector for
   the whole sequence, `pace`.  At 0 each call stands for itself.
4. A call whose choices are all 0 is no call.  The shrinker cuts out five choices at a time and a call has more;
   but it also tries to set all of a call's choices to 0, and cuts out what is left.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import hypothesis
from hypothesis import strategies as st

from fuzz import dictionary
from recorder import hresult
from recorder.calls import SYNC_EVENT, Argument, Call, Handle, Header, OutcomeKind, Trace
from recorder.contract import Contract, Level, contract_of, fits, level_of
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.text import call_text
from replayer.oracles import Finding, Judge
from replayer.player import Run, play
from replayer.target import Instance, Target, object_target

__all__ = ["SequenceFailed", "call_sequences", "fuzz_callback", "mutated"]


def call_sequences(
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    *,
    level: Level | str = Level.HOSTILE,
    min_size: int = 1,
    max_size: int = 50,
) -> st.SearchStrategy[list[Call]]:
    """Sequences of `min_size` to `max_size` calls, by the interface's contract.

    conforming: no E or W rule is broken, and the final call is there.  lenient: W and I rules are broken, too,
    as real providers do.  hostile: anything that the ABI can carry.  Raises ValueError for sizes that no
    sequence has.
    """
    return _sequences(_Model(contract_of(interface), _level(level), min_size, max_size))


def mutated(
    traces: Iterable[Trace], *, level: Level | str = Level.HOSTILE, max_size: int = 200
) -> st.SearchStrategy[list[Call]]:
    """The calls of recorded traces with a few dropped, repeated, moved, spliced, replaced or altered.

    Of a trace longer than `max_size` calls a part is taken.  Below the hostile level, what the level forbids is
    replaced.  IUnknown's methods are left out: the player does not make them.  Raises ValueError if there is no
    call to start from, or if the traces are of different interfaces.
    """
    traces = list(traces)
    interfaces = {trace.interface.iid: trace.interface for trace in traces}
    if len(interfaces) > 1:
        raise ValueError(f"traces of different interfaces: {', '.join(i.name for i in interfaces.values())}")
    recorded = [tuple(c for c in t.calls if c.method not in t.interface.unknown) for t in traces]
    if not any(recorded):
        raise ValueError("no recorded calls to start from")
    contract = contract_of(traces[0].interface)
    return _sequences(_Model(contract, _level(level), 1, max_size, [calls for calls in recorded if calls]))


def _level(level: Level | str) -> Level:
    try:
        return level if isinstance(level, Level) else Level[level.upper()]
    except KeyError:
        raise ValueError(f"level {level!r}: it is one of {', '.join(map(str, Level))}") from None


# --- tables -----------------------------------------------------------------------------------------------------

_E_FAIL = hresult.parse("E_FAIL")
_CODES = sorted(  # successes, then failures, the usual one of each first: a range of positions is a kind of code
    dict.fromkeys(dictionary.HRESULTS), key=lambda c: (c < 0, c not in (0, _E_FAIL), hresult.name(c) is None)
)
_POSITION_OF_CODE = {code: position for position, code in enumerate(_CODES)}
_FIRST_FAILURE = _POSITION_OF_CODE[_E_FAIL]


@dataclass(frozen=True, slots=True)
class _Codes:
    """A kind of HRESULT: from `low` to `high`, by position in the table (`named`) or by value."""

    low: int
    high: int
    named: bool = False

    def choice(self, code: int) -> int:
        """What has to be chosen to get a code; below `low` if it is not of this kind."""
        choice = _POSITION_OF_CODE.get(code, self.low - 1) if self.named else code
        return choice if choice <= self.high else self.low - 1


_OK = _Codes(0, 0, named=True)
_WARNING = _Codes(1, _FIRST_FAILURE - 1, named=True)
_FAILURE = _Codes(_FIRST_FAILURE, len(_CODES) - 1, named=True)
_ODD_WARNING = _Codes(1, 2**31 - 1)
_ODD_FAILURE = _Codes(-(2**31), -1)
_ODD = _Codes(-(2**31), 2**31 - 1)

# How an index and its limit are drawn; from _FREE on they may break P6 or P7.
_REGULAR, _ADVANCE, _COMPLETE, _FREE, _ABOVE, _UNKNOWN, _BACK = range(7)
_MODES = (_REGULAR, _ADVANCE, _ADVANCE, _ADVANCE, _ADVANCE, _COMPLETE, _FREE, _ABOVE, _UNKNOWN, _BACK)

# How a text is drawn: character by character, or as a piece of a known text that repeats without end: any piece,
# the whole text once, or (a kind for each) one of a length at which buffers end.
_PLAIN, _PIECE, _WHOLE = 0, -1, -2
_TEXT_KINDS = (_PLAIN, _PIECE, *(_PLAIN,) * 20, *(_WHOLE,) * 40, *dictionary.LENGTHS)
_LONGEST = max(dictionary.LENGTHS) + 1
_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=())
_PLAIN_TEXT = st.text(_CHARACTERS)

# One change in so many calls of a recording, by pace; 0 does not look at the recording.
_RATES = (0, 1000, 100, 100, 40, 40, 20, 10)

_NO_HINT: Any = object()


class _Model:
    """What sequences are drawn from; the same for every example."""

    def __init__(
        self,
        contract: Contract,
        level: Level,
        min_size: int,
        max_size: int,
        recorded: Sequence[Sequence[Call]] = (),
    ):
        self.contract = contract
        self.level = level
        self.min_size, self.max_size = min_size, max_size
        self.recorded = recorded
        self.methods = tuple(m for m in contract.interface.calls for _ in range(_weight(contract, m)))
        self.ways = {} if level is Level.HOSTILE else _ways_to_end(contract)
        calls = [call for track in recorded for call in track]
        values = dict.fromkeys(value for call in calls for value in call.args)
        known = ("0", *sorted(dictionary.TEXTS, key=lambda t: (len(t), not t.isascii())))
        texts = (*known, *sorted((v for v in values if isinstance(v, str) and "\0" not in v), key=len))
        self.texts = tuple(dict.fromkeys(t for t in texts if 0 < len(t) <= _LONGEST))
        self.position_of_text = {text: position for position, text in enumerate(self.texts)}
        self.handles = tuple(v for v in values if isinstance(v, Handle))
        self.threads = max((call.thread for call in calls), default=0) + 1
        shortest = max(1, len(self.ways.get(contract.start, ())))
        if not max(1, min_size, shortest) <= max_size:
            raise ValueError(
                f"sizes {min_size} to {max_size}: no {level} sequence of {contract.interface.name} fits; "
                f"the shortest has {shortest} calls"
            )


def _weight(contract: Contract, method: Method) -> int:
    """Of ten calls of a sync about seven report progress, and few end it."""
    if method.name in contract.terminal:
        return 1
    return 5 if contract.series and method.name == contract.series.method else 2


def _ways_to_end(contract: Contract) -> dict[str, tuple[str, ...]]:
    """For each state from which legal calls lead to the protocol's end, the shortest row of methods there."""
    ways: dict[str, tuple[str, ...]] = dict.fromkeys(contract.ended, ())
    while True:
        found = {
            state: (method, *ways[to])
            for (state, method), (to, rule) in contract.transitions.items()
            if rule is None and to in ways and state not in ways
        }
        if not found:
            return ways
        ways |= found


# --- drawing a sequence -----------------------------------------------------------------------------------------


@st.composite
def _sequences(draw: st.DrawFn, model: _Model) -> list[Call]:
    sequence = _Sequence(draw, model)
    some, one = _calls(sequence, may_skip=True), _calls(sequence, may_skip=False)
    while sequence.goes_on():
        draw(some)
    while sequence.is_short():
        draw(one)
    sequence.close()
    calls = sequence.calls
    hypothesis.assume(calls and (model.level is Level.HOSTILE or level_of(model.contract, calls) <= model.level))
    return calls


@st.composite
def _calls(draw: st.DrawFn, sequence: _Sequence, may_skip: bool) -> None:
    """One call, in a span of its own: made trivial, it is none, and short enough for the shrinker to cut out."""
    sequence.step(draw, may_skip)


class _Sequence:
    """One sequence while it is drawn: the contract's state, and what the rules for arguments look back at."""

    def __init__(self, draw: st.DrawFn, model: _Model):
        self.draw = draw
        self.model = model
        self.contract = model.contract
        self.strict = model.level is Level.CONFORMING
        self.hostile = model.level is Level.HOSTILE
        self.calls: list[Call] = []
        self.state = model.contract.start
        self.position: tuple[int, int] | None = None  # index and limit last reported
        self.text: Argument = None  # the series' current text
        self.failed = False  # a failure was reported
        self.pace = self.number(0, len(_RATES) - 1)
        self.closing = False
        self.track: Sequence[Call] = ()
        self.cursor = 0
        if model.recorded:
            self.track = model.recorded[self.number(0, len(model.recorded) - 1)]
            self.cursor = self.number(0, 0 if self.pace % 4 else len(self.track) - 1)
            rest = len(self.track) - self.cursor
            self.length = self.number(1 if self.pace % 4 == 2 else rest, rest)
        else:
            reach = (*(8, 8, 8, 8), *(20, 20, 20), model.max_size)[self.pace]
            self.length = self.number(model.min_size, min(max(reach, model.min_size), model.max_size))

    def number(self, low: int, high: int, hint: object = _NO_HINT) -> int:
        """A choice from `low` to `high`; exactly `hint` where it is one of these."""
        if isinstance(hint, int) and low <= hint <= high:
            low = high = int(hint)
        return self.draw(_integers(low, high))

    def goes_on(self) -> bool:
        """The choice whether another call follows."""
        size = len(self.calls) + self.cost(self.state)
        if size >= self.model.max_size or not self.allowed():
            return False
        return self.number(0, 1, int(size < self.length) if self.pace else _NO_HINT) == 1

    def is_short(self) -> bool:
        """Whether more calls have to follow."""
        return len(self.calls) + self.cost(self.state) < self.model.min_size and bool(self.allowed())

    def step(self, draw: st.DrawFn, may_skip: bool) -> None:
        """Add a call, or nothing: calls that shrinking has taken out leave such gaps."""
        self.draw = draw
        hint, altered = self.recall()
        methods, allowed = self.model.methods, self.allowed()
        place = next((n for n, m in enumerate(methods, 1) if hint and m.name == hint.method), _NO_HINT)
        choice = self.number(0 if may_skip and not self.pace else 1, len(methods), place)
        if choice:
            method = methods[choice - 1]
            self.add(method if method in allowed else allowed[0], hint, altered)

    def allowed(self) -> Sequence[Method]:
        """Methods that leave room to end the protocol as the level asks."""
        if self.hostile:
            return self.model.methods
        return [method for method in self.contract.interface.calls if self._fits_in(method)]

    def _fits_in(self, method: Method) -> bool:
        to, rule = self.contract.transitions.get((self.state, method.name), (self.state, "?"))
        ends = to in self.contract.ended and not self.contract.legal(to)
        incomplete = self.incomplete and not self._is_series(method)
        size = len(self.calls) + 1 + len(self.model.ways.get(to, ())) + incomplete
        return rule is None and not ends and size <= self.model.max_size

    def cost(self, state: str) -> int:
        """How many calls it takes to end the protocol from here."""
        return len(self.model.ways.get(state, ())) + self.incomplete

    @property
    def incomplete(self) -> bool:
        """Whether the last position is short of its limit, and no failure says why (P8)."""
        if not self.strict or self.failed or self.position is None or self.contract.final is None:
            return False
        return self.position[0] != self.position[1]

    def close(self) -> None:
        """Bring the protocol to its end, as every level but the hostile one asks."""
        interface, series = self.contract.interface, self.contract.series
        self.closing = True
        if self.incomplete and series:
            self.add(interface.method(series.method), None)
        for name in self.model.ways.get(self.state, ()):
            rest = self.track[self.cursor :] if self.pace else ()
            self.add(interface.method(name), next((c for c in rest if c.method == name), None))

    def recall(self) -> tuple[Call | None, int]:
        """The recorded call to keep to, None for a fresh one; and which of its arguments to alter (-1: none)."""
        if not self.model.recorded:
            return None, -1
        plan = self.number(0, 2**20)
        if not self.pace:
            return None, -1
        place, action = divmod(plan, _RATES[self.pace])
        if action == 0:  # insert
            return None, -1
        if action == 1 and 0 < self.cursor <= len(self.track):  # repeat
            return self.track[self.cursor - 1], -1
        if action == 2:  # drop
            self.cursor += 1 + place % 8
        elif action == 3:  # splice
            self.track = self.model.recorded[place % len(self.model.recorded)]
            self.cursor = place // 7 % len(self.track)
        call = self.track[self.cursor] if self.cursor < len(self.track) else None
        self.cursor += 1
        if action == 4:  # replace
            return None, -1
        return call, place % len(call.args) if action == 5 and call and call.args else -1

    # one call

    def add(self, method: Method, hint: Call | None, altered: int = -1) -> None:
        """Draw the arguments of a call and make it the next one."""
        if hint is None or hint.method != method.name or len(hint.args) != len(method.inputs):
            hint = None
        hints = {p.name: hint.args[n] for n, p in enumerate(method.inputs) if n != altered} if hint else {}
        threads = self.model.threads
        thread = self.number(0, threads - 1, hint.thread if hint else _NO_HINT) if threads > 1 else 0
        to = self.contract.transitions.get((self.state, method.name), (self.state, None))[0]
        values = self._shaped(method, hints, to)
        args = (values[p.name] if p.name in values else self.argument(p, hints) for p in method.inputs)
        self.calls.append(Call(method.name, tuple(args), thread))
        self.state = to

    def _is_series(self, method: Method) -> bool:
        return self.contract.series is not None and method.name == self.contract.series.method

    def _shaped(self, method: Method, hints: dict[str, Argument], to: str) -> dict[str, Argument]:
        """The arguments that the contract knows more of than their types."""
        contract = self.contract
        parameters = {p.name: p for p in method.inputs}
        values: dict[str, Argument] = {}
        if contract.series and method.name == contract.series.method:
            series = contract.series
            text: Argument = None
            if series.text:
                text = values[series.text] = self.argument(parameters[series.text], hints)
            last = self.closing or len(self.calls) + 1 + len(self.model.ways.get(to, ())) >= self.model.max_size
            values[series.index], values[series.limit] = self._position(
                parameters[series.index], parameters[series.limit], text, hints, complete=last
            )
        elif contract.report and method.name == contract.report.method:
            report = contract.report
            strict, lenient = (_FAILURE, _WARNING, _ODD_FAILURE), (_FAILURE, _WARNING, _ODD_FAILURE, _OK, _ODD)
            code = values[report.code] = self.code(strict if self.strict else lenient, hints.get(report.code))
            values[report.text] = self.argument(parameters[report.text], hints, null=not self.strict)
            self.failed |= code < 0
        elif contract.final and method.name == contract.final.method:
            final = contract.final
            values[final.result] = self.code(self._results(), hints.get(final.result))
        return values

    def _position(
        self, index: Parameter, limit: Parameter, text: Argument, hints: dict[str, Argument], *, complete: bool
    ) -> tuple[int, int]:
        """An index and its limit; `complete`: there is no room left to reach the limit later."""
        (low, high), (limit_low, limit_high) = index.type.range, limit.type.range
        hint, limit_hint = hints.get(index.name, _NO_HINT), hints.get(limit.name, _NO_HINT)
        top = min(high, limit_high)
        modes = _MODES[: _MODES.index(_FREE)] if self.strict else _MODES
        wanted: object = _NO_HINT
        if self.strict and not self.failed and complete:
            wanted = modes.index(_COMPLETE)
        elif isinstance(hint, int) and isinstance(limit_hint, int):
            regular = self.strict or 0 <= hint <= limit_hint > 0
            wanted = modes.index(_REGULAR if regular else _FREE)
        mode = modes[self.number(0, len(modes) - 1, wanted)]
        last = self.position
        at, of = last or (0, 0)
        if mode == _FREE:
            at = self.integer(low, high, hint)
            of = self.integer(limit_low, limit_high, limit_hint)
        elif mode == _ABOVE:
            at = self.integer(1, top)
            of = self.integer(0, at - 1)
        elif mode == _UNKNOWN:
            at = self.integer(0, top)
            of = self.integer(0, 0)
        elif mode == _BACK and last:
            at = self.integer(min(0, at), at)
            of = self.integer(of, of)
        elif mode == _COMPLETE:
            at = self.integer(of, of) if at < of and of > 0 else self.integer(1, top)
            of = self.integer(at, at)
        elif mode == _ADVANCE and 0 <= at < of:
            at = self.integer(at, of)
            of = self.integer(of, of)
        else:
            at = self.integer(0, top, hint)
            of = self.integer(max(at, 1), limit_high, limit_hint)
        falls = last is not None and at < last[0] and of == last[1] and text in (None, self.text)
        if self.strict and falls:
            of += 1 if of < limit_high else -1  # another limit is another step (P7)
        self.position = at, of
        self.text = self.text if text is None else text
        return at, of

    def _results(self) -> Sequence[_Codes]:
        """How the protocol may end (P8, P18)."""
        if not self.strict:
            return (_OK, _FAILURE, _WARNING, _ODD)
        if not self.failed:
            return (_OK, _WARNING, _ODD_WARNING)
        complete = self.position is None or self.position[0] == self.position[1]
        return (_FAILURE, _ODD_FAILURE, _WARNING, _ODD_WARNING) if complete else (_FAILURE, _ODD_FAILURE)

    # one argument

    def argument(self, parameter: Parameter, hints: dict[str, Argument], *, null: bool = False) -> Argument:
        """A value of a parameter's type; `null`: NULL may be passed though no page allows it."""
        kind = parameter.type
        hint = hints.get(parameter.name, _NO_HINT)
        if hint is not _NO_HINT and not fits(parameter, hint):
            hint = _NO_HINT
        can_be_null = parameter.pointer or not kind.is_integer
        given = hint if hint is _NO_HINT else int(hint is not None)
        if parameter.nullable and can_be_null and self.number(0, 3, given) == 0:
            return None
        value = self._value(parameter, hint)
        if can_be_null and not parameter.nullable and (null or self.hostile):
            # Chosen last: with fewer choices, NULL would be the simplest, and shrinking end at it.
            spoilt = self.number(0, 7, hint if hint is _NO_HINT else 7 * (hint is None))
            return None if spoilt == 7 else value
        return value

    def _value(self, parameter: Parameter, hint: object) -> Argument:
        """A value, not NULL, of a parameter's type."""
        kind = parameter.type
        if kind is Type.TEXT:
            return self.string(hint)
        if kind is Type.HRESULT:
            return self.code((_OK, _FAILURE, _WARNING, _ODD), hint)
        if kind is Type.IID:
            return self.iid(hint)
        if kind in (Type.HANDLE, Type.POINTER):
            return self.handle(parameter, hint)
        if kind is Type.BOOL and not self.hostile:
            return self.number(0, 1, hint)
        return self.integer(*kind.range, hint)

    def integer(self, low: int, high: int, hint: object = _NO_HINT) -> int:
        """An integer, often next to one at which programs change their behaviour."""
        hinted = isinstance(hint, int) and low <= hint <= high
        near = self.number(0, 3 * len(dictionary.INTEGERS) - 1, 0 if hinted or low == high else _NO_HINT)
        if near >= 2 * len(dictionary.INTEGERS):
            value = dictionary.INTEGERS[near - 2 * len(dictionary.INTEGERS)]
            around = max(low, value - 1), min(high, value + 1)
            if around[0] <= around[1]:
                low, high = around
        return self.number(low, high, hint)

    def code(self, kinds: Sequence[_Codes], hint: object = _NO_HINT) -> int:
        """An HRESULT of one of these kinds."""
        wanted = choice = _NO_HINT
        if isinstance(hint, int):
            choices = [kind.choice(hresult.signed(hint)) for kind in kinds]
            wanted = next((n for n, kind in enumerate(kinds) if choices[n] >= kind.low), _NO_HINT)
            choice = choices[wanted] if wanted is not _NO_HINT else _NO_HINT
        kind = kinds[self.number(0, len(kinds) - 1, wanted)]
        choice = self.number(kind.low, kind.high, choice)
        return _CODES[choice] if kind.named else choice

    def string(self, hint: object = _NO_HINT) -> str:
        """A text: plain characters, or a piece of a known text."""
        texts = self.model.texts
        wanted = place = size = _NO_HINT
        if hint == "":
            wanted, place, size = _TEXT_KINDS.index(_PIECE), 0, 0
        elif isinstance(hint, str) and hint in self.model.position_of_text:
            wanted, place = _TEXT_KINDS.index(_WHOLE), self.model.position_of_text[hint]
        kind = _TEXT_KINDS[self.number(0, len(_TEXT_KINDS) - 1, wanted)]
        if kind == _PLAIN:
            return _joined(self.draw(_PLAIN_TEXT))
        text = texts[self.number(0, len(texts) - 1, place)]
        if kind == _WHOLE:
            size = len(text)
        low, high = (0, _LONGEST) if kind < 0 else (kind - 1, kind + 1)
        end = self.number(low, high, size)
        length = self.number(low, high, size)
        return _joined((text * -(-end // len(text)))[max(0, end - length) : end])

    def iid(self, hint: object) -> str:
        """An IID: the interface's own, IUnknown's, or any."""
        interface = self.contract.interface
        known = (interface.guid.int, interface.root.guid.int, 0, 2**128 - 1)
        if isinstance(hint, str):
            with contextlib.suppress(ValueError):
                hint = uuid.UUID(hint).int
        place = self.number(0, len(known), 0 if isinstance(hint, int) else _NO_HINT)
        value = self.number(0, 2**128 - 1, known[place - 1] if place else hint)
        return f"{{{uuid.UUID(int=value)}}}"

    def handle(self, parameter: Parameter, hint: object) -> Handle:
        """A handle; pseudo-handles and other people's only where the level lets them."""
        final = self.contract.final
        known = (SYNC_EVENT, Handle(1), Handle(2), *self.model.handles)
        if self.strict and final and parameter.name == final.handle:
            known = (SYNC_EVENT,)
        elif self.hostile and parameter.type is Type.HANDLE:
            known = (*known, Handle(-1), Handle(-2))
        return known[self.number(0, len(known) - 1, known.index(hint) if hint in known else _NO_HINT)]


@functools.lru_cache(maxsize=4096)
def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def _joined(text: str) -> str:
    """The text as its UTF-16 reads: a high and a low surrogate side by side are one character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


# --- a test in one line -----------------------------------------------------------------------------------------


class SequenceFailed(AssertionError):
    """A sequence on which the host failed: `finding` says how, `trace` holds the calls and their outcomes.

    Raised as a subclass for each bucket, since that is how Hypothesis tells bugs apart; it shrinks and reports
    each of them.  `__cause__` is the exception that the host raised, if it raised one.
    """

    finding: Finding
    trace: Trace

    def __init__(self, finding: Finding, trace: Trace):
        super().__init__(_report(finding, trace))
        self.finding, self.trace = finding, trace


def fuzz_callback(
    factory: Callable[[], Any],
    *,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    level: Level | str = Level.HOSTILE,
    traces: Iterable[Trace] = (),
    max_examples: int = 200,
    slow: float = 1.0,
    settings: hypothesis.settings | None = None,
) -> Callable[[], None]:
    """A pytest test that plays sequences on fresh instances and fails on the first finding of each bucket.

        test_dialog = fuzz_callback(SendReceiveDialog)

    Sequences come from `call_sequences`, or from `mutated` where there are traces.  A call is too slow from
    `slow` seconds on.  `max_examples` sequences are played, without Hypothesis' deadline, its check for slow
    generation and its explain phase, which would see our lines and not the host's; all else is the profile's.
    `settings` replaces all of that.  The test is a Hypothesis test in every respect.  Raises ValueError for
    traces of another interface.
    """
    level = _level(level)
    traces = list(traces)
    if any(trace.interface != interface for trace in traces):
        raise ValueError(f"a trace is of another interface than {interface.name}")
    strategy = mutated(traces, level=level) if traces else call_sequences(interface, level=level)
    target = _Witness(object_target(factory, interface))
    judge = Judge(contract_of(interface), slow=slow)
    header = Header(interface=interface)
    kinds: dict[tuple[str, str, str], type[SequenceFailed]] = {}

    def test(calls: list[Call]) -> None:
        __tracebackhide__ = True  # pytest shows the host's frames and the report, not this one
        run = play(Trace.from_calls(calls, header), target)
        findings = judge.findings(run)
        causes = target.let_go(run)
        if findings:
            found = findings[0]
            if found.bucket not in kinds:
                kinds[found.bucket] = type(
                    f"{found.code}_{found.method}", (SequenceFailed,), {"__module__": __name__}
                )
            raise kinds[found.bucket](found, run.trace) from causes.get(found.number)

    name = getattr(factory, "__name__", type(factory).__name__)
    test.__name__ = test.__qualname__ = f"test_{name}"
    test.__module__ = getattr(factory, "__module__", __name__)
    test.__doc__ = f"{interface.name}: no {level} sequence of calls finds a fault in {name}."
    # Without it all these tests would share one key of Hypothesis' example database.
    key = (target.spec, interface.iid, str(level), str(len(traces)))
    test._hypothesis_internal_add_digest = "\0".join(key).encode()  # type: ignore[attr-defined]
    wrapped: Callable[[], None] = (settings or _settings(max_examples))(hypothesis.given(strategy)(test))
    return wrapped


def _settings(max_examples: int) -> hypothesis.settings:
    profile = hypothesis.settings()
    return hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        phases=[phase for phase in profile.phases if phase is not hypothesis.Phase.explain],
        suppress_health_check=[*profile.suppress_health_check, hypothesis.HealthCheck.too_slow],
    )


def _report(finding: Finding, trace: Trace) -> str:
    where = f"\n  at {finding.place}" if finding.place else ""
    lines = [
        f"{finding.code} in {finding.method}: {finding.message}{where}",
        f"  blame: {finding.blame}",
        f"  more: synctape explain {finding.code}",
    ]
    for number, call in enumerate(trace.calls):
        text = call_text(call, trace.interface)
        text = text if len(text) <= 300 else f"{text[:200]} ... {text[-80:]}"
        lines.append(f"--> {text}" if number == finding.number else f"    {text}")
    return "\n".join(lines)


class _Witness:
    """A Python target that keeps the exceptions which its methods raise: outcomes hold only their text."""

    native = False

    def __init__(self, target: Target):
        self.spec, self.interface = target.spec, target.interface
        self.place, self.owns = target.place, target.owns
        self._instance = target.instance
        self._raised: list[tuple[BaseException, TracebackType | None]] = []

    def instance(self) -> Instance:
        instance = self._instance()
        self._raised = []
        instance.methods = {name: self._watched(method) for name, method in instance.methods.items()}
        return instance

    def _watched(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return method(*args)
            except BaseException as error:
                self._raised.append((error, error.__traceback__ and error.__traceback__.tb_next))
                raise

        return call

    def let_go(self, run: Run) -> dict[int, BaseException]:
        """The exceptions of a run by call, with the host's own frames only.

        The frames' variables are cleared: they would keep the host alive, and what its finaliser does would be
        seen in another sequence.  A runaway recursion's frames end at a line that is chance: it is left out.
        """
        numbers = [n for n, _, o in run.trace.played if o and o.kind is OutcomeKind.RAISED]
        raised, self._raised = dict(zip(numbers, self._raised, strict=False)), []
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for error, trace in raised.values():
                error.__traceback__ = trace
                traceback.clear_frames(trace)
        finally:
            sys.unraisablehook = hook
        return {n: error for n, (error, _) in raised.items() if not isinstance(error, RecursionError)}
