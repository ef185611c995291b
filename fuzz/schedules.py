"""Schedules of calls on several threads, drawn as probabilistic concurrency testing draws them (docs/threads.md).

A schedule is data in the calls: a thread's number is its rank, and each call has the change points that fall into
it.  What is drawn here is a pure function of the calls, of how many steps each of them makes, and of chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random

from fuzz.environment import Calls
from recorder.calls import Call
from recorder.interfaces import IUNKNOWN

__all__ = [
    "changes",
    "draw_schedule",
    "held",
    "in_order",
    "is_scheduled",
    "nested",
    "orders",
    "outer_calls",
    "spread",
    "steps_in_order",
    "switched",
    "threads_of",
    "with_change",
    "without_changes",
]

_, _ADD_REF, _RELEASE = (method.name for method in IUNKNOWN.methods)
_DEPTHS = (1, 1, 1, 1, 1, 2, 2, 3)  # change points of a schedule: the depth of a bug is one more
_NESTED = 0.2  # of the schedules in which a call can be
_LENGTHS = (1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 10)  # of what is spread over threads


def is_scheduled(calls: Sequence[Call]) -> bool:
    """Whether threads or switches say how the calls run; those of one thread alone run one after the other."""
    return any(call.thread or call.switches for call in calls)


def threads_of(calls: Sequence[Call]) -> list[int]:
    """The threads that have calls, the one of the highest priority first."""
    return sorted({call.thread for call in calls})


def changes(calls: Sequence[Call]) -> int:
    """How many switches there are in all."""
    return sum(len(call.switches) for call in calls)


def switched(call: Call, *switches: int) -> Call:
    """The call with these switches, each once, in their order: change points first."""
    ordered = sorted(set(switches), key=lambda switch: (switch < 0, abs(switch)))
    return call._replace(switches=tuple(ordered))


def with_change(calls: Calls, number: int, step: int) -> Calls:
    """The calls with one more change point, before the step of a call; 0 is before it is entered."""
    call = calls[number]
    return [*calls[:number], switched(call, *call.switches, step), *calls[number + 1 :]]


def without_changes(calls: Sequence[Call]) -> Calls:
    """The calls without change points; what is nested stays so."""
    return [switched(call, *[s for s in call.switches if s < 0]) if call.switches else call for call in calls]


def in_order(calls: Sequence[Call]) -> Calls:
    """The calls with their threads numbered 0, 1, ... by the ranks that they have, as nothing else changes."""
    ranks = {thread: rank for rank, thread in enumerate(threads_of(calls))}
    return [call if call.thread == ranks[call.thread] else _on(call, ranks[call.thread]) for call in calls]


def orders(calls: Sequence[Call]) -> Iterator[Calls]:
    """The calls with each order of their threads' priorities, first of all the one they have."""
    threads = threads_of(calls)
    for ranks in itertools.permutations(range(len(threads))):
        rank_of = dict(zip(threads, ranks, strict=True))
        yield [_on(call, rank_of[call.thread]) for call in calls]


def spread(calls: Sequence[Call], threads: int, random: Random) -> Calls:
    """A few of the calls in a row, on 2 to `threads` threads: in pieces, dealt out, or some of them on several.

    Without switches; there is at least one call to begin with.
    """
    length = random.choice(_LENGTHS)
    start = max(0, len(calls) - length) if random.random() < 0.5 else random.randrange(len(calls))
    part = [call._replace(thread=0, time_ns=0, switches=()) for call in calls[start : start + length]]
    used = random.randint(2, threads)
    chance = random.random()
    if chance < 0.35 or len(part) == 1:  # all on one, and some of them on each other one, too
        made = [*part]
        for thread in range(1, used):
            at = random.randrange(len(part)) if random.random() < 0.5 else len(part) - 1
            made += [_on(call, thread) for call in part[at : at + random.randint(1, 2)]]
    elif chance < 0.65:
        cuts = sorted(random.randrange(1, len(part)) for _ in range(used - 1))
        made = [_on(call, sum(at >= cut for cut in cuts)) for at, call in enumerate(part)]
    else:
        made = [_on(call, random.randrange(used)) for call in part]
        if len(threads_of(made)) < 2:
            made[-1] = _on(made[-1], 1 - min(made[-1].thread, 1))
    return in_order(made)


def outer_calls(calls: Sequence[Call]) -> list[int]:
    """The numbers of the calls whose threads have another one to make: it may be nested in them."""
    last = {call.thread: number for number, call in enumerate(calls)}
    return [number for number, call in enumerate(calls) if number != last[call.thread]]


def nested(calls: Calls, inner: Call, random: Random) -> Calls:
    """The calls with one more that is made where one of them calls out, on its thread."""
    at = random.randrange(len(calls))
    outer = calls[at]
    occasion = -random.choice((1, 1, 2))
    inner = inner._replace(thread=outer.thread, time_ns=0, switches=())
    return [*calls[:at], switched(outer, *outer.switches, occasion), inner, *calls[at + 1 :]]


def held(calls: Calls, random: Random) -> Calls:
    """The calls with references that some of their threads take, and give back after some of their own calls."""
    made = [*calls]
    for thread in threads_of(calls):
        if random.random() < 0.7:
            own = [at for at, call in enumerate(made) if call.thread == thread]
            first = random.choice(own)
            last = random.choice([at for at in own if at >= first])
            made.insert(last + 1, Call(_RELEASE, (), thread))
            made.insert(first, Call(_ADD_REF, (), thread))
    return made


def draw_schedule(calls: Calls, steps: Sequence[int], random: Random, *, nests: bool = True) -> Calls:
    """The calls with priorities drawn for their threads, and change points from all the steps that they make; now
    and then with one more that is nested (`nests`).

    `steps` says how many each call makes.
    """
    threads = threads_of(calls)
    ranks = [*range(len(threads))]
    random.shuffle(ranks)
    rank_of = dict(zip(threads, ranks, strict=True))
    drawn = [_on(call, rank_of[call.thread]) for call in without_changes(calls)]
    if nests and random.random() < _NESTED and (outer := outer_calls(drawn)):
        at = random.choice(outer)
        drawn[at] = switched(drawn[at], *drawn[at].switches, -random.choice((1, 1, 2)))
    places = [count + 1 for count in steps[: len(calls)]]  # before the call is entered, too
    ends = list(itertools.accumulate(places))
    whole = ends[-1] if any(steps) else 0
    for _ in range(random.choice(_DEPTHS) if whole else 0):
        at = random.randrange(whole)
        number = next(n for n, end in enumerate(ends) if at < end)
        drawn = with_change(drawn, number, at - ends[number] + places[number])
    return drawn


def steps_in_order(calls: Sequence[Call], entered: Sequence[Call], steps: Sequence[int]) -> list[int]:
    """How many steps each call made, where that is known by the order in which they were entered.

    The calls of one thread are entered in the order that they have.
    """
    made: dict[int, list[int]] = {}
    for call, count in zip(reversed(entered), reversed(steps), strict=False):
        made.setdefault(call.thread, []).append(count)
    return [made[call.thread].pop() if made.get(call.thread) else 0 for call in calls]


def _on(call: Call, thread: int) -> Call:
    return call._replace(thread=thread)
