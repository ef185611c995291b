"""Mutators of the arguments of calls, whatever the target makes of them."""

from __future__ import annotations

from fuzz import dictionary
from fuzz.edits import with_argument, with_two
from fuzz.environment import Calls, Environment
from fuzz.mutator import Family
from fuzz.values import change, learned_text, vary_text
from recorder.contract import Level

__all__ = ["ARGUMENTS"]

ARGUMENTS = Family()


@ARGUMENTS.mutator(Level.LENIENT, 12)
def change_argument(calls: Calls, env: Environment) -> bool:
    """One argument takes a boundary value, one near its present value, or one seen elsewhere."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    if not call.args:
        return False
    position = int(env.random() * len(call.args))
    calls[at] = with_argument(call, position, change(call, position, env))
    return True


@ARGUMENTS.mutator(Level.CONFORMING, 3)
def change_text(calls: Calls, env: Environment) -> bool:
    """A text that is there takes another: it never breaks a rule, since a new text is a new step."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    for position in env.texts.get(call.method, ()):
        if position < len(call.args) and isinstance(call.args[position], str):
            text = (learned_text if env.words and env.random() < 0.2 else vary_text)(call, position, env)
            if text in [c.args[position] for c in calls if c.method == call.method and len(c.args) > position]:
                return False  # a step that was there before may not begin again at a lower index
            calls[at] = with_argument(call, position, text)
            return True
    return False


@ARGUMENTS.mutator(Level.HOSTILE, 1)
def null_argument(calls: Calls, env: Environment) -> bool:
    """NULL where the documentation does not allow it."""
    numbers = [number for number, call in enumerate(calls) if env.not_null.get(call.method)]
    if not numbers:
        return False
    at = numbers[env.below(len(numbers))]
    places = env.not_null[calls[at].method]
    calls[at] = with_argument(calls[at], places[env.below(len(places))], None)
    return True


@ARGUMENTS.mutator(Level.LENIENT)
def relate_arguments(calls: Calls, env: Environment) -> bool:
    """Two numbers of a call, like a position and its limit, take a telling relation: equal, one over, one under,
    at 0, a pair known for trouble."""
    if not calls:
        return False
    at = env.below(len(calls))
    call = calls[at]
    pairs = env.pairs.get(call.method)
    if not pairs:
        return False
    one, other, low, high = pairs[env.below(len(pairs))]
    if len(call.args) <= max(one, other):
        return False
    i, m = call.args[one], call.args[other]
    if not isinstance(i, int) or not isinstance(m, int):
        return False
    chance = env.below(8)
    if chance < 4:
        i, m = ((m, m), (min(m + 1, high), m), (i, 0), (0, 0))[chance]
    elif chance < 6:
        i, m = (min(value, high) for value in dictionary.PAIRS[env.below(len(dictionary.PAIRS))])
    else:
        i, m = (max(m - 1, low), m) if chance == 6 else (i, max(i - 1, low))
    calls[at] = with_two(call, one, i, other, m)
    return True


@ARGUMENTS.mutator(Level.LENIENT, 2)
def copy_argument(calls: Calls, env: Environment) -> bool:
    """An argument takes the value that the same parameter had in another call of the sequence."""
    size = len(calls)
    if size < 2:
        return False
    at, other = int(env.random() * size), int(env.random() * size)
    call, source = calls[at], calls[other]
    if at == other or call.method != source.method or len(call.args) != len(source.args) or not call.args:
        return False
    position = int(env.random() * len(call.args))
    calls[at] = with_argument(call, position, source.args[position])
    return True
