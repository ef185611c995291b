"""Playing a sequence closely: all that it shows is looked at, call by call.

That costs several times what playing costs, so fuzz.engine does it with a part of each batch, and with what is to
be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from fuzz.comparisons import Comparisons, Operands
from fuzz.coverage import Coverage
from fuzz.feedback import Feature, Outcomes, States, dimensions
from fuzz.protocol import Protocol
from fuzz.screen import Screen
from recorder.calls import Call

__all__ = ["Observer"]

_EACH = 24  # calls of a sequence after each of which the state is looked at, then after every fourth one


class Observer:
    """Plays closely, with a screen that others use, too.

    Of the last sequence, `new` says what it was the first to show, `features` all that it showed and in which call
    (-1: not known), where `trace` was asked for that.
    """

    def __init__(self, screen: Screen, protocol: Protocol, coverage: Coverage | None):
        self.new: list[Feature] = []
        self.features: dict[Feature, int] = {}
        self._sites: set[int] = set()
        self._traced = 0  # how many of them were told
        self._screen = screen
        self._protocol = protocol
        self._coverage = coverage
        self._comparisons = coverage.comparisons if coverage is not None else Comparisons()
        self._states = States()
        self._outcomes = Outcomes()
        self._answers: list[object] = []
        self._length = 0

    def play(self, calls: list[Call]) -> str:
        """What Screen.play gives."""
        self._begin()
        self._length = len(calls)
        trouble = self._screen.play(calls, self._after)
        self._end(calls)
        return trouble

    def trace(self, calls: list[Call]) -> str:
        """The same, for all its features."""
        self._begin()
        self.features.clear()
        self.watch(True)
        with self._coverage.tracing() if self._coverage is not None else nullcontext(set[int]()) as sites:
            self._sites, self._traced = sites, 0
            trouble = self._screen.play(calls, self._after_traced)
        self._end(calls)
        if self._coverage is not None:
            self._coverage.novel()
        for site in sorted(sites):
            self.features.setdefault(f"code {site}", -1)
        for number, distance in self._comparisons.distances.items():
            self.features[f"comparison {number} within {distance}"] = -1
        for at, pair in enumerate(self._outcomes.features(self._kinds(calls))):
            self.features.setdefault(pair, at)
        return trouble

    def place(self, features: Sequence[Feature]) -> int:
        """The call of the sequence traced last by which all of these were shown, as far as is known."""
        return max((self.features.get(feature, -1) for feature in features), default=-1)

    def shows(self, features: Sequence[Feature]) -> bool:
        """Whether the sequence traced last shows all of these, or comes as near in its comparisons."""
        distances = self._comparisons.distances
        for feature in features:
            if feature not in self.features:
                kind, _, rest = feature.partition(" ")
                if kind != "comparison":
                    return False
                number, _, distance = rest.partition(" within ")
                if distances.get(int(number), 1 << 30) > int(distance):
                    return False
        return True

    @property
    def states(self) -> int:
        """How many features the target's visible state was seen to have."""
        return self._states.count

    @property
    def operands(self) -> list[Operands]:
        """What the target compared in the last sequence, the latest first."""
        operands = self._comparisons.operands
        return sorted(operands, key=lambda both: -operands[both])

    def watch(self, watch: bool) -> None:
        """Whether the target's comparisons are told of from now on."""
        if self._coverage is not None:
            self._coverage.watch_comparisons(watch)

    def _begin(self) -> None:
        self.new = []
        self._answers.clear()
        self._comparisons.begin()

    def _end(self, calls: list[Call]) -> None:
        self.new += self._comparisons.new
        self.new += self._outcomes.new(self._kinds(calls))

    def _kinds(self, calls: list[Call]) -> list[tuple[object, object]]:
        """What kind each call was of that returned, where the protocol stood, and what came of it."""
        answers = [answer if type(answer) is int else _outcome(answer) for answer in self._answers]
        methods = tuple([call.method for call in calls[: len(answers)]])
        kinds = zip(self._protocol[methods].states, methods, strict=False)
        return [*zip(kinds, answers, strict=False)]

    def _after(self, instance: Any, answer: object) -> None:
        self._answers.append(answer)
        number = len(self._answers)
        if (number <= _EACH or number % 4 == 0 or number == self._length) and not self._states.knows(instance):
            self.new += self._states.look(instance)

    def _after_traced(self, instance: Any, answer: object) -> None:
        state = dimensions(instance)
        self.new += self._states.new(state)
        at = len(self._answers)
        for feature in self._states.features(state):
            self.features.setdefault(feature, at)
        if len(self._sites) > self._traced:
            self._traced = len(self._sites)
            for site in self._sites:
                self.features.setdefault(f"code {site}", at)
        self._answers.append(answer)


def _outcome(answer: object) -> object:
    if answer is None:
        return 0
    if isinstance(answer, tuple) and answer:
        answer = answer[0]
    return answer if isinstance(answer, int) else type(answer).__name__
