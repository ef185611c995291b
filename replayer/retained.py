"""A reference that is kept past the last Release, and used: calls on an object that is gone (P3).

COM promises nothing there, and most hosts fault.  So it is a hardening note, for hosts that mean to survive such
providers; whatever comes of those calls is one finding of the oracle `retained`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recorder.calls import Call, Outcome, OutcomeKind
from recorder.interface import Interface
from recorder.interfaces import IUNKNOWN

__all__ = ["gone_after"]

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
        if call.method == _ADD_REF or (call.method == _QUERY and call.args and call.args[0] in own):
            held += 1
        elif call.method == _RELEASE:
            held -= 1
            if held == 0:
                gone = number
    return None


def _lineage(interface: Interface) -> Iterable[Interface]:
    each: Interface | None = interface
    while each is not None:
        yield each
        each = each.base
