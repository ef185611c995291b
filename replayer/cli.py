"""The commands `replay`, `export`, `explain` and `doctor`: parse, call one function, print, exit."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

from recorder.calls import Trace
from recorder.contract import Level
from recorder.errors import TraceError
from recorder.interface import Interface
from recorder.interfaces import find_interface
from recorder.report_files import shown
from recorder.rules import RULES
from replayer.annotations import AnnotationReport
from replayer.corpus import find_traces, load, recorded_interface
from replayer.doctor import diagnosis, told
from replayer.export import script_of
from replayer.export_cpp import CPP, to_cpp
from replayer.export_perfetto import to_perfetto
from replayer.export_pytest import PYTEST, to_pytest
from replayer.export_scheduled import SCHEDULED, to_scheduled_pytest
from replayer.isolation import Limits, open_player
from replayer.oracles import CODES, ORACLES
from replayer.oracles import explain as explain_code
from replayer.places import Places
from replayer.player import PlayOptions
from replayer.reports import JsonReport, JUnitReport, Report, Summary, TextReport, report, reproduce_line
from replayer.sarif import SarifReport
from replayer.step_summary import StepSummary
from replayer.verdict import Judging, Status, Verdict, replay_files, require_target

__all__ = [
    "Terminated",
    "doctor",
    "explain",
    "export",
    "file_reports",
    "replay",
    "report_options",
    "stoppable",
    "wanted_reports",
]


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: it ends what Ctrl-C ends."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Ends the command with 130 on Ctrl-C and with 143 on SIGTERM, once everything inside has cleaned up."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError):  # not in the main thread: signals are not ours to take
            stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _terminate))
        try:
            yield
        except KeyboardInterrupt as stop:
            sys.exit(128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _pace(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    """None for fast, else what recorded time is divided by."""
    if value == "fast":
        return None
    try:
        factor = 1.0 if value == "recorded" else float(value)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise click.BadParameter(f"{value!r} is neither fast, recorded nor a factor above 0")
    return factor


def _oracles(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> frozenset[str]:
    for name in values:
        if name not in ORACLES:
            near = difflib.get_close_matches(name, ORACLES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ORACLES)}"
            raise click.BadParameter(f"no oracle {name!r}; {hint}")
    return frozenset(values)


_FILE = click.Path(dir_okay=False, path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def report_options(command: _Command) -> _Command:
    """The options of the reports that both `replay` and `fuzz` write; `wanted_reports` takes their values."""
    for option in (
        click.option(
            "--annotations",
            type=click.Choice(["auto", "github", "none"]),
            default="auto",
            show_default=True,
            help="Annotations for GitHub on stdout; auto: in GitHub Actions.",
        ),
        click.option(
            "--summary",
            type=_FILE,
            metavar="FILE",
            help="Write a page in Markdown.  In GitHub Actions the step's summary gets one, too.",
        ),
        click.option("--sarif", type=_FILE, metavar="FILE", help="Write a SARIF 2.1.0 report."),
        click.option("--junit", type=_FILE, metavar="FILE", help="Write a JUnit report."),
    ):
        command = option(command)
    return command


def file_reports(
    target: str,
    command: Callable[[Verdict], str],
    *,
    junit: Path | None,
    sarif: Path | None,
    summary: Path | None,
    name: str = "synctape replay",
    facts: Callable[[], Iterable[str]] = lambda: (),
    places: Places | None = None,
) -> list[Report]:
    """The reports that were asked for as files.  Raises SynctapeError if one cannot be written."""
    reports: list[Report] = []
    if junit is not None:
        reports.append(JUnitReport(junit, target, command, name=name))
    if sarif is not None:
        reports.append(SarifReport(sarif, target, command, places=places, warn=_warn))
    if summary is not None:
        reports.append(StepSummary(summary, target, command, heading=name, facts=facts))
    return reports


def wanted_reports(
    target: str,
    command: Callable[[Verdict], str],
    *,
    annotations: str,
    as_json: bool = False,
    name: str = "synctape replay",
    facts: Callable[[], Iterable[str]] = lambda: (),
    places: Places | None = None,
    **files: Path | None,
) -> list[Report]:
    """The reports that were asked for, by options or by running in GitHub Actions.

    With JSON on stdout annotations go to stderr, which GitHub reads, too.
    """
    on_github = os.environ.get("GITHUB_ACTIONS") == "true"
    junit, sarif, summary = (files[kind] for kind in ("junit", "sarif", "summary"))
    reports = file_reports(
        target, command, junit=junit, sarif=sarif, summary=summary, name=name, facts=facts, places=places
    )
    if on_github and (page := os.environ.get("GITHUB_STEP_SUMMARY")):
        reports.append(StepSummary(page, target, command, heading=name, facts=facts, append=True))
    if annotations == "github" or (annotations == "auto" and on_github):
        stream = sys.stderr if as_json else sys.stdout
        reports.append(AnnotationReport(stream, target, command, places=places))
    return reports


def _warn(line: str) -> None:
    click.echo(f"synctape: warning: {line}", err=True)


@click.command(short_help="Play recorded traces on a callback implementation and judge its answers.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-t", "--target", required=True, help="package.module:factory or path/library.so:symbol")
@click.option(
    "--level",
    type=click.Choice([str(level) for level in Level]),
    default="hostile",
    show_default=True,
    help="Findings on calls beyond this level are notes and fail nothing.",
)
@click.option(
    "--isolate/--in-process", default=True, help="In a child process (default), or here: for a debugger."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds after which a call hangs.",
)
@click.option(
    "--memory", type=click.IntRange(1), metavar="MIB", help="What the target may take; no limit without it."
)
@click.option(
    "--slow",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds from which a call is too slow.",
)
@click.option(
    "--pace",
    callback=_pace,
    metavar="[fast|recorded|FACTOR]",
    default="fast",
    show_default=True,
    help="Wait between calls as recorded, or FACTOR times as fast.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Play each trace N times in one process; from 50 on, what grows is a finding.",
)
@click.option("--main-thread", is_flag=True, help="Call from the main thread instead of a background one.")
@click.option("--match-results", is_flag=True, help="An answer that differs from the recorded one is a finding.")
@click.option(
    "--disable", callback=_oracles, multiple=True, metavar="ORACLE", help="Leave an oracle out; may be repeated."
)
@click.option(
    "--interface",
    "interface_name",
    metavar="NAME",
    help="Use the target as NAME or module:NAME, whatever the traces say.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
@report_options
@click.pass_context
@stoppable()
def replay(
    context: click.Context,
    /,
    *,
    paths: tuple[str, ...],
    target: str,
    level: str,
    isolate: bool,
    timeout: float,
    memory: int | None,
    slow: float,
    pace: float | None,
    repeat: int,
    main_thread: bool,
    match_results: bool,
    disable: frozenset[str],
    interface_name: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Play recorded traces on a callback implementation and judge its answers.

    PATH is a trace or a folder of them.  A trace that was kept for a finding answers FAILED while the finding is
    there, FIXED when nothing is found any more, and ERROR if it could not be replayed.

    Exit code: 0 nothing found, 1 findings, 2 bad input or a trace that could not be replayed, 3 no child process
    could be run, 130 and 143 interrupted and terminated.
    """
    files = find_traces(paths)
    interface = _interface(interface_name) if interface_name else recorded_interface(files)
    options = PlayOptions(pace=pace, main_thread=main_thread, collect=2, skip=tuple(disable), repeat=repeat)
    judging = Judging(Level[level.upper()], slow, match_results, disable, repeat)
    command = _reproduce(target, _given_options(context))
    limits = Limits(timeout, memory)
    with open_player(target, interface, isolate=isolate, options=options, limits=limits) as player:
        require_target(player)
        reports = wanted_reports(target, command, as_json=as_json, **wanted)
        reports += [_ErrorLines(), _on_stdout(as_json, command)]  # what is printed is in the files, too
        summary = report(replay_files(files, player, judging), reports, len(files))
    context.exit(summary.exit_code)


def _interface(name: str) -> Interface:
    from recorder.provider import current_folder_importable

    with current_folder_importable():
        return find_interface(name)


def _given_options(context: click.Context) -> list[str]:
    """What was given on the command line to change how traces are played and judged."""
    given: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if (
            name in _NOT_REPEATED
            or context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE
        ):
            continue
        given += _spelled(parameter, context.params[name])
    return given


_NOT_REPEATED = frozenset(
    {"paths", "target", "junit", "sarif", "summary", "annotations", "as_json", "isolate", "level"}
)


def _spelled(parameter: click.Parameter, value: Any) -> Iterator[str]:
    flag = parameter.opts[0]
    for one in sorted(value) if isinstance(value, frozenset) else (value,):
        yield flag
        if not isinstance(one, bool):
            yield "fast" if one is None else f"{one:g}" if isinstance(one, float) else str(one)


def _reproduce(target: str, options: Sequence[str]) -> Callable[[Verdict], str]:
    return lambda verdict: reproduce_line(verdict.path or verdict.name, target, options)


def _on_stdout(as_json: bool, command: Callable[[Verdict], str]) -> Report:
    return JsonReport(sys.stdout, command) if as_json else TextReport(sys.stdout, command)


class _ErrorLines:
    """A line on stderr for each trace that could not be replayed, and for an interrupt."""

    def verdict(self, verdict: Verdict) -> None:
        if verdict.status is Status.ERROR:
            click.echo(f"synctape: {shown(verdict.name)}: {shown(verdict.message)}", err=True)

    def end(self, summary: Summary) -> None:
        if summary.stopped == "interrupted":  # what else stops a run is told by the root command
            click.echo("synctape: interrupted", err=True)


_FORMS: dict[str, Callable[[Trace, str], str]] = {
    "cpp": lambda trace, name: to_cpp(script_of(trace, CPP, name)),
    "pytest": lambda trace, name: (
        to_scheduled_pytest(trace, script_of(trace, SCHEDULED, name))
        if trace.header.scheduled
        else to_pytest(script_of(trace, PYTEST, name))
    ),
    "perfetto": to_perfetto,
}


@click.command(short_help="Turn a trace into a program or test that stands alone, or into a timeline.")
@click.argument("path", metavar="TRACE", type=click.Path(path_type=Path))
@click.option("--to", "form_name", type=click.Choice(list(_FORMS)), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to, else to stdout.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export(*, path: Path, form_name: str, output: Path | None, force: bool) -> None:
    """Turn a trace into a C++ program or a pytest file that stands alone, or into a timeline for Perfetto.

    A program or test makes the trace's calls on a callback factory of yours and needs nothing of synctape; only
    the test of a scheduled trace, whose threads run at the same time, imports it.  For a trace that was kept for
    a finding it is red while that bug lives and green after; for any other one it is red when the callback
    crashes, hangs, lets an exception out, fails a call that keeps to the contract, or mistreats a handle.  A
    timeline shows the calls as they were captured, in Perfetto's viewer.

    Exit code: 0 written, 2 bad input, or a trace whose finding the file could not show.
    """
    if not path.is_file():
        raise TraceError("no such file", path=path)
    source = _FORMS[form_name](load(path), path.name)
    if output is None:
        click.echo(source, nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="ascii", newline="\n") as file:
            file.write(source)
    except FileExistsError:
        why = "exists already; give another name, or --force to replace it"
        raise TraceError(why, path=output) from None
    except OSError as error:
        raise TraceError(f"cannot be written: {error.strerror or error}", path=output) from None


@click.command(short_help="Say what the code of a finding or rule means.")
@click.argument("codes", nargs=-1, metavar="[CODE]...")
def explain(codes: tuple[str, ...]) -> None:
    """Say what the code of a finding or rule means, why it matters and how to mend it; without CODE, list them."""
    if not codes:
        for code in (*CODES, *RULES):
            click.echo(f"{code:<4} {explain_code(code)[0][1]}")
    for code in codes:
        paragraphs = explain_code(code)
        click.echo(code.upper())
        for heading, text in paragraphs:
            click.echo(click.wrap_text(f"{heading:<16}{text}", 100, "  ", " " * 18))
        click.echo()


@click.command(short_help="Say what this installation works with, and where the recorder for C lies.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def doctor(as_json: bool) -> None:
    """Say what this installation works with: the compiled core or ctypes and why, versions, the recorder for C.

    Exit code: 0; nothing that is said here is an error.
    """
    facts = diagnosis()
    click.echo(json.dumps(facts) if as_json else "\n".join(told(facts)))
