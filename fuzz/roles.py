"""Which arguments count, and which calls report problems: from the contract, or else from the types."""

from __future__ import annotations

from dataclasses import dataclass

from recorder.contract import Contract
from recorder.interface import Method, Type

__all__ = ["Counting", "countings", "reports"]


@dataclass(frozen=True, slots=True)
class Counting:
    """A method whose argument `index` runs up to its argument `limit`, at most to `most`.

    `text` is where the step's name stands, -1 if nowhere; `nullable` whether that may be NULL.
    """

    method: str
    text: int
    index: int
    limit: int
    most: int
    nullable: bool


def countings(contract: Contract) -> list[Counting]:
    """The contract's series; of an interface without one, each two neighbouring integers of one type."""
    interface, series = contract.interface, contract.series
    if series is not None:
        method = interface.method(series.method)
        text = -1 if series.text is None else method.index(series.text)
        return [_counting(method, text, method.index(series.index), method.index(series.limit))]
    found = []
    for method in interface.calls:
        types = [parameter.type for parameter in method.inputs]
        text = types.index(Type.TEXT) if Type.TEXT in types else -1
        for at, kind in enumerate(types[:-1]):
            if kind.is_integer and kind not in (Type.HRESULT, Type.BOOL) and types[at + 1] is kind:
                found.append(_counting(method, text, at, at + 1))
    return found


def _counting(method: Method, text: int, index: int, limit: int) -> Counting:
    most = min(method.inputs[at].type.range[1] for at in (index, limit))
    return Counting(method.name, text, index, limit, most, text >= 0 and method.inputs[text].nullable)


def reports(contract: Contract) -> tuple[str, ...]:
    """The method that reports problems; without a contract those that take an HRESULT and do not end it all."""
    if contract.report is not None:
        return (contract.report.method,)
    return tuple(
        method.name
        for method in contract.interface.calls
        if method.name not in contract.terminal and any(p.type is Type.HRESULT for p in method.inputs)
    )
