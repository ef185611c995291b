"""Mutators: small named functions that change a sequence of calls in place.

    mutator(calls, env) -> bool         whether anything changed

They know no method by name: what may be called when, which parameters count up to which, and which method ends
the protocol is the contract's data.  `env.random` is the bound `random()` of the batch's generator; all chance
comes from there, so a seed gives a run.  `mutate` copies a base and applies a few, chosen by weight.

A mutator's level says what it makes of a conforming sequence at worst: those of the hostile level break the
order of calls, those of the lenient level only what real providers break, too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from fuzz import dictionary, generate
from fuzz.comparisons import Operands
from fuzz.schedule import Shares
from recorder.calls import Argument, Call
from recorder.contract import Contract, Level
from recorder.interface import Method, Type
from recorder.interfaces import IUNKNOWN

__all__ = ["MUTATORS", "Environment", "Mutator", "mutate", "try_operand"]

Calls = list[Call]
_SEARCHED = 60  # calls of a long sequence in which an operand is looked for
_NUMBER = re.compile(r"\d+")
_new = tuple.__new__
_LEARNED = 600  # values of one type that are remembered
_RELEASE = IUNKNOWN.methods[-1].name


@dataclass(frozen=True, slots=True)
class Mutator:
    """A mutator by name; `level` is the lowest level at which it is used, `share` its share to begin with.

    One without a share is only used where a campaign is told so.
    """

    name: str
    apply: Callable[[Calls, Environment], bool]
    level: Level
    share: int


MUTATORS: dict[str, Mutator] = {}


def _mutator(level: Level, share: int = 4) -> Callable[[Any], Any]:
    def register(function: Callable[[Calls, Environment], bool]) -> Callable[[Calls, Environment], bool]:
        name = function.__name__.replace("_", "-")
        MUTATORS[name] = Mutator(name, function, level, share)
        return function

    return register


_CONFORMING, _LENIENT, _HOSTILE = Level


class Environment:
    """What mutators draw from: the contract, the corpus, pools of values seen, and chance.

    `threaded` is set by a mutator that spreads calls over threads, or makes others that only the player can make;
    `used` collects the mutators applied.  `operands` are what the target compared in the sequence to be changed,
    `place` the call that made it worth keeping, -1 if there is none; `numbers` and `words` what else the target
    compares arguments with.
    """

    def __init__(self, contract: Contract, corpus: Sequence[Calls], random: Random):
        self.contract = contract
        self.corpus: Sequence[Calls] = corpus
        self.max_calls = 2000
        self.threaded = False
        self.partners: list[Calls] = []  # of the corpus, that the sequence at hand has parts of
        self.used: list[Mutator] = []
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
        self._changers = {m.name: tuple(map(_changers_of, m.inputs)) for m in methods}
        self.texts = {m.name: [n for n, p in enumerate(m.inputs) if p.type is Type.TEXT] for m in methods}
        self.not_null = {
            m.name: [n for n, p in enumerate(m.inputs) if not p.nullable and (p.pointer or not p.type.is_integer)]
            for m in methods
        }
        self.series = _series_positions(contract)
        self.pairs = {m.name: _pairs(contract, m) for m in methods}
        self.ranges = {
            (m.name, n): p.type.range for m in methods for n, p in enumerate(m.inputs) if p.type.is_integer
        }
        self.shares = Shares({m.name: m.share for m in MUTATORS.values()})
        self.tables: dict[Level, list[Mutator]] = {}
        self.weigh()
        for calls in corpus:
            self.learn(calls)

    def seed(self, random: Random) -> None:
        """Take all chance from here on from `random`."""
        self.random = random.random
        self._random = random

    def call(self, method: str) -> Call:
        """A fresh call of a method, now and then with a value that the target knows."""
        call = generate.any_call(self.methods[method], self._random)
        if (self.words or self.numbers) and call.args and self.random() < 0.4:
            position = int(self.random() * len(call.args))
            call = _with(call, position, _learned(call, position, self))
        return call

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

    def weigh(self) -> None:
        """Build the tables that mutators are drawn from, by share."""
        self.shares.weigh()
        for level in Level:
            usable = [m.name for m in MUTATORS.values() if m.level <= level]
            self.tables[level] = [MUTATORS[name] for name in self.shares.table(usable)]

    def change(self, call: Call, position: int) -> Argument:
        """Another value for one argument."""
        changers = self._changers[call.method]
        if position >= len(changers):
            return call.args[position]
        choices = changers[position]
        return choices[int(self.random() * len(choices))](call, position, self)


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


# --- the order of calls ---------------------------------------------------------------------------------------


@_mutator(_LENIENT)
def drop(calls: Calls, env: Environment) -> bool:
    """A call goes."""
    if len(calls) < 2:
        return False
    del calls[int(env.random() * len(calls))]
    return True


@_mutator(_LENIENT, 2)
def drop_run(calls: Calls, env: Environment) -> bool:
    """A run of calls goes, but not all of them."""
    if len(calls) < 3:
        return False
    start = env.below(len(calls) - 1)
    del calls[start : start + 1 + env.below(len(calls) - start - 1)]
    return True


@_mutator(_LENIENT)
def duplicate(calls: Calls, env: Environment) -> bool:
    """A call comes twice in a row."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    calls.insert(at, calls[at])
    return True


@_mutator(_LENIENT)
def move(calls: Calls, env: Environment) -> bool:
    """A call goes to another place."""
    if len(calls) < 2:
        return False
    call = calls.pop(env.below(len(calls)))
    calls.insert(env.below(len(calls) + 1), call)
    return True


@_mutator(_LENIENT)
def swap(calls: Calls, env: Environment) -> bool:
    """Two calls change places."""
    if len(calls) < 2:
        return False
    one, other = env.below(len(calls)), env.below(len(calls))
    calls[one], calls[other] = calls[other], calls[one]
    return one != other


@_mutator(_LENIENT)
def splice(calls: Calls, env: Environment) -> bool:
    """A piece of another sequence goes in."""
    if not env.corpus:
        return False
    other = env.corpus[env.below(len(env.corpus))]
    env.partners.append(other)
    start = env.below(len(other))
    at = env.below(len(calls) + 1)
    calls[at:at] = other[start : start + 1 + env.below(8)]
    return True


@_mutator(_LENIENT, 4)
def repeat_run(calls: Calls, env: Environment) -> bool:
    """A run of calls comes again: a few times, or until the sequence is twice as long; now and then hundreds of
    times."""
    if not calls or len(calls) > env.max_calls:
        return False
    start = env.below(len(calls))
    chance = env.random()
    run = calls[start : start + 1 + env.below(4 if chance < 0.85 else len(calls))]
    if chance < 0.8:
        times = 1 + env.below(4)
    elif chance < 0.95:
        times = 1 + len(calls) // len(run)
    else:
        times = 1 + env.below(400 // len(run) + 1)
    calls[start:start] = run * times
    return True


@_mutator(_LENIENT, 1)
def count_up(calls: Calls, env: Environment) -> bool:
    """A step goes on: its position counts up, call by call, as real syncs do."""
    if not env.series or len(calls) > env.max_calls:
        return False
    method, index, limit, most = env.series
    at = int(env.random() * len(calls)) if calls else 0
    if not calls or calls[at].method != method:
        return False
    call = calls[at]
    start = call.args[index] if len(call.args) > max(index, limit) else None
    if not isinstance(start, int) or start >= most:
        return False
    steps = 2 + env.below(6) if env.random() < 0.97 else 10 + env.below(300)
    last = min(start + steps, most)
    run = [_with2(call, index, position, limit, last) for position in range(start + 1, last + 1)]
    calls[at + 1 : at + 1] = run
    return True


@_mutator(_LENIENT, 2)
def truncate(calls: Calls, env: Environment) -> bool:
    """The sequence ends early, after at least one call."""
    if len(calls) < 2:
        return False
    del calls[1 + env.below(len(calls) - 1) :]
    return True


@_mutator(_LENIENT)
def insert_legal(calls: Calls, env: Environment) -> bool:
    """A call that the contract allows at that place."""
    transitions = env.contract.transitions
    at = int(env.random() * (len(calls) + 1))
    state = env.contract.start
    for call in calls[:at]:
        step = transitions.get((state, call.method))
        if step:
            state = step[0]
    legal = env.legal[state]
    if not legal:
        return False
    calls.insert(at, env.call(legal[int(env.random() * len(legal))]))
    return True


@_mutator(_LENIENT, 8)
def extend(calls: Calls, env: Environment) -> bool:
    """One more call at the end, before what ends the protocol, or after what was new: like one that is there, but
    for an argument."""
    end = _end(calls, env)
    at = len(calls) if end < 0 else end
    if 0 <= env.place < len(calls) and env.random() < 0.6:
        at = env.place + 1
    source = calls[int(env.random() * len(calls))] if calls else None
    if source is None or source.method in env.contract.terminal or env.random() < 0.3:
        legal = env.legal[env.contract.start]
        source = env.call(legal[int(env.random() * len(legal))])
    if source.args:
        position = int(env.random() * len(source.args))
        change = env.change if env.random() < 0.5 or not env.numbers else functools.partial(_learned, env=env)
        source = _with(source, position, change(source, position))
    if env.random() < 0.2:
        at = int(env.random() * (at + 1))
    if env.random() < 0.3:
        calls[at : at + 1] = [source]
    else:
        calls.insert(at, source)
    return True


@_mutator(_LENIENT, 4)
def repeat_changed(calls: Calls, env: Environment) -> bool:
    """A call comes again and again, each time with a text or a number of its own."""
    if not calls or len(calls) > env.max_calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    if not call.args or call.method in env.contract.terminal:
        return False
    position = int(env.random() * len(call.args))
    value = call.args[position]
    times = 2 + int(env.random() ** 3 * 80)
    numbered: list[Argument]
    if (call.method, position) in env.ranges and type(value) is int:
        low, high = env.ranges[call.method, position]
        step = 1 if env.random() < 0.7 else -1
        numbered = [value + step * n for n in range(1, times + 1) if low <= value + step * n <= high]
    elif position in env.texts[call.method]:
        numbered = [f"{value if isinstance(value, str) else ''}{n}" for n in range(1, times + 1)]
    else:
        return False
    calls[at + 1 : at + 1] = [_with(call, position, other) for other in numbered]
    return bool(numbered)


@_mutator(_HOSTILE, 2)
def insert_illegal(calls: Calls, env: Environment) -> bool:
    """Any call at any place."""
    calls.insert(env.below(len(calls) + 1), env.call(env.names[env.below(len(env.names))]))
    return True


@_mutator(_HOSTILE, 2)
def call_after_end(calls: Calls, env: Environment) -> bool:
    """Calls go on after the one that ends the protocol."""
    at = _end(calls, env) + 1
    if at == 0:
        return False
    other = env.corpus[int(env.random() * len(env.corpus))] if env.corpus and env.random() < 0.5 else None
    source = calls[: at - 1] if other is None else other
    if not source:
        return False
    if other is not None:
        env.partners.append(other)
    start = int(env.random() * len(source))
    calls[at:at] = source[start : start + 1 + env.below(3)]
    return True


@_mutator(_HOSTILE, 2)
def end_twice(calls: Calls, env: Environment) -> bool:
    """The call that ends the protocol is made again."""
    at = _end(calls, env)
    if at < 0:
        return False
    calls.insert(env.below(len(calls) + 1) if env.random() < 0.5 else len(calls), calls[at])
    return True


@_mutator(_HOSTILE, 0)
def release_early(calls: Calls, env: Environment) -> bool:
    """The caller gives its reference up, and goes on calling."""
    if not calls or env.contract.interface.root != IUNKNOWN or env.random() < 0.5:  # it may end a process
        return False
    calls.insert(env.below(len(calls)), Call(_RELEASE))
    env.threaded = True
    return True


def _end(calls: Calls, env: Environment) -> int:
    """Where the last call stands that ends the protocol; -1 if there is none."""
    terminal = env.contract.terminal
    for at in range(len(calls) - 1, -1, -1):
        if calls[at].method in terminal:
            return at
    return -1


@_mutator(_LENIENT, 1)
def change_thread(calls: Calls, env: Environment) -> bool:
    """Some of the calls come from another thread, one after the other still."""
    if len(calls) < 2 or env.random() < 0.97:  # playing on threads costs much more: keep it rare
        return False
    at = env.below(len(calls))
    until = at + 1 + env.below(len(calls) - at)
    thread = 1 + env.below(2)
    calls[at:until] = [call._replace(thread=thread) for call in calls[at:until]]
    env.threaded = True
    return True


# --- arguments ------------------------------------------------------------------------------------------------


def _with(call: Call, position: int, value: Argument) -> Call:
    """The call with one argument changed."""
    args = call.args
    changed = (*args[:position], value, *args[position + 1 :])
    return _new(Call, (call.method, changed, call.thread, call.time_ns))


def _with2(call: Call, one: int, value: Argument, other: int, second: Argument) -> Call:
    """The call with two arguments changed."""
    args = list(call.args)
    args[one] = value
    args[other] = second
    return _new(Call, (call.method, tuple(args), call.thread, call.time_ns))


@_mutator(_LENIENT, 12)
def change_argument(calls: Calls, env: Environment) -> bool:
    """One argument takes a boundary value, one near its present value, or one seen elsewhere."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    if not call.args:
        return False
    position = int(env.random() * len(call.args))
    calls[at] = _with(call, position, env.change(call, position))
    return True


@_mutator(_CONFORMING, 3)
def change_text(calls: Calls, env: Environment) -> bool:
    """A text that is there takes another: it never breaks a rule, since a new text is a new step."""
    if not calls:
        return False
    at = int(env.random() * len(calls))
    call = calls[at]
    for position in env.texts.get(call.method, ()):
        if position < len(call.args) and isinstance(call.args[position], str):
            text = (_learned_text if env.words and env.random() < 0.2 else _vary_text)(call, position, env)
            if text in [c.args[position] for c in calls if c.method == call.method and len(c.args) > position]:
                return False  # a step that was there before may not begin again at a lower index
            calls[at] = _with(call, position, text)
            return True
    return False


@_mutator(_HOSTILE, 1)
def null_argument(calls: Calls, env: Environment) -> bool:
    """NULL where the documentation does not allow it."""
    numbers = [number for number, call in enumerate(calls) if env.not_null.get(call.method)]
    if not numbers:
        return False
    at = numbers[env.below(len(numbers))]
    places = env.not_null[calls[at].method]
    calls[at] = _with(calls[at], places[env.below(len(places))], None)
    return True


@_mutator(_LENIENT)
def relate_arguments(calls: Calls, env: Environment) -> bool:
    """Two numbers of a call, like a position and its limit, take a telling relation: equal, one over, one under,
    at 0, a pair known for trouble."""
    if not calls:
        return False
    at = env.below(len(calls))
    call = calls[at]
    pairs = env.pairs.get(call.method)
    if not pairs:
        return False
    one, other, low, high = pairs[env.below(len(pairs))]
    if len(call.args) <= max(one, other):
        return False
    i, m = call.args[one], call.args[other]
    if not isinstance(i, int) or not isinstance(m, int):
        return False
    chance = env.below(8)
    if chance < 4:
        i, m = ((m, m), (min(m + 1, high), m), (i, 0), (0, 0))[chance]
    elif chance < 6:
        i, m = (min(value, high) for value in dictionary.PAIRS[env.below(len(dictionary.PAIRS))])
    else:
        i, m = (max(m - 1, low), m) if chance == 6 else (i, max(i - 1, low))
    calls[at] = _with2(call, one, i, other, m)
    return True


@_mutator(_LENIENT, 2)
def copy_argument(calls: Calls, env: Environment) -> bool:
    """An argument takes the value that the same parameter had in another call of the sequence."""
    size = len(calls)
    if size < 2:
        return False
    at, other = int(env.random() * size), int(env.random() * size)
    call, source = calls[at], calls[other]
    if at == other or call.method != source.method or len(call.args) != len(source.args) or not call.args:
        return False
    position = int(env.random() * len(call.args))
    calls[at] = _with(call, position, source.args[position])
    return True


@_mutator(_LENIENT, 8)
def match_comparison(calls: Calls, env: Environment) -> bool:
    """An argument takes the value that the target compared it with, or what it made of it."""
    operands = env.operands
    if not operands or not calls:
        return False
    kind, one, other = operands[int(env.random() ** 2 * len(operands))]
    if env.random() < 0.4:
        one, other, kind = other, one, f"{kind}, turned"
    wanted = str if type(one) is str else int
    shown = str(one)
    same: list[tuple[int, int]] = []
    part: list[tuple[int, int]] = []
    like: list[tuple[int, int]] = []
    for at, call in enumerate(calls[:_SEARCHED]):
        for position, value in enumerate(call.args):
            if value == one and type(value) is wanted:
                same.append((at, position))
            elif type(value) is str:
                (part if shown in value else like).append((at, position))
            elif type(value) is wanted:
                like.append((at, position))
    chance = env.random()
    places = same if same and chance < 0.75 else part if part and chance < 0.9 else like or part or same
    if not places:
        return False
    at, position = places[int(env.random() * len(places))]
    call = calls[at]
    value = call.args[position]
    new: Argument
    if type(value) is str:
        new = _text_matching(value, kind, one, other, env)
    else:
        assert type(value) is int
        new = _number_matching(value, one, other, env)
        low, high = env.ranges[call.method, position]
        if not low <= new <= high:
            new += -(1 << 32) if new > high else 1 << 32  # as an HRESULT is written both ways
            if not low <= new <= high:
                return False
    if new == value:
        return False
    calls[at] = _with(call, position, new)
    return True


def _number_matching(value: int, one: int, other: int, env: Environment) -> int:
    """A number for `value` such that what the target made of it, `one`, comes to be `other`.

    What it made of it may be a sum, a difference or a remainder, a multiple, a part, or some bits turned.
    """
    aim = other + (0, 0, 0, 0, 1, -1)[int(env.random() * 6)]
    if value == one:
        return aim
    chance = int(env.random() * 6)
    if chance == 0 and value and one and one % value == 0:
        return aim // (one // value)
    if chance == 1 and one:
        return value + (aim - one) * max(1, value // one)
    if chance == 2:
        return value ^ one ^ aim
    if chance == 3:
        return value - (aim - one)
    return value + aim - one


def _text_matching(value: str, kind: str, one: Any, other: Any, env: Environment) -> str:
    """A text for `value` such that what the target made of it, `one`, comes to be `other`."""
    if type(one) is int:
        if len(value) == one or env.random() < 0.3:
            return ((value or "a") * (other // max(1, len(value)) + 1))[:other] if 0 < other <= 70_000 else ""
        return value.replace(str(one), str(other), 1) if str(one) in value else f"{value} {other}"
    if kind == "startswith":
        return str(other) + value
    if kind == "endswith":
        return value + str(other)
    if kind.startswith("In") and env.random() < 0.5:
        at = env.below(len(value) + 1)
        return value[:at] + str(other) + value[at:]
    if one and one in value:
        at = value.find(one, env.below(len(value))) if env.random() < 0.7 else -1
        at = value.find(one) if at < 0 else at
        return value[:at] + str(other) + value[at + len(one) :]
    if value and value in one:
        before, _, after = one.partition(value)
        if other.startswith(before) and other.endswith(after) and len(other) >= len(before) + len(after):
            return str(other[len(before) : len(other) - len(after)])
    return str(other)


# How a single value is changed: functions (call, position, env) -> value, listed by type.

_Changer = Callable[[Call, int, Environment], Argument]


def _seen(call: Call, position: int, env: Environment) -> Argument:
    pool = env.seen[call.method, position]
    return pool[int(env.random() * len(pool))] if pool else call.args[position]


def _learned(call: Call, position: int, env: Environment) -> Argument:
    """A value that the target's code knows, of the type that fits there."""
    if (call.method, position) in env.ranges:
        return _learned_number(call, position, env)
    if position in env.texts[call.method]:
        return _learned_text(call, position, env)
    return call.args[position]


def try_operand(base: Calls, env: Environment) -> Calls:
    """A copy of a sequence in which just one operand of the target's is tried: in place of an argument, or in one
    more call behind what was new."""
    calls = base[:]
    if env.random() < 0.5:
        if match_comparison(calls, env):
            env.used.append(MUTATORS["match-comparison"])
        return calls
    _, *both = env.operands[int(env.random() * len(env.operands))]
    value = both[env.random() < 0.7]
    like = [call for call in calls[:_SEARCHED] if call.method not in env.contract.terminal]
    source = like[int(env.random() * len(like))] if like else env.call(env.names[env.below(len(env.names))])
    fitting = [
        position
        for position, present in enumerate(source.args)
        if (position in env.texts[source.method] if type(value) is str else type(present) is int)
    ]
    if fitting:
        position = fitting[int(env.random() * len(fitting))]
        low, high = env.ranges.get((source.method, position), (0, 0))
        if type(value) is str or low <= value <= high:
            source = _with(source, position, value)
    calls.insert(env.place + 1 if 0 <= env.place < len(calls) else len(calls), source)
    env.used.append(MUTATORS["extend"])
    return calls


def _operand(kind: type, env: Environment) -> Any:
    """A value of this kind that the target compared in the sequence, or None."""
    operands = env.operands
    if not operands or env.random() < 0.5:
        return None
    value = operands[int(env.random() ** 2 * len(operands))][1 + (env.random() < 0.7)]
    return value if type(value) is kind else None


def _learned_number(call: Call, position: int, env: Environment) -> Argument:
    """A number that the target's code knows, or one beside it."""
    numbers = env.numbers
    value: int | None = _operand(int, env)
    if value is None:
        if not numbers:
            return _seen(call, position, env)
        value = numbers[int(env.random() * len(numbers))]
    if env.random() < 0.3:
        value += 1 if env.random() < 0.5 else -1
    low, high = env.ranges[call.method, position]
    if value > high:
        value -= 1 << 32
    elif value < low:
        value += 1 << 32
    return value if low <= value <= high else call.args[position]


def _learned_text(call: Call, position: int, env: Environment) -> Argument:
    """A text that the target's code knows, alone or before, behind or within the present one."""
    word: str | None = _operand(str, env)
    if word is None:
        if not env.words:
            return _seen(call, position, env)
        word = env.words[int(env.random() * len(env.words))]
    text = call.args[position]
    chance = int(env.random() * 6)
    if chance < 3 or not isinstance(text, str) or len(text) > 4096:
        return word
    if chance == 3:
        return word + text
    if chance == 4:
        return text + word
    at = env.below(len(text) + 1)
    return text[:at] + word + text[at:]


def _boundary(values: tuple[Argument, ...]) -> _Changer:
    def changed(call: Call, position: int, env: Environment) -> Argument:
        return values[int(env.random() * len(values))]

    return changed


def _nudge(low: int, high: int) -> _Changer:
    """Arithmetic near the present value, kept within the type."""

    def changed(call: Call, position: int, env: Environment) -> Argument:
        value = call.args[position]
        if type(value) is not int:
            return 0
        chance = int(env.random() * 10)
        if chance < 4:
            value += (1, -1, 2, -2)[chance]
        elif chance < 6:
            step = env.numbers[int(env.random() * len(env.numbers))] if env.numbers else 16
            value += step * (1 + int(env.random() ** 2 * 8)) * (1 if chance == 4 else -1)
        elif chance == 6:
            value *= 2
        elif chance == 7:
            value //= 2
        elif chance == 8:
            value ^= 1 << int(env.random() * 32)
        else:
            value = int(env.random() * 300)
        return low if value < low else high if value > high else value

    return changed


def _vary_text(call: Call, position: int, env: Environment) -> Argument:
    """A text changed by its structure: its numbers, separators, nesting, length."""
    text = call.args[position]
    if not isinstance(text, str) or not text:
        return dictionary.TEXTS[env.below(len(dictionary.TEXTS))]
    return _TEXT_CHANGES[env.below(len(_TEXT_CHANGES))](text, env)


def _change_number(text: str, env: Environment) -> str:
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return f"{text} {env.below(100)} of 100"
    match = numbers[env.below(len(numbers))]
    value = dictionary.INTEGERS[env.below(len(dictionary.INTEGERS))] if env.random() < 0.5 else env.below(1000)
    return f"{text[: match.start()]}{value}{text[match.end() :]}"


def _change_separator(text: str, env: Environment) -> str:
    places = [n for n, c in enumerate(text) if not c.isalnum()]
    if not places:
        return text + "/" + text
    at = places[env.below(len(places))]
    return text[:at] + ("", "/", "\\", ":", " ", ",", "\n", "\t", "=", "..")[env.below(10)] + text[at + 1 :]


def _nest(text: str, env: Environment) -> str:
    opening, closing = (("(", ")"), ("[", "]"), ("<", ">"), ("{", "}"), ('"', '"'), ("/", ""))[env.below(6)]
    depth = 1 + env.below(3) if env.random() < 0.9 else 1 + env.below(200)
    return opening * depth + text + closing * depth


def _insert_edge(text: str, env: Environment) -> str:
    at = env.below(len(text) + 1)
    return text[:at] + dictionary.TEXTS[env.below(len(dictionary.TEXTS))] + text[at:]


def _cut(text: str, env: Environment) -> str:
    return text[: env.below(len(text))]


def _to_length(text: str, env: Environment) -> str:
    length = dictionary.LENGTHS[int(env.random() ** 3 * len(dictionary.LENGTHS))]  # long ones are slow: rarer
    return (text * (length // len(text) + 1))[:length]


_TEXT_CHANGES = (_change_number, _change_number, _change_separator, _nest, _insert_edge, _cut, _to_length)


def _changers_of(parameter: Any) -> tuple[_Changer, ...]:
    """The ways to change a parameter of its type."""
    kind = parameter.type
    if kind.is_integer:
        low, high = kind.range
        near = _nudge(low, high)
        ways: tuple[_Changer, ...] = (_boundary(dictionary.integers(kind)), _seen, near, near, _learned_number)
    elif kind is Type.TEXT:
        ways = (_boundary(dictionary.TEXTS), _boundary(dictionary.TEXTS), _seen, _vary_text, _learned_text)
    elif kind in (Type.HANDLE, Type.POINTER):
        ways = (_boundary(dictionary.HANDLES),)
    else:
        ways = (_seen,)
    return (*ways, _boundary((None,))) if parameter.nullable or parameter.pointer else ways


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
