"""Where corpora lie: folders of this machine, and whatever fsspec reaches by URL (s3://bucket/path, memory://name).

`open_folder` gives either kind of folder; both read, write and move traces by name.  A written file appears whole
or not at all: here under a temporary name first, elsewhere through the transaction of its file system, which for
an object store is one upload.  Only a URL imports fsspec, which the extra `remote` installs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from recorder.errors import SynctapeError, TraceError

__all__ = [
    "SUFFIX",
    "Folder",
    "RemoteFile",
    "TraceFile",
    "as_shown",
    "is_url",
    "open_folder",
    "remote_traces",
    "safe_name",
]

SUFFIX = ".tape"
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"})  # to make a folder makes a bucket
_AT_ONCE = 64  # files fetched together
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:// is a drive
_FORBIDDEN = re.compile(r'[\x00-\x1f\\:*?"<>|]')  # what some file system does not take in a name


def is_url(location: object) -> bool:
    """Whether a location is fsspec's business."""
    return isinstance(location, RemoteFile) or (isinstance(location, str) and _URL.match(location) is not None)


def as_shown(location: str | Path | RemoteFile) -> str:
    """A file or folder as a command line takes it on any system."""
    return str(location) if is_url(location) else Path(str(location)).as_posix()


# --- remote files ---------------------------------------------------------------------------------------------


@functools.total_ordering
class RemoteFile:
    """A file by its URL, with the ways of a Path that a trace's readers use; `below`: its path in its folder."""

    def __init__(self, url: str, path: str, batch: _Batch, below: str):
        self.below = below
        self._url = url
        self._path = path
        self._batch = batch
        self.name = PurePosixPath(path).name
        self.stem = PurePosixPath(path).stem
        self.suffix = PurePosixPath(path).suffix

    def read_bytes(self) -> bytes:
        """The whole file.  Raises TraceError, in one line, if it cannot be had."""
        return self._batch.get(self._path, self._url)

    def as_posix(self) -> str:
        return self._url

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemoteFile({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFile) and other._url == self._url

    def __lt__(self, other: RemoteFile) -> bool:
        return self._url < other._url

    def __hash__(self) -> int:
        return hash(self._url)


TraceFile = Path | RemoteFile
"""A file that holds a trace, wherever it lies."""


class _Batch:
    """Files of one file system: who asks for one gets its neighbours fetched, too, since each costs a way."""

    def __init__(self, system: Any, paths: Sequence[str]):
        self._system = system
        self._paths = list(paths)
        self._places = {path: place for place, path in enumerate(paths)}
        self._held: dict[str, Any] = {}

    def get(self, path: str, url: str) -> bytes:
        if path not in self._held:
            place = self._places[path]
            with _explained(url):
                wanted = self._paths[place : place + _AT_ONCE]
                self._held = dict(self._system.cat(wanted, on_error="return"))
        held = self._held[path]
        with _explained(url):
            if isinstance(held, Exception):
                raise held
        return bytes(held)


def remote_traces(url: str) -> list[RemoteFile]:
    """The traces below a URL, sorted, or the file that it names.  Raises SynctapeError if there are none."""
    with _explained(url):
        system, path = _system(url)
        if system.info(path)["type"] == "directory":
            paths = sorted(name for name in system.find(path) if name.endswith(SUFFIX))
        else:
            paths = [path]
        if not paths:
            raise SynctapeError(f"{url}: no {SUFFIX} files in this folder or below it")
        batch = _Batch(system, paths)
        start = len(path.rstrip("/")) + 1 if paths != [path] else len(path) - len(PurePosixPath(path).name)
        return [RemoteFile(_url_of(system, name), name, batch, name[start:]) for name in paths]


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.  Raises SynctapeError if there is no such one here."""
    try:
        import fsspec
    except ImportError:
        raise SynctapeError(f"{url}: needs fsspec; pip install 'synctape[remote]'") from None
    try:
        system, path = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        why = _one_line(error).rstrip(".")
        raise SynctapeError(f"{url}: {why}; pip install 'synctape[remote]' brings what s3:// needs") from None
    return system, path


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _url_of(system: Any, path: str) -> str:
    return str(system.unstrip_protocol(path))


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Whatever a file system raises, which may be anything, as one line."""
    try:
        yield
    except SynctapeError:
        raise
    except FileNotFoundError as error:
        why = "no such bucket" if "bucket" in str(error).lower() else "no such file or folder"
        raise TraceError(why, path=url) from None
    except FileExistsError:
        raise TraceError("exists already; it is left as it is", path=url) from None
    except PermissionError as error:
        raise TraceError(f"access denied: {_one_line(error)}", path=url) from None
    except Exception as error:
        raise TraceError(f"cannot be reached: {_one_line(error)}", path=url) from None


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error))[:300].strip() or type(error).__name__


# --- folders --------------------------------------------------------------------------------------------------


class Folder(Protocol):
    """A folder of files, named by their paths in it with slashes.  All methods raise SynctapeError in one line."""

    def __str__(self) -> str: ...

    def names(self) -> list[str]:
        """All files in it and below, sorted; none if it is not there."""

    def file(self, name: str) -> TraceFile: ...

    def read(self, name: str) -> bytes: ...

    def write(self, name: str, data: bytes, *, overwrite: bool = False) -> None:
        """The file appears whole; what is there stays unless it is to be overwritten."""

    def remove(self, name: str) -> None: ...

    def beside(self, ending: str) -> Folder:
        """Another one next to it, whose name ends so."""


def open_folder(location: str | Path) -> Folder:
    """The folder at a path or URL, which need not be there yet."""
    return _RemoteFolder(location) if isinstance(location, str) and is_url(location) else _LocalFolder(location)


def safe_name(name: str) -> str:
    """A file's path in a folder as a name that stays in that folder, and that any file system takes."""
    parts = [_FORBIDDEN.sub("_", part).rstrip(". ") or "_" for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts) or "_"


class _LocalFolder:
    def __init__(self, path: str | Path):
        self._path = Path(path)

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        with _explained_here(self._path):
            if self._path.exists() and not self._path.is_dir():
                raise TraceError("is a file, not a folder", path=self._path)
            files = (path for path in self._path.rglob("*") if path.is_file())
            return sorted(path.relative_to(self._path).as_posix() for path in files)

    def file(self, name: str) -> Path:
        return self._path / name

    def read(self, name: str) -> bytes:
        with _explained_here(self.file(name)):
            return self.file(name).read_bytes()

    def write(self, name: str, data: bytes, *, overwrite: bool = False) -> None:
        path = self.file(name)
        with _explained_here(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".synctape-{secrets.token_hex(8)}")
            try:
                part.write_bytes(data)
                if not overwrite and os.path.lexists(path):
                    raise FileExistsError
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        with _explained_here(self.file(name)):
            self.file(name).unlink()

    def beside(self, ending: str) -> Folder:
        path = self._path.absolute()
        return _LocalFolder(self._path.parent / f"{path.name}{ending}" if self._path.name else f"{path}{ending}")


@contextlib.contextmanager
def _explained_here(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise TraceError("exists already; it is left as it is", path=path) from None
    except OSError as error:
        raise TraceError(f"{error.strerror or error}", path=path) from None


class _RemoteFolder:
    def __init__(self, url: str):
        self._url = url.rstrip("/")
        with _explained(url):
            self._system, path = _system(url)
        self._path = path.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def names(self) -> list[str]:
        with _explained(self._url):
            try:
                found = self._system.find(self._path)
            except FileNotFoundError as error:
                if "bucket" in str(error).lower():
                    raise
                return []
            return sorted(path[len(self._path) + 1 :] for path in found)

    def file(self, name: str) -> RemoteFile:
        path = self._at(name)
        return RemoteFile(_url_of(self._system, path), path, _Batch(self._system, [path]), name)

    def read(self, name: str) -> bytes:
        return self.file(name).read_bytes()

    def write(self, name: str, data: bytes, *, overwrite: bool = False) -> None:
        path = self._at(name)
        with _explained(f"{self._url}/{name}"):
            if not overwrite and self._system.exists(path):
                raise FileExistsError
            if not _BUCKETS.intersection(_protocols(self._system)):
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            if "s3" in _protocols(self._system) and not overwrite:
                self._system.pipe_file(path, data, mode="create")  # of two who write it one fails
                return
            with self._system.transaction, self._system.open(path, "wb") as file:
                file.write(data)

    def remove(self, name: str) -> None:
        with _explained(f"{self._url}/{name}"):
            self._system.rm_file(self._at(name))

    def beside(self, ending: str) -> Folder:
        return _RemoteFolder(f"{self._url}{ending}")

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"
