"""What commands say of a trace, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.calls import Call, Outcome, Trace
from recorder.checking import check
from recorder.trace import write_trace
from recorder.trace_input import TraceInput
from recorder.wording import recorded_in_words


@pytest.mark.parametrize(
    ("dropped", "words"),
    [(0, ""), (1, ", after 1 file that was dropped"), (12, ", after 12 files that were dropped")],
)
def test_a_recording_in_a_line(tmp_path: Path, dropped: int, words: str) -> None:
    trace = Trace.from_calls([Call("Done", (None, 0))], outcomes=[Outcome()])
    checked = check(TraceInput(write_trace(trace, tmp_path / "run.tape")))
    line = recorded_in_words("run.tape", checked, dropped, 0.5)
    assert line == f"run.tape: 1 call{words} in 0.500 s; no rule broken"
