"""Sequences from the contract alone, no trace needed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from fuzz import dictionary
from recorder import hresult
from recorder.calls import SYNC_EVENT, Argument, Call
from recorder.contract import Contract, Level
from recorder.interface import Method, Parameter, Type

__all__ = ["any_call", "conforming", "sequence", "value_for"]

_STEPS = ("Connecting", "Folder Inbox", "Folder Sent Items", "Message {n} of {total}", "受信箱", "Updating flags")
_FAILURES = tuple(value for value in dictionary.HRESULTS if hresult.failed(value) and hresult.name(value))
_WARNINGS = (hresult.parse("MAPI_W_ERRORS_RETURNED"), hresult.parse("MAPI_W_PARTIAL_COMPLETION"))


def value_for(parameter: Parameter, random: Random) -> Argument:
    """A value that the parameter's type can carry, often one at a boundary."""
    kind, chance = parameter.type, random.random
    if kind in (Type.HANDLE, Type.POINTER):
        return _pick(dictionary.HANDLES[:4], chance())
    if (parameter.nullable or parameter.pointer) and chance() < 0.25:
        return None
    if kind is Type.TEXT:
        return _pick(dictionary.TEXTS, chance())
    if kind is Type.IID:
        return "{00000000-0000-0000-c000-000000000046}"
    return _pick(dictionary.integers(kind), chance()) if chance() < 0.5 else int(chance() * 100)


def _pick(values: Sequence[Argument], chance: float) -> Argument:
    return values[int(chance * len(values))]  # random.choice takes five times as long


def any_call(method: Method, random: Random) -> Call:
    """A call of a method with arguments of its types."""
    return Call(method.name, tuple(value_for(p, random) for p in method.inputs))


def conforming(contract: Contract, random: Random, length: int = 10) -> list[Call]:
    """A sequence of about `length` calls that breaks no rule of the contract."""
    if not (contract.series and contract.report and contract.final):
        return _legal_walk(contract, random, length)
    return _Sync(contract, random).sequence(max(length, 1))


def _legal_walk(contract: Contract, random: Random, length: int) -> list[Call]:
    """Legal calls along the transitions, with arguments of their types."""
    calls: list[Call] = []
    state = contract.start
    while len(calls) < length and (legal := contract.legal(state)):
        name = random.choice(legal)
        calls.append(any_call(contract.interface.method(name), random))
        state = contract.transitions[state, name][0]
    return calls


class _Sync:
    """One well-behaved sync: steps that count up, problems reported, an end that agrees with them."""

    def __init__(self, contract: Contract, random: Random):
        self.contract = contract
        self.random = random
        self.calls: list[Call] = []
        self.failure: int | None = None
        self.index = self.limit = 0
        self.step = ""

    def sequence(self, length: int) -> list[Call]:
        while len(self.calls) < length - 2:
            if self.random.random() < 0.15:
                self._problem()
            else:
                self._step(length - 2 - len(self.calls))
        self._end()
        return self.calls

    def _call(self, method: str, values: dict[str | None, Argument]) -> None:
        """A call with these values by parameter, and any that fit for the others."""
        args = [
            values[p.name] if p.name in values else value_for(p, self.random)
            for p in self.contract.interface.method(method).inputs
        ]
        self.calls.append(Call(method, tuple(args)))

    def _progress(self, text: str | None) -> None:
        series = self.contract.series
        assert series is not None
        self._call(series.method, {series.index: self.index, series.limit: self.limit, series.text: text})

    def _step(self, room: int) -> None:
        """A new text and limit, then a few positions up to it."""
        random = self.random
        self.limit = random.choice((1, 2, 3, 5, 10, 100, 1000, 2**31, 2**32 - 1))
        self.index = 0
        ticks = min(room, random.choice((1, 2, 3, 4, 8)))
        text = random.choice([step for step in _STEPS if step != self.step])
        self.step = text
        text = text.format(n=1, total=self.limit)
        for tick in range(ticks):
            self.index = self.limit * (tick + 1) // ticks
            self._progress(text if tick == 0 or random.random() < 0.5 else None)

    def _problem(self) -> None:
        report = self.contract.report
        assert report is not None
        code = self.random.choice(_FAILURES if self.random.random() < 0.7 else _WARNINGS)
        if hresult.failed(code):
            self.failure = code
        text = f"Problem 0x{hresult.unsigned(code):08X}"
        self._call(report.method, {report.code: code, report.text: text})

    def _end(self) -> None:
        final = self.contract.final
        assert final is not None
        result: int = hresult.S_OK
        if self.failure is not None:
            result = self.random.choice((self.failure, *_WARNINGS))
        if not hresult.failed(result) and self.index != self.limit:
            self.index = self.limit
            self._progress(None)
        handle = self.random.choice((None, SYNC_EVENT))
        self._call(final.method, {final.result: result, final.handle: handle})


def sequence(contract: Contract, random: Random, level: Level, length: int) -> list[Call]:
    """A fresh sequence: conforming, or for the hostile level calls in any order."""
    if level is not Level.HOSTILE:
        return conforming(contract, random, length)
    return [any_call(random.choice(contract.interface.calls), random) for _ in range(max(length, 1))]
