"""Recorded against replayed: where the answers differ."""

from __future__ import annotations

from collections.abc import Iterator

from recorder import hresult
from recorder.calls import Argument, Outcome, OutcomeKind, Trace
from recorder.interface import Method, Type

__all__ = ["differences"]


def differences(recorded: Trace, replayed: Trace) -> Iterator[tuple[int, str]]:
    """(call number, message) for each call whose answer is not the recorded one.

    A returned None and S_OK are the same answer; calls without a recorded or replayed answer say nothing.  Of
    IUnknown's calls only an HRESULT does: counts are for diagnosis (P22), and which pointer it was is chance.
    """
    interface = replayed.interface
    for (number, call, before), (_, _, after) in zip(recorded.played, replayed.played, strict=False):
        if before is None or after is None or not (_is_known(before) and _is_known(after)):
            continue
        method = interface.method(call.method)
        unknown = call.method in interface.unknown
        if unknown and method.returns is not Type.HRESULT:
            continue
        if _answer(before)[: 2 if unknown else 3] != _answer(after)[: 2 if unknown else 3]:
            was = _describe(before, method).removeprefix("returned ")
            yield number, f"{call.method} {_describe(after, method)}, recorded {was}"


def _is_known(outcome: Outcome) -> bool:
    """Whether it tells what the host answered: a return with a detail is one whose answer was lost."""
    return outcome.kind is not OutcomeKind.NOT_RUN and not (
        outcome.kind is OutcomeKind.RETURNED and outcome.detail
    )


def _answer(outcome: Outcome) -> tuple[OutcomeKind, Argument, tuple[Argument, ...]]:
    value = outcome.value
    if outcome.kind is OutcomeKind.RETURNED and value is None:
        value = 0
    elif hresult.is_hresult(value) and isinstance(value, int):
        value = hresult.signed(value)
    return outcome.kind, value, outcome.outputs


def _describe(outcome: Outcome, method: Method) -> str:
    if outcome.kind is not OutcomeKind.RETURNED:
        return f"{outcome.kind.value} {outcome.detail}"
    outputs = f" ({', '.join(map(repr, outcome.outputs))})" if outcome.outputs else ""
    if method.returns is Type.HRESULT and hresult.is_hresult(outcome.value or 0):
        return f"returned {hresult.describe(int(outcome.value or 0))}{outputs}"  # type: ignore[arg-type]
    return f"returned {outcome.value!r}{outputs}"
