"""The command `report`: parse, call one function, print, exit."""

from __future__ import annotations

from pathlib import Path

import click

from fuzz.html_report import campaign_report, check_writable, write_html
from fuzz.progress import Summary
from fuzz.reached import answers, reached_files
from fuzz.search import Known, search_plan
from fuzz.store import CampaignFolder
from recorder.errors import SynctapeError
from recorder.provider import current_folder_importable
from replayer.cli import stoppable

__all__ = ["report"]


@click.command(short_help="Write a campaign's report as one page of HTML.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The page.")
@click.option(
    "--play/--no-play",
    default=True,
    help="Play once more what was kept and found, for lines of the target and answers; or play nothing.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@stoppable()
def report(*, folder: Path, output: Path, play: bool, force: bool) -> None:
    """Write the report of the campaign in FOLDER (synctape fuzz --campaign FOLDER) as one page of HTML.

    Nothing in the folder is changed, and the campaign may still be running.

    Exit code: 0 written, 2 bad input.
    """
    check_writable(output)
    if output.exists() and not force:
        raise SynctapeError(f"{output}: exists already; give another name, or --force to replace it")
    kept = CampaignFolder.look(folder, _warn)
    found = [one for _, one in kept.found]
    files = []
    if play:
        plan = search_plan(kept.spec, kept.interface, kept.seeds, kept.options)
        try:
            with current_folder_importable():
                files = reached_files(plan, Known(kept.fresh), found)
                answers(plan, found)
        except SynctapeError as error:
            _warn(f"{output} has no lines of the target and no answers: {error}")
    paths = {one.name: path for path, one in kept.found}
    summary = Summary(kept.progress, found, kept.stopped or "not ended", paths)
    write_html(campaign_report(summary, kept.spec, kept.options, kept.interface, files), output)


def _warn(line: str) -> None:
    click.echo(f"synctape: warning: {line}", err=True)
