"""Counting a corpus, for people and for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from sequences import GOOD, calls, regression, save, trace

from fuzz.census import Census, Spread, census, duplicates
from fuzz.census_table import print_census
from recorder.calls import Call, Header, Trace
from recorder.interface import Interface, Method
from recorder.interfaces import IUNKNOWN
from recorder.provenance import captured
from recorder.text import from_text
from recorder.trace import dump_trace, write_trace
from replayer.corpus import read_corpus

OTHER = Interface("IOther", "{0002031f-0000-0000-c000-0000000000aa}", (Method("Go", ()),), base=IUNKNOWN)


@pytest.fixture
def found(tmp_path: Path) -> Census:
    header = Header(created_ns=1_700_000_000_000_000_000, provenance=captured(provider="a:b"))
    save(tmp_path / "a", "good", Trace.from_calls(calls(*GOOD), header))
    save(tmp_path / "b", "same", trace(*GOOD, kind="captured"))
    save(tmp_path / "b", "late", regression("X3", *GOOD, 'Progress("Entwürfe 🚀", 0, 2)'))
    two = [call._replace(thread=number % 2) for number, call in enumerate(calls(*GOOD))]
    save(tmp_path / "c", "threads", Trace.from_calls(two))
    save(tmp_path / "c", "other", Trace.from_calls([Call("Go")], Header(interface=OTHER)))
    (tmp_path / "c" / "torn.tape").write_bytes(dump_trace(trace(*GOOD[:3]))[:-3])
    (tmp_path / "c" / "bad.tape").write_bytes(b'{"kind": "meta"}')
    return census(read_corpus([tmp_path]))


def test_traces_calls_methods_and_outcomes_are_counted(found: Census) -> None:
    assert (found.traces, found.calls, found.lengths) == (6, 21, Spread(6, 1, 4.0, 5))
    assert found.methods == {"Progress": 16, "Done": 4, "Go": 1}
    assert found.outcomes == {"not run": 21}
    assert found.interfaces == {"IMAPISyncProgressCallback": 5, "IOther": 1}
    assert found.threads == {1: 5, 2: 1}


def test_texts_are_counted_in_the_units_that_com_counts(found: Census) -> None:
    assert (found.texts.count, found.texts.least, found.texts.most) == (
        6,
        11,
        11,
    )
    assert found.nulls == 10 and found.handles == 4


def test_levels_and_rules_are_those_of_check(found: Census) -> None:
    assert found.levels == {"conforming": 5, "hostile": 1}
    assert found.rules["P13"] == 1 and set(found.rules) <= {"P13", "P20"}


def test_what_of_the_protocol_is_reached_and_what_is_missed(found: Census) -> None:
    protocol = found.protocols["IMAPISyncProgressCallback"]
    assert protocol.transitions["bound", "Progress"] == 5 and protocol.transitions["running", "Done"] == 4
    assert protocol.transitions["finished", "Progress"] == 1
    assert ("running", "Error") in protocol.missed and ("bound", "Done") in protocol.missed
    assert ("bound", "Progress") not in protocol.missed
    assert protocol.states == {"bound": 5, "running": 5, "finished": 4}
    assert protocol.all_states == ["bound", "running", "finished", "released"]


def test_headers_are_counted(found: Census) -> None:
    assert found.provenance == {"captured": 2, "none": 4} and found.findings == {"X3": 1}
    assert found.created == [1_700_000_000_000_000_000]
    assert found.as_json()["oldest"] == found.as_json()["newest"] == "2023-11-14T22:13:20+00:00"
    assert found.as_json()["undated"] == 5


def test_duplicates_damage_and_what_is_no_trace_are_named(found: Census) -> None:
    assert [[Path(path).name for path in group] for group in found.duplicates] == [["good.tape", "same.tape"]]
    ((path, damage),) = found.damaged
    assert Path(path).name == "torn.tape" and "ends without an end record" in damage
    ((path, reason),) = found.unreadable
    assert Path(path).name == "bad.tape" and reason.startswith("is not a synctape trace")


def test_calls_that_meet_in_another_way_are_no_duplicates(tmp_path: Path) -> None:
    apart = "t0 Progress(NULL, 1, 2)\nt1 Progress(NULL, 2, 2)\n"
    texts = {
        "apart": apart,
        "at once": "scheduled: true\n" + apart,
        "in the middle": "scheduled: true\n" + apart.replace("1, 2)", "1, 2) @3"),
        "later": "scheduled: true\n" + apart.replace("1, 2)", "1, 2) @4"),
        "around": apart.replace("1, 2)", "1, 2) ...") + "#0 -> S_OK\n",
        "crossing": apart.replace("2)", "2) ...") + "#0 -> S_OK\n#1 -> S_OK\n",
        "again": "scheduled: true\n" + apart.replace("1, 2)", "1, 2) @3"),
    }
    for name, text in texts.items():
        write_trace(from_text("synctape 1\n" + text), tmp_path / f"{name}.tape")
    groups = [
        [Path(member.name).stem for member in group] for group in duplicates(read_corpus([tmp_path]).members)
    ]
    assert sorted(groups) == [
        ["again", "in the middle"],
        ["apart"],
        ["around"],
        ["at once"],
        ["crossing"],
        ["later"],
    ]


def test_a_trace_that_was_kept_for_a_finding_is_no_duplicate(tmp_path: Path) -> None:
    save(tmp_path, "plain", trace(*GOOD))
    save(tmp_path, "x3", regression("X3", *GOOD))
    save(tmp_path, "x4", regression("X4", *GOOD))
    groups = duplicates(read_corpus([tmp_path]).members)
    assert [[member.name for member in group] for group in groups] == [["plain.tape"], ["x3.tape"], ["x4.tape"]]


def test_a_file_found_twice_is_counted_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a", "good", trace(*GOOD))
    corpus = read_corpus([tmp_path, tmp_path / "a", path])
    assert [member.name for member in corpus.members] == ["a/good.tape"]


def test_a_person_reads_a_table_and_a_machine_json(found: Census) -> None:
    out = io.StringIO()
    print_census(found, out)
    text = out.getvalue()
    for line in (
        "traces",
        "P13 1 (in so many traces)",
        "X3 1",
        "missed (P14)",
        "Duplicates",
        "Damaged",
        "Unreadable",
    ):
        assert line in text
    assert "IMAPISyncProgressCallback: 4 of 12 transitions" in text and "\x1b" not in text
    told = json.loads(json.dumps(found.as_json()))
    assert told["levels"] == {"conforming": 5, "lenient": 0, "hostile": 1}
    steps = told["protocols"]["IMAPISyncProgressCallback"]["transitions"]
    assert {"state": "finished", "method": "Done", "to": "finished", "breaks": "P14", "calls": 0} in steps


def test_a_hostile_text_does_not_reach_the_terminal(tmp_path: Path) -> None:
    save(tmp_path, "odd", trace(*GOOD, kind="\x1b[31m[bold]"))
    out = io.StringIO()
    print_census(census(read_corpus([tmp_path])), out)
    assert "\x1b" not in out.getvalue() and "[bold]" in out.getvalue()
