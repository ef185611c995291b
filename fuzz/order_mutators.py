"""Mutators of the order of calls: they go, come, move, come from other sequences and other threads."""

from __future__ import annotations

from fuzz.edits import end_of, with_argument, with_two
from fuzz.environment import Calls, Environment
from fuzz.mutator import Family
from fuzz.values import change, fresh_call, learned
from recorder.calls import Argument, Call
from recorder.contract import Level
from recorder.interfaces import IUNKNOWN

__all__ = ["ORDER"]

ORDER = Family()
_RELEASE = IUNKNOWN.methods[-1].name


@ORDER.mutator(Level.LENIENT)
def drop(calls: Calls, env: Environment) -> bool:
    """A call goes."""
    if len(calls) < 2:
        return False
    del calls[int(env.random() * len(calls))]
    return True


@ORDER.mutator(Level.LENIENT, 2)
def drop_run(calls: Calls, env: Environment) -> bool:
    """A run of calls goes, but not all of them."""
    if len(calls) < 3:
        return False
    start = env.below(len(calls) - 1)
    del calls[start : start + 1 + env.below(len(calls) - start - 1)]
    return True


@ORDER.mutator(Level.LENIENT)
def duplicate(calls: Calls, env: Environment) -> bool:
    """A call comes twice in a row."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    calls.insert(at, calls[at])
    return True


@ORDER.mutator(Level.LENIENT)
def move(calls: Calls, env: Environment) -> bool:
    """A call goes to another place."""
    if len(calls) < 2:
        return False
    call = calls.pop(env.below(len(calls)))
    calls.insert(env.below(len(calls) + 1), call)
    return True


@ORDER.mutator(Level.LENIENT)
def swap(calls: Calls, env: Environment) -> bool:
    """Two calls change places."""
    if len(calls) < 2:
        return False
    one, other = env.below(len(calls)), env.below(len(calls))
    calls[one], calls[other] = calls[other], calls[one]
    return one != other


@ORDER.mutator(Level.LENIENT)
def splice(calls: Calls, env: Environment) -> bool:
    """A piece of another sequence goes in."""
    if not env.corpus:
        return False
    other = env.corpus[env.below(len(env.corpus))]
    env.partners.append(other)
    start = env.below(len(other))
    at = env.below(len(calls) + 1)
    calls[at:at] = other[start : start + 1 + env.below(8)]
    return True


@ORDER.mutator(Level.LENIENT, 4)
def repeat_run(calls: Calls, env: Environment) -> bool:
    """A run of calls comes again: a few times, or until the sequence is twice as long; now and then hundreds of
    times."""
    if not calls or len(calls) > env.max_calls:
        return False
    start = env.below(len(calls))
    chance = env.random()
    run = calls[start : start + 1 + env.below(4 if chance < 0.85 else len(calls))]
    if chance < 0.8:
        times = 1 + env.below(4)
    elif chance < 0.95:
        times = 1 + len(calls) // len(run)
    else:
        times = 1 + env.below(400 // len(run) + 1)
    calls[start:start] = run * times
    return True


@ORDER.mutator(Level.LENIENT, 1)
def count_up(calls: Calls, env: Environment) -> bool:
    """A step goes on: its position counts up, call by call, as real syncs do."""
    if not env.series or len(calls) > env.max_calls:
        return False
    method, index, limit, most = env.series
    at = int(env.random() * len(calls)) if calls else 0
    if not calls or calls[at].method != method:
        return False
    call = calls[at]
    start = call.args[index] if len(call.args) > max(index, limit) else None
    if not isinstance(start, int) or start >= most:
        return False
    steps = 2 + env.below(6) if env.random() < 0.97 else 10 + env.below(300)
    last = min(start + steps, most)
    run = [with_two(call, index, position, limit, last) for position in range(start + 1, last + 1)]
    calls[at + 1 : at + 1] = run
    return True


@ORDER.mutator(Level.LENIENT, 2)
def truncate(calls: Calls, env: Environment) -> bool:
    """The sequence ends early, after at least one call."""
    if len(calls) < 2:
        return False
    del calls[1 + env.below(len(calls) - 1) :]
    return True


@ORDER.mutator(Level.LENIENT)
def insert_legal(calls: Calls, env: Environment) -> bool:
    """A call that the contract allows at that place."""
    transitions = env.contract.transitions
    at = int(env.random() * (len(calls) + 1))
    state = env.contract.start
    for call in calls[:at]:
        step = transitions.get((state, call.method))
        if step:
            state = step[0]
    legal = env.legal[state]
    if not legal:
        return False
    calls.insert(at, fresh_call(legal[int(env.random() * len(legal))], env))
    return True


@ORDER.mutator(Level.LENIENT, 8)
def extend(calls: Calls, env: Environment) -> bool:
    """One more call at the end, before what ends the protocol, or after what was new: like one that is there, but
    for an argument."""
    end = end_of(calls, env.contract.terminal)
    at = len(calls) if end < 0 else end
    if 0 <= env.place < len(calls) and env.random() < 0.6:
        at = env.place + 1
    source = calls[int(env.random() * len(calls))] if calls else None
    if source is None or source.method in env.contract.terminal or env.random() < 0.3:
        legal = env.legal[env.contract.start]
        source = fresh_call(legal[int(env.random() * len(legal))], env)
    if source.args:
        position = int(env.random() * len(source.args))
        way = change if env.random() < 0.5 or not env.numbers else learned
        source = with_argument(source, position, way(source, position, env))
    if env.random() < 0.2:
        at = int(env.random() * (at + 1))
    if env.random() < 0.3:
        calls[at : at + 1] = [source]
    else:
        calls.insert(at, source)
    return True


@ORDER.mutator(Level.LENIENT, 4)
def repeat_changed(calls: Calls, env: Environment) -> bool:
    """A call comes again and again, each time with a text or a number of its own."""
    if not calls or len(calls) > env.max_calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    if not call.args or call.method in env.contract.terminal:
        return False
    position = int(env.random() * len(call.args))
    value = call.args[position]
    times = 2 + int(env.random() ** 3 * 80)
    numbered: list[Argument]
    if (call.method, position) in env.ranges and type(value) is int:
        low, high = env.ranges[call.method, position]
        step = 1 if env.random() < 0.7 else -1
        numbered = [value + step * n for n in range(1, times + 1) if low <= value + step * n <= high]
    elif position in env.texts[call.method]:
        numbered = [f"{value if isinstance(value, str) else ''}{n}" for n in range(1, times + 1)]
    else:
        return False
    calls[at + 1 : at + 1] = [with_argument(call, position, other) for other in numbered]
    return bool(numbered)


@ORDER.mutator(Level.HOSTILE, 2)
def insert_illegal(calls: Calls, env: Environment) -> bool:
    """Any call at any place."""
    calls.insert(env.below(len(calls) + 1), fresh_call(env.names[env.below(len(env.names))], env))
    return True


@ORDER.mutator(Level.HOSTILE, 2)
def call_after_end(calls: Calls, env: Environment) -> bool:
    """Calls go on after the one that ends the protocol."""
    at = end_of(calls, env.contract.terminal) + 1
    if at == 0:
        return False
    other = env.corpus[int(env.random() * len(env.corpus))] if env.corpus and env.random() < 0.5 else None
    source = calls[: at - 1] if other is None else other
    if not source:
        return False
    if other is not None:
        env.partners.append(other)
    start = int(env.random() * len(source))
    calls[at:at] = source[start : start + 1 + env.below(3)]
    return True


@ORDER.mutator(Level.HOSTILE, 2)
def end_twice(calls: Calls, env: Environment) -> bool:
    """The call that ends the protocol is made again."""
    at = end_of(calls, env.contract.terminal)
    if at < 0:
        return False
    calls.insert(env.below(len(calls) + 1) if env.random() < 0.5 else len(calls), calls[at])
    return True


@ORDER.mutator(Level.HOSTILE, 0)
def release_early(calls: Calls, env: Environment) -> bool:
    """The caller gives its reference up, and goes on calling."""
    if not calls or env.contract.interface.root != IUNKNOWN or env.random() < 0.5:  # it may end a process
        return False
    calls.insert(env.below(len(calls)), Call(_RELEASE))
    env.threaded = True
    return True


@ORDER.mutator(Level.LENIENT, 1)
def change_thread(calls: Calls, env: Environment) -> bool:
    """Some of the calls come from another thread, one after the other still."""
    if len(calls) < 2 or env.random() < 0.97:  # playing on threads costs much more: keep it rare
        return False
    at = env.below(len(calls))
    until = at + 1 + env.below(len(calls) - at)
    thread = 1 + env.below(2)
    calls[at:until] = [call._replace(thread=thread) for call in calls[at:until]]
    env.threaded = True
    return True
