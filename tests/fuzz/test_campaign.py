"""Campaigns on planted bugs: found, at the right place and level, minimal, and never the end of the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import ABORT_CODE, GOOD, limits_memory, recorded, trace
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.buckets import Found, report_text
from fuzz.campaign import Campaign, CampaignOptions, Progress, Summary
from recorder.calls import Call, Opaque, Trace
from recorder.contract import Level
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.text import call_text
from recorder.trace import read_trace
from replayer.endurance import GAUGES
from replayer.isolation import Isolated
from replayer.target import TargetError
from replayer.verdict import Status, replay_file

SEED = ("good", trace(*GOOD))


def search(
    name: str, runs: int = 1500, *, interface: Interface = CALLBACK, folder: Path | None = None, **options: object
) -> Summary:
    fixed = {"seed": 1, "max_time": 300.0, "max_runs": runs, "timeout": 1.0, "batch": 100, **options}
    seeds = [SEED] if interface is CALLBACK else []
    spec = name if ":" in name else f"targets.{name}:Host"
    return Campaign(spec, seeds, CampaignOptions(**fixed), interface=interface, folder=folder).run()  # type: ignore[arg-type]


def lines(found: Found) -> list[str]:
    return [call_text(call, CALLBACK) for call in found.calls]


def one(summary: Summary, code: str) -> Found:
    found = [f for f in summary.found if f.finding.code == code]
    assert len(found) == 1, [(f.finding.code, f.finding.method, f.finding.place) for f in summary.found]
    return found[0]


CONFORMING, LENIENT, HOSTILE = Level
NULL_TEXT, AT_END = "Progress(NULL, 0, 1)", "Done(NULL, S_OK)"
ERROR, FAILED = 'Error(0x80004005 E_FAIL, "")', "Done(NULL, 0x80004005 E_FAIL)"
EXPECTED: dict[str, tuple[str, str, str, Level, list[str]]] = {
    # code, method, place, level, shortest sequence
    "raises_on_null_text": ("X3", "Progress", "19 in Progress", CONFORMING, [NULL_TEXT]),
    "divides_by_max": ("X3", "Progress", "19 in Progress", LENIENT, ["Progress(NULL, 0, 0)"]),
    "raises_after_done": ("X3", "Progress", "19 in Progress", HOSTILE, [AT_END, "Progress(NULL, 0, 0)"]),
    "double_close": ("H14", "Done", "", CONFORMING, ["Done(sync-event, S_OK)"]),
    "leaks_handle": ("H14", "Done", "", CONFORMING, ["Done(sync-event, S_OK)"]),
    "thread_exception": ("X4", "", "36 in _store", CONFORMING, [AT_END]),
    "del_exception": ("X4", "", "31 in __del__", CONFORMING, [AT_END]),
    "segfaults": ("X1", "Progress", "20 in Progress", LENIENT, ["Progress(NULL, 1, 0)"]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_bug_is_found_and_minimised(name: str) -> None:
    code, method, place, level, minimal = EXPECTED[name]
    runs = {"X1": 150, "X4": 250}.get(code, 1500)
    found = one(search(name, runs), code)
    assert (found.finding.method, found.finding.level) == (method, level)
    assert found.finding.place == (f"{name}.py:{place}" if place else "")
    assert lines(found) == minimal
    assert not found.flaky and 0 < found.executions <= runs + 1 and found.seconds > 0
    assert found.finding.message and len(found.original) >= len(found.calls)


def test_a_broken_invariant_is_found() -> None:
    found = one(search("invariant_breaks"), "X5")
    assert (found.finding.level, found.finding.place) == (CONFORMING, "invariant_breaks.py:35 in invariant")
    assert [call.args[1] for call in found.calls] == [1, 0]


@pytest.mark.slow
def test_a_slow_call_is_found_and_a_replay_is_told_what_is_slow() -> None:
    seen = trace('Progress("x", 7, 40)', "Done(NULL, S_OK)")
    options = CampaignOptions(seed=1, max_time=60, slow=0.2, exit_first=True)
    found = one(Campaign("targets.slow:Host", [("seen", seen)], options).run(), "H18")
    assert lines(found) == ["Progress(NULL, 7, 7)"] and found.finding.level is CONFORMING
    assert found.options == ("--slow", "0.2") and not found.flaky


def test_an_exit_is_found_without_dying_of_it() -> None:
    summary = search("exits", 400)
    found = one(summary, "X7")
    (call,) = found.calls
    assert call.method == "Error" and isinstance(call.args[0], int) and call.args[0] < 0 and call.args[1] == ""
    assert found.finding.level is CONFORMING and found.finding.message == "exit code 3"
    assert summary.progress.deaths <= 3


def test_every_wrong_answer_of_one_method_is_told_apart() -> None:
    summary = search("bad_hresult", 800)
    assert sorted(lines(f)[-1] for f in summary.found) == [
        "Done(NULL, 0x80004005 E_FAIL)",
        "Done(sync-event, 0x80004005 E_FAIL)",
    ]


def test_the_rule_that_a_failure_breaks_is_named() -> None:
    summary = search("fails_conforming", 800)
    assert {(f.finding.code, f.finding.level) for f in summary.found} == {
        ("H6", CONFORMING),
        ("H7", CONFORMING),
        ("H10", LENIENT),
    }


def test_two_bugs_of_one_method_are_two_failures() -> None:
    summary = search("two_bugs", 600)
    messages = {f.finding.message.partition(":")[0]: lines(f) for f in summary.found}
    assert [line.lower() for line in messages["KeyError"]] == [ERROR.lower(), 'progress("a", 0, 1)']
    assert messages["IndexError"] == ["Progress(NULL, 2, 0)"]


# --- crashes and hangs ----------------------------------------------------------------------------------------


def test_another_bug_is_found_though_nearly_every_sequence_kills() -> None:
    summary = search("crashes_and_raises", 400, seed=3)
    assert {f.finding.code for f in summary.found} == {"X1", "X3"}
    assert lines(one(summary, "X3")) == ['Error(S_OK, "")', "Progress(NULL, 51, 0)"]
    assert summary.stopped == "runs" and summary.progress.runs == 400
    assert summary.progress.deaths > 20 and summary.progress.kept > 5


@pytest.mark.slow
def test_what_waits_in_native_code_is_a_hang_and_does_not_end_the_search() -> None:
    seen = trace('Error(E_FAIL, "gone")', "Done(NULL, E_FAIL)")
    options = CampaignOptions(seed=1, max_time=60, max_runs=6, timeout=0.3, batch=6)
    summary = Campaign("targets.waits:Host", [("seen", seen)], options).run()
    found = one(summary, "X2")
    assert [call.method for call in found.calls] == ["Error", "Done"]
    assert found.finding.place.startswith("waits.py:") and found.finding.message == "no answer for 0.3 s"
    assert summary.progress.runs == 6 and summary.progress.deaths


@pytest.mark.slow
def test_a_hang_that_takes_time_to_be_one_stays_well_beyond_it() -> None:
    endless = trace('Progress("x", 4294967295, 4294967295)', "Done(NULL, S_OK)")
    options = CampaignOptions(seed=1, max_time=60, max_runs=10, timeout=0.5, exit_first=True)
    found = one(Campaign("targets.spins_for_index:Host", [("endless", endless)], options).run(), "X2")
    assert lines(found) == ["Progress(NULL, 4294967295, 4294967295)"] and not found.flaky
    assert found.options == ("--timeout", "0.5")


@pytest.mark.slow
def test_a_hang_is_found_with_its_place_and_does_not_end_the_search() -> None:
    bad = trace('Progress("100% of %s", 1, 2)', "Done(NULL, S_OK)")
    options = CampaignOptions(seed=1, max_time=60, max_runs=300, timeout=0.4, batch=100)
    summary = Campaign("targets.hangs_on_text:Host", [("bad", bad)], options).run()
    found = one(summary, "X2")
    assert len(found.calls) == 1 and "%s" in str(found.calls[0].args[0])
    assert "hangs_on_text.py" in found.finding.place and "hangs_on_text" in found.stack
    assert summary.progress.runs == 300 and summary.stopped == "runs"


@pytest.mark.slow
@limits_memory
def test_memory_that_runs_out_is_a_finding() -> None:
    long = Trace.from_calls([Call("Progress", ("x" * 70_000, 1, 2)), Call("Done", (None, 0))])
    options = CampaignOptions(seed=1, max_time=60, max_runs=100, memory=150, batch=100)
    summary = Campaign("targets.memory_hog:Host", [("long", long)], options).run()
    assert one(summary, "X6").finding.method == "Progress"
    assert summary.progress.runs == 100


@pytest.mark.slow
def test_a_clean_host_gives_nothing() -> None:
    for host in ("clean", "replayer.samples.send_receive:SendReceiveDialog"):
        assert search(host, 4000).found == []


def test_the_state_bug_of_the_sample_is_found_though_its_seed_passes() -> None:
    found = one(search("replayer.samples.send_receive:HastySendReceiveDialog", 20_000, exit_first=True), "X3")
    assert len(found.calls) == 3 and "ZeroDivisionError" in found.finding.message


def test_the_search_goes_on_after_a_finding_unless_told_to_stop() -> None:
    many = search("bad_hresult")
    assert len(many.found) >= 2 and many.stopped == "runs"
    first = search("bad_hresult", exit_first=True)
    assert len(first.found) == 1 and first.stopped == "first failure"


def test_the_level_bounds_what_is_reported() -> None:
    assert search("raises_after_done", level=Level.LENIENT).found == []
    assert search("divides_by_max", level=Level.CONFORMING).found == []


def test_an_oracle_can_be_left_out() -> None:
    assert search("double_close", 600, disabled=frozenset({"handle"})).found == []


@pytest.mark.parametrize(
    "name",
    [
        "raises_after_done",
        pytest.param("exits", marks=pytest.mark.slow),
        pytest.param("crashes_and_raises", marks=pytest.mark.slow),
    ],
)
def test_a_seed_gives_the_same_run(name: str) -> None:
    def facts() -> object:
        summary = search(name, 100, seed=9)
        progress = summary.progress
        findings = [(f.finding, f.calls, f.original, f.executions, f.count) for f in summary.found]
        assert findings
        return findings, progress.runs, progress.calls, progress.kept, progress.deaths, progress.applied

    assert facts() == facts()


def test_the_summary_tells_how_it_went_over_time() -> None:
    summary = search("clean", 300)
    assert [s["seconds"] for s in summary.history] == sorted(s["seconds"] for s in summary.history)
    assert len(summary.history) > 1 and summary.history[0]["runs"] < 300
    assert summary.history[-1] == summary.progress.snapshot()


def test_all_levels_are_searched_and_the_share_that_ends_is_counted() -> None:
    progress = search("clean").progress
    assert set(progress.levels) == {"conforming", "lenient", "hostile"}
    assert progress.runs == 1500 and 0 < progress.ended < progress.runs
    assert progress.kept and progress.earned and progress.calls > progress.runs
    assert progress.sites >= progress.covered > 0


def test_the_corpus_is_replayed_first_and_a_failing_trace_is_a_finding() -> None:
    summary = Campaign(
        "targets.divides_by_max:Host",
        [("bad", trace('Progress("x", 0, 0)', "Done(NULL, S_OK)"))],
        CampaignOptions(seed=1, max_time=30, max_runs=100, exit_first=True),
    ).run()
    assert summary.progress.corpus == 1 and summary.progress.runs == 0
    assert one(summary, "X3").origin == "bad"


def test_findings_are_files_that_replay_and_read(tmp_path: Path) -> None:
    summary = search("raises_after_done", 600, folder=tmp_path / "findings")
    found = one(summary, "X3")
    path = summary.files[found.name]
    kept = read_trace(path)
    assert [c._replace(time_ns=0) for c in kept.calls] == found.calls
    assert kept.header.provenance["finding"]["code"] == "X3"
    text = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "TypeError" in text and "raises_after_done.py" in text and f"synctape replay {path.as_posix()}" in text
    assert "executions" in text and any(line.startswith(">") for line in text.splitlines())
    with Isolated("targets.raises_after_done:Host") as player:
        assert replay_file(path, player).status is Status.FAILED
    with Isolated("targets.clean:Host") as player:
        assert replay_file(path, player).status is Status.FIXED


def test_another_interface_is_fuzzed_with_no_other_change() -> None:
    found = one(search("targets.imapi_progress:Host", interface=IMAPI_PROGRESS), "X3")
    assert found.calls == [Call("Progress", (0, 0, 0))] and "ZeroDivisionError" in found.finding.message


def test_a_bad_target_is_an_error_before_anything_is_played() -> None:
    for name in ("module_raises", "factory_fails", "wrong_methods", "nowhere"):
        with pytest.raises(TargetError, match=name):
            search(name, 10)


def test_ctrl_c_gives_the_summary() -> None:
    pressed: list[bool] = []

    def interrupt(progress: object) -> None:
        if campaign.progress.runs >= 200 and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    options = CampaignOptions(seed=1, max_time=60, batch=100)
    campaign = Campaign("targets.clean:Host", [SEED], options, watch=interrupt)
    summary = campaign.run()
    assert summary.stopped == "interrupted" and summary.progress.runs >= 200


def test_hypothesis_ci_profile_does_not_make_a_campaign_repeat_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    def kept(seed: int) -> int:
        return search("clean", 500, seed=seed).progress.calls

    assert kept(1) != kept(2)


def test_an_empty_trace_is_no_reason_to_stop() -> None:
    summary = Campaign(
        "targets.clean:Host", [("empty", Trace())], CampaignOptions(seed=1, max_time=30, max_runs=100)
    ).run()
    assert summary.progress.runs == 100


# --- what is kept ---------------------------------------------------------------------------------------------


def test_a_failure_is_kept_at_the_lowest_level_with_the_sequence_it_was_first_seen_in() -> None:
    """The recorded sequence breaks a rule; the bug is there without."""
    seen = trace('Progress("a", 3, 1)', "Progress(NULL, 3, 1)", "Done(NULL, S_OK)")
    options = CampaignOptions(seed=1, max_time=30, max_runs=50, exit_first=True)
    found = one(Campaign("targets.raises_on_null_text:Host", [("seen", seen)], options).run(), "X3")
    assert found.finding.level is CONFORMING and lines(found) == [NULL_TEXT]
    assert found.original == list(seen.calls) and found.origin == "seen"


@pytest.mark.slow
def test_what_does_not_fail_each_time_is_marked_or_only_counted() -> None:
    found = one(search("fails_sometimes", 400), "X3")
    assert found.flaky and found.tries == 10 and found.failed in (1, 2)  # each seventh host fails
    assert f"flaky:      it failed in {found.failed} of 10 tries" in report_text(found, CALLBACK, "x:Y", Path("f"))
    few = one(search("fails_sometimes", 400, tries=7), "X3")
    assert (few.failed, few.tries) == (1, 7)
    sure = one(search("divides_by_max", 400), "X3")
    assert not sure.flaky and sure.failed == sure.tries == 2


DIES_NOW_AND_THEN = """
import os
from pathlib import Path

COUNTED = Path(os.environ["COUNTED"])


class Host:
    late = False

    def Progress(self, text, index, maximum):
        if self.late:
            with COUNTED.open("ab") as counted:
                counted.write(b".")
            if COUNTED.stat().st_size % 3 == 1:
                os.abort()
        return 0

    def Error(self, result, text):
        return 0

    def Done(self, handle, result):
        self.late = True
        return 0
"""


def test_a_sequence_that_ends_its_process_now_and_then_holds_no_call_behind_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each third late Progress aborts: whatever the minimiser tries last, calls behind it were never made."""
    (tmp_path / "dies_now_and_then.py").write_text(DIES_NOW_AND_THEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    seen = trace(AT_END, NULL_TEXT, AT_END, AT_END, NULL_TEXT, AT_END)
    for seed in range(1, 4):
        options = CampaignOptions(seed=seed, max_time=60, max_runs=30, timeout=5.0)
        found = one(Campaign("dies_now_and_then:Host", [("seen", seen)], options).run(), ABORT_CODE)
        assert found.flaky and found.finding.number == len(found.calls) - 1, lines(found)
        assert lines(found)[-1].startswith("Progress(")
        (tmp_path / "counted").write_bytes(b"." * seed)


def test_an_interrupted_minimising_leaves_what_it_has(tmp_path: Path) -> None:
    ticks = 0

    def interrupt(progress: object) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 2:  # the first is when the failure is taken in hand
            raise KeyboardInterrupt

    seen = trace(*GOOD[:-1], 'Progress("b", 0, 0)', "Done(NULL, S_OK)")
    for stop_at in (1, 2):
        ticks = 2 - stop_at
        options = CampaignOptions(seed=1, max_time=30)
        folder = tmp_path / str(stop_at)
        campaign = Campaign(
            "targets.divides_by_max:Host", [("seen", seen)], options, folder=folder, watch=interrupt
        )
        summary = campaign.run()
        assert summary.stopped == "interrupted"
        (path,) = folder.glob("*.tape")
        assert summary.files == {one(summary, "X3").name: path}


# --- budgets, seeds, targets ----------------------------------------------------------------------------------


def test_the_time_ends_it() -> None:
    options = CampaignOptions(seed=1, max_time=1.5)
    summary = Campaign("targets.clean:Host", [SEED], options).run()
    assert summary.stopped == "time" and summary.progress.runs and summary.progress.seconds < 30


def test_recorded_calls_that_cannot_be_made_do_no_harm() -> None:
    odd = Trace.from_calls(
        [
            Call("AddRef"),
            Call("Progress", (Opaque("datetime", "now"), 1, 2)),
            Call("Progress", ("too few",)),
            *trace(*GOOD).calls,
            Call("Release"),
        ]
    )
    summary = Campaign("targets.clean:Host", [("odd", odd)], CampaignOptions(seed=1, max_runs=500)).run()
    assert (summary.progress.unconfirmed, summary.progress.runs) == (0, 500)
    assert {f.finding.level for f in summary.found} <= {HOSTILE}  # the wrong number of arguments, as recorded


def test_a_target_that_gives_no_more_instances_ends_it_with_one_line() -> None:
    with pytest.raises(TargetError, match=r"the factory raised RuntimeError: no more windows") as caught:
        search("factory_fails_later")
    assert "\n" not in str(caught.value)


def test_progress_is_told_as_it_goes() -> None:
    seen: list[int] = []
    options = CampaignOptions(seed=1, max_time=60, max_runs=500, batch=100)
    Campaign("targets.clean:Host", [SEED], options, watch=lambda progress: seen.append(progress.runs)).run()
    assert seen == sorted(seen) and {32, 32 + 64, 32 + 64 + 100, 500} <= set(seen)


def test_announced_failures_are_written_by_then(tmp_path: Path) -> None:
    told: list[bool] = []
    Campaign(
        "targets.two_bugs:Host",
        [],
        CampaignOptions(seed=1, max_time=60, max_runs=300),
        folder=tmp_path,
        announce=lambda found, path: told.append(path is not None and path.is_file() and bool(found.calls)),
    ).run()
    assert len(told) >= 2 and all(told)


@pytest.mark.native
@pytest.mark.parametrize(
    ("name", "code", "method", "minimal"),
    [
        ("null_text", "X1", "Progress", ["Progress(NULL, 0, 1)"]),
        ("abort", ABORT_CODE, "Error", ['Error(0x00000001 S_FALSE, "")']),
        ("leaky_handle", "H14", "Done", ["Done(sync-event, S_OK)"]),
        ("hang", "X2", "Progress", None),
    ],
)
def test_a_native_bug_is_found(
    library: Callable[[str], Path], name: str, code: str, method: str, minimal: list[str] | None
) -> None:
    found = one(search(f"{library(name)}:create", 150, timeout=0.4, exit_first=True), code)
    assert found.finding.method == method
    assert minimal is None or lines(found) == minimal


@pytest.mark.parametrize("share", [1.0, 0.9])
def test_the_corpus_takes_turns_with_the_search_unless_it_has_a_share_of_the_time(share: float) -> None:
    seen: list[int] = []
    seeds = [(f"good {number}", trace(*GOOD)) for number in range(40)]
    options = CampaignOptions(seed=1, max_time=300.0, max_runs=64, batch=32, corpus_share=share)
    watched: list[Progress] = []
    campaign = Campaign(
        "targets.raises_after_done:Host",
        seeds,
        options,
        watch=watched.append,
        announce=lambda found, path: seen.append(watched[-1].corpus),
    )
    progress = campaign.run().progress
    assert (progress.corpus, progress.runs, progress.unplayed) == (40, 64, 0)
    assert seen[0] == 40 if share < 1 else seen[0] < 20


def test_what_a_trace_of_the_corpus_shows_in_its_recorded_order_is_kept_as_a_schedule() -> None:
    boxed = recorded("0( 0) 1( 2( 2) 1)", {1: "Error(E_FAIL, NULL)"}, threads="000")
    options = CampaignOptions(seed=1, max_time=300.0, max_runs=1, batch=1)
    campaign = Campaign("targets.threads.callback_under_lock:Host", [("boxed", boxed)], options)
    (found,) = campaign.run().found
    assert (found.finding.code, found.scheduled, found.flaky) == ("X14", True, False)
    assert [(call.method, call.switches) for call in found.calls] == [("Error", (-1,)), ("Progress", ())]


@pytest.mark.native
def test_a_correct_native_host_gives_nothing(library: Callable[[str], Path]) -> None:
    growing = frozenset(gauge.oracle for gauge in GAUGES)  # what they suspect depends on the system, too
    summary = search(f"{library('good_host')}:create", 600, disabled=growing)
    assert (summary.found, summary.progress.unconfirmed, summary.progress.runs) == ([], 0, 600)
