"""Mutators that real sessions suggest: what store providers, transfers and workers were seen to do."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.edits import end_of, with_argument, with_two
from fuzz.environment import Calls, Environment
from fuzz.mutator import Family
from fuzz.roles import Counting
from recorder.calls import Call
from recorder.contract import Level

__all__ = ["FIELD"]

FIELD = Family()
_LIMITS = (1, 2, 3, 5, 10, 20, 60, 100, 1000, 857_480)
_FACTORS = (1 << 10, 1 << 16, 1 << 20, 1 << 28, 1 << 31)  # bytes of a unit: a total soon needs more than 32 bits
_LENGTHS = (1_000, 3_000, 20_000)  # UTF-16 units
_MARKUP = (
    *(("<b>", "</b>"), ("<b>", ""), ("[bold]", "[/bold]"), ("[", "]"), ("", "[/]"), ("**", "**"), ("&", ";")),
    *(("\x1b[31m", "\x1b[0m"), ("\x1b[2K\r", ""), ("", "\x1b["), ("\x1b]0;", "\x07"), ("\x1b]8;;x:y\x07", "")),
    *(
        ("<a href='", "'>"),
        ("{", "}"),
        ("{{", "}}"),
        ("$(", ")"),
        ("%(", ")s"),
        ("<!--", ""),
        ("<![CDATA[", ""),
    ),
)
_OTHERS = 60  # calls of another sync
_RARELY = 0.03  # of the turns on another thread: playing on threads costs much more


def _counted(calls: Calls, env: Environment) -> tuple[Counting, int, int, int] | None:
    """A call that counts: how, where it stands, its index and limit."""
    if not env.countings or not calls:
        return None
    counting = env.countings[env.below(len(env.countings))]
    places = [at for at, call in enumerate(calls) if call.method == counting.method]
    if not places:
        return None
    at = places[env.below(len(places))]
    index, limit = _position(calls[at], counting)
    return None if index is None or limit is None else (counting, at, index, limit)


def _position(call: Call, counting: Counting) -> tuple[int | None, int | None]:
    args = call.args
    if len(args) <= max(counting.index, counting.limit):
        return None, None
    index, limit = args[counting.index], args[counting.limit]
    return (index, limit) if isinstance(index, int) and isinstance(limit, int) else (None, None)


@FIELD.mutator(Level.CONFORMING, 1)
def restart_counter(calls: Calls, env: Environment) -> bool:
    """The counter begins anew with another limit, and comes to that."""
    found = _counted(calls, env)
    if found is None:
        return False
    counting, at, _, limit = found
    following = next((c for c in calls[at + 1 :] if c.method == counting.method), None)
    taken = (limit, None if following is None else _position(following, counting)[1])
    limits = [n for n in _LIMITS if n not in taken and n <= counting.most]
    new = limits[env.below(len(limits))]
    call = calls[at]
    if counting.nullable and env.random() < 0.5:
        call = with_argument(call, counting.text, None)
    ticks = min(new, 1 + env.below(4))
    calls[at + 1 : at + 1] = [
        with_two(call, counting.index, new * tick // ticks, counting.limit, new) for tick in range(1, ticks + 1)
    ]
    return True


@FIELD.mutator(Level.LENIENT, 1)
def grow_total(calls: Calls, env: Environment) -> bool:
    """The limit of a step grows late: once, or with each call that follows."""
    found = _counted(calls, env)
    if found is None:
        return False
    counting, start, _, limit = found
    by = (1, 1, 10, max(limit, 1), 1000)[env.below(5)]
    each = env.random() < 0.5
    grown = limit
    for at in range(start, len(calls)):
        if calls[at].method == counting.method and _position(calls[at], counting)[1] == limit:
            grown = min(grown + by if each or at == start else grown, counting.most)
            calls[at] = with_argument(calls[at], counting.limit, grown)
    return grown != limit


@FIELD.mutator(Level.LENIENT, 1)
def empty_phase(calls: Calls, env: Environment) -> bool:
    """A phase at 0 of 0 goes before a call that counts."""
    found = _counted(calls, env)
    if found is None:
        return False
    counting, at, _, _ = found
    call = with_two(calls[at], counting.index, 0, counting.limit, 0)
    if counting.nullable and env.random() < 0.3:
        call = with_argument(call, counting.text, None)
    calls[at:at] = [call] * (1 + env.below(3))
    return True


@FIELD.mutator(Level.LENIENT, 1)
def null_texts(calls: Calls, env: Environment) -> bool:
    """A run of calls that count is without its texts."""
    found = _counted(calls, env)
    if found is None or not found[0].nullable:
        return False
    counting, start = found[:2]
    changed = False
    for at in range(start, min(len(calls), start + 1 + int(env.random() ** 2 * 40))):
        call = calls[at]
        if call.method == counting.method and call.args[counting.text] is not None:
            calls[at] = with_argument(call, counting.text, None)
            changed = True
    return changed


@FIELD.mutator(Level.LENIENT, 1)
def cut_to_32(calls: Calls, env: Environment) -> bool:
    """A step counts in units of many bytes, and of its numbers only the low 32 bits are left."""
    found = _counted(calls, env)
    if found is None:
        return False
    counting, _, _, limit = found
    factor = _FACTORS[env.below(len(_FACTORS))] + env.below(1000)
    changed = False
    for at, call in enumerate(calls):
        if call.method != counting.method or _position(call, counting)[1] != limit:
            continue
        index = _position(call, counting)[0]
        assert index is not None
        new = with_two(
            call, counting.index, _low(index * factor, counting), counting.limit, _low(limit * factor, counting)
        )
        changed |= new != call
        calls[at] = new
    return changed


def _low(value: int, counting: Counting) -> int:
    """The low 32 bits, with a sign where the type has one of 32."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value > counting.most else value


@FIELD.mutator(Level.LENIENT, 1)
def retry(calls: Calls, env: Environment) -> bool:
    """After a problem all begins again: a prefix comes once more, a few times with the same problem."""
    reporting = env.reports
    places = [at for at, call in enumerate(calls) if at and call.method in reporting]
    if not places or len(calls) > env.max_calls:
        return False
    at = places[env.below(len(places))]
    prefix = [call for call in calls[: 1 + env.below(at)] if call.method not in env.contract.terminal]
    if not prefix:
        return False
    again = [*prefix, calls[at]] if env.random() < 0.3 else []
    calls[at + 1 : at + 1] = again * env.below(4) + prefix
    return True


@FIELD.mutator(Level.HOSTILE, 1)
def late_tail(calls: Calls, env: Environment) -> bool:
    """A worker has not heard of the end: the last calls before it come behind it, now and then on a thread of
    their own."""
    end = end_of(calls, env.contract.terminal)
    if end < 1:
        return False
    start = end - 1 - env.below(min(end, 6))
    tail = calls[start:end]
    if env.random() < _RARELY:
        tail = [call._replace(thread=1) for call in tail]
        env.threaded = True
    calls[start : end + 1] = [calls[end], *tail]
    return True


@FIELD.mutator(Level.LENIENT, 1)
def interleave(calls: Calls, env: Environment) -> bool:
    """Another sync reports at the same time, but for its end."""
    end = end_of(calls, env.contract.terminal)
    own = len(calls) if end < 0 else end
    return _interleave(calls, own, env, whole=False)


@FIELD.mutator(Level.HOSTILE, 1)
def interleave_both_ends(calls: Calls, env: Environment) -> bool:
    """Another sync reports at the same time, and each has its end."""
    return _interleave(calls, len(calls), env, whole=True)


def _interleave(calls: Calls, own: int, env: Environment, *, whole: bool) -> bool:
    """Merge another sequence with the first `own` calls; the order within each stays."""
    if not env.corpus or not own:
        return False
    source = env.corpus[env.below(len(env.corpus))]
    other = [c for c in source[:_OTHERS] if whole or c.method not in env.contract.terminal]
    if not other:
        return False
    env.partners.append(source)
    merged: Calls = []
    at = 0
    stay = 0.3 + 0.5 * env.random()
    theirs = env.random() < 0.5
    for call in calls[:own]:
        while at < len(other) and theirs:
            merged.append(other[at])
            at += 1
            theirs = env.random() < stay
        merged.append(call)
        theirs = env.random() > stay
    calls[:own] = merged + other[at:]
    return True


@FIELD.mutator(Level.CONFORMING, 1)
def percentage_texts(calls: Calls, env: Environment) -> bool:
    r"""A run of texts is what a program writes over one line: percentages, each with a \r behind it."""
    found = _counted(calls, env)
    if found is None or found[0].text < 0:
        return False
    counting, start = found[:2]
    bare = env.random() < 0.3
    named = calls[start].args[counting.text]
    stem = named if isinstance(named, str) else "Receiving objects"
    present = {call.args[counting.text] for call in calls if call.method == counting.method}
    new: dict[int, Call] = {}
    last = ("", 0, 0)
    for at in range(start, min(len(calls), start + 1 + env.below(30))):
        call = calls[at]
        if call.method != counting.method:
            continue
        index, limit = _position(call, counting)
        if index is None or limit is None:
            return False
        percent = 100 * index // limit if limit else 0
        text = f"{percent}%\r" if bare else f"{stem}: {percent:3}% ({index}/{limit})\r"
        if text in present or (text == last[0] and limit == last[2] and index < last[1]):
            return False  # one step out of two would fall
        last = text, index, limit
        new[at] = with_argument(call, counting.text, text)
    for at, call in new.items():
        calls[at] = call
    return True


@FIELD.mutator(Level.CONFORMING, 1)
def mark_up(calls: Calls, env: Environment) -> bool:
    """A text, or a part of it, stands in markup, in an escape sequence, or in half of one."""
    return _new_text(calls, env, _marked)


@FIELD.mutator(Level.CONFORMING, 1)
def grow_text(calls: Calls, env: Environment) -> bool:
    """A text grows to 1,000, 3,000 or 20,000 units of UTF-16."""
    return _new_text(calls, env, _grown)


def _new_text(calls: Calls, env: Environment, change: Callable[[str, Environment], str]) -> bool:
    """One text becomes another that no call of its method has, so that no two steps become one."""
    if not calls:
        return False
    at = env.below(len(calls))
    call = calls[at]
    for position in env.texts.get(call.method, ()):
        value = call.args[position] if position < len(call.args) else None
        if isinstance(value, str):
            text = change(value, env)
            if any(c.method == call.method and c.args[position] == text for c in calls):
                return False
            calls[at] = with_argument(call, position, text)
            return True
    return False


def _marked(text: str, env: Environment) -> str:
    before, after = _MARKUP[env.below(len(_MARKUP))]
    start = env.below(len(text) + 1) if env.random() < 0.5 else 0
    until = start + env.below(len(text) - start + 1) if env.random() < 0.5 else len(text)
    return text[:start] + before + text[start:until] + after + text[until:]


def _grown(text: str, env: Environment) -> str:
    units = _LENGTHS[int(env.random() ** 2 * len(_LENGTHS))]  # long ones are slow: rarer
    data = (text or "x").encode("utf-16-le", "surrogatepass")
    grown = (data * (2 * units // len(data) + 1))[: 2 * units]
    return grown.decode("utf-16-le", "surrogatepass")
