"""Coverage of a corpus: what was reached and what was missed, also of what ends the process; never a verdict."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sequences import CALLBACK, save, trace

from fuzz.coverage_reports import cobertura, coverage_json, lcov, text_lines
from fuzz.covering import Covered, SiteSeen, cover
from replayer.isolation import Limits
from synctape import main

TWO = "targets.two_bugs:Host"
STEP, FAIL = 'Progress("x", 0, 1)', 'Error(E_FAIL, "")'


def missed(covered: Covered) -> list[str]:
    """The ways that were not taken, as "source of the line: way"."""
    ((path, sites),) = covered.files.items()
    source = Path(path).read_text("utf-8").splitlines()
    return [f"{source[site.line - 1].strip()}: {site.way}" for site in sites if not site.reached]


def test_each_trace_adds_what_it_reaches() -> None:
    first = cover(TWO, CALLBACK, [trace(STEP)], Limits())
    both = cover(TWO, CALLBACK, [trace(STEP), trace(FAIL)], Limits())
    assert first.traces == 1 and both.traces == 2 and first.sites == both.sites
    assert set(missed(both)) < set(missed(first))
    assert any(way.startswith('raise ValueError("no abort")') for way in missed(both))


def test_what_ends_the_process_counts_up_to_its_last_call() -> None:
    spec, done = "targets.exits:Host", trace("Done(NULL, S_OK)")
    whole = trace('Progress("fine", 0, 1)', 'Error(0x8000DEAD, "")', 'Progress("never made", 1, 1)')
    covered, alone = (cover(spec, CALLBACK, traces, Limits()) for traces in ([done, whole], [done]))
    assert (covered.cut, alone.cut) == (1, 0)
    assert covered.reached > alone.reached


COVERED = Covered(
    {
        "src/b.py": [SiteSeen(3, "f entered", False)],
        "src/a host.py": [SiteSeen(7, "true", True), SiteSeen(7, "false", False), SiteSeen(9, "else", True)],
    },
    traces=5,
    cut=1,
)


def test_text() -> None:
    assert [*text_lines(COVERED)] == [
        "src/a host.py      2 of     3 sites   67%  missed: 7 false",
        "src/b.py           0 of     1 sites    0%  missed: 3 f entered",
        "2 of 4 sites reached (50%) by 5 traces, 1 of them ended the process",
    ]


def test_json() -> None:
    told = json.loads(json.dumps(coverage_json(COVERED, TWO)))
    assert (told["reached"], told["sites"], told["traces"]) == (2, 4, 5)
    assert told["files"][0]["missed"] == [{"line": 7, "way": "false"}]


def test_lcov() -> None:
    assert lcov(COVERED).decode().splitlines() == [
        *("TN:synctape", "SF:src/a host.py", "BRDA:7,0,0,1", "BRDA:7,0,1,0", "BRF:2", "BRH:1"),
        *("DA:7,1", "DA:9,1", "LF:2", "LH:2", "end_of_record"),
        *("SF:src/b.py", "BRF:0", "BRH:0", "DA:3,0", "LF:1", "LH:0", "end_of_record"),
    ]


def test_cobertura() -> None:
    root = ET.fromstring(cobertura(COVERED, 5))
    rates = {name: root.attrib[name] for name in ("line-rate", "lines-valid", "branches-covered", "timestamp")}
    assert rates == {"line-rate": "0.6667", "lines-valid": "3", "branches-covered": "1", "timestamp": "5"}
    (file, _) = root.iter("class")
    assert file.attrib["filename"] == "src/a host.py" and file.attrib["line-rate"] == "1.0000"
    assert [dict(line.attrib) for line in file.iter("line")] == [
        {"number": "7", "hits": "1", "branch": "true", "condition-coverage": "50% (1/2)"},
        {"number": "9", "hits": "1", "branch": "false"},
    ]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "corpus", "abort", trace('Error(E_ABORT, "")'))
    return tmp_path / "corpus"


def run(target: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["fuzz", "--mode", "coverage", "--target", target, *options])


def test_the_command_fails_for_no_finding_and_writes_the_files(corpus: Path) -> None:
    done = run(TWO, "--corpus", "corpus", "--lcov", "out/a.lcov", "--cobertura", "out/c.xml", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["traces"] == 1 and 0 < told["reached"] < told["sites"]
    assert Path("out/a.lcov").read_text("utf-8").count("end_of_record") == len(told["files"]) == 1
    assert ET.parse("out/c.xml").getroot().tag == "coverage"
    assert not Path("findings").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("targets.factory_fails:Host", "target targets.factory_fails:Host"),
        ("replayer.verdict:Verdict", "coverage is not measured: "),
        ("host.so:make", "coverage is measured of Python targets"),
    ],
)
def test_a_target_that_is_not_measured_is_an_error(corpus: Path, target: str, said: str) -> None:
    done = run(target, "--corpus", "corpus")
    assert done.exit_code == 2 and done.stdout == "" and said in done.stderr


def test_nothing_played_is_an_error(corpus: Path) -> None:
    done = run(TWO, "--corpus", "corpus", "--max-time", "1e-9", "--lcov", "a.lcov")
    assert done.exit_code == 2 and "nothing was executed" in done.stderr and not Path("a.lcov").exists()


def test_its_files_belong_to_this_mode(corpus: Path) -> None:
    done = CliRunner().invoke(main, ["fuzz", "--target", TWO, "--corpus", "corpus", "--lcov", "a.lcov"])
    assert done.exit_code == 2 and "need --mode coverage" in done.stderr
