"""What is simpler than an argument: the steps that minimising knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recorder import hresult
from recorder.calls import Argument, Handle
from recorder.interface import Parameter, Type

__all__ = ["is_result", "simpler", "simplest"]

_RESULTS = (hresult.S_OK, hresult.parse("E_FAIL"), 1)  # the plainest HRESULTs, the plainest first

_SHORT = 200  # characters
_PARTS = 64  # that a longer text is cut into, at most


def simpler(value: Argument, parameter: Parameter | None = None) -> Iterator[Argument]:
    """Simpler values to try, the simplest first; each is strictly simpler, so that shrinking ends.

    NULL is simplest where the parameter allows it.  Of HRESULTs a named one is simpler than one without a name.
    """
    if value is None:
        return
    if parameter is not None and parameter.nullable:
        yield None
    if isinstance(value, bool):
        if value:
            yield False
    elif isinstance(value, int):
        yield from _simpler_results(value) if is_result(parameter) else _simpler_integers(value)
    elif isinstance(value, str):
        yield from _simpler_texts(value)
    elif isinstance(value, Handle):
        yield None
        if value.token > 0:
            yield Handle(0)
    else:
        yield None


def simplest(values: Sequence[Argument], parameter: Parameter | None) -> Iterator[Argument]:
    """What a parameter may be set to in all calls, if it was one of these values."""
    if parameter is not None and parameter.nullable and any(value is not None for value in values):
        yield None
    for simple in _RESULTS if is_result(parameter) else ("", 0, 1, "a"):
        if any(type(simple) is type(value) for value in values):
            yield simple


def is_result(parameter: Parameter | None) -> bool:
    """Whether the parameter is an HRESULT, whose values are told apart by name."""
    return parameter is not None and parameter.type is Type.HRESULT


def _simpler_results(value: int) -> Iterator[Argument]:
    if value in _RESULTS:
        yield from _RESULTS[: _RESULTS.index(value)]
        return
    yield from _RESULTS
    if not hresult.name(value):
        yield from (v for v in _simpler_integers(value) if v not in _RESULTS)


def _simpler_integers(value: int) -> Iterator[Argument]:
    half = abs(value) // 2 * (1 if value > 0 else -1)
    yield from (v for v in (0, 1, 2, -1, abs(value), half) if _below(v, value))
    if abs(value) > 3:
        yield value - 1 if value > 0 else value + 1


def _below(candidate: int, value: int) -> bool:
    """Simpler: nearer to 0, and positive before negative."""
    return (abs(candidate), candidate < 0) < (abs(value), value < 0)


def _simpler_texts(text: str) -> Iterator[Argument]:
    """Of a short text any character may go or become an "a"; of a long one first large parts, or all of them."""
    plain = "a" * len(text)
    if text == "":
        return
    yield ""
    if text in ("a", "0"):
        return
    if len(text) > 1:
        yield "a"
    if text > plain:
        yield plain
    size, parts = len(text) // 2, 2
    while size and (parts <= _PARTS or len(text) <= _SHORT or text == plain):
        for start in range(0, 1 if text == plain else len(text), size):
            yield text[:start] + text[start + size :]
        size, parts = size // 2, parts * 2
    if len(text) <= _SHORT:
        for n, character in enumerate(text):
            if character > "a":
                yield text[:n] + "a" + text[n + 1 :]
