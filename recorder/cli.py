"""The command `record`: parse, call one function, print, exit.

0    nothing wrong
1    the provider raised (a native one: crashed, failed to start, or broke a rule that fails a check)
2    bad input or usage; the provider made no call
3    recording stopped before the provider ended
130  interrupted; 143 terminated.  The trace is whole up to there
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recorder import hresult
from recorder.calls import Outcome, OutcomeKind
from recorder.capture_cli import Capture, capture_options
from recorder.common_cli import complain, write_lines
from recorder.errors import TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, find_interface
from recorder.provenance import captured
from recorder.redact_cli import Redactable
from recorder.session_input import parts

if TYPE_CHECKING:
    from recorder.provider import Provider

__all__ = ["record"]

_TERMINATED = 128 + 15
_INTERRUPTED = 128 + 2


# --- record --------------------------------------------------------------------------------------------------


@click.command(cls=Redactable)
@click.argument("provider_spec", metavar="PROVIDER")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The trace to write.")
@click.option("--forward", metavar="TARGET", help="Forward the calls to the callback that this gives.")
@click.option("--flags", metavar="NAMES", help="Kind of sync: SYNC_... names and numbers, with commas.")
@click.option(
    "--interface",
    "interface_name",
    default=IMAPI_SYNC_PROGRESS_CALLBACK.name,
    metavar="NAME",
    help="Interface of the callback: a known one, or MODULE:NAME.  [default: IMAPISyncProgressCallback]",
)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="METHOD=HRESULT",
    help="What a method answers, without --forward; given again, what it answers next.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a native provider may take until its event is signalled.  [default: 300]",
)
@click.option(
    "--no-callback", is_flag=True, help="Give a native provider no callback: it syncs all the same (P4)."
)
@capture_options
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def record(
    *,
    capture: Capture,
    provider_spec: str,
    output: str,
    forward: str | None,
    flags: str | None,
    interface_name: str,
    answers: tuple[str, ...],
    timeout: float | None,
    no_callback: bool,
    force: bool,
) -> None:
    """Run PROVIDER with a recording callback and keep the calls that it makes.

    PROVIDER is written module:callable; the current folder is importable.  It is called with the callback, and
    with flags=... if it has such a parameter.  Recording ends when it has returned, and the thread that it
    returned and the threads that it started (but daemon threads) have ended.  The callback answers S_OK to
    everything, unless --answer or --forward say otherwise.

    PROVIDER may be native, too: path/library.so:symbol (.dll), where the symbol gives an IMAPISync.  It runs in a
    process of its own until its event is signalled and its references are given back, and its obligations are
    checked.  --forward takes a native host in the same way.  A class in Python that has IMAPISync's method,
    module:Class, is started and checked as a native provider is.

    Exits with 1 if the provider raises, or if a native one crashes, fails to start or breaks a rule; with 2 if it
    makes no call at all, with 3 if a native one has not ended in time; the trace is kept.
    """
    from recorder import provider as providers
    from recorder.host import load_host
    from recorder.library import is_library
    from recorder.redaction import Redaction
    from recorder.store import is_store

    for there in [Path(output), *(part for _, part in parts(output))]:
        if os.path.lexists(there) and not force:
            raise TraceError("exists already; give another name, or --force to replace it", path=there)
    if forward is not None and answers:
        raise click.UsageError("--answer says nothing where --forward gives the callback that answers")
    mask = None if flags is None else providers.parse_flags(flags)
    if is_library(provider_spec) or is_store(providers.load_provider(provider_spec)):
        sys.exit(
            _record_native(
                provider_spec,
                output,
                forward,
                flags=mask,
                interface=interface_name,
                answers=answers,
                timeout=timeout,
                callback=not no_callback,
                overwrite=force,
                capture=capture,
            )
        )
    if timeout is not None or no_callback:
        option = "--no-callback" if timeout is None else "--timeout"
        raise click.UsageError(f"{option} is for native providers; {provider_spec!r} is none")
    with providers.current_folder_importable():
        interface = find_interface(interface_name)
        script = _script(interface, answers)
        provider = providers.load_provider(provider_spec)
        if forward is None:
            inner = None
            target: dict[str, Any] = {"spec": "recorder.callback:ScriptedCallback"}
            if script:
                target["answers"] = {name: list(values) for name, values in script.items()}
        else:
            inner = load_host(forward, interface)
            version = providers.module_version(forward)
            target = {"spec": forward} | ({"version": version} if version else {})
        path = os.path.abspath(output)
        keywords = {
            "inner": inner,
            "answers": {name: iter(values) for name, values in script.items()},
            "interface": interface,
            "flags": mask,
            "overwrite": force,
            "target": target,
            "provenance": captured(provider=provider_spec),
            "bounds": capture.bounds,
            "sync": capture.sync,
            "redact": Redaction(capture.redact) if capture.redact else None,
        }
        code = _record(provider, path, keywords, output, provider_spec)
    sys.exit(code)


def _record(provider: Provider, path: str, keywords: dict[str, Any], shown: str, spec: str) -> int:
    """Record, tell how it went, and give the exit code."""
    from recorder import provider as providers
    from recorder.checking import check as check_trace
    from recorder.trace_input import TraceInput
    from recorder.wording import recorded_in_words

    start = time.monotonic_ns()
    code = 0
    outcome = Outcome()
    with _recording_warnings():
        try:
            with _terminable():
                outcome = providers.record(provider, path, **keywords)
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except _Terminated:
            code = _TERMINATED
    seconds = (time.monotonic_ns() - start) / 1e9
    if outcome.kind is OutcomeKind.RAISED:
        place = f" ({outcome.place})" if outcome.place else ""
        complain(f"provider {spec!r} raised {outcome.detail}{place}")
        code = code or 1
    trace = TraceInput(path)
    checked = check_trace(trace)
    if trace.cut:
        complain(f"{shown}: {checked.damage}")
        code = code or 3
    elif not checked.calls:
        complain(f"provider {spec!r} made no call")
        code = code or 2
    click.echo(recorded_in_words(shown, checked, trace.dropped, seconds))
    return code


def _record_native(
    spec: str,
    shown: str,
    forward: str | None,
    *,
    flags: int | None,
    interface: str,
    answers: tuple[str, ...],
    timeout: float | None,
    callback: bool,
    overwrite: bool,
    capture: Capture,
) -> int:
    """Record a native provider, tell how it went, and give the exit code."""
    from recorder.native_process import Isolated, record_isolated
    from recorder.native_provider import TIMEOUT
    from recorder.native_report import file_identity, report

    if find_interface(interface) != IMAPI_SYNC_PROGRESS_CALLBACK:
        raise click.UsageError(f"a native provider calls {IMAPI_SYNC_PROGRESS_CALLBACK.name}, not {interface}")
    script = _script(IMAPI_SYNC_PROGRESS_CALLBACK, answers)
    timeout = TIMEOUT if timeout is None else timeout
    before, start = file_identity(shown), time.monotonic_ns()
    interrupted, done = 0, Isolated(None)
    try:
        with _terminable():
            done = record_isolated(
                spec,
                shown,
                forward=forward,
                answers=script,
                flags=flags,
                timeout=timeout,
                callback=callback,
                overwrite=overwrite,
                bounds=capture.bounds,
                sync=capture.sync,
                redact=capture.redact,
            )
    except KeyboardInterrupt:
        interrupted = _INTERRUPTED
    except _Terminated:
        interrupted = _TERMINATED
    seconds = (time.monotonic_ns() - start) / 1e9
    path = shown if file_identity(shown) not in (None, before) else None
    told = report(done, spec, path, timeout=timeout, seconds=seconds, callback=callback)
    if not interrupted:
        for complaint in told.complaints:
            complain(complaint)
    write_lines(told.lines)
    return interrupted or told.code


def _script(interface: Interface, answers: Iterable[str]) -> dict[str, list[int]]:
    """Answers by method from METHOD=HRESULT."""
    script: defaultdict[str, list[int]] = defaultdict(list)
    for answer in answers:
        method, equals, value = answer.partition("=")
        if not equals:
            raise click.UsageError(f"--answer {answer!r}: write it as METHOD=HRESULT")
        if interface.method(method).name in interface.unknown:
            raise click.UsageError(f"--answer {answer!r}: {method} is answered by COM, not by a script")
        try:
            script[method].append(hresult.parse(value))
        except ValueError as error:
            raise click.UsageError(f"--answer {answer!r}: {error}") from None
    return dict(script)


class _Terminated(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what runs meanwhile with _Terminated, so that files are ended."""

    def terminate(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _recording_warnings() -> Iterator[None]:
    """Trouble with the file is told in one line, as every other trouble is."""
    from recorder.writer import RecordingWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", RecordingWarning)
        previous = warnings.showwarning

        def show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, RecordingWarning):
                complain(f"warning: {message}")
            else:
                previous(message, category, *rest, **more)

        warnings.showwarning = show_warning
        yield
