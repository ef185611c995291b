"""Providers: where the calls come from.  Loading one, running and recording it, and the flags of a sync.

A provider is written `package.module:callable` (or `package.module.callable`) and takes the callback.  It may
work on threads of its own: `run_provider` waits for those that it started, daemon threads excepted, and for the
thread that it returns, of whatever kind.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any

from recorder.callback import RecordingCallback
from recorder.calls import Outcome, OutcomeKind
from recorder.errors import SynctapeError, TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.session import Bounds, open_writer
from recorder.session_input import parts
from recorder.writer import Redacting, live_header, storable

__all__ = [
    "SYNC_FLAGS",
    "Provider",
    "ProviderError",
    "current_folder_importable",
    "flag_names",
    "load_object",
    "load_provider",
    "module_version",
    "parse_flags",
    "record",
    "room_for",
    "run_provider",
]

Provider = Callable[[object], object]


class ProviderError(SynctapeError):
    """A provider, a callback factory or a flag that cannot be used as it is written."""


# --- flags ---------------------------------------------------------------------------------------------------

SYNC_FLAGS: Mapping[str, int] = MappingProxyType(
    {
        "SYNC_UPLOAD_HIERARCHY": 0x1,
        "SYNC_DOWNLOAD_HIERARCHY": 0x2,
        "SYNC_UPLOAD_CONTENTS": 0x40,
        "SYNC_DOWNLOAD_CONTENTS": 0x80,
        "SYNC_OUTGOING_MAIL": 0x200,
        "SYNC_BACKGROUND": 0x1000,
        "SYNC_THESE_FOLDERS": 0x20000,
        "SYNC_GLOBAL_HEADERS": 0x02000000,
        "SYNC_HEADERS": 0x02000000,  # mapi-constants.md's name of the same value
        "SYNC_ON_DEMAND": 0x20000000,
    }
)
"""MAPISIB.ulFlags by name [mapisib.md, mapi-constants.md]."""


def parse_flags(text: str) -> int:
    """A mask from names and numbers with commas between them; 0 for empty text.

    Raises ProviderError for a name that does not exist or a number of more than 32 bits.
    """
    mask = 0
    for word in filter(None, (word.strip() for word in text.split(","))):
        mask |= _flag(word)
    return mask


def _flag(word: str) -> int:
    if word in SYNC_FLAGS:
        return SYNC_FLAGS[word]
    try:
        value = int(word, 0)
    except ValueError:
        near = difflib.get_close_matches(word.upper(), SYNC_FLAGS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the flags are {', '.join(SYNC_FLAGS)}"
        raise ProviderError(f"unknown sync flag {word!r}; {hint}") from None
    if not 0 <= value < 2**32:
        raise ProviderError(f"sync flag {word} is not a 32-bit number")
    return value


def flag_names(mask: int) -> tuple[str, ...]:
    """The names of a mask's bits, what has none as one number; empty for 0.  `parse_flags` reads them back."""
    names: dict[int, str] = {}
    for name, value in SYNC_FLAGS.items():
        if mask & value:
            names.setdefault(value, name)
    rest = mask & ~functools.reduce(int.__or__, names, 0)
    return (*names.values(), *([hex(rest)] if rest else []))


# --- loading -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def current_folder_importable() -> Iterator[None]:
    """Modules of the current folder can be imported meanwhile, before any installed ones of the same name."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def load_provider(spec: str) -> Provider:
    """The provider that a command line names.  Raises ProviderError, in one line that says what to mend."""
    return load_object(spec, "provider")


def load_object(spec: str, what: str) -> Callable[..., Any]:
    """The callable that `module:attribute` or a dotted path names; `what` is its part, for messages.

    The current folder is importable.  Raises ProviderError.
    """
    shown = f"{what} {spec!r}"
    location, _, attribute = spec.rpartition(":" if ":" in spec else ".")
    if not attribute or not location:
        raise ProviderError(f"{shown}: write it as module:callable")
    if location.endswith(".py") or "/" in location or "\\" in location:
        module = location.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
        raise ProviderError(f"{shown}: name the module, not its file: {module}:{attribute}")
    with current_folder_importable():
        if ":" in spec:
            found: Any = _import(location, shown)
        else:
            found, attribute = _import_longest(spec.split("."), shown)
    for name in attribute.split("."):
        found = _attribute(found, name, shown)
    if not callable(found):
        raise ProviderError(f"{shown} is of type {type(found).__name__}, it cannot be called")
    return found  # type: ignore[no-any-return]


class _NoModule(ProviderError):
    """The module itself is missing, rather than one that it imports."""


def _import(name: str, shown: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may do anything when it is imported, also exit
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            where = f"the current folder is {os.getcwd()}"
            raise _NoModule(f"{shown}: there is no module {error.name!r}; {where}") from None
        raise _import_failed(name, shown, error) from None


def _import_failed(name: str, shown: str, error: BaseException) -> ProviderError:
    where = place_of(error.__traceback__)
    return ProviderError(f"{shown}: importing {name} raised {one_line(error)}{f' ({where})' if where else ''}")


def _import_longest(names: list[str], shown: str) -> tuple[ModuleType, str]:
    """The module that a dotted path begins with, as long as possible, and the rest of the path."""
    for length in range(len(names) - 1, 1, -1):
        with contextlib.suppress(_NoModule):
            return _import(".".join(names[:length]), shown), ".".join(names[length:])
    return _import(names[0], shown), ".".join(names[1:])


def _attribute(owner: Any, name: str, shown: str) -> Any:
    where = getattr(owner, "__name__", type(owner).__name__)
    try:
        return getattr(owner, name)
    except AttributeError:
        near = difflib.get_close_matches(name, dir(owner), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ProviderError(f"{shown}: {where} has no {name!r}{hint}") from None
    except Exception as error:  # a module's own __getattr__ may import
        raise _import_failed(where, shown, error) from None


def module_version(spec: str) -> str | None:
    """`__version__` of an imported object's module or of its top package; None if neither says."""
    name = spec.partition(":")[0] if ":" in spec else spec.rpartition(".")[0]
    for candidate in (name, name.partition(".")[0]):
        version = getattr(sys.modules.get(candidate), "__version__", None)
        if version is not None:
            return str(version)
    return None


# --- running -------------------------------------------------------------------------------------------------


def record(
    provider: Provider,
    path: str | os.PathLike[str],
    *,
    inner: object = None,
    answers: Mapping[str, Any] | None = None,
    interface: Interface = IMAPI_SYNC_PROGRESS_CALLBACK,
    flags: int | None = None,
    overwrite: bool = False,
    bounds: Bounds | None = None,
    sync: float | None = None,
    redact: Redacting | None = None,
    **header: Any,
) -> Outcome:
    """Run a provider and record its calls to `path`: forwarded to `inner`, or answered by `answers`, or S_OK.

    Gives what came of the provider; whatever that is, the trace is whole.  `header` are further fields of the
    trace's Header; `bounds`, `sync` and `redact` are those of `open_writer`.  Raises TraceError, before the
    provider runs, if the file exists and `overwrite` is false, or if it cannot be made.
    """
    facts = live_header(interface=interface, sync_flags=flags, **header)
    with contextlib.ExitStack() as room:
        for there in [Path(path), *(part for _, part in parts(path))]:
            room.enter_context(room_for(there, overwrite))
        if bounds is not None and os.path.lexists(path):
            raise TraceError("exists already; it is left as it is", path=path)
        writer = open_writer(path, facts, bounds=bounds, sync=sync, redact=redact)
    with writer:
        callback = RecordingCallback(inner, interface=interface, answers=answers, writer=writer)
        return run_provider(provider, callback, flags=flags)


@contextlib.contextmanager
def room_for(path: str | os.PathLike[str], overwrite: bool) -> Iterator[None]:
    """Within this a new file can be made at `path`; one that is there already is lost only if that works.

    Raises TraceError if what is there cannot be replaced.
    """
    if not overwrite or not os.path.lexists(path):
        yield
        return
    if not os.path.isfile(path):
        raise TraceError("is no ordinary file; it is left as it is", path=path)
    aside = f"{os.fspath(path)}.{os.getpid()}.old"
    try:
        os.replace(path, aside)
        try:
            yield
        except BaseException:
            os.replace(aside, path)
            raise
        os.unlink(aside)
    except OSError as error:
        raise TraceError(f"cannot be replaced: {error.strerror or error}", path=path) from None


def run_provider(provider: Provider, callback: object, *, flags: int | None = None) -> Outcome:
    """Call the provider with the callback, and wait for its threads.

    A parameter named `flags` gets the sync flags (0 if there are none and it has no default).  An exception,
    also one that ends a thread which the provider started, is an Outcome of kind RAISED.
    """
    arguments = _flag_argument(provider, flags)
    before = set(threading.enumerate())
    start = time.monotonic_ns()
    value: object = None
    with _thread_exceptions(before) as raised:
        try:
            value = provider(callback, **arguments)
        except (Exception, SystemExit) as error:
            raised.insert(0, error)
        for thread in _threads(value):
            _join([thread])
        while started := [t for t in threading.enumerate() if t not in before and not t.daemon]:
            _join(started)
    elapsed = time.monotonic_ns() - start
    if raised:
        where = place_of(raised[0].__traceback__)
        return Outcome(OutcomeKind.RAISED, None, elapsed, one_line(raised[0]), where)
    return Outcome(value=storable(value), elapsed_ns=elapsed)


def _flag_argument(provider: Provider, flags: int | None) -> dict[str, Any]:
    try:
        parameters = inspect.signature(provider).parameters
    except (TypeError, ValueError):  # a builtin that does not say
        return {}
    parameter = parameters.get("flags")
    if parameter is None:
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        return {"flags": flags} if takes_any and flags is not None else {}
    if flags is None and parameter.default is not parameter.empty:
        return {}
    return {"flags": flags or 0}


def _threads(value: object) -> Iterator[threading.Thread]:
    if isinstance(value, threading.Thread):
        yield value
    elif isinstance(value, tuple | list):
        yield from (item for item in value if isinstance(item, threading.Thread))


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)  # no wait is endless, so that Ctrl-C gets through on Windows too


@contextlib.contextmanager
def _thread_exceptions(before: set[threading.Thread]) -> Iterator[list[BaseException]]:
    """Collects what ends threads that are not among `before`, instead of printing it."""
    raised: list[BaseException] = []
    previous = threading.excepthook

    def hook(args: Any) -> None:
        if args.thread is None or args.thread in before or args.exc_value is None:
            previous(args)
        else:
            raised.append(args.exc_value)

    threading.excepthook = hook
    try:
        yield raised
    finally:
        threading.excepthook = previous


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, in one line of bounded length."""
    text = " ".join(traceback.format_exception_only(error)[-1].split())
    return text if len(text) <= 500 else text[:497] + "..."


def place_of(trace: TracebackType | None) -> str:
    """`file.py:12 in name` of the innermost frame that is not the import system's; "" if there is none."""
    frames = [f for f in traceback.extract_tb(trace) if not f.filename.startswith("<frozen ")]
    frames = [f for f in frames if f.filename != __file__]
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
