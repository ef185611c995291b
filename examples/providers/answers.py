"""What a host answers, and what an engine does about it."""

from __future__ import annotations

from recorder import hresult

__all__ = ["Cancelled", "heed"]


class Cancelled(Exception):
    """The host wants no more; `result` is what it answered."""

    def __init__(self, result: int):
        super().__init__("cancelled by the host")
        self.result = result


def heed(answer: int | None) -> None:
    """Raises Cancelled for an answer that is a failure.  A host in Python that answers None goes on."""
    if answer is not None and hresult.failed(answer):
        raise Cancelled(answer)
