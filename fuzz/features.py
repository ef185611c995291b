"""What each trace of a corpus shows on a target: its features, as words that mean the same in each process.

    code file.py:12 false      an arm of the target's code that this trace runs through (fuzz.coverage)
    code 1:2f x4               a place of a native target's code, and how often it is reached (replayer.cover)
    in running: Progress       a call in a state of the contract
    Progress 0 > Done raised   two calls in a row, with what came of each
    total=3, text.len 2^4      the target's visible state between the calls (fuzz.feedback)

Traces are played whole, as they were recorded, in a sandboxed child; one that kills it is a Death.  What is worth
a word of its own depends on the whole corpus, as in a campaign: a dimension of the state with many values counts
by magnitude, and a call with many answers by success and failure.  So words are made here, of what the child saw.
"""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from fuzz.coverage import Coverage, coverage_for
from fuzz.feedback import States, dimensions
from recorder.calls import OutcomeKind, Trace
from recorder.contract import contract_of
from recorder.hresult import failed, is_hresult
from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.cover import Cover
from replayer.endurance import is_worn, make_room
from replayer.isolation import Limits
from replayer.player import Journal, PlayOptions, Run, play
from replayer.sandbox import Death, Sandbox
from replayer.target import (
    Instance,
    NativeTarget,
    Target,
    TargetError,
    environment_for,
    is_native_spec,
    load_target,
)

__all__ = ["Features", "Seen", "Shower", "job", "preload"]

_SNAPSHOTS = 2000  # different states of one trace that are told
_OPTIONS = PlayOptions(skip=("identity", "references"))  # nobody judges
_TEXT = 60  # characters of a text in the state that are told
_ANSWERS = 24  # of one kind of call that are told apart
_coverage: dict[str, Coverage] = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a trace showed: `sites` of the code, `states` between calls, `calls` as (where, method, outcome)."""

    sites: tuple[str, ...]
    states: tuple[dict[str, Any], ...]
    calls: tuple[tuple[str, str, Any], ...]


class Features:
    """Makes words of what traces of one corpus showed; `learn` all of it before asking."""

    def __init__(self) -> None:
        self._states = States()
        self._answers: defaultdict[tuple[str, str], set[Any]] = defaultdict(set)

    def learn(self, seen: Iterable[Seen]) -> None:
        for one in seen:
            for state in one.states:
                self._states.new(state)
            for where, method, outcome in one.calls:
                self._answers[where, method].add(outcome)

    def of(self, seen: Seen) -> frozenset[str]:
        return frozenset(self._words(seen))

    def _words(self, seen: Seen) -> Iterator[str]:
        for site in seen.sites:
            yield f"code {site}"
        for state in seen.states:
            yield from self._states.features(state)
        before = ""
        for where, method, outcome in seen.calls:
            yield f"in {where}: {method}"
            call = f"{method} {self._answer(where, method, outcome)}"
            yield f"{before} > {call}"
            before = call

    def _answer(self, where: str, method: str, outcome: Any) -> str:
        if len(self._answers[where, method]) <= _ANSWERS or not is_hresult(outcome):
            return str(outcome)
        return "failure" if failed(outcome) else "success"


# --- in this process ------------------------------------------------------------------------------------------


class Shower:
    """Plays traces on a target in a child process, and tells what each showed."""

    def __init__(
        self, spec: str, interface: Interface, limits: Limits | None = None, *, cover: Sequence[str] = ()
    ):
        """`cover`: modules and packages whose code counts, too (fuzz.coverage)."""
        self.spec = spec
        self.interface = interface
        limits = limits or Limits()
        config = {"spec": spec, "interface": interface.describe(), "cover": list(cover)}
        self._sandbox = Sandbox(
            "fuzz.features:job",
            config,
            name=f"target {spec}",
            timeout=limits.timeout,
            memory=limits.memory,
            environment=environment_for(spec),
        )

    def show(self, trace: Trace) -> Seen | Death:
        """Raises TargetError if the target gives no instance, ExecutorError if there is no child to play in."""
        reply = self._sandbox.request(dump_trace(replace(trace, damage=None)))
        if isinstance(reply, Death):
            return reply
        if "refused" in reply:
            raise TargetError(reply["refused"])
        if reply["worn"]:
            self.renew()
        calls = tuple((where, method, outcome) for where, method, outcome in reply["calls"])
        return Seen(tuple(reply["sites"]), tuple(map(dict, reply["states"])), calls)

    def renew(self) -> None:
        """Play what follows in a fresh process."""
        self._sandbox.renew()

    def close(self) -> None:
        self._sandbox.close()

    def __enter__(self) -> Shower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# --- in the child ---------------------------------------------------------------------------------------------


def preload(config: dict[str, Any]) -> None:
    """Do once, in the process that workers are forked from, what takes long."""
    spec = config["spec"]
    if not is_native_spec(spec) and spec not in _coverage:
        _coverage[spec] = coverage_for(spec.rpartition(":")[0], extra=config["cover"])
        _coverage[spec].start()
    load_target(spec, Interface.from_description(config["interface"]))


def job(config: dict[str, Any], journal: Journal) -> Callable[[bytes], Any]:
    """The handler of one worker process: a trace comes in, what it showed goes back."""
    make_room()
    spec = config["spec"]
    target = load_target(spec, Interface.from_description(config["interface"]))
    watched = _Watched(target)
    reaching = _reaching(_coverage.get(spec), target.cover if isinstance(target, NativeTarget) else None)

    def handle(packed: bytes) -> Any:
        trace = load_trace(packed)
        watched.states.clear()
        watched.ask_at_the_end = not any(call.method in trace.interface.unknown for call in trace.calls)
        try:
            with reaching() as sites:
                run = play(trace, watched, _OPTIONS, journal)
        except TargetError as error:
            return {"refused": str(error)}
        return {
            "sites": sites,
            "states": [list(state) for state in watched.states],
            "calls": list(_calls(run)),
            "worn": is_worn(),
        }

    return handle


def _reaching(coverage: Coverage | None, cover: Cover | None) -> Callable[[], AbstractContextManager[list[str]]]:
    """Gives contexts whose lists hold, when they have ended, the sites that were reached in them."""

    @contextmanager
    def reaching() -> Iterator[list[str]]:
        reached: list[str] = []
        if cover is not None:
            cover.forget()
        with coverage.tracing() if coverage is not None else nullcontext(set[int]()) as sites:
            yield reached
        if coverage is not None:
            reached += coverage.named(sites)
        if cover is not None:
            reached += map(_place, cover.places())

    return reaching


def _place(place: int) -> str:
    return f"{place >> 48}:{place >> 8 & 0xFF_FFFF_FFFF:x} x{place & 0xFF}"


class _Watched:
    """A target whose instances' visible state is looked at after each call.

    Of a native target that names its state that is done at the end, if `ask_at_the_end`: not where the calls take
    and give back references themselves.
    """

    def __init__(self, target: Target):
        self.spec = target.spec
        self.interface = target.interface
        self.native = target.native
        self.place = target.place
        self.owns = target.owns
        self.states: dict[tuple[tuple[str, Any], ...], None] = {}
        self.ask_at_the_end = False
        self._instance = target.instance
        address = target.state if isinstance(target, NativeTarget) else 0
        self._state = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address) if address else None

    def instance(self) -> Instance:
        made = self._instance()
        if made.native:
            return replace(made, close=self._asking(made)) if self._state and self.ask_at_the_end else made
        self._look(made.object)
        return replace(made, methods={name: self._after(made, method) for name, method in made.methods.items()})

    def _after(self, made: Instance, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return method(*args)
            finally:
                self._look(made.object)

        return call

    def _asking(self, made: Instance) -> Callable[[], None]:
        def close() -> None:
            assert self._state is not None
            self.states[(("state", self._state(made.pointer)),)] = None
            made.close()

        return close

    def _look(self, instance: Any) -> None:
        if len(self.states) < _SNAPSHOTS:
            self.states[tuple((name, _told(value)) for name, value in dimensions(instance).items())] = None


def _told(value: Any) -> Any:
    """A value of the state as a reply holds it."""
    if isinstance(value, str) and len(value) > _TEXT:
        return f"{value[:_TEXT]} and on, {len(value).bit_length()} bits"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f"{'-' if value < 0 else ''}2^{value.bit_length()}"
    return value


def _calls(run: Run) -> Iterator[tuple[str, str, Any]]:
    contract = contract_of(run.trace.interface)
    state = contract.start
    for _, call, outcome in run.trace.played:
        if outcome is None or outcome.kind is OutcomeKind.NOT_RUN:
            continue
        answer: Any = outcome.value
        if outcome.kind is not OutcomeKind.RETURNED:
            answer = f"{outcome.kind} {outcome.detail.partition(':')[0]} {outcome.place}"
        elif answer is None:
            answer = 0
        elif not isinstance(answer, int):
            answer = type(answer).__name__
        yield state, call.method, _told(answer)
        state = contract.transitions.get((state, call.method), (state, None))[0]
