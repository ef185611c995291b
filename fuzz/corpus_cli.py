"""The commands `corpus ...`: parse, call one function, print, exit."""

from __future__ import annotations

from pathlib import Path

import click

from fuzz.buckets import make_folder
from recorder.errors import SynctapeError
from recorder.trace import write_trace

__all__ = ["corpus"]


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


@corpus.command()
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder for the traces.")
@click.option("--force", is_flag=True, help="Replace traces of the same name.")
def capture(output: str, force: bool) -> None:
    """Capture the mail-folder provider's runs anew: each scenario really synchronises generated mail."""
    from fuzz.corpora import capture_scenarios

    folder = Path(output)
    make_folder(folder)
    for path, calls in capture_scenarios(folder, overwrite=force):
        click.echo(f"{path}  {calls} calls")
