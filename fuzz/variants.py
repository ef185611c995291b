"""Variants of packed sequences, made by the compiled core (_native/variants.h): many for each that is made here.

A sequence that the mutators of `fuzz.mutators` made is handed on with `EACH` - 1 variants, which the same mutators
made of it again, in C, with values that the environment knows.  All chance comes from the seed, and a variant's
number in its batch, so a batch stays the same whichever part of it is made.

Without the compiled core, or for an interface that it does not take, sequences are only handed on.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from fuzz import dictionary
from fuzz.comparisons import Operands
from fuzz.environment import Environment
from fuzz.mutator import Mutator
from recorder import native
from recorder.calls import Argument, Call, Handle
from recorder.contract import Contract, Level
from recorder.encoding import spell_text
from recorder.interface import Method, Type
from replayer.batches import Fragments
from replayer.shared import LENGTH

__all__ = ["EACH", "Made", "Source", "Variants"]

EACH = 8
"""How many come of each sequence that is made in Python, itself among them."""

_NAMES = (
    *("drop", "drop-run", "duplicate", "move", "swap", "splice", "repeat-run", "truncate", "extend"),
    *("insert-legal", "insert-illegal", "call-after-end", "end-twice", "count-up", "change-argument"),
    *("change-text", "null-argument", "relate-arguments", "copy-argument", "match-comparison"),
)  # SynMutator
_MOST_USED = 8  # mutators that are told of a variant
_ILLEGAL = 0xFF
_POOL = 300  # values of an argument
_TYPES = {kind: number for number, kind in enumerate(Type)}
_SYMBOLS = (Type.HANDLE, Type.POINTER)
_REMEMBERED = 4000  # lists of operands
_LONGEST = 4096  # characters of a text that is tried


_Pairs = tuple[tuple[bytes, bytes], ...]


class Source(NamedTuple):
    """A packed sequence, with its number in its batch and the variants that are wanted: `start` up to `until`, of
    which 0 is the sequence itself.

    `plain`: all calls are on thread 0, with handles that screening has; others have no variants.  `slots`: the
    methods of its calls, for those who have no core.
    """

    packed: bytes
    number: int
    start: int
    until: int
    plain: bool
    slots: list[int]
    operands: Sequence[Operands] = ()


class Made(NamedTuple):
    """Sequences as they lie in a list, each behind its length, and what is known of each: its number in its batch,
    its source, how many calls it has, the methods of all these (by their slots), whether the protocol ends in it,
    the mutators that made a variant of it.  Plain bytes: another process reads them, too.

    `steps`: how often a method was called in a state.
    """

    packed: bytes
    numbers: bytes
    origins: bytes
    calls: bytes
    slots: bytes
    ends: bytes
    used_count: bytes
    used: bytes
    steps: list[tuple[str, str, int]]

    def used_in(self, place: int) -> list[str]:
        """The mutators that made it from its source."""
        start = place * _MOST_USED
        return [_NAMES[number] for number in self.used[start : start + self.used_count[place]]]

    def applied(self) -> Counter[str]:
        """The same of all, counted."""
        counted = Counter(self.used)
        counted[0] -= len(self.used) - sum(self.used_count)  # what is not used is 0
        return Counter({_NAMES[number]: times for number, times in counted.items() if times})


class Variants:
    """Makes variants for one engine's environment; `refresh` when that has learned something."""

    def __init__(
        self,
        contract: Contract,
        environment: Environment,
        tables: Mapping[Level, Sequence[Mutator]],
        fragments: Fragments,
    ):
        self._contract = contract
        self._environment = environment
        self._tables = tables
        self._fragments = fragments
        self._core = native.core_of("fuzz").module
        self._pack = msgpack.Packer(autoreset=True).pack
        self._paired: dict[int, tuple[Sequence[Operands], _Pairs]] = {}  # by the identity of a list
        interface = contract.interface
        self._slots = list(interface.slots)
        self._called = {method.name for method in interface.calls}
        self._states = list(
            dict.fromkeys([contract.start, *(s for s, _ in contract.transitions), *self._targets(contract)])
        )
        self._next, self._moves = (self._table(legal=legal) for legal in (True, False))
        self._terminal = [method.name in contract.terminal for method in self._slots]
        self._known: Any = None
        self.refresh()

    @property
    def compiled(self) -> bool:
        """Whether there are variants at all."""
        return self._known is not None

    def refresh(self) -> None:
        """Take over what the environment has learned."""
        if self._core is None:
            return
        series = self._contract.series
        with contextlib.suppress(ValueError):  # more methods or states than the core takes
            self._known = self._core.known(
                tuple(map(self._method, self._slots)),
                self._next,
                self._moves,
                self._states.index(self._contract.start),
                -1 if series is None else self._contract.interface.slot[series.method],
            )

    def make(self, sources: Iterable[Source], seed: int, level: Level, avoid: Iterable[Call]) -> Made:
        """All that is wanted of the sources; what has a call to avoid is left out."""
        avoided = tuple(self._fragments[call._replace(thread=0, time_ns=0)] for call in avoid)
        if self._known is None:
            return self._handed_on(sources, avoided)
        turns = bytes(_NUMBERS[m.name] for m in self._tables[level] if m.name in _NUMBERS)
        given = tuple((*source[:5], self._pairs(source.operands)) for source in sources)
        legal = level is Level.LENIENT
        _, packed, numbers, origins, calls, ends, used_count, used, slots, steps = self._core.variants(
            self._known, given, seed % (1 << 64), turns, legal, avoided
        )
        return Made(packed, numbers, origins, calls, slots, ends, used_count, used, self._steps(steps))

    def _handed_on(self, sources: Iterable[Source], avoided: Sequence[bytes]) -> Made:
        packed: list[bytes] = []
        numbers, origins, calls, slots, ends = array("I"), array("I"), array("I"), array("H"), bytearray()
        for origin, source in enumerate(sources):
            if source.start > 0 or source.until == 0 or any(fragment in source.packed for fragment in avoided):
                continue
            packed += (LENGTH.pack(len(source.packed)), source.packed)
            numbers.append(source.number)
            origins.append(origin)
            calls.append(len(source.slots))
            slots.extend(source.slots)
            ends.append(any(self._terminal[slot] for slot in source.slots))
        about = numbers.tobytes(), origins.tobytes(), calls.tobytes(), slots.tobytes(), bytes(ends)
        return Made(b"".join(packed), *about, bytes(len(ends)), bytes(len(ends) * _MOST_USED), [])

    # --- what the core knows ------------------------------------------------------------------------------------

    @staticmethod
    def _targets(contract: Contract) -> Iterable[str]:
        return (to for to, _ in contract.transitions.values())

    def _table(self, *, legal: bool) -> tuple[bytes, ...]:
        """For each state what comes after each method; `legal`: only what breaks no rule."""
        transitions = self._contract.transitions

        def after(state: str, method: str) -> int:
            step = transitions.get((state, method))
            if step is None or (legal and step[1] is not None):
                return _ILLEGAL
            return self._states.index(step[0])

        return tuple(bytes(after(state, m.name) for m in self._slots) for state in self._states)

    def _method(self, method: Method) -> tuple[Any, ...]:
        environment, name = self._environment, method.name
        called = name in self._called
        inputs = method.inputs if called else ()
        types = bytes(_TYPES[p.type] for p in inputs)
        never_null = bytearray(len(inputs))
        for position in environment.not_null.get(name, ()):
            never_null[position] = True
        one, other = next(((a, b) for a, b, *_ in environment.pairs.get(name, ())), (-1, -1))
        pools = tuple(self._pool(method, position) for position in range(len(inputs)))
        return types, bytes(never_null), name in self._contract.terminal, called, one, other, pools

    def _pool(self, method: Method, position: int) -> tuple[tuple[bytes, ...], int]:
        """Values for an argument, packed: boundaries, what was seen, what the target knows; how many of these."""
        parameter, environment = method.inputs[position], self._environment
        kind = parameter.type
        seen: list[Argument] = environment.seen[method.name, position]
        values: list[Argument] = [None] if parameter.nullable or parameter.pointer else []
        learned: list[Argument] = []
        if kind.is_integer:
            low, high = kind.range
            values += dictionary.integers(kind)
            learned += (n for n in environment.numbers if low <= n <= high)
        elif kind is Type.TEXT:
            values += dictionary.TEXTS
            learned += environment.words
            seen = [text for text in seen if text is not None and len(str(text)) <= _LONGEST]
        elif kind in _SYMBOLS:
            values += dictionary.HANDLES[:4]
            seen = []
        known = dict.fromkeys(self._spelled(kind, value) for value in [*values, *seen[-_POOL:]])
        new = dict.fromkeys(self._spelled(kind, value) for value in learned[-_POOL:])
        new = {value: None for value in new if value not in known}
        return (*known, *new), len(new)

    def _spelled(self, kind: Type, value: Argument) -> bytes:
        spelled: Any = value
        if kind in (Type.TEXT, Type.IID):
            spelled = 0 if value is None else spell_text(str(value))
        elif isinstance(value, Handle):
            spelled = value.token
        packed: bytes = self._pack(spelled)
        return packed

    def _pairs(self, operands: Sequence[Operands]) -> _Pairs:
        known, pairs = self._paired.get(id(operands), (None, ()))
        if known is not operands:
            pairs = tuple(
                (self._pack(_bare(one)), self._pack(_bare(other)))
                for _, one, other in operands
                if type(one) is type(other) and isinstance(one, int | str)
            )
            if len(self._paired) > _REMEMBERED:
                self._paired.clear()
            self._paired[id(operands)] = operands, pairs
        return pairs

    def _steps(self, counted: bytes) -> list[tuple[str, str, int]]:
        numbers, width = array("I", counted), len(self._slots)
        return [
            (self._states[at // width], self._slots[at % width].name, times)
            for at, times in enumerate(numbers)
            if times
        ]


_NUMBERS = {name: number for number, name in enumerate(_NAMES)}


def _bare(value: int | str) -> Any:
    """An operand as an argument is spelled."""
    if isinstance(value, str):
        return spell_text(value)
    return max(-(1 << 63), min(value, (1 << 64) - 1))
