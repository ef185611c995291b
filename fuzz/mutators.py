"""Mutators: small named functions that change a sequence of calls in place.

    mutator(calls, env) -> bool         whether anything changed

They know no method by name: what may be called when, which parameters count up to which, and which method ends
the protocol is the contract's data.  `env.random` is the bound `random()` of the batch's generator; all chance
comes from there, so a seed gives a run.  `Drawing.mutate` copies a base and applies a few, drawn by their shares.

A mutator's level says what it makes of a conforming sequence at worst: those of the hostile level break the
order of calls, those of the lenient level only what real providers break, too.
"""

from __future__ import annotations

from fuzz.argument_mutators import ARGUMENTS
from fuzz.comparison_mutators import COMPARISONS
from fuzz.environment import Calls, Environment
from fuzz.field_mutators import FIELD
from fuzz.mutator import Mutator
from fuzz.order_mutators import ORDER
from fuzz.schedule import Shares
from fuzz.values import fresh_call
from recorder.contract import Level

__all__ = ["MUTATORS", "Drawing"]

MUTATORS: dict[str, Mutator] = {**ORDER, **ARGUMENTS, **COMPARISONS, **FIELD}


class Drawing:
    """Draws mutators, each at its share of the turns; what earns more gets more, once `weigh` has been called.

    `tables` holds a level's mutators, each as often as it has turns.
    """

    def __init__(self) -> None:
        self.shares = Shares({mutator.name: mutator.share for mutator in MUTATORS.values()})
        self.tables: dict[Level, list[Mutator]] = {}
        self.weigh()

    def weigh(self) -> None:
        """Let what was earned take effect."""
        self.shares.weigh()
        for level in Level:
            usable = [m.name for m in MUTATORS.values() if m.level <= level]
            self.tables[level] = [MUTATORS[name] for name in self.shares.table(usable)]

    def mutate(self, base: Calls, env: Environment, level: Level) -> Calls:
        """A changed copy of a sequence, never an empty one."""
        calls = base[:]
        table = self.tables[level]
        random = env.random
        size = len(table)
        used = env.used
        again = 1.0
        while random() < again:
            mutator = table[int(random() * size)]
            if mutator.apply(calls, env):
                used.append(mutator.name)
                again *= 0.4
            else:
                again *= 0.9
        if not calls:
            calls.append(fresh_call(env.names[env.below(len(env.names))], env))
        return calls
