"""A reference that is kept past the last Release, and used: calls on an object that is gone (P3).

COM promises nothing there, and most hosts fault.  So it is a hardening note, for hosts that mean to survive such
providers; whatever comes of those calls is one finding of the oracle `retained`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from recorder.calls import Call, Outcome, OutcomeKind
from recorder.interface import Interface
from recorder.interfaces import IUNKNOWN

__all__ = ["gone_after", "surplus", "taken_first"]

_QUERY, _ADD_REF, _RELEASE = (method.name for method in IUNKNOWN.methods)


def gone_after(interface: Interface, calls: Iterable[Call], outcomes: Sequence[Outcome | None] = ()) -> int | None:
    """The number of the call that gives the caller's last reference up while others follow; None if none does.

    The caller begins with one reference.  A call that was not made, by its outcome, changes nothing.
    """
    if interface.root != IUNKNOWN:
        return None
    own = {each.iid for each in _lineage(interface)}
    held, gone = 1, None
    for number, call in enumerate(calls):
        if gone is not None:
            return gone
        outcome = outcomes[number] if number < len(outcomes) else None
        if outcome is not None and outcome.kind is OutcomeKind.NOT_RUN:
            continue
        if _takes(call, own):
            held += 1
        elif call.method == _RELEASE:
            held -= 1
            if held == 0:
                gone = number
    return None


def surplus(interface: Interface, calls: Sequence[Call]) -> list[int]:
    """The numbers of calls that would give the caller's last reference up, in whatever order threads make them.

    Of each thread's calls the first ones stay: as many in all as references are taken.
    """
    if interface.root != IUNKNOWN:
        return []
    own = {each.iid for each in _lineage(interface)}
    taken = sum(_takes(call, own) for call in calls)
    giving = sorted((call.thread, number) for number, call in enumerate(calls) if call.method == _RELEASE)
    return sorted(number for _, number in giving[taken:])


def taken_first(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls with those last that give references up, as threads whose references protect each other may."""
    return tuple(sorted(calls, key=lambda call: call.method == _RELEASE))


def _takes(call: Call, own: Collection[str]) -> bool:
    return call.method == _ADD_REF or bool(call.method == _QUERY and call.args and call.args[0] in own)


def _lineage(interface: Interface) -> Iterable[Interface]:
    each: Interface | None = interface
    while each is not None:
        yield each
        each = each.base
