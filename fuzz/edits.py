"""Small changes of calls that mutators are made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recorder.calls import Argument, Call

__all__ = ["end_of", "with_argument", "with_two"]

_new = tuple.__new__


def with_argument(call: Call, position: int, value: Argument) -> Call:
    """The call with one argument changed."""
    args = call.args
    changed = (*args[:position], value, *args[position + 1 :])
    return _new(Call, (call.method, changed, *call[2:]))


def with_two(call: Call, one: int, value: Argument, other: int, second: Argument) -> Call:
    """The call with two arguments changed."""
    args = list(call.args)
    args[one] = value
    args[other] = second
    return _new(Call, (call.method, tuple(args), *call[2:]))


def end_of(calls: Sequence[Call], terminal: Collection[str]) -> int:
    """Where the last call stands that ends the protocol; -1 if there is none."""
    for at in range(len(calls) - 1, -1, -1):
        if calls[at].method in terminal:
            return at
    return -1
