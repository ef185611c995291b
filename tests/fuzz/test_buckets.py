"""Failures as files: a trace that replays as a regression, a text to read, nothing of others overwritten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from campaigns import campaign, found_scheduled
from sequences import CALLBACK, QuietHost, calls, save, trace
from targets import raises_after_done

from fuzz.buckets import Found, check_folder, finding_trace, report_text, sequence_lines, write_finding
from fuzz.told import announcement, json_lines
from fuzz.verdict import CampaignVerdict
from recorder.contract import Level
from recorder.errors import TraceError
from recorder.trace import read_trace
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.target import object_target
from replayer.verdict import Status, replay_file

SPEC = "targets.raises_after_done:Host"
MINIMAL = ("Done(NULL, S_OK)", "Progress(NULL, 0, 1)")


def found(*lines: str) -> Found:
    """A failure as a campaign has it."""
    sequence = calls(*lines)
    run = Here(object_target(raises_after_done.Host)).play(sequence)
    (finding,) = Judge.of(run.trace).findings(run)
    original = [*calls('Progress("Inbox", 1, 2)'), *sequence]
    return Found(finding, sequence, original, 1.5, 300, "batch 2", run=run)


@pytest.fixture(scope="module")
def late() -> Found:
    return found(*MINIMAL)


def test_the_trace_is_a_regression_that_tells_its_finding(late: Found) -> None:
    kept = finding_trace(late, CALLBACK, SPEC)
    assert list(kept.calls) == late.calls
    assert kept.header.target == {"spec": SPEC}
    provenance = kept.header.provenance
    assert (provenance["kind"], provenance["minimised"], provenance["origin"]) == ("finding", True, "batch 2")
    told = provenance["finding"]
    assert (told["code"], told["oracle"], told["method"]) == ("X3", "exception", "Progress")
    assert (told["level"], told["seconds"], told["executions"], told["flaky"]) == ("hostile", 1.5, 300, False)
    assert told["fingerprint"] == late.finding.fingerprint
    whole = finding_trace(late, CALLBACK, SPEC, original=True)
    assert list(whole.calls) == late.original and whole.header.provenance["minimised"] is False


def test_the_report_says_what_a_reader_needs(late: Found, tmp_path: Path) -> None:
    text = report_text(late, CALLBACK, SPEC, tmp_path / "it.tape")
    assert text.startswith("X3 TypeError: 'NoneType' object does not support item assignment\n")
    for line in (
        "place:      raises_after_done.py:19 in Progress",
        "method:     Progress",
        "blame:      provider (P13); a hardening note for the host",
        "level:      hostile",
        "found:      after 1.50 s and 300 executions, from batch 2",
        f"reproduce:  synctape replay {(tmp_path / 'it.tape').as_posix()} --target {SPEC}",
        "explain:    synctape explain X3",
        "    0  Done(NULL, S_OK)",
        ">   1  Progress(NULL, 0, 1)",
    ):
        assert line in text.splitlines(), text
    assert "flaky" not in text


def test_the_report_tells_of_flakiness_stack_threads_and_options(late: Found) -> None:
    odd = found(*MINIMAL)
    odd.calls = [odd.calls[0], odd.calls[1]._replace(thread=1)]
    odd.flaky, odd.options, odd.executions = True, ("--slow", "0.2"), 0
    assert odd.run is not None
    odd.run = replace(odd.run, stack='File "a.py", line 1\n')
    odd.finding = replace(odd.finding, method="")
    text = report_text(odd, CALLBACK, SPEC, Path("it.tape"))
    assert "flaky:      it did not fail each time" in text
    assert "reproduce:  synctape replay it.tape --target targets.raises_after_done:Host --slow 0.2" in text
    assert "found:      in batch 2" in text and "method:     (none)" in text
    assert "Progress(NULL, 0, 1)   [thread 1]" in text
    assert text.endswith('Stack:\n    File "a.py", line 1\n')


def test_texts_that_do_not_print_are_escaped() -> None:
    (line,) = sequence_lines(calls('Progress("\\u202e\\ud800\\u001b[31m", 0, 1)'), CALLBACK, 0)
    assert line.isprintable() and line.startswith(">   0  Progress(")


def test_a_finding_is_written_and_replays_as_failed(late: Found, tmp_path: Path) -> None:
    path = write_finding(late, tmp_path / "deep" / "findings", CALLBACK, SPEC)
    assert path.name == f"X3-{late.finding.fingerprint}.tape"
    written = sorted(p.relative_to(path.parent).as_posix() for p in path.parent.rglob("*") if p.is_file())
    assert written == sorted([path.name, path.with_suffix(".txt").name, f"originals/{path.name}"])
    assert path.with_suffix(".txt").read_text("utf-8") == report_text(late, CALLBACK, SPEC, path)
    assert list(read_trace(path.parent / "originals" / path.name).calls) == late.original
    verdict = replay_file(path, Here(object_target(raises_after_done.Host)))
    assert (verdict.status, verdict.message) == (Status.FAILED, "X3 is still there")
    assert replay_file(path, Here(object_target(QuietHost))).status is Status.FIXED


def test_the_verdict_is_what_reports_take(late: Found) -> None:
    verdict = late.verdict
    assert (verdict.name, verdict.status, verdict.findings) == (late.name, Status.FAILED, (late.finding,))
    assert verdict.notes == ("found after 1.50 s and 300 executions, from batch 2",)


def test_the_same_failure_replaces_its_files(late: Found, tmp_path: Path) -> None:
    write_finding(late, tmp_path, CALLBACK, SPEC)
    again = found(*MINIMAL)
    again.seconds, again.original = 9.0, again.calls
    path = write_finding(again, tmp_path, CALLBACK, SPEC)
    assert read_trace(path).header.provenance["finding"]["seconds"] == 9.0
    assert "after 9.00 s" in path.with_suffix(".txt").read_text("utf-8")
    assert [p.name for p in tmp_path.glob("*.tape")] == [path.name]
    assert not (tmp_path / "originals" / path.name).exists()


@pytest.mark.parametrize("what", ["a trace", "bytes", "a folder", "a text beside", "an original beside"])
def test_what_is_not_ours_is_left_alone(what: str, late: Found, tmp_path: Path) -> None:
    name = late.name
    if what == "a folder":
        (tmp_path / f"{name}.tape").mkdir()
    elif what.endswith("trace") or what.startswith("an original"):
        save(tmp_path / "originals" if "original" in what else tmp_path, name, trace("Done(NULL, S_OK)"))
    else:
        (tmp_path / f"{name}{'.txt' if 'text' in what else '.tape'}").write_bytes(b"mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    path = write_finding(late, tmp_path, CALLBACK, SPEC)
    assert path.name == f"{name}-2.tape"
    assert {p: p.read_bytes() for p in before} == before
    assert write_finding(late, tmp_path, CALLBACK, SPEC) == path


def test_a_folder_that_cannot_be_one_is_an_error(late: Found, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TraceError, match="file"):
            write_finding(late, folder, CALLBACK, SPEC)
        with pytest.raises(TraceError, match="is a file, not a folder"):
            check_folder(folder)
    check_folder(tmp_path / "not" / "there" / "yet")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_failures_of_one_place_share_a_bucket_and_others_do_not(late: Found) -> None:
    other = found("Done(NULL, E_FAIL)", 'Progress("Inbox", 3, 9)')
    assert other.finding.bucket == late.finding.bucket and other.name == late.name
    assert other.finding.level is Level.HOSTILE


def test_a_schedule_stands_in_the_text_beside_a_finding() -> None:
    """And the calls above it stay a line each, which is where SARIF finds them."""
    text = report_text(found_scheduled(), CALLBACK, "gauge:Host", Path("a.tape")).splitlines()
    start = text.index("Schedule:")
    assert [line.strip() for line in text[start - 3 : start - 1]] == [
        '0  Progress("a", 1, 2) @4',
        ">   1  Done(NULL, S_OK)   [thread 1]",
    ]
    assert text[start + 1 :] == [
        "      t0  t1",
        '      [       0  Progress("a", 1, 2)',
        "      *       0  gives way to t1 before step 4, gauge.py:2 in Progress: self.done < 1",
        "    > :   [   1  Done(NULL, S_OK)",
        "    > :   ]   1  -> S_OK",
        "      ]       0  -> S_OK",
    ]


def test_what_no_method_and_no_place_is_named_of_is_announced_without_gaps() -> None:
    bare = found_scheduled()
    bare.finding = replace(bare.finding, method="", place="", message="lost")
    assert announcement(bare, None).strip() == "1.5 s  X3: lost [conforming, 2 calls]"
    assert "X3 Done at host.py:7 in Progress: Zero" in announcement(found_scheduled(), None)


def test_json_lines_of_a_campaign_have_the_schedule() -> None:
    verdict = CampaignVerdict(campaign(found_scheduled(), found(*MINIMAL)), {})
    met, apart, _ = map(json.loads, json_lines(verdict, "gauge:Host", 7, CALLBACK))
    assert "schedule" not in apart
    assert met["calls"] == ['0  Progress("a", 1, 2) @4', ">   1  Done(NULL, S_OK)   [thread 1]"]
    assert [step["kind"] for step in met["schedule"]] == ["enter", "switch", "enter", "leave", "leave"]
    assert met["schedule"][1]["code"] == "self.done < 1"
