"""A trace as a timeline: what a viewer is given is valid, nests on each track, and says what the trace says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, GOOD, trace
from targets.imapi_progress import IMAPI_PROGRESS

from corpora import folder
from fuzz.strategies import call_sequences
from recorder.calls import Call, Enter, Handle, Header, Leave, Outcome, Thread, Trace
from recorder.errors import SynctapeError
from recorder.text import from_text
from replayer.corpus import find_traces, load
from replayer.export_perfetto import to_perfetto

RUN = """synctape 1
process: {"pid": 4711, "program": "outlook.exe"}
thread t0 4712 "sync"
thread t1 4713 "ui"

0.001000000 t0 #0 Progress("Inbox", 0, 2) ...
0.001200000 t1 #1 Progress("nested elsewhere", 0, 1) ...
0.001500000 t0 #2 Error(0x80004005 E_FAIL, "bad") -> 0x80070057 E_INVALIDARG 100us
#1 -> S_OK 900us
#0 -> S_OK 2ms
0.004000000 t0 #3 Done(sync-event, S_OK) ...
"""


def events(recorded: Trace, phase: str = "") -> list[dict[str, Any]]:
    """The timeline's events, as a strict reader has them."""
    text = to_perfetto(recorded, "run.tape")
    assert text.isascii()
    found = json.loads(text, parse_constant=pytest.fail)["traceEvents"]
    return [event for event in found if phase in ("", event["ph"])]


def calls(recorded: Trace) -> list[dict[str, Any]]:
    return [event for event in events(recorded) if event["ph"] in "XB"]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (key, *strings(part))
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def nanoseconds(microseconds: float) -> int:
    return round(microseconds * 1000)


def assert_nests(recorded: Trace) -> None:
    """Any two calls of one track nest or do not touch, in the order in which the file has them."""
    open_until: dict[int, list[float]] = {}
    last: dict[int, float] = {}
    for event in calls(recorded):
        track, start = event["tid"], nanoseconds(event["ts"])
        end = start + nanoseconds(event["dur"]) if event["ph"] == "X" else math.inf
        around = open_until.setdefault(track, [])
        assert start >= last.get(track, -math.inf)
        last[track] = start
        while around and around[-1] <= start and not around[-1] == start == end:
            around.pop()
        assert not around or end <= around[-1], (event, around)
        around.append(end)


def test_calls_are_events_with_their_times_threads_arguments_and_answers() -> None:
    first, _, error, unfinished = calls(from_text(RUN))
    assert (first["ph"], first["name"], first["ts"], first["dur"]) == ("X", "Progress", 1000.0, 2000.0)
    assert (first["pid"], first["tid"], first["cat"]) == (4711, 4712, "call")
    assert first["args"] == {
        "call": 0,
        "arguments": {"pwcszProgress": '"Inbox"', "ulIndex": 0, "ulIndexMax": 2},
        "outcome": "S_OK",
    }
    assert error["args"]["arguments"]["hResult"] == "0x80004005 E_FAIL"
    assert (error["args"]["outcome"], error["cat"]) == ("0x80070057 E_INVALIDARG", "call,failed")
    assert unfinished["ph"] == "B" and "dur" not in unfinished
    assert unfinished["args"]["outcome"] == "the process died in it"


def test_nested_calls_nest_and_other_threads_have_tracks_of_their_own() -> None:
    recorded = from_text(RUN)
    outer, elsewhere, inner, _ = calls(recorded)
    assert outer["tid"] == inner["tid"] != elsewhere["tid"]
    assert outer["ts"] < inner["ts"] and inner["ts"] + inner["dur"] < outer["ts"] + outer["dur"]
    assert_nests(recorded)


def test_processes_and_threads_have_names() -> None:
    named = {event["name"]: event for event in events(from_text(RUN), "M") if event["tid"] == 4712}
    assert named["process_name"]["args"] == {"name": "outlook.exe, run.tape"}
    assert named["thread_name"]["args"] == {"name": "t0 sync"}
    assert named["thread_sort_index"]["args"] == {"sort_index": 0}


def test_handles_and_broken_rules_are_instants() -> None:
    recorded = trace("Done(handle(2), S_OK)", "Progress(NULL, 0, 1)")
    instants = events(recorded, "i")
    assert [(e["name"], e["cat"], e["s"]) for e in instants] == [
        ("handle(2)", "handle", "t"),
        ("P13", "rule", "t"),
    ]
    assert instants[0]["args"] == {"call": 0, "parameter": "hThreadDoneEvent"}
    assert instants[1]["ts"] == calls(recorded)[1]["ts"] and "finished" in instants[1]["args"]["broken"]


def test_a_rule_that_the_whole_trace_breaks_stands_at_its_end() -> None:
    (broken,) = events(trace('Progress("a", 0, 1)'), "i")
    assert (broken["name"], broken["s"], broken["ts"]) == ("P12", "p", 1.0)


def test_without_times_the_order_shows() -> None:
    assert [(e["ts"], e["dur"]) for e in calls(trace(*GOOD))] == [(0, 1), (2, 1), (4, 1), (6, 1)]


def test_what_ends_out_of_order_gets_a_track_beside() -> None:
    one, two = Call("Progress", (None, 0, 1), 0, 1000), Call("Progress", (None, 1, 1), 0, 2000)
    crossing = Trace(
        Header(),
        (Enter(0, one), Enter(1, two), Leave(0, Outcome(elapsed_ns=3000)), Leave(1, Outcome(elapsed_ns=9000))),
        (Thread(7, "a"),),
    )
    first, second = calls(crossing)
    assert (first["tid"], second["tid"]) == (7, 8)
    assert [e["args"]["name"] for e in events(crossing, "M") if e["name"] == "thread_name"] == [
        "t0 a",
        "t0 a (beside 1)",
    ]


def test_a_call_that_sticks_out_by_a_tick_is_cut_to_the_one_around_it() -> None:
    outer, inner = Call("Progress", (None, 0, 1), 0, 1024), Call("Progress", (None, 1, 1), 0, 2048)
    recorded = Trace(
        Header(),
        (Enter(0, outer), Enter(1, inner), Leave(1, Outcome(elapsed_ns=2048)), Leave(0, Outcome(elapsed_ns=2048))),
    )
    assert [(e["ts"], e["dur"]) for e in calls(recorded)] == [(1.024, 2.048), (2.048, 1.024)]


def test_threads_that_their_ids_do_not_tell_apart_are_counted() -> None:
    recorded = Trace.from_calls([Call("Progress", (None, 0, 1), 0), Call("Progress", (None, 1, 1), 1)])
    assert [e["tid"] for e in calls(recorded)] == [1, 2]


def test_texts_that_no_reader_of_json_takes_are_escaped() -> None:
    hostile = "\ud800 </script>\u202e\0\x1b[31m\N{PILE OF POO}"
    recorded = Trace.from_calls(
        [Call("Progress", (hostile, 0, 1))],
        Header(process={"program": hostile, "pid": "no number"}),
        [Outcome(detail=hostile, place=hostile)],
    )
    for text in (text for event in events(recorded) for text in strings(event)):
        text.encode("utf-8")
        assert text.isprintable()


def test_times_that_no_clock_gives_are_numbers_all_the_same() -> None:
    (event,) = calls(
        Trace.from_calls([Call("Progress", (None, 0, 1), 0, 10**400)], None, [Outcome(elapsed_ns=-1)])
    )
    assert math.isfinite(event["ts"]) and event["dur"] == 0


def test_a_long_text_is_cut() -> None:
    recorded = Trace.from_calls([Call("Progress", ("x" * 100_000, 0, 1))])
    assert len(to_perfetto(recorded, "run.tape")) < 10_000


def test_a_trace_without_calls_has_no_timeline() -> None:
    with pytest.raises(SynctapeError, match=r"^run\.tape: has no calls$"):
        to_perfetto(trace(), "run.tape")


def test_every_trace_that_ships_has_one() -> None:
    for path in find_traces([folder()]):
        recorded = load(path)
        assert len(calls(recorded)) == len(recorded.calls)
        assert_nests(recorded)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_clocks_say_calls_nest_on_their_tracks(data: st.DataObject) -> None:
    """Calls that begin and end in any order, at any time, on two threads; some never end."""
    times = st.integers(-(2**40), 2**50) | st.integers(0, 20)
    recorded: list[Enter | Leave] = []
    running: list[int] = []
    for number in range(data.draw(st.integers(1, 12))):
        for _ in range(data.draw(st.integers(0, len(running)))):
            ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
            recorded.append(Leave(ended, Outcome(elapsed_ns=data.draw(times))))
        call = Call("Progress", ("x", number, 12), data.draw(st.integers(0, 1)), data.draw(times))
        recorded.append(Enter(number, call))
        running.append(number)
    assert_nests(Trace(Header(), tuple(recorded), (Thread(), Thread())))


@settings(max_examples=40, deadline=None)
@given(call_sequences(CALLBACK, level="hostile"))
def test_any_sequence_of_calls_has_a_timeline(sequence: list[Call]) -> None:
    found = calls(Trace.from_calls(sequence))
    assert [e["name"] for e in found] == [call.method for call in sequence]


def test_another_interface_and_its_outputs() -> None:
    call = Call("QueryInterface", ("{00000000-0000-0000-c000-000000000046}",))
    recorded = Trace.from_calls([call], Header(interface=IMAPI_PROGRESS), [Outcome(outputs=(Handle(1),))])
    (event,) = calls(recorded)
    assert event["args"]["outputs"] == {"ppvObject": "handle(1)"}
    (instant,) = events(recorded, "i")
    assert instant["args"]["parameter"] == "ppvObject"
