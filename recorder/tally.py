"""Figures of a trace, counted by the compiled core (_native/tally.c) on the bytes of its records.

It counts what `recorder.counting` counts, with equal outcomes, for files in which every call has the arguments
that its interface declares and every record is sound but for a missing end.  For any other file it gives up.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import IO, Any

import msgpack

from recorder.calls import Outcome, Thread, TraceDamage
from recorder.contract import contract_of
from recorder.counting import ANSWERS, best_of, is_plain, named
from recorder.decoding import DECODE_ERRORS, Decoder, spelled_text
from recorder.encoding import check_of
from recorder.errors import TraceError
from recorder.figures import TEXTS, Statistics
from recorder.interface import Method, Type
from recorder.native import core_of
from recorder.progressions import Progression, Progressions
from recorder.records import Records
from recorder.text import outcome_text
from recorder.trace import read_header
from recorder.trace_input import TraceInput

__all__ = ["tallied"]

_CHUNK = 1 << 18
_LONGEST = 1 << 20  # bytes of a record
_MORE, _ZERO, _END, _STRANGE = range(4)


class _Strange(Exception):
    """Not for the compiled core to count."""


def tallied(trace: TraceInput) -> Statistics | None:
    """The figures of all calls; None where there is no compiled core or it cannot count this trace."""
    core = core_of("recorder").module
    if core is None or trace.file is None:
        return None
    try:
        with open(trace.file, "rb") as file:
            return _Tally(core, file, trace.path).counted()
    except (_Strange, TraceError, OSError, *DECODE_ERRORS):
        return None


class _Tally:
    """One pass through a file."""

    def __init__(self, core: Any, file: IO[bytes], name: str):
        self._core, self._file = core, file
        records = Records(file)
        header = read_header(records, name)
        file.seek(0)
        self._offset = records.sound
        self._crc = zlib.crc32(file.read(self._offset))
        self._interface = header.interface
        self._threads: list[Thread] = []
        self._decoder = Decoder(header, self._threads)
        self._answers: Counter[str] = Counter()
        self._texts: set[int] = set()  # hashes, as in recorder.counting
        series = contract_of(self._interface).series
        places = (-1, -1, -1)
        if series:
            method = self._interface.method(series.method)
            slot = self._interface.slots.index(method)
            places = slot, method.index(series.index), method.index(series.limit)
        self._tally = core.tally(tuple(map(_signature, self._interface.slots)), header.tick_ns, *places)

    def counted(self) -> Statistics:
        """Raises _Strange or one of DECODE_ERRORS where the trace is not for this."""
        status, rest = _MORE, b""
        while status == _MORE and (data := self._file.read(_CHUNK)):
            data = rest + data
            text = self._text if len(self._texts) < TEXTS else None
            used, status = self._core.count(self._tally, data, self._define, text, self._answer)
            self._crc = zlib.crc32(memoryview(data)[:used], self._crc)
            self._offset += used
            rest = data[used:]
            if len(rest) > _LONGEST:
                raise _Strange
        if status == _STRANGE or (status == _MORE and rest):
            raise _Strange
        found = self._core.tallied(self._tally)
        damage = None
        if status == _END:
            self._check_end(rest)
        else:
            events = found["calls"] + found["ended"]
            damage = TraceDamage(self._offset, "ends without an end record", events)
        return self._statistics(found, damage)

    def _check_end(self, rest: bytes) -> None:
        """Whether the file ends as one does that was ended well."""
        rest += self._file.read(_CHUNK)
        record = b"\x93\x00\xce" + self._crc.to_bytes(4, "big") + b"\xc0"
        if rest != record + check_of(record):
            raise _Strange

    def _define(self, record: bytes) -> bool:
        self._decoder.define(_unpacked(record))
        return True

    def _text(self, data: bytes, units: int, counts: int) -> bool:
        text = spelled_text(data if units else data.decode())
        if counts:
            self._texts.add(hash(text))
        return True

    def _answer(self, slot: int, record: bytes) -> bool:
        method, outcome = self._interface.slots[slot], self._decoder.outcome(_unpacked(record))
        if not is_plain(method, outcome):
            self._answers[f"{method.name} {outcome_text(outcome, method)}"] += 1
        return len(self._answers) <= ANSWERS

    def _statistics(self, found: dict[str, Any], damage: TraceDamage | None) -> Statistics:
        slots = self._interface.slots
        answers = self._answers
        for slot, value, count in found["answers"]:
            answers[f"{slots[slot].name} {outcome_text(Outcome(value=value), slots[slot])}"] += count
        if len(answers) > ANSWERS:
            raise _Strange
        self._texts.update(hash(self._decoder.text(number)) for number in found["used"])
        return Statistics(
            calls=found["calls"],
            unfinished=found["calls"] - found["ended"],
            seconds=(found["end"] - found["first"]) / 1e9,
            busiest=(found["busiest"], found["most"]) if found["calls"] else None,
            methods=Counter({slots[n].name: calls for n, (calls, _) in enumerate(found["slots"]) if calls}),
            threads=named(dict(enumerate(found["threads"])), self._threads),
            answers=Counter(dict(sorted(answers.items()))),
            texts={
                f"{slots[n].name}.{parameter.name}": (calls, nulls[position])
                for n, (calls, nulls) in enumerate(found["slots"])
                for position, parameter in enumerate(slots[n].inputs)
                if calls and parameter.type is Type.TEXT
            },
            distinct_texts=min(len(self._texts), TEXTS),
            slowest=best_of((value, -number) for value, number in found["slowest"]),
            gaps=best_of((value, -number) for value, number in found["gaps"]),
            progressions=Progressions(
                found["runs"], found["complete"], [Progression(*run) for run in found["longest"]]
            ),
            damage=damage,
        )


def _signature(method: Method) -> bytes:
    kinds = {Type.TEXT: 1, Type.IID: 2, Type.HANDLE: 3, Type.POINTER: 3}
    return bytes((method.returns is Type.HRESULT, *(kinds.get(p.type, 0) for p in method.inputs)))


def _unpacked(record: bytes) -> Any:
    return msgpack.unpackb(record, use_list=False, strict_map_key=False)
