"""What a native object owes to IUnknown, looked at around the calls of a sequence (H1 to H5).

Before the first call the laws of QueryInterface are asked and spare references taken; after the last one they are
asked again, and every reference is given back.  `journal` phases tell a crash in here from one in a call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from recorder.calls import Call
from recorder.interface import Interface, Type
from replayer.identity import Breach, Identity, Look
from replayer.references import References
from replayer.retained import gone_after

__all__ = ["Custody"]

_SPARE = 64  # references, at most; one for each call that might release one


class Custody:
    """Holds a native object while a sequence is played on it.

    `pointer` comes with one reference.  `live` counts the library's objects, `others` said it before this one
    (see References).  `skip`: names of oracles that are not to look.
    """

    def __init__(
        self,
        pointer: int,
        interface: Interface,
        calls: Collection[Call],
        *,
        live: Callable[[], int] | None = None,
        others: int = 0,
        skip: Iterable[str] = (),
    ):
        self._references = References(pointer, live, others)
        skipped = frozenset(skip)
        self._judges_references = "references" not in skipped
        self._identity: Identity | None = None
        self._first: Look | None = None
        self._leaves = gone_after(interface, calls) is not None
        if not self._leaves:  # else the object has to go in the middle of the sequence
            self._references.take(min(len(calls), _SPARE))
        if "identity" not in skipped:
            asked = _asked(interface, calls)
            self._identity = Identity(pointer, interface, asked, counts=self._references.counts)
            self._first = self._identity.look()

    @property
    def at_first(self) -> list[Breach]:
        """What is wrong with the object's identity, before the calls."""
        return self._first.breaches if self._first else []

    def look_again(self) -> list[Breach]:
        """What is wrong with it only after the calls."""
        if self._identity is None or self._first is None or self._leaves:
            return []
        return self._identity.compare(self._first, self._identity.look())

    def counted(self, change: int) -> None:
        """The sequence's own calls changed how many references are the player's."""
        self._references.counted(change)

    def release(self, patience: float) -> list[Breach]:
        """Give all references back, and say what is wrong with them; `patience`: see References.end."""
        if self._leaves:
            return []
        broken = [Breach("H5", message) for message in self._references.end(patience)]
        return broken if self._judges_references else []


def _asked(interface: Interface, calls: Iterable[Call]) -> list[str]:
    """The IIDs that the calls ask for."""
    takes = {m.name: [n for n, p in enumerate(m.inputs) if p.type is Type.IID] for m in interface.slots}
    return [
        iid
        for call in calls
        for at in takes.get(call.method, ())
        if at < len(call.args) and isinstance(iid := call.args[at], str)
    ]
