"""The strategies: every level keeps its promise, everything is reachable, and shrinking ends where it should."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
import sequences
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fuzz.strategies import SequenceFailed, call_sequences, fuzz_callback, mutated
from recorder import contract, hresult
from recorder.calls import SYNC_EVENT, Call, Enter, Handle, Header, Leave, Outcome, Trace
from recorder.contract import CONTRACTS, Contract, Level, Monitor, contract_of, fits, level_of
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.text import call_text, parse_call
from replayer.samples.send_receive import SendReceiveDialog

SYNC = contract_of(IMAPI_SYNC_PROGRESS_CALLBACK)
E_FAIL = hresult.parse("E_FAIL")
LEVELS = [*Level]

OUT, IN = Direction.OUT, Direction.IN
IMAPI_PROGRESS = Interface(
    "IMAPIProgress",
    "{0002031F-0000-0000-C000-000000000046}",
    (
        Method("Progress", tuple(Parameter(n, Type.U32) for n in ("ulValue", "ulCount", "ulTotal"))),
        Method("GetFlags", (Parameter("lpulFlags", Type.U32, direction=OUT),)),
        Method("GetMax", (Parameter("lpulMax", Type.U32, direction=OUT),)),
        Method("GetMin", (Parameter("lpulMin", Type.U32, direction=OUT),)),
        Method(
            "SetLimits",
            tuple(Parameter(n, Type.U32, True, IN, True) for n in ("lpulMin", "lpulMax", "lpulFlags")),
        ),
    ),
    base=IUNKNOWN,
)

EVERY_TYPE = Interface(
    "IEverything",
    "{00000000-1111-2222-3333-444444444444}",
    (
        *(Method(f"Take{t.name}", (Parameter("value", t),)) for t in Type if t is not Type.VOID),
        *(Method(f"Maybe{t.name}", (Parameter("value", t, nullable=True),)) for t in Type if t is not Type.VOID),
        Method("By", (Parameter("one", Type.U64, pointer=True), Parameter("two", Type.I64, True, pointer=True))),
        Method("Nothing"),
    ),
    base=IUNKNOWN,
)

RECORDED = [
    Call("QueryInterface", (IMAPI_SYNC_PROGRESS_CALLBACK.iid,)),
    *(Call("Progress", (f"Folder {n} of 9: 100 %s", n, 9), thread=1, time_ns=n) for n in range(9)),
    Call("Error", (hresult.parse("MAPI_E_NOT_FOUND"), "gone")),
    Call("Progress", (None, 9, 9)),
    Call("Done", (SYNC_EVENT, hresult.parse("MAPI_W_ERRORS_RETURNED"))),
    Call("Release"),
]
TRACE = Trace.from_calls(RECORDED)
SHORT = Trace.from_calls(
    [Call("Progress", ("a", 1, 2)), Call("Error", (E_FAIL, "b")), Call("Done", (None, E_FAIL))]
)


def quick(max_examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def find(strategy: st.SearchStrategy[list[Call]], wanted: Callable[[list[Call]], bool]) -> list[Call]:
    """The minimal sequence of a kind."""
    settings = hypothesis.settings(quick(3000), derandomize=False, suppress_health_check=[*HealthCheck])
    return hypothesis.find(strategy, wanted, settings=settings, random=Random(7))


def steps(contract: Contract, calls: list[Call]) -> Iterator[tuple[str, str]]:
    """Each call's method with the state in which it is made."""
    monitor = Monitor(contract)
    for number, call in enumerate(calls):
        yield monitor.state, call.method
        monitor.enter(number, call)
        monitor.leave(number, Outcome())


def broken(calls: list[Call]) -> set[str]:
    """The rules that a whole sequence breaks."""
    trace = Trace.from_calls(calls)
    events = [e if isinstance(e, Enter) else Leave(e.number, Outcome()) for e in trace.events]
    return {v.rule.id for v in contract.lint(Trace(trace.header, tuple(events), trace.threads))}


def drawn(strategy: st.SearchStrategy[list[Call]], count: int) -> list[list[Call]]:
    """`count` examples."""
    examples = []

    @quick(count)
    @given(strategy)
    def check(calls: list[Call]) -> None:
        examples.append(calls)

    check()
    return examples


# --- what is drawn ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("max_size", [1, 2, 3, 50])
def test_sequences_keep_to_their_level(level: Level, max_size: int) -> None:
    @quick(150)
    @given(call_sequences(level=level, max_size=max_size))
    def check(calls: list[Call]) -> None:
        assert 1 <= len(calls) <= max_size
        assert level_of(SYNC, calls) <= level
        if level is not Level.HOSTILE:
            assert calls[-1].method == "Done"

    check()


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_arguments_fit_the_interface(level: Level) -> None:
    @quick(200)
    @given(call_sequences(level=level))
    def check(calls: list[Call]) -> None:
        for call in calls:
            for parameter, value in zip(SYNC.interface.method(call.method).inputs, call.args, strict=True):
                assert fits(parameter, value)
                assert not isinstance(value, int) or abs(value) < 2**32
                assert not isinstance(value, str) or "\0" not in value
                if level is Level.CONFORMING:
                    assert value is not None or parameter.nullable
                if level is not Level.HOSTILE:
                    assert not isinstance(value, Handle) or value.token >= 0

    check()


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_sequences_go_through_the_text_form(level: Level) -> None:
    @quick(100)
    @given(call_sequences(level=level))
    def check(calls: list[Call]) -> None:
        for call in calls:
            assert parse_call(call_text(call, SYNC.interface), SYNC.interface) == call

    check()


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_every_transition_is_reached(level: Level) -> None:
    wanted = {s for s, (_, rule) in SYNC.transitions.items() if rule is None or level is Level.HOSTILE}
    wanted -= {s for s in wanted if s[0] == SYNC.released}  # the player makes no Release
    reached = {step for calls in drawn(call_sequences(level=level), 200) for step in steps(SYNC, calls)}
    assert reached == wanted


@pytest.mark.slow
def test_each_level_breaks_its_rules() -> None:
    def broken_at(level: Level) -> set[str]:
        return {rule for calls in drawn(call_sequences(level=level), 300) for rule in broken(calls)}

    assert broken_at(Level.CONFORMING) == set()
    assert broken_at(Level.LENIENT) == {"P6", "P7", "P8", "P10", "P18"}
    assert broken_at(Level.HOSTILE) == {"P6", "P7", "P8", "P10", "P18", "P12", "P13", "P14", "P15"}


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_long_sessions(level: Level) -> None:
    for calls in drawn(call_sequences(level=level, min_size=200, max_size=400), 3):
        assert 200 <= len(calls) <= 400
        assert level_of(SYNC, calls) <= level


def test_default_sequences_are_small() -> None:
    sizes = [len(calls) for calls in drawn(call_sequences(), 100)]
    assert sum(sizes) / len(sizes) < 20
    assert max(sizes) > 15


def test_bad_parameters() -> None:
    with pytest.raises(ValueError, match="level 'evil': it is one of conforming, lenient, hostile"):
        call_sequences(level="evil")
    with pytest.raises(ValueError, match="sizes 5 to 3"):
        call_sequences(min_size=5, max_size=3)
    with pytest.raises(ValueError, match="no recorded calls"):
        mutated([])
    with pytest.raises(ValueError, match="no recorded calls"):
        mutated([Trace.from_calls([Call("Release")])])
    other = Trace.from_calls([Call("GetMax")], Header(interface=IMAPI_PROGRESS))
    with pytest.raises(ValueError, match="different interfaces"):
        mutated([TRACE, other])
    with pytest.raises(ValueError, match="another interface than IMAPISyncProgressCallback"):
        fuzz_callback(Host, traces=[other])


# --- other interfaces -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("interface", [IMAPI_PROGRESS, EVERY_TYPE], ids=lambda i: i.name)
def test_an_interface_without_a_contract(interface: Interface, level: Level) -> None:
    @quick(150)
    @given(call_sequences(interface, level=level))
    def check(calls: list[Call]) -> None:
        assert calls
        for call in calls:
            for parameter, value in zip(interface.method(call.method).inputs, call.args, strict=True):
                assert fits(parameter, value)
                assert value is not None or parameter.nullable or level is Level.HOSTILE

    check()


def test_null_and_values_of_every_type() -> None:
    seen: dict[tuple[str, str], set[bool]] = {}
    for calls in drawn(call_sequences(EVERY_TYPE, min_size=30), 100):
        for call in calls:
            for parameter, value in zip(EVERY_TYPE.method(call.method).inputs, call.args, strict=True):
                seen.setdefault((call.method, parameter.name), set()).add(value is None)
    for method in EVERY_TYPE.calls:
        for parameter in method.inputs:
            can_be_null = parameter.pointer or not parameter.type.is_integer
            assert seen[method.name, parameter.name] == ({True, False} if can_be_null else {False})


def test_a_protocol_that_takes_two_calls_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """start -> Begin -> open -> Step* -> Flush -> flushed -> End -> start, and again."""
    methods = tuple(map(Method, ("Begin", "Step", "Flush", "End")))
    session = Interface("ISession", "{11111111-2222-3333-4444-555555555555}", methods, IUNKNOWN)
    protocol = Contract(
        session,
        start="start",
        ended=frozenset({"start"}),
        released=None,
        transitions={
            ("start", "Begin"): ("open", None),
            ("open", "Step"): ("open", None),
            ("open", "Flush"): ("flushed", None),
            ("flushed", "End"): ("start", None),
            ("start", "Step"): ("start", "P13"),
        },
        rules=SYNC.rules,
    )
    monkeypatch.setitem(CONTRACTS, session.iid, protocol)

    def names(calls: list[Call]) -> str:
        return " ".join(call.method for call in calls)

    @quick(150)
    @given(call_sequences(session, level="conforming", max_size=9))
    def check(calls: list[Call]) -> None:
        assert level_of(protocol, calls) is Level.CONFORMING
        assert calls[-1].method == "End"
        assert len(calls) <= 9

    check()
    again = find(call_sequences(session, level="conforming"), lambda calls: names(calls).count("Begin") == 2)
    assert names(again) == "Begin Flush End Begin Flush End"
    late = find(call_sequences(session), lambda calls: ("start", "Step") in steps(protocol, calls))
    assert late == [Call("Step")]


# --- recorded traces --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_mutated_sequences_keep_to_their_level(level: Level) -> None:
    kept = total = unchanged = 0

    @quick(120)
    @given(mutated([TRACE, SHORT], level=level))
    def check(calls: list[Call]) -> None:
        nonlocal kept, total, unchanged
        assert calls
        assert level_of(SYNC, calls) <= level
        assert all(call.thread in (0, 1) for call in calls)
        recorded = {(c.method, c.args) for c in (*RECORDED, *SHORT.calls)}
        kept += sum((c.method, c.args) in recorded for c in calls)
        total += len(calls)
        unchanged += [c.args for c in calls] in ([c.args for c in RECORDED[1:-1]], [c.args for c in SHORT.calls])

    check()
    assert kept > 0.5 * total  # changed in a few places
    assert unchanged


def test_mutated_sequences_are_cut_to_size() -> None:
    @quick(50)
    @given(mutated([TRACE], level="conforming", max_size=5))
    def check(calls: list[Call]) -> None:
        assert 1 <= len(calls) <= 5

    check()


def test_mutated_traces_of_another_interface() -> None:
    recorded = [Call("SetLimits", (0, 1000, None)), Call("Progress", (500, 0, 0)), Call("GetMax")]
    trace = Trace.from_calls(recorded, Header(interface=IMAPI_PROGRESS))
    assert recorded in drawn(mutated([trace]), 50)


# --- where shrinking ends ---------------------------------------------------------------------------------------


class Host:
    """Counts what it was told; the hosts below have one bug each."""

    def __init__(self) -> None:
        self.done = False
        self.failed = False
        self.reports = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.reports += 1
        return 0

    def Error(self, code: int, text: str | None) -> int:
        self.failed |= code < 0
        return 0

    def Done(self, handle: Any, code: int) -> int:
        self.done = True
        return 0


class Late(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.done:
            raise AssertionError("late")
        return 0


class AboveMax(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        assert index <= maximum
        return 0


class DividesByMax(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0 * index // maximum


class Thousand(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        assert index < 1000
        return 0


class NoBoundary(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        assert maximum < 123457
        return 0


class NoTextAfterError(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        assert text is not None or not self.failed
        return 0


class Formats(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        assert "%s" not in (text or "")
        return 0


class Buffer(Host):
    def Error(self, code: int, text: str | None) -> int:
        assert len(text or "") <= 300
        return 0


class NoErrorText(Host):
    def Error(self, code: int, text: str | None) -> int:
        assert text is not None
        return 0


class Warning(Host):
    def Error(self, code: int, text: str | None) -> int:
        assert code <= 1
        return 0


class ThirdReport(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.reports += 1
        assert self.reports < 3
        return 0


class LongStory(Host):
    def Done(self, handle: Any, code: int) -> int:
        assert not (self.failed and self.reports > 1 and handle is not None)
        return 0


MINIMAL = {
    Late: ("Done(NULL, S_OK)", "Progress(NULL, 0, 1)"),
    AboveMax: ("Progress(NULL, 1, 0)",),
    DividesByMax: ("Progress(NULL, 0, 0)",),
    Thousand: ("Progress(NULL, 1000, 1000)",),
    NoBoundary: ("Progress(NULL, 0, 123457)",),
    NoTextAfterError: ('Error(E_FAIL, "")', "Progress(NULL, 0, 1)"),
    Formats: ('Progress("%s", 0, 1)',),
    Buffer: (f'Error(E_FAIL, "{"0" * 301}")',),
    NoErrorText: ("Error(E_FAIL, NULL)",),
    Warning: ('Error(MAPI_W_NO_SERVICE, "")',),
    ThirdReport: ("Progress(NULL, 0, 1)",) * 3,
}
"""For each host the shortest sequence on which it fails, and the simplest, mildest arguments."""


def fails(host: type[Host]) -> Callable[[list[Call]], bool]:
    def wanted(calls: list[Call]) -> bool:
        instance = host()
        try:
            for call in calls:
                getattr(instance, call.method)(*call.args)
        except (AssertionError, ZeroDivisionError):
            return True
        return False

    return wanted


@pytest.mark.slow
@pytest.mark.parametrize("host", MINIMAL, ids=lambda h: h.__name__)
def test_shrinking_ends_at_the_minimal_sequence(host: type[Host]) -> None:
    assert find(call_sequences(), fails(host)) == list(sequences.calls(*MINIMAL[host]))


@pytest.mark.parametrize(
    "host", [Late, AboveMax, NoBoundary, NoTextAfterError, Formats, ThirdReport], ids=lambda h: h.__name__
)
@pytest.mark.slow
def test_a_recorded_sequence_shrinks_as_far(host: type[Host]) -> None:
    assert find(mutated([TRACE]), fails(host)) == list(sequences.calls(*MINIMAL[host]))


@pytest.mark.slow
def test_what_has_to_come_before_stays() -> None:
    calls = find(mutated([TRACE]), fails(LongStory))
    assert sorted(c.method for c in calls) == ["Done", "Error", "Progress", "Progress"]
    assert calls[-1] == Call("Done", (SYNC_EVENT, 0))
    assert Call("Error", (E_FAIL, "")) in calls


def test_shrinking_keeps_the_level() -> None:
    calls = find(call_sequences(level="conforming"), fails(ThirdReport))
    assert calls == sequences.calls(*["Progress(NULL, 0, 1)"] * 2, "Progress(NULL, 1, 1)", "Done(NULL, S_OK)")


# --- fuzz_callback ----------------------------------------------------------------------------------------------


class ThreeBugs(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        if self.done:
            raise RuntimeError("late")
        return 100 * index // maximum and 0

    def Done(self, handle: Any, code: int) -> int:
        super().Done(handle, code)
        return "finished" if code < 0 else 0  # type: ignore[return-value]


def failures(test: Callable[[], None]) -> list[SequenceFailed]:
    """What a fuzz_callback test finds."""
    try:
        test()
    except SequenceFailed as error:
        return [error]
    except ExceptionGroup as group:
        assert all(isinstance(error, SequenceFailed) for error in group.exceptions)
        return list(group.exceptions)  # type: ignore[arg-type]
    return []


test_a_correct_host_passes = fuzz_callback(SendReceiveDialog, level="lenient", settings=quick(100))

test_a_correct_host_passes_on_recorded_calls = fuzz_callback(
    SendReceiveDialog, level="conforming", traces=[TRACE], settings=quick(50)
)


@pytest.mark.slow
def test_each_bug_is_reported_with_its_minimal_sequence() -> None:
    minimal = {
        "RuntimeError": sequences.calls("Done(NULL, S_OK)", "Progress(NULL, 0, 1)"),
        "ZeroDivisionError": sequences.calls("Progress(NULL, 0, 0)"),
        "NoneType": sequences.calls("Done(NULL, E_FAIL)"),
    }
    settings = hypothesis.settings(quick(100), derandomize=False)
    runs = [failures(hypothesis.seed(seed)(fuzz_callback(ThreeBugs, settings=settings))) for seed in range(3)]
    for found in runs:
        assert len({type(error) for error in found}) == len(found)
        for error in found:
            assert list(error.trace.calls) == minimal[type(error.__cause__).__name__]
    assert {type(error.__cause__).__name__ for found in runs for error in found} == {*minimal}
    assert any(len(found) > 1 for found in runs)


def test_a_report_shows_what_to_know() -> None:
    settings = hypothesis.settings(quick(100), derandomize=False)
    (late,) = failures(hypothesis.seed(1)(fuzz_callback(Late, settings=settings)))
    line = Late.Progress.__code__.co_firstlineno + 2
    assert str(late) == (
        "X3 in Progress: AssertionError: late\n"
        f"  at {Path(__file__).name}:{line} in Progress\n"
        "  blame: provider (P13); a hardening note for the host\n"
        "  more: synctape explain X3\n"
        "    Done(NULL, S_OK)\n"
        "--> Progress(NULL, 0, 1)"
    )
    assert late.finding.number == 1
    assert late.__cause__
    frames = [frame.f_code for frame, _ in traceback.walk_tb(late.__cause__.__traceback__)]
    assert frames == [Late.Progress.__code__]  # the host's own, not the player's


def test_a_conforming_finding_blames_the_host() -> None:
    (found,) = failures(fuzz_callback(ThreeBugs, level="conforming", settings=quick(200)))
    assert found.finding.blame == "host"
    assert found.trace.calls == tuple(sequences.calls('Error(E_FAIL, "")', "Done(NULL, E_FAIL)"))


def test_recorded_calls_lead_to_the_bug() -> None:
    (found,) = failures(fuzz_callback(ThirdReport, traces=[TRACE], settings=quick(50)))
    assert isinstance(found.__cause__, AssertionError)
    assert found.trace.calls == tuple(sequences.calls(*MINIMAL[ThirdReport]))


@pytest.mark.slow
def test_runaway_recursion_and_exit_are_findings() -> None:
    class Deep(Host):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return self.Progress(text, index, maximum)

        def Done(self, handle: Any, code: int) -> int:
            raise SystemExit(3)

    found = failures(fuzz_callback(Deep, settings=quick(100)))
    assert sorted(error.finding.code for error in found) == ["X3", "X7"]


def test_a_slow_call_is_a_finding() -> None:
    class Slow(Host):
        def Error(self, code: int, text: str | None) -> int:
            time.sleep(0.02)
            return 0

    (found,) = failures(fuzz_callback(Slow, slow=0.01, settings=quick(20)))
    assert found.finding.code == "H18"


@pytest.mark.slow
def test_another_interface_is_fuzzed() -> None:
    class Meter:
        def __init__(self) -> None:
            self.limits = [1, 1000, 0]

        def Progress(self, value: int, count: int, total: int) -> int:
            return 0

        def GetFlags(self) -> tuple[int, int]:
            return 0, self.limits[2]

        def GetMax(self) -> tuple[int, int]:
            return 0, self.limits[1]

        def GetMin(self) -> tuple[int, int]:
            return 0, self.limits[0]

        def SetLimits(self, *limits: int | None) -> int:
            self.limits = [old if new is None else new for old, new in zip(self.limits, limits, strict=True)]
            return 0

    class BadMeter(Meter):
        def Progress(self, value: int, count: int, total: int) -> int:
            return value * 100 // self.limits[1] and 0

    assert failures(fuzz_callback(Meter, interface=IMAPI_PROGRESS, settings=quick(100))) == []
    (found,) = failures(fuzz_callback(BadMeter, interface=IMAPI_PROGRESS, settings=quick(4000)))
    assert isinstance(found.__cause__, ZeroDivisionError)
    assert str(found).endswith("    SetLimits(NULL, 0, NULL)\n--> Progress(0, 0, 0)")


def test_the_test_is_described() -> None:
    test = fuzz_callback(SendReceiveDialog, level="lenient")
    assert test.__name__ == "test_SendReceiveDialog"
    assert test.__doc__ == (
        "IMAPISyncProgressCallback: no lenient sequence of calls finds a fault in SendReceiveDialog."
    )


def test_pytest_collects_it(tmp_path: Path) -> None:
    (tmp_path / "test_hosts.py").write_text(
        f"import hypothesis, sys\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "hypothesis.settings.register_profile('fixed', derandomize=True, database=None)\n"
        "hypothesis.settings.load_profile('fixed')\n"
        "from fuzz.strategies import fuzz_callback\n"
        "from replayer.samples.send_receive import SendReceiveDialog\n"
        "class Host(SendReceiveDialog):\n"
        "    def Progress(self, text, index, maximum):\n"
        "        return index // maximum and 0\n"
        "test_good = fuzz_callback(SendReceiveDialog, level='lenient', max_examples=30)\n"
        "test_bad = fuzz_callback(Host, level='lenient', max_examples=100)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-v", "--tb=short", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout
    assert "test_hosts.py::test_good PASSED" in run.stdout
    assert "test_hosts.py::test_bad FAILED" in run.stdout
    assert "return index // maximum and 0" in run.stdout
    assert "X3_Progress: X3 in Progress: ZeroDivisionError" in run.stdout
    assert "--> Progress(NULL, 0, 0)" in run.stdout
    assert "blame: host (on calls that break P6, as real providers do)" in run.stdout
