"""Campaigns on planted bugs: found, at the right place and level, minimal, and never the end of the search."""

from __future__ import annotations

from pathlib import Path

import pytest
from sequences import GOOD, trace
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.buckets import Found
from fuzz.campaign import Campaign, CampaignOptions, Summary
from recorder.calls import Call, Trace
from recorder.contract import Level
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.trace import read_trace
from replayer.isolation import Isolated
from replayer.target import TargetError
from replayer.verdict import Status, replay_file

SEED = ("good", trace(*GOOD))


def search(
    name: str, runs: int = 1500, *, interface: Interface = CALLBACK, folder: Path | None = None, **options: object
) -> Summary:
    fixed = {"seed": 1, "max_time": 60.0, "max_runs": runs, "timeout": 1.0, "batch": 100, **options}
    seeds = [SEED] if interface is CALLBACK else []
    spec = name if ":" in name else f"targets.{name}:Host"
    return Campaign(spec, seeds, CampaignOptions(**fixed), interface=interface, folder=folder).run()  # type: ignore[arg-type]


def one(summary: Summary, code: str) -> Found:
    found = [f for f in summary.found if f.finding.code == code]
    assert len(found) == 1, [(f.finding.code, f.finding.method, f.finding.place) for f in summary.found]
    return found[0]


EXPECTED: dict[str, tuple[str, str, Level, int]] = {  # code, method, level, calls of the shortest sequence
    "raises_on_null_text": ("X3", "Progress", Level.CONFORMING, 1),
    "divides_by_max": ("X3", "Progress", Level.LENIENT, 1),
    "raises_after_done": ("X3", "Progress", Level.HOSTILE, 2),
    "invariant_breaks": ("X5", "Progress", Level.CONFORMING, 2),
    "double_close": ("H14", "Done", Level.CONFORMING, 1),
    "leaks_handle": ("H14", "Done", Level.CONFORMING, 1),
    "thread_exception": ("X4", "", Level.CONFORMING, 1),
    "del_exception": ("X4", "", Level.CONFORMING, 1),
    "exits": ("X7", "Error", Level.CONFORMING, 1),
    "segfaults": ("X1", "Progress", Level.LENIENT, 1),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_bug_is_found_and_minimised(name: str) -> None:
    code, method, level, size = EXPECTED[name]
    runs = 250 if code in ("X1", "X7", "X4") else 1500
    found = one(search(name, runs), code)
    assert (found.finding.method, found.finding.level, len(found.calls)) == (method, level, size)
    assert not found.flaky and found.executions <= runs
    assert found.finding.message


def test_a_hang_is_found_with_its_place_and_does_not_end_the_search() -> None:
    bad = trace('Progress("100% of %s", 1, 2)', "Done(NULL, S_OK)")
    options = CampaignOptions(seed=1, max_time=60, max_runs=300, timeout=0.4, batch=100)
    summary = Campaign("targets.hangs_on_text:Host", [("bad", bad)], options).run()
    found = one(summary, "X2")
    assert len(found.calls) == 1 and "%s" in str(found.calls[0].args[0])
    assert "hangs_on_text.py" in found.finding.place and "hangs_on_text" in found.stack
    assert summary.progress.runs == 300 and summary.stopped == "runs"


def test_memory_that_runs_out_is_a_finding() -> None:
    long = Trace.from_calls([Call("Progress", ("x" * 70_000, 1, 2)), Call("Done", (None, 0))])
    options = CampaignOptions(seed=1, max_time=60, max_runs=100, memory=150, batch=100)
    summary = Campaign("targets.memory_hog:Host", [("long", long)], options).run()
    assert one(summary, "X6").finding.method == "Progress"
    assert summary.progress.runs == 100


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


@pytest.mark.parametrize("name", ["raises_after_done", "exits"])
def test_a_seed_gives_the_same_run(name: str) -> None:
    def facts() -> object:
        summary = search(name, 300, seed=9)
        progress = summary.progress
        findings = [(f.finding, f.calls, f.executions) for f in summary.found]
        return findings, progress.runs, progress.kept, dict(progress.levels)

    assert facts() == facts()


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
    assert "TypeError" in text and "raises_after_done.py" in text and f"synctape replay {path}" in text
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
