"""The options that limit a target, of the commands that search on one: seconds, MiB, and what is too slow."""

from __future__ import annotations

import click

__all__ = ["memory_option", "slow_option", "timeout_option"]

timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0.01), default=5.0, show_default=True, help="Seconds for a call."
)
memory_option = click.option(
    "--memory",
    type=click.IntRange(min=0),
    default=2048,
    show_default=True,
    help="MiB for the target; 0: no limit.",
)
slow_option = click.option(
    "--slow", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds that are too slow."
)
