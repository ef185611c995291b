"""The commands `baseline ...`: parse, call one function, print, exit."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from fuzz.again import TRIES
from fuzz.baseline import Baseline
from fuzz.known import entry_of_trace, prune
from recorder.errors import SynctapeError
from recorder.report_files import shown
from replayer.cli import stoppable
from replayer.corpus import find_traces, load

__all__ = ["baseline"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def baseline() -> None:
    """Keep a file of known findings, for which CI does not fail (`synctape fuzz --baseline`)."""


@baseline.command()
@click.argument("findings", nargs=-1, required=True, type=click.Path())
@click.option("--baseline", "file", required=True, type=_FILE, help="The file; it is made if it is not there.")
@click.option("--note", default="", help="What to remember of these findings, a ticket for instance.")
def update(findings: tuple[str, ...], file: Path, note: str) -> None:
    """Add findings, traces that `synctape fuzz` or `minimise` wrote, to a baseline.

    What is known already keeps its date, and its note unless another is given.
    """
    before = Baseline.read(file) if file.exists() else Baseline()
    today = datetime.now(UTC).date()
    paths = [path for path in find_traces(findings) if "/originals/" not in f"/{path.as_posix()}"]
    after = before.updated([entry_of_trace(load(path), path.as_posix(), today, note) for path in paths])
    after.write(file)
    added = len(set(after.entries) - set(before.entries))
    click.echo(f"{file}: {len(after)} known findings, {added} of them new here")


@baseline.command("list")
@click.argument("file", type=_FILE)
def list_findings(file: Path) -> None:
    """Print the known findings, a line each."""
    for entry in Baseline.read(file).entries.values():
        where = f" at {shown(entry.place)}" if entry.place else ""
        note = f"  ({shown(entry.note)})" if entry.note else ""
        click.echo(
            f"{entry.fingerprint}  {entry.first_seen}  {entry.code:<4} {shown(entry.method)}{where}: "
            f"{shown(entry.message, 160)}{note}"
        )


@baseline.command("prune")
@click.argument("file", type=_FILE)
@click.option("--target", required=True, help="package.module:factory or path/library.so:symbol.")
@click.option("--tries", type=click.IntRange(min=1), default=TRIES, show_default=True, help="Before it is gone.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; leave the file as it is.")
def prune_findings(file: Path, target: str, tries: int, dry_run: bool) -> None:
    """Replay each known finding and drop those that the target no longer has.

    One whose lines moved takes its new place.  Exit code: 0, or 2 and the file untouched if something could not
    be replayed.
    """
    known = Baseline.read(file)
    with stoppable():
        done = prune(known, target, tries=tries)
    for entry, why in done.told:
        click.echo(f"{why:<6}  {entry.fingerprint}  {entry.code:<4} {shown(entry.message, 160)}")
    for entry, error in done.errors:
        click.echo(f"synctape: {entry.fingerprint}: {shown(error)}", err=True)
    if done.errors:
        raise SynctapeError(f"{file}: left as it is, {len(done.errors)} of {len(known)} could not be replayed")
    dropped = len(known) - len(done.baseline)
    if not dry_run and done.baseline.entries != known.entries:
        done.baseline.write(file)
    click.echo(f"{len(known)} known findings, {dropped} {'would be ' * dry_run}dropped")
    sys.exit(0)
