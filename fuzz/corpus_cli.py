"""The commands `corpus ...`: parse, call one function, print, exit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

from fuzz.buckets import make_folder
from fuzz.coverage import why_not_covered
from fuzz.features import Shower
from fuzz.limits_cli import memory_option, timeout_option
from fuzz.merge import Plan, distinct, keep, keep_apart, move_away, smallest
from fuzz.merge import trim as trim_all
from recorder.errors import SynctapeError
from recorder.interfaces import find_interface
from recorder.provider import current_folder_importable
from recorder.redact_cli import Redactable, redact_option
from recorder.report_files import shown
from recorder.trace import write_trace
from replayer.cli import stoppable
from replayer.corpus import SUFFIX, Corpus, read_corpus
from replayer.isolation import Limits
from replayer.locations import Folder, as_shown, open_folder

__all__ = ["corpus"]

_LONGEST_LINE = 1000  # characters


@click.group()
def corpus() -> None:
    """Make and keep folders of traces."""


@corpus.command("import")
@click.argument("captures", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder for the traces.")
@click.option("--force", is_flag=True, help="Replace traces of the same name.")
def import_captures(captures: tuple[str, ...], output: str, force: bool) -> None:
    """Turn captures in JSON lines (files, or folders of *.jsonl) into traces."""
    from recorder.capture_import import import_capture

    paths = [
        p
        for name in captures
        for p in (sorted(Path(name).rglob("*.jsonl")) if Path(name).is_dir() else [Path(name)])
    ]
    if not paths:
        raise SynctapeError(f"{' '.join(captures)}: no *.jsonl below")
    folder = Path(output)
    make_folder(folder)
    traces = [(path, import_capture(path)) for path in paths]
    for path, trace in traces:
        write_trace(trace, folder / f"{path.stem}.tape", overwrite=force)
    click.echo(f"{len(traces)} traces, {sum(len(t.calls) for _, t in traces)} calls: {folder}")


@corpus.command(cls=Redactable)
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder for the traces.")
@click.option("--force", is_flag=True, help="Replace traces of the same name.")
@redact_option
def capture(output: str, force: bool, redact: str | None) -> None:
    """Capture the mail-folder provider's runs anew: each scenario really synchronises generated mail."""
    from fuzz.corpora import capture_scenarios

    folder = Path(output)
    make_folder(folder)
    for path, calls in capture_scenarios(folder, overwrite=force, redact=redact):
        click.echo(f"{path}  {calls} calls")


# --- what there is --------------------------------------------------------------------------------------------


@corpus.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def stats(folders: tuple[str, ...], as_json: bool) -> None:
    """What corpora hold: traces, calls, levels, rules broken, and what of the protocol is reached and missed.

    FOLDER is a folder, a trace, or a URL of either.  Exit code: 0, or 2 if there is nothing to count.
    """
    from fuzz.census import census

    found = census(_read(folders))
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    from fuzz.census_table import print_census

    print_census(found, sys.stdout)


@corpus.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option(
    "--interface", "interface_name", metavar="NAME", help="What all traces are of.  [default: what most are of]"
)
@click.option("--strict", is_flag=True, help="A trace that one was made from must be there, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def verify(folders: tuple[str, ...], interface_name: str | None, strict: bool, as_json: bool) -> None:
    """Read every trace to its end, and hold what its header says against what it is.

    Each problem is a line: the file, the place, what is wrong and what to do.  Exit code: 0 all sound, 1 something
    is wrong, 2 bad input or no traces.
    """
    from fuzz.soundness import leftovers, unsound

    with current_folder_importable():
        interface = find_interface(interface_name) if interface_name else None
    found = read_corpus(folders)
    all_found = [*unsound(found, interface), *leftovers(folders)]
    problems = [problem for problem in all_found if strict or not problem.is_note]
    orphans = {problem.path for problem in all_found if problem.is_note}
    traces, calls = len(found.members), sum(len(member.trace.calls) for member in found.members)
    for problem in problems:
        click.echo(json.dumps(problem.as_json()) if as_json else shown(str(problem), _LONGEST_LINE))
    files = len(found.members) + len(found.unreadable)
    if as_json:
        counts = {"files": files, "traces": traces, "calls": calls, "problems": len(problems)}
        click.echo(json.dumps({"kind": "summary", **counts, "orphans": len(orphans)}))
    else:
        if orphans and not strict:
            click.echo(f"{len(orphans)} traces were made from others that are not there (--strict names them)")
        told = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "all sound"
        click.echo(f"{files} files, {calls} calls: {told}")
    sys.exit(1 if problems else 0)


def _read(folders: Iterable[str]) -> Corpus:
    """The corpora, with a warning for each file in them that is no trace, or not a whole one."""
    found = read_corpus(folders)
    for file, reason in found.unreadable:
        click.echo(f"synctape: warning: {shown(f'{file}: {reason}')}", err=True)
    for _, file, trace in found.members:
        if trace.damage is not None:
            left = f"the {len(trace.calls)} calls before it are read"
            click.echo(f"synctape: warning: {shown(f'{file}: {trace.damage}; {left}')}", err=True)
    if not found.members:
        raise SynctapeError(f"{' '.join(folders)}: nothing in there can be read as a trace")
    return found


# --- making it smaller ----------------------------------------------------------------------------------------


def _coverable(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if why := why_not_covered(name):
            raise click.BadParameter(f"{name}: {why}")
    return names


_Command = TypeVar("_Command", bound=Callable[..., Any])


def _playing(command: _Command) -> _Command:
    """The options of a command that plays traces on a target."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object."),
        memory_option,
        timeout_option,
        click.option(
            "--cover",
            multiple=True,
            callback=_coverable,
            metavar="PACKAGE",
            help="Code that counts beside that of the target's own package.",
        ),
        click.option("--trim", is_flag=True, help="Leave calls out of traces that show as much without them."),
    ):
        command = option(command)
    return command


@corpus.command()
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("-o", "--output", required=True, metavar="OUT", help="Folder for what is kept; a URL, too.")
@click.option("--target", metavar="SPEC", help="Keep only what shows something new on this target.")
@_playing
@stoppable()
def merge(
    *,
    folders: tuple[str, ...],
    output: str,
    target: str | None,
    trim: bool,
    cover: tuple[str, ...],
    timeout: float,
    memory: int,
    as_json: bool,
) -> None:
    """Merge corpora into OUT, without duplicates.

    Without --target every trace whose calls no other has is kept.  With it, as few as reach the same code of the
    target, the same steps of the protocol, the same answers and the same states; the shorter ones.  A trace that
    kills the target goes to the folder OUT-failures.  What is in OUT stays, and counts; FOLDER is not changed.

    Exit code: 0, also with failures; 2 bad input; 3 the executor failed.
    """
    if target is None and (trim or cover):
        raise click.UsageError("--trim and --cover need --target: what a trace shows is seen on a target")
    out = open_folder(output)
    there = [output] if any(name.endswith(SUFFIX) for name in out.names()) else []
    found = _read([*there, *folders])
    staying = {member.file for member in found.members if member.file == out.file(member.name)} if there else set()
    plan = distinct(found, staying)
    if target is not None:
        plan = _smaller(plan, target, Limits(timeout, memory or None), cover, trimmed=trim)
    names = keep(plan.kept, out)
    apart = keep_apart(plan.failures, out.beside("-failures"))
    _tell(_Told(plan, len(found.members), names, apart, out), as_json)


@corpus.command()
@click.argument("folder", metavar="FOLDER")
@click.option("--target", metavar="SPEC", required=True, help="What the traces are played on.")
@click.option("-o", "--output", metavar="OUT", help="Folder for what is kept; a URL, too.")
@click.option("--in-place", is_flag=True, help="Move what is not kept to FOLDER-removed instead.")
@_playing
@stoppable()
def minimise(
    *,
    folder: str,
    target: str,
    output: str | None,
    in_place: bool,
    trim: bool,
    cover: tuple[str, ...],
    timeout: float,
    memory: int,
    as_json: bool,
) -> None:
    """Keep of FOLDER as few traces as show on the target all that it shows.

    They are copied to OUT, and FOLDER stays as it is; or, with --in-place, the others are moved from FOLDER to
    FOLDER-removed.  A trace that kills the target goes to OUT-failures or FOLDER-failures.

    Exit code: 0, also with failures; 2 bad input; 3 the executor failed.
    """
    if in_place is (output is not None):
        raise click.UsageError("say where to: -o OUT, or --in-place")
    source = open_folder(folder)
    out = open_folder(output) if output is not None else source
    if output is not None and any(name.endswith(SUFFIX) for name in out.names()):
        raise SynctapeError(f"{output}: has traces already; choose another folder, or merge into it")
    found = _read([folder])
    plan = distinct(found, note=not in_place)
    plan = _smaller(plan, target, Limits(timeout, memory or None), cover, trimmed=trim)
    if output is not None:
        names = keep(plan.kept, out)
        apart = keep_apart(plan.failures, out.beside("-failures"))
    else:
        names = [kept.member.name for kept in plan.kept]
        apart = move_away(plan, source)
    _tell(_Told(plan, len(found.members), names, apart, out), as_json)


def _smaller(plan: Plan, target: str, limits: Limits, cover: Sequence[str], *, trimmed: bool) -> Plan:
    console = Console(stderr=True)
    interface = plan.kept[0].trace.interface
    with (
        Shower(target, interface, limits, cover=cover) as shower,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("playing", total=len(plan.kept))
        plan = smallest(plan, shower, watch=lambda done, of: progress.update(task, completed=done))
        return trim_all(plan, shower) if trimmed else plan


class _Told(NamedTuple):
    """What is told of a corpus that was made: of `traces`, `names` are in `folder`, and `apart` beside it."""

    plan: Plan
    traces: int
    names: list[str]
    apart: list[str]
    folder: Folder


def _tell(told: _Told, as_json: bool) -> None:
    plan, folder = told.plan, told.folder
    apart = folder.beside("-failures")
    failures = [
        {
            "path": as_shown(member.file),
            "kept": f"{as_shown(str(apart))}/{name}",
            "outcome": str(death.kind),
            "detail": death.detail,
        }
        for (member, death), name in zip(plan.failures, told.apart, strict=True)
    ]
    if as_json:
        entry = {
            "kind": "summary",
            "folder": str(folder),
            "traces": told.traces,
            "kept": len(plan.kept),
            "calls": plan.calls,
            "written": told.names,
            "duplicates": [as_shown(member.file) for member in plan.duplicates],
            "needless": [as_shown(member.file) for member in plan.needless],
            "failures": failures,
            "trimmed": [{"name": t.name, "calls": t.before, "left": t.after} for t in plan.trimmed],
            "features": plan.features,
            "unsteady": plan.unsteady,
        }
        click.echo(json.dumps(entry))
        return
    for failure in failures:
        why = f"{failure['outcome']}, {failure['detail']}" if failure["detail"] else failure["outcome"]
        click.echo(shown(f"failure: {failure['path']} ({why}) is kept as {failure['kept']}", _LONGEST_LINE))
    if plan.trimmed:
        left_out = sum(trimmed.before - trimmed.after for trimmed in plan.trimmed)
        click.echo(f"trimmed: {left_out} calls from {len(plan.trimmed)} traces")
    if plan.unsteady:
        click.echo(f"unsteady: {plan.unsteady} features did not show again; all traces that showed them are kept")
    of = f"; {plan.features} features" if plan.features else ""
    counts = ((plan.duplicates, "duplicates"), (plan.needless, "needless"), (plan.failures, "failures"))
    left = ", ".join(f"{len(members)} {word}" for members, word in counts if members)
    click.echo(
        f"{len(plan.kept)} of {told.traces} traces kept, {plan.calls} calls"
        f"{f' ({left})' if left else ''}{of}: {folder}"
    )
