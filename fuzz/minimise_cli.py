"""The command `minimise`: parse, call one function, print, exit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fuzz.buckets import check_folder, finding_trace, make_folder, report_text, write_finding
from fuzz.limits_cli import memory_option, slow_option, timeout_option
from fuzz.minimise import minimise_trace
from recorder.errors import SynctapeError
from recorder.report_files import shown
from recorder.trace import write_trace
from replayer.cli import stoppable
from replayer.corpus import load
from replayer.isolation import Limits

__all__ = ["minimise"]


@click.command()
@click.argument("trace", type=click.Path())
@click.option("--target", required=True, help="package.module:factory or path/library.so:symbol.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Where the minimal trace is written.")
@timeout_option
@memory_option
@slow_option
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
