"""The command `redact`: parse, take the words out of traces, write others, exit.

0    every trace was redacted; of a damaged one what is sound, with a warning
2    bad input or usage, or something could not be read or written
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recorder.common_cli import Complaints, complain, write_lines

if TYPE_CHECKING:
    from recorder.redaction import Redaction
    from recorder.trace_input import TraceInput

__all__ = ["Redactable", "redact", "redact_option"]


def redact_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --redact[=strict] of a `Redactable` command: its parameter `redact`, a Mode's value or None."""
    return click.option(
        "--redact",
        type=click.Choice(["texts", "strict"]),
        metavar="[=strict]",
        help="Replace the words in texts and names; =strict: digits in texts, too.",
    )(command)


class Redactable(click.Command):
    """A command with an option that may stand alone: the argument after `--redact` is none of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        spelled = ["--redact=texts" if argument == "--redact" else argument for argument in options]
        return super().parse_args(ctx, spelled + args[len(options) :])


@click.command()
@click.argument("path", metavar="IN", type=click.Path())
@click.option(
    "-o", "--output", required=True, type=click.Path(), metavar="OUT", help="The trace or folder to write."
)
@click.option("--strict", is_flag=True, help="Replace digits in texts, too.")
@click.option("--force", is_flag=True, help="Replace traces that are there.")
def redact(path: str, output: str, strict: bool, force: bool) -> None:
    """Write IN to OUT without the words in it.

    IN is a trace file, a file in text form, or a folder: then all *.tape below it go to the same places below the
    folder OUT.  Each word in a text becomes another one of the same length, in the same script and case; what is
    no letter stays.  Equal texts of a trace, or of the files of one recording, become equal ones.  Nothing tells
    what they were: the key is not kept.

    Names of threads, programs, providers and hosts, messages of exceptions and unknown fields are replaced, too.
    Numbers, times, flags and the names of files stay.
    """
    from recorder.encoding import GOES_ON
    from recorder.redaction import Mode, Redaction, redact_file
    from recorder.trace_input import TraceInput

    mode, complaints = Mode.STRICT if strict else Mode.TEXTS, Complaints()
    sessions: defaultdict[object, Redaction] = defaultdict(lambda: Redaction(mode))
    for source, target in _pairs(path, output):
        with complaints.caught(str(source)):
            trace = TraceInput(source)
            if target.exists() and source.resolve() == target.resolve():
                complaints.add(f"{target}: is IN itself; give another name for OUT", str(target))
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            session = _session(trace)
            redact_file(trace, target, sessions[session] if session else Redaction(mode), overwrite=force)
            write_lines([f"{source} -> {target}: {'words and digits' if strict else 'words'} replaced"])
            if trace.damage and trace.damage.reason != GOES_ON:
                complain(f"warning: {source}: {trace.damage}; what is before it is in {target}")
    sys.stdout.flush()
    sys.exit(2 if complaints.count else 0)


def _session(trace: TraceInput) -> object:
    """What the files of one recording have in common; None for a trace on its own."""
    with trace.source() as source:
        session = source.header.provenance.get("session")
    return session.get("id") if isinstance(session, dict) and isinstance(session.get("id"), str) else None


def _pairs(path: str, output: str) -> Iterator[tuple[Path, Path]]:
    """Each trace of IN and what it becomes in OUT."""
    from recorder.trace_input import trace_files

    folder = Path(path)
    if not folder.is_dir():
        yield folder, Path(output)
        return
    for file in trace_files(path):
        yield file, Path(output) / file.relative_to(folder)
