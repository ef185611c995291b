"""What a call costs as its text grows: time and output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from sequences import GOOD, QuietHost, counts_output, trace

from recorder.calls import Trace
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions
from replayer.scaling import LONG, SCALING, longest_text, play_and_weigh, too_much
from replayer.target import object_target

MS = 1_000_000


class Clock:
    """Processor time that passes when a host says so."""

    now = 0

    def __call__(self) -> int:
        return self.now


def takes(clock: Clock, cost: Callable[[int], float]) -> type[QuietHost]:
    """A host that takes what `cost` says of a text's length, in ms."""

    class Host(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            clock.now += int(MS * cost(len(text or "")))
            return 0

    return Host


def seen(recorded: Trace, cost: Callable[[int], float], *skip: str) -> list[Finding]:
    clock = Clock()
    run = play_and_weigh(recorded, object_target(takes(clock, cost)), PlayOptions(skip=skip), clock=clock)
    return Judge.of(recorded).findings(run)


def long(units: int = 8000, *before: str) -> Trace:
    return trace(*before, f'Progress("{"x" * units}", 1, 2)', *GOOD[1:])


@pytest.mark.parametrize(
    ("cost", "times"),
    [
        (lambda n: n**2 / 1e6, 4),
        (lambda n: n**3 / 1e9, 8),
        (lambda n: 50 + n**2 / 1e6, 4),  # what it costs without a text is not the text's
        (lambda n: n / 1000, 0),
        (lambda n: 1000, 0),
        (lambda n: n * n.bit_length() / 1000, 0),
        (lambda n: n**2 / 1e7, 0),  # too little to matter
        (lambda n: 100 * (n > 5000), 0),  # a step is no growth
    ],
)
def test_time(cost: Callable[[int], float], times: int) -> None:
    found = seen(long(), cost)
    assert len(found) == bool(times)
    for finding in found:
        assert (finding.code, finding.oracle, finding.number, finding.method) == (
            "X18",
            "time-growth",
            0,
            "Progress",
        )
        assert finding.message == f"Progress takes about {times} times as much for twice the text, at 8000 units"


def test_the_call_with_the_longest_text_is_looked_at() -> None:
    (finding,) = seen(long(8000, *GOOD[:2], f'Progress("{"x" * 2000}", 1, 2)'), lambda n: n**2 / 1e6)
    assert finding.number == 3


def test_a_short_text_is_not_looked_at() -> None:
    assert seen(long(LONG - 1), lambda n: n**2) == []
    assert len(seen(long(LONG), lambda n: n**2)) == 1


def test_it_can_be_left_out() -> None:
    assert seen(long(), lambda n: n**2, "time-growth") == []


def test_a_run_that_raises_is_told_for_that_alone() -> None:
    def raises(length: int) -> float:
        raise ValueError(length)

    assert [finding.code for finding in seen(long(), raises)] == ["X3"]


def test_the_run_is_that_of_the_whole_text() -> None:
    clock = Clock()
    recorded = long()
    run = play_and_weigh(recorded, object_target(takes(clock, lambda n: n**2)), clock=clock)
    assert run.trace.calls == recorded.calls and [o.kind for o in run.observations] == ["time-growth"]


# --------------------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("lines", [(), GOOD])
def test_what_is_too_much(lines: tuple[str, ...]) -> None:
    calls = trace(*lines).calls
    units = sum(len(value) for call in calls for value in call.args if isinstance(value, str))
    most = (1 << 20) + 4096 * len(calls) + 256 * units
    assert not too_much(calls, most) and too_much(calls, most + 1)


@pytest.fixture
def screen() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def writes(
    screen: int, recorded: Trace, output: Callable[[int, int], int], *skip: str
) -> list[tuple[str, int, str]]:
    """What is found in a host that writes what `output` says of a text's length and an index, in bytes."""

    class Host(QuietHost):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            os.write(screen, bytes(output(len(text or ""), index)))
            return 0

    run = play_and_weigh(recorded, object_target(Host), PlayOptions(skip=skip), clock=Clock())
    return [(found.code, found.number, found.message) for found in Judge.of(recorded).findings(run)]


WIDE = ("Progress(NULL, 1, 2)", "Progress(NULL, 900, 2)", "Progress(NULL, 7, 2)", "Progress(NULL, 8, 2)")
FAR_MORE = "Progress wrote far more than it was given to show"


@counts_output
def test_the_call_that_writes_too_much_is_named(screen: int) -> None:
    assert writes(screen, trace(*WIDE), lambda n, index: index * 2000) == [("X19", 1, FAR_MORE)]
    assert writes(screen, trace(*WIDE), lambda n, index: index * 1000) == []
    assert writes(screen, trace(*WIDE), lambda n, index: index * 2000, *SCALING) == []


@counts_output
def test_output_that_grows_faster_than_the_text(screen: int) -> None:
    steep = "Progress writes about 4 times as much for twice the text, at 8000 units"
    assert writes(screen, long(), lambda n, index: n**2 // 64) == [("X19", 0, steep)]
    assert writes(screen, long(), lambda n, index: n * 200) == []
    assert writes(screen, long(), lambda n, index: 300_000) == []


def test_the_longest_text_of_calls() -> None:
    assert longest_text(trace(*GOOD).calls) == len("Downloading")
    assert longest_text(()) == longest_text(trace("Progress(NULL, 1, 2)").calls) == 0
