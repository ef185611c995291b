"""Mutators of what the target compared: operands are put where it would have them."""

from __future__ import annotations

from typing import Any

from fuzz.edits import with_argument
from fuzz.environment import Calls, Environment
from fuzz.mutator import Family
from fuzz.values import fresh_call
from recorder.calls import Argument
from recorder.contract import Level

__all__ = ["COMPARISONS", "try_operand"]

COMPARISONS = Family()
_SEARCHED = 60  # calls of a long sequence in which an operand is looked for


@COMPARISONS.mutator(Level.LENIENT, 8)
def match_comparison(calls: Calls, env: Environment) -> bool:
    """An argument takes the value that the target compared it with, or what it made of it."""
    operands = env.operands
    if not operands or not calls:
        return False
    kind, one, other = operands[int(env.random() ** 2 * len(operands))]
    if env.random() < 0.4:
        one, other, kind = other, one, f"{kind}, turned"
    wanted = str if type(one) is str else int
    shown = str(one)
    same: list[tuple[int, int]] = []
    part: list[tuple[int, int]] = []
    like: list[tuple[int, int]] = []
    for at, call in enumerate(calls[:_SEARCHED]):
        for position, value in enumerate(call.args):
            if value == one and type(value) is wanted:
                same.append((at, position))
            elif type(value) is str:
                (part if shown in value else like).append((at, position))
            elif type(value) is wanted:
                like.append((at, position))
    chance = env.random()
    places = same if same and chance < 0.75 else part if part and chance < 0.9 else like or part or same
    if not places:
        return False
    at, position = places[int(env.random() * len(places))]
    call = calls[at]
    value = call.args[position]
    new: Argument
    if type(value) is str:
        new = _text_matching(value, kind, one, other, env)
    else:
        assert type(value) is int
        new = _number_matching(value, one, other, env)
        low, high = env.ranges[call.method, position]
        if not low <= new <= high:
            new += -(1 << 32) if new > high else 1 << 32  # as an HRESULT is written both ways
            if not low <= new <= high:
                return False
    if new == value:
        return False
    calls[at] = with_argument(call, position, new)
    return True


def _number_matching(value: int, one: int, other: int, env: Environment) -> int:
    """A number for `value` such that what the target made of it, `one`, comes to be `other`.

    What it made of it may be a sum, a difference or a remainder, a multiple, a part, or some bits turned.
    """
    aim = other + (0, 0, 0, 0, 1, -1)[int(env.random() * 6)]
    if value == one:
        return aim
    chance = int(env.random() * 6)
    if chance == 0 and value and one and one % value == 0:
        return aim // (one // value)
    if chance == 1 and one:
        return value + (aim - one) * max(1, value // one)
    if chance == 2:
        return value ^ one ^ aim
    if chance == 3:
        return value - (aim - one)
    return value + aim - one


def _text_matching(value: str, kind: str, one: Any, other: Any, env: Environment) -> str:
    """A text for `value` such that what the target made of it, `one`, comes to be `other`."""
    if type(one) is int:
        if len(value) == one or env.random() < 0.3:
            return ((value or "a") * (other // max(1, len(value)) + 1))[:other] if 0 < other <= 70_000 else ""
        return value.replace(str(one), str(other), 1) if str(one) in value else f"{value} {other}"
    if kind == "startswith":
        return str(other) + value
    if kind == "endswith":
        return value + str(other)
    if kind.startswith("In") and env.random() < 0.5:
        at = env.below(len(value) + 1)
        return value[:at] + str(other) + value[at:]
    if one and one in value:
        at = value.find(one, env.below(len(value))) if env.random() < 0.7 else -1
        at = value.find(one) if at < 0 else at
        return value[:at] + str(other) + value[at + len(one) :]
    if value and value in one:
        before, _, after = one.partition(value)
        if other.startswith(before) and other.endswith(after) and len(other) >= len(before) + len(after):
            return str(other[len(before) : len(other) - len(after)])
    return str(other)


def try_operand(base: Calls, env: Environment) -> Calls:
    """A copy of a sequence in which just one operand of the target's is tried: in place of an argument, or in one
    more call behind what was new."""
    calls = base[:]
    if env.random() < 0.5:
        if match_comparison(calls, env):
            env.used.append("match-comparison")
        return calls
    _, *both = env.operands[int(env.random() * len(env.operands))]
    value = both[env.random() < 0.7]
    like = [call for call in calls[:_SEARCHED] if call.method not in env.contract.terminal]
    source = like[int(env.random() * len(like))] if like else fresh_call(env.names[env.below(len(env.names))], env)
    fitting = [
        position
        for position, present in enumerate(source.args)
        if (position in env.texts[source.method] if type(value) is str else type(present) is int)
    ]
    if fitting:
        position = fitting[int(env.random() * len(fitting))]
        low, high = env.ranges.get((source.method, position), (0, 0))
        if type(value) is str or low <= value <= high:
            source = with_argument(source, position, value)
    calls.insert(env.place + 1 if 0 <= env.place < len(calls) else len(calls), source)
    env.used.append("extend")
    return calls
