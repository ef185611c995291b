"""A native provider in a process of its own, which it may bring down: the trace stays, and its end is told.

    parent   record_isolated: job.json in a folder of its own -> waits -> result.json
    child    python -m recorder.native_process FOLDER: record_native, then result.json, then the end at once

A child that leaves no result has died, whatever its exit code says.  The provider's output goes where the parent's
goes.  SIGTERM ends the child with its trace whole; so does Ctrl-C, which a terminal sends to both.  When the
parent is killed, Linux sends the child SIGTERM, and Windows ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.endings import ending, fault, fault_text
from recorder.errors import SynctapeError
from recorder.host import load_host
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.library import is_library
from recorder.native_provider import TIMEOUT, NativeRun, record_native
from recorder.provenance import captured
from recorder.provider import current_folder_importable, module_version
from recorder.redaction import Redaction
from recorder.session import Bounds
from recorder.windows_job import Job

__all__ = ["Isolated", "record_isolated"]

_OVERTIME: Final = 30.0  # seconds beyond the timeout that a child may take to start and to end
_FAREWELL: Final = 5.0  # seconds that a child has to end when it is told to
_PR_SET_PDEATHSIG: Final = 1
_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from recorder.native_process import main; main(sys.argv[1])"


@dataclass(frozen=True)
class Isolated:
    """What came of it: a run; or, if the provider took its process with it, None and how that ended."""

    run: NativeRun | None
    crash: str = ""


def record_isolated(
    spec: str,
    path: str | os.PathLike[str],
    *,
    forward: str | None = None,
    answers: Mapping[str, Sequence[int]] | None = None,
    flags: int | None = None,
    timeout: float = TIMEOUT,
    callback: bool = True,
    overwrite: bool = False,
    bounds: Bounds | None = None,
    sync: float | None = None,
    redact: str | None = None,
) -> Isolated:
    """`record_native` in a child process.

    `forward` names a host, native (`path/library.so:symbol`) or in Python (`module:factory`); `answers` are lists
    of HRESULTs by method; `bounds` and `sync` are those of `recorder.session.open_writer`; `redact` is how words
    are taken out of the trace, None to leave them.  Raises what `record_native` raises, as SynctapeError.
    """
    job = {
        "spec": spec,
        "path": os.path.abspath(path),
        "forward": forward,
        "answers": {name: list(values) for name, values in (answers or {}).items()},
        "flags": flags,
        "timeout": timeout,
        "callback": callback,
        "overwrite": overwrite,
        "bounds": bounds and [bounds.total, bounds.keep_first],
        "sync": sync,
        "redact": redact,
        "parent": os.getpid(),
    }
    with tempfile.TemporaryDirectory(prefix="synctape-") as folder:
        Path(folder, "job.json").write_text(json.dumps(job), "utf-8")
        code = _run(folder, timeout + _OVERTIME)
        try:
            result = json.loads(Path(folder, "result.json").read_text("utf-8"))
        except FileNotFoundError:
            return Isolated(None, "it had to be killed" if code is None else ending(code))
    match result:
        case {"refused": text}:
            raise SynctapeError(text)
        case {"fault": text}:
            return Isolated(None, text)
        case {"interrupted": _}:
            raise KeyboardInterrupt
        case {"failed": text}:
            raise RuntimeError(f"in the recording process:\n{text}")
    return Isolated(NativeRun(**{**result["run"], "notes": tuple(result["run"]["notes"])}))


def _run(folder: str, seconds: float) -> int | None:
    """Have a child do the folder's job: its exit code, -n for signal n; None if it had to be killed."""
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    command = [sys.executable, "-c", _BOOT, folder, *path]
    sys.stdout.flush()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process, contextlib.closing(Job(process)):
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(0.5)  # no wait is long, so that Ctrl-C gets through
            return None
        except BaseException:  # Ctrl-C, SIGTERM
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_FAREWELL)
            raise
        finally:
            if process.poll() is None:
                process.kill()


# --- the child ------------------------------------------------------------------------------------------------


def main(folder: str) -> None:
    """Do the job in `folder`, and end the process whatever the provider's threads are doing."""
    _keep_quiet_when_crashing()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # a killed parent leaves no child behind
    warnings.showwarning = _tell
    job = json.loads(Path(folder, "job.json").read_text("utf-8"))
    try:
        result = _do(job)
    except KeyboardInterrupt:
        result = {"interrupted": True}
    except SynctapeError as error:
        result = {"refused": str(error)}
    except Exception as error:
        result = {"failed": traceback.format_exc()}  # a mistake of ours is none of the provider's
        if fault(error) is not None:
            result = {"fault": fault_text(error)}
    made = Path(folder, "result.new")
    made.write_text(json.dumps(result), "utf-8")
    made.replace(Path(folder, "result.json"))
    if sys.platform != "win32" and os.getppid() != job["parent"]:
        shutil.rmtree(folder, ignore_errors=True)  # the parent was killed, and cannot
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _do(job: dict[str, Any]) -> dict[str, Any]:
    spec = forward = job["forward"]
    inner, version = None, None
    with current_folder_importable():
        if forward is not None and not is_library(forward):
            inner, forward = load_host(forward, IMAPI_SYNC_PROGRESS_CALLBACK), None
            version = module_version(spec)
        target = {"spec": spec or "recorder.callback:ScriptedCallback"}
        if spec is None and job["answers"]:
            target["answers"] = job["answers"]
        if version:
            target["version"] = version
        run = record_native(
            job["spec"],
            job["path"],
            inner=inner,
            forward=forward,
            answers={name: iter(values) for name, values in job["answers"].items()},
            flags=job["flags"],
            timeout=job["timeout"],
            callback=job["callback"],
            overwrite=job["overwrite"],
            bounds=job["bounds"] and Bounds(*job["bounds"]),
            sync=job["sync"],
            redact=job["redact"] and Redaction(job["redact"]),
            target=target,
            provenance=captured(provider=job["spec"]),
        )
    return {"run": dataclasses.asdict(run)}


def _interrupt(*_: object) -> None:
    """Ends what runs, once: a terminal's Ctrl-C comes twice, from the terminal and from the parent."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _keep_quiet_when_crashing() -> None:
    """No dialogs, no core files."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
    else:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    print(f"synctape: warning: {message}", file=sys.stderr)
