"""Oracles: each finds its planted bug, says nothing of a correct host, and can be turned off by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, calls, counts_output, limits_memory, trace

from recorder import hresult
from recorder.calls import Call, Enter, Event, Leave, Outcome, OutcomeKind, Trace
from recorder.contract import Level, Monitor, contract_of
from recorder.errors import SynctapeError
from recorder.rules import RULES
from replayer.isolation import Here, Player
from replayer.oracles import CODES, ORACLES, Course, Finding, Judge, explain
from replayer.player import Observation, Run, play
from replayer.target import load_target, object_target

E_FAIL = hresult.parse("E_FAIL")

PLANTED = {
    # oracle: (target, sequence, code, failing call)
    "exception": ("raises_on_null_text", GOOD, "X3", 1),
    "thread-exception": ("thread_exception", GOOD, "X4", 3),
    "invariant": ("invariant_breaks", ("Progress(NULL, 1, 1)", "Progress(NULL, 0, 1)"), "X5", 1),
    "slow": ("slow", ("Progress(NULL, 7, 7)",), "H18", 0),
    "invalid-result": ("bad_hresult", (*GOOD[:3], "Done(NULL, E_FAIL)"), "H6", 3),
    "failure": ("fails_conforming", (GOOD[0], 'Progress("Downloading", 2, 2)'), "H6", 1),
    "handle": ("double_close", GOOD, "H14", 3),
    "late-effect": ("changes_after_done", (*GOOD, "Progress(NULL, 7, 7)"), "H15", 4),
    "crash": ("segfaults", (*GOOD[:2], "Progress(NULL, 1, 0)", GOOD[3]), "X1", 2),
    "hang": ("hangs_on_text", (GOOD[0], 'Progress("%s", 1, 2)'), "X2", 1),
    "exit": ("exits", (GOOD[0], 'Error(0x8000DEAD, "")'), "X7", 1),
    "time-growth": ("copies_text", (GOOD[0], f'Progress("{"x" * 20000}", 1, 2)'), "X18", 1),
    "output": ("writes_beginnings", (GOOD[0], f'Progress("{"x" * 3000}", 1, 2)'), "X19", 1),
    "memory": ("memory_hog", (GOOD[0], f'Progress("{"x" * 1001}", 1, 2)'), "X6", 1),
}
NATIVE = (
    "identity",
    "references",
    "sanitizer",
    "retained",
    "memory-growth",
    "handle-leak",
    "stack-overflow",
    "string-bounds",
    "string-lifetime",
)  # need a native host: tests of their own
DEADLY = {"crash", "hang", "exit", "memory"}

SLOW_SECONDS = 0.1


def judged(run: Run, *disabled: str) -> list[Finding]:
    return Judge.of(run.trace, slow=SLOW_SECONDS, disabled=frozenset(disabled)).findings(run)


@pytest.fixture(scope="module")
def planted(isolated: Callable[[str], Player]) -> Callable[[str], Run]:
    """The run in which an oracle's bug shows, played once."""
    runs: dict[str, Run] = {}

    def run(oracle: str) -> Run:
        if oracle not in runs:
            name, lines, _, _ = PLANTED[oracle]
            spec = f"targets.{name}:Host"
            player = isolated(spec) if oracle in DEADLY else Here(load_target(spec))
            runs[oracle] = player.play(trace(*lines), timeout=0.3 if oracle == "hang" else None)
        return runs[oracle]

    return run


MARKS = {"memory": limits_memory, "output": counts_output}
EACH = [pytest.param(oracle, marks=MARKS.get(oracle, ())) for oracle in PLANTED]


@pytest.mark.parametrize("oracle", EACH)
def test_an_oracle_finds_its_bug(oracle: str, planted: Callable[[str], Run]) -> None:
    _, _, code, number = PLANTED[oracle]
    (finding,) = judged(planted(oracle), *{"slow"} - {oracle})
    assert (finding.oracle, finding.code, finding.number) == (oracle, code, number)
    assert finding.message and "\n" not in finding.message


@pytest.mark.parametrize("oracle", EACH)
def test_it_can_be_turned_off_by_its_name(oracle: str, planted: Callable[[str], Run]) -> None:
    assert judged(planted(oracle), oracle, "slow") == []


@pytest.mark.parametrize("oracle", PLANTED)
def test_it_says_nothing_of_a_correct_host(oracle: str) -> None:
    assert judged(play(trace(*PLANTED[oracle][1]), load_target("targets.clean:Host"))) == []


def test_every_oracle_is_tried_here() -> None:
    assert set(PLANTED) | {"mismatch", *NATIVE, *dict(THREADS)} == set(ORACLES)
    assert all(oracle.meaning and "\n" not in oracle.meaning for oracle in ORACLES.values())


# --------------------------------------------------------------------------------------------- single oracles


def answering(answer: Any) -> Run:
    def method(self: Any, *args: Any) -> Any:
        return answer

    host = type("Answers", (), dict.fromkeys(("Progress", "Error", "Done"), method))
    return play(trace(GOOD[0]), object_target(host))


@pytest.mark.parametrize("answer", [0, 1, -1, -(2**31), 2**32 - 1, None])
def test_a_32_bit_answer_is_valid(answer: int | None) -> None:
    assert judged(answering(answer), "failure") == []


@pytest.mark.parametrize("answer", [True, 2**32, -(2**31) - 1, 2**40, 1.0, "S_OK", b"", [0]])
def test_any_other_is_none(answer: Any) -> None:
    (finding,) = judged(answering(answer))
    assert finding.oracle == "invalid-result"
    assert type(answer).__name__ in finding.message


class Refuses:
    """A host that fails whatever it is told."""

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return E_FAIL

    def Error(self, result: int, text: str | None) -> int:
        return E_FAIL

    def Done(self, handle: Any, result: int) -> int:
        return E_FAIL


FAILURES: dict[tuple[str, ...], tuple[str, Level]] = {
    # the failing call, after calls that change nothing: rule, level
    ('Progress("step", 1, 2)',): ("H6", Level.CONFORMING),
    ("Progress(NULL, 1, 2)",): ("H7", Level.CONFORMING),
    ("Done(NULL, S_OK)",): ("H8", Level.CONFORMING),
    ("Error(E_FAIL, NULL)",): ("H9", Level.LENIENT),
    ('Progress("step", 0, 0)',): ("H10", Level.LENIENT),
    ('Error(S_OK, "text")',): ("H13", Level.LENIENT),
    ('Error(E_FAIL, "text")',): ("H6", Level.CONFORMING),
}


@pytest.mark.parametrize("lines", FAILURES)
def test_a_failure_breaks_the_rule_that_says_most(lines: tuple[str, ...]) -> None:
    (finding,) = judged(play(trace(*lines), object_target(Refuses)))
    assert (finding.code, finding.level) == FAILURES[lines]
    assert finding.message.endswith("answered 0x80004005 E_FAIL")


def test_a_failure_on_a_hostile_sequence_is_the_hosts_good_right() -> None:
    findings = judged(play(trace("Done(NULL, S_OK)", 'Progress("late", 0, 1)'), object_target(Refuses)))
    assert [finding.number for finding in findings] == [0]


def test_answers_are_matched_only_on_demand() -> None:
    recorded = Trace.from_calls(calls(*GOOD), outcomes=[Outcome(value=answer) for answer in (0, 1, None, -1)])
    run = play(recorded, load_target("targets.clean:Host"))
    assert judged(run) == []
    findings = Judge.of(recorded, recorded=recorded).findings(run)
    assert [(finding.code, finding.number, finding.message) for finding in findings] == [
        ("X8", 1, "Progress returned 0x00000000 S_OK, recorded 0x00000001 S_FALSE"),
        ("X8", 3, "Done returned 0x00000000 S_OK, recorded 0xFFFFFFFF"),
    ]
    assert Judge.of(recorded, recorded=recorded, disabled=frozenset({"mismatch"})).findings(run) == []


# --------------------------------------------------------------------------------------------------- findings


def test_a_bug_is_told_once_however_often_it_shows() -> None:
    findings = judged(play(trace(*["Progress(NULL, 0, 1)"] * 50), load_target("targets.raises_on_null_text:Host")))
    assert [finding.number for finding in findings] == [0]


def test_different_bugs_are_all_told_in_the_order_of_the_calls() -> None:
    run = Run(
        trace(*GOOD), (Observation("handle", 3, "handle 0 was never closed"), Observation("invariant", 1, "no"))
    )
    assert [(finding.code, finding.number) for finding in judged(run)] == [("X5", 1), ("H14", 3)]


BLAME: dict[tuple[str, ...], str] = {
    GOOD[:2]: "host",
    (GOOD[0], "Progress(NULL, 0, 0)"): "host (on calls that break P6, as real providers do)",
    ("Done(NULL, S_OK)", "Progress(NULL, 0, 1)"): "provider (P13); a hardening note for the host",
}


@pytest.mark.parametrize("lines", BLAME)
def test_blame_follows_from_the_calls_up_to_the_failing_one(lines: tuple[str, ...]) -> None:
    run = play(
        trace(*lines, "Done(NULL, S_OK)", "Done(NULL, S_OK)"), load_target("targets.raises_on_null_text:Host")
    )
    assert judged(run)[0].blame == BLAME[lines]


def test_a_fingerprint_stays_and_tells_bugs_apart() -> None:
    finding = Finding("X3", "exception", 4, "Progress", "ValueError: 'a' at 17", "host.py:3 in Progress")
    assert finding.fingerprint == Finding(*_but(finding, number=9, message="else")).fingerprint
    others = [_but(finding, code="X1"), _but(finding, method="Done"), _but(finding, place="host.py:4 in Progress")]
    assert len({finding.fingerprint, *(Finding(*other).fingerprint for other in others)}) == 4


def _but(finding: Finding, **changed: Any) -> Iterator[Any]:
    for name in ("code", "oracle", "number", "method", "message", "place"):
        yield changed.get(name, getattr(finding, name))


def test_without_a_place_the_message_tells_bugs_apart_but_not_its_values() -> None:
    def finding(message: str) -> Finding:
        return Finding("H6", "invalid-result", 0, "Done", message)

    assert finding("Done returned 17").bucket == finding("Done returned 18").bucket
    assert finding("Done returned 17").bucket != finding("Done raised 17").bucket


# ------------------------------------------------------------------------------------------------- the course


def course(*lines: str) -> Course:
    return Course.of_calls(contract_of(CALLBACK), calls(*lines))


def test_the_course_knows_state_and_level_at_each_call() -> None:
    seen = course(*GOOD[:2], "Progress(NULL, 0, 0)", "Done(NULL, S_OK)", "Progress(NULL, 0, 1)")
    assert [seen.state_before(number) for number in range(6)] == [
        "bound",
        "running",
        "running",
        "running",
        "finished",
        "finished",
    ]
    assert [seen.level(number)[0] for number in range(5)] == [Level.CONFORMING] * 2 + [Level.LENIENT] * 2 + [
        Level.HOSTILE
    ]
    assert seen.level(4) == (Level.HOSTILE, ("P13",))
    assert seen.level(99) == seen.level(4)


RELEASED_TWICE = [Call("AddRef"), Call("Release"), *calls(*GOOD), Call("Release"), Call("Release")]


def test_the_callers_references_do_not_count_where_they_are_not_played() -> None:
    assert Course.of_calls(contract_of(CALLBACK), RELEASED_TWICE).level(99)[0] is Level.CONFORMING


def test_calls_of_iunknown_count_where_they_were_made() -> None:
    answers = [Outcome(value=value) for value in (2, 1, 0, 0, 0, 0, 7, 7)]  # not what the host says of its count
    course = Course.of_calls(contract_of(CALLBACK), RELEASED_TWICE, answers)
    assert [course.level(number)[0] for number in (1, 5, 6)] == [Level.CONFORMING] * 3
    assert course.state_before(7) == "released"
    assert course.level(7) == (Level.HOSTILE, ("P2",))


def test_a_call_after_the_last_release_is_hostile() -> None:
    sequence = [Call("QueryInterface", (CALLBACK.iid,)), *calls(*GOOD), *[Call("Release")] * 2, *calls(GOOD[0])]
    course = Course.of_calls(contract_of(CALLBACK), sequence, [Outcome()] * len(sequence))
    assert course.level(6)[0] < Level.HOSTILE
    assert course.level(7) == (Level.HOSTILE, ("P3",))


def test_a_refused_interface_is_no_failure() -> None:
    asked = trace('QueryInterface("{00000000-0000-0000-0000-000000000001}")')
    refused = Trace.from_calls(asked.calls, asked.header, [Outcome(value=-2147467262)])
    assert Judge.of(asked).findings(Run(refused)) == []


def overlapping(*moments: str) -> Course:
    """Calls by their lines, the end of call n as `end n`; each call on a thread of its own."""
    events: list[Event] = []
    number = 0
    for moment in moments:
        if moment.startswith("end "):
            events.append(Leave(int(moment[4:]), Outcome()))
        else:
            (call,) = calls(moment)
            events.append(Enter(number, call._replace(thread=number)))
            number += 1
    return Course(contract_of(CALLBACK), events)


def test_calls_that_overlap_are_judged_by_what_was_called_until_they_ended() -> None:
    seen = overlapping(GOOD[0], "end 0", GOOD[2], GOOD[3], "end 1", "end 2", GOOD[1])
    assert seen.level(0) == (Level.CONFORMING, ())
    assert seen.level(1) == seen.level(2) == (Level.LENIENT, ("P20",))
    assert seen.state_before(2) == "running"
    assert seen.level(3) == (Level.HOSTILE, ("P13",))


def test_a_report_while_the_end_runs_makes_both_hostile() -> None:
    seen = overlapping(GOOD[2], "end 0", GOOD[3], GOOD[2], "end 2", "end 1")
    assert [seen.level(number) for number in range(3)] == [
        (Level.CONFORMING, ()),
        (Level.HOSTILE, ("P13",)),
        (Level.HOSTILE, ("P13",)),
    ]
    assert seen.state_before(2) == "finished"


def test_what_the_end_overtakes_may_be_refused() -> None:
    seen = overlapping(GOOD[2], "end 0", GOOD[2], GOOD[2], GOOD[3], "end 2", "end 3", "end 1")
    assert [seen.level(number)[0] for number in range(4)] == [Level.CONFORMING, *[Level.LENIENT] * 3]
    assert [seen.may_be_refused(number) for number in range(4)] == [False, True, True, False]


def test_the_last_release_while_a_call_runs_is_hostile() -> None:
    seen = overlapping(GOOD[2], "end 0", GOOD[3], "Release()", "end 2", "end 1")
    assert seen.level(2) == seen.level(1) == (Level.HOSTILE, ("P3",))
    assert overlapping("AddRef()", "end 0", GOOD[3], "Release()", "end 2", "end 1").level(1)[0] < Level.HOSTILE


def test_an_empty_course() -> None:
    assert course().level(0) == (Level.CONFORMING, ())


def test_a_long_run_is_followed_a_fixed_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = []
    enter = Monitor.enter

    def counted(self: Monitor, number: int, call: Call) -> None:
        followed.append(number)
        enter(self, number, call)

    monkeypatch.setattr(Monitor, "enter", counted)
    count = 400
    judged(play(trace(*['Progress("step", 0, 0)'] * count), object_target(Refuses)))
    assert len(followed) <= 3 * count


THREADS = (("deadlock", "X14"), ("lost-update", "X15"), ("linearizability", "X16"), ("data-race", "X17"))


@pytest.mark.parametrize(("kind", "code"), THREADS)
def test_what_threads_did_is_nobodys_call(kind: str, code: str) -> None:
    run = Run(trace(*GOOD), (Observation(kind, 2, "it went wrong", "host.py:3 in Progress"),))
    (finding,) = Judge.of(run.trace).findings(run)
    assert (finding.code, finding.oracle, finding.number, finding.method) == (code, kind, 2, "")
    assert finding.place == "host.py:3 in Progress"


# ---------------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("code", [*CODES, *RULES])
def test_every_code_is_explained(code: str) -> None:
    paragraphs = explain(code.lower())
    assert len(paragraphs) >= 3
    assert all(heading and text for heading, text in paragraphs)


def test_every_oracles_code_is_explained() -> None:
    assert {oracle.code for oracle in ORACLES.values()} <= {*CODES, *RULES}


def test_an_unknown_code_is_told_with_those_there_are() -> None:
    with pytest.raises(SynctapeError, match="no code 'H99'; codes are X1, X2, "):
        explain("H99")


def test_a_crash_in_this_process_is_the_crash_of_its_call() -> None:
    """Windows turns a fault in native code into an exception: the process lives on."""
    outcome = Outcome(OutcomeKind.CRASHED, None, detail="access violation reading 0x0000000000000000")
    (finding,) = judged(Run(Trace.from_calls(calls(GOOD[0]), outcomes=[outcome])))
    assert (finding.code, finding.number) == ("X1", 0)


def test_the_clean_host_is_clean() -> None:
    assert judged(play(trace(*GOOD), load_target("targets.clean:Host"))) == []
