"""What mutators draw from: a contract, sequences, values that were seen or that the target knows, and chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from fuzz.comparisons import Operands
from fuzz.roles import countings, reports
from recorder.calls import Argument, Call
from recorder.contract import Contract
from recorder.interface import Method, Type

__all__ = ["Calls", "Environment"]

Calls = list[Call]

_LEARNED = 600  # values of one type that are remembered


class Environment:
    """What mutators draw from: the contract, the corpus, pools of values seen, and chance.

    `threaded` is set by a mutator that spreads calls over threads, or makes others that only the player can make;
    `used` collects the names of the mutators applied.  `operands` are what the target compared in the sequence to
    be changed, `place` the call that made it worth keeping, -1 if there is none; `numbers` and `words` what else
    the target compares arguments with.
    """

    def __init__(self, contract: Contract, corpus: Sequence[Calls], random: Random):
        self.contract = contract
        self.corpus: Sequence[Calls] = corpus
        self.max_calls = 2000
        self.threaded = False
        self.partners: list[Calls] = []  # of the corpus, that the sequence at hand has parts of
        self.used: list[str] = []
        self.operands: Sequence[Operands] = ()
        self.place = -1
        self.numbers: list[int] = []
        self.words: list[str] = []
        methods = contract.interface.calls
        self.methods = {m.name: m for m in methods}
        self.names = tuple(self.methods)
        self.seed(random)
        self.legal = {state: _insertable(contract, state) for state, _ in contract.transitions}
        self.seen: dict[tuple[str, int], list[Argument]] = {
            (m.name, p): [] for m in methods for p in range(len(m.inputs))
        }
        self.texts = {m.name: [n for n, p in enumerate(m.inputs) if p.type is Type.TEXT] for m in methods}
        self.not_null = {
            m.name: [n for n, p in enumerate(m.inputs) if not p.nullable and (p.pointer or not p.type.is_integer)]
            for m in methods
        }
        self.series = _series_positions(contract)
        self.countings = countings(contract)
        self.reports = reports(contract)
        self.pairs = {m.name: _pairs(contract, m) for m in methods}
        self.ranges = {
            (m.name, n): p.type.range for m in methods for n, p in enumerate(m.inputs) if p.type.is_integer
        }
        for calls in corpus:
            self.learn(calls)

    def seed(self, random: Random) -> None:
        """Take all chance from here on from `random`."""
        self.random = random.random
        self.chance = random

    def below(self, bound: int) -> int:
        """A number in 0..bound-1."""
        return int(self.random() * bound)

    def learn(self, calls: Sequence[Call]) -> None:
        """Remember argument values of a sequence, some for each parameter."""
        for call in calls:
            for position, value in enumerate(call.args):
                pool = self.seen.get((call.method, position))
                if pool is not None and len(pool) < 400:
                    pool.append(value)

    def learn_values(self, numbers: Iterable[int], words: Iterable[str]) -> None:
        """Remember values that the target compares arguments with, each once, the latest longest."""
        for pool, values in ((self.numbers, numbers), (self.words, words)):
            for value in values:
                if value not in pool:
                    pool.append(value)  # type: ignore[arg-type]
            del pool[: max(0, len(pool) - _LEARNED)]


def _insertable(contract: Contract, state: str) -> tuple[str, ...]:
    """Legal methods of a state, without those that end the protocol if there are others."""
    legal = contract.legal(state)
    return tuple(m for m in legal if m not in contract.terminal) or legal


def _series_positions(contract: Contract) -> tuple[str, int, int, int] | None:
    """Method of the contract's series, where index and limit stand in its arguments, and the most they can be."""
    series = contract.series
    if series is None:
        return None
    method = contract.interface.method(series.method)
    index, limit = method.index(series.index), method.index(series.limit)
    return series.method, index, limit, min(method.inputs[at].type.range[1] for at in (index, limit))


def _pairs(contract: Contract, method: Method) -> list[tuple[int, int, int, int]]:
    """Pairs of a method's numbers that have to do with each other: where they stand, and their type's range.

    Those of the contract's series, else all of one type.
    """
    series = contract.series
    if series is not None and series.method == method.name:
        index, limit = method.index(series.index), method.index(series.limit)
        return [(index, limit, *method.inputs[index].type.range)]
    types = [parameter.type for parameter in method.inputs]
    numbers = [n for n, kind in enumerate(types) if kind.is_integer and kind is not Type.HRESULT]
    return [(a, b, *types[a].range) for a in numbers for b in numbers if a < b and types[a] is types[b]]
