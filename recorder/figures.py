"""Figures of a trace as a value, in words and for machines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from recorder.calls import TraceDamage
from recorder.progressions import Progressions
from recorder.short import counted, rounded
from recorder.text import escape

__all__ = ["TEXTS", "Statistics"]

TEXTS = 100_000
"""So many distinct texts are told apart, so that memory stays the same for any number of calls."""

_SECOND = 10**9
_ANSWERS = 20  # kinds of them that are named


@dataclass
class Statistics:
    """Figures of one trace.  Times in seconds; `gaps` are between the beginnings of two calls.

    `texts` counts for each text parameter how often it was given and how often it was NULL.  `distinct_texts` is
    counted up to TEXTS, which stands for more, too.  `answers` counts all but S_OK (a Python callback's None is
    one), `other_answers` those whose kinds were too many to tell apart.  `slowest` and `gaps` are pairs of a call
    number and seconds.  `busiest` is the second since the start in which most calls began, and how many.  `of` is
    the number of all calls, where only some were asked for.
    """

    calls: int = 0
    unfinished: int = 0
    seconds: float = 0.0
    busiest: tuple[int, int] | None = None
    methods: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    other_answers: int = 0
    texts: dict[str, tuple[int, int]] = field(default_factory=dict)
    distinct_texts: int = 0
    slowest: list[tuple[int, float]] = field(default_factory=list)
    gaps: list[tuple[int, float]] = field(default_factory=list)
    progressions: Progressions = field(default_factory=Progressions)
    of: int | None = None
    damage: TraceDamage | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second; None for a trace that takes no time."""
        return self.calls / self.seconds if self.seconds else None

    def as_json(self) -> dict[str, Any]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        runs = self.progressions
        return {
            **fields,
            "texts": {name: {"calls": calls, "null": null} for name, (calls, null) in self.texts.items()},
            "progressions": {
                "count": runs.count,
                "complete": runs.complete,
                "longest": [run.as_json() for run in runs.longest],
            },
            "rate": self.rate,
            "damage": dataclasses.asdict(self.damage) if self.damage else None,
        }

    def rows(self) -> list[tuple[str, str]]:
        """For people: pairs of a word and its value."""
        of = "" if self.of is None else f" of {self.of}"
        rate = f", {self.rate:.1f} a second" if self.rate else ""
        running = f", {self.unfinished} still running at its end" if self.unfinished else ""
        rows = [
            ("calls", f"{self.calls}{of} in {self.seconds:.3f} s{rate}{running}"),
            ("methods", counted(self.methods)),
            ("threads", counted(self.threads)),
            ("answers", f"other than S_OK: {self._answers()}" if self.answers else "all S_OK"),
            ("texts", f"{self.distinct_texts} distinct{' or more' * (self.distinct_texts == TEXTS)}"),
        ]
        for name, (calls, null) in self.texts.items():
            rows.append(("", f"{name} is NULL in {null} of {calls} calls ({null / calls:.0%})"))
        if self.busiest:
            second, most = self.busiest
            rows.append(("busiest", f"{most} call{'s' * (most > 1)} in the second from {second} s on"))
        rows += [
            ("slowest", ", ".join(f"call {n} {_short(s)}" for n, s in self.slowest)),
            ("gaps", ", ".join(f"{_short(s)} before call {n}" for n, s in self.gaps)),
        ]
        if runs := self.progressions.count:
            complete = self.progressions.complete
            rows.append(
                (
                    "progress",
                    f"{runs} run{'s' * (runs > 1)}, {complete if complete < runs else 'all'} to their end",
                )
            )
        for run in self.progressions.longest:
            where = f"calls {run.first} to {run.last}" if run.calls > 1 else f"call {run.first}"
            rows.append(("", f"{where}: {run.start} to {run.end} of {run.limit} in {_short(run.seconds)}"))
        if self.damage:
            rows.append(("damage", escape(str(self.damage))))
        return [(name, value or "none") for name, value in rows]

    def _answers(self) -> str:
        """The most frequent ones, and how many others there are."""
        named = Counter(dict(self.answers.most_common(_ANSWERS)))
        others = self.answers.total() + self.other_answers - named.total()
        return counted(named) + f", others {others}" * (others > 0)


def _short(seconds: float) -> str:
    return rounded(round(seconds * _SECOND))
