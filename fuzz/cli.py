"""The commands `fuzz` and `demo`: parse, call one function, print, exit."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuzz.baseline import Baseline
from fuzz.begin import Beginning, gone_on_with
from fuzz.buckets import Found, check_folder
from fuzz.campaign import CampaignOptions, Summary
from fuzz.coverage import CoveredFile, why_not_covered
from fuzz.coverage_reports import cobertura, coverage_json, lcov
from fuzz.coverage_reports import text_lines as coverage_lines
from fuzz.covering import cover
from fuzz.keeping import Keeper
from fuzz.known import entry_of
from fuzz.libfuzzer import write_artifact
from fuzz.limits_cli import memory_option, slow_option, timeout_option
from fuzz.live import LiveProgress
from fuzz.modes import Mode, Plan, plan_for
from fuzz.pool import cores
from fuzz.store import CampaignFolder
from fuzz.told import announcement, count_line, fact_lines, json_lines, text_lines
from fuzz.verdict import LIBFUZZER_ERROR, LIBFUZZER_INTERRUPTED, CampaignVerdict, ExitStyle, known_excuses
from fuzz.watched import Watched
from recorder.calls import Trace
from recorder.contract import Level
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, find_interface
from recorder.native import core_of
from recorder.provider import current_folder_importable
from recorder.report_files import require_folder, write_whole
from replayer.cli import file_reports, report_options, stoppable, wanted_reports
from replayer.corpus import find_traces, load, recorded_interface
from replayer.isolation import Limits
from replayer.locations import SUFFIX, is_url, open_folder
from replayer.oracles import ORACLES
from replayer.places import Places
from replayer.reports import Report, reproduce_line
from replayer.target import is_native_spec
from replayer.verdict import Verdict, mismatch

if TYPE_CHECKING:
    from fuzz.report_page import CampaignPage

__all__ = ["demo", "fuzz"]

_LEVELS = click.Choice([str(level) for level in Level])
_FILE = click.Path(dir_okay=False, path_type=Path)


class _Jobs(click.ParamType[int]):
    """A number of processes, from the cores where it is 0 or "auto"."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value in ("auto", "0", 0):
            return cores()
        return int(click.IntRange(1, 1000).convert(value, param, ctx))


class _Covered(click.types.StringParamType):
    """A module or package whose code can be measured: only its topmost package is looked for, and not imported."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if why := why_not_covered(str(value)):
            self.fail(f"{value}: {why}", param, ctx)
        return str(value)


@click.command()
@click.option("--target", help="What is fuzzed: package.module:factory or path/library.so:symbol.")
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
    "--campaign",
    "campaign_folder",
    type=click.Path(),
    help="Keep all of the campaign in this new folder, so that --resume can go on with it.",
)
@click.option(
    "--resume",
    type=click.Path(),
    help="Go on with the campaign in this folder: on its target, with its options but for those given.",
)
@click.option(
    "--tries",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How often a sequence is played that does not fail each time.",
)
@click.option(
    "--jobs",
    type=_Jobs(),
    default=1,
    show_default=True,
    help="Processes that search at once and share what they find; 0 or auto: as many as there are cores.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="Threads that call at once: of more than one the schedules are searched, too (docs/threads.md).",
)
@click.option("--report", "html", type=click.Path(), help="Write a report as one page of HTML.")
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Search on the workers of this Dask scheduler, tcp://host:8786 (pip install 'synctape[cluster]').",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
@timeout_option
@memory_option
@slow_option
@click.option("--disable", multiple=True, type=click.Choice(list(ORACLES)), help="An oracle that does not look.")
@click.option(
    "--cover",
    multiple=True,
    type=_Covered(),
    metavar="PACKAGE",
    help="Code that guides the search beside that of the target's own package.",
)
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
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="For a pull request (10 min, one seed), for a night (1 h), to make the corpus smaller, or to see what "
    "it covers: docs/ci.md.",
)
@click.option("--baseline", type=_FILE, metavar="FILE", help="Known findings, for which the run does not fail.")
@click.option("--update-baseline", is_flag=True, help="Add what is found to the baseline; nothing counts then.")
@click.option(
    "--exit-style",
    type=click.Choice([style.value for style in ExitStyle]),
    default=ExitStyle.SYNCTAPE.value,
    show_default=True,
    help="libfuzzer: its exit codes, and files crash-*, timeout-* and oom-* beside the findings.",
)
@click.option(
    "--save-corpus",
    metavar="FOLDER",
    help="Add what brought something new to this folder.  [default: with --mode batch the first of --corpus]",
)
@click.option("--lcov", type=_FILE, metavar="FILE", help="With --mode coverage: write an lcov tracefile.")
@click.option("--cobertura", type=_FILE, metavar="FILE", help="With --mode coverage: write Cobertura's XML.")
@report_options
@click.option("--isolate", is_flag=True, hidden=True, help="A campaign always plays in child processes.")
def fuzz(**options: Any) -> None:
    """Search for call sequences on which a target fails.

    Replays the corpus first (without --corpus the traces that ship with synctape), then mutates it until the
    time or the runs are used up.  Each failure is minimised and written as a .tape and a .txt.
    Exit code: 0 nothing found, 1 failures, 2 bad input or nothing executed, 3 the executor failed, 130 and 143
    interrupted and terminated.
    """
    style = ExitStyle(options["exit_style"])
    if options["update_baseline"] and options["baseline"] is None:
        raise click.UsageError("--update-baseline needs --baseline FILE")
    mode = Mode(options["mode"]) if options["mode"] else None
    if mode is not Mode.COVERAGE and (options["lcov"] or options["cobertura"]):
        raise click.UsageError("--lcov and --cobertura need --mode coverage")
    try:
        with stoppable():
            code = _NO_CAMPAIGN[mode](options) if mode in _NO_CAMPAIGN else _fuzz(options, mode, style)
    except (SynctapeError, SystemExit) as end:
        if style is ExitStyle.SYNCTAPE:
            raise
        if isinstance(end, SynctapeError):
            click.echo(f"synctape: {end}", err=True)
        code = LIBFUZZER_INTERRUPTED if isinstance(end, SystemExit) else LIBFUZZER_ERROR
    sys.exit(code)


def _fuzz(options: dict[str, Any], mode: Mode | None, style: ExitStyle) -> int:
    as_json, html = options["as_json"], options["html"]
    if html:
        from fuzz.html_report import check_writable

        check_writable(html)
    baseline_file, updating = options["baseline"], options["update_baseline"]
    baseline = _baseline(baseline_file, updating)
    plan = plan_for(mode)
    beginning = _beginning(options, plan)
    spec, folder, interface = beginning.spec, beginning.folder, beginning.interface
    campaign_options, seed = beginning.options, beginning.options.seed
    wanted = {kind: options[kind] for kind in ("junit", "sarif", "summary")}
    places = Places(spec)

    def files() -> list[CoveredFile]:
        return campaign.covered_files()

    page = _page(html, beginning, files) if html else None

    def reports(verdict: CampaignVerdict, *, final: bool) -> list[Report]:
        shared: dict[str, Any] = {
            "name": "synctape fuzz",
            "facts": lambda: fact_lines(verdict, seed, interface),
            "places": places,
            **wanted,
        }
        command = partial(_reproduce, verdict.summary, spec=spec)
        pages: list[Report] = [*page.reports(verdict, final=final)] if page else []
        if not final:
            return file_reports(spec, command, **shared) + pages
        annotations = options["annotations"]
        return wanted_reports(spec, command, annotations=annotations, as_json=as_json, **shared) + pages

    def found_one(found: Found, path: Path | None) -> None:
        live.say(announcement(found, path))
        watched.found(found)

    keeper = _keeper(options, mode, beginning)
    max_time, max_runs = campaign_options.max_time, campaign_options.max_runs
    with beginning, LiveProgress(spec, max_time=max_time, max_runs=max_runs, quiet=as_json) as live:
        campaign = beginning.campaign(
            watch=live,
            announce=found_one,
            counts=lambda found: not known_excuses([found], baseline),
            learned=keeper.learn if keeper else lambda played: None,
            warn=lambda line: live.say(f"warning: {line}"),
        )
        watched = Watched(campaign, baseline, reports)
        begin = partial(live.say, beginning.line)
        deadline = _deadline(campaign_options, plan)
        verdict = watched.run(begin, verify=plan.verify, deadline=deadline)
    if updating:
        verdict = _updated(verdict, baseline, baseline_file, interface)
    watched.report(verdict)
    if style is ExitStyle.LIBFUZZER:
        for found in verdict.counted:
            click.echo(f"artifact: {write_artifact(found, folder, interface, spec)}", err=True)
    for line in (json_lines if as_json else text_lines)(verdict, spec, seed, interface):
        click.echo(line)
    if keeper and not as_json:
        click.echo(f"corpus:     {keeper.added} new traces in {keeper.folder}")
    if not verdict.executed:
        click.echo("nothing was executed", err=True)
    elif not as_json:
        click.echo(count_line(verdict))
    return verdict.exit_code(style)


def _page(path: str, beginning: Beginning, files: Callable[[], list[CoveredFile]]) -> CampaignPage:
    """The report as a page of HTML, whose modules only those wait for who want it."""
    from fuzz.report_page import CampaignPage

    def warn(line: str) -> None:
        click.echo(f"synctape: warning: {line}", err=True)

    return CampaignPage(Path(path), beginning.spec, beginning.options, beginning.interface, files, warn)


def _covered(options: dict[str, Any]) -> int:
    """Replay the corpus and say what of the target it reaches."""
    if options["resume"] or options["campaign_folder"]:
        raise click.UsageError("--mode coverage is no campaign: leave --campaign and --resume out")
    if options["html"]:
        raise click.UsageError("--report is a campaign's: leave it out, or --mode coverage")
    files = [require_folder(options[kind]) for kind in ("lcov", "cobertura") if options[kind]]
    with current_folder_importable():
        interface = _interface(options["interface_name"], options["folders"])
    seeds = _seeds(options["folders"], interface)
    spec, max_time = _target(options), options["max_time"]
    ends = time.monotonic() + max_time if max_time else None
    limits = Limits(options["timeout"], options["memory"] or None)
    left = (trace for _, trace in seeds if ends is None or time.monotonic() < ends)
    covered = cover(spec, interface, left, limits)
    if not covered.traces:
        raise SynctapeError("nothing was executed: no trace of the corpus has calls, or there was no time for any")
    places = Places(spec)
    covered.files = {places.relative(Path(path)) or path: sites for path, sites in covered.files.items()}
    for file in files:
        as_lcov = file == options["lcov"]
        write_whole(file, lcov(covered) if as_lcov else cobertura(covered, time.time_ns() // 1_000_000))
    if options["as_json"]:
        click.echo(json.dumps(coverage_json(covered, spec)))
    else:
        for line in coverage_lines(covered):
            click.echo(line)
        if covered.traces < len(seeds):
            click.echo(
                f"{len(seeds) - covered.traces} traces were not played: they are empty, or the time was over"
            )
    return 0


def _pruned(options: dict[str, Any]) -> int:
    """Make the corpus smaller; what kills the target is kept apart, and fails nothing."""
    from fuzz.corpus_cli import minimise as minimise_corpus

    if not options["folders"]:
        raise click.UsageError("--mode prune needs --corpus FOLDER")
    shared = {name: options[name] for name in ("timeout", "memory", "as_json", "cover")}
    for folder in options["folders"]:
        click.get_current_context().invoke(
            minimise_corpus,
            folder=folder,
            target=_target(options),
            output=None,
            in_place=True,
            trim=False,
            **shared,
        )
    return 0


_NO_CAMPAIGN = {Mode.COVERAGE: _covered, Mode.PRUNE: _pruned}


def _keeper(options: dict[str, Any], mode: Mode | None, beginning: Beginning) -> Keeper | None:
    """What keeps the sequences that are new, if any are to be kept."""
    where = options["save_corpus"]
    if where is None and mode is Mode.BATCH:
        where = next((one for one in options["folders"] if is_url(one) or Path(one).is_dir()), None)
    if where is None:
        return None
    known = (trace for _, trace in beginning.seeds)
    return Keeper(open_folder(where), beginning.spec, beginning.interface, beginning.options.seed, known)


def _beginning(options: dict[str, Any], plan: Plan) -> Beginning:
    """What the command line begins, or goes on with."""
    anew, folders, name = _campaign_options(options, plan), options["folders"], options["interface_name"]
    given, path = _given(options), options["resume"] or options["campaign_folder"]
    if path is not None and "findings" in given:
        raise click.UsageError("a campaign in a folder keeps its findings there: leave --findings out")
    if anew.cluster is not None and "jobs" in given:
        raise click.UsageError("--jobs is for this machine: with --cluster each thread of a worker searches")
    if options["resume"] is not None:
        if options["campaign_folder"] is not None:
            raise click.UsageError("--resume and --campaign: only one of them")
        with current_folder_importable():
            interface = find_interface(name) if name is not None else None
        beginning = gone_on_with(
            CampaignFolder.open(Path(path), lambda line: click.echo(f"synctape: warning: {line}", err=True)),
            anew,
            given,
            spec=options["target"],
            interface=interface,
            seeds=lambda interface: _seeds(folders, interface) if folders else (),
        )
        try:
            _check_threads(beginning.spec, beginning.options)
        except BaseException:
            beginning.__exit__(None, None, None)
            raise
        return beginning
    spec, folder = _target(options), Path(options["findings"])
    _check_threads(spec, anew)
    check_folder(Path(path) if path is not None else folder)
    with current_folder_importable():
        interface = _interface(name, folders)
    beginning = Beginning(spec, _seeds(folders, interface), anew, interface, folder)
    return beginning if path is None else beginning.stored(Path(path))


def _check_threads(spec: str, options: CampaignOptions) -> None:
    """Raises UsageError for what goes together with one thread only."""
    if options.threads == 1:
        return
    if is_native_spec(spec) and core_of("replayer").module is None:
        raise click.UsageError(
            "--threads on a native target takes the compiled core; synctape doctor says what of it is here"
        )
    if options.cover:
        raise click.UsageError("--cover guides the search by code, which is not measured with --threads")


def _target(options: dict[str, Any]) -> str:
    if options["target"] is None:
        raise click.UsageError("Missing option '--target'.")
    return str(options["target"])


def _given(options: dict[str, Any]) -> set[str]:
    """The options that were given, not left at their defaults; a mode gives its own."""
    source = click.get_current_context().get_parameter_source
    given = {name for name in options if source(name) is not click.core.ParameterSource.DEFAULT}
    return given | {"max_time", "corpus_share"} if "mode" in given else given


def _deadline(options: CampaignOptions, plan: Plan) -> float | None:
    """When the time is over for the search and for playing findings again."""
    return None if options.max_time is None else time.monotonic() + options.max_time / (1 - plan.again_share)


def _baseline(file: Path | None, updating: bool) -> Baseline:
    if file is None or (updating and not file.exists()):
        return Baseline()
    return Baseline.read(file)


def _updated(verdict: CampaignVerdict, baseline: Baseline, file: Path, interface: Interface) -> CampaignVerdict:
    """The verdict once the baseline holds all that was found, but for what does not show again."""
    today = datetime.now(UTC).date()
    known = known_excuses(verdict.summary.found, baseline)
    unsure = {name for name in verdict.excuses if name not in known}
    taken = [found for found in verdict.summary.found if found.name not in unsure]
    after = baseline.updated(entry_of(found, interface, today) for found in taken)
    after.write(file)
    return replace(verdict, excuses={**verdict.excuses, **known_excuses(taken, after)})


def _campaign_options(options: dict[str, Any], plan: Plan) -> CampaignOptions:
    max_time, seed = options["max_time"], options["seed"]
    if max_time is None and options["max_runs"] is None:
        max_time = plan.max_time
    if seed is None:
        seed = plan.seed if plan.seed is not None else random.SystemRandom().randrange(2**32)
    return CampaignOptions(
        seed=seed,
        max_time=max_time * (1 - plan.again_share) if max_time else None,
        corpus_share=plan.corpus_share,
        max_runs=options["max_runs"],
        level=Level[options["level"].upper()],
        exit_first=options["exitfirst"],
        slow=options["slow"],
        timeout=options["timeout"],
        memory=options["memory"] or None,
        disabled=frozenset(options["disable"]),
        retained=options["retained"],
        jobs=options["jobs"],
        tries=options["tries"],
        cluster=options["cluster"] or None,
        cover=options["cover"],
        threads=options["threads"],
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


def _reproduce(summary: Summary, verdict: Verdict, *, spec: str) -> str:
    found = next((found for found in summary.found if found.name == verdict.name), None)
    return reproduce_line(summary.files[found.name], spec, found.options) if found else ""


# --- demo -----------------------------------------------------------------------------------------------------


@click.command()
@click.option("--keep", type=click.Path(), help="Work in this folder and leave it; default a temporary one.")
@click.option("--seed", type=int, default=12, show_default=True)
def demo(keep: str | None, seed: int) -> None:
    """The whole way in under 20 seconds: record, check, replay, fuzz, minimise, replay again."""
    from fuzz.demo import run_demo

    sys.exit(run_demo(Path(keep) if keep else None, seed))
