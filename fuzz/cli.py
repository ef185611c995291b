"""The commands `fuzz`, `minimise` and `demo`: parse, call one function, print, exit."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import click

from fuzz.buckets import (
    Found,
    check_folder,
    finding_trace,
    make_folder,
    report_text,
    sequence_lines,
    write_finding,
)
from fuzz.campaign import Campaign, CampaignOptions, Progress, Summary, stop_word
from fuzz.live import LiveProgress
from fuzz.minimise import minimise_trace
from fuzz.pool import cores
from recorder.calls import Trace
from recorder.contract import Level, contract_of
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, find_interface
from recorder.provider import current_folder_importable
from recorder.trace import write_trace
from replayer.cli import stoppable
from replayer.corpus import SUFFIX, find_traces, load, recorded_interface
from replayer.isolation import Limits
from replayer.oracles import ORACLES
from replayer.reports import JUnitReport, report, reproduce_line, shown
from replayer.verdict import Status, Verdict, mismatch

__all__ = ["demo", "fuzz", "minimise"]

_LEVELS = click.Choice([str(level) for level in Level])


class _Jobs(click.ParamType[int]):
    """A number of processes, from the cores where it is 0 or "auto"."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value in ("auto", "0", 0):
            return cores()
        return int(click.IntRange(1, 1000).convert(value, param, ctx))


@click.command()
@click.option("--target", required=True, help="What is fuzzed: package.module:factory or path/library.so:symbol.")
@click.option(
    "--corpus", "folders", multiple=True, type=click.Path(), help="Traces to start from (file or folder)."
)
@click.option(
    "--max-time",
    type=click.FloatRange(min=0),
    help="Seconds; 0: no bound.  [default: 60, with --max-runs no bound]",
)
@click.option("--max-runs", type=click.IntRange(min=1), help="Sequences to play in the search.")
@click.option(
    "--seed", type=int, help="With --max-runs and one job it gives the same run again.  [default: a new one]"
)
@click.option("--level", type=_LEVELS, default="hostile", show_default=True, help="The highest level to go to.")
@click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first failure.")
@click.option(
    "--findings", type=click.Path(), default="findings", show_default=True, help="Where failures are written."
)
@click.option(
    "--jobs",
    type=_Jobs(),
    default=1,
    show_default=True,
    help="Processes that search at once and share what they find; 0 or auto: as many as there are cores.",
)
@click.option("--junit", type=click.Path(), help="Write a JUnit file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.01), default=5.0, show_default=True, help="Seconds for a call."
)
@click.option(
    "--memory",
    type=click.IntRange(min=0),
    default=2048,
    show_default=True,
    help="MiB for the target; 0: no limit.",
)
@click.option(
    "--slow", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds that are too slow."
)
@click.option("--disable", multiple=True, type=click.Choice(list(ORACLES)), help="An oracle that does not look.")
@click.option(
    "--retained",
    is_flag=True,
    help="At the hostile level also call after the last Release, which most native hosts do not survive.",
)
@click.option(
    "--interface",
    "interface_name",
    metavar="NAME",
    help="Use the target as NAME or module:NAME.  [default: as the traces of --corpus say]",
)
@click.option("--isolate", is_flag=True, hidden=True, help="A campaign always plays in child processes.")
def fuzz(**options: Any) -> None:
    """Search for call sequences on which a target fails.

    Replays the corpus first (without --corpus the traces that ship with synctape), then mutates it until the
    time or the runs are used up.  Each failure is minimised and written as a .tape and a .txt.
    Exit code: 0 nothing found, 1 failures, 2 bad input or nothing executed, 3 the executor failed, 130 and 143
    interrupted and terminated.
    """
    folder, junit_path = Path(options["findings"]), options["junit"]
    check_folder(folder)
    with current_folder_importable():
        interface = _interface(options["interface_name"], options["folders"])
    seeds = _seeds(options["folders"], interface)
    campaign_options = _campaign_options(options)
    spec, seed, as_json = options["target"], campaign_options.seed, options["as_json"]
    junit = (
        JUnitReport(junit_path, spec, lambda verdict: _reproduce(summary, verdict, spec)) if junit_path else None
    )
    max_time, max_runs = campaign_options.max_time, campaign_options.max_runs
    with stoppable(), LiveProgress(spec, max_time=max_time, max_runs=max_runs, quiet=as_json) as live:
        campaign = Campaign(
            spec,
            seeds,
            campaign_options,
            interface=interface,
            folder=folder,
            watch=live,
            announce=lambda found, path: live.say(_announcement(found, path)),
        )
        try:
            live.say(f"fuzzing {spec} from {len(seeds)} traces, seed {seed}")
            summary = campaign.run()
        except KeyboardInterrupt as stop:  # before the search, or after it
            summary = Summary(campaign.progress, [], stop_word(stop), campaign.files)
    if junit:
        verdicts = [found.verdict for found in summary.found] or [Verdict("campaign", Status.PASSED)]
        report(verdicts, [junit], len(verdicts))
    (_print_json if as_json else _print_summary)(summary, spec, seed, interface)
    sys.exit(_exit_code(summary))


def _campaign_options(options: dict[str, Any]) -> CampaignOptions:
    max_time = options["max_time"]
    if max_time is None and options["max_runs"] is None:
        max_time = CampaignOptions.max_time
    return CampaignOptions(
        seed=options["seed"] if options["seed"] is not None else random.SystemRandom().randrange(2**32),
        max_time=max_time or None,
        max_runs=options["max_runs"],
        level=Level[options["level"].upper()],
        exit_first=options["exitfirst"],
        slow=options["slow"],
        timeout=options["timeout"],
        memory=options["memory"] or None,
        disabled=frozenset(options["disable"]),
        retained=options["retained"],
        jobs=options["jobs"],
    )


def _interface(name: str | None, folders: tuple[str, ...]) -> Interface:
    if name is not None:
        return find_interface(name)
    return recorded_interface(find_traces(folders)) if folders else IMAPI_SYNC_PROGRESS_CALLBACK


def _seeds(folders: tuple[str, ...], interface: Interface) -> list[tuple[str, Trace]]:
    """Traces by name; without folders those that ship for the interface."""
    if folders:
        paths = find_traces(folders)
    else:
        from corpora import folder

        paths = sorted(folder(interface.name).rglob(f"*{SUFFIX}"))
    seeds = []
    for path in paths:
        trace = load(path)
        if why := mismatch(trace.interface, interface):
            raise SynctapeError(f"{path}: {why}")
        seeds.append((str(path), trace))
    return seeds


def _reproduce(summary: Summary, verdict: Verdict, spec: str) -> str:
    found = next((found for found in summary.found if found.name == verdict.name), None)
    return reproduce_line(summary.files[found.name], spec, found.options) if found else ""


def _announcement(found: Found, path: Path | None) -> str:
    finding = found.finding
    where = f" at {finding.place}" if finding.place else ""
    return (
        f"{found.seconds:6.1f} s  {finding.code} {finding.method}{where}: {shown(finding.message, 160)} "
        f"[{finding.level}, {len(found.calls)} calls] {path or ''}"
    )


_SIGNALS = {"interrupted": signal.SIGINT, "terminated": signal.SIGTERM}


def _exit_code(summary: Summary) -> int:
    if summary.stopped in _SIGNALS:
        return 128 + _SIGNALS[summary.stopped]
    if summary.found:
        return 1
    return 0 if summary.progress.runs or summary.progress.corpus else 2


def _print_summary(summary: Summary, spec: str, seed: int, interface: Interface) -> None:
    for found in sorted(summary.found, key=lambda f: (f.finding.level, f.seconds)):
        path = summary.files.get(found.name)
        click.echo()
        click.echo(report_text(found, interface, spec, path or Path(found.name)).rstrip())
    progress = summary.progress
    click.echo()
    click.echo(f"stopped:    {summary.stopped}, after {progress.seconds:.1f} s, seed {seed}")
    rate = progress.calls / progress.seconds if progress.seconds else 0
    click.echo(
        f"played:     {progress.corpus} traces, {progress.runs} sequences, {progress.calls} calls ({rate:,.0f}/s)"
    )
    levels = ", ".join(f"{level} {count}" for level, count in progress.levels.items())
    click.echo(f"levels:     {levels or 'none'}; {_ended(progress, interface)}")
    covered = f"; {progress.covered} of {progress.sites} sites of the target" if progress.sites else ""
    click.echo(f"new:        {progress.kept} sequences kept{covered}")
    if progress.earned:
        best = ", ".join(
            f"{name} {count}/{progress.applied[name]}" for name, count in progress.earned.most_common(6)
        )
        click.echo(f"mutators:   {best} (new/applied)")
    if progress.deaths:
        click.echo(f"replaced:   {progress.deaths} times the searching process, after the target had ended it")
    if progress.unconfirmed:
        click.echo(f"unsure:     {progress.unconfirmed} sequences failed once and not when played alone")
    count = len(summary.found)
    if not progress.runs and not progress.corpus:
        click.echo("nothing was executed", err=True)
        return
    click.echo(f"{count} failure{'' if count == 1 else 's'} found" if count else "nothing found")


def _ended(progress: Progress, interface: Interface) -> str:
    terminal = "/".join(sorted(contract_of(interface).terminal))
    share = progress.ended / progress.runs if progress.runs else 0.0
    return f"{share:.0%} reach {terminal}" if terminal else "no call ends the protocol"


def _print_json(summary: Summary, spec: str, seed: int, interface: Interface) -> None:
    for found in summary.found:
        finding = found.finding
        path = summary.files.get(found.name)
        entry = {
            "kind": "failure",
            "code": finding.code,
            "oracle": finding.oracle,
            "method": finding.method,
            "place": finding.place,
            "message": finding.message,
            "level": str(finding.level),
            "blame": finding.blame,
            "fingerprint": finding.fingerprint,
            "seconds": round(found.seconds, 3),
            "executions": found.executions,
            "count": found.count,
            "flaky": found.flaky,
            "origin": found.origin,
            "calls": [line.strip() for line in sequence_lines(found.calls, interface, finding.number)],
            "path": str(path) if path else None,
            "reproduce": reproduce_line(path, spec, found.options) if path else None,
        }
        click.echo(json.dumps(entry))
    progress = summary.progress
    entry = {
        "kind": "summary",
        "target": spec,
        "seed": seed,
        "stopped": summary.stopped,
        "seconds": round(progress.seconds, 3),
        "traces": progress.corpus,
        "runs": progress.runs,
        "calls": progress.calls,
        "ended": progress.ended,
        "new": progress.kept,
        "covered": progress.covered,
        "sites": progress.sites,
        "levels": dict(progress.levels),
        "mutators": {n: {"applied": c, "new": progress.earned[n]} for n, c in progress.applied.items()},
        "deaths": progress.deaths,
        "unconfirmed": progress.unconfirmed,
        "failures": len(summary.found),
    }
    click.echo(json.dumps(entry))


# --- minimise -------------------------------------------------------------------------------------------------


@click.command()
@click.argument("trace", type=click.Path())
@click.option("--target", required=True, help="package.module:factory or path/library.so:symbol.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Where the minimal trace is written.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.01), default=5.0, show_default=True, help="Seconds for a call."
)
@click.option(
    "--memory",
    type=click.IntRange(min=0),
    default=2048,
    show_default=True,
    help="MiB for the target; 0: no limit.",
)
@click.option(
    "--slow", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds that are too slow."
)
@click.option(
    "--max-tries", type=click.IntRange(min=1), default=5000, show_default=True, help="Sequences to play."
)
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
def minimise(
    *,
    trace: str,
    target: str,
    output: str,
    timeout: float,
    memory: int,
    slow: float,
    max_tries: int,
    force: bool,
) -> None:
    """Find the shortest sequence with the simplest arguments that fails as TRACE does.

    Code, method, place in the target and level stay the same.  Another failure met on the way is written beside
    OUTPUT.  Exit code: 1 (the trace fails, its minimal form is in OUTPUT), 2 if it does not fail.
    """
    recorded, out = load(trace), Path(output)
    if os.path.lexists(out) and not force:
        raise SynctapeError(f"{out}: exists already; choose another name, or --force")
    check_folder(out.parent)
    with stoppable():
        limits = Limits(timeout, memory or None)
        made = minimise_trace(recorded, target, origin=trace, limits=limits, slow=slow, max_tries=max_tries)
    found, interface = made.found, recorded.interface
    make_folder(out.parent)
    path = write_trace(finding_trace(found, interface, target), out, overwrite=force)
    click.echo(report_text(found, interface, target, path).rstrip())
    click.echo(f"\n{len(found.original)} calls became {len(found.calls)}: {path}")
    for other in made.others:
        beside = write_finding(other, out.parent, interface, target)
        click.echo(f"met on the way: {other.finding.code} {shown(other.finding.message, 160)}: {beside}")
    sys.exit(1)


# --- demo -----------------------------------------------------------------------------------------------------


@click.command()
@click.option("--keep", type=click.Path(), help="Work in this folder and leave it; default a temporary one.")
@click.option("--seed", type=int, default=1, show_default=True)
def demo(keep: str | None, seed: int) -> None:
    """The whole way in under 20 seconds: record, check, replay, fuzz, minimise, replay again."""
    from fuzz.demo import run_demo

    sys.exit(run_demo(Path(keep) if keep else None, seed))
