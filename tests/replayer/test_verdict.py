"""Verdicts: what passes, fails, is fixed, and what could not be replayed and is therefore neither."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, calls, regression, save, trace

from recorder.calls import Call, Header, Opaque, Outcome, OutcomeKind, Trace
from recorder.contract import Level
from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from recorder.trace import dump_trace
from replayer.isolation import Here, Player
from replayer.player import Run
from replayer.sandbox import ExecutorError
from replayer.target import TargetError, load_target
from replayer.verdict import (
    Judging,
    Status,
    Verdict,
    mismatch,
    replay_file,
    replay_files,
    replay_trace,
    require_target,
)

NULL_TEXT = "raises_on_null_text"
LATE = ("Done(NULL, S_OK)", "Progress(NULL, 0, 1)")  # hostile


def here(name: str) -> Player:
    return Here(load_target(f"targets.{name}:Host"))


def verdict(recorded: Trace, host: str = "clean", **options: Any) -> Verdict:
    judging = Judging(**options)
    return replay_trace(recorded, here(host), judging.judge(recorded), level=judging.level)


# -------------------------------------------------------------------------------------------- ordinary traces


def test_nothing_found_is_a_pass() -> None:
    passed = verdict(trace(*GOOD))
    assert (passed.status, passed.findings, passed.message, passed.notes) == (Status.PASSED, (), "", ())
    assert passed.run is not None and passed.seconds > 0


def test_something_found_is_a_failure() -> None:
    failed = verdict(trace(*GOOD), NULL_TEXT)
    assert failed.status is Status.FAILED
    assert [finding.code for finding in failed.findings] == ["X3"]


def test_findings_beyond_the_level_are_noted_and_fail_nothing() -> None:
    for level, status in (("HOSTILE", Status.FAILED), ("LENIENT", Status.PASSED), ("CONFORMING", Status.PASSED)):
        answer = verdict(trace(*LATE), NULL_TEXT, level=Level[level])
        assert answer.status is status
        assert len(answer.findings) + len(answer.beyond) == 1


def test_an_oracle_can_be_left_out_and_a_limit_set() -> None:
    assert verdict(trace(*GOOD), NULL_TEXT, disabled=frozenset({"exception"})).status is Status.PASSED
    assert verdict(trace("Progress(NULL, 7, 7)"), "slow", slow=0.05).status is Status.FAILED
    assert verdict(trace("Progress(NULL, 7, 7)"), "slow").status is Status.PASSED


def test_recorded_answers_count_on_demand() -> None:
    recorded = Trace.from_calls(calls(*GOOD), outcomes=[Outcome(value=1)] * 4)
    assert verdict(recorded).status is Status.PASSED
    assert [finding.code for finding in verdict(recorded, match_results=True).findings] == ["X8", "X8"]


# ----------------------------------------------------------------------------------------------- not replayed


def test_a_trace_without_calls_is_no_pass() -> None:
    assert (verdict(trace()).status, verdict(trace()).message) == (Status.ERROR, "has no calls")


def test_a_trace_none_of_whose_calls_could_be_made_is_no_pass() -> None:
    answer = verdict(Trace.from_calls([Call("AddRef"), Call("Release")]))
    assert answer.status is Status.ERROR
    assert answer.message == ("none of its 2 calls could be made: AddRef is IUnknown's: a Python object has none")


def test_calls_left_out_are_noted() -> None:
    answer = verdict(
        Trace.from_calls([*calls(*GOOD), Call("Progress", (Opaque("list", "[]"), 0, 1)), Call("AddRef")])
    )
    assert answer.status is Status.PASSED
    assert answer.notes == ("1 of 6 calls could not be made: an argument was recorded only as it looked",)


class Broken:
    """A player that gives no run."""

    spec, interface = "broken", CALLBACK

    def __init__(self, error: Exception):
        self.error = error

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        raise self.error

    def close(self) -> None:
        pass

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def test_a_target_that_gives_no_instance_is_an_error_of_this_trace() -> None:
    recorded = trace(*GOOD)
    answer = replay_trace(recorded, Broken(TargetError("target broken: no")), Judging().judge(recorded))
    assert (answer.status, answer.message) == (Status.ERROR, "target broken: no")


def test_a_sandbox_that_fails_ends_it_all() -> None:
    recorded = trace(*GOOD)
    with pytest.raises(ExecutorError):
        replay_trace(recorded, Broken(ExecutorError("no process")), Judging().judge(recorded))


def test_a_target_is_asked_for_before_anything_is_replayed() -> None:
    require_target(here("clean"))
    with pytest.raises(TargetError, match="the factory raised"):
        require_target(here("factory_fails"))


# ------------------------------------------------------------------------------------------------ regressions


@pytest.mark.parametrize(
    ("recorded", "host", "options", "status", "message"),
    [
        (regression("X3", *GOOD), NULL_TEXT, {}, "failed", "X3 is still there"),
        (regression("X3", *GOOD), "clean", {}, "fixed", "X3 is gone"),
        (regression("X5", *GOOD), NULL_TEXT, {}, "failed", "X5 is gone, but there is X3"),
        (regression("X3", *LATE), NULL_TEXT, {"level": Level.LENIENT}, "passed", "X3 is still there"),
        (regression("X3"), NULL_TEXT, {}, "error", "has no calls"),
        (
            regression("X3", *GOOD, oracle="exception"),
            NULL_TEXT,
            {"disabled": frozenset({"exception"})},
            "error",
            "X3 was found by the oracle exception, which is off",
        ),
        (
            regression("X8", *GOOD, oracle="mismatch"),
            "clean",
            {},
            "error",
            "X8 shows only with the recorded answers matched",
        ),
        (
            regression("X3", *GOOD, flaky=True),
            "clean",
            {},
            "fixed",
            "X3 is gone, if it is not chance: it was seen only now and then",
        ),
    ],
)
def test_a_regression_says_what_became_of_its_finding(
    recorded: Trace, host: str, options: dict[str, Any], status: str, message: str
) -> None:
    answer = verdict(recorded, host, **options)
    assert (answer.status, answer.message) == (status, message)


def test_a_regression_of_which_calls_are_missing_is_not_called_fixed() -> None:
    finding = {"code": "X3"}
    header = Header(provenance={"finding": finding})
    recorded = Trace.from_calls([*calls(*GOOD), Call("Progress", (Opaque("list", "[]"), 0, 1))], header)
    answer = verdict(recorded)
    assert answer.status is Status.ERROR
    assert answer.message.startswith("1 of 5 calls could not be made")


def test_what_never_came_because_the_target_died_is_not_missing(tmp_path: Path) -> None:
    class Died(Broken):
        def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
            kinds = [OutcomeKind.RETURNED, OutcomeKind.CRASHED, OutcomeKind.NOT_RUN, OutcomeKind.NOT_RUN]
            return Run(Trace.from_calls(calls(*GOOD), outcomes=[Outcome(kind, None) for kind in kinds]))

    recorded = regression("X1", *GOOD)
    answer = replay_trace(recorded, Died(TargetError("")), Judging().judge(recorded))
    assert (answer.status, answer.notes) == (Status.FAILED, ())


# ------------------------------------------------------------------------------------------------- interfaces


def interface(name: str, iid: str, *methods: Method) -> Interface:
    return Interface(name, iid, methods, base=IUNKNOWN)


STEP = Method("Step", (Parameter("ulIndex", Type.U32),))
ONE, TWO = "{00000000-0000-0000-0000-000000000001}", "{00000000-0000-0000-0000-000000000002}"


@pytest.mark.parametrize(
    ("recorded", "target", "why"),
    [
        (interface("IA", ONE, STEP), interface("IA", ONE, STEP), ""),
        (interface("IA", ONE, STEP), interface("IB", ONE, Method("Step", (Parameter("n", Type.U32, True),))), ""),
        (
            interface("IA", ONE, STEP),
            interface("IB", TWO, STEP),
            f"was recorded from IA {ONE}, the target is used as IB {TWO}",
        ),
        (
            interface("IA", ONE, STEP),
            interface("IA", ONE, Method("Step", (Parameter("ulIndex", Type.U64),))),
            "describes IA otherwise than the target's interface does: see Step",
        ),
        (
            interface("IA", ONE, STEP),
            interface("IA", ONE, STEP, Method("More")),
            "describes IA otherwise than the target's interface does: see More",
        ),
    ],
)
def test_an_interface_that_does_not_fit_is_told(recorded: Interface, target: Interface, why: str) -> None:
    assert mismatch(recorded, target) == why


def test_a_trace_of_another_interface_is_an_error() -> None:
    other = interface("IA", ONE, STEP)
    answer = verdict(Trace.from_calls([Call("Step", (1,))], Header(interface=other)))
    assert answer.status is Status.ERROR and answer.message.startswith(f"was recorded from IA {ONE}")


# ------------------------------------------------------------------------------------------------------ files


def test_a_file_is_called_by_its_path(tmp_path: Path) -> None:
    path = save(tmp_path, "a", trace(*GOOD))
    answer = replay_file(path, here("clean"))
    assert (answer.name, answer.path, answer.status) == (path.as_posix(), path, Status.PASSED)
    assert replay_file(path, here("clean"), name="short").name == "short"


def test_a_file_that_is_no_trace_is_an_error_of_its_own(tmp_path: Path) -> None:
    good = save(tmp_path, "good", trace(*GOOD))
    (tmp_path / "bad.tape").write_text('{"calls": []}')
    answers = [*replay_files([tmp_path / "bad.tape", good], here("clean"))]
    assert [answer.status for answer in answers] == [Status.ERROR, Status.PASSED]
    assert answers[0].message == "is not a synctape trace (it looks like JSON)"


def test_a_damaged_file_is_replayed_as_far_as_it_is_sound(tmp_path: Path) -> None:
    path, lines = tmp_path / "night.tape", list[str]()
    path.write_bytes(dump_trace(trace(*GOOD))[:-20])
    answer = replay_file(path, here("clean"), warn=lines.append)
    assert answer.status is Status.PASSED and len(lines) == 1
    assert answer.notes[0].startswith("damaged: ")
