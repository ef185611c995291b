"""The options of `synctape record` that say how a capture is kept: how large, how safe, how private."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from recorder.redact_cli import redact_option
from recorder.session import LEAST, Bounds, parse_size

__all__ = ["Capture", "capture_options"]


@dataclass(frozen=True)
class Capture:
    """How a capture is kept."""

    bounds: Bounds | None = None
    sync: float | None = None
    redact: str | None = None


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if size < LEAST:
        raise click.BadParameter(f"{value} is too little; give {LEAST >> 20}M or more")
    return size


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """The seconds between two syncs; 0 for `call`."""
    if value is None or value == "call":
        return None if value is None else 0.0
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST:
        raise click.BadParameter(f"{value!r} is neither 'call' nor a number of seconds")
    return seconds


_LONGEST = 1e6  # seconds


def capture_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options, handed to the command as one Capture, its parameter `capture`."""

    @click.option(
        "--max-size",
        callback=_size,
        metavar="SIZE",
        help="Take no more than this (100M, 2G) on the disk: run.0001.tape and so on, the first file is kept, the "
        "oldest others are dropped.",
    )
    @click.option("--ring", callback=_size, metavar="SIZE", help="Keep only the last SIZE: no first file, either.")
    @click.option(
        "--sync",
        callback=_seconds,
        metavar="SECONDS",
        help="Hand what was written to the disk every so many seconds, or before each 'call' goes on.  A process "
        "that is killed loses nothing without it; a machine without power does.",
    )
    @redact_option
    @functools.wraps(command)
    def with_capture(
        *arguments: Any,
        max_size: int | None,
        ring: int | None,
        sync: float | None,
        redact: str | None,
        **options: Any,
    ) -> None:
        if max_size is not None and ring is not None:
            raise click.UsageError("--max-size and --ring exclude each other")
        bounds = None
        if max_size is not None or ring is not None:
            bounds = Bounds(max_size or ring or 0, keep_first=max_size is not None)
        command(*arguments, **options, capture=Capture(bounds, sync, redact))

    return with_capture
