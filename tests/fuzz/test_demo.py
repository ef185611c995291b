"""`synctape demo`: the whole way on real input, and what it leaves behind works."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import demo
from recorder.trace import read_trace
from replayer.isolation import Isolated
from replayer.verdict import Status, replay_file


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo's folder and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("click.echo", lambda message="", **options: said.append(str(message)))
        patch.setattr("click.secho", lambda message="", **options: said.append(str(message)))
        assert demo.run_demo(folder, 12) == 0
    return folder, "\n".join(said)


def test_each_step_shows_what_it_is_there_to_show(kept: tuple[Path, str]) -> None:
    said = kept[1]
    steps = ["1. Record", "2. Check", "3. Replay", "4. Fuzz", "5. Keep it", "For a target of your own"]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)
    assert "rules broken: none" in said and said.count("PASSED") == 3
    assert "X3 in Progress at send_receive.py" in said and "ZeroDivisionError" in said and "blame: host" in said
    assert "FAILED  X3-" in said and "FIXED   X3-" in said


def test_the_minimal_sequence_is_three_calls_and_stands_in_the_text(kept: tuple[Path, str]) -> None:
    folder, said = kept
    (path,) = (folder / "findings").glob("*.tape")
    calls = read_trace(path).calls
    assert [call.method for call in calls] == ["Progress", "Error", "Progress"]
    assert "to 3:" in said and "> " in said and 'Error(0x80004005 E_FAIL, "")' in said


def test_the_traces_that_it_recorded_are_real_and_replay(kept: tuple[Path, str]) -> None:
    tapes = sorted(path.name for path in kept[0].glob("*.tape"))
    assert tapes == ["fails_half_way.tape", "succeeds.tape", "unreadable_folder.tape"]
    (regression,) = (kept[0] / "findings").glob("*.tape")
    with Isolated(demo.BUGGY) as buggy, Isolated(demo.CORRECT) as correct:
        for name in tapes:
            assert replay_file(kept[0] / name, buggy).status is Status.PASSED
        assert replay_file(regression, buggy).status is Status.FAILED
        assert replay_file(regression, correct).status is Status.FIXED


def test_three_commands_for_a_target_of_ones_own(kept: tuple[Path, str]) -> None:
    shown = kept[1].partition("For a target of your own:")[2].strip().splitlines()
    assert [line.split()[:2] for line in shown] == [
        ["synctape", "record"],
        ["synctape", "fuzz"],
        ["pytest", "--synctape-target"],
    ]


@pytest.mark.slow
def test_a_demo_whose_host_has_no_bug_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "BUGGY", demo.CORRECT)
    monkeypatch.setattr(demo, "_SECONDS", 0.2)
    assert demo.run_demo(tmp_path, 1) == 3
    assert "did not show" in capsys.readouterr().err
