"""A campaign's folder: all that is needed to go on with it, and what it kept, found and came through.

    campaign.json     target, interface, options, counts, number of the next batch; without it, no campaign
    seeds/*.tape      the traces it starts from, in the order of their names
    corpus/*.tape     the sequences that it kept for what they brought, by the digest of their calls
    findings/         its failures, see fuzz.buckets
    stats.jsonl       how far it was: snapshots of its progress, one a line
    lock              held by the process that works on it

Nothing here is ever half written, whenever the process is killed: files appear whole under their names, and of a
line that is cut the reader takes no notice.  Counts may be a second older than what the folder holds.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, BinaryIO

import msgpack

from fuzz.buckets import Found, read_finding
from fuzz.engine import bases
from fuzz.progress import CampaignOptions, Progress
from fuzz.schedules import is_scheduled
from fuzz.search import Fresh, Played
from fuzz.worker import pack_calls, unpack_kept
from recorder.calls import Header, Trace
from recorder.contract import Level
from recorder.errors import InterfaceError, SynctapeError, TraceError
from recorder.interface import Interface
from recorder.provenance import Origin, digest, generated, mutated, origin_of
from recorder.trace import read_trace, write_trace
from replayer.sandbox_child import pack, unpack
from replayer.verdict import mismatch

__all__ = ["CampaignFolder", "StoreError"]

_FORMAT = 1
_FILE, _STATS, _LOCK = "campaign.json", "stats.jsonl", "lock"
_TEMPORARY = ".synctape-"  # how the names begin of files that are not whole yet
_EVERY = 1.0  # seconds between two times that the counts are written
_RESERVED = 10_000  # batch numbers that are written down as used before they are

Seeds = list[tuple[str, Trace]]


class StoreError(SynctapeError):
    """A folder that holds no campaign, another one than was asked for, or cannot be used."""


@dataclass(slots=True)
class CampaignFolder:
    """One campaign on disk.  `create` begins one, `open` goes on with one; close it in any case.  `look` looks.

    `progress` is how far it had come, `fresh` what it has kept and `found` what it has found, both in their order;
    `next` is the number of its next batch, `replayed` how many of the seeds have been replayed.
    `stopped` is why it had ended when the folder was opened, "" if it had not.
    """

    path: Path
    spec: str
    interface: Interface
    options: CampaignOptions
    seeds: Seeds
    progress: Progress
    fresh: list[Fresh]
    found: list[tuple[Path, Found]]
    next: int
    replayed: int
    _lock: BinaryIO
    stopped: str = ""
    _saved: float = 0.0
    _kept: int = 0
    _noted: Any = None
    _named: tuple[int, dict[str, Origin]] | None = None

    @property
    def findings(self) -> Path:
        return self.path / "findings"

    # --- beginning and going on ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        spec: str,
        seeds: Iterable[tuple[str, Trace]],
        options: CampaignOptions,
        interface: Interface,
    ) -> CampaignFolder:
        """Begin a campaign in a folder that is not there yet, or empty.  Raises StoreError."""
        with _told(path):
            if (path / _FILE).exists() and not _is_unplayed(path / _FILE):
                raise StoreError(f"{path}: holds a campaign; --resume {path} goes on with it")
            path.mkdir(parents=True, exist_ok=True)
            if others := [entry.name for entry in path.iterdir() if not _is_of_a_beginning(entry)]:
                raise StoreError(f"{path}: is not empty and holds no campaign ({others[0]})")
            made = cls(path, spec, interface, options, [], Progress(), [], [], 0, 0, _locked(path))
            try:
                for left in [path / _FILE, path / _STATS, *(path / "seeds").glob("*")]:
                    left.unlink(missing_ok=True)
                made.add_seeds(seeds)
                made.save(made.progress, 0, force=True)
            except BaseException:
                made.close()
                raise
        return made

    @classmethod
    def open(cls, path: Path, warn: Callable[[str], None]) -> CampaignFolder:
        """Go on with the campaign of a folder.  What of it cannot be read is left out, after a line to `warn`.

        Raises StoreError.
        """
        with _told(path):
            if not (path / _FILE).is_file():
                raise StoreError(f"{path}: holds no campaign (there is no {_FILE})")
            lock = _locked(path)
            try:
                return cls._opened(path, lock, warn)
            except BaseException:
                lock.close()
                raise

    @classmethod
    def look(cls, path: Path, warn: Callable[[str], None]) -> CampaignFolder:
        """What is in a folder, of which another process may be making more; nothing may be written through it.

        Raises StoreError.
        """
        with _told(path):
            if not (path / _FILE).is_file():
                raise StoreError(f"{path}: holds no campaign (there is no {_FILE})")
            return cls._opened(path, io.BytesIO(), warn, mend=False)

    @classmethod
    def _opened(
        cls, path: Path, lock: BinaryIO, warn: Callable[[str], None], *, mend: bool = True
    ) -> CampaignFolder:
        """`mend`: remove what was left half written."""
        kept = _read(path / _FILE)
        try:
            interface = Interface.from_description(kept["interface"])
            options = _options(kept["options"])
            names = {str(file): str(name) for file, name in kept["seeds"]}
            spec, following, replayed = str(kept["target"]), int(kept["batch"]), int(kept["replayed"])
            progress, stopped = _progress(kept["progress"]), str(kept.get("stopped", ""))
        except (KeyError, TypeError, ValueError, AttributeError, InterfaceError) as error:
            raise StoreError(f"{path / _FILE}: is damaged: {error!r}") from None
        for left in path.rglob(f"{_TEMPORARY}*") if mend else ():
            left.unlink(missing_ok=True)
        seeds = [(names[file.name], t) for file, t in _traces(path / "seeds", warn) if file.name in names]
        corpus = sorted(_corpus(path / "corpus", interface, kept.get("synctape") == _version(), warn))
        found = list(_findings(path / "findings", warn))
        fresh = [entry for _, _, entry in corpus]
        progress.kept, progress.failures = len(fresh), len(found)
        for snapshot in _whole_lines(path / _STATS, mend=mend):
            progress.history.note(snapshot)
        made = cls(path, spec, interface, options, seeds, progress, fresh, found, following, replayed, lock)
        made._kept = 1 + max((number for number, _, _ in corpus), default=-1)
        made._noted = progress.history.snapshots[-1:]
        made.stopped = stopped
        return made

    def close(self) -> None:
        self._lock.close()

    def __enter__(self) -> CampaignFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------------------------

    def add_seeds(self, seeds: Iterable[tuple[str, Trace]]) -> None:
        """More traces to start from.  They are the campaign's once `save` has written down that they are."""
        folder = self.path / "seeds"
        folder.mkdir(exist_ok=True)
        for name, trace in seeds:
            write_trace(replace(trace, damage=None), folder / _seed_file(len(self.seeds)), overwrite=True)
            self.seeds.append((name, trace))

    def keep(self, played: Played) -> None:
        """Write down what a part of a batch has found new.  Raises TraceError if nothing can be written."""
        if not played.fresh:
            return
        folder = self.path / "corpus"
        folder.mkdir(exist_ok=True)
        for entry in played.fresh:
            _, _, *about = entry
            calls, mutators, *_ = one = unpack_kept(entry)
            parents = [self._origins().get(code, Origin(code, code)) for code in one.parents]
            place: dict[str, Any] = {"seed": self.options.seed, "batch": played.number}
            if one.number >= 0:
                place["number"] = one.number
            afresh = one.number >= 0 and not parents
            made = generated(**place) | {"mutators": mutators} if afresh else mutated(parents, mutators, **place)
            header = Header(
                interface=self.interface,
                target={"spec": self.spec},
                scheduled=is_scheduled(calls),
                provenance={**made, "kept": self._kept, "feedback": pack(about)},
            )
            file = folder / f"{digest(calls, self.interface)}.tape"
            if file.exists():  # the same calls were kept before, for something else: others led to it
                file = file.with_stem(f"{file.stem}-{self._kept}")
            write_trace(Trace.from_calls(calls, header), file, overwrite=True)
            self._kept += 1

    def _origins(self) -> dict[str, Origin]:
        """The seeds as traces, by the digests of what the search makes of them."""
        if self._named is None or self._named[0] != len(self.seeds):
            origins = {
                digest(calls, self.interface): origin_of(PurePath(name).stem, trace)
                for name, trace in self.seeds
                for calls in bases([trace.calls], self.interface)
            }
            self._named = len(self.seeds), origins
        return self._named[1]

    def save(self, progress: Progress, following: int, *, force: bool = False, stopped: str = "") -> None:
        """Write down how far the campaign is, if that was not done a moment ago; `following` is its next batch.

        `stopped` says why it ended; as long as it runs, more batches count as begun than have been.
        """
        now = time.monotonic()
        if not (force or stopped) and now < self._saved + _EVERY:
            return
        self._saved = now
        self.next = following
        options = {field.name: _plain(getattr(self.options, field.name)) for field in fields(self.options)}
        with _told(self.path):
            self._note(progress, last=bool(stopped))
            state = {
                "format": _FORMAT,
                "synctape": _version(),
                "target": self.spec,
                "stopped": stopped,
                "batch": following if stopped else following + _RESERVED,
                "replayed": self.replayed,
                "options": options,
                "progress": _counts(progress),
                "seeds": [[_seed_file(number), name] for number, (name, _) in enumerate(self.seeds)],
                "interface": self.interface.describe(),
            }
            _write(self.path / _FILE, json.dumps(state, indent=1).encode())

    def _note(self, progress: Progress, *, last: bool) -> None:
        """Add a line to the statistics, as often as the history takes a snapshot, and at the end."""
        latest = progress.history.snapshots[-1:]
        if last:
            latest = [progress.snapshot()]
        if latest and latest != self._noted:
            self._noted = latest
            _append(self.path / _STATS, json.dumps(latest[0]).encode())


def _version() -> str:
    try:
        return importlib.metadata.version("synctape")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return ""


def _is_of_a_beginning(entry: Path) -> bool:
    """Whether it may be left from a campaign that ended before anything was played."""
    return entry.name in ("seeds", _FILE, _STATS, _LOCK) or entry.name.startswith(_TEMPORARY)


def _is_unplayed(path: Path) -> bool:
    """Whether a campaign ended before anything was played: its target was not to be had."""
    progress = _read(path).get("progress")
    return isinstance(progress, dict) and not progress.get("runs") and not progress.get("corpus")


def _seed_file(number: int) -> str:
    return f"{number:05d}.tape"


# --- reading --------------------------------------------------------------------------------------------------


def _read(path: Path) -> Mapping[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except ValueError as error:
        raise StoreError(f"{path}: is damaged: {error}") from None
    if not isinstance(kept, dict):
        raise StoreError(f"{path}: is damaged: it holds no campaign")
    if kept.get("format") != _FORMAT:
        raise StoreError(f"{path}: has format {kept.get('format')!r}, this synctape reads {_FORMAT}")
    return kept


def _traces(folder: Path, warn: Callable[[str], None]) -> Iterator[tuple[Path, Trace]]:
    for file in sorted(folder.glob("*.tape")):
        try:
            trace = read_trace(file)
        except TraceError as error:
            warn(f"{error}; it is left out")
            continue
        if trace.damage is not None:
            warn(f"{file}: {trace.damage}; the {len(trace.calls)} calls before it are read")
        yield file, trace


def _corpus(
    folder: Path, interface: Interface, same_version: bool, warn: Callable[[str], None]
) -> Iterator[tuple[int, str, Fresh]]:
    """Each sequence as it was kept, with its number and its file's name; other traces may lie there, too.

    What another version says of what they brought means nothing to this one.
    """
    for file, trace in _traces(folder, warn):
        if why := mismatch(trace.interface, interface):
            warn(f"{file}: {why}; it is left out")
            continue
        if not (usable := bases([trace.calls], interface)):
            continue
        if trace.header.scheduled:
            usable = bases([trace.calls], interface, scheduled=True)
        facts = trace.header.provenance
        number, mutators, about = facts.get("kept"), facts.get("mutators"), facts.get("feedback")
        entry: list[Any] = [pack_calls(usable[0]), list(mutators) if isinstance(mutators, list | tuple) else []]
        if same_version and isinstance(about, bytes):
            with contextlib.suppress(ValueError, TypeError, msgpack.UnpackException):
                entry += unpack(about)
        yield number if isinstance(number, int) else -1, file.name, entry


def _findings(folder: Path, warn: Callable[[str], None]) -> Iterator[tuple[Path, Found]]:
    for file in sorted(folder.glob("*.tape")):
        try:
            yield file, read_finding(file)
        except TraceError as error:
            warn(f"{error}; it is left out")


def _whole_lines(path: Path, *, mend: bool) -> list[dict[str, Any]]:
    """The snapshots of the statistics.  `mend`: a line that was cut when its writer was killed is removed."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b" if mend else "rb") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if mend and whole < len(data):
            file.truncate(whole)
        snapshots = []
        for line in data[:whole].splitlines():
            with contextlib.suppress(ValueError):
                snapshot = json.loads(line)
                if isinstance(snapshot, dict) and isinstance(snapshot.get("seconds"), int | float):
                    snapshots.append(snapshot)
        return snapshots
    return []


# --- values as JSON -------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, Level):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _options(kept: Mapping[str, Any]) -> CampaignOptions:
    """Options as `_plain` gave them; those that are not there have their defaults, unknown ones are left out."""
    known = {}
    for field in fields(CampaignOptions):
        if field.name in kept:
            value, default = kept[field.name], field.default
            if isinstance(default, Level):
                value = Level[str(value).upper()]
            elif isinstance(default, frozenset | tuple):
                value = type(default)(value)
            known[field.name] = value
    return CampaignOptions(**known)


def _counts(progress: Progress) -> dict[str, Any]:
    values = {field.name: getattr(progress, field.name) for field in fields(progress) if field.compare}
    return {
        name: [[list(key) if isinstance(key, tuple) else key, n] for key, n in value.items()]
        if isinstance(value, Counter)
        else value
        for name, value in values.items()
    }


def _progress(kept: Mapping[str, Any]) -> Progress:
    progress = Progress()
    for field in fields(progress):
        if field.compare and field.name in kept:
            value = kept[field.name]
            if isinstance(getattr(progress, field.name), Counter):
                value = Counter({tuple(key) if isinstance(key, list) else key: int(n) for key, n in value})
            setattr(progress, field.name, value)
    return progress


# --- files ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """An OSError as what it means for the user."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror or error}") from None


def _write(path: Path, data: bytes) -> None:
    """A whole file in place of another, or nothing."""
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(data)
        _replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    """Rename.  Windows refuses it while a reader has the file open; readers are done in a moment."""
    for _ in range(40):
        with contextlib.suppress(PermissionError):
            return os.replace(source, target)
        time.sleep(0.025)
    return os.replace(source, target)


def _append(path: Path, line: bytes) -> None:
    """One more line, in one piece."""
    with open(path, "ab", buffering=0) as file:
        file.write(line + b"\n")


def _locked(path: Path) -> BinaryIO:
    """The folder's lock, held until it is closed or the process ends.  Raises StoreError if another has it."""
    lock = open(path / _LOCK, "ab")  # noqa: SIM115
    try:
        if sys.platform == "win32":
            import msvcrt

            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(f"{path}: another process is working on this campaign") from None
    return lock
