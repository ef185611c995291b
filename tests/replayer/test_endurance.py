"""What grows with every sequence, and what only fills up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sequences import GOOD, QuietHost, regression, save, trace

from recorder.calls import OutcomeKind
from replayer.cli import replay
from replayer.endurance import (
    GAUGES,
    LEAST,
    Gauge,
    allocated,
    counted_by_page,
    endure,
    open_handles,
    play_repeatedly,
    steady,
)
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.player import PlayOptions
from replayer.target import object_target

PROBLEM = (
    'Progress("Downloading", 0, 1)',
    'Error(MAPI_E_CORRUPT_STORE, "damaged")',
    "Progress(NULL, 1, 1)",
    "Done(sync-event, MAPI_W_PARTIAL_COMPLETION)",
)


@pytest.mark.parametrize(
    ("levels", "rate"),
    [
        ([0, 1000, 2000, 3000, 4000], 10),
        ([5000, 5000, 5000, 5000, 5000], 0),
        ([0, 1000, 1999, 3000, 3999], 10),  # uneven, but always up
        ([0, 1000, 2000, 2000, 3000], 0),  # once not
        ([0, 4000, 7000, 8000, 8900], 0),  # it slows down
        ([0, 90, 180, 270, 360], 0),  # too little
        ([4000, 3000, 2000, 1000, 0], 0),
        ([], 0),
        ([7], 0),
    ],
)
def test_what_is_steady(levels: list[int], rate: float) -> None:
    assert steady(levels, 100, 1) == pytest.approx(rate, abs=0.1)


def test_growth_below_the_grain_is_none() -> None:
    assert steady([0, 1000, 2000, 3000, 4000], 100, 1, 1001) == 0


def growing(step: Callable[[int], int], *, least: float = 1) -> Gauge:
    """Rises by what `step` gives for the number of the sequence."""
    played, level = iter(range(10**6)), [0]

    def read() -> int:
        return level[0]

    gauge = Gauge("memory-growth", "stones", read, least, lambda: 0)
    plays.append(lambda: level.__setitem__(0, level[0] + step(next(played))))
    return gauge


plays: list[Callable[[], None]] = []


@pytest.fixture(autouse=True)
def nothing_played() -> Iterator[None]:
    plays.clear()
    yield
    plays.clear()


def enduring(times: int, *gauges: Gauge) -> list[tuple[str, str]]:
    return endure(lambda: [play() for play in plays], times, gauges)


def test_each_gauge_speaks_for_itself() -> None:
    found = enduring(100, growing(lambda number: 2), growing(lambda number: 0), growing(lambda number: 30))
    assert found == [
        ("memory-growth", "2 stones with each sequence, 100 times on end"),
        ("memory-growth", "30 stones with each sequence, 100 times on end"),
    ]


@pytest.mark.slow
def test_what_happens_while_it_warms_up_does_not_count() -> None:
    assert enduring(1000, growing(lambda number: 100 * (number < 200))) == []
    assert enduring(1000, growing(lambda number: 100 * (number < 500))) == []


def test_growth_of_one_sequence_in_ten_is_seen() -> None:
    assert enduring(1000, growing(lambda number: number % 10 == 0, least=0.05)) != []


@pytest.mark.parametrize("times", [1, 7, LEAST - 1])
def test_too_few_times_say_nothing(times: int) -> None:
    assert enduring(times, growing(lambda number: 5)) == []
    assert len(plays) == 1


@pytest.mark.slow
@pytest.mark.parametrize("times", [LEAST, 53, 99, 1001])
def test_any_other_number_will_do(times: int) -> None:
    (found,) = enduring(times, growing(lambda number: 5))
    assert found[1] == f"5 stones with each sequence, {times} times on end"


def test_a_gauge_that_cannot_be_read_says_nothing() -> None:
    assert endure(lambda: None, 100, [Gauge("memory-growth", "", lambda: None, 1, lambda: 0)]) == []


def test_the_process_can_be_measured() -> None:
    handles, memory = open_handles(), allocated()
    assert handles is not None and memory is not None
    with open(os.devnull, encoding="ascii"):
        assert open_handles() == handles + 1
    assert open_handles() == handles
    kept = [bytearray(1 << 20) for _ in range(16)]  # blocks so large come from the system, not from what is free
    more = allocated()
    assert more is not None and more - memory > len(kept) << 19


# --------------------------------------------------------------------------------------------------- in a run


class Opens(QuietHost):
    """Opens a file for each sequence and forgets it."""

    opened: list[int] = []  # noqa: RUF012 - all instances'

    def __init__(self) -> None:
        self.opened.append(os.open(os.devnull, os.O_RDONLY))


@pytest.fixture
def opens() -> Iterator[type[Opens]]:
    yield Opens
    for descriptor in Opens.opened:
        os.close(descriptor)
    Opens.opened.clear()


def test_a_python_host_that_leaks_a_descriptor(opens: type[Opens]) -> None:
    recorded = trace(*GOOD)
    player = Here(object_target(opens), PlayOptions(repeat=100))
    (finding,) = Judge.of(recorded).findings(player.play(recorded))
    assert (finding.code, finding.oracle, finding.method, finding.number) == ("X11", "handle-leak", "", 3)
    assert len(opens.opened) == 100


def test_a_correct_python_host_leaks_nothing() -> None:
    recorded = trace(*GOOD)
    assert play_repeatedly(recorded, object_target(QuietHost), PlayOptions(), times=500).observations == ()


def test_an_answer_of_any_of_the_times_is_judged() -> None:
    answers = iter([0, 0, 0, -1, *[0] * 100])

    class Sometimes(QuietHost):
        def Done(self, handle: Any, result: int) -> Any:
            return next(answers)

    run = play_repeatedly(trace(*GOOD), object_target(Sometimes), PlayOptions(), times=20)
    assert [o and (o.kind, o.value) for *_, o in run.trace.played][-1] == (OutcomeKind.RETURNED, -1)


def test_a_trace_kept_for_growth_says_nothing_when_played_once(tmp_path: Path) -> None:
    kept = save(tmp_path, "kept", regression("X10", *GOOD, oracle="memory-growth"))
    arguments = [str(kept), "--target", "targets.clean:Host"]
    once = CliRunner().invoke(replay, arguments)
    assert once.exit_code == 2 and "X10 shows only over many times (--repeat 1000)" in once.output
    often = CliRunner().invoke(replay, [*arguments, "--repeat", "100"])
    assert often.exit_code == 0 and "X10 is gone" in often.output


SAMPLES = {"leaks_memory": "X10", "leaks_handle": "X11"}
OFTEN = "1000" if counted_by_page() else "300"  # pages say little of a few bytes


@pytest.mark.native
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("core", ["", "ctypes"])
def test_each_sample_is_found_out(
    example: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, core: str
) -> None:
    monkeypatch.setenv("SYNCTAPE_CORE", core)
    recorded = save(tmp_path, "problem", trace(*PROBLEM))
    arguments = [str(recorded), "--target", f"{example(name)}:create"]
    assert CliRunner().invoke(replay, arguments).exit_code == 0
    often = CliRunner().invoke(replay, [*arguments, "--repeat", OFTEN])
    assert often.exit_code == 1 and f"FAILED  {recorded.as_posix()}  4 calls  {SAMPLES[name]}\n" in often.output
    (oracle,) = (gauge.oracle for gauge in GAUGES if (gauge.oracle == "memory-growth") == (name == "leaks_memory"))
    without = CliRunner().invoke(replay, [*arguments, "--repeat", OFTEN, "--disable", oracle])
    assert without.exit_code == 0, without.output


@pytest.mark.native
@pytest.mark.parametrize("name", ["good_host", "tolerates_late_calls"])
def test_a_correct_sample_keeps_nothing(example: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    recorded = save(tmp_path, "problem", trace(*PROBLEM))
    often = CliRunner().invoke(replay, [str(recorded), "--target", f"{example(name)}:create", "--repeat", "1000"])
    assert often.exit_code == 0, often.output
