"""Sequences of methods walked through the contract: what is legal of them, and which transitions they make.

Sequences of the same methods come again and again, so each is walked once and remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from recorder.contract import Contract

__all__ = ["Protocol", "Walk"]

_REMEMBERED = 20_000  # walks; then all are forgotten, and the common ones soon known again
_LONG = 40  # methods from which on a sequence hardly comes again


class Walk(NamedTuple):
    """What the contract says of a sequence of methods.

    `legal` of them come before one that its order forbids; `ends`: one of them ends the protocol; `states` are
    those in which each call is made, the last one that which is left behind.
    """

    legal: int
    ends: bool
    states: tuple[str, ...]


class Protocol(dict[tuple[str, ...], Walk]):
    """Walks by their methods."""

    def __init__(self, contract: Contract):
        super().__init__()
        self._contract = contract

    def __missing__(self, methods: tuple[str, ...]) -> Walk:
        walk = self._walked(methods)
        if len(methods) < _LONG:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[methods] = walk
        return walk

    def _walked(self, methods: tuple[str, ...]) -> Walk:
        transitions, state = self._contract.transitions, self._contract.start
        states, legal = [state], -1
        for number, method in enumerate(methods):
            step = transitions.get((state, method))
            if (step is None or step[1] is not None) and legal < 0:
                legal = number
            if step is not None:
                state = step[0]
            states.append(state)
        ends = not self._contract.terminal.isdisjoint(methods)
        return Walk(len(methods) if legal < 0 else legal, ends, tuple(states))

    def transitions(self, sequences: Iterable[tuple[str, ...]]) -> Counter[tuple[str, str]]:
        """How often each method was called in each state."""
        counted: Counter[tuple[str, str]] = Counter()
        for methods, times in Counter(sequences).items():
            for step in zip(self[methods].states, methods, strict=False):
                counted[step] += times
        return counted
