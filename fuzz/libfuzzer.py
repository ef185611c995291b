"""Findings as libFuzzer leaves them: crash-SHA1, timeout-SHA1 and oom-SHA1, for harnesses that look for these.

What a file holds is the minimal trace, as `synctape replay` takes it; nothing in it changes from run to run, so
the same finding has the same name.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from fuzz.buckets import Found, finding_trace, make_folder
from fuzz.verdict import artifact_kind
from recorder.interface import Interface
from recorder.report_files import write_whole
from recorder.trace import dump_trace

__all__ = ["write_artifact"]


def write_artifact(found: Found, folder: Path, interface: Interface, spec: str) -> Path:
    """Write the finding's file, and give its path.  Raises SynctapeError if it cannot be written."""
    timeless = replace(found, seconds=0.0, executions=0, origin="fuzzing", count=1)
    data = dump_trace(finding_trace(timeless, interface, spec))
    make_folder(folder)
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    path = folder / f"{artifact_kind(found.finding)}-{digest}"
    write_whole(path, data)
    return path
