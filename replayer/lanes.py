"""A run of several threads as lanes: one for each thread, with enters, leaves and switches in the order they had.

    t0  t1
    [          0  Progress("Inbox", 1, 2)
    *          0  gives way to t1 before step 4, gauge.py:21 in Progress: self.done += 1
    :   [      1  Progress(NULL, 2, 2)
    :   ]      1  -> S_OK
    ]          0  -> S_OK

`[` a call begins, `]` it ends, `*` another thread goes on in its middle, `:` it waits for its turn meanwhile,
`!` it does not come back.  A call nested in another of its thread stands to the right of it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from recorder.calls import Enter, OutcomeKind, Trace
from replayer.order import overlaps
from replayer.player import Run
from replayer.scheduler import HandOver

__all__ = ["Lanes", "Moment", "Turn", "lane_lines", "lanes_of", "switch_words"]

_MOST = 80  # lines that are drawn
_FIRST, _AFTER = 4, 6  # of more: so many at the start, and so many behind a failing call's


class Turn(enum.StrEnum):
    ENTER = "enter"
    LEAVE = "leave"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened on a thread: its call `call` began, ended, or gave way.

    `call` is -1 where a thread gave way outside its calls, as one that the target started does.  `depth` is how
    many calls of its thread are around it.  Of a switch: to which thread, behind which step of the call, where
    (`place`, and `code`, the source line), and why, as a `HandOver` says it.
    """

    turn: Turn
    thread: int
    call: int
    depth: int = 0
    to: int = -1
    step: int = 0
    place: str = ""
    code: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The threads by number, and what happened on them."""

    threads: tuple[int, ...]
    moments: tuple[Moment, ...]

    @property
    def switches(self) -> tuple[Moment, ...]:
        return tuple(moment for moment in self.moments if moment.turn is Turn.SWITCH)

    def around(self, failing: Iterable[int]) -> Lanes:
        """Of a long run what is at the start, and what comes before and at the failing calls' end."""
        kept = _kept(self.moments, set(failing))
        return Lanes(self.threads, tuple(self.moments[at] for at in sorted(kept)))


def lanes_of(run: Run) -> Lanes | None:
    """The run's lanes, without calls that were not made; None where no call met another: a list then says all."""
    if not overlaps(run.trace.events) and all(over.why == "ended" for over in run.schedule):
        return None
    return _lanes(run.trace, run.schedule)


def _lanes(trace: Trace, schedule: Sequence[HandOver]) -> Lanes:
    """Events and hand-overs, merged.

    A hand-over's place among the events follows from the thread that goes on with it, and from its call, which has
    begun and not ended there.
    """
    left = deque(schedule)
    made = {n for n, _, outcome in trace.played if outcome is None or outcome.kind is not OutcomeKind.NOT_RUN}
    thread_of = {event.number: event.call.thread for event in trace.events if isinstance(event, Enter)}
    goes_on = min(thread_of.values(), default=0)
    depths: dict[int, int] = {}
    moments: list[Moment] = []

    def hand_over() -> None:
        nonlocal goes_on
        over = left.popleft()
        thread = thread_of.get(over.call, goes_on)
        if over.why != "ended":
            depth = max(depths.get(thread, 0) - 1, 0)
            moments.append(
                Moment(Turn.SWITCH, thread, over.call, depth, over.to, over.step, over.place, over.code, over.why)
            )
        goes_on = over.to

    for event in trace.events:
        if event.number not in made:
            continue
        thread = thread_of[event.number]
        if not isinstance(event, Enter):
            while any(over.call == event.number for over in left):
                hand_over()
        while left and goes_on != thread:
            hand_over()
        goes_on = thread
        if isinstance(event, Enter):
            moments.append(Moment(Turn.ENTER, thread, event.number, depths.get(thread, 0)))
            depths[thread] = depths.get(thread, 0) + 1
        else:
            depths[thread] -= 1
            moments.append(Moment(Turn.LEAVE, thread, event.number, depths[thread]))
    while any(over.why != "ended" for over in left):
        hand_over()
    return Lanes(tuple(sorted({m.thread for m in moments} | {m.to for m in moments if m.to >= 0})), tuple(moments))


# --- in words -------------------------------------------------------------------------------------------------

_WORDS = {
    "change": "gives way to {to} before step {step}",
    "blocked": "waits, {to} goes on",
    "sleep": "sleeps, {to} goes on",
    "spin": "has run for long, {to} goes on",
    "woken": "lets {to} go first, which can go on",
}


def switch_words(moment: Moment) -> str:
    """`gives way to t1 before step 4, gauge.py:21 in Progress: self.done += 1`."""
    words = _WORDS.get(moment.why, "{to} goes on").format(to=f"t{moment.to}", step=moment.step)
    place = f", {moment.place}" if moment.place else ""
    return f"{words}{place}{f': {moment.code}' if moment.code else ''}"


def lane_lines(
    lanes: Lanes, begins: Callable[[int], str], ends: Callable[[int], str], failing: Iterable[int]
) -> Iterator[str]:
    """The lanes as lines of text; `begins` and `ends` say what stands beside a call's enter and leave, by number.

    Lines of failing calls are marked with ">"; of a long run the middle is left out.
    """
    marked = set(failing)
    depths = dict.fromkeys(lanes.threads, 0)
    deepest = max((moment.depth for moment in lanes.moments), default=0) + 1
    width = 2 + max(deepest, *(len(f"t{thread}") for thread in lanes.threads))
    digits = len(str(max((moment.call for moment in lanes.moments), default=0)))
    kept = _kept(lanes.moments, marked)
    yield ("  " + "".join(f"{f't{thread}':{width}}" for thread in lanes.threads)).rstrip()
    last = -1
    for position, moment in enumerate(lanes.moments):
        sign = {Turn.ENTER: "[", Turn.LEAVE: "]", Turn.SWITCH: "*"}[moment.turn]
        if moment.turn is Turn.LEAVE:
            depths[moment.thread] = moment.depth
        if position in kept:
            if position > last + 1:
                yield f"  … {position - last - 1} more"
            cells = [
                (":" * depths[thread] if thread != moment.thread else ":" * moment.depth + sign).ljust(width)
                for thread in lanes.threads
            ]
            mark = ">" if moment.call in marked and moment.turn is not Turn.SWITCH else " "
            text = {Turn.ENTER: begins, Turn.LEAVE: ends}.get(moment.turn, lambda _, m=moment: switch_words(m))
            number = str(moment.call) if moment.call >= 0 else ""
            yield f"{mark} {''.join(cells)}{number:>{digits}}  {text(moment.call)}".rstrip()
            last = position
        if moment.turn is Turn.ENTER:
            depths[moment.thread] = moment.depth + 1
    if last + 1 < len(lanes.moments):
        yield f"  … {len(lanes.moments) - last - 1} more"
    ended = {moment.call for moment in lanes.moments if moment.turn is Turn.LEAVE}
    for moment in lanes.moments:
        if moment.turn is Turn.ENTER and moment.call not in ended:
            blanks = " " * (lanes.threads.index(moment.thread) * width + moment.depth)
            sign = f"{blanks}!".ljust(width * len(lanes.threads))
            mark = ">" if moment.call in marked else " "
            yield f"{mark} {sign}{moment.call:>{digits}}  never ends"


def _kept(moments: Sequence[Moment], failing: set[int]) -> set[int]:
    """Which are drawn: all of a short run, else those at the start and up to the failing call's end."""
    if len(moments) <= _MOST:
        return set(range(len(moments)))
    end = max((at for at, moment in enumerate(moments) if moment.call in failing), default=len(moments) - 1)
    end = min(end + _AFTER, len(moments))
    return {*range(_FIRST), *range(max(end - _MOST + _FIRST, 0), end)}
