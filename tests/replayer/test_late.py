"""Late effects: what a host shows stays as it was when the sync ended, whatever is called after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sequences import CALLBACK, calls, trace
from targets.changes_after_done import Host

from fuzz.screen import Screen
from recorder.contract import Level
from replayer.oracles import Finding, Judge
from replayer.player import play
from replayer.samples.send_receive import SendReceiveDialog
from replayer.target import object_target

MOVES = ("Progress(NULL, 0, 2)", "Done(NULL, S_OK)", "Progress(NULL, 1, 2)", "Progress(NULL, 2, 2)")


def findings(host: Callable[[], Any], *lines: str) -> list[Finding]:
    run = play(trace(*lines), object_target(host))
    return Judge.of(run.trace).findings(run)


def test_the_first_call_that_changes_something_is_found() -> None:
    (finding,) = findings(Host, *MOVES)
    assert (finding.code, finding.oracle, finding.number, finding.method) == ("H15", "late-effect", 2, "Progress")
    assert finding.message == "a late Progress changed what state() shows: index was 0, is 1"
    assert finding.level is not Level.CONFORMING and "P13" in finding.broken


def test_a_second_end_is_a_late_call_too() -> None:
    class Counts(Host):
        def Done(self, handle: Any, result: int) -> int:
            self.index += 1
            return 0

    (finding,) = findings(Counts, "Done(NULL, S_OK)", "Done(NULL, S_OK)")
    assert (finding.method, finding.number) == ("Done", 1)


def fails(self: Any) -> None:
    raise ValueError


@pytest.mark.parametrize("state", [None, fails, lambda self: {"ends": 1}])
def test_a_host_that_shows_nothing_or_nothing_new_is_not_judged(state: Callable[[Any], Any] | None) -> None:
    assert findings(type("Quiet", (Host,), {"state": state}), *MOVES) == []


def test_a_state_that_is_changed_in_place_is_seen() -> None:
    class Lists(Host):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def state(self) -> Any:
            return self.seen

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            self.seen.append(index)
            return 0

    (finding,) = findings(Lists, *MOVES)
    assert finding.message.endswith("it was [0], is [0, 1]")


def test_what_happens_before_the_end_or_leaves_everything_as_it_was_is_fine() -> None:
    assert findings(Host, *MOVES[:2], MOVES[0]) == []
    assert findings(SendReceiveDialog, *MOVES, "Error(E_FAIL, NULL)", "Done(NULL, E_FAIL)") == []


@pytest.mark.parametrize(("host", "trouble"), [(Host, "late effect of Progress"), (SendReceiveDialog, "")])
def test_a_campaign_notices_it(host: Callable[[], Any], trouble: str) -> None:
    screen = Screen(object_target(host, CALLBACK), 1.0)
    with screen.watching():
        assert screen.play(list(calls(*MOVES))) == trouble
        assert screen.returned == (3 if trouble else len(MOVES))
