"""Players that outlive their target: play here, or in a sandboxed child, behind one method.

`open_player(spec, ...)` gives either.  What kills or hangs the child becomes the outcome of the call that was
in flight.

`Isolated.play_many` hands many sequences over at once, through memory that parent and child share: what was
played before a death is kept, the journal names the sequence and the call that died, and a new child goes on
behind it.
"""

from __future__ import annotations

import itertools
import os
import re
import struct
import sysconfig
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from recorder.calls import Call, Header, Outcome, OutcomeKind, Trace
from recorder.decoding import DECODE_ERRORS
from recorder.endings import ending
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.trace import dump_trace
from replayer.batches import Fragments, position, unpack_outcomes
from replayer.endurance import play_repeatedly
from replayer.faults import OWN_THREAD, Meaning
from replayer.order import Order, is_ordered, with_outcomes
from replayer.player import Observation, Phase, PlayOptions, Run
from replayer.sandbox import Death, ExecutorError, Sandbox
from replayer.sanitizer_report import OUT_OF_MEMORY, parse_report
from replayer.scaling import play_and_weigh
from replayer.screening import Screened, screened
from replayer.shared import SharedList
from replayer.target import Target, TargetError, environment_for, is_native_spec, load_target
from replayer.worker import WITHOUT_PPV, unpack_run

__all__ = [
    "Frame",
    "Here",
    "Isolated",
    "Limits",
    "Player",
    "Repeating",
    "open_player",
    "place_in",
    "place_of",
    "target_frames",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandboxed sequence may take: seconds without progress, MiB of memory (None: no limit)."""

    timeout: float = 5.0
    memory: int | None = None


class Player(Protocol):
    """Plays sequences on fresh instances of one target."""

    spec: str
    interface: Interface

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run: ...

    def close(self) -> None: ...

    def __enter__(self) -> Player: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Closing:
    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Here(_Closing):
    """Plays in this process: a crash or hang of the target is one of ours."""

    def __init__(self, target: Target, options: PlayOptions | None = None):
        self.spec = target.spec
        self.interface = target.interface
        self._target = target
        self._options = options or PlayOptions()

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        if self._options.repeat == 1:
            return play_and_weigh(trace, self._target, self._options)
        if not isinstance(trace, Trace):
            trace = Trace.from_calls(trace, Header(interface=self.interface))
        return play_repeatedly(trace, self._target, self._options, times=self._options.repeat)


class Isolated(_Closing):
    """Plays in a child process that is replaced when it dies."""

    def __init__(
        self,
        spec: str,
        interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
        options: PlayOptions | None = None,
        limits: Limits | None = None,
        *,
        screening: bool = False,
    ):
        """`screening`: a new child is to be ready for `screen_many`, which otherwise takes it a moment."""
        self.spec = spec
        self.interface = interface
        self._limits = limits = limits or Limits()
        self._options = options = replace(options or PlayOptions(), patience=limits.timeout / 2)
        config = {
            "spec": spec,
            "interface": interface.describe(),
            "options": asdict(options),
            "screening": screening,
        }
        self._sandbox = Sandbox(
            "replayer.worker:job",
            config,
            name=f"target {spec}",
            timeout=limits.timeout,
            memory=limits.memory,
            environment=environment_for(spec),
        )
        self._memory = limits.memory
        self._repeat = options.repeat
        self._concurrent = options.concurrent
        self._asks_without_ppv = is_native_spec(spec) and "identity" not in options.skip
        self._without_ppv: tuple[Observation, ...] | None = None
        self._fragments = Fragments(interface)
        self._pairs: list[_Lists] = []

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        """Raises TargetError if the target gives no instance, ExecutorError if the child cannot be started."""
        return self.play_repeatedly(trace, self._repeat, timeout=timeout)

    def play_repeatedly(self, trace: Trace | Iterable[Call], times: int, *, timeout: float | None = None) -> Run:
        """Play so many times in one process; one run for all of them (replayer.endurance).

        Raises what `play` raises.
        """
        trace = self._trace(trace)
        packed = dump_trace(replace(trace, damage=None))
        asked = [packed, times] if times > 1 and trace.calls else packed
        reply = self._ask(asked, timeout)
        if timeout is not None and _hung_making(
            reply
        ):  # a moment is for calls: what makes an instance may take longer
            reply = self._ask(asked, None)
        if isinstance(reply, Death):
            run = self._died(trace, reply)
            if reply.kind is OutcomeKind.HUNG and is_ordered(trace):
                run = self._on_real_threads(trace, timeout) or run
        else:
            run = unpack_run(reply)
            if not run.trace.header.scheduled:
                run = replace(run, trace=with_outcomes(trace, [played.outcome for played in run.trace.played]))
            if reply["worn"]:
                self._sandbox.renew()
        return self._with_answer_to_no_ppv(run, timeout)

    def _on_real_threads(self, trace: Trace, timeout: float | None) -> Run | None:
        """How a trace goes whose calls wait for each other in a way that no scheduler sees, as at a pipe; None if
        there was no scheduler, or the trace hangs even so."""
        if self._options.real_threads or is_native_spec(self.spec):
            return None
        options = replace(self._options, real_threads=True)
        with Isolated(self.spec, self.interface, options, self._limits) as other:
            run = other.play(trace, timeout=timeout)
        hangs = any(outcome and outcome.kind is OutcomeKind.HUNG for _, _, outcome in run.trace.played)
        return None if hangs else run

    def play_many(
        self, traces: Iterable[Trace | Iterable[Call]], *, timeout: float | None = None, batch: int = 100
    ) -> Iterator[Run]:
        """What `play` gives for each, in turn, but handed over `batch` at a time.

        Raises what `play` raises, and ValueError or OverflowError for a call that no trace holds.
        """
        left = iter(traces)
        while many := [self._trace(trace) for trace in itertools.islice(left, batch)]:
            if self._concurrent or any(
                t.interface != self.interface or t.header.scheduled or is_ordered(t) for t in many
            ):
                yield from (self.play(trace, timeout=timeout) for trace in many)
                continue
            runs: list[Run] = []
            try:
                self._play_batch(many, runs, timeout)
            except TargetError:
                yield from runs
                raise
            for run in runs:
                yield self._with_answer_to_no_ppv(run, timeout)

    def screen_many(
        self, sequences: Iterable[bytes], *, timeout: float | None = None, batch: int = 100
    ) -> Iterator[Screened | Death]:
        """What screening gives for each packed sequence (replayer.screening), in turn, `batch` at a time.

        For one that the child dies of, the Death, whose position is the phase and the number of the call.  Only
        for native targets.  While the child plays a batch, the next one is taken from `sequences` and packed, and
        what came of the one before is unpacked.  Raises what `play` raises.
        """
        left = iter(sequences)
        turns = itertools.cycle((0, 1))
        following = self._pack(next(turns), list(itertools.islice(left, batch)))
        earlier: _Screen | None = None
        while following.many:
            screen, ends = following, list[Screened | Death]()
            self._send(screen.request(0), timeout)
            try:
                following = self._pack(next(turns), list(itertools.islice(left, batch)))
                if earlier is not None:
                    ends = earlier.unpacked()
            except BaseException:  # what gives the sequences failed: what was sent is nobody's any more
                self._sandbox.renew()
                raise
            try:
                self._end_screen(screen, self._receive(), timeout)
            except TargetError:
                yield from ends
                raise
            yield from ends
            earlier = screen
        if earlier is not None:
            yield from earlier.unpacked()

    def prepare(self) -> None:
        """Begin to start the child, without waiting for it.  Raises ExecutorError if there is no process."""
        self._sandbox.prepare()

    def close(self) -> None:
        self._sandbox.close()
        for lists in self._pairs:
            for shared in lists:
                shared.close()
        self._pairs.clear()

    def _trace(self, trace: Trace | Iterable[Call]) -> Trace:
        return trace if isinstance(trace, Trace) else Trace.from_calls(trace, Header(interface=self.interface))

    def _ask(self, payload: Any, timeout: float | None) -> Any:
        self._send(payload, timeout)
        return self._receive()

    def _send(self, payload: Any, timeout: float | None) -> None:
        try:
            self._sandbox.start()
        except ExecutorError:
            raise
        except SynctapeError as error:  # what the child said, as text
            raise TargetError(str(error)) from None
        self._sandbox.send(payload, timeout=timeout)

    def _receive(self) -> Any:
        reply = self._sandbox.receive()
        return _told(reply, self._memory) if isinstance(reply, Death) else reply

    def _play_batch(self, traces: list[Trace], runs: list[Run], timeout: float | None) -> None:
        """Add the runs of all traces to `runs`."""
        lists = self._hand_over(0, [self._fragments.any_sequence(trace.calls) for trace in traces])
        while (start := len(runs)) < len(traces):
            reply = self._ask(lists.request(start, screen=False), timeout)
            runs += map(self._run_of, traces[start:], lists.results)
            if isinstance(reply, Death) and len(runs) == len(traces):  # what one of them left behind
                if calls := len(traces[-1].calls):
                    runs[-1] = self._died(traces[-1], replace(reply, position=(Phase.ENDING, calls - 1)))
            elif isinstance(reply, Death):
                death = _in_sequence(reply, len(runs))
                if timeout is not None and _hung_making(death):
                    timeout = None
                else:
                    runs.append(self._died(traces[len(runs)], death))
            elif reply is not None:
                unpack_run(reply)  # raises TargetError
            elif len(runs) < len(traces):  # the target has written over the list
                runs.append(self._run_of(traces[len(runs)], b""))

    def _pack(self, pair: int, many: list[bytes]) -> _Screen:
        return _Screen(many, self._hand_over(pair, many), [])

    def _end_screen(self, screen: _Screen, reply: Any, timeout: float | None) -> None:
        """Have all of a batch played whose first reply this is."""
        while True:
            if reply is not None and not isinstance(reply, Death):
                unpack_run(reply)  # raises TargetError
            if reply is None and len(screen.ends) + len(screen.lists.results) >= len(screen.many):
                return  # and is unpacked when there is time
            ends = screen.unpacked()
            if isinstance(reply, Death) and len(ends) == len(screen.many):  # what one of them left behind
                ends[-1] = replace(reply, position=(Phase.ENDING, 0))
            elif isinstance(reply, Death):
                death = _in_sequence(reply, len(ends))
                if death.position[0] == Phase.MAKING:
                    raise self._no_instance(death)
                ends.append(death)
            elif len(ends) < len(screen.many):  # the target has written over the list
                ends.append(_screened(b""))
            if len(ends) >= len(screen.many):
                screen.lists.results.clear()
                return
            reply = self._ask(screen.request(len(ends)), timeout)

    def _hand_over(self, pair: int, sequences: list[bytes]) -> _Lists:
        """Put sequences into one of two pairs of lists, where a request has them played."""
        while len(self._pairs) <= pair:
            self._pairs.append(_Lists(SharedList(), SharedList()))
        lists = self._pairs[pair]
        lists.sequences.clear()
        lists.sequences.extend(sequences)
        return lists

    def _run_of(self, trace: Trace, blob: bytes) -> Run:
        try:
            outcomes, seen = unpack_outcomes(blob, len(trace.calls), trace.interface)
        except DECODE_ERRORS:  # the target has written over it
            outcomes, seen = [_DAMAGED] * len(trace.calls), []
        return Run(with_outcomes(trace, outcomes), tuple(seen))

    def _with_answer_to_no_ppv(self, run: Run, timeout: float | None) -> Run:
        asked = self._asked_without_ppv(timeout) if run.trace.played else ()
        return replace(run, observations=(*run.observations, *asked)) if asked else run

    def _asked_without_ppv(self, timeout: float | None) -> tuple[Observation, ...]:
        """What a native target makes of a NULL ppv, asked once: the answer is the same whatever was played."""
        if not self._asks_without_ppv:
            return ()
        if self._without_ppv is None:
            reply = self._ask(WITHOUT_PPV, timeout)
            if isinstance(reply, Death):
                ended = "crashed" if reply.kind is OutcomeKind.CRASHED else "hung"
                reply = ["H1", f"{WITHOUT_PPV} {ended}: {reply.detail}"]
            self._without_ppv = (Observation("identity", 0, reply[1], code=reply[0]),) if reply else ()
        return self._without_ppv

    def _died(self, trace: Trace, death: Death) -> Run:
        phase, number = death.position
        if phase >= Phase.JUDGING:
            phase, death = Phase.ENDING, replace(death, position=(Phase.ENDING, number))
        if phase == Phase.ASKING and trace.calls:
            ended = "crashed" if death.kind is OutcomeKind.CRASHED else "hung"
            seen = Observation("identity", number, f"QueryInterface {ended}: {death.detail}", code="H1")
            return Run(with_outcomes(trace, [_ANSWER_LOST] * len(trace.calls)), (seen,), death.stack)
        if phase == Phase.MAKING or not trace.calls:
            raise self._no_instance(death)
        late = ", after it returned" if phase == Phase.ENDING else ""
        return _cut_run(trace, replace(death, detail=death.detail + late), self.spec)

    def _no_instance(self, death: Death) -> TargetError:
        what = "crashed" if death.kind is OutcomeKind.CRASHED else "hung"
        return TargetError(f"target {self.spec}: the factory {what} ({death.detail})")


class _Lists(NamedTuple):
    """Sequences, and what came of them."""

    sequences: SharedList
    results: SharedList

    def request(self, start: int, *, screen: bool) -> dict[str, Any]:
        """Asks to have the sequences from `start` on played; what came of them is in `results` then."""
        self.results.clear()
        return {
            "sequences": self.sequences.path,
            "results": self.results.path,
            "start": start,
            "screen": screen,
        }


class _Screen(NamedTuple):
    """A batch that is screened.  `ends`: what is already unpacked of what came of it."""

    many: list[bytes]
    lists: _Lists
    ends: list[Screened | Death]

    def request(self, start: int) -> dict[str, Any]:
        return self.lists.request(start, screen=True)

    def unpacked(self) -> list[Screened | Death]:
        """What has come of it so far."""
        self.ends.extend(map(_screened, self.lists.results))
        self.lists.results.clear()
        return self.ends


class Repeating(_Closing):
    """Plays each trace so many times, on another player."""

    def __init__(self, player: Isolated, times: int):
        self.spec = player.spec
        self.interface = player.interface
        self._player = player
        self._times = times

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        return self._player.play_repeatedly(trace, self._times, timeout=timeout)


def _told(death: Death, memory: int | None) -> Death:
    """A death as the sanitizer tells it, if there is one and it had something to say.

    Of a fault whose address says what it was, a text's or the stack's end, the fault record says more.
    """
    report = parse_report(death.report)
    if report is None:
        return replace(death, report="")
    if report.kind == OUT_OF_MEMORY and memory is not None:
        return replace(death, detail=f"memory limit of {memory} MiB", report="", fault=None)
    if death.fault is not None and death.fault.sentence:
        return replace(death, detail=ending(-death.fault.code), report=report.text)
    whose = OWN_THREAD if death.fault is not None and death.fault.own_thread else ""
    return replace(death, kind=OutcomeKind.CRASHED, detail=report.message + whose, report=report.text, fault=None)


def _hung_making(reply: Any) -> bool:
    """Whether a child had to be ended while it made an instance."""
    return isinstance(reply, Death) and reply.kind is OutcomeKind.HUNG and reply.position[0] == Phase.MAKING


def _in_sequence(death: Death, sequence: int) -> Death:
    """A death in a batch as one of this sequence: at its first call if the process died before that."""
    phase, noted, number = position(death.position)
    return replace(death, position=(phase, number) if noted == sequence else (Phase.CALLS, 0))


def _screened(blob: bytes) -> Screened | Death:
    try:
        return screened(blob)
    except struct.error:  # the target has written over it
        return Death(OutcomeKind.CRASHED, _DAMAGED.detail)


_DAMAGED = Outcome(OutcomeKind.CRASHED, None, detail="its answer was damaged")
_ANSWER_LOST = Outcome(OutcomeKind.RETURNED, None, detail="the answer was lost with the process")


_GONE = Outcome(OutcomeKind.NOT_RUN, None, detail="the target was gone")


def _cut_run(trace: Trace, death: Death, spec: str) -> Run:
    """A run that ended in the middle of a call: those before it had returned, those after it never ran.

    Where calls overlap, others may have been under way: they have no end.
    """
    inside, ended, under_way = _reached(trace, death)
    fault = death.fault
    detail, place, stack = death.detail, place_of(death, spec), death.stack
    observations: tuple[Observation, ...] = ()
    if fault is not None:
        if fault.frames:
            stack = f"Native stack, innermost frame first:\n{fault.stack}\n{stack}"
        if fault.own_thread and is_native_spec(spec):
            detail += OWN_THREAD
        if fault.sentence:
            detail = f"{detail}: {fault.sentence}"
            observations = (Observation(_OF_MEANING[fault.meaning], inside, detail, place),)
    if _is_race(death):
        observations = (Observation("data-race", inside, detail, place),)
    outcome = Outcome(death.kind, None, 0, detail, place)
    outcomes: list[Outcome | None] = [_ANSWER_LOST if n in ended else _GONE for n in range(len(trace.calls))]
    for number in under_way:
        outcomes[number] = None
    outcomes[inside] = outcome
    return Run(with_outcomes(trace, outcomes), observations, stack, death.report)


def _is_race(death: Death) -> bool:
    report = parse_report(death.report)
    return report is not None and report.is_race


def _reached(trace: Trace, death: Death) -> tuple[int, Container[int], Iterable[int]]:
    """The call in which a sequence ended, those that had returned, and those that were under way."""
    phase, number = death.position
    if trace.header.scheduled and phase != Phase.ENDING:  # nobody knows how far other threads had come
        if _is_race(death):  # it takes two
            own = trace.calls[number].thread
            number = max(number, next((n for n, call in enumerate(trace.calls) if call.thread != own), number))
        last = {call.thread: n for n, call in enumerate(trace.calls[:number])}
        last.pop(trace.calls[number].thread, None)
        return number, range(number), last.values()
    if not is_ordered(trace):
        return number, range(number), ()
    order = Order.of(trace.events)
    if phase >= Phase.ORDERED:
        passed = phase - Phase.ORDERED
    else:
        passed = len(order.borders) if phase == Phase.ENDING else order.enters[number]
    if death.kind is OutcomeKind.HUNG and phase != Phase.ENDING:
        number = order.awaited(passed)
    return number, order.ended(passed), order.under_way(passed)


_OF_MEANING = {  # the oracle that takes it
    Meaning.PAST_END: "string-bounds",
    Meaning.BEFORE_START: "string-bounds",
    Meaning.WROTE: "string-bounds",
    Meaning.USED_LATER: "string-lifetime",
    Meaning.STACK_OVERFLOW: "stack-overflow",
}


_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')
_PLAYER_FILES = re.compile(
    r"[/\\](replayer|recorder|fuzz)[/\\](player|native_threads|sandbox|sandbox_child|worker|com)\.py$"
)
_WATCHING = re.compile(r"[/\\]replayer[/\\]hang_watch\.py$")


class Frame(NamedTuple):
    file: str
    line: str
    name: str

    def __str__(self) -> str:
        return f'File "{self.file}", line {self.line}, in {self.name}'


def target_frames(stack: str) -> list[Frame]:
    """Of a stack that faulthandler wrote the frames of the target and what it uses, innermost first.

    Of the threads in it the one counts that stands in the player's call, up to the player; or the one that
    crashed, if the target started it.  Empty if there is none: native code has no frames here.
    """
    for thread in re.split(r"\n(?=(?:Current thread|Thread) )", stack):
        frames = [Frame(*found) for found in _FRAME.findall(thread)]
        if any(_WATCHING.search(frame.file) for frame in frames):
            continue
        own = list(itertools.takewhile(lambda frame: not _PLAYER_FILES.search(frame.file), frames))
        if own and (len(own) < len(frames) or thread.startswith("Current thread")):
            return own
    return []


def place_in(stack: str) -> str:
    """The innermost frame of the target's own code; frames of libraries are its tools.  "" if there is none."""
    frames = target_frames(stack)
    if not frames:
        return ""
    library = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    frame = next((f for f in frames if not f.file.startswith(library)), frames[-1])
    return f"{os.path.basename(frame.file)}:{frame.line} in {frame.name}"


def place_of(death: Death, spec: str) -> str:
    """Where in the target's own code it died: as a sanitizer, the native stack or the Python one has it, or ""."""
    if report := parse_report(death.report):
        # an access to a text that lies near the stack is an overflow of it to the sanitizer, not to us
        fault = death.fault
        of_a_text = fault is not None and fault.sentence and fault.meaning is not Meaning.STACK_OVERFLOW
        return report.innermost if of_a_text else report.place
    place = place_in(death.stack)
    if death.fault is not None and (is_native_spec(spec) or not place):
        return death.fault.place(spec.rpartition(":")[0])
    return place


def open_player(
    spec: str,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    *,
    isolate: bool = True,
    options: PlayOptions | None = None,
    limits: Limits | None = None,
) -> Player:
    """A player for a target spec, in a child process or here."""
    if isolate:
        return Isolated(spec, interface, options, limits)
    return Here(load_target(spec, interface), options)
