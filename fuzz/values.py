"""How a single value is changed: functions (call, position, environment) -> value, by its parameter's type."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fuzz import dictionary, generate
from fuzz.edits import with_argument
from fuzz.environment import Environment
from fuzz.text_changes import TEXT_CHANGES
from recorder.calls import Argument, Call
from recorder.interface import Type

__all__ = ["change", "fresh_call", "learned", "learned_text", "vary_text"]

_Changer = Callable[[Call, int, Environment], Argument]


def fresh_call(method: str, env: Environment) -> Call:
    """A call of a method, now and then with a value that the target knows."""
    call = generate.any_call(env.methods[method], env.chance)
    if (env.words or env.numbers) and call.args and env.random() < 0.4:
        position = int(env.random() * len(call.args))
        call = with_argument(call, position, learned(call, position, env))
    return call


def change(call: Call, position: int, env: Environment) -> Argument:
    """Another value for one argument."""
    inputs = env.methods[call.method].inputs
    if position >= len(inputs):
        return call.args[position]
    parameter = inputs[position]
    choices = _changers(parameter.type, parameter.nullable or parameter.pointer)
    return choices[int(env.random() * len(choices))](call, position, env)


def _seen(call: Call, position: int, env: Environment) -> Argument:
    pool = env.seen[call.method, position]
    return pool[int(env.random() * len(pool))] if pool else call.args[position]


def learned(call: Call, position: int, env: Environment) -> Argument:
    """A value that the target's code knows, of the type that fits there."""
    if (call.method, position) in env.ranges:
        return _learned_number(call, position, env)
    if position in env.texts[call.method]:
        return learned_text(call, position, env)
    return call.args[position]


def _operand(kind: type, env: Environment) -> Any:
    """A value of this kind that the target compared in the sequence, or None."""
    operands = env.operands
    if not operands or env.random() < 0.5:
        return None
    value = operands[int(env.random() ** 2 * len(operands))][1 + (env.random() < 0.7)]
    return value if type(value) is kind else None


def _learned_number(call: Call, position: int, env: Environment) -> Argument:
    """A number that the target's code knows, or one beside it."""
    numbers = env.numbers
    value: int | None = _operand(int, env)
    if value is None:
        if not numbers:
            return _seen(call, position, env)
        value = numbers[int(env.random() * len(numbers))]
    if env.random() < 0.3:
        value += 1 if env.random() < 0.5 else -1
    low, high = env.ranges[call.method, position]
    if value > high:
        value -= 1 << 32
    elif value < low:
        value += 1 << 32
    return value if low <= value <= high else call.args[position]


def learned_text(call: Call, position: int, env: Environment) -> Argument:
    """A text that the target's code knows, alone or before, behind or within the present one."""
    word: str | None = _operand(str, env)
    if word is None:
        if not env.words:
            return _seen(call, position, env)
        word = env.words[int(env.random() * len(env.words))]
    text = call.args[position]
    chance = int(env.random() * 6)
    if chance < 3 or not isinstance(text, str) or len(text) > 4096:
        return word
    if chance == 3:
        return word + text
    if chance == 4:
        return text + word
    at = env.below(len(text) + 1)
    return text[:at] + word + text[at:]


def _boundary(values: tuple[Argument, ...]) -> _Changer:
    def changed(call: Call, position: int, env: Environment) -> Argument:
        return values[int(env.random() * len(values))]

    return changed


def _nudge(low: int, high: int) -> _Changer:
    """Arithmetic near the present value, kept within the type."""

    def changed(call: Call, position: int, env: Environment) -> Argument:
        value = call.args[position]
        if type(value) is not int:
            return 0
        chance = int(env.random() * 10)
        if chance < 4:
            value += (1, -1, 2, -2)[chance]
        elif chance < 6:
            step = env.numbers[int(env.random() * len(env.numbers))] if env.numbers else 16
            value += step * (1 + int(env.random() ** 2 * 8)) * (1 if chance == 4 else -1)
        elif chance == 6:
            value *= 2
        elif chance == 7:
            value //= 2
        elif chance == 8:
            value ^= 1 << int(env.random() * 32)
        else:
            value = int(env.random() * 300)
        return low if value < low else high if value > high else value

    return changed


def vary_text(call: Call, position: int, env: Environment) -> Argument:
    """A text changed by its structure: its numbers, separators, nesting, length."""
    text = call.args[position]
    if not isinstance(text, str) or not text:
        return dictionary.TEXTS[env.below(len(dictionary.TEXTS))]
    return TEXT_CHANGES[env.below(len(TEXT_CHANGES))](text, env)


@cache
def _changers(kind: Type, nullable: bool) -> tuple[_Changer, ...]:
    """The ways to change an argument of a type."""
    if kind.is_integer:
        low, high = kind.range
        near = _nudge(low, high)
        ways: tuple[_Changer, ...] = (_boundary(dictionary.integers(kind)), _seen, near, near, _learned_number)
    elif kind is Type.TEXT:
        ways = (_boundary(dictionary.TEXTS), _boundary(dictionary.TEXTS), _seen, vary_text, learned_text)
    elif kind in (Type.HANDLE, Type.POINTER):
        ways = (_boundary(dictionary.HANDLES),)
    else:
        ways = (_seen,)
    return (*ways, _boundary((None,))) if nullable else ways
