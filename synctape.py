"""synctape: record, replay and fuzz COM progress callbacks.

The root command, and the public names of all floors.  Commands are imported when they are asked for, so that
`synctape show` does not wait for what only `synctape fuzz` needs.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fuzz.strategies import call_sequences, fuzz_callback, mutated
    from recorder.callback import RecordingCallback, recording
    from recorder.calls import Call, Handle, Outcome, Trace
    from recorder.interface import Interface, Method, Parameter
    from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
    from recorder.trace import TraceReader, read_trace, write_trace
    from recorder.writer import TraceWriter
    from replayer.player import play

__version__ = "0.1.0"

_PUBLIC = {
    "Call": "recorder.calls",
    "Handle": "recorder.calls",
    "IMAPI_SYNC_PROGRESS_CALLBACK": "recorder.interfaces",
    "IUNKNOWN": "recorder.interfaces",
    "Interface": "recorder.interface",
    "Method": "recorder.interface",
    "Outcome": "recorder.calls",
    "Parameter": "recorder.interface",
    "RecordingCallback": "recorder.callback",
    "Trace": "recorder.calls",
    "TraceReader": "recorder.trace",
    "TraceWriter": "recorder.writer",
    "call_sequences": "fuzz.strategies",
    "fuzz_callback": "fuzz.strategies",
    "mutated": "fuzz.strategies",
    "play": "replayer.player",
    "read_trace": "recorder.trace",
    "recording": "recorder.callback",
    "write_trace": "recorder.trace",
}

__all__ = [
    "IMAPI_SYNC_PROGRESS_CALLBACK",
    "IUNKNOWN",
    "Call",
    "Handle",
    "Interface",
    "Method",
    "Outcome",
    "Parameter",
    "RecordingCallback",
    "Trace",
    "TraceReader",
    "TraceWriter",
    "call_sequences",
    "fuzz_callback",
    "main",
    "mutated",
    "play",
    "read_trace",
    "recording",
    "write_trace",
]

_COMMANDS = {
    "record": "recorder.cli",
    "show": "recorder.show_cli",
    "watch": "recorder.watch_cli",
    "check": "recorder.check_cli",
    "redact": "recorder.redact_cli",
    "diff": "recorder.diff_cli",
    "trim": "recorder.edit_cli",
    "edit": "recorder.edit_cli",
    "replay": "replayer.cli",
    "export": "replayer.cli",
    "explain": "replayer.cli",
    "fuzz": "fuzz.cli",
    "minimise": "fuzz.minimise_cli",
    "corpus": "fuzz.corpus_cli",
    "baseline": "fuzz.baseline_cli",
    "demo": "fuzz.cli",
    "report": "fuzz.report_cli",
    "doctor": "replayer.cli",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'synctape' has no attribute {name!r}")


class _Commands(click.Group):
    """Subcommands by name, each imported when it is first needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[name]), name)
        return command

    def invoke(self, context: click.Context) -> Any:
        from recorder.errors import SynctapeError

        try:
            return super().invoke(context)
        except SynctapeError as error:
            click.echo(f"synctape: {error}", err=True)
            context.exit(getattr(error, "exit_code", 2))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="synctape")
def main() -> None:
    """Record, replay and fuzz COM progress callbacks (first of all IMAPISyncProgressCallback)."""
    for stream in (sys.stdout, sys.stderr):  # texts in traces may hold anything; a terminal must not refuse them
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
