"""What a mutator is, and families of them, each written down as functions of one module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.environment import Calls, Environment
from recorder.contract import Level

__all__ = ["Change", "Family", "Mutator"]

Change = Callable[[Calls, Environment], bool]
"""Changes calls in place; whether anything changed."""


@dataclass(frozen=True, slots=True)
class Mutator:
    """A mutator by name; `level` is the lowest level at which it is used, `share` its share to begin with.

    One without a share is only used where a campaign is told so.
    """

    name: str
    apply: Change
    level: Level
    share: int


class Family(dict[str, Mutator]):
    """Mutators by name, in the order in which they are written down."""

    def mutator(self, level: Level, share: int = 4) -> Callable[[Change], Change]:
        """Take a function in, by its name."""

        def take(function: Change) -> Change:
            name = function.__name__.replace("_", "-")
            self[name] = Mutator(name, function, level, share)
            return function

        return take
