"""Rates and gaps: floods and silences in recordings, by the contract's limits and by those asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recorder.calls import Call, Enter, Event, Header, Leave, Outcome, Trace
from recorder.checking import Checked, check
from recorder.contract import CONTRACTS
from recorder.errors import SynctapeError
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, INTERFACES
from recorder.pace import PaceLimits, has_own_times
from recorder.rules import RULES
from recorder.trace import write_trace
from recorder.trace_input import TraceInput
from recorder.trim import trim

MS, SECOND = 10**6, 10**9
PACE = CONTRACTS[IMAPI_SYNC_PROGRESS_CALLBACK.iid].pace


def recorded(*steps: tuple[int, str], took: int = MS, header: Header | None = None) -> Trace:
    """A call of a method at each time (ns), one after the other."""
    args: dict[str, tuple[Any, ...]] = {"Progress": (None, 1, 1), "Error": (-1, "x"), "Done": (None, -1)}
    events: list[Event] = []
    for number, (time_ns, method) in enumerate(steps):
        events += [Enter(number, Call(method, args[method], 0, time_ns)), Leave(number, Outcome(elapsed_ns=took))]
    return Trace(header or Header(tick_ns=1), tuple(events))


def reports(times: Iterable[int], done: int) -> list[tuple[int, str]]:
    return [*((time_ns, "Progress") for time_ns in times), (done, "Done")]


@pytest.fixture
def judged(tmp_path: Path) -> Any:
    def judge(trace: Trace, limits: PaceLimits | None = PaceLimits()) -> Checked:  # noqa: B008
        return check(TraceInput(write_trace(trace, tmp_path / "a.tape", overwrite=True)), pace=limits)

    return judge


def told(checked: Checked) -> list[tuple[list[int], str, bool]]:
    """Numbers of calls, first message and whether it fails, of what is judged by times."""
    return [(b.numbers, b.message, b.fails) for b in checked.broken if b.rule.timed]


def test_the_rule_that_speaks_of_rates_and_gaps_is_marked() -> None:
    assert [rule.id for rule in RULES.values() if rule.timed] == ["P5"]
    assert PACE is not None and RULES[PACE.rule].timed and not RULES[PACE.rule].fails


def test_a_steady_pace_is_no_matter(judged: Any) -> None:
    assert told(judged(recorded(*reports(range(0, 10 * SECOND, 10 * MS), 11 * SECOND), took=MS))) == []


def test_a_flood_is_told_once_and_is_a_note(judged: Any) -> None:
    flood = [*range(0, 300 * MS, MS), *range(20 * SECOND, 20 * SECOND + 300 * MS, 2 * MS)]
    trace = recorded(*reports(flood, 30 * SECOND), took=0)
    checked = judged(trace)
    assert told(checked) == [([100, 400], "101 calls of Progress within 100 ms", False)]
    assert checked.level == judged(trace, None).level  # it is one of the calls, whatever their times


def test_a_gap_is_told_with_its_length(judged: Any) -> None:
    checked = judged(recorded((0, "Progress"), (61 * SECOND, "Progress"), (61 * SECOND, "Done"), took=0))
    assert told(checked) == [([1], "no call for 61 s before Progress", False)]


@pytest.mark.parametrize(
    "trace",
    [
        recorded((100 * SECOND, "Progress"), (101 * SECOND, "Done")),  # nothing was going on before
        recorded((0, "Progress"), (1, "Done"), (100 * SECOND, "Progress")),  # nor after the end
        recorded((0, "Progress"), (100 * SECOND, "Progress"), (101 * SECOND, "Done"), took=50 * SECOND),
    ],
)
def test_what_is_no_gap(judged: Any, trace: Trace) -> None:
    assert told(judged(trace)) == []


def test_while_a_call_runs_the_host_is_waited_for(judged: Any) -> None:
    trace = recorded((0, "Progress"), (90 * SECOND, "Progress"), (91 * SECOND, "Done"))
    (first, ended), rest = trace.events[:2], trace.events[2:]
    assert told(judged(trace)) != []
    assert told(judged(replace(trace, events=(first, *rest, ended)))) == []


def test_limits_that_are_asked_for_fail(judged: Any) -> None:
    trace = recorded(*reports([0, 100 * MS, 200 * MS], 4 * SECOND))
    assert told(judged(trace)) == []
    assert told(judged(trace, PaceLimits(rate=2))) == [([2], "3 calls of Progress within 200 ms", True)]
    assert told(judged(trace, PaceLimits(gap_ns=3 * SECOND))) == [([3], "no call for 3.8 s before Done", True)]
    assert told(judged(trace, PaceLimits(rate=3, gap_ns=4 * SECOND))) == []
    both = told(judged(trace, PaceLimits(rate=2, gap_ns=3 * SECOND)))
    assert both == [([2, 3], "3 calls of Progress within 200 ms", True)]


def test_a_limit_that_was_not_asked_for_stays_a_note(judged: Any) -> None:
    trace = recorded(*reports(range(0, 300 * MS, MS), SECOND), took=0)
    assert [fails for _, _, fails in told(judged(trace, PaceLimits(gap_ns=5 * SECOND)))] == [False]
    late = recorded(*reports([*range(0, 300 * MS, MS), 70 * SECOND], 71 * SECOND), took=0)
    assert told(judged(late, PaceLimits(gap_ns=5 * SECOND))) == [
        ([100, 300], "no call for 69.7 s before Progress", True)  # what fails is what is told
    ]


def test_times_that_nobody_measured_are_not_judged(judged: Any) -> None:
    still = recorded(*reports([0] * 500, 0))
    assert told(judged(still)) == []
    flood = recorded(*reports(range(0, 300 * MS, MS), SECOND), took=0)
    assert told(judged(flood, None)) == []
    for provenance, own in [
        ({"kind": "captured"}, True),
        ({"kind": "imported"}, True),
        ({"kind": "merged", "was": "captured"}, True),
        ({"kind": "merged", "was": "mutated"}, False),
        ({"kind": "mutated"}, False),
        ({"kind": "generated"}, False),
        ({"kind": "finding"}, False),
    ]:
        assert has_own_times(provenance) is own
        assert bool(told(judged(replace(flood, header=Header(tick_ns=1, provenance=provenance))))) is own


def test_a_part_with_holes_has_no_gaps_of_its_own(tmp_path: Path, judged: Any) -> None:
    steps = [(n * 40 * SECOND, "Error" if n % 2 else "Progress") for n in range(6)]
    whole = TraceInput(write_trace(recorded(*steps, (201 * SECOND, "Done")), tmp_path / "whole.tape"))
    assert not has_own_times(trim(whole, selection=_only("Progress")).header.provenance)
    assert has_own_times(trim(whole, 1, 3).header.provenance)
    assert told(judged(trim(whole, selection=_only("Progress")))) == []


def _only(method: str) -> Any:
    from recorder.selection import Selection

    return Selection(methods=(method,))


def test_an_interface_without_such_a_rule_takes_no_limits(judged: Any) -> None:
    other = next(i for i in INTERFACES.values() if i.iid not in CONTRACTS and i.calls)
    trace = Trace(Header(interface=other))
    assert told(judged(trace)) == []
    with pytest.raises(SynctapeError, match=r"a\.tape: no rule for .* speaks of rates or gaps"):
        judged(trace, PaceLimits(rate=5))
