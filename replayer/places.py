"""Where a finding is, for tools that show it beside the code: a file and a line.

A finding names its place by the file's base name, so that it is the same on every machine.  Here the file itself
is looked for, among the target's own modules, in the stack, and below the source root.  Nothing is imported.
What is not found there, or lies outside the root, has the trace's file for its location: there always is one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from recorder.sarif_format import Location, relative_path, source_root
from replayer.isolation import target_frames
from replayer.locations import RemoteFile, TraceFile
from replayer.oracles import Finding
from replayer.player import Run
from replayer.target import is_native_spec
from replayer.verdict import Verdict

__all__ = ["Places"]

_PLACE = re.compile(r"^(?P<file>[^/\\:]+?\.\w+)(?::(?P<line>\d+))?(?: in .*)?$", re.DOTALL)
_LIBRARIES = (".so", ".dll", ".dylib", ".pyd")
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
_MOST_FOLDERS = 20_000  # that are walked for a file


class Places:
    """Locations of one target's findings, below `root`."""

    def __init__(self, spec: str, root: Path | None = None):
        self.root = (root or source_root()).resolve()
        self._modules = [] if is_native_spec(spec) else list(_module_files(spec.rpartition(":")[0]))
        self._known: dict[str, Path | None] = {}
        self._below: dict[str, list[Path]] | None = None

    def of(self, finding: Finding, verdict: Verdict) -> Location:
        """The line of the target's source, else the trace.

        What is no one line's doing lies where a thread gave way, if one did.
        """
        run = verdict.run
        gave_way = [over.place for over in run.schedule if over.why == "change"] if run is not None else []
        places = [finding.place] if finding.place else gave_way
        found = (self.in_source(place, run) for place in places)
        return next(filter(None, found), None) or self.of_trace(verdict)

    def in_source(self, place: str, run: Run | None) -> Location | None:
        """The line of the target's source that a place names; None if it is not found."""
        match = _PLACE.match(place)
        if match and not match["file"].endswith(_LIBRARIES):
            path = self._source(match["file"], run)
            if path is not None:
                return Location(path, int(match["line"] or 1) or 1)
        return None

    def of_trace(self, verdict: Verdict) -> Location:
        """The trace's file; of one outside the root its name alone."""
        file = verdict.path or Path(verdict.name)
        return Location(self.relative(file) or file.name, is_source=False)

    def relative(self, file: TraceFile) -> str | None:
        """The path below the root, None for a file that is not there."""
        if isinstance(file, RemoteFile):
            return None
        return relative_path(file, self.root)

    def _source(self, name: str, run: Run | None) -> str | None:
        if name not in self._known:
            inside = (file for file in self._candidates(name, run) if self.relative(file))
            self._known[name] = next(inside, None)
        file = self._known[name]
        return None if file is None else self.relative(file)

    def _candidates(self, name: str, run: Run | None) -> Iterator[Path]:
        for module in self._modules:
            if module.name == name:
                yield module
        for frame in target_frames(run.stack) if run else ():
            if os.path.basename(frame.file) == name and os.path.isfile(frame.file):
                yield Path(frame.file)
        for module in self._modules:
            beside = module.parent / name
            if beside.is_file():
                yield beside
        if self._below is None:
            self._below = _files_below(self.root)
        found = self._below.get(name, [])
        if len(found) == 1:  # of several nobody knows which
            yield found[0]


def _module_files(module: str) -> Iterator[Path]:
    """The module's file, wherever it would be imported from."""
    parts = module.split(".")
    for entry in (os.getcwd(), *sys.path):
        base = Path(entry or os.getcwd(), *parts)
        for file in (base.with_name(base.name + ".py"), base / "__init__.py"):
            if file.is_file():
                yield file


def _files_below(root: Path) -> dict[str, list[Path]]:
    """Files by name; hidden folders, environments and other people's packages are left out."""
    files: dict[str, list[Path]] = {}
    for count, (folder, folders, names) in enumerate(os.walk(root)):
        if count == _MOST_FOLDERS:
            break
        folders[:] = sorted(
            f
            for f in folders
            if not f.startswith(".") and f not in _SKIPPED and not os.path.exists(Path(folder, f, "pyvenv.cfg"))
        )
        for name in names:
            files.setdefault(name, []).append(Path(folder, name))
    return files
