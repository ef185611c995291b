"""Sequences of methods walked through the contract: what is legal of them, and which transitions they make.

Sequences of the same methods come again and again, so each is walked once and remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from recorder.contract import Contract

__all__ = ["Protocol", "Walk"]

_REMEMBERED = 5000  # walks; then all are forgotten, and the common ones soon known again


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
        self._start = contract.start
        self._terminal = contract.terminal
        self._steps: dict[
            str, dict[str, tuple[str, bool]]
        ] = {}  # by state and method: where to, and whether it may
        for (state, method), (to, rule) in contract.transitions.items():
            self._steps.setdefault(state, {})[method] = to, rule is None

    def __missing__(self, methods: tuple[str, ...]) -> Walk:
        walk = self._walked(methods)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[methods] = walk
        return walk

    def _walked(self, methods: tuple[str, ...]) -> Walk:
        state, legal = self._start, -1
        steps = self._steps.get(state, {})
        states = [state]
        for method in methods:
            to, allowed = steps.get(method, (state, False))
            if not allowed and legal < 0:
                legal = len(states) - 1
            if to is not state:
                state, steps = to, self._steps.get(to, {})
            states.append(state)
        ends = not self._terminal.isdisjoint(methods)
        return Walk(len(methods) if legal < 0 else legal, ends, tuple(states))

    def transitions(self, sequences: Iterable[tuple[str, ...]]) -> Counter[tuple[str, str]]:
        """How often each method was called in each state."""
        counted: Counter[tuple[str, str]] = Counter()
        for methods, times in Counter(sequences).items():
            steps = zip(self[methods].states, methods, strict=False)
            if times == 1:
                counted.update(steps)
            else:
                for step, number in Counter(steps).items():
                    counted[step] += number * times
        return counted
