"""Capturing the corpora that ship: our own provider's runs, recorded as any provider is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recorder.callback import recording
from recorder.calls import Trace
from recorder.errors import TraceError
from recorder.provenance import captured
from recorder.redaction import Redaction
from recorder.samples import mail_folders
from recorder.trace import read_trace
from recorder.writer import live_header
from replayer.samples.send_receive import SendReceiveDialog

__all__ = ["SCENARIOS", "capture_scenarios"]

SCENARIOS = {
    "mail_succeeds": mail_folders.succeeds,
    "mail_resync": mail_folders.resync,
    "mail_fails_half_way": mail_folders.fails_half_way,
    "mail_unreadable_folder": mail_folders.unreadable_folder,
    "mail_folder_vanishes": mail_folders.folder_vanishes,
    "mail_cancelled": mail_folders.cancelled,
    "mail_empty": mail_folders.empty,
    "mail_headers_only": mail_folders.headers_only,
    "mail_large": mail_folders.large,
    "mail_upload": mail_folders.upload,
    "mail_two_threads": mail_folders.two_threads,
}


def capture_scenarios(
    folder: Path, *, overwrite: bool = False, redact: str | None = None
) -> Iterator[tuple[Path, int]]:
    """Run and record each scenario; gives (path, number of calls).  Raises TraceError if a file exists.

    `redact`: how the words are taken out of the traces (a `recorder.redaction.Mode`'s value); None: they stay.
    """
    for name, provider in SCENARIOS.items():
        path = folder / f"{name}.tape"
        if path.exists():
            if not overwrite:
                raise TraceError("exists already; it is left as it is", path=path)
            path.unlink()
        header = live_header(
            provenance=captured(provider=f"{provider.__module__}:{provider.__name__}", scenario=name),
        )
        without = Redaction(redact) if redact else None
        with recording(SendReceiveDialog(), path, header=header, redact=without) as callback:
            provider(callback)
        trace: Trace = read_trace(path)
        yield path, len(trace.calls)
