"""Mutators: small named functions that change a sequence of calls in place.

    mutator(calls, env) -> bool         whether anything changed

They know no method by name: what may be called when, which parameters count up to which, and which method ends
the protocol is the contract's data.  `env.random` is the bound `random()` of the batch's generator; all chance
comes from there, so a seed gives a run.  `mutate` copies a base and applies a few, chosen by weight.

A mutator's level says what it makes of a conforming sequence at worst: those of the hostile level break the
order of calls, those of the lenient level only what real providers break, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.argument_mutators import ARGUMENTS
from fuzz.comparison_mutators import COMPARISONS
from fuzz.field_mutators import FIELD
from fuzz.mutator import Calls, Mutator
from fuzz.order_mutators import ORDER
from recorder.contract import Level

if TYPE_CHECKING:
    from fuzz.environment import Environment

__all__ = ["MUTATORS", "mutate"]

MUTATORS: dict[str, Mutator] = {**ORDER, **ARGUMENTS, **COMPARISONS, **FIELD}


def mutate(base: Calls, env: Environment, level: Level) -> Calls:
    """A changed copy of a sequence, never an empty one."""
    calls = base[:]
    table = env.tables[level]
    random = env.random
    size = len(table)
    used = env.used
    again = 1.0
    while random() < again:
        mutator = table[int(random() * size)]
        if mutator.apply(calls, env):
            used.append(mutator)
            again *= 0.4
        else:
            again *= 0.9
    if not calls:
        calls.append(env.call(env.names[env.below(len(env.names))]))
    return calls
