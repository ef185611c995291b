"""The pytest plugin: every trace below the collected paths is a test, and nothing happens without a target."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sequences import GOOD, NULL_READ, regression, save, trace

from recorder.calls import Outcome, Trace
from recorder.trace import write_trace

pytest_plugins = "pytester"

TESTS = Path(__file__).parents[1]
LATE = ("Done(NULL, S_OK)", "Progress(NULL, 0, 1)")

HOST = """
class Host:
    def Progress(self, text, index, maximum):
        self.length = len(text)
        return 0
    def Error(self, result, text):
        return 0
    def Done(self, handle, result):
        return 0
"""
DEADLY = "import ctypes\n" + HOST.replace("len(text)", "index <= maximum or ctypes.string_at(0)")


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three traces, one of them a regression, and two hosts."""
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile(host_of_project=HOST, deadly_host_of_project=DEADLY)
    tapes = pytester.path / "tests" / "tapes"
    save(tapes, "good", trace(*GOOD))
    save(tapes, "plain", trace('Progress("step", 0, 1)'))
    save(tapes / "kept", "null", regression("X1", *GOOD, oracle="crash"))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout -p no:xdist")  # much to import
    return pytester.path


def play(pytester: pytest.Pytester, *arguments: str, host: str = "host_of_project") -> pytest.RunResult:
    return pytester.runpytest_inprocess("--synctape-target", f"{host}:Host", *arguments)


# ---------------------------------------------------------------------------------------------- with a target


def test_every_trace_is_an_item_with_a_stable_id(pytester: pytest.Pytester) -> None:
    result = play(pytester, "--collect-only", "-q", host="deadly_host_of_project")
    assert [line for line in result.outlines if "::" in line] == [
        "tests/tapes/good.tape::replay",
        "tests/tapes/kept/null.tape::replay",
        "tests/tapes/plain.tape::replay",
    ]


def test_only_what_is_below_the_given_paths_is_collected(pytester: pytest.Pytester) -> None:
    play(pytester, "tests/tapes/plain.tape").assert_outcomes(passed=1)
    play(pytester, "tests/tapes/kept", host="deadly_host_of_project").assert_outcomes(passed=1)


def test_ordinary_tests_run_beside_the_traces(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    play(pytester, host="deadly_host_of_project").assert_outcomes(passed=4)


def test_a_failure_shows_what_was_found_and_the_calls(pytester: pytest.Pytester) -> None:
    result = play(pytester, "tests/tapes/good.tape", "-rA")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ tests/tapes/good.tape _*",
            "X3  TypeError: object of type 'NoneType' has no len()",
            "    in call 1, Progress at host_of_project.py:3 in Progress; blame: host",
            '  0  Progress("Downloading", 0, 2) -> S_OK',
            "> 1  Progress(NULL, 1, 2) -> raised: TypeError: object of type 'NoneType' has no len()",
            "replay it: synctape replay tests/tapes/good.tape --target host_of_project:Host",
            "FAILED tests/tapes/good.tape::replay - X3: TypeError: *",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_crash_of_the_target_is_a_failure_and_the_session_goes_on(pytester: pytest.Pytester) -> None:
    save(pytester.path / "tests", "a", trace("Progress(NULL, 2, 1)"))
    result = play(pytester, "--junitxml=junit.xml", host="deadly_host_of_project")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([f"> 0  Progress(NULL, 2, 1) -> crashed: {NULL_READ}"])
    junit = (pytester.path / "junit.xml").read_text()
    assert f"crashed: {NULL_READ}" in junit and '<property name="synctape" value="passed"' in junit


def test_a_fixed_regression_passes_and_says_so(pytester: pytest.Pytester) -> None:
    result = play(pytester, "-rA", "--junitxml=junit.xml", host="deadly_host_of_project")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*tests/tapes/kept/null.tape*", "*synctape*", "FIXED: X1 is gone"])
    assert '<property name="synctape" value="fixed"' in (pytester.path / "junit.xml").read_text()


def test_a_trace_that_cannot_be_replayed_fails_in_a_line(pytester: pytest.Pytester) -> None:
    (pytester.path / "tests" / "bad.tape").write_text('{"calls": []}')
    result = play(pytester, "tests/bad.tape", "tests/tapes/plain.tape")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "could not be replayed: is not a synctape trace (it looks like JSON)",
            "FAILED tests/bad.tape::replay - could*",
        ]
    )


def test_a_damaged_trace_is_replayed_and_noted(pytester: pytest.Pytester) -> None:
    path = pytester.path / "tests" / "tapes" / "plain.tape"
    path.write_bytes(path.read_bytes()[:-12])
    result = play(pytester, str(path), "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["damaged: *"])


# ---------------------------------------------------------------------------------------------------- options


def test_every_option_can_stand_in_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        """
        [pytest]
        synctape_target = deadly_host_of_project:Host
        synctape_level = lenient
        synctape_timeout = 20
        synctape_in_process = true
        synctape_match_results = true
        synctape_interface = IMAPISyncProgressCallback
        """
    )
    write_trace(
        Trace.from_calls(trace(*GOOD).calls, outcomes=[Outcome(value=1)] * 4),
        pytester.path / "tests" / "answers.tape",
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3, failed=1)  # the others were recorded as not run: nothing to match
    result.stdout.fnmatch_lines(
        [
            "X8  Progress returned 0x00000000 S_OK, recorded 0x00000001 S_FALSE",
            "replay it: *:Host --timeout 20 --interface IMAPISyncProgressCallback --match-results",
        ]
    )


def test_the_level_that_fails_can_be_lowered(pytester: pytest.Pytester) -> None:
    save(pytester.path / "tests", "late", trace(*LATE))
    play(pytester, "tests/late.tape").assert_outcomes(failed=1)
    result = play(pytester, "tests/late.tape", "--synctape-level", "lenient", "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["note: X3 (hostile) TypeError: *"])


def test_a_hang_ends_after_the_timeout(pytester: pytest.Pytester) -> None:
    source = HOST.replace("self.length = len(text)", "while True: pass")
    (pytester.path / "hanging_host_of_project.py").write_text(source)
    result = play(pytester, "tests/tapes/plain.tape", "--synctape-timeout=0.3", host="hanging_host_of_project")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['> 0  Progress("step", 0, 1) -> hung: no answer for 0.3 s'])


def test_in_process_starts_no_child(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.isolation.Sandbox", lambda *_, **__: pytest.fail("a child was started"))
    play(pytester, "tests/tapes/plain.tape", "--synctape-in-process").assert_outcomes(passed=1)


def test_one_child_serves_the_session_and_ends_with_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from replayer.isolation import Isolated

    lives: list[str] = []

    class Counted(Isolated):
        def __init__(self, *arguments: Any, **options: Any):
            lives.append("opened")
            super().__init__(*arguments, **options)

        def close(self) -> None:
            lives.append("closed")
            super().close()

    monkeypatch.setattr("replayer.isolation.Isolated", Counted)
    play(pytester, host="deadly_host_of_project").assert_outcomes(passed=3)
    assert lives == ["opened", "closed"]


# ------------------------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--synctape-target=nowhere_at_all:Host"], "target nowhere_at_all:Host: no module 'nowhere_at_all' *"),
        (["--synctape-target=host_of_project:Hots"], "target host_of_project:Hots: host_of_project has no 'Hots'"),
        (["--synctape-target=textwrap:dedent"], "target textwrap:dedent: the factory raised TypeError: *"),
        (["--synctape-target=string:Formatter"], "target string:Formatter: Formatter has no method Progress, *"),
        (
            ["--synctape-target=host_of_project:Host", "--synctape-level=friendly"],
            "level 'friendly' is none of conforming, lenient, hostile",
        ),
        (
            ["--synctape-target=host_of_project:Host", "--synctape-timeout=soon"],
            "timeout 'soon' is no number of seconds above 0",
        ),
        (
            ["--synctape-target=host_of_project:Host", "--synctape-interface=ISync"],
            "unknown interface 'ISync'; *",
        ),
    ],
)
def test_a_bad_target_or_option_is_one_usage_error(
    pytester: pytest.Pytester, arguments: list[str], said: str
) -> None:
    result = pytester.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line.strip()]
    assert len(errors) == 1
    result.stderr.fnmatch_lines([f"ERROR: synctape: {said}"])


# ------------------------------------------------------------------------------------------- without a target


def test_without_a_target_nothing_happens(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_without_a_target_nothing_of_synctape_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    code = (
        "import sys, pytest; code = pytest.main(['-q']);"
        "heavy = {'msgpack', 'click', 'rich', 'recorder'} & {*sys.modules};"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


# ----------------------------------------------------------------------------------------------- pytest-xdist


@pytest.fixture
def xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xdist")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:timeout")


def test_it_works_under_xdist(pytester: pytest.Pytester, xdist: None) -> None:
    save(pytester.path / "tests", "a", trace("Progress(NULL, 2, 1)"))
    result = pytester.runpytest_subprocess("-n2", "--synctape-target", "deadly_host_of_project:Host")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [f"> 0  Progress(NULL, 2, 1) -> crashed: {NULL_READ}", f"FAILED tests/a.tape::replay - X1  {NULL_READ}"]
    )


def test_a_bad_target_is_one_usage_error_under_xdist(pytester: pytest.Pytester, xdist: None) -> None:
    result = pytester.runpytest_subprocess("-n2", "--synctape-target", "nowhere_at_all:Host")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: synctape: target nowhere_at_all:Host: no module 'nowhere_at_all' *"])
