"""The recorder's commands: record, show, check.  Each parses, calls one function, prints, and exits.

0    nothing wrong (show: also of a damaged trace, with a warning)
1    record: the provider raised (a native one: crashed, failed to start, or broke a rule that fails a check);
     check: a rule is broken that fails
2    bad input or usage; record: the provider made no call
3    record: recording stopped before the provider ended
130  interrupted; 143 terminated.  The trace is whole up to there
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from recorder import hresult
from recorder.calls import Outcome, OutcomeKind
from recorder.errors import SynctapeError, TraceError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, find_interface
from recorder.provenance import captured

if TYPE_CHECKING:
    from recorder.provider import Provider
    from recorder.show import Parts, TraceInput

__all__ = ["check", "record", "show"]

_TERMINATED = 128 + 15
_INTERRUPTED = 128 + 2


# --- record --------------------------------------------------------------------------------------------------


@click.command()
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
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def record(
    *,
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
    from recorder.store import is_store

    if os.path.lexists(output) and not force:
        raise TraceError("exists already; give another name, or --force to replace it", path=output)
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
        }
        code = _record(provider, path, keywords, output, provider_spec)
    sys.exit(code)


def _record(provider: Provider, path: str, keywords: dict[str, Any], shown: str, spec: str) -> int:
    """Record, tell how it went, and give the exit code."""
    from recorder import provider as providers
    from recorder.show import TraceInput
    from recorder.show import check as check_trace
    from recorder.wording import calls_in_words, rules_in_words

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
        _complain(f"provider {spec!r} raised {outcome.detail}{place}")
        code = code or 1
    checked = check_trace(TraceInput(path))
    if checked.damage:
        _complain(f"{shown}: {checked.damage}")
        code = code or 3
    elif not checked.calls:
        _complain(f"provider {spec!r} made no call")
        code = code or 2
    click.echo(f"{shown}: {calls_in_words(checked)} in {seconds:.3f} s; {rules_in_words(checked)}")
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
            _complain(complaint)
    _write(told.lines)
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
        except ValueError:
            message = f"--answer {answer!r}: {value!r} is no HRESULT; write its name, or 0x and eight digits"
            raise click.UsageError(message) from None
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
                _complain(f"warning: {message}")
            else:
                previous(message, category, *rest, **more)

        warnings.showwarning = show_warning
        yield


# --- show ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option("--json", "form", flag_value="json", help="One JSON object a line: header, calls, end.")
@click.option("--stats", is_flag=True, help="Counts, rates, gaps and slow answers instead of the calls.")
@click.option("--text", "form", flag_value="text", help="The text form, which parses back into the same trace.")
def show(paths: tuple[str, ...], form: str | None, stats: bool) -> None:
    """Print traces: a table of calls with times in seconds since the start, threads and answers.

    TRACE is a trace file, a file in text form, or a folder: all *.tape below it.  Of a damaged trace the sound
    part is shown, with a warning on stderr.  With --stats --json the statistics are one JSON object a trace.
    """
    if stats and form == "text":
        raise click.UsageError("--stats has no text form; take --stats alone, or with --json")
    complaints = _Complaints()
    with _quiet_pipe():
        for number, trace in enumerate(_traces(paths, complaints)):
            if number and form is None:
                sys.stdout.write("\n")
            with complaints.caught(trace.path):
                _show(trace, form, stats)
                if trace.damage:
                    _complain(f"warning: {trace.path}: {trace.damage}; what is before it is shown")
        sys.stdout.flush()
    sys.exit(2 if complaints.count else 0)


def _show(trace: TraceInput, form: str | None, stats: bool) -> None:
    from recorder import show

    if stats and form == "json":
        _write([show.as_json({"path": trace.path, **show.statistics(trace).as_json()})])
    elif form == "json":
        _write(show.json_lines(trace))
    elif form == "text":
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure and not sys.stdout.isatty():
            reconfigure(encoding="utf-8")  # as it is read back, whatever the locale says
        _write(show.text_form(trace))
    else:
        rows = show.statistics(trace).rows() if stats else show.summary(trace)
        print_parts = _printer()
        print_parts([(trace.path, "bold")])
        for name, value in rows:
            print_parts([(f"  {name:<12}", "dim"), (value, "red" if name == "damage" else "")])
        if not stats:
            print_parts([])
            for parts in show.table(trace, _terminal_width()):
                print_parts(parts)


def _write(lines: Iterable[str]) -> None:
    write = sys.stdout.write
    for line in lines:
        write(line + "\n")


def _terminal_width() -> int | None:
    """Columns of the terminal that the output goes to; None if it goes elsewhere."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _printer() -> Callable[[Parts], None]:
    """What prints a line in parts: in colours on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        return lambda parts: _write(["".join(text for text, _ in parts).rstrip()])
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    return lambda parts: console.print(Text.assemble(*parts), soft_wrap=True)


# --- check ---------------------------------------------------------------------------------------------------


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option("--json", "as_json_lines", is_flag=True, help="One JSON object a trace.")
def check(paths: tuple[str, ...], as_json_lines: bool) -> None:
    """Report the contract rules that the provider in each TRACE broke, with the numbers of the calls.

    TRACE is a trace file, a file in text form, or a folder: all *.tape below it.  Every E rule fails the check,
    and every W rule that a page of the documentation states.  W rules that are only implied, and I rules, are
    notes: real providers break them every day.  Of a damaged trace the sound part is checked, and what may
    stand in the rest is not held against it.

    Exits with 1 if a check failed, with 2 if something could not be read.
    """
    from recorder.show import as_json
    from recorder.show import check as check_trace
    from recorder.wording import report_lines

    complaints = _Complaints()
    failed = traces = 0
    with _quiet_pipe():
        for trace in _traces(paths, complaints):
            with complaints.caught(trace.path):
                checked = check_trace(trace)
                traces += 1
                failed += checked.fails
                _write([as_json(checked.as_json())] if as_json_lines else report_lines(checked))
                if checked.damage:
                    _complain(f"warning: {trace.path}: {checked.damage}; what is before it is checked")
        if traces > 1 and not as_json_lines:
            _write([f"{traces} traces, {failed} failed"])
        sys.stdout.flush()
    sys.exit(2 if complaints.count else 1 if failed else 0)


# --- what the commands share ---------------------------------------------------------------------------------


def _complain(message: str) -> None:
    sys.stdout.flush()
    click.echo(f"synctape: {message}", err=True)


class _Complaints:
    """Input that cannot be used is told in a line and counted, and the next one is taken."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def caught(self, path: str) -> Iterator[None]:
        try:
            yield
        except SynctapeError as error:
            self.add(str(error))
        except RecursionError:
            self.add(f"{path}: has a header that is nested too deeply")
        except OverflowError:
            self.add(f"{path}: has a time that is out of range")
        except OSError as error:
            if error.filename is None and error.errno in _PIPE_ERRORS:
                raise
            self.add(f"{path}: cannot be read: {error.strerror or error}")

    def add(self, message: str) -> None:
        _complain(message)
        self.count += 1


def _traces(paths: Iterable[str], complaints: _Complaints) -> Iterator[TraceInput]:
    """The traces that the arguments name, opened one after the other."""
    from recorder.show import TraceInput, trace_files

    for path in paths:
        with complaints.caught(path):
            for file in trace_files(path):
                with complaints.caught(str(file)):
                    yield TraceInput(file)


_PIPE_ERRORS = (errno.EPIPE, errno.EINVAL)  # EINVAL: what Windows says


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """A reader that closes the pipe (`| head`) has seen enough: no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _PIPE_ERRORS:
            raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
