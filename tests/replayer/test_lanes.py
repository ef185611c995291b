"""A run of several threads as lanes: what happened in which order, and where which thread gave way."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import calls, trace

from recorder.calls import NOT_RUN, Enter, Event, Header, Leave, Outcome, Trace
from recorder.sarif_format import Location
from replayer.isolation import Here
from replayer.lanes import Turn, lanes_of
from replayer.oracles import Finding
from replayer.places import Places
from replayer.player import Run
from replayer.reports import JsonReport, JUnitReport, Report, failure_text, marked_calls, report_all
from replayer.sarif import SarifReport
from replayer.scheduler import HandOver
from replayer.target import load_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

LINES = ('t0 Progress("a", 1, 2) @4', "t1 Progress(NULL, 2, 2)", "t1 Done(NULL, S_OK)")
SOURCE = "self.done += 1"
BETWEEN = HandOver(0, 4, "gauge.py:2 in Progress", 1, "change", SOURCE)
OVER = HandOver(-1, 0, "", 0, "ended")


def run(order: str, *schedule: HandOver, lines: tuple[str, ...] = LINES, **outcomes: Outcome) -> Run:
    """A run whose calls begin and end in this order: `0 1 1 2 2 0` has the first around the others."""
    asked, entered, events = calls(*lines), set[int](), list[Event]()
    for number in map(int, order.split()):
        if number in entered:
            events.append(Leave(number, outcomes.get(f"call{number}", Outcome())))
        else:
            entered.add(number)
            events.append(Enter(number, asked[number]))
    return Run(Trace(Header(scheduled=True), tuple(events)), schedule=schedule)


def drawn(made: Run, *failing: int) -> list[str]:
    return list(marked_calls(made, failing))


def test_each_thread_has_a_column_and_a_switch_its_line_of_the_source() -> None:
    assert drawn(run("0 1 1 2 2 0", BETWEEN, OVER), 2) == [
        "  t0  t1",
        '  [       0  Progress("a", 1, 2)',
        "  *       0  gives way to t1 before step 4, gauge.py:2 in Progress: self.done += 1",
        "  :   [   1  Progress(NULL, 2, 2)",
        "  :   ]   1  -> S_OK",
        "> :   [   2  Done(NULL, S_OK)",
        "> :   ]   2  -> S_OK",
        "  ]       0  -> S_OK",
    ]


def test_calls_that_met_without_a_schedule_are_lanes_too() -> None:
    recorded = replace(run("0 1 0 1", lines=LINES[:2]), trace=replace(run("0 1 0 1").trace, header=Header()))
    assert [line[:9] for line in drawn(recorded)] == [
        "  t0  t1",
        "  [      ",
        "  :   [  ",
        "  ]   :  ",
        "      ]  ",
    ]


def test_where_no_call_met_another_they_are_a_list() -> None:
    apart = run("0 0 1 1 2 2", HandOver(-1, 0, "", 1, "ended"))
    assert lanes_of(apart) is None
    assert drawn(apart)[0] == '  0  t0 Progress("a", 1, 2) -> S_OK'


def test_a_nested_call_stands_to_the_right_of_the_one_around_it() -> None:
    nested = run("0 1 1 0", lines=('Error(E_FAIL, "")', "Progress(NULL, 1, 2)"))
    assert [line[2:5].rstrip() for line in drawn(nested)] == ["t0", "[", ":[", ":]", "]"]


def test_a_thread_that_waits_and_a_call_that_never_ends_are_seen() -> None:
    """A deadlock: neither call has ended, and the last one was never made."""
    made = run(
        "0 1 2 2",
        HandOver(0, 3, "gauge.py:5 in Progress", 1, "change", "with self.b:"),
        HandOver(1, 3, "gauge.py:9 in Progress", 0, "blocked", "with self.a:"),
        call2=NOT_RUN,
    )
    assert drawn(made, 1)[2:] == [
        "  *       0  gives way to t1 before step 3, gauge.py:5 in Progress: with self.b:",
        "> :   [   1  Progress(NULL, 2, 2)",
        "  :   *   1  waits, t0 goes on, gauge.py:9 in Progress: with self.a:",
        "  !       0  never ends",
        ">     !   1  never ends",
        "  not made: 2  t1 Done(NULL, S_OK) -> not run",
    ]


def test_a_switch_stands_inside_its_call_however_often_the_threads_change() -> None:
    """The second thread goes on in the middle of a call that it began before, and comes to no event there."""
    schedule = (
        HandOver(0, 1, "a:1", 1, "change"),
        HandOver(1, 1, "b:1", 0, "change"),
        HandOver(0, 2, "a:2", 1, "sleep"),
        HandOver(1, 2, "b:2", 0, "spin"),
    )
    lanes = lanes_of(run("0 1 0 1", *schedule, lines=LINES[:2]))
    assert lanes is not None
    told = [(m.turn.value, m.thread, m.place) for m in lanes.moments]
    assert told == [
        ("enter", 0, ""),
        ("switch", 0, "a:1"),
        ("enter", 1, ""),
        ("switch", 1, "b:1"),
        ("switch", 0, "a:2"),
        ("switch", 1, "b:2"),
        ("leave", 0, ""),
        ("leave", 1, ""),
    ]


def test_threads_that_the_target_started_have_a_lane() -> None:
    made = run(
        "0 1 0 1", HandOver(0, 3, "q.py:4 in put", 2, "woken"), HandOver(-1, 7, "q.py:9 in get", 1, "blocked")
    )
    assert drawn(made)[:4] == [
        "  t0  t1  t2",
        '  [           0  Progress("a", 1, 2)',
        "  *           0  lets t2 go first, which can go on, q.py:4 in put",
        "  :       *      waits, t1 goes on, q.py:9 in get",
    ]


@settings(max_examples=20)
@given(st.data())
def test_every_event_is_drawn_in_its_order_whatever_is_said_of_hand_overs(data: st.DataObject) -> None:
    """Also of a schedule that does not fit, as of a run that was cut off."""
    order = data.draw(st.permutations([0, 0, 1, 1, 2, 2]))
    overs = st.builds(
        HandOver, st.integers(-1, 3), st.integers(0, 9), st.just(""), st.integers(0, 3), st.sampled_from(WHYS)
    )
    made = run(" ".join(map(str, order)), *data.draw(st.lists(overs, max_size=5)))
    lanes = lanes_of(made)
    if lanes is not None:
        events = [(m.turn is Turn.ENTER, m.call) for m in lanes.moments if m.turn is not Turn.SWITCH]
        assert events == [(isinstance(event, Enter), event.number) for event in made.trace.events]
        assert len(lanes.switches) == sum(over.why != "ended" for over in made.schedule)
        assert len(drawn(made)) == 1 + len(lanes.moments)


WHYS = ("change", "blocked", "ended", "sleep", "spin", "woken")


def test_of_a_long_run_the_start_and_what_is_before_the_failing_call_s_end() -> None:
    lines = tuple(f"t{n % 2} Progress(NULL, {n}, 99)" for n in range(98))
    order = " ".join(f"{n} {n + 1} {n} {n + 1}" for n in range(0, 98, 2))
    shown = drawn(run(order, lines=lines), 60)
    assert len(shown) <= 85 and shown[-1].endswith(" more")
    assert [line.startswith(">") for line in shown].count(True) == 2
    left_out = sum(int(line.split()[1]) for line in shown if line.endswith(" more"))
    assert left_out + len([line for line in shown[1:] if not line.endswith(" more")]) == 4 * 49


# --------------------------------------------------------------------------------------------- other reports

FINDING = Finding("X16", "linearizability", 2, "Done", "no order gives it", "gauge.py:2 in Progress")


def verdict(made: Run | None = None) -> Verdict:
    made = made or run("0 1 1 2 2 0", BETWEEN, OVER)
    return Verdict("a.tape", Status.FAILED, (FINDING,), run=made)


def command(_: Verdict) -> str:
    return "synctape replay a.tape"


def told(report: Report, *verdicts: Verdict) -> None:
    report_all(verdicts, [report])


def test_json_tells_who_did_what_in_which_order() -> None:
    out = io.StringIO()
    told(JsonReport(out, command), verdict(), verdict(Run(trace("Done(NULL, S_OK)"))))
    met, apart, _ = map(json.loads, out.getvalue().splitlines())
    assert "schedule" not in apart
    assert [(e["kind"], e["thread"], e["call"]) for e in met["schedule"]][:3] == [
        ("enter", 0, 0),
        ("switch", 0, 0),
        ("enter", 1, 1),
    ]
    assert met["schedule"][1] == {
        "kind": "switch",
        "thread": 0,
        "call": 0,
        "to": 1,
        "why": "change",
        "step": 4,
        "place": "gauge.py:2 in Progress",
        "code": SOURCE,
    }


def test_junit_has_the_lanes_and_the_switches(tmp_path: Path) -> None:
    told(JUnitReport(tmp_path / "a.xml", "gauge:Host", command), verdict())
    (case,) = ET.parse(tmp_path / "a.xml").iter("testcase")
    properties = [(p.get("name"), p.get("value")) for p in case.iter("property")]
    assert ("threads", "2") in properties
    words = "t0 gives way to t1 before step 4, gauge.py:2 in Progress: self.done += 1"
    assert ("switch", words) in properties
    assert "  t0  t1\n" in (case.findtext("failure") or "")


def test_of_threads_that_change_places_for_long_other_reports_have_the_end(tmp_path: Path) -> None:
    overs = [HandOver(n % 2, n, f"a:{n}", 1 - n % 2, "blocked") for n in range(500)]
    long = run("0 1 0 1", *overs, lines=LINES[:2])
    told(JUnitReport(tmp_path / "a.xml", "gauge:Host", command), replace(verdict(long), findings=(FAILED,)))
    told_of = [
        p.get("value", "") for p in ET.parse(tmp_path / "a.xml").iter("property") if p.get("name") == "switch"
    ]
    assert len(told_of) <= 80 and told_of[-1].endswith("a:499")


FAILED = replace(FINDING, number=1)


def test_sarif_has_a_flow_for_each_thread_in_which_a_switch_is_a_line_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gauge.py").write_text("class Host:\n    def Progress(self): self.done += 1\n")
    monkeypatch.chdir(tmp_path)
    told(SarifReport(tmp_path / "a.sarif", "gauge:Host", command), verdict())
    (result,) = json.loads((tmp_path / "a.sarif").read_text("utf-8"))["runs"][0]["results"]
    flows = {flow["id"]: flow["locations"] for flow in result["codeFlows"][0]["threadFlows"]}
    assert [[step["executionOrder"] for step in flows[thread]] for thread in ("t0", "t1")] == [
        [1, 2, 7],
        [3, 4, 5, 6],
    ]
    switch = flows["t0"][1]
    assert switch["location"]["message"]["text"].startswith("0: gives way to t1 before step 4")
    assert switch["location"]["physicalLocation"]["region"]["startLine"] == 2
    assert switch["location"]["physicalLocation"]["artifactLocation"]["uri"] == "gauge.py"
    assert [step["importance"] for step in flows["t1"]] == ["important", "important", "essential", "essential"]


def test_what_is_no_line_s_doing_lies_where_a_thread_gave_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gauge.py").write_text("class Host:\n    def Progress(self): self.done += 1\n")
    monkeypatch.chdir(tmp_path)
    places, nowhere = Places("gauge:Host", tmp_path), replace(FINDING, place="")
    assert places.of(nowhere, verdict()) == Location("gauge.py", 2)
    assert places.of(nowhere, verdict(run("0 1 1 2 2 0", OVER))) == Location("a.tape", is_source=False)


def test_the_worked_example_is_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "threads.md").read_text("utf-8")
    (tmp_path / "inbox_example.py").write_text(page.partition("```python\n")[2].partition("```")[0], "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    recorded = Trace.from_calls(
        calls("Progress(NULL, 0, 0) @2", "t1 Progress(NULL, 0, 0)"), Header(scheduled=True)
    )
    made = replay_trace(recorded, Here(load_target("inbox_example:Inbox")), Judging().judge(recorded), name="a")
    assert made.run is not None
    told = [f"    {line}".replace("inbox_example", "inbox") for line in marked_calls(made.run, [0])]
    assert [f"{f.code} {f.message}" for f in made.findings] == [page.partition("\n...\n")[2].partition("\n")[0]]
    assert "Schedule:\n" + "\n".join(told) + "\n" in page
    assert f"synctape replay findings/X15-{made.findings[0].fingerprint}.tape" in page


DEADLOCK = ('t0 Progress("a", 1, 2) @2', 't1 Error(E_FAIL, "x")')


def test_of_a_deadlock_each_thread_s_stack_is_told_from_the_target_s_first_frame_on() -> None:
    recorded = Trace.from_calls(calls(*DEADLOCK), Header(scheduled=True))
    player = Here(load_target("targets.threads.lock_order:Host"))
    made = replay_trace(recorded, player, Judging().judge(recorded), name="a.tape")
    said = failure_text(made, "synctape replay a.tape").splitlines()
    start = said.index("Stacks of the threads that wait for each other, most recent call last:")
    told = [line.strip() for line in said[start + 1 : said.index("", start)]]
    frames = [line.rpartition(", in ")[2] if line.startswith("File") else line for line in told]
    assert frames[0].startswith("Thread 0, waiting for") and frames[1:3] == [
        "Progress",
        "with self.view, self.model:",
    ]
    assert frames[-3].startswith("Thread 1, waiting for") and frames[-2:] == ["Error", "with self.view:"]


def test_the_text_of_a_failure_has_them() -> None:
    said = failure_text(verdict(), "synctape replay a.tape")
    assert "\n> :   [   2  Done(NULL, S_OK)\n" in said
