"""Campaigns in CI: never falsely red, never falsely green, and reports that are there however a run ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sequences import CALLBACK, GOOD, calls, limits_memory, save, trace

from fuzz.baseline import Baseline
from fuzz.buckets import Found
from fuzz.libfuzzer import write_artifact
from fuzz.modes import Mode, plan_for
from replayer.oracles import Finding
from replayer.sandbox import ExecutorError
from synctape import main

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONUTF8": "1"}
TWO, CLEAN = "targets.two_bugs:Host", "targets.clean:Host"

posix = pytest.mark.skipif(sys.platform == "win32", reason="a signal from outside cannot be caught on Windows")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with one trace in `corpus`."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "corpus", "good", trace(*GOOD))
    return tmp_path / "corpus"


def fuzz(target: str, *options: str, runs: int = 300) -> Result:
    common = ("--target", target, "--corpus", "corpus", "--seed", "1", "--max-runs", str(runs))
    return CliRunner().invoke(main, ["fuzz", *common, *options])


def entries(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def junit(path: str = "junit.xml") -> ET.Element:
    return ET.parse(path).getroot()


# -------------------------------------------------------------------------------------------- what is known


def test_what_is_known_does_not_count_and_what_is_new_does(corpus: Path) -> None:
    first = fuzz(TWO, "--baseline", "known.json", "--update-baseline")
    assert first.exit_code == 0 and "nothing found, besides" in first.stdout
    known = Baseline.read(Path("known.json"))
    assert len(known) >= 2

    again = fuzz(TWO, "--mode", "pr", "--baseline", "known.json")
    assert names("corpus") == {"good.tape"}  # a pull request adds nothing to it
    assert again.exit_code == 0 and again.stdout.count("does not count: X3-") == len(known)
    assert "known since " in again.stdout

    forgotten, *kept = known.entries.values()
    Baseline(kept).write(Path("known.json"))
    reports = ("--junit", "junit.xml", "--sarif", "a.sarif", "--annotations", "github")
    new = fuzz(TWO, "--mode", "pr", "--baseline", "known.json", "--json", *reports)
    assert new.exit_code == 1
    told = {e["fingerprint"]: e["counts"] for e in entries(new) if e["kind"] == "failure"}
    assert told == {forgotten.fingerprint: True} | {entry.fingerprint: False for entry in kept}
    assert (junit().attrib["failures"], junit().attrib["skipped"]) == ("1", str(len(kept)))
    results = json.loads(Path("a.sarif").read_text("utf-8"))["runs"][0]["results"]
    assert [("suppressions" in result) for result in results] == [False, *[True] * len(kept)]
    assert sum(line.startswith("::") for line in new.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_first_failure_to_stop_at_is_a_new_one(corpus: Path) -> None:
    fuzz(TWO, "--baseline", "known.json", "--update-baseline", "-x")
    known = set(Baseline.read(Path("known.json")).entries)
    assert len(known) == 1
    second = fuzz(TWO, "--baseline", "known.json", "-x", "--json", runs=3000)
    assert second.exit_code == 1
    assert {e["fingerprint"] for e in entries(second) if e["kind"] == "failure" and e["counts"]} - known


def test_a_baseline_that_cannot_be_read_ends_the_run_before_it_begins(corpus: Path) -> None:
    Path("known.json").write_text("{", "utf-8")
    for options in (["--baseline", "known.json"], ["--baseline", "known.json", "--update-baseline"]):
        done = fuzz(TWO, *options)
        assert (done.exit_code, done.stdout) == (2, "") and "known.json: is no baseline" in done.stderr
    assert Path("known.json").read_text("utf-8") == "{" and not Path("findings").exists()
    assert fuzz(TWO, "--baseline", "none.json").exit_code == 2
    assert fuzz(TWO, "--update-baseline").exit_code == 2


# ------------------------------------------------------------------------------------------ what is not sure


def test_what_does_not_show_again_is_told_and_does_not_fail_a_build(corpus: Path) -> None:
    save(corpus, "error", trace('Error(S_OK, "")'))
    Path("unlucky").write_bytes(b"x")
    done = fuzz("targets.fails_a_few_times:Host", "--mode", "pr", "--junit", "junit.xml", runs=10)
    assert "flaky: it did not show again when it was played 10 times" in done.stdout, done.stdout
    assert done.exit_code == 0 and junit().attrib["skipped"] == "1"
    Path("unlucky").write_bytes(b"x")
    assert fuzz("targets.fails_a_few_times:Host", runs=10).exit_code == 1  # at a desk somebody may want to look


@pytest.mark.slow
def test_what_shows_within_ten_tries_counts(corpus: Path) -> None:
    done = fuzz("targets.fails_sometimes:Host", "--mode", "pr")
    assert done.exit_code == 1 and "flaky:      it failed in " in done.stdout


# --------------------------------------------------------------------------------------------------- modes


def test_a_pull_request_has_the_same_seed_each_time_and_a_night_another(corpus: Path) -> None:
    assert plan_for(Mode.BATCH).seed is plan_for(None).seed is None
    line = ["fuzz", "--target", CLEAN, "--corpus", "corpus", "--max-runs", "5", "--mode", "pr", "--json"]
    assert entries(CliRunner().invoke(main, line))[-1]["seed"] == plan_for(Mode.PR).seed == 1


@pytest.mark.slow
def test_a_slow_corpus_leaves_time_for_a_search_and_it_is_said(tmp_path: Path, corpus: Path) -> None:
    for number in range(60):
        save(corpus, f"slow-{number}", trace('Progress("a", 0, 1)', "Done(NULL, S_OK)"))
    line = [
        "fuzz",
        "--target",
        "targets.waits_a_little:Host",
        "--corpus",
        "corpus",
        "--mode",
        "pr",
        "--max-time",
        "1.5",
    ]
    done = CliRunner().invoke(main, [*line, "--summary", "a.md"])
    assert done.exit_code == 0, done.stdout
    played = re.search(r"played: +(\d+) traces, (\d+) sequences", done.stdout)
    assert played and 0 < int(played[1]) < 61 and int(played[2]) > 0
    said = f"not played: {61 - int(played[1])} traces of the corpus: their share of the time was over"
    assert said in done.stdout and said.replace("_", "") in Path("a.md").read_text("utf-8")


# ------------------------------------------------------------------------------- what says nothing is no pass


def test_nothing_executed_is_an_error_in_the_reports_too(corpus: Path) -> None:
    line = ["fuzz", "--target", CLEAN, "--corpus", "corpus", "--max-time", "1e-9", "--junit", "junit.xml"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 2 and "nothing was executed" in done.stderr
    assert junit().attrib["errors"] == "1" and "nothing was executed" in ET.tostring(junit(), "unicode")


@pytest.mark.parametrize("target", ["factory_fails:Host", "none:Host", "module_raises:Host"])
def test_a_target_without_an_instance_is_an_error_in_the_reports_too(corpus: Path, target: str) -> None:
    done = fuzz(
        f"targets.{target}", "--mode", "pr", "--junit", "junit.xml", "--sarif", "a.sarif", "--summary", "a.md"
    )
    assert done.exit_code == 2 and done.stderr.splitlines()[-1].startswith("synctape: target targets.")
    assert junit().attrib["errors"] == "1"
    (run,) = json.loads(Path("a.sarif").read_text("utf-8"))["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "did not end" in Path("a.md").read_text("utf-8")


def test_no_child_process_is_an_error_in_the_reports_too(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ExecutorError("cannot start python: no more processes")

    monkeypatch.setattr("fuzz.campaign.Isolated", refuse)
    done = fuzz(CLEAN, "--junit", "junit.xml")
    assert done.exit_code == 3 and junit().attrib["errors"] == "1"
    assert "no more processes" in ET.tostring(junit(), "unicode")


def test_reports_are_there_although_the_run_was_killed(corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "synctape", "fuzz", "--target", TWO, "--corpus", "corpus", "--max-time", "60"]
    with subprocess.Popen(
        [*command, "--seed", "1", "--junit", "junit.xml", "--sarif", "a.sarif"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            ends = time.monotonic() + 50
            written = Path("a.sarif")  # the last one
            while time.monotonic() < ends and not (written.exists() and "X3" in written.read_text("utf-8")):
                time.sleep(0.05)
        finally:
            process.kill()
    assert int(junit().attrib["failures"]) > 0 and junit().attrib["errors"] == "1"
    assert "had not ended" in ET.tostring(junit(), "unicode")
    (run,) = json.loads(Path("a.sarif").read_text("utf-8"))["runs"]
    assert run["results"] and run["invocations"][0]["executionSuccessful"] is False
    unfinished = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert len(unfinished) <= 1  # reports are written one after the other: the kill may meet one


# -------------------------------------------------------------------------------------------- libFuzzer's style


def artifacts(kind: str) -> list[Path]:
    return sorted(Path("findings").glob(f"{kind}-*"))


def test_libfuzzer_style_crash(corpus: Path) -> None:
    save(corpus, "crash", trace("Progress(NULL, 2, 1)"))
    done = fuzz("targets.segfaults:Host", "--exit-style", "libfuzzer", "-x", runs=10)
    assert done.exit_code == 77
    (file,) = artifacts("crash")
    assert file.name == f"crash-{hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()}"
    assert str(file) in done.stderr
    assert CliRunner().invoke(main, ["replay", str(file), "--target", "targets.segfaults:Host"]).exit_code == 1


def test_the_same_finding_has_the_same_file_whenever_it_was_found(tmp_path: Path) -> None:
    finding = Finding("X2", "hang", 0, "Progress", "no answer for 5 s")
    one = Found(finding, calls('Progress("a", 0, 1)'), calls(*GOOD), 1.5, 300, "batch 3")
    other = replace(one, seconds=9.0, executions=7, origin="batch 8", count=3, original=one.calls)
    file = write_artifact(one, tmp_path / "new", CALLBACK, CLEAN)
    assert file.name.startswith("timeout-") and write_artifact(other, tmp_path / "new", CALLBACK, CLEAN) == file
    more = replace(one, calls=calls('Progress("b", 0, 1)'))
    assert write_artifact(more, tmp_path / "new", CALLBACK, CLEAN) != file


def test_libfuzzer_style_timeout(corpus: Path) -> None:
    save(corpus, "hang", trace('Progress("%s", 0, 1)'))
    options = ("--exit-style", "libfuzzer", "--timeout", "0.3", "-x")
    assert fuzz("targets.hangs_on_text:Host", *options).exit_code == 70
    assert len(artifacts("timeout")) == 1 and not artifacts("crash")


@limits_memory
@pytest.mark.slow
def test_libfuzzer_style_memory(corpus: Path) -> None:
    done = fuzz("targets.memory_hog:Host", "--exit-style", "libfuzzer", "--memory", "150", "-x", runs=3000)
    assert done.exit_code == 71, done.stdout
    assert len(artifacts("oom")) == 1


def test_libfuzzer_style_clean_and_errors(corpus: Path) -> None:
    style = ("--exit-style", "libfuzzer")
    assert fuzz(CLEAN, *style, runs=20).exit_code == 0
    failed = fuzz("targets.none:Host", *style)
    assert failed.exit_code == 1 and failed.stderr.splitlines()[-1].startswith("synctape: target targets.none")
    assert not Path("findings").exists()


@posix
def test_libfuzzer_style_interrupt(corpus: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "synctape",
        "fuzz",
        "--target",
        CLEAN,
        "--corpus",
        "corpus",
        "--max-time",
        "60",
    ]
    with subprocess.Popen(
        [*command, "--exit-style", "libfuzzer", "--junit", "junit.xml"],
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None and "fuzzing" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 72
    assert junit().attrib["errors"] == "1" and "interrupted" in ET.tostring(junit(), "unicode")


# ---------------------------------------------------------------------------------------------------- corpora


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).glob("*.tape")}


def test_a_night_adds_what_it_learns_to_the_corpus(corpus: Path) -> None:
    first = fuzz(TWO, "--mode", "batch", runs=250)
    learned = names("corpus") - {"good.tape"}
    assert first.exit_code == 1 and learned
    assert f"corpus:     {len(learned)} new traces in corpus" in first.stdout
    again = fuzz(TWO, "--mode", "batch", "--save-corpus", "elsewhere", "--json", runs=250)
    assert entries(again)[-1]["traces"] == len(learned) + 1  # it starts from what the first one learned
    assert names("corpus") == learned | {"good.tape"} and not names("elsewhere") & learned
    assert CliRunner().invoke(main, ["corpus", "verify", "elsewhere"]).exit_code == 0


def test_pruning_makes_the_corpus_smaller_and_fails_for_nothing(corpus: Path) -> None:
    for number in range(5):
        save(corpus, f"same-{number}", trace('Progress("a", 0, 1)', f'Progress("{number}", 1, 1)'))
    save(corpus, "crash", trace("Progress(NULL, 2, 1)"))
    line = ["fuzz", "--mode", "prune", "--target", "targets.exits:Host", "--corpus", "corpus"]
    save(corpus, "ends", trace('Error(0x8000DEAD, "")'))
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert 0 < len(names("corpus")) < 5 and "ends.tape" not in names("corpus")
    left = {path.name for path in Path().rglob("*.tape")}
    assert {"good.tape", "crash.tape", "ends.tape"} <= left  # nothing is lost


def test_pruning_needs_a_corpus() -> None:
    done = CliRunner().invoke(main, ["fuzz", "--mode", "prune", "--target", CLEAN])
    assert done.exit_code == 2 and "--mode prune needs --corpus FOLDER" in done.stderr
