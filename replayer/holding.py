"""The references that a sequence's calls leave the player with.

It has one from the factory.  A sequence's own AddRef, Release and QueryInterface calls change the count; what is
left at the end is given back.  An interface pointer of another identity that QueryInterface gave is released at
once: the trace does not say what becomes of it.
"""

from __future__ import annotations

from recorder import com, hresult
from recorder.calls import Outcome, OutcomeKind
from recorder.interfaces import IUNKNOWN

__all__ = ["Holding"]

_QUERY, _ADD, _RELEASE = (method.name for method in IUNKNOWN.methods)


class Holding:
    """`count` is of references on `pointer`, the spare ones of replayer.references apart."""

    def __init__(self, pointer: int):
        self.pointer = pointer
        self.count = 1
        self._unknown = com.wrap(pointer, IUNKNOWN)

    def noted(self, method: str, outcome: Outcome) -> Outcome:
        """Count what a call of IUnknown's changed; gives its outcome without the pointer, which is no trace's."""
        if outcome.kind is not OutcomeKind.RETURNED:
            return outcome
        if method == _ADD:
            self.count += 1
        elif method == _RELEASE:
            self.count = max(self.count - 1, 0)
        elif method == _QUERY and isinstance(outcome.value, int) and not hresult.failed(outcome.value):
            (given,) = outcome.outputs or (None,)
            if given == self.pointer:
                self.count += 1
            elif isinstance(given, int) and given:
                com.wrap(given, IUNKNOWN).Release()
        return outcome._replace(outputs=())

    def release(self) -> None:
        """Give back what is left."""
        while self.count:
            self.count -= 1
            self._unknown.Release()
