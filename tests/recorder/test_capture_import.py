"""Captures in JSON lines become traces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.calls import Handle
from recorder.capture_import import import_capture
from recorder.errors import TraceError
from recorder.trace import dump_trace, load_trace

LINES: list[dict[str, object]] = [
    {"kind": "meta", "scenario": "two", "flags": "0x00000082", "provider": "imaplib", "server": "dovecot"},
    {"m": "Progress", "text": "Folder 🚀", "index": 1, "max": 2, "t_us": 10, "dur_us": 90, "th": 0, "ret": 0},
    {"m": "Error", "hr": 2147746067, "text": None, "t_us": 20, "dur_us": 5, "th": 1, "ret": 0},
    {"m": "Done", "handle": 1352400, "hr": 0, "t_us": 200, "dur_us": 1, "th": 0, "ret": 2147500037},
]


def capture(folder: Path, lines: list[dict[str, object]]) -> Path:
    path = folder / "two.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_calls_times_threads_and_answers_are_kept(tmp_path: Path) -> None:
    trace = import_capture(capture(tmp_path, LINES))
    assert [c.args for c in trace.calls] == [("Folder 🚀", 1, 2), (-2147221229, None), (Handle(1), 0)]
    assert [c.time_ns for c in trace.calls] == [10_000, 20_000, 200_000]
    assert [p.outcome.value for p in trace.played if p.outcome] == [0, 0, -2147467259]
    assert trace.header.sync_flags == 0x82
    assert trace.header.provenance == {
        **{"kind": "imported", "source": "two.jsonl", "scenario": "two"},
        **{"provider": "imaplib", "server": "dovecot"},
    }
    assert [type(e).__name__ for e in trace.events] == ["Enter", "Enter", "Leave", "Leave", "Enter", "Leave"]
    assert load_trace(dump_trace(trace)) == trace


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"m": "Progres"}], "line 1 is not a captured call"),
        ([{"kind": "meta"}, {"m": "Done", "hr": 0}], "line 2 is not a captured call: KeyError: 'handle'"),
        ([{"kind": "meta"}], "holds no captured calls"),
    ],
)
def test_what_does_not_read_is_told_in_a_line(tmp_path: Path, lines: list[dict[str, object]], said: str) -> None:
    with pytest.raises(TraceError, match=said):
        import_capture(capture(tmp_path, lines))
