"""Mutators of schedules: calls change threads, threads change ranks, change points come, go and move.

They are for calls that have been spread over threads, and only drawn where a campaign searches schedules.
"""

from __future__ import annotations

from fuzz.environment import Calls, Environment
from fuzz.mutator import Family
from fuzz.schedules import in_order, outer_calls, switched, threads_of
from recorder.contract import Level

__all__ = ["SCHEDULE"]

SCHEDULE = Family()
_NEAR = 3  # steps by which a change point moves
_FAR = 24  # steps into a call at which one comes, where nobody knows how many it makes


@SCHEDULE.mutator(Level.LENIENT)
def to_another_thread(calls: Calls, env: Environment) -> bool:
    """A call goes to another thread that there is."""
    threads = threads_of(calls)
    if len(threads) < 2:
        return False
    at = env.below(len(calls))
    calls[at] = calls[at]._replace(thread=_another(calls[at].thread, threads, env))
    calls[:] = in_order(calls)
    return True


@SCHEDULE.mutator(Level.LENIENT)
def to_each_thread(calls: Calls, env: Environment) -> bool:
    """A call is made on another thread, too."""
    threads = threads_of(calls)
    if len(threads) < 2:
        return False
    call = calls[env.below(len(calls))]
    place = env.below(len(calls) + 1)
    calls.insert(place, call._replace(thread=_another(call.thread, threads, env), switches=()))
    return True


@SCHEDULE.mutator(Level.LENIENT)
def swap_ranks(calls: Calls, env: Environment) -> bool:
    """Two threads change their ranks."""
    threads = threads_of(calls)
    if len(threads) < 2:
        return False
    at = env.below(len(threads) - 1)
    one, other = threads[at], threads[at + 1]
    turned = {one: other, other: one}
    calls[:] = [call._replace(thread=turned.get(call.thread, call.thread)) for call in calls]
    return True


@SCHEDULE.mutator(Level.LENIENT)
def add_change(calls: Calls, env: Environment) -> bool:
    """A change point comes."""
    if not calls:
        return False
    at = env.below(len(calls))
    before = calls[at]
    calls[at] = switched(before, *before.switches, env.below(_FAR))
    return calls[at] != before


@SCHEDULE.mutator(Level.LENIENT)
def drop_change(calls: Calls, env: Environment) -> bool:
    """A switch goes."""
    found = [(at, switch) for at, call in enumerate(calls) for switch in call.switches]
    if not found:
        return False
    at, gone = found[env.below(len(found))]
    calls[at] = switched(calls[at], *[switch for switch in calls[at].switches if switch != gone])
    return True


@SCHEDULE.mutator(Level.LENIENT)
def move_change(calls: Calls, env: Environment) -> bool:
    """A change point goes to a step nearby, or into another call."""
    found = [(at, switch) for at, call in enumerate(calls) for switch in call.switches if switch >= 0]
    if not found:
        return False
    at, moved = found[env.below(len(found))]
    to = at if env.random() < 0.7 else env.below(len(calls))
    step = max(0, moved + env.below(2 * _NEAR + 1) - _NEAR)
    before = calls[:]
    calls[at] = switched(calls[at], *[switch for switch in calls[at].switches if switch != moved])
    calls[to] = switched(calls[to], *calls[to].switches, step)
    return calls != before


@SCHEDULE.mutator(Level.LENIENT)
def nest(calls: Calls, env: Environment) -> bool:
    """The next call of a thread is made where this one calls out, nested in it."""
    found = outer_calls(calls)
    if not found:
        return False
    at = found[env.below(len(found))]
    before = calls[at]
    calls[at] = switched(before, *before.switches, -1 - env.below(2))
    return calls[at] != before


def _another(thread: int, threads: list[int], env: Environment) -> int:
    """One of the threads that is not this one."""
    others = [other for other in threads if other != thread]
    return others[env.below(len(others))]
