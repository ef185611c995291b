"""The command `check`: parse, judge each trace, print and report, exit.

0    no check failed
1    a rule is broken that fails
2    bad input or usage
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from recorder.common_cli import Complaints, complain, quiet_pipe, traces_of, write_lines

if TYPE_CHECKING:
    from recorder.check_reports import CheckReport

__all__ = ["check"]


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="TRACE...", type=click.Path())
@click.option("--json", "as_json_lines", is_flag=True, help="One JSON object a trace.")
@click.option("--junit", metavar="FILE", type=click.Path(), help="Write a JUnit report, too.")
@click.option("--sarif", metavar="FILE", type=click.Path(), help="Write a SARIF report, too.")
@click.option(
    "--max-rate",
    metavar="N",
    type=click.IntRange(min=1, max=1_000_000),
    help="Fail for more than N reports of progress within one second.",
)
@click.option(
    "--max-gap",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    help="Fail for a gap between calls of more than SECONDS.",
)
def check(
    paths: tuple[str, ...],
    as_json_lines: bool,
    junit: str | None,
    sarif: str | None,
    max_rate: int | None,
    max_gap: float | None,
) -> None:
    """Report the contract rules that the provider in each TRACE broke, with the numbers of the calls.

    TRACE is a trace file, a file in text form, or a folder: all *.tape below it.  Every E rule fails the check,
    and every W rule that a page of the documentation states.  W rules that are only implied, and I rules, are
    notes: real providers break them every day.  Of a damaged trace the sound part is checked, and what may
    stand in the rest is not held against it.

    Rates and gaps are judged in recordings.  By the limits that the contract has of itself they are notes, since
    no page states any; by --max-rate and --max-gap they fail the check.

    Exits with 1 if a check failed, with 2 if something could not be read.
    """
    from recorder.check_reports import JUnitCheck, SarifCheck
    from recorder.checking import check as check_trace
    from recorder.json_lines import as_json
    from recorder.pace import PaceLimits
    from recorder.wording import report_lines

    reports: list[CheckReport] = []
    if junit is not None:
        reports.append(JUnitCheck(junit))
    if sarif is not None:
        reports.append(SarifCheck(sarif))
    limits = PaceLimits(max_rate, None if max_gap is None else round(max_gap * 1e9))

    def unreadable(path: str, problem: str) -> None:
        for report in reports:
            report.unreadable(path, problem)

    complaints = Complaints(unreadable)
    failed = traces = 0
    with _ended(reports), quiet_pipe():
        for trace in traces_of(paths, complaints):
            with complaints.caught(trace.path):
                checked = check_trace(trace, pace=limits)
                traces += 1
                failed += checked.fails
                for report in reports:
                    report.checked(checked)
                write_lines([as_json(checked.as_json())] if as_json_lines else report_lines(checked))
                if checked.damage:
                    complain(f"warning: {trace.path}: {checked.damage}; what is before it is checked")
        if traces > 1 and not as_json_lines:
            write_lines([f"{traces} traces, {failed} failed"])
        sys.stdout.flush()
    sys.exit(2 if complaints.count else 1 if failed else 0)


@contextlib.contextmanager
def _ended(reports: list[CheckReport]) -> Iterator[None]:
    """The reports are written, however the checks end."""
    stopped = ""
    try:
        yield
    except BaseException as error:
        stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped: {error}"
        raise
    finally:
        for report in reports:
            report.end(stopped)
