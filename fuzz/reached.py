"""What a campaign has come to, seen once more: lines of the target that it reached, answers to what it found.

Both are wanted only for a report, so they are not kept while the search runs; what was kept is played again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fuzz.buckets import Found
from fuzz.coverage import CoveredFile
from fuzz.search import Known, Searcher, SearchPlan
from fuzz.worker import pack_calls
from recorder.calls import Call, Header
from replayer.isolation import Isolated, Limits
from replayer.player import PlayOptions
from replayer.target import is_native_spec

__all__ = ["answers", "reached_files"]

_ENDS_PROCESS = ("crash", "data-race", "exit", "hang", "memory", "sanitizer", "stack-overflow", "string-bounds")
_MOST_PLAYED = 100  # findings


def reached_files(plan: SearchPlan, known: Known, found: Iterable[Found]) -> list[CoveredFile]:
    """The target's files, with what is reached by the seeds, by what was kept, and by what was found.

    It is played in a fresh child, but for the calls that end it.  None of a target whose code is not measured.
    Raises TargetError if the target gives no instance, ExecutorError if there is no child.
    """
    if is_native_spec(plan.spec):
        return []
    with Searcher(plan) as searcher:
        return searcher.files(known, [pack_calls(_survived(one)) for one in found])


def _survived(found: Found) -> list[Call]:
    """The sequence without the call in which the process ends and what follows it."""
    ends = found.finding.oracle in _ENDS_PROCESS
    return found.calls[: found.finding.number] if ends else found.calls


def answers(plan: SearchPlan, found: Sequence[Found]) -> None:
    """Play findings that were read from files, so that their answers are known; a hang is not waited for.

    Raises ExecutorError if there is no child.
    """
    options = plan.options
    played = PlayOptions(skip=tuple(options.disabled))
    with Isolated(plan.spec, plan.interface, played, Limits(options.timeout, options.memory)) as player:
        for one in found[:_MOST_PLAYED]:
            if one.finding.oracle != "hang":
                one.run = player.play(one.trace(Header(interface=plan.interface)))
