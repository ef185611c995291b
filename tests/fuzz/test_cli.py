"""The commands fuzz, minimise, corpus and demo, as the installed program runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sequences import GOOD, calls, save, trace

from recorder.trace import read_trace

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONUTF8": "1"}


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synctape", *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    save(tmp_path / "corpus", "good", trace(*GOOD))
    return tmp_path / "corpus"


def test_fuzz_tells_what_it_found_and_how_to_see_it_again(tmp_path: Path, corpus: Path) -> None:
    done = run(
        tmp_path,
        *("fuzz", "--target", "targets.raises_after_done:Host", "--corpus", corpus, "--seed", "1"),
        *("--max-runs", "600", "--junit", "out/fuzz.xml"),
    )
    assert done.returncode == 1
    assert "X3 TypeError" in done.stdout and "1 failure found" in done.stdout and "reach Done" in done.stdout
    assert "seed 1" in done.stderr and "\x1b[" not in done.stderr  # plain lines where there is no terminal
    (tape,) = (tmp_path / "findings").glob("*.tape")
    assert f"synctape replay findings/{tape.name} --target targets.raises_after_done:Host" in done.stdout
    assert run(tmp_path, "replay", tape, "--target", "targets.raises_after_done:Host").returncode == 1
    assert run(tmp_path, "replay", tape, "--target", "targets.clean:Host").returncode == 0
    case = ET.parse(tmp_path / "out" / "fuzz.xml").getroot().find(".//testcase/failure")
    assert case is not None and "X3" in case.attrib["message"]


def test_fuzz_finds_nothing_in_a_correct_host_and_says_so(tmp_path: Path, corpus: Path) -> None:
    done = run(
        tmp_path,
        *(
            "fuzz",
            "--target",
            "targets.clean:Host",
            "--corpus",
            corpus,
            "--seed",
            "1",
            "--max-runs",
            "300",
            "--json",
        ),
        *("--junit", "fuzz.xml"),
    )
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["summary"]
    assert lines[0]["runs"] == 300 and lines[0]["failures"] == 0 and lines[0]["mutators"]
    assert ET.parse(tmp_path / "fuzz.xml").getroot().attrib["failures"] == "0"
    assert not (tmp_path / "findings").exists()


def test_without_a_corpus_the_traces_that_ship_are_used(tmp_path: Path) -> None:
    done = run(tmp_path, "fuzz", "--target", "targets.clean:Host", "--max-runs", "50", "--seed", "3", "--json")
    assert json.loads(done.stdout)["traces"] >= 63


@pytest.mark.slow
def test_two_campaigns_without_a_seed_differ(tmp_path: Path, corpus: Path) -> None:
    def seed() -> int:
        done = run(
            tmp_path,
            *("fuzz", "--target", "targets.clean:Host", "--corpus", corpus, "--max-runs", "20", "--json"),
        )
        value: int = json.loads(done.stdout)["seed"]
        return value

    assert seed() != seed()


@pytest.mark.skipif(sys.platform == "win32", reason="a signal from outside cannot be caught on Windows")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_the_summary(
    tmp_path: Path, corpus: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "synctape", "fuzz", "--target", "targets.clean:Host", "--corpus", str(corpus)]
    with subprocess.Popen(
        [*command, "--max-time", "60"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "fuzzing" in process.stderr.readline()
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert "stopped:    interrupted" in out or "stopped:    terminated" in out


def test_minimise_writes_the_shortest_sequence(tmp_path: Path) -> None:
    long = trace(*GOOD[:-1], 'Error(S_OK, "x")', "Done(NULL, S_OK)", 'Progress("late", 1, 2)', "Done(NULL, S_OK)")
    path = save(tmp_path, "long", long)
    done = run(tmp_path, "minimise", path, "--target", "targets.raises_after_done:Host", "-o", "short.tape")
    assert done.returncode == 1 and "7 calls became 2" in done.stdout
    assert [c.method for c in read_trace(tmp_path / "short.tape").calls] == ["Done", "Progress"]
    again = run(tmp_path, "minimise", path, "--target", "targets.raises_after_done:Host", "-o", "short.tape")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_minimise_has_nothing_to_do_on_a_trace_that_passes(tmp_path: Path) -> None:
    path = save(tmp_path, "good", trace(*GOOD))
    done = run(tmp_path, "minimise", path, "--target", "targets.clean:Host", "-o", "short.tape")
    assert done.returncode == 2 and "does not fail" in done.stderr and not (tmp_path / "short.tape").exists()


def test_corpus_import(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(
        '{"m": "Done", "handle": null, "hr": 0, "t_us": 5, "dur_us": 1, "th": 0, "ret": 0}\n', encoding="utf-8"
    )
    assert run(tmp_path, "corpus", "import", "one.jsonl", "-o", "in").returncode == 0
    assert [c._replace(time_ns=0) for c in read_trace(tmp_path / "in" / "one.tape").calls] == calls(
        "Done(NULL, S_OK)"
    )
    again = run(tmp_path, "corpus", "import", "one.jsonl", "-o", "in")
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.slow
def test_the_demo_goes_the_whole_way(tmp_path: Path) -> None:
    done = run(tmp_path, "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "rules broken: none",
        "ZeroDivisionError",
        "to 3:",
        "FAILED",
        "FIXED",
        "synctape record",
        "pytest",
    ):
        assert said in done.stdout
    assert list(tmp_path.iterdir()) == []
