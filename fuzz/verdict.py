"""What a campaign comes to: which of its findings count, why others do not, and the exit code.

A finding does not count if a baseline knows it, or if it was flaky and does not show again within ten tries: it is
told, but no build fails for it.
"""

from __future__ import annotations

import enum
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from fuzz.again import TRIES, Again, Conditions
from fuzz.baseline import Baseline
from fuzz.buckets import Found
from fuzz.progress import CampaignOptions, Summary
from recorder.calls import Header
from recorder.interface import Interface
from replayer.endurance import GAUGES
from replayer.oracles import Finding
from replayer.verdict import Status, Verdict

__all__ = [
    "LIBFUZZER_ERROR",
    "LIBFUZZER_INTERRUPTED",
    "CampaignVerdict",
    "ExitStyle",
    "artifact_kind",
    "known_excuses",
    "unseen_excuses",
]

_SIGNALS = {"interrupted": signal.SIGINT, "terminated": signal.SIGTERM}
_GROWTH = frozenset(gauge.oracle for gauge in GAUGES)
_OFTEN = 200  # times that a sequence is played to see what it leaves behind


LIBFUZZER_ERROR, LIBFUZZER_INTERRUPTED = 1, 72


class ExitStyle(enum.StrEnum):
    """`synctape`: 0 clean, 1 findings, 2 nothing executed, 128 + signal.

    `libfuzzer`: 0 clean, 77 findings, 70 if all are hangs, 71 if all are of memory or these two, 72 interrupted,
    1 nothing executed, or an error.
    """

    SYNCTAPE = "synctape"
    LIBFUZZER = "libfuzzer"


@dataclass(frozen=True)
class CampaignVerdict:
    """A summary, and the excuses of findings by name."""

    summary: Summary
    excuses: Mapping[str, str]

    @cached_property
    def counted(self) -> list[Found]:
        """The findings that count, gravest first."""
        return self._sorted(found for found in self.summary.found if found.name not in self.excuses)

    @cached_property
    def excused(self) -> list[tuple[Found, str]]:
        """Those that do not, and why."""
        found = self._sorted(found for found in self.summary.found if found.name in self.excuses)
        return [(one, self.excuses[one.name]) for one in found]

    @property
    def executed(self) -> bool:
        progress = self.summary.progress
        return bool(progress.runs or progress.corpus)

    @property
    def interrupted(self) -> bool:
        return self.summary.stopped in _SIGNALS

    @property
    def trouble(self) -> str:
        """Why it says nothing about the target, or not all that was wanted; "" if it does."""
        if self.interrupted:
            return self.summary.stopped
        return "" if self.executed else "nothing was executed"

    def verdicts(self) -> list[Verdict]:
        """The findings as reports of replays take them; one that passed if there are none."""
        made = [self._verdict(found) for found in self.counted]
        made += [replace(self._verdict(f), status=Status.PASSED, excuse=why) for f, why in self.excused]
        return made or [Verdict("campaign", Status.PASSED)]

    def exit_code(self, style: ExitStyle = ExitStyle.SYNCTAPE) -> int:
        if style is ExitStyle.LIBFUZZER:
            return self._libfuzzer_code()
        if self.summary.stopped in _SIGNALS:
            return 128 + _SIGNALS[self.summary.stopped]
        if self.counted:
            return 1
        return 0 if self.executed else 2

    def _libfuzzer_code(self) -> int:
        if self.interrupted:
            return LIBFUZZER_INTERRUPTED
        kinds = {artifact_kind(found.finding) for found in self.counted}
        if kinds:
            return 77 if "crash" in kinds else 71 if "oom" in kinds else 70
        return 0 if self.executed else LIBFUZZER_ERROR

    def _verdict(self, found: Found) -> Verdict:
        return replace(found.verdict, path=self.summary.files.get(found.name))

    @staticmethod
    def _sorted(found: Iterable[Found]) -> list[Found]:
        return sorted(found, key=lambda one: (one.finding.level, one.seconds))


def artifact_kind(finding: Finding) -> str:
    """What libFuzzer calls a file for it."""
    return {"hang": "timeout", "memory": "oom", "memory-growth": "oom"}.get(finding.oracle, "crash")


def known_excuses(found: Sequence[Found], baseline: Baseline) -> dict[str, str]:
    """Of those that a baseline knows."""
    known = baseline.known(one.finding for one in found)
    return {one.name: known[one.finding.fingerprint].excuse for one in found if one.finding.fingerprint in known}


def unseen_excuses(
    found: Sequence[Found],
    spec: str,
    interface: Interface,
    options: CampaignOptions,
    *,
    deadline: float | None = None,
) -> dict[str, str]:
    """Of the flaky ones that never failed again: those have their ten tries, or as many as the deadline allows
    (time.monotonic).

    Raises TargetError if the target gives no instance any more, ExecutorError if no child can be started.
    """
    excuses: dict[str, str] = {}
    with Again(spec, interface, disabled=options.disabled) as again:
        for one in found:
            if not one.flaky or one.failed:
                continue
            repeat = _OFTEN if one.finding.oracle in _GROWTH else 1
            conditions = Conditions(options.slow, options.timeout, options.memory, repeat)
            pick = _in(one.finding.bucket)
            tries, seen = one.tries, None
            while seen is None and tries < TRIES and (deadline is None or time.monotonic() < deadline):
                tries += 1
                _, seen = again.tries_until(one.trace(Header(interface=interface)), conditions, pick, most=1)
            if seen is None:
                times = "time" if tries == 1 else "times"
                excuses[one.name] = f"flaky: it did not show again when it was played {tries} {times}"
    return excuses


def _in(bucket: tuple[str, str, str]) -> Callable[[list[Finding]], Finding | None]:
    return lambda seen: next((finding for finding in seen if finding.bucket == bucket), None)
