"""Calls after the caller's last Release: when there are any, and whose fault is what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sequences import CALLBACK, GOOD, calls, trace

from recorder.calls import Outcome, OutcomeKind
from recorder.contract import Level
from recorder.interface import Interface, Method
from recorder.interfaces import IUNKNOWN
from replayer.isolation import Player
from replayer.oracles import Judge
from replayer.retained import gone_after

PROGRESS = GOOD[0]
QUERY = f'QueryInterface("{CALLBACK.iid}")'
OTHER = 'QueryInterface("{00000000-0000-0000-0000-000000000001}")'
EARLY = (PROGRESS, "Release()", "Progress(NULL, 1, 2)", "Done(sync-event, S_OK)")


@pytest.mark.parametrize(
    ("lines", "gone"),
    [
        (GOOD, None),
        ((*GOOD, "Release()"), None),  # nothing follows
        (EARLY, 1),
        (("AddRef()", "Release()", PROGRESS), None),
        (("AddRef()", "Release()", "Release()", PROGRESS, "Release()"), 2),
        ((QUERY, PROGRESS, "Release()", PROGRESS), None),
        ((QUERY, "Release()", "Release()", PROGRESS), 2),
        ((OTHER, "Release()", PROGRESS), 1),
        (("Release()", "AddRef()", PROGRESS), 0),  # a count of 0 is final
    ],
)
def test_when_the_object_is_gone(lines: tuple[str, ...], gone: int | None) -> None:
    assert gone_after(CALLBACK, calls(*lines)) == gone


def test_a_release_that_was_not_made_leaves_the_object() -> None:
    made, not_made = Outcome(), Outcome(OutcomeKind.NOT_RUN)
    assert gone_after(CALLBACK, calls(*EARLY), [made] * 4) == 1
    assert gone_after(CALLBACK, calls(*EARLY), [made, not_made, made, made]) is None


def test_an_interface_without_iunknown_has_no_references() -> None:
    bare = Interface("IBare", "{11111111-2222-3333-4444-555555555555}", (Method("Release"), Method("Step")))
    assert bare.root != IUNKNOWN
    assert gone_after(bare, calls("Release()", "Step()", interface=bare)) is None


# ------------------------------------------------------------------------------------------------------ in play


@pytest.mark.native
def test_a_host_that_faults_gets_a_hardening_note(
    example: Callable[[str], Path], isolated: Callable[[str], Player]
) -> None:
    recorded = trace(*EARLY)
    run = isolated(f"{example('late_call_crashes')}:create").play(recorded)
    (finding,) = Judge.of(recorded).findings(run)
    assert (finding.code, finding.oracle, finding.number, finding.level) == ("H5", "retained", 2, Level.HOSTILE)
    assert "P3" in finding.broken and finding.blame.startswith("provider")
    assert finding.message.startswith("Progress crashed after the caller's last Release: ")
    assert Judge.of(recorded, disabled=frozenset({"retained"})).findings(run) == []


@pytest.mark.native
@pytest.mark.parametrize("lines", [EARLY, (*GOOD, "Release()"), (QUERY, *GOOD, "Release()")])
def test_a_host_that_tolerates_it_gives_nothing(
    example: Callable[[str], Path], isolated: Callable[[str], Player], lines: tuple[str, ...]
) -> None:
    recorded = trace(*lines)
    run = isolated(f"{example('tolerates_late_calls')}:create").play(recorded)
    assert Judge.of(recorded).findings(run) == []


@pytest.mark.native
def test_a_reference_given_up_at_the_end_is_no_leak(
    example: Callable[[str], Path], isolated: Callable[[str], Player]
) -> None:
    recorded = trace(QUERY, *GOOD, "Release()", "Release()")
    run = isolated(f"{example('good_host')}:create").play(recorded)
    assert Judge.of(recorded).findings(run) == []
    assert all(outcome and outcome.kind is OutcomeKind.RETURNED for *_, outcome in run.trace.played)
