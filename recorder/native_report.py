"""What is said of a native provider that was recorded, and the exit code that it comes to."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from recorder import hresult
from recorder.native_process import Isolated
from recorder.obligations import check_native
from recorder.session_input import parts
from recorder.survey import last_moment
from recorder.trace_input import TraceInput
from recorder.wording import recorded_in_words, rule_lines

__all__ = ["Report", "file_identity", "report"]


@dataclass(frozen=True)
class Report:
    """`complaints` are for stderr, `lines` for stdout."""

    code: int
    complaints: tuple[str, ...]
    lines: tuple[str, ...] = ()


def report(
    done: Isolated, spec: str, path: str | None, *, timeout: float, seconds: float, callback: bool
) -> Report:
    """Put it in words: what came of it, the trace at `path` (None: there is none) and the rules that are broken.

    `timeout` is what the provider was given, `seconds` what it took, both in seconds.  A crash or a failed start
    gives 1; a provider that was not at its end in time, or whose recording stopped, 3; a broken rule 1; no call at
    all 2.
    """
    provider, run = f"provider {spec!r}", done.run
    if path is None:
        told = f"{provider} ended its process before the sync was started: {done.crash}"
        return Report(1, (told,) if done.crash else ())
    trace = TraceInput(path)
    checked = check_native(trace, run)
    code, complaints = 0, []
    if done.crash:
        complaints.append(f"{provider} ended its process: {done.crash}, {last_moment(trace)}")
        code = 1
    elif run is not None and run.waiting:
        complaints.append(f"{provider}: {run.waiting} after {timeout:g} s; what came until then is kept")
        code = 3
    elif trace.cut:
        complaints.append(f"{path}: {checked.damage}")
        code = 3
    if run is not None and run.result is not None and hresult.failed(run.result):
        complaints.append(f"{provider}: SynchronizeInBackground answered {hresult.describe(run.result)}")
        code = code or 1
    elif not checked.calls and callback and not code:
        complaints.append(f"{provider} made no call")
        code = 1 if checked.fails else 2
    summary = recorded_in_words(path, checked, trace.dropped, seconds)
    notes = run.notes if run is not None else ()
    lines = (summary, *rule_lines(checked), *(f"  note: {note}" for note in notes))
    return Report(code or int(checked.fails), tuple(complaints), lines)


def file_identity(path: str) -> tuple[int, ...] | None:
    """What tells a file from one that takes its place, of a session its first one; None where there is none."""
    for there in (Path(path), *(part for _, part in parts(path)[:1])):
        with contextlib.suppress(OSError):
            found = os.stat(there)
            return found.st_ino, found.st_mtime_ns, found.st_size
    return None
